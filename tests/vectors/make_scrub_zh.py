"""Make scrub_zh.jsonl: Chinese sentences with every piece of personal data marked.

    python tests/vectors/make_scrub_zh.py > tests/vectors/scrub_zh.jsonl

The judge of the recognisers for Chinese. The templates and lists were written for it and stand
nowhere else; nobody in it exists. Numbers carry the check digits of their standards, computed here
by their textbook formulas and not by the code that is judged.

What is marked: a name without its title ("王" in "王女士"), an organisation, hospital, school or
bank with its whole name, an address from its province or city to its door, a town or region that
stands alone, and all numbers and names that belong to one person, order or organisation. Dates are
marked only if somebody was born then. Products, amounts, models and the last digits of a card are
not marked: they are there to mislead.
"""

import json
import random
import re
import sys

PER_TEMPLATE = 22


def words(text):
    """The words of a list that is written in one piece."""
    return text.split()


SURNAMES = (
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
    "余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
)
RARE = "仝亓乜逄厍麴郗郏鄢蒯訾笪晁仉缑禚佴爨阚芮羿邸揭谌邰"
COMPOUND = words(
    "欧阳 上官 司马 诸葛 司徒 皇甫 尉迟 公孙 慕容 令狐 夏侯 东方 宇文 长孙 端木 百里 呼延 第五"
)
GIVEN = (
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂英华玉萍红梅鑫波宁飞雪琳晨阳欣怡梓涵子轩浩宇诗雨思远佳琪"
    "嘉懿若彤景澄书瑶睿博俊熙泽楷奕辰昊天语桐可馨沐一诺雅婷振国建业海燕春生秋菊冬青德福有才志远家栋晓东"
)
ETHNIC = words(
    "买买提·艾力 古丽娜尔·阿不都 扎西多吉 卓玛央金 巴特尔 阿依古丽·吐尔逊 玉素甫·买合木提"
)
CITIES = words(
    "深圳 广州 杭州 成都 武汉 南京 西安 苏州 长沙 青岛 郑州 厦门 合肥 昆明 哈尔滨 大连 佛山 宁波 贵阳 南昌 "
    "兰州 海口 乌鲁木齐 呼和浩特 义乌 昆山 绵阳 柳州 洛阳 烟台 汕头 遵义 曲靖 赣州 襄阳"
)
SEATS = (
    ("广东省", "深圳市", "福田区 南山区 龙岗区 宝安区"),
    ("广东省", "佛山市", "顺德区 禅城区"),
    ("浙江省", "杭州市", "西湖区 余杭区 滨江区"),
    ("四川省", "成都市", "武侯区 锦江区 双流区"),
    ("湖北省", "武汉市", "洪山区 江岸区"),
    ("江苏省", "南京市", "鼓楼区 玄武区"),
    ("陕西省", "西安市", "雁塔区 碑林区"),
    ("山东省", "青岛市", "市南区 崂山区"),
    ("", "北京市", "海淀区 朝阳区 丰台区"),
    ("", "上海市", "浦东新区 徐汇区 闵行区"),
    ("", "重庆市", "渝北区 沙坪坝区"),
    ("云南省", "曲靖市", "麒麟区 沾益区"),
)
ROADS = words(
    "人民路 建设大街 中山北路 解放西路 科技园南路 桂花巷 长江路 香樟街 文一西路 高新四路 迎宾大道 学府路 梧桐街 "
    "滨河南路 百花二路 和平里东街"
)
ESTATES = words(
    "锦绣花园 阳光新城 翠湖名邸 金桂苑 紫薇小区 绿洲家园 万和公寓 书香门第 望江台 云栖里"
)
FIRMS = (
    words("恒瑞达 金泰和 启明星 云帆 博远 华盛兴 南岭 蓝图 鼎信 聚力 天元 新禾 佰草 同创 海纳"),
    words("科技 贸易 物流 食品 电子商务 信息技术 建筑 服饰 医疗器械 文化传媒"),
    words("有限公司 有限责任公司 股份有限公司 集团有限公司"),
)
HOSPITALS = words("第一人民医院 中心医院 中医院 妇幼保健院 第三医院 儿童医院 口腔医院")
SCHOOLS = words("第二中学 实验小学 外国语学校 职业技术学院 师范大学 第八幼儿园 理工大学")
BANKS = words("农村商业银行 城市银行 邮储支行 交通支行 兴业支行")
PROVINCES_OF_PLATES = "京沪粤浙苏川鄂湘鲁豫冀陕闽赣皖渝津云贵桂辽黑吉晋蒙琼甘青宁新藏"
WORDS = words(
    "happy moon tiger lucky snow blue rain cat sunny leaf star hong xiao wang lin chen mei"
)
MAILS = words("qq.com 163.com 126.com sina.cn foxmail.com example.com.cn yeah.net")
AREAS = words("110105 440305 330106 510107 420111 320106 610113 370202 310115 500112 530302 411023")
# Names of goods that begin like names of people.
PRODUCTS = words(
    "王老菊凉茶 张飞牛肉干 高山云雾茶 白玉兰沐浴露 金丝皇菊 黄金脆皮猪 马奶葡萄干 方便火锅 康乃馨花束 温泉鸡蛋 "
    "云南白花膏 江小鱼零食 石榴汁 花生牛轧糖 何首乌洗发水 常温酸奶 安心裤 陈皮普洱 李子蜜饯 秋梨膏"
)


def luhn(body):
    """The digit that makes the sum of Luhn divisible by ten."""
    for digit in "0123456789":
        total = 0
        for place, sign in enumerate(reversed(body + digit)):
            value = int(sign) * (2 if place % 2 else 1)
            total += value - 9 if value > 9 else value
        if total % 10 == 0:
            return digit
    raise ValueError(body)


def digits(rng, count):
    return "".join(rng.choice("0123456789") for _ in range(count))


def person(rng):
    kind = rng.random()
    if kind < 0.04:
        return rng.choice(ETHNIC)
    if kind < 0.14:
        surname = rng.choice(COMPOUND)
    elif kind < 0.24:
        surname = rng.choice(RARE)
    else:
        surname = rng.choice(SURNAMES)
    return surname + "".join(rng.sample(GIVEN, rng.choice((1, 2, 2, 2))))


def surname(rng):
    return rng.choice(COMPOUND) if rng.random() < 0.1 else rng.choice(SURNAMES)


def organization(rng):
    kind = rng.randrange(4)
    city = rng.choice(CITIES)
    if kind == 0:
        return city + rng.choice(HOSPITALS)
    if kind == 1:
        return city + rng.choice(SCHOOLS)
    if kind == 2:
        return city + rng.choice(BANKS)
    place = city if rng.random() < 0.7 else ""
    return place + "".join(rng.choice(part) for part in FIRMS)


def address(rng):
    province, city, districts = rng.choice(SEATS)
    text = (province if rng.random() < 0.7 else "") + city + rng.choice(districts.split())
    text += rng.choice(ROADS) + f"{rng.randrange(1, 400)}号"
    if rng.random() < 0.7:
        text += rng.choice(ESTATES)
    if rng.random() < 0.8:
        text += f"{rng.randrange(1, 40)}{rng.choice(('栋', '号楼', '幢'))}"
        text += rng.choice(("", f"{rng.randrange(1, 6)}单元"))
        text += f"{rng.randrange(1, 33)}0{rng.randrange(1, 9)}{rng.choice(('室', '', '房'))}"
    return text


def mobile(rng):
    return f"1{rng.choice('3456789')}{digits(rng, 9)}"


def phone(rng):
    number = mobile(rng)
    form = rng.random()
    if form < 0.55:
        return number
    if form < 0.65:
        return f"{number[:3]}-{number[3:7]}-{number[7:]}"
    if form < 0.75:
        return f"{number[:3]} {number[3:7]} {number[7:]}"
    if form < 0.82:
        return f"+86 {number}"
    if form < 0.86:
        return f"86-{number}"
    area = rng.choice(("010", "021", "0755", "0571", "028", "0431", "0898"))
    local = rng.choice("2345678") + digits(rng, 7)
    return rng.choice((f"{area}-{local}", f"({area}){local}", f"{area} {local}", f"{area}{local}"))


def birthday(rng):
    return rng.randrange(1940, 2019), rng.randrange(1, 13), rng.randrange(1, 29)


def cn_id(rng):
    year, month, day = birthday(rng)
    body = f"{rng.choice(AREAS)}{year}{month:02}{day:02}{digits(rng, 3)}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(sign) * weight for sign, weight in zip(body, weights, strict=True))
    text = body + "10X98765432"[total % 11]
    if rng.random() < 0.1:
        return f"{text[:6]} {text[6:14]} {text[14:]}"
    return text.lower() if rng.random() < 0.2 else text


def credit_card(rng):
    start, size = rng.choice((("6222", 19), ("6217", 19), ("6228", 19), ("6259", 16), ("4392", 16)))
    body = start + digits(rng, size - 5)
    text = body + luhn(body)
    if rng.random() < 0.3:
        return " ".join(text[place : place + 4] for place in range(0, size, 4))
    return text


def email(rng):
    name = rng.choice(WORDS) + rng.choice(("", ".", "_")) + rng.choice(WORDS)
    return f"{name}{rng.choice(('', digits(rng, 3)))}@{rng.choice(MAILS)}"


def wechat(rng):
    return rng.choice(WORDS) + rng.choice(("_", "-", "")) + rng.choice(WORDS) + digits(rng, 3)


def qq(rng):
    return rng.choice("123456789") + digits(rng, rng.randrange(5, 10))


def cn_plate(rng):
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    start = rng.choice(PROVINCES_OF_PLATES) + rng.choice("ABCDEFGHJK")
    if rng.random() < 0.35:
        return f"{start}{rng.choice('DF')}{digits(rng, 5)}"
    place = rng.randrange(5)
    body = list(digits(rng, 5))
    body[place] = rng.choice(letters)
    return start + rng.choice(("", "·", "")) + "".join(body)


def passport(rng):
    return rng.choice(
        (f"E{digits(rng, 8)}", f"G{digits(rng, 8)}", f"E{rng.choice('ABCD')}{digits(rng, 7)}")
    )


def cn_permit(rng):
    return rng.choice(
        (f"C{digits(rng, 8)}", f"H{digits(rng, 8)}", f"CA{digits(rng, 7)}", digits(rng, 8))
    )


def cn_credit_code(rng):
    signs = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    body = f"91{rng.choice(AREAS)}" + "".join(rng.choice(signs) for _ in range(9))
    weights = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
    total = sum(signs.index(sign) * weight for sign, weight in zip(body, weights, strict=True))
    return body + signs[(31 - total % 31) % 31]


def order_number(rng):
    return rng.choice(
        (
            f"2{digits(rng, 18)}",
            f"DD{digits(rng, 12)}",
            f"JD00{digits(rng, 11)}",
            f"3{digits(rng, 11)}",
            f"T-{digits(rng, 6)}",
        )
    )


def waybill(rng):
    return rng.choice(("SF", "YT", "ZTO", "JT", "")) + f"7{digits(rng, 12)}"


def account_number(rng):
    return rng.choice(
        (f"2{digits(rng, 9)}", f"20{digits(rng, 6)}A", f"M{digits(rng, 7)}", f"9{digits(rng, 11)}")
    )


def postcode(rng):
    return rng.choice(
        ("518000", "310012", "610041", "430070", "100080", "200120", "530300", "710061")
    )


def date_of_birth(rng):
    year, month, day = birthday(rng)
    return rng.choice(
        (
            f"{year}年{month}月{day}日",
            f"{year}-{month:02}-{day:02}",
            f"{year}/{month}/{day}",
            f"{year}.{month}.{day}",
            f"{year}{month:02}{day:02}",
            f"{year % 100:02}年{month}月{day}号",
        )
    )


def url(rng):
    return f"https://www.{rng.choice(WORDS)}{rng.choice(WORDS)}.com/u/{digits(rng, 6)}"


def ip_address(rng):
    return ".".join(str(rng.randrange(11, 240)) for _ in range(4))


KINDS = {
    "PERSON": ("PERSON", person),
    "SURNAME": ("PERSON", surname),
    "ORGANIZATION": ("ORGANIZATION", organization),
    "ADDRESS": ("ADDRESS", address),
    "PLACE": ("PLACE", lambda rng: rng.choice(CITIES)),
    "PHONE": ("PHONE", phone),
    "MOBILE": ("PHONE", mobile),
    "CN_ID": ("CN_ID", cn_id),
    "CREDIT_CARD": ("CREDIT_CARD", credit_card),
    "EMAIL": ("EMAIL", email),
    "WECHAT": ("WECHAT", wechat),
    "QQ": ("QQ", qq),
    "CN_PLATE": ("CN_PLATE", cn_plate),
    "PASSPORT": ("PASSPORT", passport),
    "CN_PERMIT": ("CN_PERMIT", cn_permit),
    "CN_CREDIT_CODE": ("CN_CREDIT_CODE", cn_credit_code),
    "ORDER_NUMBER": ("ORDER_NUMBER", order_number),
    "WAYBILL": ("ORDER_NUMBER", waybill),
    "ACCOUNT_NUMBER": ("ACCOUNT_NUMBER", account_number),
    "POSTCODE": ("POSTCODE", postcode),
    "DATE_OF_BIRTH": ("DATE_OF_BIRTH", date_of_birth),
    "URL": ("URL", url),
    "IP_ADDRESS": ("IP_ADDRESS", ip_address),
}
# What fills the lower-case slots belongs to nobody.
FREE = {
    "product": lambda rng: rng.choice(PRODUCTS),
    "amount": lambda rng: rng.choice((f"{rng.randrange(9, 9999)}", f"{rng.randrange(9, 999)}.90")),
    "day": lambda rng: f"{rng.randrange(1, 13)}月{rng.randrange(1, 29)}日",
    "count": lambda rng: str(rng.randrange(2, 30)),
    "model": lambda rng: f"{rng.choice(('WH', 'RTX', 'XM', 'KFR'))}-{rng.randrange(100, 9900)}",
    "tail": lambda rng: digits(rng, 4),
    "barcode": lambda rng: f"690{digits(rng, 10)}",
    "code": lambda rng: digits(rng, 6),
    "time": lambda rng: f"{rng.randrange(8, 22)}:{rng.randrange(10, 60)}",
}
WIDE = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1) if chr(code).isalnum()}
TEMPLATES = {
    "shop": (
        "亲，您好，我买的[product]还没收到，订单号{ORDER_NUMBER}，帮我看下到哪了",
        "麻烦改一下收货地址：{ADDRESS}，{PERSON}收，电话{PHONE}",
        "你好我是{PERSON}昨天拍的那单能不能今天发订单编号{ORDER_NUMBER}",
        "这款[product]多少钱一箱？买[count]箱能便宜到[amount]元吗",
        "退款[amount]元已经原路返回您尾号[tail]的卡，请注意查收",
        "型号[model]的还有货吗，我要[count]台，发{PLACE}",
        "商品条码[barcode]扫不出来，货架上写的是[product]",
        "加我微信{WECHAT}发你高清图，也可以加QQ{QQ}",
        "发票抬头：{ORGANIZATION}，税号：{CN_CREDIT_CODE}，发到{EMAIL}就行",
        "老板我手机号{MOBILE}也是微信，有新款[product]记得叫我",
        "订单{ORDER_NUMBER}的{SURNAME}女士说包装破了，要求赔[amount]元",
        "亲亲我的收件信息是{PERSON}{MOBILE}{ADDRESS}别发错了哦",
        "刚才付款[amount]元，验证码[code]一直收不到怎么办",
        "会员号{ACCOUNT_NUMBER}的积分怎么没到账啊，我叫{PERSON}",
    ),
    "logistics": (
        "您的快递已到{PLACE}转运中心，运单号{WAYBILL}，预计[day]送达",
        "收件人{PERSON}，联系电话{PHONE}，地址{ADDRESS}，邮编{POSTCODE}",
        "快递员{PERSON}（{PHONE}）正在为您派送，请保持电话畅通",
        "单号{WAYBILL}显示签收了但我没拿到，我住{ADDRESS}",
        "从{PLACE}发到{PLACE}的货，车牌{CN_PLATE}，司机{PERSON}，手机{MOBILE}",
        "取件码[code]请于[day]前到门口驿站领取[product]",
        "寄件方{ORGANIZATION}经办{PERSON}电话{PHONE}收件方{ORGANIZATION}",
        "师傅车号{CN_PLATE}堵在高速上了估计[time]才能到{PLACE}",
    ),
    "hospital": (
        "患者{PERSON}，病历号{ACCOUNT_NUMBER}，出生日期{DATE_OF_BIRTH}，现住{ADDRESS}",
        "{PERSON}，男，{DATE_OF_BIRTH}出生，因胸闷[count]天入住{ORGANIZATION}",
        "家属{PERSON}请到护士站，联系方式{PHONE}没人接",
        "预约挂号成功：{ORGANIZATION}，就诊人{PERSON}，身份证{CN_ID}，[day][time]就诊",
        "主治医生{PERSON}建议{SURNAME}先生[day]复查，空腹血糖[amount]",
        "医保卡号{ACCOUNT_NUMBER}刷不了，住院押金[amount]元先用现金",
        "宝宝{PERSON}生日{DATE_OF_BIRTH}，疫苗打到第[count]针",
        "住院号{ACCOUNT_NUMBER}的病人从{ORGANIZATION}转过来，陪护电话{MOBILE}",
    ),
    "bank": (
        "尊敬的{PERSON}，您的银行卡{CREDIT_CARD}于[day][time]消费[amount]元",
        "请把钱打到这个卡号{CREDIT_CARD}，户名{PERSON}，开户行{ORGANIZATION}",
        "卡号{CREDIT_CARD}户主{PERSON}身份证号{CN_ID}预留手机{MOBILE}",
        "我想查一下账户{ACCOUNT_NUMBER}的余额，之前存了[amount]元",
        "对公账号：{ACCOUNT_NUMBER}，开户名称：{ORGANIZATION}，统一社会信用代码{CN_CREDIT_CODE}",
        "您尾号[tail]的信用卡本期应还[amount]元，最后还款日[day]",
        "客户{SURNAME}总来电要求把限额调到[amount]元，回电{PHONE}",
        "理财产品年化3.85%，起购[amount]元，封闭期[count]个月",
    ),
    "school": (
        "{PERSON}同学，学号{ACCOUNT_NUMBER}，已被{ORGANIZATION}录取",
        "家长您好，{PERSON}今天没来上课，请回电{PHONE}",
        "班主任{PERSON}老师的邮箱是{EMAIL}，QQ群{QQ}",
        "报名表：姓名{PERSON}，身份证号码{CN_ID}，毕业于{ORGANIZATION}",
        "准考证号{ACCOUNT_NUMBER}，考点在{ORGANIZATION}，[day][time]入场",
        "本次期末数学平均分[count]，最高分99，满分100",
        "{PERSON}和{PERSON}代表我们班去{PLACE}参加比赛拿了第[count]名",
        "学生{PERSON}{DATE_OF_BIRTH}生户籍地址{ADDRESS}监护人{PERSON}",
    ),
    "government": (
        "申请人{PERSON}，公民身份号码{CN_ID}，住址{ADDRESS}",
        "居民{PERSON}持往来港澳通行证{CN_PERMIT}办理签注，联系电话{PHONE}",
        "护照号码{PASSPORT}，持有人{PERSON}，签发地{PLACE}",
        "台胞证号{CN_PERMIT}的{PERSON}在{PLACE}办理居住登记",
        "经查，驾驶人{PERSON}驾驶{CN_PLATE}小型轿车于[day][time]超速百分之[count]",
        "{ORGANIZATION}（统一社会信用代码：{CN_CREDIT_CODE}）法定代表人{PERSON}",
        "原告{PERSON}，女，{DATE_OF_BIRTH}出生，汉族，住{ADDRESS}",
        "根据第[count]号文件，补贴标准为每人每月[amount]元",
        "受理编号{ACCOUNT_NUMBER}已转{PLACE}办理，请等待[count]个工作日",
        "户主{PERSON}与{PERSON}系夫妻关系，身份证{CN_ID}和{CN_ID}",
    ),
    "social": (
        "有没有{PLACE}的姐妹一起拼车去{PLACE}呀，vx:{WECHAT}",
        "求扩列加我qq{QQ}备注{PERSON}粉丝",
        "谁捡到一张身份证，名字是{PERSON}，号码{CN_ID}，请联系{MOBILE}",
        "昨天和{PERSON}在{PLACE}吃了[product]，人均[amount]块，真香",
        "生日快乐{PERSON}！永远记得你{DATE_OF_BIRTH}出生那天下大雪",
        "看我主页{URL}，喜欢的点个赞，微信同号{MOBILE}",
        "小红书私信太慢了直接加V：{WECHAT}",
        "今天跑了[count]公里配速5分[count]秒，奖励自己一份[product]",
        "楼主{PERSON}说得对，{PLACE}房价涨到每平[amount]元我是不信的",
        "房东直租{ADDRESS}看房打{MOBILE}找{SURNAME}姐",
    ),
    "office": (
        "{PERSON}你好，合同已寄到{ADDRESS}，{ORGANIZATION}收",
        "请{PERSON}把服务器{IP_ADDRESS}的日志发到{EMAIL}",
        "工号{ACCOUNT_NUMBER}{PERSON}申请[day]调休一天请批准",
        "员工{PERSON}，护照{PASSPORT}，[day]飞{PLACE}出差，预算[amount]元",
        "版本3.2.1修复了[count]个问题，升级包大小[amount]MB",
        "我司{ORGANIZATION}联系人{PERSON}座机{PHONE}传真同号邮编{POSTCODE}",
        "面试者{PERSON}，手机{MOBILE}，邮箱{EMAIL}，期望薪资[amount]",
        "会议改到[day][time]，由{SURNAME}经理主持，地点{PLACE}",
    ),
    "property": (
        "业主{PERSON}，房号在{ADDRESS}，车牌号{CN_PLATE}，欠费[amount]元",
        "{CN_PLATE}的车主请挪车你挡住我了电话{MOBILE}",
        "维修工单{ORDER_NUMBER}已派给{SURNAME}师傅，上门时间[time]",
        "租客{PERSON}身份证{CN_ID}押一付三每月[amount]元租{ADDRESS}",
        "停车费每小时5元，[count]小时封顶[amount]元，[model]闸机故障",
        "访客{PERSON}开{CN_PLATE}来访，放行",
    ),
    "travel": (
        "乘客{PERSON}护照{PASSPORT}生日{DATE_OF_BIRTH}订{PLACE}到{PLACE}往返",
        "订单{ORDER_NUMBER}：{PERSON}入住{PLACE}，[count]晚共[amount]元",
        "港澳通行证{CN_PERMIT}丢了怎么补办，我人在{PLACE}，电话{PHONE}",
        "导游{PERSON}带[count]人团，大巴{CN_PLATE}，[day][time]集合",
        "全程[count]公里，油费[amount]元，路过{PLACE}记得尝[product]",
    ),
    "chat": (
        "麻烦帮我查下{ORDER_NUMBER}这单，急用",
        "单子{ORDER_NUMBER}到现在没动静，我都问了[count]遍了",
        "扣扣{QQ}加一下，暗号[product]",
        "我Q：{QQ}，晚上[time]以后在",
        "绿泡泡{WECHAT}，加的时候备注{PLACE}",
        "vx➕{WECHAT}可以先看[product]实拍",
        "v信 {WECHAT} 不议价[amount]拿走",
        "手机:{PHONE}/座机:{PHONE}，两个都能找到{SURNAME}哥",
        "白色SUV{CN_PLATE}剐了我的车跑了谁拍到了",
        "机票是用护照{PASSPORT}订的英文名别拼错了",
        "我{DATE_OF_BIRTH}生的，今年该买哪个险种",
        "{PERSON}\t{CN_ID}\t{MOBILE}\t{ADDRESS}",
        "姓名,证件,手机\n{PERSON},{CN_ID},{MOBILE}",
        "直接打到{CREDIT_CARD}就行{PERSON}开的户",
        "学籍查过了是{ACCOUNT_NUMBER}没错吧",
        "病历本上写的编号{ACCOUNT_NUMBER}，[day]拍的片子",
        "你打{MOBILE}她不接就发短信到{MOBILE}",
        "通行证我带着呢，{CN_PERMIT}，要拍照吗",
        "抬头{ORGANIZATION}税号{CN_CREDIT_CODE}开[amount]元的专票",
        "QQ邮箱{EMAIL}和手机{MOBILE}是一套的",
    ),
    "desk": (
        "喂你好我手机尾号对不上是{MOBILE}这个才对",
        "麻烦登记一下 {PERSON} {PHONE} 两位大人一个小孩",
        "编码填错了应该是{CN_CREDIT_CODE}",
        "微信我加过了搜{WECHAT}搜不到啊",
        "我的号是{QQ}，企鹅那个",
        "{PASSPORT}这本护照快过期了",
        "护照扫描件发你了，证件号{PASSPORT}",
        "回乡证 {CN_PERMIT} 和护照 {PASSPORT} 都带着",
        "车是{CN_PLATE}停B2",
        "物流一直停在{PLACE}，{WAYBILL}，帮催一下",
        "查件 {WAYBILL}",
        "退货寄回去了单号是 {WAYBILL} 注意查收",
        "交易流水{ORDER_NUMBER}对不上账",
        "支付订单尾数不对，完整的是{ORDER_NUMBER}",
        "病案首页上登记号{ACCOUNT_NUMBER}",
        "社保账户{ACCOUNT_NUMBER}没到账",
        "公积金个人编号：{ACCOUNT_NUMBER}",
        "水表户号{ACCOUNT_NUMBER}本月用水[count]吨",
        "会员卡{ACCOUNT_NUMBER}绑定{MOBILE}",
        "我妈{DATE_OF_BIRTH}的生日",
        "生日是{DATE_OF_BIRTH}，属兔",
        "出生年月{DATE_OF_BIRTH}填上",
        "小孩{DATE_OF_BIRTH}生，没满月",
        "邮箱写{EMAIL}，别写错",
        "邮政编码是{POSTCODE}吗",
        "登录IP：{IP_ADDRESS}异常，[time]的事",
        "传真发{PHONE}，宅电{PHONE}",
        "打工资那张是{CREDIT_CARD}",
        "+微信{WECHAT}",
        "VX同手机{MOBILE}",
        "v: {WECHAT}",
        "薇❤{WECHAT}",
        "Q裙{QQ}",
    ),
    "mixed": (
        "我的order是{ORDER_NUMBER}，客服一直不回",
        "帮我track一下{WAYBILL}，[count]天没动了",
        "my微信{WECHAT}加一下呗",
        "号主{PERSON}，QQ {QQ}被盗了",
        "账号被封了，UID {ACCOUNT_NUMBER}",
        "卡{CREDIT_CARD}冻结了，昨天刷了[amount]",
        "身份证{CN_ID}（正反面已传）",
        "证件类型：护照；证件号码：{PASSPORT}",
        "通行证号码 {CN_PERMIT} 有效期到[day]",
        "投诉{CN_PLATE}出租车绕路多收[amount]元",
        "我爸的号{MOBILE}你存一下",
        "出生证上写的{DATE_OF_BIRTH}",
        "客户编码{ACCOUNT_NUMBER}查不到",
        "快递柜里的{WAYBILL}是谁的",
        "备用邮箱{EMAIL}，备用电话{PHONE}",
        "邮编：{POSTCODE}（{PLACE}）",
        "发票号码和税号{CN_CREDIT_CODE}核对一下",
        "{PERSON}说他{DATE_OF_BIRTH}在{PLACE}出生",
    ),
    "traps": (
        "微信支付[amount]元成功，QQ音乐会员15元一个月",
        "订单量突破1000000单，会员数达到1234567人",
        "坐标113.943521,22.540503附近有[count]家店",
        "时间2024-03-05 12:30:45，耗时3.1415926秒",
        "符合GB/T 19001-2016和ISO9001:2015标准的[product]",
        "账户余额123456.78元，卡里还剩[amount]元",
        "第2023123期开奖，奖金5000000元，编号不变",
        "订单满299减50，叠加券再减[count]",
        "电话会议[time]开始，手机静音，参会[count]人",
        "这款手机5000毫安电池，跑分1234567，卖[amount]",
        "身份证复印件要[count]份，护照照片2寸",
        "苹果15 256G和[model]哪个好，预算8000到12000",
        "[product]净重1380克，保质期540天，生产日期2024年3月5日",
        "快递费[amount]元，重量[count]公斤，体积重按6000算",
        "全新A12345型号与阿里云C30001实例都不是车牌",
    ),
}


def wide(rng, text):
    """Now and then in full-width letters and digits, as some keyboards write them."""
    return text.translate(WIDE) if rng.random() < 0.06 else text


def fill(rng, template):
    """One sentence and its spans: [start, end, kind] in characters."""
    text, spans = "", []
    for part in re.split(r"(\{[A-Z_]+\}|\[[a-z]+\])", template):
        if part.startswith("["):
            text += FREE[part[1:-1]](rng)
        elif part.startswith("{"):
            kind, make = KINDS[part[1:-1]]
            value = make(rng)
            if kind not in ("PERSON", "ORGANIZATION", "ADDRESS", "PLACE", "URL"):
                value = wide(rng, value)
            spans.append([len(text), len(text) + len(value), kind])
            text += value
        else:
            text += part
    return text, spans


def main():
    rng = random.Random(1707)
    number = 0
    for register, templates in TEMPLATES.items():
        for template in templates:
            for _ in range(PER_TEMPLATE):
                text, spans = fill(rng, template)
                line = {"text": text, "spans": spans, "register": register, "template": number}
                json.dump(line, sys.stdout, ensure_ascii=False)
                print()
            number += 1


if __name__ == "__main__":
    main()
