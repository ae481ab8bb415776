"""Special categories: text that tells religion, politics, health and the like. It flags, and keeps.

No list of words can tell whether somebody speaks of himself, so nothing here removes anything: it
says where a reader should look. Words that mean something else beside their neighbours (a political
party and the size of a party, the union of workers and that of sets) are left out by those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, get_args

from sottovoce.data.conversation import Conversation
from sottovoce.data.pii.span import Span

Category = Literal["RELIGION", "POLITICS", "HEALTH", "ETHNICITY", "SEXUALITY", "TRADE_UNION"]
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)
"""The special categories of Article 9 of the GDPR that words can tell."""

_EN: Final[Mapping[Category, Mapping[str, str]]] = {
    "RELIGION": {
        "belief": r"(?:muslims?|catholics?|protestants?|buddhists?|hindus?|sikhs?|jewish|atheists?"
        r"|islam|judaism|christianity|buddhism|hinduism|jehovah's witness(?:es)?"
        r"|(?:a|am|are|is|devout|practi[sc]ing) christian|christians|religio(?:us|n)s? beliefs?)",
        "practice": r"(?:baptis(?:ed|m)|baptiz(?:ed)|go(?:es)? to (?:church|mass)|my (?:church|mosque"
        r"|synagogue|temple|parish|imam|priest|rabbi|pastor)|ramadan fast(?:ing)?|keep kosher"
        r"|pray(?:s|ed|ing)? (?:to|five times)|converted to \w+ism)",
    },
    "POLITICS": {
        "party": r"(?:(?:democratic|republican|labou?r|conservative|communist|socialist|green"
        r"|liberal|political) party|(?:registered|lifelong|staunch) (?:democrat|republican)"
        r"|party member(?:ship)?)",
        "view": r"(?:vot(?:e|ed|ing) (?:for|against)|left-wing|right-wing|political(?:ly)? "
        r"(?:views?|opinions?|beliefs?|active|asylum)|i (?:support|oppose) the government)",
    },
    "HEALTH": {
        "diagnosis": r"(?:diabet(?:es|ic)|hiv|aids patient|cancer|tumou?r|leuk[a]?emia"
        r"|depression|depressed|bipolar|schizophreni[ac]|autis(?:m|tic)|adhd|epilep(?:sy|tic)"
        r"|asthma|hepatitis|dementia|alzheimer's|parkinson's|miscarriage|pregnan(?:t|cy)"
        r"|anorexia|bulimia|eating disorder|alcoholic|addiction|disabilit(?:y|ies)|disabled)",
        "treatment": r"(?:chemo(?:therapy)?|insulin|antidepressants?|dialysis|radiotherapy|rehab"
        r"|my (?:medication|therapist|psychiatrist|surgery|diagnosis|oncologist)|abortion)",
    },
    "ETHNICITY": {
        "group": r"(?:african[- ]american|afro-caribbean|romani|gyps(?:y|ies)|uyghurs?|kurdish"
        r"|tibetans?|latin[ox]s?|hispanics?|aborigin(?:al|e)s?|native american|mixed race"
        r"|(?:my|her|his|their) (?:ethnicity|race|skin colou?r))",
    },
    "SEXUALITY": {
        "orientation": r"(?:gay|lesbians?|bisexuals?|homosexuals?|transgender|trans (?:man|woman)"
        r"|non-?binary|asexual|sexual orientation|came out as|coming out as|same-sex partner)",
        "life": r"(?:sex life|my (?:affair|fetish))",
    },
    "TRADE_UNION": {
        "membership": r"(?:(?:trade|labou?r|workers'?|teachers'?|nurses'?|my|our) union"
        r"|union (?:members?|membership|rep(?:resentative)?s?|dues|steward|organi[sz]er)"
        r"|unioni[sz](?:e|ed|ing)|joined (?:the|a) union|(?:on|go on|went on) strike|shop steward)",
    },
}
_NOT_EN: Final = re.compile(
    r"zodiac|horoscope|tropic of cancer|star signs?(?: is| of|:)? ?[a-z]*|(?:great|tropical|economic) depression"
    r"|depression of|party size|birthday party|party of (?:\d+|two|three|four|five|six|eight)"
    r"|third[- ]party|(?:european|credit|student|western|customs|soviet|monetary|rugby) union"
    r"|union (?:of|square|jack|station|pay)|gay-lussac|voted? for (?:best|product|employee|your)"
    r"|lightning strike|on strike price|christian (?:dior|louboutin|bale)|pregnancy pillows?"
    r"|(?:aloe|green) party|disabled (?:button|account|by default|in the settings|the|feature)"
    r"|(?:is|are|was|been|be|got|getting|feature|account|button|plugin|cookies) disabled"
    r"|cancer research (?:uk|fund)|latin[o]? (?:music|dance)|race track|tumou?r necrosis factor"
)
_ZH: Final[Mapping[Category, Mapping[str, str]]] = {
    "RELIGION": {
        "belief": "基督教|基督徒|天主教|佛教徒|佛教|伊斯兰教|穆斯林|道教|犹太教|东正教|信教|信佛|信主"
        "|宗教信仰|法轮功|无神论者|皈依",
        "practice": "做礼拜|受洗|清真寺|念经拜佛|我们教会|去教堂|拜菩萨|斋月|神父|牧师|阿訇",
    },
    "POLITICS": {
        "party": "共产党员|中共党员|民主党|共和党|国民党|民进党|入党|党员|共青团员",
        "view": "投票给|政治立场|政治观点|反对政府|政治庇护|上访|维权人士|左派|右派",
    },
    "HEALTH": {
        "diagnosis": "糖尿病|艾滋病|乙肝|丙肝|癌症|肺癌|乳腺癌|胃癌|肝癌|肿瘤|白血病|抑郁症|躁郁症"
        "|精神分裂|自闭症|癫痫|哮喘|高血压|心脏病|老年痴呆|流产|怀孕|不孕|残疾|酗酒|确诊",
        "treatment": "化疗|放疗|透析|胰岛素|抗抑郁药|人工流产|堕胎|手术后|我的主治医生|住院治疗|复诊",
    },
    "ETHNICITY": {
        "group": "维吾尔族|藏族|回族|蒙古族|朝鲜族|哈萨克族|满族|壮族|苗族|彝族|少数民族|汉族|民族成分"
        "|吉普赛人|黑人血统|混血儿",
    },
    "SEXUALITY": {
        "orientation": "同性恋|双性恋|跨性别|变性人|男同|女同|拉拉圈|出柜|性取向|同志伴侣",
        "life": "性生活|婚外情|一夜情",
    },
    "TRADE_UNION": {
        "membership": "工会会员|工会代表|加入工会|入会工会|我们工会|工会主席|罢工|工会活动|独立工会",
    },
}
_NOT_ZH: Final = re.compile(
    "佛跳墙|(?:藏族|苗族|蒙古族|彝族|回族|壮族|满族|维吾尔族|少数民族|民族)"
    "(?:风|风格|服饰|服装|舞|手链|耳环|刺绣|特色|餐厅|美食|银饰)|清真(?:食品|餐|牛肉|月饼)"
    "|孕妇装|怀孕(?:书|枕)|防癌险|残疾车位|党员价|星座|巨蟹|教堂(?:婚纱|风格|模型|积木)|并集"
    "|天主教堂(?:模型|积木)|血压计|游戏党|学生党"
)
_HAN: Final = re.compile("[\u3400-\u9fff]")


def _joined(classes: Mapping[Category, Mapping[str, str]], border: str) -> re.Pattern[str]:
    """One pattern for all words, since reading a text once costs what it costs per reading."""
    groups = "|".join(
        f"(?P<{category}_{name}>{words})"
        for category, names in classes.items()
        for name, words in names.items()
    )
    return re.compile(border.format(groups))


_WORDS_EN: Final = _joined(_EN, "(?<![0-9a-z])(?:{})(?![0-9a-z])")
_WORDS_ZH: Final = _joined(_ZH, "{}")


def special_spans(text: str) -> tuple[Span, ...]:
    """Where a text tells what belongs to a special category.

    Returns:
        Spans in order: ``kind`` is one of ``CATEGORIES``, ``source`` the class of the word, and
        ``score`` 0.5, since a word is a hint.

    Guarantees:
        - no two spans overlap;
        - a word inside one of the known other uses is not among them.

    >>> [(span.kind, span.source) for span in special_spans("I'm a union rep with diabetes")]
    [('TRADE_UNION', 'membership'), ('HEALTH', 'diagnosis')]
    >>> special_spans("a table for the birthday party, and the union of sets")
    ()
    """
    lowered = text.lower()
    if len(lowered) != len(text):  # a letter whose small form is two
        lowered = "".join(sign.lower()[:1] for sign in text)
    found = list(_WORDS_EN.finditer(lowered))
    if _HAN.search(text):
        found += _WORDS_ZH.finditer(text)
    if not found:
        return ()
    other = [use.span() for known in (_NOT_EN, _NOT_ZH) for use in known.finditer(lowered)]
    spans = []
    for match in found:
        start, end = match.span()
        if not any(start < last and first < end for first, last in other):
            category, _, name = str(match.lastgroup).rpartition("_")
            spans.append(Span(start, end, category, 0.5, name))
    return tuple(sorted(spans))


def special_turns(talk: Conversation) -> tuple[tuple[int, Span], ...]:
    """The same for every turn of a conversation but the system's, with the turn's number from 0."""
    return tuple(
        (turn, span)
        for turn, message in enumerate(talk.messages)
        if message.role != "system"
        for span in special_spans(message.content)
    )
