"""The corpus of the bundled base model: general marketplace text and chats, from one seed.

Every document invents its own shop, brands, products, prices and people, so that nothing private
of any shop can be in it and nothing but language, copying and the chat format can be learnt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Any, Literal, TypeVar

import numpy as np
import tiny_grammar_en
import tiny_grammar_zh

from sottovoce.data import lexicon
from sottovoce.data.grammar import expand
from sottovoce.data.lexicon import Kind, Language
from sottovoce.rng import stream

T = TypeVar("T")
Message = dict[str, Any]
Slots = Mapping[str, str]

SPLITS = ("train", "heldout")

_HEADS = [
    "Ba",
    "Be",
    "Bo",
    "Bru",
    "Ca",
    "Ce",
    "Cla",
    "Co",
    "Da",
    "Del",
    "Do",
    "Dra",
    "El",
    "Em",
    "Fa",
    "Fe",
    "Flo",
    "Ga",
    "Ge",
    "Gri",
    "Ha",
    "Hol",
    "In",
    "Ja",
    "Ka",
    "Ke",
    "Kri",
    "La",
    "Le",
    "Li",
    "Lo",
    "Ma",
    "Mel",
    "Mi",
    "Na",
    "Ne",
    "No",
    "Ol",
    "Or",
    "Pa",
    "Per",
    "Pli",
    "Ra",
    "Re",
    "Ri",
    "Ru",
    "Sa",
    "Se",
    "Sol",
    "Sta",
    "Ta",
    "Te",
    "Tri",
    "Ul",
    "Va",
    "Ver",
    "Vi",
    "Wa",
    "Win",
    "Xe",
    "Ya",
    "Yo",
    "Za",
    "Zel",
    "Lum",
    "Quin",
    "Tar",
    "Fen",
]
_MIDDLES = [
    "ra",
    "li",
    "no",
    "ve",
    "ta",
    "mo",
    "ri",
    "sa",
    "ke",
    "du",
    "la",
    "ni",
    "ro",
    "te",
    "va",
    "lo",
    "mi",
    "ne",
    "do",
    "ba",
]
_TAILS = [
    "a",
    "o",
    "is",
    "en",
    "ix",
    "ex",
    "ora",
    "um",
    "ek",
    "al",
    "on",
    "ia",
    "ano",
    "ett",
    "ard",
    "us",
    "ow",
    "ind",
    "el",
    "ash",
    "yn",
    "eo",
    "ita",
    "olm",
    "urn",
    "eck",
    "vo",
    "ka",
    "lis",
    "dor",
    "mar",
    "nel",
    "tra",
    "zan",
]
_SIGNS = (
    "安白百宝北碧彩灿长晨成川春慈大丹德东多朵方飞丰风枫福富高歌光广贵国海寒汉好浩合和河荷恒红宏"
    "湖虎花华欢辉慧吉佳家嘉江金锦京晶景静九橘君开康可兰蓝乐丽利莲良林灵龙露绿梅美梦米民明木南宁牛鹏"
    "平齐奇千青清晴秋泉日荣瑞森山杉尚胜诗石时舒双水思松苏泰桃天田甜同万望微文梧西溪禧夏仙香祥"
    "晓小心新欣星雪雅阳遥叶怡艺逸银盈永优友瑜羽雨玉圆源远月悦云泽真正知芝致中竹卓子紫岚屿禾棠川霁"
)
_SHOP_EN = [
    "Store",
    "Shop",
    "Market",
    "House",
    "Corner",
    "Goods",
    "Depot",
    "Online",
    "Studio",
    "Bazaar",
    "Supply",
    "Trade",
    "Kitchen",
    "Home",
    "Light",
    "Living",
    "Tech",
    "Outfitters",
    "Wear",
    "Paper",
    "Pets",
    "Garden",
]
_SHOP_ZH = [
    "商店",
    "小铺",
    "百货",
    "生活馆",
    "之家",
    "优选",
    "商城",
    "杂货",
    "旗舰店",
    "铺子",
    "集市",
    "厨房",
    "家纺",
    "灯饰",
    "家居",
    "数码",
    "户外",
    "服饰",
    "文具",
    "宠物",
    "园艺",
]
_MONTH_DAYS = 28


@dataclass(frozen=True, slots=True)
class Document:
    """One text of the corpus: either plain, or a chat.

    Args:
        language: what it is written in.
        text: a plain text; empty where ``messages`` holds a chat.
        messages: a chat in OpenAI form; empty where ``text`` holds a plain text.
    """

    language: Language
    text: str = ""
    messages: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Topic:
    """One matter that a shop or a product can be asked about: patterns of fact, question, answer."""

    fact: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Grammar:
    """All patterns of one language, read from its module."""

    rules: Mapping[str, str]
    spaced: bool
    shop_topics: tuple[Topic, ...]
    product_topics: tuple[Topic, ...]
    scenes: tuple[tuple[tuple[str, str], ...], ...]
    documents: tuple[str, ...]
    uses: Mapping[str, str]
    materials: Mapping[str, str]


def make_document(seed: int, split: Literal["train", "heldout"], index: int) -> Document:
    """Write one document of the corpus.

    Args:
        seed: of the corpus.
        split: ``heldout`` documents come from other random streams than ``train`` ones.
        index: even ones are English, odd ones Chinese.

    Guarantees:
        - the same arguments give the same document, whatever was written before;
        - a chat begins with a system or a user turn and ends with an assistant turn.
    """
    rng = stream(seed, "tiny", split, index)
    language: Language = "en" if index % 2 == 0 else "zh"
    slots = invent(rng, language)
    if rng.random() < 0.35:
        return Document(language, text=_plain_text(rng, language, slots))
    return Document(language, messages=tuple(_chat(rng, language, slots)))


def invent(rng: np.random.Generator, language: Language) -> Slots:
    """Invent all the facts of one document: a shop, two products, an order, a person."""
    kind = choose(rng, lexicon.KINDS)
    slots: dict[str, str] = {}
    slots.update(_invent_product(rng, language, kind))
    slots.update(_invent_shop(rng, language))
    slots.update(_invent_person(rng, language))
    slots.update(_invent_order(rng, language))
    return MappingProxyType(slots)


def choose(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Draw one of the options, each equally likely."""
    return options[int(rng.random() * len(options))]


def _pair(rng: np.random.Generator, options: Sequence[T]) -> tuple[T, T]:
    """Draw two different options."""
    first = int(rng.random() * len(options))
    second = (first + 1 + int(rng.random() * (len(options) - 1))) % len(options)
    return options[first], options[second]


def _between(rng: np.random.Generator, low: int, high: int) -> int:
    """Draw a whole number from ``low`` to ``high``, both included."""
    return low + int(rng.random() * (high - low + 1))


def _name(rng: np.random.Generator, language: Language) -> str:
    """Invent the name of a brand, a series or a shop."""
    if language == "zh":
        return "".join(choose(rng, _SIGNS) for _ in range(2 + int(rng.random() < 0.15)))
    middle = choose(rng, _MIDDLES) if rng.random() < 0.5 else ""
    return choose(rng, _HEADS) + middle + choose(rng, _TAILS)


def _money(rng: np.random.Generator, language: Language, low: int, high: int) -> str:
    """Invent a sum of money."""
    amount = _between(rng, low, high)
    cents = f".{_between(rng, 0, 99):02d}" if rng.random() < 0.15 else ""
    if language == "zh":
        return f"{amount}{cents}元"
    return f"${amount}{cents}" if rng.random() < 0.85 else f"{amount}{cents} euros"


def _invent_product(rng: np.random.Generator, language: Language, kind: Kind) -> Slots:
    """Invent a product of one kind, and the name of another one."""
    space = " " if language == "en" else ""
    other = choose(rng, lexicon.KINDS)
    material, material2 = _pair(rng, lexicon.MATERIALS)
    if rng.random() < 0.7:
        material = choose(rng, kind.materials)
    if material == material2:
        material2 = next(term for term in lexicon.MATERIALS if term != material)
    colours = _pair(rng, lexicon.COLOURS)
    grammar = read_grammar(language)
    return {
        "kind": kind.name.text(language),
        "use": grammar.uses[kind.name.en],
        "category": kind.category.text(language),
        "brand": _name(rng, language),
        "product": f"{_name(rng, language)}{space}{kind.name.text(language)}",
        "product2": f"{_name(rng, language)}{space}{other.name.text(language)}",
        "material": material.text(language),
        "material2": material2.text(language),
        "material_fact": grammar.materials[material.en],
        "material_fact2": grammar.materials[material2.en],
        "colour": colours[0].text(language),
        "colour2": colours[1].text(language),
        "axis": kind.axis.text(language),
        "value": choose(rng, kind.values).text(language),
        "price": _money(rng, language, 3, 420),
        "price2": _money(rng, language, 3, 420),
        "months": str(_between(rng, 1, 60)),
        "stock": str(_between(rng, 1, 99)),
    }


def _invent_shop(rng: np.random.Generator, language: Language) -> Slots:
    """Invent a shop and what it promises."""
    name = _name(rng, language)
    ending = choose(rng, _SHOP_EN if language == "en" else _SHOP_ZH)
    payments = _pair(rng, lexicon.PAYMENTS)
    fastest = _between(rng, 1, 9)
    return {
        "shop": f"{name} {ending}" if language == "en" else name + ending,
        "days": str(_between(rng, 5, 120)),
        "days2": str(_between(rng, 1, 30)),
        "days3": str(_between(rng, 2, 90)),
        "d1": str(fastest),
        "d2": str(fastest + _between(rng, 1, 12)),
        "fee": _money(rng, language, 1, 30),
        "fee2": _money(rng, language, 1, 20),
        "free": _money(rng, language, 20, 300),
        "percent": str(_between(rng, 1, 40)),
        "percent2": str(_between(rng, 2, 50)),
        "open": str(_between(rng, 6, 12)),
        "close": str(_between(rng, 14, 23)),
        "weekday": choose(rng, lexicon.WEEKDAYS).text(language),
        "month": choose(rng, lexicon.MONTHS).text(language),
        "carrier": choose(rng, lexicon.CARRIERS).text(language)
        if rng.random() < 0.4
        else _name(rng, language)
        + ("" if language == "en" else choose(rng, ("快递", "物流", "速运"))),
        "payment": payments[0].text(language),
        "payment2": payments[1].text(language),
        "year": str(_between(rng, 1900, 2035)),
    }


def _invent_person(rng: np.random.Generator, language: Language) -> Slots:
    """Invent a customer who can be reached nowhere."""
    english = language == "en"
    given = choose(rng, lexicon.GIVEN_EN if english else lexicon.GIVEN_ZH)
    family = choose(rng, lexicon.SURNAMES_EN if english else lexicon.SURNAMES_ZH)
    street, city = choose(rng, lexicon.STREETS), choose(rng, lexicon.CITIES)
    house, number = _between(rng, 1, 180), _between(rng, 0, 99)
    user = choose(rng, (given.lower(), family.lower())) if english else choose(rng, _HEADS).lower()
    phone_zh = f"127{_between(rng, 0, 99_999_999):08d}"
    return {
        "given": given,
        "name": f"{given} {family}" if english else family + given,
        "city": city.text(language),
        "address": f"{house} {street.en}, {city.en}"
        if english
        else f"{city.zh}{street.zh}{house}号",
        "phone": f"{_between(rng, 201, 989)}-555-01{number:02d}" if english else phone_zh,
        "email": f"{user}{_between(rng, 1, 999)}@example.{choose(rng, ('com', 'org', 'net'))}",
    }


def _invent_order(rng: np.random.Generator, language: Language) -> Slots:
    """Invent an order: its number, its days and how far it has come."""
    day = date(2020, 1, 1) + timedelta(days=_between(rng, 0, 5500))
    month = lexicon.MONTHS[day.month - 1].text(language)
    reason = choose(rng, lexicon.RETURN_REASONS).text(language)
    return {
        "order": _code(rng),
        "order2": _code(rng),
        "tracking": f"{_letters(rng, 2)}{_digits(rng, choose(rng, (6, 6, 8, 9)))}",
        "code": f"{_letters(rng, _between(rng, 1, 3))}{choose(rng, ('', '-'))}{_digits(rng, 4)}",
        "iso": day.isoformat(),
        "date": f"{day.day} {month}" if language == "en" else f"{month}{day.day}日",
        "status": choose(rng, lexicon.STATUSES).text(language),
        "reason": reason,
        "total": _money(rng, language, 5, 700),
    }


def _code(rng: np.random.Generator) -> str:
    """Invent an order number in one of the shapes that shops use."""
    shape = int(rng.random() * 6)
    if shape == 0:
        return f"{_letters(rng, 2)}-{_digits(rng, 5)}"
    if shape == 1:
        return _digits(rng, 8)
    if shape == 2:
        return f"{_digits(rng, 4)}-{_digits(rng, 3)}"
    return f"{_letters(rng, 1)}{_digits(rng, choose(rng, (4, 5, 5, 5, 6, 7)))}"


def _letters(rng: np.random.Generator, count: int) -> str:
    return "".join(choose(rng, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(count))


def _digits(rng: np.random.Generator, count: int) -> str:
    return "".join(choose(rng, "0123456789") for _ in range(count))


def _plain_text(rng: np.random.Generator, language: Language, slots: Slots) -> str:
    """Write a description, a letter, an encyclopaedic line, a page of promises or of questions."""
    grammar = read_grammar(language)
    rules, draw = grammar.rules, rng.random()
    if draw < 0.5:
        return expand(choose(rng, grammar.documents), rng, rules, slots)
    if draw < 0.65:
        count = _between(rng, 3, 7)
        sentences = (
            expand("[<everyday>|<everyday>|<polite>]", rng, rules, slots) for _ in range(count)
        )
        return (" " if grammar.spaced else "").join(s[0].upper() + s[1:] for s in sentences)
    topics = _some(rng, (*grammar.shop_topics, *grammar.product_topics), 2, 5)
    facts = [expand(topic.fact, rng, rules, slots) for topic in topics]
    if draw < 0.83:
        return f"{slots['shop']}\n" + "\n".join(facts)
    marks = ("Q: ", "A: ") if language == "en" else ("问：", "答：")
    pairs = (
        f"{marks[0]}{expand(topic.question, rng, rules, slots)}\n"
        f"{marks[1]}{expand(topic.answer, rng, rules, slots)}"
        for topic in topics
    )
    return "\n".join(pairs)


def _some(rng: np.random.Generator, options: Sequence[T], low: int, high: int) -> list[T]:
    """Draw a few different options, in random order."""
    order = rng.permutation(len(options))[: _between(rng, low, high)]
    return [options[i] for i in order]


def _chat(rng: np.random.Generator, language: Language, slots: Slots) -> list[Message]:
    """Write a chat: an optional system turn with facts, then questions on them and scenes."""
    grammar = read_grammar(language)
    rules = grammar.rules
    space = " " if language == "en" else ""
    topics = _some(rng, (*grammar.shop_topics, *grammar.product_topics), 1, 5)
    informed = rng.random() < 0.55
    system = ""
    if informed or rng.random() < 0.7:
        pattern = f"<job>{space}<style>" if rng.random() < 0.85 else f"<plainjob>{space}<style>"
        system = expand(pattern, rng, rules, slots).strip()
    if informed:
        system += space + space.join(expand(t.fact, rng, rules, slots) for t in topics)
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    parts = _between(rng, 1, 3)
    for part in range(parts):
        if rng.random() < (0.6 if informed else 0.0):
            messages += _question(rng, grammar, slots, topics, space)
        elif rng.random() < 0.1:
            messages += _question(rng, grammar, slots, (), space)
        else:
            # A second scene is about another order, not about the one just dealt with.
            fresh = {**slots, **_invent_order(rng, language)} if part else slots
            messages += _scene(rng, grammar, fresh)
    return messages


def _question(
    rng: np.random.Generator, grammar: Grammar, slots: Slots, known: Sequence[Topic], space: str
) -> list[Message]:
    """Ask for one of the known facts; without any, ask for an unknown one."""
    topic = choose(rng, known or (*grammar.shop_topics, *grammar.product_topics))
    question = expand(f"<hello>{topic.question}", rng, grammar.rules, slots)
    pattern = f"<sure>{space}{topic.answer}{space}<more>" if known else "<dontknow>"
    answer = expand(pattern, rng, grammar.rules, slots)
    question = _with_small_talk(rng, grammar, slots, "U", question)
    answer = _with_small_talk(rng, grammar, slots, "A", answer)
    return [_turn("user", question), _turn("assistant", answer)]


def _with_small_talk(
    rng: np.random.Generator, grammar: Grammar, slots: Slots, mark: str, text: str
) -> str:
    """Now and then say an everyday sentence before or after the matter itself."""
    # Customers often type without capitals; an order number keeps its letters.
    if mark == "U" and rng.random() < 0.3 and text[1:2].islower():
        text = text[0].lower() + text[1:]
    draw = rng.random()
    if draw > 0.45:
        return text
    said = expand("<everyday>" if mark == "U" else "<polite>", rng, grammar.rules, slots)
    said = said[0].upper() + said[1:]
    space = " " if grammar.spaced else ""
    return f"{said}{space}{text}" if draw < 0.25 else f"{text}{space}{said}"


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content.strip().replace("  ", " ")}


def _scene(rng: np.random.Generator, grammar: Grammar, slots: Slots) -> list[Message]:
    """Play one scene: turns, tool calls and the tools' answers."""
    messages: list[Message] = []
    roles = {"U": "user", "A": "assistant"}
    for mark, pattern in choose(rng, grammar.scenes):
        if mark in roles:
            text = expand(pattern, rng, grammar.rules, slots)
            messages.append(_turn(roles[mark], _with_small_talk(rng, grammar, slots, mark, text)))
        elif mark == "C":
            name, _, pairs = expand(pattern, rng, grammar.rules, slots).partition(": ")
            said = expand("<wait>", rng, grammar.rules, slots) if rng.random() < 0.3 else ""
            function = {"name": name, "arguments": _json(_fields(pairs))}
            call = {"id": "1", "type": "function", "function": function}
            messages.append({"role": "assistant", "content": said, "tool_calls": [call]})
        else:
            fields = _fields(expand(pattern, rng, grammar.rules, slots))
            messages.append({"role": "tool", "content": _json(fields)})
    return messages


def _fields(pairs: str) -> dict[str, Any]:
    """Read ``key=value; key=value``; a value after ``#`` is a number, ``true`` is a truth."""
    fields: dict[str, Any] = {}
    for pair in pairs.split("; "):
        key, _, value = pair.strip().partition("=")
        if value == "true":
            fields[key] = True
        else:
            fields[key] = int(value[1:]) if value.startswith("#") else value
    return fields


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@cache
def read_grammar(language: Language) -> Grammar:
    """Read the patterns of one language into their parts."""
    module: ModuleType = tiny_grammar_en if language == "en" else tiny_grammar_zh
    return Grammar(
        rules=module.RULES,
        spaced=language == "en",
        shop_topics=_topics(module.SHOP_TOPICS),
        product_topics=_topics(module.PRODUCT_TOPICS),
        scenes=tuple(
            tuple((line[0], line[2:]) for line in block.splitlines())
            for block in module.SCENES.strip().split("\n\n")
        ),
        documents=module.DOCUMENTS,
        uses=_table(module.USES),
        materials=_table(module.MATERIALS),
    )


def _topics(blocks: str) -> tuple[Topic, ...]:
    """Read blocks of four lines: a name, then a fact, a question and an answer."""
    lines = [block.splitlines() for block in blocks.strip().split("\n\n")]
    return tuple(Topic(fact[2:], question[2:], answer[2:]) for _, fact, question, answer in lines)


def _table(lines: str) -> dict[str, str]:
    """Read lines of ``key=value``."""
    return dict(line.split("=", 1) for line in lines.strip().splitlines())
