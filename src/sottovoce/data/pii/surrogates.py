"""Names for people, firms and places that stand in for real ones, in English and Chinese. Pure.

Given names and surnames in English are coined, and the Chinese ones pair a rare surname with a rare
given name, so that hardly anybody bears them: whatever stands in these lists is taken for a
surrogate when a text is read again, and stays. Whoever does bear one of them keeps it, unseen among
the surrogates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal

Gender = Literal["f", "m", ""]
Draw = Callable[[str, str, int], int]
"""From a purpose, a value and a number n to one of 0 to n - 1, always the same for one site."""

GIVEN: Final[dict[Gender, tuple[str, ...]]] = {
    "f": (
        *("Adelinda", "Belmira", "Corisande", "Damarisa", "Elowyna", "Fenorella", "Gwendora"),
        *("Halissa", "Ilvane", "Jorinda", "Kestrela", "Lysanne", "Maribelda", "Nerissande"),
        *("Orlinde", "Peronelle", "Quenilda", "Rosamira", "Selvine", "Tamsela", "Ulvina"),
        *("Verenelle", "Wynella", "Yselda"),
    ),
    "m": (
        *("Aldrem", "Bertrand-Ivo", "Corvane", "Davorin", "Edrick", "Fendrel", "Garrickson"),
        *("Hadrick", "Ivoric", "Jorveth", "Keldric", "Lorimund", "Marwick", "Nolvert"),
        *("Osgar", "Perrold", "Quillon", "Rodvane", "Stelmar", "Torvald-Ames", "Uldric"),
        *("Valdrick", "Wendrel", "Yorrick"),
    ),
    "": (
        *("Ardenne", "Briskell", "Corrie-Lane", "Devrin", "Ellory", "Farrin", "Gillane"),
        *("Hollin", "Irvane", "Jessamy-Lee", "Kerrin", "Larkell", "Merrin", "Norrel"),
        *("Quillane", "Renshall", "Sorrel-Jay", "Tarrin", "Vesper-Lyn", "Wrenley"),
    ),
}
SURNAMES: Final = (
    *("Ashmoor", "Brackwell", "Cawdrell", "Dunhollow", "Eastermere", "Fennimoor", "Gorsley"),
    *("Harkwell", "Inglemoor", "Jarrowby", "Kettlemere", "Lindenholt", "Marrowby", "Netherwell"),
    *("Oakenshaw", "Pellamore", "Quarrinder", "Rookhurst", "Silverholt", "Thornewick"),
    *("Underhallow", "Vintermoor", "Wexcombe", "Yarrowick", "Aldermoss", "Birkenshore"),
    *("Coldermere", "Drakeholt", "Elmwither", "Foxhallow", "Greymarch", "Hollowmere"),
    *("Ivelock", "Kirkhallow", "Larkmoor", "Mistlewick", "Northolder", "Ottershaw-Lee"),
    *("Penhallick", "Ravenscombe", "Sandholder", "Tallowmere", "Wintershall", "Wyndermoor"),
)
GIVEN_ZH: Final[dict[Gender, tuple[str, ...]]] = {
    "f": (
        *("澜汐", "芷蘅", "沅蓁", "岚薇", "絮棠", "漪宁", "蕴苒", "窈禾", "霁妤", "纨素", "菀笙"),
        *("绾溪", "荞音", "漓雪", "婳清", "筱莘"),
    ),
    "m": (
        *("砚庭", "珩川", "峤远", "骁屿", "晟野", "朔舟", "劭扬", "钧岳", "弘峥", "屹珅", "珞铮"),
        *("阅川", "琰昊", "峻隽", "翃宇", "牧峣"),
    ),
    "": (
        "知弈",
        "予恒",
        "澄之",
        "言蹊",
        "珞言",
        "见微",
        "与墨",
        "以宸",
        "霁舟",
        "若谷",
        "衡之",
        "允棣",
    ),
}
SURNAMES_ZH: Final = tuple("岑鄢虞喻嵇芮郗闵邬滕褚蔺瞿阮缪祁禹郦亓宓")
PLACES: Final = (
    *("Ambleford", "Brindlemere", "Caskwater", "Dovermoss", "Elderfleet", "Farrowmouth"),
    *("Gullhaven", "Hartlepond", "Inkerford", "Larchwater", "Millowby", "Nettlebourne"),
    *("Oxenmere", "Pinderfleet", "Quillhaven", "Ryeholm", "Saltermouth", "Tansyford"),
)
PLACES_ZH: Final = (
    *(
        "岚屿",
        "泠川",
        "霁溪",
        "砚湖",
        "蘅州",
        "沅岭",
        "澜浦",
        "珩山",
        "漪港",
        "朔谷",
        "芷原",
        "峤岸",
    ),
)
FIRMS: Final = (
    *("Group", "Partners", "Ltd", "Inc", "Hospital", "Clinic", "University", "School", "Bank"),
    *("Insurance", "Hotel", "Church"),
)
FIRMS_ZH: Final = (
    "有限公司",
    "公司",
    "集团",
    "医院",
    "诊所",
    "大学",
    "学校",
    "银行",
    "保险",
    "酒店",
)

_TITLES_EN: Final = r"(?:Mrs|Mr|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Madam)\.?"
_TITLES_ZH: Final = (
    "(?:先生|女士|小姐|太太|老师|医生|大夫|教授|经理|主任|师傅|阿姨|叔叔|同学|同志|博士|律师|护士|校长|院长"
    "|警官|会计|总|哥|姐|叔|姨)"
)
_TITLE_FIRST: Final = re.compile(rf"({_TITLES_EN})\s+(?=\S)", re.IGNORECASE)
_TITLE_LAST: Final = re.compile(rf"{_TITLES_ZH}$")
_ADDRESSED: Final = re.compile(rf"(?<![A-Za-z])(?:{_TITLES_EN})\s{{1,9}}$", re.IGNORECASE)
_ADDRESSED_ZH: Final = re.compile(_TITLES_ZH)
_HAN: Final = re.compile(r"[\u3400-\u9fff]")
_COMPOUND: Final = re.compile("^(?:欧阳|司马|上官|诸葛|东方|皇甫|尉迟|公孙|慕容|司徒|令狐|夏侯)")

_NAMES_OF_WOMEN: Final = """
mary patricia jennifer linda elizabeth barbara susan jessica sarah karen lisa nancy betty
margaret sandra ashley kimberly emily donna michelle carol amanda dorothy melissa deborah
stephanie rebecca sharon laura cynthia kathleen amy angela shirley anna brenda pamela emma
nicole helen samantha katherine christine rachel carolyn janet catherine maria heather diane
ruth julie olivia joyce virginia victoria lauren christina joan evelyn judith megan cheryl
hannah jacqueline martha gloria teresa ann sara frances kathryn alice julia judy sophia grace
denise amber doris danielle isabella theresa diana natalie brittany charlotte marie lucy ella
chloe zoe fatima aisha priya ingrid elena sofia lena nina eva clara anita rosa carmen"""
_NAMES_OF_MEN: Final = """
james robert john michael david william richard joseph thomas christopher charles daniel
matthew anthony mark donald steven andrew paul joshua kenneth kevin brian george timothy ronald
jason edward jeffrey ryan jacob gary nicholas eric jonathan stephen larry justin scott brandon
benjamin samuel gregory alexander patrick frank raymond jack dennis jerry tyler aaron jose adam
nathan henry zachary douglas peter kyle noah ethan jeremy walter christian keith roger terry
austin sean gerald carl harold dylan arthur lawrence bryan billy bruce gabriel joe logan alan
juan albert willie elijah wayne randy vincent liam oliver lucas ahmed omar ivan sergei hans
miguel carlos pedro luis marco"""
_WOMEN: Final = frozenset(_NAMES_OF_WOMEN.split())
_MEN: Final = frozenset(_NAMES_OF_MEN.split())
_WOMEN_ZH: Final = frozenset("芳娜秀英丽娟敏静霞燕玲桂兰婷雪琳倩颖慧莉萍红梅洁珍莲妍媛蓉瑶莹姗娇艳")
_MEN_ZH: Final = frozenset("伟强军勇磊杰涛明超刚辉鹏斌波健峰建国志浩雄龙钢武毅彬栋锋宏东海")


def is_han(text: str) -> bool:
    """Whether Chinese characters stand in a text."""
    return bool(_HAN.search(text))


def person(value: str, draw: Draw, before: str = "", after: str = "") -> str:
    """A name of the same language and, where the given name tells it, the same gender.

    Args:
        value: the name.
        draw: which of the names.
        before: what stands before it in the text; a form of address shows that it is a surname.
        after: what stands behind it.

    Guarantees:
        - given names and surnames are drawn each for itself, so that a person who is named in
          full, by the given name or by title and surname stays one person;
        - forms of address stay.
    """
    if is_han(value):
        addressed = before[-1:] in ("小", "老") or bool(_ADDRESSED_ZH.match(after))
        return _person_zh(value, draw, addressed)
    return _person_en(value, draw, bool(_ADDRESSED.search(before)))


def _person_en(value: str, draw: Draw, addressed: bool) -> str:
    found = _TITLE_FIRST.match(value)
    title, rest = (f"{found[1]} ", value[found.end() :]) if found else ("", value)
    ending = "'s" if rest.endswith(("'s", "’s")) else ""
    if "," in rest:  # surname first
        last, _, first = rest.partition(",")
        rest = f"{first} {last}"
    words = re.findall(r"[^\W\d_][\w'’.-]*", rest.removesuffix("'s").removesuffix("’s")) or [rest]
    words = [word.strip(".'’-").casefold() for word in words]
    if (title or addressed) and len(words) == 1:
        return f"{title}{_pick('surname', words[0], SURNAMES, draw)}{ending}"
    names = GIVEN[_gender(words[0], _WOMEN, _MEN)]
    given = _pick("given", words[0], names, draw)
    if len(words) == 1:
        return f"{title}{given}{ending}"
    return f"{title}{given} {_pick('surname', words[-1], SURNAMES, draw)}{ending}"


def _person_zh(value: str, draw: Draw, addressed: bool) -> str:
    title = _TITLE_LAST.search(value)
    name = value[: title.start()] if title else value
    prefix = name[0] if len(name) == 2 and name[0] in "小老" else ""
    name = re.sub(r"\s", "", name[len(prefix) :])
    compound = _COMPOUND.match(name)
    surname = compound[0] if compound else name[:1]
    given = name[len(surname) :]
    new = _pick("surname", surname, SURNAMES_ZH, draw)
    if given and not prefix:
        women, men = set(given) & _WOMEN_ZH, set(given) & _MEN_ZH
        gender: Gender = "" if bool(women) == bool(men) else "f" if women else "m"
        new += _pick("given", name, GIVEN_ZH[gender], draw)
    elif not (prefix or title or addressed):
        new += _pick("given", name, GIVEN_ZH[""], draw)
    return f"{prefix}{new}{title[0] if title else ''}"


def _gender(word: str, women: frozenset[str], men: frozenset[str]) -> Gender:
    return "f" if word in women else "m" if word in men else ""


def _pick(purpose: str, value: str, names: Sequence[str], draw: Draw) -> str:
    return names[draw(purpose, value.casefold(), len(names))]


def organization(value: str, draw: Draw) -> str:
    """A firm of the same language and, where its last word tells it, of the same sort."""
    if is_han(value):
        sort = next((end for end in FIRMS_ZH if value.endswith(end)), FIRMS_ZH[0])
        return f"{_pick('firm', value, PLACES_ZH, draw)}{sort}"
    lowered = value.casefold()
    sort = next((end for end in FIRMS if lowered.endswith(end.casefold())), FIRMS[0])
    return f"{_pick('firm', value, PLACES, draw)} {sort}"


def place(value: str, draw: Draw) -> str:
    """A town of the same language."""
    if is_han(value):
        return f"{_pick('place', value, PLACES_ZH, draw)}市"
    return _pick("place", value, PLACES, draw)


def address(value: str, draw: Draw) -> str:
    """An address in a street that says that it is an example."""
    number = 1 + draw("number", value.casefold(), 199)
    if is_han(value):
        return f"{_pick('place', value, PLACES_ZH, draw)}市示例路{number}号"
    return f"{number} Example Street, {_pick('place', value, PLACES, draw)}"


def _any(names: Sequence[str]) -> str:
    return f"(?:{'|'.join(sorted(names, key=len, reverse=True))})"


_LETTER: Final = "[0-9A-Za-zÀ-ɏ]"
_GIVEN_EN: Final = _any([name for names in GIVEN.values() for name in names])
_SURNAME_EN: Final = _any(SURNAMES)
_SURNAME_ZH: Final = _any(SURNAMES_ZH)
_PLACE_ZH: Final = _any(PLACES_ZH)
TITLE_BEFORE: Final = rf"(?:(?<!{_LETTER})(?i:{_TITLES_EN})\s{{1,9}})?"
TITLE_BEHIND: Final = f"{_TITLES_ZH}?"

OWN_NAMES: Final = (
    re.compile(
        rf"(?<!{_LETTER})(?:(?i:{_TITLES_EN})\s{{1,9}})?"
        rf"(?:{_GIVEN_EN}(?: {_SURNAME_EN})?|{_SURNAME_EN})"
        rf"(?!{_LETTER})"
    ),
    re.compile(
        rf"{_SURNAME_ZH}(?:{_any([n for ns in GIVEN_ZH.values() for n in ns])}{TITLE_BEHIND}"
        rf"|{_TITLES_ZH})|[小老]{_SURNAME_ZH}"
    ),
    re.compile(
        rf"(?<!{_LETTER})(?:[0-9]{{1,3}} Example Street, )?{_any(PLACES)}(?: {_any(FIRMS)})?"
        rf"(?!{_LETTER})"
    ),
    re.compile(rf"{_PLACE_ZH}(?:市(?:示例路[0-9]{{1,3}}号)?|{_any(FIRMS_ZH)})"),
)
"""What finds every name of this file in a text, and the forms of address that go with it."""
