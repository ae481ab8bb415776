"""What the tagger reads: a text as tokens, and each token as numbers. Pure, in NumPy throughout.

A token is a run of letters, a run of digits, one Han character, one line break or one other sign;
blanks are none. Everything that is counted here is an integer, and each number depends on a few
neighbouring characters of the same text alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ModelError

Ints = NDArray[np.signedinteger[Any]]
Hashes = NDArray[np.uint64]

SPACE, LINE, LETTER, DIGIT, HAN, SIGN, EDGE = range(7)
_EDGE_POINT: Final = 0x110000
"""Stands before, between and behind texts: no character has this number."""

# Rows of the table of embeddings: fixed ones first, those of known words behind.
NOTHING, UNKNOWN_WORD, UNKNOWN_HAN, UNKNOWN_SIGN = range(4)
_DIGITS: Final = 4
_LONGEST_NUMBER: Final = 9
SMALL: Final = _DIGITS + _LONGEST_NUMBER
"""The row of a word in small letters; that of a Capitalised one stands three further on."""
_LOOKS: Final = 12
_PREFIXES: Final = SMALL + 3 * _LOOKS
_ENDINGS: Final = _PREFIXES + 4096
_SHORT_ENDINGS: Final = _ENDINGS + 4096
FIXED_ROWS: Final = _SHORT_ENDINGS + 1024
SLOTS: Final = 5
"""Rows that are added up for one token: itself, its beginning, two endings, its shape."""

FLAGS: Final = (
    "given name",
    "surname",
    "place word",
    "country word",
    "street word",
    "firm word",
    "title",
    "common word",
    "Han surname",
    "Han surname of two",
    "Han given name",
    "place begins",
    "place goes on",
    "word begins",
    "word goes on",
    "accent",
)
"""What the lexicon, or the look of it, says of a token: one bit each."""
BIT: Final = {name: 1 << index for index, name in enumerate(FLAGS)}

_BASE: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xD6E8FEB86659FD93)
_SPECIAL: Final = dict(zip("ßøłđæœıþð", "soldaoitd", strict=True))
_HAN_RANGES: Final = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00))
_FAR_HAN: Final = (0x20000, 0x32000)


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Known words by hash.

    Args:
        keys: hashes of words, of Han phrases and of pairs of words, rising.
        rows: the row of each in the table of embeddings; 0 where it has none of its own.
        flags: bits of ``FLAGS`` for each.

    Raises:
        ModelError: the three differ in length, or the keys do not rise.
    """

    keys: NDArray[np.uint32]
    rows: NDArray[np.uint16]
    flags: NDArray[np.uint32]

    def __post_init__(self) -> None:
        """Refuse tables that would be misread."""
        if not len(self.keys) == len(self.rows) == len(self.flags) > 0:
            raise ModelError("the tagger's lexicon has columns of different length, or none")
        if bool((self.keys[1:] <= self.keys[:-1]).any()):
            raise ModelError("the keys of the tagger's lexicon do not rise")

    def find(self, keys: NDArray[np.uint32]) -> tuple[NDArray[np.uint16], NDArray[np.uint32]]:
        """Row and flags of each key; zeros for those that are unknown."""
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        known = self.keys[place] == keys
        return np.where(known, self.rows[place], 0), np.where(known, self.flags[place], 0)


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens of several texts, one text after the other.

    Args:
        text: the text of each token, counted from 0.
        start: its first character, counted in its text.
        end: the one behind its last.
        rows: rows of the table of embeddings, ``SLOTS`` for each token.
        flags: bits of ``FLAGS``.
        kinds: letters, digits, Han and so on.
    """

    text: Ints
    start: Ints
    end: Ints
    rows: Ints
    flags: NDArray[np.uint32]
    kinds: Ints


@dataclass(frozen=True, eq=False)
class _Alphabet:
    """What is known of each character up to U+FFFF."""

    kinds: NDArray[np.uint8]
    upper: NDArray[np.uint8]
    cased: NDArray[np.uint8]
    folded: NDArray[np.uint32]


@lru_cache(maxsize=1)
def _alphabet() -> _Alphabet:
    count = 0x10000
    kinds = np.full(count, SIGN, np.uint8)
    upper = np.zeros(count, np.uint8)
    cased = np.zeros(count, np.uint8)
    folded = np.arange(count, dtype=np.uint32)
    for point in range(count):
        letter = chr(point)
        category = unicodedata.category(letter)
        if category[0] in "LM":
            kinds[point] = LETTER
            upper[point] = category in ("Lu", "Lt")
            cased[point] = category in ("Lu", "Lt", "Ll")
        elif category == "Nd":
            kinds[point] = DIGIT
        elif letter.isspace() or category == "Cf":
            kinds[point] = LINE if letter in "\n\r\x0b\x0c\x85\u2028\u2029" else SPACE
        # Elsewhere no character has a simpler form that a name is written with.
        if point < 0x2500 or point >= 0xFF00:
            folded[point] = ord(fold(letter)[0])
    for first, behind in _HAN_RANGES:
        kinds[first:behind] = HAN
    kinds[0x3005] = kinds[0x3007] = HAN
    return _Alphabet(kinds, upper, cased, folded)


def fold(text: str) -> str:
    """Write letters small, without accents and in their usual width; as long as the text.

    >>> fold("Kónya Ｂ")
    'konya b'
    """
    small = (unicodedata.normalize("NFKD", letter)[:1].lower()[:1] or letter for letter in text)
    return "".join(_SPECIAL.get(letter, letter) for letter in small)


def _mixed(raw: Hashes) -> NDArray[np.uint32]:
    """Spread a sum over all bits of a key."""
    mixed = raw ^ (raw >> np.uint64(32))
    mixed = mixed * _MIX
    return (mixed >> np.uint64(32)).astype(np.uint32)


@lru_cache(maxsize=4)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """Powers of the base and of its inverse modulo 2^64."""
    inverse = pow(int(_BASE), -1, 1 << 64)
    ones = np.ones(count, np.uint64)
    up, down = ones.copy(), ones.copy()
    up[1:] = _BASE
    down[1:] = np.uint64(inverse)
    return np.multiply.accumulate(up), np.multiply.accumulate(down)


class _Sums:
    """Hashes of any parts of a sequence of characters."""

    def __init__(self, points: NDArray[np.uint32]) -> None:
        size = 1 << max(10, len(points).bit_length())
        self._up, self._down = _powers(size)
        self._sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum(
            (points.astype(np.uint64) + np.uint64(1)) * self._up[: len(points)],
            out=self._sums[1:],
        )

    def __call__(self, start: Ints, end: Ints) -> NDArray[np.uint32]:
        """The hash of each part, whatever stands around it."""
        return _mixed((self._sums[end] - self._sums[start]) * self._down[start])


def keys_of(words: Sequence[str]) -> NDArray[np.uint32]:
    """The keys of words or Han phrases in a lexicon.

    >>> bool(keys_of(["Zoë"])[0] == keys_of(["ZOE"])[0])
    True
    """
    folded = [fold(word) for word in words]
    lengths = np.array([len(word) for word in folded], np.int64)
    ends = np.cumsum(lengths)
    whole = "".join(folded).encode("utf-32-le", "surrogatepass")
    return _Sums(np.frombuffer(whole, "<u4"))(ends - lengths, ends)


def pair_key(first: NDArray[np.uint32], second: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The keys of two words that follow each other, from the keys of both."""
    return _mixed(first.astype(np.uint64) * _BASE + second.astype(np.uint64) + np.uint64(1))


def read(texts: list[str], lexicon: Lexicon) -> Tokens:
    """Read texts into tokens.

    Guarantees:
        - each character that is no blank belongs to exactly one token;
        - a text's tokens do not depend on the texts beside it.

    Args:
        texts: any texts; an empty one has no token.
        lexicon: what is known of words.

    Returns:
        The tokens of all texts, in order.
    """
    points, text_of, offsets = _joined(texts)
    alphabet = _alphabet()
    near = np.minimum(points, 0xFFFF)
    kinds = alphabet.kinds[near]
    kinds[(points >= _FAR_HAN[0]) & (points < _FAR_HAN[1])] = HAN
    kinds[points == _EDGE_POINT] = EDGE
    folded = np.where(points < 0x10000, alphabet.folded[near], points)

    breaks = np.ones(len(points), bool)
    breaks[1:] = (kinds[1:] != kinds[:-1]) | (kinds[1:] >= HAN) | (kinds[1:] == LINE)
    runs = np.flatnonzero(breaks)
    ends = np.append(runs[1:], len(points))
    real = (kinds[runs] != SPACE) & (kinds[runs] != EDGE)
    start, end = runs[real], ends[real]
    looks = _looks(kinds, alphabet.upper[near], alphabet.cased[near], start, end)
    rows, flags = _rows(folded, kinds, start, end, lexicon)
    rows[:, 4] = SMALL + looks * 3 + _gaps(kinds, start)
    accents = np.concatenate([[0], np.cumsum((points >= 0xC0) & (kinds == LETTER))])
    flags[accents[end] > accents[start]] |= np.uint32(BIT["accent"])
    which = text_of[start]
    return Tokens(which, start - offsets[which], end - offsets[which], rows, flags, kinds[start])


def _joined(texts: list[str]) -> tuple[NDArray[np.uint32], Ints, Ints]:
    """Characters of all texts with an edge around each, the text of each, where each begins."""
    lengths = np.array([len(text) for text in texts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths + 1)]) + 1
    points = np.full(int(offsets[-1]), _EDGE_POINT, np.uint32)
    for text, offset in zip(texts, offsets, strict=False):
        # Lone halves of a pair are characters of a Python text like any other.
        raw = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        points[offset : offset + len(raw)] = raw
    text_of = np.zeros(len(points), np.int64)
    text_of[1:] = np.repeat(np.arange(len(texts)), lengths + 1)
    return points, text_of, offsets[:-1]


def _gaps(kinds: NDArray[np.uint8], start: Ints) -> Ints:
    """What stands before each token: 0 a neighbour, 1 a blank, 2 a line break or nothing."""
    before = kinds[start - 1]
    return np.where(before == SPACE, 1, np.where((before == LINE) | (before == EDGE), 2, 0))


def _looks(
    kinds: NDArray[np.uint8],
    upper: NDArray[np.uint8],
    cased: NDArray[np.uint8],
    start: Ints,
    end: Ints,
) -> Ints:
    """The shape of each token: small, Capitalised, CAPITALS and so on."""
    capitals = np.concatenate([[0], np.cumsum(upper, dtype=np.int64)])
    letters = np.concatenate([[0], np.cumsum(cased, dtype=np.int64)])
    high, any_case = capitals[end] - capitals[start], letters[end] - letters[start]
    size, kind = end - start, kinds[start].astype(np.int64)
    first = upper[start] > 0
    word = np.select(
        [any_case == 0, high == 0, size == 1, high == any_case, first & (high == 1), first],
        [6, 0, 3, 2, 1, 4],
        5,
    )
    return np.where(kind == LETTER, word, kind + 6 - (kind > LETTER))


def _rows(
    folded: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    start: Ints,
    end: Ints,
    lexicon: Lexicon,
) -> tuple[Ints, NDArray[np.uint32]]:
    """Rows of the embeddings, except those of shapes, and flags."""
    sums, kind = _Sums(folded), kinds[start]
    rows = np.zeros((len(start), SLOTS), np.int64)
    keys = sums(start, end)
    known, flags = lexicon.find(keys)
    unknown = np.array([0, UNKNOWN_SIGN, UNKNOWN_WORD, 0, UNKNOWN_HAN, UNKNOWN_SIGN])
    rows[:, 0] = np.where(known > 0, known.astype(np.int64) + FIXED_ROWS, unknown[kind])
    number = kind == DIGIT
    rows[number, 0] = _DIGITS + np.minimum(end - start, _LONGEST_NUMBER)[number] - 1
    word = np.flatnonzero(kind == LETTER)
    first, behind = start[word], end[word]
    rows[word, 1] = _PREFIXES + (sums(first, np.minimum(first + 3, behind)) & np.uint32(4095))
    rows[word, 2] = _ENDINGS + (sums(np.maximum(behind - 3, first), behind) & np.uint32(4095))
    rows[word, 3] = _SHORT_ENDINGS + (sums(np.maximum(behind - 2, first), behind) & np.uint32(1023))
    _add_pairs(keys, word, lexicon, flags)
    _add_phrases(sums, kind, start, lexicon, rows, flags)
    return rows, flags


def _add_pairs(
    keys: NDArray[np.uint32], word: Ints, lexicon: Lexicon, flags: NDArray[np.uint32]
) -> None:
    """Mark places whose name is two words."""
    first = word[:-1][np.diff(word) == 1]
    _, found = lexicon.find(pair_key(keys[first], keys[first + 1]))
    place = first[(found & np.uint32(BIT["place begins"])) > 0]
    flags[place] |= np.uint32(BIT["place begins"])
    flags[place + 1] |= np.uint32(BIT["place goes on"])


_PHRASES: Final = (
    ("place begins", "place goes on"),
    ("word begins", "word goes on"),
    # A foreign name in Han characters: no Han character alone has these two flags.
    ("given name", "surname"),
)


def _add_phrases(
    sums: _Sums,
    kind: NDArray[np.uint8],
    start: Ints,
    lexicon: Lexicon,
    rows: Ints,
    flags: NDArray[np.uint32],
) -> None:
    """Mark Han words, places and names of two to four characters."""
    here = np.flatnonzero(kind == HAN)
    for size in (2, 3, 4):
        # With too few characters both parts are empty.
        last = here[size - 1 :]
        first = here[: len(last)]
        first = first[start[last] - start[first] == size - 1]
        found_rows, found = lexicon.find(sums(start[first], start[first] + size))
        if size == 2:
            rows[first, 1] = np.where(found_rows > 0, found_rows.astype(np.int64) + FIXED_ROWS, 0)
            two = first[(found & np.uint32(BIT["Han surname of two"])) > 0]
            flags[two] |= np.uint32(BIT["Han surname of two"])
        for begins, goes_on in _PHRASES:
            hit = first[(found & np.uint32(BIT[begins])) > 0]
            flags[hit] |= np.uint32(BIT[begins])
            for further in range(1, size):
                flags[hit + further] |= np.uint32(BIT[goes_on])
