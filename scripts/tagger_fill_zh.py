"""Values for the slots of the Chinese patterns: people, firms, towns, addresses, and plain things."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from tagger_fill_en import EnglishValues
from tagger_fill_plain import plain
from tagger_names import HAN_GIVEN, HAN_SURNAMES_OF_TWO, transliterated
from tagger_words import DRUGS_ZH, PRODUCTS_ZH, WORDS_ZH, words

_STREET_WORDS: Final = words("""
人民 解放 中山 建设 建国 和平 胜利 文化 新华 长安 南京 北京 上海 滨江 滨河 迎宾 友谊 光明 朝阳 东风 红旗 学府 科技 创业 金融 工业 农林 花园 湖滨 江汉 黄河 长江 珠江 泰山 天山 昆仑 环城 东湖 西湖 南湖 大学 师范 体育 火车站 机场 幸福 团结 民主 民生 青年 前进 复兴 延安 淮海 世纪 龙华 深南 天河 体育西 五四 八一 五一 春熙 太平 永安 长寿 玉泉 清华 中关村 学院 望京 阜通 万泉河 双井 劲松 龙腾 凤凰 银河 金沙 翠竹 桃园 梅林 竹园 松江 石桥 铁西 河西 城北 武林 文三 莫干山 古墩 延平
""")
_STREET_ENDS: Final = words(
    "路 路 路 街 街 大街 大道 东路 西路 南路 北路 中路 巷 胡同 里 弄 东街 西街 一路 二路"
)
_ESTATES: Final = words("""
阳光 翠湖 金色 绿地 万科 保利 恒大 碧桂 龙湖 中海 融创 华润 世茂 锦绣 蓝天 幸福 和谐 东方 紫金 滨江 御景 丽景 嘉和 天通苑 回龙观 静安 水岸 星河 春天 梧桐 香榭 枫林 玫瑰 月亮湾 海棠 桂花 银杏
""")
_ESTATE_ENDS: Final = words(
    "小区 花园 家园 苑 公寓 新村 城 名邸 府 里 湾 广场 社区 东区 华庭 豪庭 国际 宿舍"
)
_TOWERS: Final = words(
    "国贸 环球金融 万达 世贸 财富 时代 中信 创新 科技 银河SOHO 恒隆 银泰 来福士 环宇 金茂 天府 软件园 高新 创智 联合"
)
_TRADES: Final = words("""
科技 网络科技 信息技术 电子商务 贸易 进出口 实业 投资 建筑工程 房地产开发 物业管理 餐饮管理 食品 医药 生物科技 机械制造 汽车销售 物流 供应链管理 文化传媒 广告 教育咨询 人力资源 软件 新能源 环保 化工 纺织 服饰 家具 装饰工程 农业发展 旅游 酒店管理 金融信息服务 资产管理 商贸 电器 通信 半导体 智能装备
""")
_FIRM_NAMES: Final = words(
    "华 盛 鑫 瑞 恒 泰 宏 博 达 创 兴 隆 天 成 金 海 远 通 信 德 安 康 美 源 丰 亿 宝 龙 凯 联 科 易 优 云 星 智 汇 锦 腾 飞 顺 和 正 大 中 新 东 方 诺 雅 蓝 绿"
)
_FIRM_TAILS: Final = words(
    "有限公司 有限公司 股份有限公司 有限责任公司 集团 公司 集团有限公司 工作室 厂 合作社 事务所 商行 超市 分公司"
)
_KNOWN: Final = words("""
腾讯 阿里巴巴 华为 百度 京东 美团 滴滴 字节跳动 小米 网易 拼多多 中国移动 中国联通 中国电信 工商银行 建设银行 农业银行 中国银行 招商银行 交通银行 平安保险 中国人寿 顺丰 圆通 中通 申通 韵达 邮政储蓄银行 国家电网 中石油 中石化 海尔 格力 美的集团 联想 比亚迪 吉利 清华大学 北京大学 复旦大学 浙江大学 上海交通大学 武汉大学 中山大学 南开大学 四川大学 协和医院 华西医院 湘雅医院 瑞金医院 新华社 人民日报 中央电视台 教育部 卫生部 公安部 最高人民法院 外交部 中国科学院 红十字会 国务院 海底捞 肯德基 麦当劳 星巴克 苏宁 国美 永辉超市 盒马 饿了么 支付宝 微信支付团队 新东方 好未来 中信证券 蚂蚁集团 哔哩哔哩 快手
""")
_BODIES: Final = words("""
大学 师范大学 理工大学 医科大学 职业技术学院 第一中学 实验小学 第三小学 外国语学校 第一幼儿园 人民医院 中心医院 中医院 妇幼保健院 第一人民医院 附属医院 儿童医院 口腔医院 公安局 派出所 人民法院 检察院 市政府 教育局 税务局 图书馆 博物馆 农商银行 商业银行 日报社 电视台 足球俱乐部 居委会 村委会 街道办 社区卫生服务中心 火车站派出所 出版社 研究院 福利院 律师事务所 大酒店
""")
_CHILDREN: Final = words(
    "明 丽 芳 强 军 红 静 伟 敏 燕 刚 梅 兰 龙 虎 宝 珍 萍 娟 杰 飞 涛 云 霞 花 亮 东 辉 海 玲 美 娜 倩 婷 欣 月 星 雨 晨 文"
)
_NUMERALS: Final = "一二三四五六七八九十"


class ChineseValues:
    """Draws values for the slots of the Chinese patterns.

    Args:
        english: draws what both languages have, and chance.
    """

    def __init__(self, english: EnglishValues) -> None:
        self.english = english
        self.names = english.names
        self.pick, self.chance, self.number = english.pick, english.chance, english.number
        self._foreign = transliterated()
        self._provinces = [p for p in self.names.han_places if p[-1] in "省" or "自治区" in p]
        self._cities = [p for p in self.names.han_places if not p.endswith(("区", "省"))]
        self._districts = [
            p for p in self.names.han_places if p.endswith(("区", "县")) and "自治区" not in p
        ]

    # --- people ---------------------------------------------------------------------------------

    def family(self) -> str:
        """A surname; the frequent ones more often."""
        share = self.english.rng.random()
        if share < 0.045:
            return self.pick(HAN_SURNAMES_OF_TWO)
        if share < 0.50:
            return self.names.han_family[int(60 * self.english.rng.random())]
        return self.names.han_family[int(230 * self.english.rng.random())]

    def given(self) -> str:
        """A given name of one or two characters."""
        share = self.english.rng.random()
        if share < 0.22:
            return self.pick(HAN_GIVEN)
        if share < 0.36:
            return self.pick(self.names.han_given)
        if share < 0.40:
            return self.pick(HAN_GIVEN) * 2
        if share < 0.44:
            # Many a given name has a character that few names have.
            rare = chr(self.number(0x4E00, 0x9FA5))
            return self.pick([self.pick(HAN_GIVEN) + rare, rare + self.pick(HAN_GIVEN)])
        return self.pick(HAN_GIVEN) + self.pick(HAN_GIVEN)

    def name(self) -> str:
        """A person by surname and given name, seldom otherwise."""
        share = self.english.rng.random()
        if share < 0.94:
            return self.family() + self.given()
        if share < 0.97:
            return self.foreigner()
        return self.given() if self.chance(0.3) else self.nick()

    def nick(self) -> str:
        """A person as friends and colleagues call them."""
        child = self.pick(_CHILDREN)
        common = self.names.han_family[int(60 * self.english.rng.random())]
        return self.pick(
            [
                f"小{common}",
                f"老{common}",
                f"小{child}",
                f"阿{child}",
                child * 2,
                f"大{child}",
                f"{common}{self.pick('总哥姐工姨')}",
                f"{child}{self.pick('哥姐')}",
                f"{child}{self.pick('子儿')}",
            ]
        )

    def foreigner(self) -> str:
        """A foreign person in Chinese characters."""
        given, family = self.pick(self._foreign[0]), self.pick(self._foreign[1])
        share = self.english.rng.random()
        if share < 0.6:
            return f"{given}{self.pick('···•')}{family}"
        return self.pick([given, family])

    # --- organisations --------------------------------------------------------------------------

    def org(self) -> str:
        """An organisation."""
        share = self.english.rng.random()
        if share < 0.45:
            word = "".join(self.pick(_FIRM_NAMES) for _ in range(self.number(2, 3)))
            place = self.short_place() if self.chance(0.7) else ""
            if place and self.chance(0.3):
                place += self.pick(["市", "省"]) if len(place) == 2 else ""
            trade = self.pick(_TRADES) if self.chance(0.85) else ""
            name = f"{place}{word}{trade}{self.pick(_FIRM_TAILS)}"
            return f"{word}（{place}）{trade}有限公司" if place and self.chance(0.1) else name
        if share < 0.50:
            return "".join(self.pick(_FIRM_NAMES) for _ in range(2)) + self.pick(_TRADES)[:2]
        if share < 0.75:
            place = self.place() if self.chance(0.5) else self.short_place()
            return place + self.pick(_BODIES)
        return self.pick(_KNOWN) + (self.pick(["", "", "", "", "上海分公司", "客服中心"]))

    # --- places and addresses -------------------------------------------------------------------

    def short_place(self) -> str:
        """A place without the word for what it is."""
        place = self.pick(
            self.names.han_places[:320] if self.chance(0.6) else self.names.han_places
        )
        short = re.sub("(特别行政区|自治区|自治州|省|市|县|区)$", "", place)
        return short if len(short) > 1 else place

    def city(self) -> str:
        """A town."""
        place = self.pick(self._cities[:160] if self.chance(0.6) else self._cities)
        short = re.sub("(市|县)$", "", place)
        return short if self.chance(0.55) and len(short) > 1 else place

    def place(self) -> str:
        """A town, district, province or country."""
        share = self.english.rng.random()
        if share < 0.55:
            return self.city()
        if share < 0.68:
            return self.pick(self.names.han_countries)
        if share < 0.80:
            return self.pick(self._provinces)
        if share < 0.90:
            return self.short_place()
        return self.city() + self.pick(self._districts)

    def _house(self) -> str:
        """A number in a street."""
        number = self.number(1, 10 ** self.number(1, 4))
        return self.pick(
            [
                f"{number}号",
                f"{number}号",
                f"{number}号",
                f"{number}-{self.number(1, 9)}号",
                f"{number}弄{self.number(1, 99)}号",
                f"{number}号院",
                f"甲{number}号",
                "",
            ]
        )

    def room(self) -> str:
        """A flat in a house."""
        n, pick = self.number, self.pick
        building = pick(
            [
                f"{n(1, 40)}栋",
                f"{n(1, 40)}号楼",
                f"{n(1, 40)}幢",
                f"{pick('ABCD')}座",
                f"{pick('ABC')}栋",
                f"第{n(1, 9)}栋",
                f"{pick(_NUMERALS)}号楼",
            ]
        )
        unit = pick([f"{n(1, 6)}单元", f"{pick(_NUMERALS)}单元", "", ""])
        flat = pick(
            [
                f"{n(1, 33)}{n(1, 9):02d}室",
                f"{n(1, 33)}{n(1, 9):02d}",
                f"{n(1, 33)}层",
                f"{n(1, 30)}楼{n(100, 999)}",
                f"{n(101, 3309)}房",
            ]
        )
        return building + unit + flat

    def street(self) -> str:
        """A street with or without a number."""
        name = self.pick(_STREET_WORDS) + self.pick(_STREET_ENDS)
        return name + (self._house() if self.chance(0.7) else "")

    def addr(self) -> str:
        """A whole address."""
        share = self.english.rng.random()
        estate = self.pick(_ESTATES) + self.pick(_ESTATE_ENDS)
        if share < 0.06:
            return estate + self.room()
        if share < 0.10:
            return self.street() + (self.room() if self.chance(0.5) else "")
        head = self.pick(self._provinces) if self.chance(0.4) else ""
        head += self.city() if self.chance(0.85) or not head else ""
        head += self.pick(self._districts) if self.chance(0.8) else ""
        blank = self.pick([" ", ""]) if self.chance(0.15) else ""
        if self.chance(0.2):
            head += (
                blank
                + self.family()
                + self.pick("家集庄店桥沟湾")
                + self.pick(["镇", "乡", "街道"])
            )
        if self.chance(0.12):
            group = f"{self.pick(_NUMERALS)}组{self.pick([f'{self.number(1, 99)}号', ''])}"
            return head + self.family() + self.pick("家庄店屯寨") + "村" + group
        tail = self.street()
        if self.chance(0.35):
            tail += blank + estate
        elif self.chance(0.25):
            tail += self.pick(_TOWERS) + self.pick(["大厦", "广场", "中心", "大楼", "产业园"])
        if self.chance(0.7):
            tail += blank + self.room()
        return head + blank + tail

    # --- what is nobody's -----------------------------------------------------------------------

    def plain(self) -> dict[str, Callable[[], str]]:
        """Slots whose values are no personal name."""
        n, pick = self.number, self.pick
        fillers = [*WORDS_ZH, *self.names.han_words]
        others = plain(self.english)
        own: dict[str, Callable[[], str]] = {
            "phone": lambda: f"1{pick('35789')}{n(100000000, 999999999)}",
            "num": lambda: pick(
                [
                    str(n(1, 30)),
                    str(n(1000, 9999999)),
                    f"{pick('ABD')}{n(10000, 99999)}",
                    pick(_NUMERALS),
                ]
            ),
            "date": lambda: pick(
                [
                    f"{n(1990, 2026)}年{n(1, 12)}月{n(1, 28)}日",
                    f"{n(1, 12)}月{n(1, 28)}日",
                    f"{n(2000, 2026)}-{n(1, 12):02d}-{n(1, 28):02d}",
                ]
            ),
            "month": lambda: str(n(1, 12)),
            "zhou": lambda: pick("一二三四五六日"),
            "weekday": lambda: f"星期{pick('一二三四五六日')}",
            "money": lambda: pick(
                [
                    f"{n(1, 9999)}元",
                    f"{n(1, 99)}万元",
                    f"￥{n(10, 999)}",
                    f"{n(1, 9)}百块",
                    f"人民币{n(100, 99999)}元",
                ]
            ),
            "product": lambda: pick(PRODUCTS_ZH),
            "job": lambda: pick(self.names.han_jobs),
            "drug": lambda: pick(DRUGS_ZH),
            "w": lambda: pick(fillers),
            "p": lambda: pick(["，", "。", "！", "~", "，，", "…", " ", "！！"]),
        }
        return {**others, **own}

    def named(self) -> dict[str, tuple[str, Callable[[], str]]]:
        """Slots whose values are to be found, with their kind."""
        return {
            "name": ("PERSON", self.name),
            "xing": ("PERSON", self.family),
            "nick": ("PERSON", self.nick),
            "tname": ("PERSON", self.foreigner),
            "ename": ("PERSON", self.english_name),
            "org": ("ORGANIZATION", self.org),
            "place": ("PLACE", self.place),
            "city": ("PLACE", self.city),
            "country": ("PLACE", lambda: self.pick(self.names.han_countries)),
            "addr": ("ADDRESS", self.addr),
            "street": ("ADDRESS", self.street),
            "room": ("ADDRESS", self.room),
        }

    def english_name(self) -> str:
        """A name in Latin letters, as it stands in a Chinese text."""
        return self.english.first() if self.chance(0.6) else self.english.name()
