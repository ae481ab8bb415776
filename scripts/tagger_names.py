"""Names of people and places for the tagger's training, out of Faker and phonenumbers, and a few own.

No list is copied here that one of the two has: the values are read from the installed packages.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from tagger_words import listed, words

LOCALES: Final = words(
    "en_US en_GB en_IN en_IE en_NZ en_NG en_KE en_PK en_TH de_DE de_AT de_CH fr_FR fr_BE fr_CA fr_DZ "
    "es_ES es_MX es_AR es_CL es_CO it_IT hu_HU sv_SE no_NO da_DK fi_FI nl_NL nl_BE pl_PL cs_CZ "
    "sk_SK sl_SI hr_HR ro_RO pt_BR pt_PT tr_TR az_AZ lt_LT lv_LV et_EE id_ID vi_VN is_IS ga_IE "
    "sw yo_NG zu_ZA tw_GH ha_NG ig_NG uz_UZ ja_JP zh_CN zh_TW fil_PH tl_PH en_PH en_AU en_CA"
)

_OTHER_SCRIPTS: Final = words("el_GR ru_RU bg_BG uk_UA mk_MK")

_GIVEN: Final = re.compile(r"first_(romanized_)?names|middle_names|given")
_FAMILY: Final = re.compile(r"last_(romanized_)?names|unique_last|surname")
_LATIN: Final = re.compile(r"[A-Za-zÀ-ɏḀ-ỿ][A-Za-zÀ-ɏḀ-ỿ'’. -]*")

EXTRA_GIVEN: Final = words("""
Ahmed Mohamed Mohammed Muhammad Fatima Aisha Omar Khalid Yusuf Layla Hassan Hussein Zainab Tariq Amina Bilal Salma Karim Noor Rania Samir Abdul Abdullah Ibrahim Mustafa Nadia Faisal Huda Jamal Leila Walid Yasmin Ali Sami Rashid Hamza Mariam
Priya Arjun Rahul Ananya Vikram Deepika Sanjay Lakshmi Ravi Neha Amit Pooja Kiran Suresh Divya Aditya Kavya Rohan Meera Ganesh
Hiroshi Yuki Kenji Sakura Takashi Haruka Naoko Akira Yoko Daisuke Emi Kazuo Satoshi Aiko Ryo Mei Sota Hana
Minjun Seoyeon Jihoon Soojin Hyunwoo Eunji Jiwoo Minho Seojun Yuna Taeyang Jisoo
Olga Sergei Natasha Dmitri Ivan Svetlana Vladimir Tatiana Boris Anastasia Igor Irina Mikhail Ekaterina Alexei Oksana Yuri Ludmila Pavel Galina Nikolai Marina Andrei Yelena Anton Zoya Timur Ruslan Aslan Zaur Murad Magomed
Nikos Eleni Giorgos Dimitra Kostas Sofia Yannis Maria Spyros Katerina
Chinedu Ngozi Kwame Ama Kofi Abena Thabo Nomsa Sipho Tendai Wanjiru Selam Tesfaye Almaz Haile Abebe Makena Zola
Ali Reza Shirin Dariush Farhad Parisa Babak Nasrin Kaveh Niloufar Arash Mahsa
Somchai Malee Anong Niran Siriporn Nguyen Thuy Linh Minh Tuan
Bob Bill Joe Tom Tim Jim Kate Liz Beth Meg Sam Max Ben Dan Nick Tony Mike Steve Dave Jen Jess Becky Abby Gabby Charlie Frankie Ollie Archie Lizzie Bobby Billy Tommy Jimmy Johnny Sally Molly Polly Penny Jenny Annie Ellie Millie Sophie Chloe Zoe Leo Theo Hugo Otto Bruno Ingrid Astrid Sven Lars Nils Bjorn Freya Thor Odin
""")
EXTRA_FAMILY: Final = words("""
Khan Ahmed Hussain Rahman Malik Sheikh Siddiqui Qureshi Haddad Nasser Mansour Saleh Najjar Khoury Farah Habib Aziz Hamdan Darwish Sayegh
Patel Sharma Singh Gupta Kumar Reddy Iyer Nair Mehta Desai Joshi Kapoor Chopra Banerjee Mukherjee Rao
Tanaka Suzuki Sato Takahashi Watanabe Ito Yamamoto Nakamura Kobayashi Kato Yoshida Yamada Sasaki Mori Fujita
Kim Park Choi Jung Kang Yoon Jang Lim Han Shin Seo Kwon Hwang Song Ahn
Ivanov Petrov Smirnov Kuznetsov Popov Sokolova Volkova Fedorov Orlova Morozov Lebedeva Kozlov Novikov Pavlova Makarov Zaitsev Romanov Belov Denisov Godina Kovalev Tarasov Umarov Musliyev Gaziev Dudaev
Papadopoulos Georgiou Nikolaidis Karagiannis Christou Vlachos
Okafor Adeyemi Mensah Boateng Dlamini Nkosi Moyo Kamau Otieno Tesfay Gebremariam Bekele Tadesse Diallo Traore Ndiaye
Hosseini Ahmadi Karimi Rostami Jafari Moradi Nguyen Tran Pham Hoang Vo Dang Srisai Chaiyasit
O'Brien O'Connor O'Neill McDonald MacLeod McCarthy Fitzgerald D'Angelo DeLuca LeBlanc St.John O'Hara McGregor Van Dyke Oakenshield Brandybuck Greenhand Proudfoot Lyberth Jeremiassen Petersen Kleist
""")

_SURNAME_SPELLINGS: Final = words("""
Wang Li Zhang Liu Chen Yang Huang Zhao Wu Zhou Xu Sun Ma Zhu Hu Guo He Lin Gao Luo Zheng Liang Xie Song Tang Deng Feng Han Cao Zeng Peng Xiao Cai Pan Tian Dong Yuan Yu Ye Jiang Du Su Wei Cheng Lu Ding Shen Ren Yao Fu Zhong Cui Tan Fan Jin Shi Liao Jia Xia Fang Zou Xiong Bai Meng Qin Qiu Hou Yin Xue Yan Lei Long Tao Shao Qian Kong Ouyang Situ Chan Wong Cheung Lau Leung Ng Hsu Tsai
""")
_SYLLABLES: Final = words("""
wei ming hua jun li na fang min jing xiu ying xia juan yan ling jie lei qiang yong tao chao ping gang hui dan xin yu hao ting bo jia qi xuan ze han rui zi yi chen lin kai peng fei xiang zhi yuan mei lan guo hong jian xue shan bin cheng dong feng hai liang qing sheng wen xiao yun zhen
""")

HAN_SURNAMES_OF_TWO: Final = words("""
欧阳 上官 司马 诸葛 司徒 皇甫 东方 慕容 令狐 宇文 长孙 尉迟 公孙 夏侯 端木 独孤 南宫 轩辕 百里 东郭 西门 闻人 澹台 呼延 申屠 太史
""")
HAN_SURNAMES_MORE: Final = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩邓冯曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜崔谭陆"
    "范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常汤康易乔牛樊温葛章季俞鲁柳倪"
    "毕聂岳齐梅庄辛管祝左涂霍苗裴耿焦纪瞿舒涂童柯阮包单翟关欧屈应鲍冷华骆蓝甘盛游项路柴蒙穆凌窦仇费岑宁卓艾成柏桑司晏隋"
)
HAN_GIVEN: Final = (
    "伟芳娜敏静秀英丽强磊军洋勇艳杰娟涛明超霞平刚桂红玉兰梅琴云莲香燕萍华建国志文海春晓辉龙鑫波斌宇浩凯健俊帆帅旭宁林欢佳"
    "阳亮成峰婷雪慧莉玲颖倩琳丹晶欣怡涵梓萱诗雨子轩浩然宸睿泽铭皓雅思琪嘉欣语嫣紫若曦晨悦彤瑶蕾薇菲妍璐洁瑞毅恒博哲翰彬"
    "鹏程远航天翔振东家豪德福寿全根生庆富贵金银凤仙美珍珠淑贤惠芬芝菊荷菁蓉蕊岚岩松柏森茂荣昌盛隆兴达通顺利安康宏伟大元亨"
    "贞良友善信义仁孝忠厚诚谦和清源江河湖泽润沐溪汐潇湘渊深潮澜冰霜露雷震霖霄霆虹霓月星辰昊晟昱昕映晗暄曜景智勤学翠碧青墨"
    "丹朱彩绮绣锦纹琦瑜瑾璇玥珊瑚琼瑛珂珏玮璟一乙之乃世中丰乐书亚京人令以仪伊会传伯佑作依侠保修倾先光克兰冬冠凌凡剑力加劲"
    "勋北千卓卫可吉启周咏唯啸喜善国圣坤城培基堂夏夕夫奇奕妙妮姗娅娇婉媛嫦孟学宜宝宣宪宾密寒寻小少尚山岳峻崇川巧希年广庭延"
    "弘弦弥彦彰得心念恩悠情惜意愉成才扬承抒捷政敬文新方无时昭晋普晴朋木本李来杏杨枫柔柯栋桐梦楚楠楷榕樱正武民水永汉汝沁沛"
)

_TRANSLITERATED_GIVEN: Final = words("""
约翰 玛丽 大卫 迈克尔 詹姆斯 安娜 彼得 保罗 伊丽莎白 威廉 查尔斯 乔治 亨利 爱德华 罗伯特 托马斯 露西 艾米丽 凯特 苏珊 琳达 马克 史蒂夫 比尔 安德烈 伊万 弗拉基米尔 卡洛斯 何塞 路易斯 穆罕默德 阿里 法蒂玛 汉斯 沃尔夫冈 弗朗索瓦 皮埃尔 索菲娅 伊莎贝拉 奥利弗 杰克 丽莎 唐纳德 巴拉克 安吉拉 埃隆 列夫 费奥多尔 加西亚 马塞尔
""")
_TRANSLITERATED_FAMILY: Final = words("""
史密斯 约翰逊 布朗 琼斯 米勒 戴维斯 威尔逊 安德森 泰勒 摩尔 杰克逊 马丁 汤普森 怀特 洛佩兹 冈萨雷斯 罗德里格斯 佩雷斯 托尔斯泰 伊万诺夫 彼得罗夫 穆勒 施密特 韦伯 贝克尔 杜邦 勒费弗尔 罗西 费拉里 里奇 范德堡 奥康纳 麦克唐纳 肯尼迪 克林顿 默克尔 爱因斯坦 贝多芬 莎士比亚 马尔克斯 普鲁斯特 哈桑 侯赛因 特朗普 马斯克 盖茨 费曼 图灵 卡夫卡 博尔赫斯
""")

COUNTRIES_MORE: Final = """
UK|USA|U.S.|US|England|Scotland|Wales|Britain|America|Russia|South Korea|North Korea|Iran|Syria|Vietnam|Taiwan|Hong Kong|Holland|Czech Republic|UAE|Ivory Coast|Europe|Africa|Asia|Scandinavia|Siberia|Bavaria|Tuscany|Catalonia|Provence|Kashmir|Punjab|Crimea|Tibet|Patagonia
"""
CITIES_MORE: Final = """
London|Paris|Berlin|Madrid|Rome|Vienna|Moscow|Tokyo|Osaka|Kyoto|Seoul|Beijing|Shanghai|Shenzhen|Guangzhou|Hangzhou|Chengdu|Wuhan|Nanjing|Singapore|Bangkok|Hanoi|Manila|Jakarta|Delhi|Mumbai|Bangalore|Karachi|Lahore|Dhaka|Tehran|Baghdad|Cairo|Nairobi|Lagos|Accra|Cape Town|Johannesburg|Casablanca|Istanbul|Ankara|Athens|Lisbon|Porto|Barcelona|Valencia|Milan|Naples|Venice|Zurich|Geneva|Munich|Hamburg|Frankfurt|Cologne|Brussels|Amsterdam|Rotterdam|Copenhagen|Stockholm|Oslo|Helsinki|Dublin|Edinburgh|Glasgow|Manchester|Liverpool|Birmingham|Leeds|Bristol|Oxford|Cambridge|New York|Los Angeles|Chicago|Houston|Boston|Seattle|San Francisco|Denver|Austin|Dallas|Miami|Atlanta|Philadelphia|Detroit|Las Vegas|New Orleans|Toronto|Montreal|Vancouver|Calgary|Ottawa|Mexico City|Havana|Lima|Bogota|Santiago|Buenos Aires|Rio de Janeiro|Sao Paulo|Sydney|Melbourne|Brisbane|Perth|Auckland|Wellington|Reykjavik|Prague|Budapest|Warsaw|Krakow|Bucharest|Sofia|Belgrade|Zagreb|Kyiv|Odessa|Riga|Vilnius|Tallinn|Jerusalem|Tel Aviv|Beirut|Damascus|Amman|Dubai|Doha|Kabul|Kathmandu|Nicosia|Limassol|Valletta
"""

CHINA_MORE: Final = words("""
朝阳区 海淀区 西城区 东城区 丰台区 通州区 浦东新区 徐汇区 黄浦区 静安区 闵行区 杨浦区 天河区 越秀区 白云区 番禺区 南山区 福田区 宝安区 龙岗区 罗湖区 余杭区 西湖区 滨江区 萧山区 江宁区 鼓楼区 玄武区 武侯区 锦江区 青羊区 高新区 渝中区 江北区 武昌区 洪山区 江汉区 岳麓区 雁塔区 碑林区 历下区 市南区 和平区 南开区 沈河区 中山区 思明区 湖里区 鼓楼区 仓山区 昆山市 义乌市 慈溪市 晋江市 江阴市 张家港市
香港 澳门 台湾 台北 高雄 华北 东北 长三角 珠三角 江南 西藏 新疆 内蒙古 延边 大理 丽江 三亚 敦煌 张家界 九寨沟 景德镇
""")


@dataclass(frozen=True)
class Names:
    """Lists to draw from, each in a fixed order.

    Args:
        given: given names in Latin letters.
        family: surnames in Latin letters.
        cities: towns, one word or more.
        countries: countries and regions.
        jobs: occupations in English.
        words: plain English words.
        dictionary: many more that are no name either.
        han_family: Chinese surnames with one character, the frequent ones first.
        han_places: Chinese towns, districts and provinces, with their ending.
        han_countries: countries in Chinese.
        han_given: given names that Faker knows.
        han_jobs: occupations in Chinese.
        han_words: plain Chinese words.
        other_given: given names in Greek and Cyrillic letters.
        other_family: surnames in them.
        other_cities: towns in them.
    """

    given: list[str]
    family: list[str]
    cities: list[str]
    countries: list[str]
    jobs: list[str]
    words: list[str]
    dictionary: list[str]
    han_family: list[str]
    han_places: list[str]
    han_countries: list[str]
    han_given: list[str]
    han_jobs: list[str]
    han_words: list[str]
    other_given: list[str]
    other_family: list[str]
    other_cities: list[str]


def _listed(kind: str, locale: str, pattern: re.Pattern[str]) -> Iterator[str]:
    """Values of all lists of a Faker provider whose name fits."""
    try:
        provider: Any = importlib.import_module(f"faker.providers.{kind}.{locale}").Provider
    except ImportError:
        return
    for name in sorted(dir(provider)):
        if pattern.search(name) and "formats" not in name and "pairs" not in name:
            values = getattr(provider, name)
            if isinstance(values, (list, tuple, dict)):
                yield from (value for value in values if isinstance(value, str))


def _latin(values: Iterable[str]) -> list[str]:
    kept = (value.strip() for value in values if _LATIN.fullmatch(value.strip()))
    return list(dict.fromkeys(value for value in kept if len(value) > 1))


def _other(lists: Iterable[Iterable[str]]) -> list[str]:
    """Names in Greek or Cyrillic letters."""
    letters = re.compile("[Ͱ-ԯ][Ͱ-ԯ -]+")
    return list(dict.fromkeys(name for one in lists for name in one if letters.fullmatch(name)))


def _geography() -> tuple[list[str], list[str]]:
    """Towns in English and in Chinese that telephone prefixes are named after."""
    data: Any = importlib.import_module("phonenumbers.geodata").GEOCODE_DATA
    english: dict[str, None] = {}
    chinese: dict[str, None] = {}
    for entry in data.values():
        for part in entry.get("en", "").replace("/", ",").split(","):
            if len(part.strip()) > 3 and _LATIN.fullmatch(part.strip()) and "." not in part:
                english[part.strip()] = None
        for part in re.findall(
            r"[\u4e00-\u9fff]{2,6}?(?:省|自治区|自治州|地区|市|县|区|盟|州)|[\u4e00-\u9fff]{2,5}$",
            entry.get("zh", ""),
        ):
            chinese[part] = None
    return list(english), list(chinese)


def pinyin_given() -> list[str]:
    """Chinese given names of one or two syllables in Latin letters."""
    two = [
        f"{first}{second}".capitalize() for first, second in product(_SYLLABLES, _SYLLABLES[::3])
    ]
    return [syllable.capitalize() for syllable in _SYLLABLES] + two


def pinyin_family() -> list[str]:
    """Chinese surnames in Latin letters."""
    return list(_SURNAME_SPELLINGS)


def transliterated() -> tuple[list[str], list[str]]:
    """Foreign given names and surnames in Chinese characters."""
    return list(_TRANSLITERATED_GIVEN), list(_TRANSLITERATED_FAMILY)


def load_names(dictionary: Iterable[str]) -> Names:
    """Read all lists.

    Args:
        dictionary: English words in small letters, some of which are names as well.
    """
    given = [name for place in LOCALES for name in _listed("person", place, _GIVEN)]
    family = [name for place in LOCALES for name in _listed("person", place, _FAMILY)]
    # Faker makes one of its lists out of a set, whose order changes from process to process.
    towns = sorted(name for place in LOCALES for name in _listed("address", place, _CITY))
    states = [name for place in LOCALES for name in _listed("address", place, _STATE)]
    english, chinese = _geography()
    lands = [
        name for place in ("en_US", "en") for name in _listed("address", place, _COUNTRY)
    ] + re.split(r"[|\n]", COUNTRIES_MORE)
    han = [*_listed("address", "zh_CN", re.compile("^(cities|provinces|districts)$"))]
    surnames = [*HAN_SURNAMES_MORE, *_listed("person", "zh_CN", re.compile("^last_names$"))]
    lorem = [*_listed("lorem", "en_US", re.compile("word_list")), *listed("en")]
    personal = {part.lower() for name in (*given, *family) for part in name.split()}
    personal |= {name.lower() for name in (*EXTRA_GIVEN, *EXTRA_FAMILY)}
    return Names(
        given=_latin([*EXTRA_GIVEN, *given]),
        family=_latin([*EXTRA_FAMILY, *family]),
        cities=_latin([*re.split(r"[|\n]", CITIES_MORE), *towns, *english]),
        countries=_latin([*lands, *(state for state in states if len(state) > 3)]),
        jobs=_latin(_listed("job", "en_US", re.compile("jobs"))),
        words=list(dict.fromkeys(lorem)),
        dictionary=[word for word in dictionary if word not in personal],
        han_family=list(dict.fromkeys(name for name in surnames if len(name) == 1)),
        han_places=list(dict.fromkeys([*CHINA_MORE, *han, *chinese])),
        han_countries=list(dict.fromkeys(_listed("address", "zh_CN", re.compile("countries")))),
        han_given=list(dict.fromkeys(_listed("person", "zh_CN", re.compile("^first_names$")))),
        han_jobs=list(dict.fromkeys(_listed("job", "zh_CN", re.compile("jobs")))),
        han_words=[*_listed("lorem", "zh_CN", re.compile("word_list")), *listed("zh")],
        other_given=_other(_listed("person", place, _GIVEN) for place in _OTHER_SCRIPTS),
        other_family=_other(_listed("person", place, _FAMILY) for place in _OTHER_SCRIPTS),
        other_cities=_other(_listed("address", place, _CITY) for place in _OTHER_SCRIPTS),
    )


_CITY: Final = re.compile(
    r"^(cities|city_names|real_city_names|towns|municipalities|metro_cities)$"
)
_STATE: Final = re.compile(r"^(states|provinces|regions|departments|counties)$")
_COUNTRY: Final = re.compile(r"^countries$")
