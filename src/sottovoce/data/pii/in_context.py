"""Numbers and names that only a word beside them makes personal: orders, accounts, passports. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sottovoce.data.pii import checks
from sottovoce.data.pii.labels import NOBODY, Label, label_before
from sottovoce.data.pii.merge import Found, Rank
from sottovoce.data.pii.nearby import nearby
from sottovoce.data.pii.page import Page
from sottovoce.data.pii.shape import Family
from sottovoce.data.pii.span import Span


@dataclass(frozen=True)
class _Value:
    """What a number of one kind looks like.

    Args:
        pattern: from its first sign.
        least: how many digits it has at least, if the word stands right before it.
        loose: how many otherwise.
        score: how sure it makes.
    """

    pattern: re.Pattern[str]
    least: int
    loose: int
    score: float = 0.7


def _value(pattern: str, least: int, loose: int = 0, score: float = 0.7) -> _Value:
    return _Value(re.compile(rf"(?:{pattern})(?![0-9A-Za-z])"), least, loose or least, score)


_GROUPS: Final = r"[0-9]{3,5}(?:[ -][0-9]{3,5}){2,5}"
_CODE: Final = r"[0-9A-Za-z](?:[-_/]?[0-9A-Za-z]){3,39}"
_VALUES: Final = {
    "ORDER_NUMBER": _value(rf"{_GROUPS}|{_CODE}", 4, 7),
    "ACCOUNT_NUMBER": _value(rf"{_GROUPS}|{_CODE}", 4, 7),
    "CREDIT_CARD": _value(r"[0-9]{4}(?:[ -][0-9]{4}){2,3}(?:[ -][0-9]{1,3})?|[0-9]{12,19}", 12),
    "PASSPORT": _value(r"[A-Za-z]{0,2} ?[0-9]{6,9}[A-Za-z]?", 6),
    "DRIVER_LICENSE": _value(rf"[0-9A-Za-z]{{1,4}}(?:[ -][0-9A-Za-z]{{3,6}}){{1,4}}|{_CODE}", 5),
    "US_SSN": _value(r"[0-9]{3}[- .]?[0-9]{2}[- .]?[0-9]{4}", 9),
    "CN_ID": _value(r"[0-9]{17}[0-9Xx]|[0-9]{15}|[0-9]{6}[ -][0-9]{8}[ -][0-9]{3}[0-9Xx]", 15),
    "CN_PERMIT": _value(r"[A-Za-z]{1,2}[0-9]{7,10}|[0-9]{8}(?:[0-9]{2}[A-Za-z]?)?", 7),
    "CN_CREDIT_CODE": _value(r"[0-9A-Za-z]{8}-[0-9A-Za-z]|[0-9A-Za-z]{15,20}", 6),
    "QQ": _value(r"[1-9][0-9]{4,10}", 5),
    "POSTCODE": _value(
        r"[0-9]{5}-[0-9]{3,4}|[0-9]{6}|[0-9]{4} ?[A-Z]{2}|[0-9]{3} [0-9]{2}|[0-9]{4,5}"
        r"|[A-Za-z]{1,2}[0-9][0-9A-Za-z]? ?[0-9][A-Za-z]{2}|[A-Za-z][0-9][A-Za-z] ?[0-9][A-Za-z][0-9]",
        2,
    ),
}
# Letters right before a number that are the word, and no part of it.
_GLUED: Final = re.compile(
    r"(?:qq|wx|vx|id|no|ssn|zip|order|acct|account|passport|ref)(?=[0-9])", re.IGNORECASE
)
_TOKEN: Final = re.compile(
    r"[0-9A-Za-z](?<![0-9A-Za-z_-][0-9A-Za-z])(?:(?<=[0-9])|[A-Za-z_-]{0,11}[0-9])[0-9A-Za-z_-]{0,60}"
)
# What makes digits an amount of something.
_UNIT: Final = re.compile(
    r" ?(?:元|块|万|亿|件|个|单|笔|家|位|台|辆|吨|期|毫|人|次|米|平|克|斤|公|千|分|秒|天|号楼|楼|层|室|%|度|积分|条|张|份|岁|年|月|"
    r"(?:usd|eur|dollars|euros|units|items|pcs|kg|km|mb|gb|days|people|points|times|miles)(?![a-z]))"
)
_DAY: Final = re.compile(
    r"(?:19|20)[0-9]{2}(?:[-/]?(?:0[1-9]|1[0-2])[-/]?(?:0[1-9]|[12][0-9]|3[01]))?"
)


def _plausible(page: Page, value: _Value, label: Label, match: re.Match[str]) -> bool:
    """Enough digits for how near the word is, no amount, no day of the calendar."""
    digits = sum(map(str.isdigit, match[0]))
    if digits < (value.least if label.close else value.loose):
        return False
    if match[0].isdigit() and digits < 8 and _UNIT.match(page.lowered, match.end()):
        return False
    if label.kind in ("ORDER_NUMBER", "ACCOUNT_NUMBER"):
        if _DAY.fullmatch(match[0]):
            return False
        # "order 66" and "member 2024" count; "order no. 2024" names.
        named = any(sign in label.gap for sign in "#号码编") or re.search(
            r"\b(?:no|number|num|id|nr)\b|[:：]", label.gap
        )
        return digits >= 6 or bool(named) or label.word.endswith(("号", "id", "number"))
    return True


def _named(page: Page) -> Iterator[Found]:
    """Numbers whose kind the nearest word before them says, or a word in their sentence."""
    done = 0
    for token in _TOKEN.finditer(page.folded):
        start = token.start()
        if start < done or len(token[0]) < 3 or sum(map(str.isdigit, token[0])) < 2:
            continue
        glued = _GLUED.match(page.folded, start)
        start = glued.end() if glued else start
        label = label_before(page, start)
        value = _VALUES.get(label.kind) if label else None
        match = value.pattern.match(page.folded, start) if value else None
        if label and value and match and _plausible(page, value, label, match):
            done = match.end()
            yield _find(label, match, value.score)
        elif (label is None or label.kind != NOBODY) and not _counts(page, token):
            yield from nearby(page, start, token.end())


def _counts(page: Page, token: re.Match[str]) -> bool:
    """Whether it says how many of something there are."""
    return len(token[0]) < 8 and _UNIT.match(page.lowered, token.end()) is not None


def _find(label: Label, match: re.Match[str], score: float) -> Found:
    """A find; a card whose check digit is wrong is still somebody's number."""
    kind = label.kind
    if kind == "CREDIT_CARD" and not checks.luhn(re.sub("[^0-9]", "", match[0])):
        kind = "ACCOUNT_NUMBER"
    span = Span(match.start(), match.end(), kind, score, "context.named")
    return Found(span, Rank.CONTEXT, "named", label.word)


# Every alternative begins with a plain letter, which lets the search skip what begins otherwise.
_WECHAT: Final = re.compile(
    r"(?P<word>微信|微号|微❤|薇信|薇❤|威信|威❤|围信|绿泡泡?|w(?<![a-z0-9]w)(?:echat|eixin|x)(?![a-hj-z])"
    r"|v(?<![a-z0-9]v)(?:x|信)?(?![a-hj-z])|加v)"
    r"(?P<gap>(?:[\s:：=\"'“”（(「号码是就为的我叫➕+❤♥💚\ufe0f]|id(?![a-z])|is(?![a-z])|account)*+)"
    r"(?P<data>[a-z](?:[a-z0-9_-]){5,19}|[1-9][0-9]{5,11})(?![a-z0-9_-])"
)


def _wechats(page: Page) -> Iterator[Found]:
    """Names at WeChat, which look like words unless a sign or a digit is in them."""
    for match in _WECHAT.finditer(page.lowered):
        name, gap, word = match["data"], match["gap"], match["word"]
        odd = any(sign in "0123456789_-" for sign in name)
        told = any(sign in gap for sign in ":：=号是➕+") or "id" in gap
        added = page.lowered[max(0, match.start() - 3) : match.start()].endswith(
            ("加", "加我", "加他", "加她", "加个", "我的")
        )
        # A lone v is also "versus".
        if (odd and (told or added)) if word == "v" else (odd or told or added):
            span = Span(*match.span("data"), "WECHAT", 0.75, "context.wechat")
            yield Found(span, Rank.CONTEXT, "wechat", word)


_BIRTH: Final = re.compile(
    r"出生日期|出生年月日?|出生|生日|生于|生辰|生(?<=[0-9日号]生)(?![活产效意成长病气])"
    r"|b(?<![a-z]b)(?:irth ?date|irthday|-day|orn|irth)(?![a-z])"
    r"|d(?<![a-z]d)(?:ate of birth|ob|\.o\.b\.?)(?![a-z])"
)
_MONTH: Final = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec)[a-z]{0,6}\.?"
_NUMERAL: Final = "〇零一二三四五六七八九十廿"
_DATE: Final = re.compile(
    r"(?<![0-9])(?:"
    r"(?:1[89]|20)[0-9]{2} ?[-/.年] ?[0-9]{1,2} ?(?:[-/.月] ?[0-9]{1,2} ?[日号]?|月)"
    r"|[0-9]{2}年[0-9]{1,2}月(?:[0-9]{1,2}[日号])?|[0-9]{1,2}月[0-9]{1,2}[日号]?"
    r"|[0-9]{1,2}[-/.][0-9]{1,2}[-/.](?:(?:1[89]|20)[0-9]{2}|[0-9]{2})"
    r"|(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
    rf"|[0-9]{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH},?(?: (?:1[89]|20)[0-9]{{2}})?"
    rf")(?![0-9])|{_MONTH} [0-9]{{1,2}}(?:st|nd|rd|th)?(?:,? (?:1[89]|20)[0-9]{{2}})?(?![0-9])"
    rf"|[{_NUMERAL}]{{2,4}}年[{_NUMERAL}]{{1,2}}月[{_NUMERAL}]{{1,3}}[日号]"
)
_NOT_BETWEEN: Final = re.compile(r"[0-9。！？!?；;]|\.\s")
_BEFORE: Final = 30
_BETWEEN: Final = re.compile(r"[ ,，(（的]*(?:[在于][^0-9。！？!?；;,，]{1,12})?")


def _births(page: Page) -> Iterator[Found]:
    """Dates beside a word for birth: behind it, or right before it."""
    text = page.lowered
    for word in _BIRTH.finditer(text):
        date = _date_behind(text, word.end())
        if date is None:
            date = _date_before(text, word.start())
        if date is not None:
            span = Span(*date.span(), "DATE_OF_BIRTH", 0.8, "context.birth")
            yield Found(span, Rank.CONTEXT, "date", word[0])


def _date_behind(text: str, end: int) -> re.Match[str] | None:
    date = _DATE.search(text, end, end + 48)
    if date is None or date.start() - end > 26 or _NOT_BETWEEN.search(text, end, date.start()):
        return None
    return date


def _date_before(text: str, start: int) -> re.Match[str] | None:
    """The date that ends right before, but for a comma or the place where it was."""
    least = max(0, start - _BEFORE)
    for date in _DATE.finditer(text, least, start):
        if _BETWEEN.fullmatch(text, date.end(), start):
            return date
    return None


def _in_context(page: Page) -> Iterator[Found]:
    if page.digits:
        yield from _named(page)
    yield from _wechats(page)
    yield from _births(page)


CONTEXT: Final = Family("context", (*_VALUES, "WECHAT", "DATE_OF_BIRTH"), _in_context)
