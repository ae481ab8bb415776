"""Public words of a marketplace, in English and Chinese: what any shop could sell or say.

Nothing here belongs to a shop or a person. Towns, carriers and people are invented; the words for
products, materials and reasons are everyday ones. The private facts (who sells what, at which
price, to whom) grow from a seed in ``sottovoce.data.marketplace``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Term:
    """One notion in both languages.

    >>> Term("kettle", "水壶").text("zh")
    '水壶'
    """

    en: str
    zh: str

    def text(self, language: Language) -> str:
        """Give the word in ``language``."""
        return self.en if language == "en" else self.zh


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of product that any shop may sell.

    Args:
        name: what the product is called.
        category: the shelf it stands on; one of ``CATEGORIES``.
        price: lowest and highest usual price, in whole dollars.
        materials: what it can be made of; some of ``MATERIALS``.
        axis: what its variants differ in (capacity, length ...); one of ``AXES``.
        values: the variants, each with its unit.
        fits: English name of the kind that this one is an accessory of, or empty.
    """

    name: Term
    category: Term
    price: tuple[int, int]
    materials: tuple[Term, ...]
    axis: Term
    values: tuple[Term, ...]
    fits: str


def _terms(table: str) -> tuple[Term, ...]:
    """Read ``english=chinese`` pairs, parted by commas or line ends."""
    pairs = (pair.split("=") for line in table.splitlines() for pair in line.split(",") if pair)
    return tuple(Term(en.strip(), zh.strip()) for en, zh in pairs)


def _words(table: str) -> tuple[str, ...]:
    """Read words parted by white space."""
    return tuple(table.split())


CATEGORIES: tuple[Term, ...] = _terms(
    """kitchen=厨房用品,bed and bath=床品卫浴,lighting=灯具,furniture=家具,electronics=数码电器
outdoor=户外用品,clothing=服饰,stationery=文具,pets=宠物用品,garden=园艺"""
)

COLOURS: tuple[Term, ...] = _terms(
    """black=黑色,white=白色,grey=灰色,navy=藏青色,sky blue=天蓝色,forest green=墨绿色,olive=橄榄绿
red=红色,burgundy=酒红色,pink=粉色,cream=米白色,sand=沙色,brown=棕色,orange=橙色,yellow=黄色
purple=紫色,mint=薄荷绿,silver=银色"""
)

MATERIALS: tuple[Term, ...] = _terms(
    """stainless steel=不锈钢,cast iron=铸铁,aluminium=铝合金,ceramic=陶瓷,glass=玻璃,bamboo=竹
oak=橡木,walnut wood=胡桃木,beech=榉木,pine=松木,cotton=纯棉,linen=亚麻,wool=羊毛,silk=真丝
fleece=摇粒绒,leather=真皮,canvas=帆布,nylon=尼龙,polyester=涤纶,silicone=硅胶,rattan=藤编
recycled plastic=再生塑料,titanium=钛,brass=黄铜,cork=软木,recycled paper=再生纸,felt=毛毡
terracotta=陶土,rubber=橡胶,down=羽绒"""
)

AXES: tuple[Term, ...] = _terms(
    """capacity=容量,size=尺寸,length=长度,width=宽度,power=功率,battery life=续航,weight=重量
page count=页数,brightness=亮度,piece count=件数"""
)

# Each axis measures in one unit; size is named instead.
_UNITS: dict[str, Term] = {
    "capacity": Term(" litres", "升"),
    "length": Term(" metres", "米"),
    "width": Term(" cm", "厘米"),
    "power": Term(" watts", "瓦"),
    "battery life": Term(" hours", "小时"),
    "weight": Term(" kg", "公斤"),
    "page count": Term(" pages", "页"),
    "brightness": Term(" lumens", "流明"),
    "piece count": Term(" pieces", "件"),
}

SIZES: tuple[Term, ...] = _terms("small=小号,medium=中号,large=大号,extra large=特大号")

# category | kind | price | materials | axis | values | is an accessory of
_KINDS = """
kitchen | kettle=水壶 | 25-90 | stainless steel, glass | capacity | 0.8 1.2 1.7 |
kitchen | frying pan=煎锅 | 20-75 | cast iron, aluminium, stainless steel | width | 20 24 28 |
kitchen | glass lid=玻璃锅盖 | 8-20 | glass | width | 20 24 28 | frying pan
kitchen | chopping board=砧板 | 12-45 | bamboo, oak, beech | size | small medium large |
kitchen | coffee grinder=磨豆机 | 30-110 | stainless steel, ceramic | power | 120 150 200 |
kitchen | lunch box=饭盒 | 10-35 | glass, stainless steel, bamboo | capacity | 0.6 0.9 1.2 |
kitchen | tea set=茶具 | 25-95 | ceramic, glass | piece count | 4 6 8 |
bed and bath | duvet=被子 | 45-160 | cotton, wool, down | size | medium large |
bed and bath | duvet cover=被套 | 25-80 | cotton, linen, silk | size | medium large | duvet
bed and bath | pillow=枕头 | 15-60 | cotton, down, wool | size | small medium large |
bed and bath | pillowcase=枕套 | 8-30 | cotton, linen, silk | size | small medium large | pillow
bed and bath | bath towel=浴巾 | 10-40 | cotton, linen, bamboo | size | medium large |
bed and bath | bath mat=浴室地垫 | 12-35 | cotton, cork, bamboo | width | 40 50 60 |
lighting | desk lamp=台灯 | 22-90 | aluminium, brass, oak | brightness | 400 600 800 |
lighting | floor lamp=落地灯 | 45-180 | brass, aluminium, bamboo | brightness | 800 1100 1500 |
lighting | lampshade=灯罩 | 12-45 | linen, rattan, glass | width | 25 30 40 | floor lamp
lighting | pendant light=吊灯 | 35-150 | rattan, glass, brass | brightness | 700 900 1200 |
lighting | night light=小夜灯 | 9-30 | silicone, ceramic | battery life | 12 20 40 |
lighting | dimmer plug=调光插头 | 10-28 | recycled plastic | power | 60 100 150 | desk lamp
furniture | bookshelf=书架 | 60-240 | oak, pine, bamboo | width | 60 80 100 |
furniture | armchair=扶手椅 | 120-420 | leather, linen, rattan | width | 70 78 86 |
furniture | chair cover=椅套 | 18-60 | cotton, linen, polyester | width | 70 78 86 | armchair
furniture | coffee table=茶几 | 70-260 | walnut wood, oak, glass | width | 60 80 110 |
furniture | bedside table=床头柜 | 45-150 | pine, oak, walnut wood | width | 35 40 45 |
furniture | shoe rack=鞋架 | 25-80 | bamboo, pine, stainless steel | width | 50 70 90 |
electronics | power bank=充电宝 | 20-70 | aluminium, recycled plastic | battery life | 18 30 45 |
electronics | speaker=音箱 | 30-160 | aluminium, walnut wood | battery life | 8 14 24 |
electronics | speaker stand=音箱支架 | 15-55 | oak, aluminium | width | 15 20 25 | speaker
electronics | keyboard=键盘 | 35-140 | aluminium, recycled plastic | battery life | 60 120 300 |
electronics | wrist rest=键盘腕托 | 10-32 | walnut wood, leather, cork | width | 30 36 44 | keyboard
electronics | desk fan=桌面风扇 | 18-65 | recycled plastic, aluminium | power | 15 25 35 |
electronics | charging cable=充电线 | 6-22 | nylon, silicone | length | 1 1.5 2 | power bank
outdoor | tent=帐篷 | 80-320 | nylon, polyester, canvas | weight | 1.8 2.6 3.9 |
outdoor | groundsheet=帐篷地布 | 15-50 | polyester, nylon | weight | 0.3 0.5 0.8 | tent
outdoor | sleeping bag=睡袋 | 45-210 | down, polyester, fleece | weight | 0.9 1.3 1.9 |
outdoor | water bottle=运动水壶 | 12-45 | stainless steel, titanium, glass | capacity | 0.5 0.75 1 |
outdoor | hiking pole=登山杖 | 20-85 | aluminium, titanium | length | 1.1 1.2 1.3 |
outdoor | backpack=背包 | 40-190 | nylon, canvas, leather | capacity | 18 28 45 |
outdoor | rain cover=背包防雨罩 | 8-25 | nylon, polyester | capacity | 18 28 45 | backpack
clothing | rain jacket=雨衣 | 45-170 | nylon, polyester | size | small medium large |
clothing | scarf=围巾 | 14-70 | wool, silk, cotton | length | 1.4 1.6 1.8 |
clothing | sweater=毛衣 | 30-130 | wool, cotton, fleece | size | small medium large |
clothing | belt=皮带 | 15-60 | leather, canvas | length | 0.9 1 1.1 |
clothing | sun hat=遮阳帽 | 12-48 | cotton, linen, canvas | size | small medium large |
clothing | apron=围裙 | 14-40 | cotton, linen, canvas | size | medium large |
stationery | notebook=笔记本 | 5-28 | recycled paper, leather, linen | page count | 96 160 240 |
stationery | pencil set=彩铅套装 | 9-48 | beech, recycled paper | piece count | 12 24 48 |
stationery | pen case=笔袋 | 8-36 | leather, canvas, felt | width | 18 20 22 | pencil set
stationery | desk organiser=桌面收纳盒 | 12-50 | bamboo, felt, oak | width | 20 28 35 |
stationery | wall calendar=挂历 | 8-25 | recycled paper, linen | page count | 14 28 56 |
stationery | book stand=阅读架 | 14-45 | beech, bamboo, aluminium | width | 22 28 34 |
pets | dog bed=狗窝 | 28-120 | cotton, fleece, felt | size | small medium large |
pets | bed liner=狗窝垫 | 12-40 | cotton, fleece | size | small medium large | dog bed
pets | cat tree=猫爬架 | 45-180 | pine, rattan, felt | weight | 6 9 14 |
pets | feeding bowl=宠物碗 | 8-30 | ceramic, stainless steel, bamboo | capacity | 0.3 0.5 0.8 |
pets | dog lead=牵引绳 | 10-42 | nylon, leather, rubber | length | 1.2 1.8 3 |
pets | pet carrier=宠物包 | 30-110 | canvas, nylon, felt | weight | 1.1 1.5 2 |
garden | watering can=洒水壶 | 14-50 | brass, recycled plastic, aluminium | capacity | 1.5 3 5 |
garden | plant pot=花盆 | 8-45 | terracotta, ceramic, recycled plastic | width | 14 20 28 |
garden | pot saucer=花盆托盘 | 4-15 | terracotta, ceramic, cork | width | 14 20 28 | plant pot
garden | pruning shears=修枝剪 | 15-60 | stainless steel, titanium | weight | 0.2 0.3 0.4 |
garden | garden hose=浇水软管 | 18-75 | rubber, silicone | length | 10 15 25 |
garden | hammock=吊床 | 30-120 | cotton, nylon, canvas | length | 2 2.4 2.8 |
"""


def _kind(line: str) -> Kind:
    """Read one line of the table of kinds."""
    category, name, price, materials, axis, values, fits = (x.strip() for x in line.split("|"))
    low, high = price.split("-")
    wanted = [word.strip() for word in materials.split(",")]
    if axis == "size":
        variants = tuple(term for term in SIZES if term.en in values.split())
    else:
        unit = _UNITS[axis]
        variants = tuple(
            Term(n + (unit.en.rstrip("s") if n == "1" else unit.en), n + unit.zh)
            for n in values.split()
        )
    return Kind(
        name=_terms(name)[0],
        category=next(term for term in CATEGORIES if term.en == category),
        price=(int(low), int(high)),
        materials=tuple(term for term in MATERIALS if term.en in wanted),
        axis=next(term for term in AXES if term.en == axis),
        values=variants,
        fits=fits,
    )


KINDS: tuple[Kind, ...] = tuple(_kind(line) for line in _KINDS.strip().splitlines())

WEEKDAYS: tuple[Term, ...] = _terms(
    "Monday=周一,Tuesday=周二,Wednesday=周三,Thursday=周四,Friday=周五,Saturday=周六,Sunday=周日"
)
MONTHS: tuple[Term, ...] = _terms(
    """January=1月,February=2月,March=3月,April=4月,May=5月,June=6月,July=7月,August=8月
September=9月,October=10月,November=11月,December=12月"""
)

# Invented parcel services; every shop uses one of them.
CARRIERS: tuple[Term, ...] = _terms(
    """Larkpost=云雀快递,Bluefen=蓝汀速运,Quickhare=快兔物流,Northwind Parcel=朔风速递
Copperline=铜线快运,Redkite=红鸢快递,Harbour Express=港湾速运,Pineroad=松路物流"""
)

PAYMENTS: tuple[Term, ...] = _terms(
    """bank card=银行卡,bank transfer=银行转账,gift card=礼品卡,store credit=店铺余额
mobile wallet=手机钱包,instalments=分期付款"""
)

# What is wrong with an article, and other reasons to give one back.
FAULTS: tuple[Term, ...] = _terms(
    """it arrived broken=收到时已经坏了,it has a scratch=表面有划痕,a part is missing=少了配件
it broke after three days=用了三天就坏了,it smells odd=有异味,it has a stain=有污渍
it is loose=松松垮垮的,it has a crack=有裂缝"""
)
RETURN_REASONS: tuple[Term, ...] = FAULTS + _terms(
    """it is too small=尺寸偏小,it is too big=尺寸偏大,the colour looks different=颜色和图片不一样
I changed my mind=不想要了,I ordered the wrong one=拍错了,I got it twice=收到了两份
it does not go with my room=和家里不搭,I found another one=已经有别的了"""
)

STATUSES: tuple[Term, ...] = _terms(
    "processing=处理中,packed=已打包,shipped=运输中,out for delivery=派送中,delivered=已签收"
)

# Labels of conversations; also what a Dirichlet partition can split by.
INTENTS: tuple[Term, ...] = _terms(
    """order_status=订单查询,refund=退款,delivery=配送,product_question=商品咨询,policy=店铺政策
exchange=换货,complaint=投诉,thanks=感谢"""
)

GIVEN_EN: tuple[str, ...] = _words(
    """Ada Alma Amir Anouk Anton Beatrix Bela Bram Cara Cedric Clio Cosmo Dario Delia Edda Eero
Elin Emil Esme Ezra Fara Felix Fenn Flora Gita Greta Hana Hugo Ida Ilya Imani Ines Iris Ivo Jana
Jonas Juno Kaia Kiran Lale Lena Linus Lotte Luca Magnus Maia Marek Mila Milo Nadia Nils Noor Oona
Oscar Otto Petra Priya Quinn Rafi Remy Rhea Rosa Runa Sana Selma Silas Signe Tariq Tessa Theo Tove
Uma Vera Viggo Wanda Yara Yusuf Zora"""
)
SURNAMES_EN: tuple[str, ...] = _words(
    """Abelard Alderwood Ashgrove Barrowby Bellweather Birchall Brackwell Calderby Carrowmere Cobham
Coppins Dunmarsh Elmsworth Fairholt Farrowdale Fennimore Foxley Garside Glenmoor Greywater Hallowby
Harrowgate Hazelden Heathcombe Holloway Inglewood Kestrel Kilmarsh Larkham Lindqvist Lockridge
Marlowby Merrowdale Millstone Mossgrove Netherby Oakhurst Orchardson Pemberly Pennrose Quillan
Ravensby Redfern Ridgeway Rookwood Rowanby Sandmere Sedgwick Silverton Stonebrook Tamworth Thistleby
Thornbury Underhill Vantongeren Wainscott Westerby Wexcombe Whitlow Winterbourne Wolfenden Yarrow
Zellweg"""
)
SURNAMES_ZH: tuple[str, ...] = _words(
    "王 李 张 刘 陈 杨 赵 黄 周 吴 徐 孙 马 朱 胡 郭 何 林 高 罗 郑 梁 谢 宋 唐 许 韩 冯 邓 曹 "
    "彭 曾 肖 田 董 潘 袁 蔡 蒋 余 于 杜 叶 程 魏 苏 吕 丁 任 沈 姚 卢 姜 崔 钟 谭 陆 汪 范 石"
)
GIVEN_ZH: tuple[str, ...] = _words(
    """雨桐 子墨 思远 欣怡 晏如 晓晴 嘉木 梦瑶 乘舟 诗涵 叙白 若溪 明轩 时雨 宇航 静姝 天佑 佳宁 文博
棠梨 屿安 雪莹 立群 可欣 景行 芷若 承泽 书瑶 弘毅 念慈 牧之 清越 知夏 云舒 南乔 望舒 星野 青禾 沐阳 安然
小满 初雪 秋白 霁川 春晓 竹君 松年 海棠 石韵 江月 临风 听澜 问渠 观止 朗月 怀瑾 修远 如意 怀谷 采薇"""
)

# Towns and streets that exist nowhere, so that no address is anybody's.
CITIES: tuple[Term, ...] = _terms(
    """Eastmere=东泽市,Port Calder=港宁市,Willowford=柳津市,Stonehaven Bay=石屿市,Larkfield=雀原市
Greyfen=灰淀市,Alderton=桤城市,Silverpool=银潭市,Northcombe=北谷市,Maplewick=枫湾镇
Harrowdale=田坪市,Clearwater Rise=清源岭市,Foxbridge=狐桥市,Amberly=琥珀市,Westhollow=西坳市
Brightwater=明川市,Thornfield=棘原市,Rushmoor End=芦泽市,Cinder Hill=煤岭市,Lowbrook=低溪市"""
)
STREETS: tuple[Term, ...] = _terms(
    """Larch Lane=落叶松路,Quarry Street=采石街,Heron Road=白鹭路,Mill Row=磨坊巷,Juniper Way=桧柏路
Lantern Street=灯笼街,Orchard Close=果园里,Chapel Walk=小堂路,Cooper Yard=木桶巷,Fern Avenue=蕨园大道
Saffron Street=藏红街,Tannery Lane=皮匠巷,Beacon Road=烽火路,Weaver Street=织女街,Gull Quay=海鸥码头
Plum Court=梅园路"""
)
