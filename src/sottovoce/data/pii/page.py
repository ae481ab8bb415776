"""A text as recognisers read it: full-width forms made plain, every sign at its place. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_PLAIN: Final = dict(
    zip(
        "＠．／－＿＋（）＃"
        + "‐‑‒–—―−﹣"
        + "\u00a0\u202f\u205f\u3000\u200b\u200c\u200d\u2060\ufeff",
        "@./-_+()#" + "-" * 8 + " " * 9,
        strict=True,
    )
)
# Where the ten digits of other scripts begin; the last five are mathematical.
_ZEROS: Final = (
    *(0x660, 0x6F0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xBE6, 0xC66, 0xCE6, 0xE50, 0xFF10),
    *(0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6),
)
_TABLE: Final = (
    {ord(sign): plain for sign, plain in _PLAIN.items()}
    | {0xFF21 + place: chr(ord("A") + place) for place in range(26)}
    | {0xFF41 + place: chr(ord("a") + place) for place in range(26)}
    | {0x2000 + place: " " for place in range(11)}
    | {zero + digit: str(digit) for zero in _ZEROS for digit in range(10)}
)
_FOLDABLE: Final = re.compile("[" + "".join(re.escape(chr(code)) for code in _TABLE) + "]")
_LOWER: Final = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_HAN: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN: Final = re.compile("[A-Za-z]")
_DIGIT: Final = re.compile("[0-9]")


@dataclass(frozen=True)
class Page:
    """A text and two forms of it in which every sign stands at the same place.

    Args:
        text: as it was given.
        folded: with plain digits, letters, ``@ . / - _ + ( ) #`` and spaces for full-width and
            other forms of them; signs without width become spaces.
        lowered: that, in small letters.
        han: whether there are Chinese characters.
        latin: whether there are Latin letters.
        digits: whether there are digits.
    """

    text: str
    folded: str
    lowered: str
    han: bool
    latin: bool
    digits: bool


def read(text: str) -> Page:
    """Prepare a text for recognisers.

    Guarantees:
        - all forms have the length of the text, so that a place in one is a place in all.

    >>> read("电话１３８－００００").folded
    '电话138-0000'
    """
    plain = text.isascii()
    folded = text if plain or not _FOLDABLE.search(text) else text.translate(_TABLE)
    lowered = folded.lower()
    if len(lowered) != len(folded):
        # Some letters become two when they are made small, and would move what follows.
        lowered = folded.translate(_LOWER)
    han = not plain and _HAN.search(text) is not None
    return Page(
        text,
        folded,
        lowered,
        han,
        _LATIN.search(folded) is not None,
        _DIGIT.search(folded) is not None,
    )
