"""Telephone numbers; the only place for the package phonenumbers.

Forms that nothing else has are taken at once: Chinese mobiles, numbers of North America, numbers
with a plus. What begins with a zero is taken if it is a valid number of a region that was asked
for. What has no form of its own needs a word beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from sottovoce.data.pii.labels import label_before
from sottovoce.data.pii.merge import Found, Rank
from sottovoce.data.pii.page import Page
from sottovoce.data.pii.shape import Family, bounded
from sottovoce.data.pii.span import Span
from sottovoce.errors import MissingExtraError

ASKED_AT_MOST: Final = 1000
"""So many numbers of one text are looked up in tables; each further one is taken for valid."""

_NAMES: Final = (
    "tel phone mobile mob cell call sms ph no num number fax t m p wx vx v weixin wechat qq"
)
_WORDS: Final = frozenset(_NAMES.split())
_MOST_DIGITS: Final = 15
_LAST: Final = re.compile(r"[^0-9]+[0-9]+\Z")
_RUN: Final = re.compile(r"([0-9a-z]+)[-_.]?\Z")
_EXTENSION: Final = re.compile(r" ?(?:x|ext\.?|extension|转|分机|#) ?[0-9]{1,6}(?![0-9])")
_MOBILE: Final = re.compile(
    r"1[3-9][0-9](?:[0-9]{8}|[ -][0-9]{4}[ -][0-9]{4}|[0-9][ -][0-9]{3}[ -]?[0-9]{4})(?![0-9])"
)
_CHINA: Final = re.compile(r"(?<![0-9])\(?(?:\+|00)?86\)?[ -]?\Z")
_AMERICA: Final = re.compile(r"(?<![0-9])(?:\+?1|001)[-. ]?\Z")
_NANP: Final = (
    re.compile(r"[0-9]{3}(?:([-.])[0-9]{3}\1| [2-9][0-9]{2} )[0-9]{4}(?![0-9])"),
    re.compile(r"\([0-9]{3}\)[ -]?[0-9]{3}[-. ][0-9]{4}(?![0-9])"),
)
_PLUS: Final = re.compile(r"\+[1-9][0-9]{0,3}(?:[ ().\-/]{0,2}[0-9]+){1,8}")
_ZERO: Final = (
    re.compile(bounded("0", r"[0-9]{1,4}(?:[ ().\-/]{0,2}[0-9]{2,8}){1,5}")),
    re.compile(r"\(0[0-9]{1,4}\) ?[0-9]{2,8}(?:[ .\-/][0-9]{2,8}){0,4}(?![0-9])"),
)
_CHINESE_LANDLINE: Final = re.compile(r"\(?(?:010|02[0-9]|0[3-9][0-9]{2})\)?[ -]?[1-9][0-9]{6,7}")
_SERVICE: Final = re.compile(
    bounded("[48]", r"00[ -](?:[0-9]{3}[ -][0-9]{4}|[0-9]{4}[ -][0-9]{3})")
)
_ANY: Final = re.compile(bounded("[0-9]", r"(?:[ ().\-/]{0,2}[0-9]+){1,9}"))
_SHORT_GROUP: Final = re.compile(r"(?<![0-9])[0-9]{1,6}[ .\-/]\Z")
_DATE: Final = re.compile(
    r"(?:(?:19|20)[0-9]{2}[-/. ][0-9]{1,2}[-/. ][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.](?:19|20))"
    r"|[0-9]+\.[0-9]+\Z"
)


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _pieces(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Where a pattern stands, without whole groups at its end that make it longer than a number."""
    match = pattern.search(text)
    while match is not None:
        start, end = match.span()
        while _digits(text[start:end]) > _MOST_DIGITS and (last := _LAST.search(text, start, end)):
            end = last.start()
        yield start, end
        match = pattern.search(text, end)


def _found(page: Page, start: int, end: int, score: float, pattern: str, word: str = "") -> Found:
    """A number and the extension behind it."""
    more = _EXTENSION.match(page.lowered, end)
    end = more.end() if more else end
    span = Span(start, end, "PHONE", score, f"phones.{pattern}")
    return Found(span, Rank.CONTEXT if word else Rank.PATTERN, pattern, word)


def _begins(page: Page, start: int) -> bool:
    """Whether a number can begin here: no digit before, and letters only of a word for it."""
    run = _RUN.search(page.lowered, max(0, start - 12), start)
    return run is None or run[1] in _WORDS


def _goes_on(page: Page, start: int) -> bool:
    """Whether a group of few digits stands right before, so that this is the rest of something."""
    return _SHORT_GROUP.search(page.folded, max(0, start - 8), start) is not None


def _mobiles(page: Page) -> Iterator[Found]:
    for match in _MOBILE.finditer(page.folded):
        start = match.start()
        prefix = _CHINA.search(page.folded, max(0, start - 7), start)
        start = prefix.start() if prefix else start
        tail = page.lowered[match.end() : match.end() + 2]
        ends = not (tail[:1].isascii() and tail[:1].isalpha()) or tail in ("wx", "vx", "qq")
        if _begins(page, start) and (ends or tail[:1] == "x"):
            yield _found(page, start, match.end(), 0.93, "chinese mobile")


def _americans(page: Page) -> Iterator[Found]:
    for pattern in _NANP:
        for match in pattern.finditer(page.folded):
            start = match.start()
            prefix = _AMERICA.search(page.folded, max(0, start - 5), start)
            start = prefix.start() if prefix else start
            spaced = match[0][3] == " "
            if spaced and (match[0][0] in "01" or _goes_on(page, start)):
                continue
            if _begins(page, start):
                yield _found(page, start, match.end(), 0.88, "north american")


def _abroad(page: Page) -> Iterator[Found]:
    for start, end in _pieces(_PLUS, page.folded):
        if 8 <= _digits(page.folded[start:end]) <= _MOST_DIGITS and _begins(page, start):
            yield _found(page, start, end, 0.87, "with a plus")


def _nationals(page: Page, valid: Callable[[str], bool]) -> Iterator[Found]:
    asked: dict[str, bool] = {}
    for pattern in _ZERO:
        for start, end in _pieces(pattern, page.folded):
            text = page.folded[start:end]
            if not 9 <= _digits(text) <= _MOST_DIGITS or _DATE.match(text):
                continue
            if _goes_on(page, start) or not _begins(page, start):
                continue
            if _CHINESE_LANDLINE.fullmatch(text):
                yield _found(page, start, end, 0.8, "chinese landline")
                continue
            if text not in asked:
                asked[text] = len(asked) >= ASKED_AT_MOST or valid(text)
            if asked[text]:
                yield _found(page, start, end, 0.7, "valid in a region")
    for match in _SERVICE.finditer(page.folded):
        yield _found(page, match.start(), match.end(), 0.72, "service line")


def _labelled(page: Page) -> Iterator[Found]:
    """Numbers beside a word for telephones, and those right behind such a number."""
    word, until = "", -1
    for start, end in _pieces(_ANY, page.folded):
        text = page.folded[start:end]
        if not 7 <= _digits(text) <= _MOST_DIGITS or _DATE.match(text):
            continue
        if page.folded[start - 1 : start] in ("(", "+"):
            start -= 1
        label = label_before(page, start)
        if label is not None and label.kind == "PHONE":
            word = label.word
        elif not (word and 0 < start - until <= 3 and not page.folded[until:start].strip(" ,/、;")):
            continue
        until = end
        yield _found(page, start, end, 0.75, "named", word)


def _phones(page: Page, *, valid: Callable[[str], bool]) -> Iterator[Found]:
    if not page.digits:
        return
    yield from _mobiles(page)
    yield from _americans(page)
    yield from _abroad(page)
    yield from _nationals(page, valid)
    yield from _labelled(page)


def _valid_in(text: str, *, regions: Sequence[str]) -> bool:
    """Whether one of these regions has given out numbers of this kind."""
    import phonenumbers

    for region in regions:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return True
    return False


def phones(regions: Sequence[str]) -> Family:
    """The recogniser of telephone numbers.

    Args:
        regions: whose numbers without a country's prefix are known, as ISO codes ("GB"). With
            none, the package phonenumbers is not needed.

    Raises:
        MissingExtraError: there are regions, and phonenumbers is not installed.
    """
    if regions:
        try:
            import phonenumbers  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("phonenumbers", extra="pii") from error
    valid = partial(_valid_in, regions=tuple(regions))
    return Family("phones", ("PHONE",), partial(_phones, valid=valid))
