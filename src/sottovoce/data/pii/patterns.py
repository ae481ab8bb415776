"""Kinds whose form alone gives them away, in any language. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from sottovoce.data.pii import checks
from sottovoce.data.pii.labels import label_before
from sottovoce.data.pii.merge import Found, Rank
from sottovoce.data.pii.page import Page
from sottovoce.data.pii.shape import Family, Shape, bounded, find_shapes, solid
from sottovoce.data.pii.span import Span

_LOCAL: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyz0123456789.!#$%&'*+/=?^_`{|}~-"
    "àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþÿßœšžłńśźżćęąğışěčřďťňůőű"
)
_MAIL_DOMAIN: Final = re.compile(r"@([A-Za-z0-9][A-Za-z0-9-]*(?:\.[A-Za-z0-9-]+)+)")
# A link ends at a space, a quotation mark or anything Chinese.
_IN_LINK: Final = r"[^\s<>\"'`{}|\\^\u2018-\u201f\u2e80-\uffef]"
_LINK: Final = re.compile(rf"://{_IN_LINK}{{3,2000}}")
_SCHEME: Final = re.compile(r"(?:https?|ftp)\Z")
_WWW: Final = re.compile(rf"www\.[A-Za-z0-9-]+\.{_IN_LINK}{{2,2000}}")
_TOP: Final = re.compile(
    r"\.(?:com|net|org|info|biz|edu|gov|mil|io|co|me|tv|app|dev|shop|online|site|xyz|top|vip|club|"
    r"cn|hk|tw|uk|de|fr|it|es|nl|be|ch|at|se|no|dk|fi|pl|cz|pt|ie|eu|ru|jp|kr|in|au|nz|ca|us|br|mx|"
    r"za|hu|ro|gr|tr)(?![A-Za-z0-9-])(?!\.[A-Za-z0-9])"
)
_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")
_STATE_CODES: Final = (
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM "
    "NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR GU VI AS MP AA AE AP"
)
_STATES: Final = frozenset(_STATE_CODES.split())
# Words in capitals, which are states only behind a comma: "ID 83702" names anything.
_DOUBTFUL: Final = frozenset(
    ("ID", "IN", "OK", "OR", "ME", "HI", "PR", "MS", "CT", "MD", "CO", "AS")
)
_SIX: Final = r"[0-9A-Fa-f]"


def _mails(page: Page) -> Iterator[Found]:
    """E-mail addresses: from every @ to the left, then to the right."""
    at = page.folded.find("@")
    least = 0
    while at >= 0:
        match = _MAIL_DOMAIN.match(page.folded, at)
        start = at
        while start > least and page.lowered[start - 1] in _LOCAL:
            start -= 1
        while start < at and not page.folded[start].isalnum():
            start += 1
        end = _mail_end(match) if match and start < at else 0
        if end:
            span = Span(start, end, "EMAIL", 0.95, "internet.email")
            yield Found(span, Rank.PATTERN, "email")
        least = max(at + 1, end)
        at = page.folded.find("@", least)


def _mail_end(match: re.Match[str]) -> int:
    """Where an address ends: behind a last part of two letters or more; 0 if there is none."""
    end = match.end(1)
    labels = match[1].split(".")
    while len(labels) > 1 and not (len(labels[-1]) >= 2 and labels[-1][:2].isalpha()):
        end -= len(labels.pop()) + 1
    return end if len(labels) > 1 else 0


def _links(page: Page) -> Iterator[Found]:
    """Links with a scheme or www, and names of hosts alone."""
    starts = []
    for match in _LINK.finditer(page.folded):
        scheme = _SCHEME.search(page.lowered, max(0, match.start() - 5), match.start())
        starts.extend([(scheme.start(), match)] if scheme else [])
    starts.extend((match.start(), match) for match in _WWW.finditer(page.lowered))
    for start, match in starts:
        end = match.start() + len(match[0].rstrip(".,;:!?)(]['*_~-"))
        span = Span(start, end, "URL", 0.9, "internet.link")
        yield Found(span, Rank.PATTERN, "link")
    least = 0
    for match in _TOP.finditer(page.folded):
        start = match.start()
        while start > least and page.lowered[start - 1] in _HOST:
            start -= 1
        least = match.end()
        name = page.lowered[start : match.start()].lstrip(".-")
        start = match.start() - len(name)
        if len(name) < 2 or not any(map(str.isalpha, name)):
            continue
        span = Span(start, match.end(), "URL", 0.6, "internet.host")
        yield Found(span, Rank.PATTERN, "host")


def _address_v4(page: Page, start: int, end: int) -> bool:
    """Not the number of a version, and not an address that means nobody."""
    before = page.lowered[max(0, start - 9) : start].rstrip(" :")
    if before.endswith(("version", "ver", "ver.", "版本", "固件")):
        return False
    try:
        return not ipaddress.IPv4Address(page.folded[start:end]).is_unspecified
    except ValueError:
        return False


def _addresses_v6(page: Page) -> Iterator[Found]:
    for match in _IPV6.finditer(page.folded):
        text = match[0].rstrip(".")
        text = text if text.endswith("::") else text.rstrip(":")
        if checks.ipv6(text):
            span = Span(
                match.start(), match.start() + len(text), "IP_ADDRESS", 0.95, "internet.ipv6"
            )
            yield Found(span, Rank.CHECKSUM, "ipv6", check="eight groups")


_IPV6: Final = re.compile(
    bounded(r"[0-9A-Fa-f:]", rf"{_SIX}{{0,3}}:[0-9A-Fa-f:.]{{1,42}}", "0-9A-Za-z:.", "0-9A-Za-z:")
)
_INTERNET: Final = (
    Shape(
        "IP_ADDRESS",
        "ipv4",
        re.compile(bounded("[0-9]", r"[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?!\.[0-9])", "0-9A-Za-z.")),
        0.9,
        holds=_address_v4,
    ),
    Shape(
        "MAC_ADDRESS",
        "mac",
        re.compile(
            bounded(
                _SIX,
                rf"{_SIX}(?:(?::{_SIX}{{2}}){{5}}|(?:-{_SIX}{{2}}){{5}}"
                rf"|{_SIX}{{2}}(?:\.{_SIX}{{4}}){{2}})",
                "0-9A-Za-z:.-",
                "0-9A-Za-z:-",
            )
        ),
        0.9,
    ),
)


def _internet(page: Page) -> Iterator[Found]:
    yield from _mails(page)
    yield from _links(page)
    yield from find_shapes(page, "internet", _INTERNET)
    if ":" in page.folded:
        yield from _addresses_v6(page)


def _cards(page: Page) -> Iterator[Found]:
    """Numbers of cards, alone or among other groups of digits."""
    for match in _CARD.finditer(page.folded):
        groups = [(m.start(), m.end()) for m in _GROUP.finditer(page.folded, *match.span())]
        best = max(
            (
                (end - start, start, end)
                for place, (start, _) in enumerate(groups)
                for _, end in groups[place:]
                if checks.card(solid(page, start, end))
            ),
            default=None,
        )
        if best is None:
            continue
        label = label_before(page, best[1])
        if label is None or label.kind != "ORDER_NUMBER":
            span = Span(best[1], best[2], "CREDIT_CARD", 0.95, "numbers.card")
            yield Found(span, Rank.CHECKSUM, "card", check="brand and Luhn")


def _ibans(page: Page) -> Iterator[Found]:
    """Account numbers that begin with a country: the country says how long they are."""
    for match in _IBAN.finditer(page.folded):
        wanted = checks.iban_length(match[0][:2])
        end = match.start()
        while wanted and end < match.end():
            wanted -= page.folded[end].isalnum()
            end += 1
        if not _goes_on(page.folded, end) and checks.iban(solid(page, match.start(), end)):
            span = Span(match.start(), end, "IBAN", 0.99, "numbers.iban")
            yield Found(span, Rank.CHECKSUM, "iban", check="modulo 97")


def _in_a_state(page: Page, start: int, _: int) -> bool:
    """Whether the two letters before are a state's."""
    letters = page.folded[max(0, start - 4) : start].strip(" ,")
    before = page.folded[max(0, start - 8) : start].rpartition(letters)[0].rstrip(" ")
    return letters in _STATES and (letters not in _DOUBTFUL or before.endswith((",", "\n")))


def _goes_on(text: str, end: int) -> bool:
    """Whether a Latin letter or a digit follows."""
    return text[end : end + 1].isascii() and text[end : end + 1].isalnum()


_IBAN: Final = re.compile(
    r"[A-Za-z](?<![0-9A-Za-z][A-Za-z])[A-Za-z][0-9]{2}"
    r"(?:[0-9A-Za-z]{11,29}|(?:[ -][0-9A-Za-z]{4}){2,7}(?:[ -][0-9A-Za-z]{1,3})?)"
)
_GROUP: Final = re.compile("[0-9]+")
_CARD: Final = re.compile(
    bounded(
        "[0-9]",
        r"(?:[0-9]{11,18}|[0-9]{3}(?:[ -][0-9]{4}){2,4}(?:[ -][0-9]{1,3})?"
        r"|[0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5}|[0-9]{5}[ -][0-9]{13})",
        "0-9A-Za-z+",
    )
)
_NUMBERS: Final = (
    Shape(
        "US_SSN",
        "ssn",
        re.compile(bounded("[0-8]", r"[0-9]{2}([- ])[0-9]{2}\1[0-9]{4}(?!-[0-9])", "0-9A-Za-z-")),
        0.85,
        holds=lambda page, start, end: checks.us_ssn(solid(page, start, end)),
        check="areas, groups and serials that are given out",
    ),
    Shape(
        "POSTCODE",
        "state and zip",
        re.compile(
            bounded("[A-Z]", r"[A-Z][ ,]{1,2}(?P<data>[0-9]{5}(?:-[0-9]{4})?)", after="0-9A-Za-z-")
        ),
        0.6,
        holds=_in_a_state,
        check="a state of the USA",
    ),
    Shape(
        "POSTCODE",
        "british or canadian",
        re.compile(
            bounded(
                "[A-Z]",
                r"(?:[A-Z]?[0-9][0-9A-Z]? [0-9](?![GT]B|WD|DS|LB|[RN]D|ST|TH)[ABD-HJLNP-UW-Z]{2}"
                r"|[0-9][ABCEGHJ-NPRSTV-Z] [0-9][ABCEGHJ-NPRSTV-Z][0-9])",
            )
        ),
        0.6,
    ),
)


def _numbers(page: Page) -> Iterator[Found]:
    if not page.digits:
        return
    yield from _ibans(page)
    yield from _cards(page)
    yield from find_shapes(page, "numbers", _NUMBERS)


INTERNET: Final = Family("internet", ("EMAIL", "URL", "IP_ADDRESS", "MAC_ADDRESS"), _internet)
NUMBERS: Final = Family("numbers", ("CREDIT_CARD", "IBAN", "US_SSN", "POSTCODE"), _numbers)
