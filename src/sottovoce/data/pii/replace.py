"""What stands in a text where personal data stood: a tag, or a surrogate. Pure.

A replacement has two halves that belong together: what it puts into a text, and how it finds that
again. The second half is what makes scrubbing idempotent: what a replacement has put there stays,
whatever a detector thinks of it.
"""

from __future__ import annotations

import hmac
import re
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final, Literal, Protocol

from sottovoce.data.pii.reserved import MAKERS, own_numbers
from sottovoce.data.pii.span import NAMED, STRUCTURED
from sottovoce.data.pii.surrogates import (
    OWN_NAMES,
    TITLE_BEFORE,
    TITLE_BEHIND,
    address,
    organization,
    person,
    place,
)
from sottovoce.errors import ConfigError

Way = Literal["mask", "pseudonym", "drop"]
"""Tags, surrogates, or no conversation at all where personal data stand."""
WAYS: Final[tuple[Way, ...]] = ("mask", "pseudonym", "drop")
KEY_BYTES: Final = 32
LONGEST: Final = 80
"""Characters of the longest replacement, with a form of address, or more."""
ALL: Final = sys.maxsize

_NUMBERS: Final = frozenset({"CREDIT_CARD", "IBAN", "PHONE", "US_SSN", "CN_ID", "ACCOUNT_NUMBER"})
_NAMERS: Final = {
    "ORGANIZATION": organization,
    "PLACE": place,
    "ADDRESS": address,
}


class Replacement(Protocol):
    """Puts something in the place of personal data, and knows it again."""

    def put(self, kind: str, value: str, before: str = "", after: str = "") -> str:
        """What stands there instead of a value, by what stands around it."""

    def own(self, text: str, start: int = 0, end: int = ALL) -> list[tuple[int, int]]:
        """Where a part of a text holds what this replacement, or a tag, has put; in any order."""

    def owner(self, name: str) -> str:
        """A name for the owner of a conversation that says nothing of who it is."""


def normalised(value: str, kind: str = "") -> str:
    """One writing of a value: width, case and blanks make no difference, nor signs in numbers.

    >>> normalised("Ａda  LOVE"), normalised("4111-1111 1111", "CREDIT_CARD")
    ('ada love', '411111111111')
    """
    text = " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    if kind == "PHONE":
        digits = re.sub(r"\D", "", text).removeprefix("00")
        return digits[2:] if re.match("861[3-9]", digits) else digits
    return re.sub(r"[\W_]", "", text) if kind in _NUMBERS else text


class Mask:
    """A tag that says what stood there, such as ``[PERSON]``.

    Args:
        kinds: kinds of a user's own recognisers, whose tags are known again beside the others.

    Guarantees:
        - a tag is never taken for personal data, nor a form of address beside one.

    >>> Mask().put("PERSON", "Ada Love"), Mask().own("so [PERSON] left")
    ('[PERSON]', [(3, 11)])
    """

    def __init__(self, kinds: Iterable[str] = ()) -> None:
        self._tags = _tags(kinds)
        self._owners: dict[str, str] = {}

    def put(self, kind: str, value: str, before: str = "", after: str = "") -> str:  # noqa: ARG002
        """The tag of the kind, which tells nothing of the value."""
        return f"[{kind}]"

    def own(self, text: str, start: int = 0, end: int = ALL) -> list[tuple[int, int]]:
        """Where tags stand."""
        return [found.span() for found in self._tags.finditer(text, start, end)]

    def owner(self, name: str) -> str:
        """A number in the order of first being met."""
        return self._owners.setdefault(name, f"person-{len(self._owners) + 1}")


@dataclass(frozen=True)
class Pseudonym:
    """A surrogate of the same kind, the same one for the same value within one site.

    A surrogate is drawn by HMAC-SHA-256 of the value under the site's key, so that nobody without
    the key can try out names. Two values may share a surrogate; there are about a thousand full
    names of each gender, and the count of the other forms is that of their range.

    Args:
        key: 32 random bytes of the site, which never leave it.
        kinds: kinds of a user's own recognisers; they are replaced by a tag with a number.

    Guarantees:
        - equal values, in any width, case and spacing, get equal surrogates;
        - surrogates, and tags, are found again and stay.

    Raises:
        ConfigError: the key has another length.
    """

    key: bytes
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise ConfigError(
                f"a key of {len(self.key)} bytes",
                allowed=f"{KEY_BYTES} random bytes",
                remedy="Leave the file away, and a key is made",
            )

    def __repr__(self) -> str:
        return "Pseudonym(a key that is not shown)"

    @cached_property
    def _tags(self) -> re.Pattern[str]:
        return _tags(self.kinds)

    def _draw(self, purpose: str, value: str, below: int) -> int:
        told = f"{len(purpose)}:{purpose}{value}".encode()
        # 256 bits over at most 53 leave no bias that could be seen.
        return int.from_bytes(hmac.digest(self.key, told, sha256)) % below

    def put(self, kind: str, value: str, before: str = "", after: str = "") -> str:
        """The surrogate of a value."""
        name = " ".join(unicodedata.normalize("NFKC", value).split())
        if kind == "PERSON":
            return person(name, self._draw, before, after)
        if kind in _NAMERS:
            return _NAMERS[kind](name, self._draw)
        known = normalised(value, kind)
        if kind in ("PHONE", "DATE_OF_BIRTH"):
            return MAKERS[kind](known, self._draw)
        if kind in MAKERS:
            # The shape comes from what was written, the draw from its one writing.
            return MAKERS[kind](value, lambda purpose, _, below: self._draw(purpose, known, below))
        return f"[{kind} {self._draw(kind, known, 10**4):04d}]"

    def own(self, text: str, start: int = 0, end: int = ALL) -> list[tuple[int, int]]:
        """Where surrogates and tags stand."""
        patterns = (*OWN_NAMES, self._tags)
        found = (one.span() for each in patterns for one in each.finditer(text, start, end))
        return [*found, *own_numbers(text, start, end)]

    def owner(self, name: str) -> str:
        """The same for every conversation of one owner, also in another file."""
        if _OWNER.fullmatch(name):
            return name
        return f"person-{self._draw('owner', name, 16**12):012x}"


_OWNER: Final = re.compile("person-[0-9a-f]{12}")


def _tags(kinds: Iterable[str]) -> re.Pattern[str]:
    every = "|".join(map(re.escape, (*STRUCTURED, *NAMED, *kinds)))
    return re.compile(rf"{TITLE_BEFORE}\[(?:{every})(?: [0-9]{{4}})?\]{TITLE_BEHIND}")


def make_replacement(way: Way, key: bytes | None = None, kinds: Iterable[str] = ()) -> Replacement:
    """The replacement of a configuration's word; conversations to be dropped are read as for tags.

    Raises:
        ConfigError: surrogates without a key.
    """
    if way != "pseudonym":
        return Mask(kinds)
    if key is None:
        raise ConfigError("surrogates need the site's key", remedy="Name its file")
    return Pseudonym(key, tuple(kinds))
