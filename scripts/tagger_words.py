"""Plain words that are nobody's name, for the tagger's training: fillers and its list of words."""

from __future__ import annotations

from pathlib import Path
from typing import Final


def words(text: str) -> list[str]:
    """The values of a list that is written with blanks between them."""
    return text.split()


def listed(language: str) -> list[str]:
    """Common words of a language from the file beside this one."""
    path = Path(__file__).with_name(f"tagger_words_{language}.txt")
    return path.read_text(encoding="utf-8").split()


def options(text: str) -> list[str]:
    """The values of a list that is written with bars between them."""
    return text.strip().split("|")


WORDS_ZH: Final = words("""
我们 你们 他们 她们 自己 大家 这个 那个 这些 那些 什么 怎么 怎样 为什么 多少 哪里 哪个 这里 那里 这样 那样 现在 以前 以后
今天 明天 昨天 后天 前天 今年 明年 去年 早上 上午 中午 下午 晚上 夜里 凌晨 周末 星期 小时 分钟 时间 时候 时代 当时 平时 有时 同时 及时
可以 能够 应该 必须 需要 愿意 希望 觉得 认为 知道 发现 看到 听到 想到 感到 遇到 收到 得到 找到 做到 达到 受到 开始 结束 继续 停止 完成
进行 使用 利用 采用 提供 提出 提高 提醒 提前 提交 支付 支持 支出 解决 决定 选择 选项 选手 检查 检测 检验 调查 调整 研究 分析 讨论 说明 证明
但是 不过 可是 然而 所以 因此 因为 由于 如果 要是 虽然 即使 而且 并且 或者 还是 只有 只要 除了 关于 对于 根据 按照 通过 经过 随着 为了
非常 特别 十分 比较 更加 最好 最近 已经 曾经 刚才 刚刚 马上 立刻 立即 正在 一直 总是 经常 常常 往往 有点 几乎 大约 大概 可能 也许 一定 肯定
高兴 高级 高速 高度 高考 高铁 高峰 高手 高中 高低 高效 高压 高温 高层 马路 马虎 马桶 马达 马甲 马拉松 马车 马力 王国 王子 王朝 王牌 王者 国王
黄色 黄金 黄昏 黄瓜 黄豆 黄河 黄油 黄牛 白天 白色 白菜 白领 白酒 白板 白糖 白云 白糖 白费 明白 空白 何时 何必 何况 何处 如何 任何 任务 任意 任性 任命
金额 金属 金融 金牌 金色 金钱 方法 方便 方向 方案 方面 方式 方形 安全 安装 安排 安静 安心 安慰 安检 和平 和谐 和解 和气 于是 成功 成本 成为 成绩 成长 成熟 成分 成立 成员 成果
时尚 时刻 石头 石油 石子 石灰 史料 施工 施肥 严重 严格 严肃 颜色 言论 言语 江湖 江水 江边 常见 常识 常年 常用 田野 田地 钱包 钱财 孙子 周围 周期 周到 周边 周年 周一 周二 周三 周四 周五 周六 周日
张开 张贴 李子 梅花 梅雨 杨树 杨梅 柳树 林业 林地 余额 余下 余地 万一 万能 万物 连续 连接 连忙 连锁 路上 路线 路灯 路口 路程 陆地 陆续 牛奶 牛肉 牛仔裤 羊毛 龙虾 龙头 毛巾 毛衣 毛病 毛利 熊猫
包裹 包邮 包含 包装 包括 包子 花费 花园 花生 花朵 花样 元旦 元素 水果 水平 水电 水泥 水杯 温度 温柔 温暖 温和 文章 文件 文化 文明 文字 文具 易碎 易懂 叶子 汤圆 糖果 陶瓷 季节 季度 季军 卫生 卫星 卫衣
许多 许可 许久 许愿 曾祖 向来 向上 向导 车站 车票 车间 车辆 车位 车主 谢谢 谢意 沈水 项目 项链 程序 程度 雷雨 雷达 贺卡 顾客 顾问 顾虑 常规 康复 孔子 孔雀 孔洞 毕业 毕竟 米饭 米粉 计划 计算 计较 强大 强调 强烈 冷静 冷冻 冷气 平安 平常 平台 平均 平方 平衡
关系 关心 关闭 关键 关注 单位 单独 单纯 单价 全部 全家 全国 全面 全年 左右 左边 古代 古老 古典 古董 宗教 宗旨 应用 应对 应急 边缘 边上 段落 谷物 党员 充分 充电 充值 甘蔗 习惯 习题 盛大 盛开 祝福 祝贺 明显 明确 明星 明年 席位 景色 景点 尚未 景区 丰富 丰收 农村 农业 农民 沙发 沙漠 沙滩 步行 步骤 都市 耿直 满意 满足 满减 匡正 国家 国际 国内 国产 文学 广告 广场 广播 东西 东方 东部 欧洲 利益 利用 利息 越来越 越野 师傅 师生 那么 简单 简直 简历 空间 空调 空气 空运 鱼缸 鱼汤 红色 红包 红茶 红糖 游戏 游客 游泳 权利 权限 盖子 益处 商品 商家 商场 商量 商标 原因 原来 原价 宁静 宁愿 房子 房间 房东 房租 房价 裁判 伍佰 别人 别的 别处 申请 申报 申诉 幸福 幸运 司机 司法 乐观 乐器 干净 干部 解释 解除 解放 管理 管道 管家 经济 经验 经营 经理
学习 学校 学生 学费 学期 教育 教学 教室 教材 考试 成人 老师 老人 老家 老板 老年 小孩 小区 小心 小说 小麦 小吃 小组 小数 大学 大人 大型 大量 大厅 大米 大门 大蒜 阿姨 孩子 宝宝 宝贝 父母 父亲 母亲 家庭 家长 家具 家电 家乡
工作 工厂 工资 工具 工程 工人 工业 公司 公园 公路 公里 公斤 公共 公开 公平 公寓 公式 公告 公章 医院 医生 医保 医药 护士 病人 病房 病历 药品 药店 手术 手机 手表 手续 手套 手册 身体 身份 身高 头发 头痛 眼睛 眼镜 鼻子 耳朵 心脏 心情 心理
商店 超市 餐厅 饭店 酒店 银行 邮局 机场 火车 汽车 公交 地铁 飞机 自行车 电动车 城市 农田 社会 社区 政府 政策 法律 法院 规定 规则 标准 条件 条款 合同 协议 签字 盖章 发票 收据 账单 账户 密码 验证码 短信 邮件 电话 电脑 网络 网站 软件 系统 数据 信息 消息 新闻 照片 视频 音乐 电影 电视 歌曲 节目 故事 小狗 小猫
衣服 裤子 裙子 鞋子 帽子 袜子 外套 衬衫 书包 雨伞 杯子 盘子 筷子 桌子 椅子 床单 枕头 被子 窗户 门口 厨房 卧室 客厅 浴室 阳台 冰箱 洗衣机 微波炉 吹风机 充电器 耳机 键盘 鼠标 屏幕 电池 插头 灯泡 纸巾 牙刷 牙膏 洗发水 沐浴露 面膜 口红
早餐 午餐 晚餐 米线 面条 饺子 包子 馒头 豆腐 鸡蛋 鸡肉 猪肉 青菜 土豆 西红柿 苹果 香蕉 西瓜 葡萄 橙子 草莓 茶叶 咖啡 果汁 啤酒 蛋糕 饼干 巧克力 冰淇淋 味道 好吃 新鲜 便宜 贵重 免费 打折 优惠 优惠券 促销 活动 会员 积分 运费 快递 物流 发货 退货 退款 换货 售后 客服 质量 尺寸 颜值 款式 材质 做工 手感 性价比 差评 好评 评价 推荐 购买 下单 付款 取消 订单 库存 现货 预售 定金 尾款
漂亮 美丽 可爱 帅气 聪明 善良 勇敢 努力 认真 仔细 热情 耐心 友好 礼貌 开心 快乐 难过 伤心 生气 害怕 担心 着急 无聊 奇怪 有趣 重要 困难 容易 复杂 清楚 模糊 干燥 潮湿 炎热 寒冷 凉快 下雨 下雪 刮风 晴天 阴天 春天 夏天 秋天 冬天 天气 空气 阳光 月亮 星星 天空 大海 河流 湖泊 山顶 森林 草原 动物 植物 鲜花
吃饭 睡觉 起床 洗澡 上班 下班 加班 开会 出差 请假 休息 休假 旅游 旅行 回家 出门 走路 跑步 爬山 唱歌 跳舞 画画 写字 读书 看书 聊天 打球 打扫 做饭 洗碗 买菜 购物 逛街 搬家 装修 结婚 离婚 生日 过年 春节 中秋 国庆 放假 礼物 聚会 约会 朋友 同学 同事 邻居 客人 客户 用户 先生 女士 小姐 经理 主任 领导 代表 专家 记者 律师 法官 警察 司长 工程师 设计师 会计 学者 作家 演员 歌手 导演 运动员
第一 第二 第三 一个 两个 三个 几个 一些 一下 一起 一样 一般 一切 一共 半年 半天 百分 许多 全体 各种 各位 其他 其中 其实 另外 此外 之前 之后 之间 以上 以下 以内 以外 左侧 右边 上面 下面 里面 外面 前面 后面 旁边 中间 附近 到处 变化 发展 发生 发现 发布 发送 建设 建议 建筑 增加 增长 减少 降低 上涨 下降 改变 改善 改革 影响 作用 意义 意见 意思 结果 结构 情况 环境 问题 机会 机构 机器 技术 科技 科学 产品 产业 生产 生活 生命 市场 价格 价值 经费 资金 投资 贷款 利率 税收 收入 消费 交易 贸易 出口 进口 运输 能源 石化 煤炭 电力 钢铁 粮食 棉花
东南 西北 南部 北方 中部 南方 西部 地区 地方 地址 地图 地面 门牌 楼下 楼上 电梯 停车场 物业 保安 保洁 保险 保护 保证 保存 保留 保修 保养 注意 注册 登录 登记 下载 上传 打开 点击 输入 输出 搜索 设置 修改 删除 更新 升级 安全 备份 错误 异常 故障 维修 更换 测量 温控 压力 速度 距离 重量 长度 宽度 面积 体积
哈哈 嘻嘻 嗯嗯 好的 不是 没有 不要 不能 不会 不用 不错 不行 不同 不足 不良 没事 没用 还有 都是 就是 也是 只是 可惜 当然 显然 突然 忽然 果然 竟然 居然 仍然 依然 自然 必然 偶然 原本 本来 其余 彼此 互相 相互 相信 相关 相当 相同 相反 于此 关怀 谁也 某人 某些
""")

WORDS_EN: Final = words("""
the a an and or but nor so yet for of in on at by to from with without within into onto over under above below between among through during before after since until while because although though unless whether if then than as like about against along around behind beside beyond despite down up off out near per plus via
i you he she it we they me him her us them my your his its our their mine yours hers ours theirs this that these those who whom whose which what where when why how all any both each every few many more most much neither none one other several some such same own another nobody somebody everyone something anything nothing everything
am is are was were be been being have has had having do does did doing done can could may might must shall should will would ought need dare not no yes
navigate navigating locate locating availability login log identify proceed begin provide firstly secondly thirdly lastly finally spot prepare dial carefully clearly premium platinum freemium billing scroll subscribe browse submit click select selecting following restore accepted options adjacent dilemma review refunds bills fill look ensure ensuring confirm verify verification enter entering input fetch gather collect contact reach visit access accessing explore exploring discover discovering understand understanding recognize appreciate appreciating kindly simply absolutely certainly gladly rest assured await expect track tracking cancellation cancelling canceling modify modifying update updating delete deleting remove removing create creating register registering sign signing switch switching upgrade upgrading download downloading upload uploading install installing configure configuring enable disable adjust adjusting notify notification reminder alert acknowledge apologies apologize sincerely regarding concerning pertaining additionally furthermore moreover however therefore thus hence meanwhile nevertheless instead likewise similarly specifically generally usually typically currently recently previously originally eventually immediately shortly promptly securely safely successfully unfortunately fortunately obviously honestly basically literally actually really apparently presumably hopefully
account accounts address advice agent agreement amount answer apartment app application apply appointment arrive article ask assistant attached attorney authorization available average award baby bad bag balance bank bar basic bath battery beach beautiful bed begin best better big bill birthday black blood blue board boat body book booking born box boy brand bread break breakfast bridge bring broken brother brown budget build building business busy buy cable cake call camera camp cancel cancer car card care case cash cat cause cell center central certificate chair chance change channel charge cheap check child children choose church city claim class clean clear client clinic close clothes club coach coat code coffee cold collect college color colour come comment common community company complaint computer conference confirm contact contract cook cool copy corner correct cost country couple course court cover credit cup current customer cut daily damage dark data date daughter day days dead deal dear death decide deep delay delete deliver delivered delivery department deposit desk detail details device diagnosis die different difficult dinner direct director discount doctor document dog dollar door double doubt draft dream dress drink drive driver drop drug due early easy eat economy education effect egg eight election email emergency employee empty end engine enjoy enough enter entry error evening event exact exam example except exchange excuse exercise expensive experience expire explain extra eye face fact fail fair fall family famous far farm fast father fee feel female festival fever field fight file fill film final find fine finish fire firm first fish five fix flat flight floor flower fly follow food foot football forest forget form forward four free fresh friend front fruit full fun fund funny furniture future game garden gas gate general gift girl give glad glass go goal gold good goods government grand great green grey ground group grow guarantee guess guest guide guitar gun hair half hall hand happen happy hard hat head health hear heart heat heavy help here high hill history hit hold hole holiday home hope horse hospital hot hotel hour house household huge human hundred hungry hurry hurt husband ice idea illness image important inch include income increase information injury inside insurance interest interview invoice island issue item jacket job join journey judge juice jump junior just keep key kid kill kind king kitchen know label lady lake lamp land language large last late laugh law lawyer lead learn leave left leg legal less lesson letter level library licence license lie life lift light limit line list listen little live loan local lock long look lose loss lost lot loud love low luck lunch machine mail main make male man manage manager map mark market married match matter meal mean measure meat medical medicine meet meeting member memory menu message metal middle mile milk million mind minute mirror miss mistake mobile model modern moment money monitor month moon morning mother mountain mouth move movie museum music name narrow nation nature nearly neck neighbor neighbour network never new news next nice night nine noise normal north nose note notice now number nurse object ocean offer office officer often oil old online only open operation opinion option orange order organization original outside oven owner pack package page paid pain paint pair paper parcel parent park part party pass passenger passport password past patient pay payment peace pen pension people perfect perhaps period permit person pet phone photo piano pick picture piece pink place plan plane plant plastic plate play player please point police policy pool poor popular position possible post pound power practice prefer prescription present president press pretty price prime print prison private prize problem process produce product profit program project promise proof property protect proud public pull purchase purpose push put quality quarter queen question queue quick quiet quite radio rain raise rate rather read ready real really reason receipt receive recent record red reduce refund refuse region register regular relation release remember remind remove rent repair repeat replace reply report request require reservation reset respect response rest restaurant result return review reward rice rich ride right ring rise river road rock roof room round route rule run sad safe salad salary sale salt sand save say scale school science score screen sea search season seat second secret section security see sell send senior sentence serious serve service session set settle seven shape share sheet ship shipment shirt shoe shop short shoulder show shower sick side sign signature silver simple sing single sister sit site situation six size skin sky sleep slow small smart smell smile smoke snow soap sofa soft software sold solution son song soon sorry sort sound soup south space speak special speed spend spirit spoon sport spring square staff stage stairs stamp stand star start state statement station stay steal step still stock stomach stone stop store storm story straight street strong student study style subject success sudden sugar suggest suit summer sun supplier supply support sure surgery surprise sweet swim system table tablet take talk tall tank tax taxi tea teach teacher team technical telephone television tell temperature ten tenant terms test thank thanks theatre thick thin thing think third thousand three throw ticket tie time tired title today together toilet tomorrow tonight tool tooth top total touch tour towel tower town toy track trade traffic train transfer travel treat treatment tree trial trip trouble truck true trust try turn two type ugly uncle understand unit university update upgrade urgent use user usual vacation valid value van vegetable vehicle verify very video view village visa visit voice wait walk wall want war warm warranty wash waste watch water way weak wear weather wedding week weekend weight welcome west wet wheel white whole wide wife wild win wind window wine winter wire wish witness woman wonder wood word work world worry worse wrong yard year yellow yesterday young zero
""")

PRODUCTS_EN: Final = options("""
iPhone 14|Galaxy Buds Pro|Air Fryer XL|Kindle Paperwhite|Echo Dot|Model 3|Surface Pro|Dyson V11|PlayStation 5|Golden Harvest Granola|Blue Ridge Backpack|Silk Pillowcase|Trail Runner 2|Nordic Lamp|Bamboo Cutting Board|Classic Crew Socks|Stainless Kettle|Ultra HD Monitor|Wireless Mouse M310|Hydrating Face Cream|Organic Green Tea|Baby Monitor Duo|Yoga Mat Plus|Garden Hose 30m|Premium Plan|Gold Card|Basic Package|Travel Mug|Winter Parka|Vintage Denim|Standing Desk|Espresso Machine|Memory Foam Mattress|Smart Watch Series 6|Rose Gold Bracelet|Jasmine Candle|Victoria Sofa|Madison Chair|Austin Boots|Charlotte Dress|Oxford Shirt|Chelsea Boots|Brooklyn Bag|Windsor Knot Tie|Aurora Headphones|Phoenix Tent
""")

PRODUCTS_ZH: Final = words("""
蓝牙耳机 保温杯 电饭煲 羊毛围巾 空气炸锅 运动鞋 儿童书包 真丝枕套 护手霜 机械键盘 登山包 床上四件套 折叠伞 台灯 扫地机器人 电动牙刷 智能手表 瑜伽垫 羽绒服 牛仔裤 连衣裙 白衬衫 高跟鞋 马丁靴 黄金项链 金毛狗粮 龙井茶 毛尖 普洱茶 王老吉凉茶 明前绿茶 云南白药牙膏 汤锅 石榴 江米条 雷竹笋 安神枕 康乃馨 万年历 花露水 方便面 白玉手镯 紫砂壶 宣纸 毛笔 充电宝 手机壳 数据线 投影仪 显示器 路由器 麦克风 婴儿车 纸尿裤 奶粉 辅食机
""")

DRUGS_EN: Final = words("""
aspirin ibuprofen metformin lisinopril atorvastatin amoxicillin omeprazole sertraline warfarin insulin Lipitor Zoloft Tylenol prednisone gabapentin losartan albuterol Xanax Advil Humira
""")

DRUGS_ZH: Final = words("""
阿司匹林 布洛芬 二甲双胍 阿莫西林 头孢 胰岛素 硝苯地平 奥美拉唑 维生素 板蓝根 青霉素 甲硝唑 氯雷他定 钙片
""")

NATIONS: Final = words("""
American British French German Italian Spanish Chinese Japanese Korean Indian Russian Brazilian Mexican Canadian Australian Turkish Polish Dutch Swedish Norwegian Danish Finnish Greek Irish Scottish Hungarian Czech Portuguese Egyptian Nigerian Kenyan Iranian Iraqi Israeli Thai Vietnamese Indonesian Filipino Pakistani Ukrainian Romanian Bulgarian Croatian Serbian Swiss Austrian Belgian Argentine Chilean Colombian Cuban Muslim Christian Jewish Buddhist Catholic Hindu Welsh European African Asian
""")

ACRONYMS: Final = words("""
ATM PIN FAQ PDF USB GPS TV CEO CFO CTO HR IT VAT DIY ID PC CPU RAM SIM SMS URL API SQL HTML PO PR QA ETA ASAP FYI BTW RSVP AC DC LED LCD SUV EV DVD CD DJ VIP MRI CT ECG EKG ICU ER BP HR BMI DNA RNA HIV COPD UTI IV OTC PCR TBC TBA RIP OK USD EUR GBP IRA APR ROI KPI B2B SKU NDA LLM AI ML UI UX OS VPN WIFI PPT DOC JPG AM PM BBQ PJ XL XXL AKA DOB SSN MRN ZIP IBAN BIC SWIFT RR EU4 NB PS NW SE
""")
