"""How the parts of a message that only this protocol has are written as bytes: one way each.

A helper is its place among the helpers, a set of helpers one bit for each, a set Q its number, and
all else has a size that the terms fix. What both protocols have is in ``codec.forms``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sottovoce.codec.forms import (
    SIGNATURE,
    Data,
    Fields,
    Form,
    Reader,
    fixed,
    read_fields,
    write_fields,
)
from sottovoce.codec.oneshot.terms import Terms
from sottovoce.codec.sealing import KEY_BYTES, TAG_BYTES
from sottovoce.codec.words import packed
from sottovoce.errors import VerificationError

Size = Callable[[Terms], int]


def helper_count(terms: Terms) -> int:
    """How many helpers there are."""
    return len(terms.helpers.members)


def subset_count(terms: Terms) -> int:
    """How many sets Q there are."""
    return len(terms.subsets)


def box_bytes(terms: Terms) -> int:
    """How many bytes one helper's sealed seeds take."""
    return KEY_BYTES * terms.seeds_per_helper + TAG_BYTES


def row(what: str, count: Size, size: Size) -> Form:
    """A row of byte strings; the terms say how many, and of what size."""

    def write_row(items: Sequence[Data], terms: Terms) -> bytes:
        if len(items) != count(terms):
            raise VerificationError(f"{len(items)} of {what}", allowed=f"{count(terms)}")
        return b"".join(fixed(size(terms), what).write(item, terms) for item in items)

    def read_row(reader: Reader, terms: Terms) -> tuple[bytes, ...]:
        return tuple(reader.take(size(terms)) for _ in range(count(terms)))

    return Form(write_row, read_row)


def marks(what: str, count: Size) -> Form:
    """A set of small numbers: one bit for each, the first number the highest bit."""

    def write_marks(numbers: Sequence[int], terms: Terms) -> bytes:
        most = count(terms)
        if list(numbers) != sorted(set(numbers) & set(range(most))):
            raise VerificationError(f"{what} that are not sorted, double or unknown")
        width = -(-most // 8)
        written: int = sum(1 << 8 * width - 1 - number for number in numbers)
        return written.to_bytes(width, "big")

    def read_marks(reader: Reader, terms: Terms) -> tuple[int, ...]:
        most = count(terms)
        width = -(-most // 8)
        bits = f"{int.from_bytes(reader.take(width), 'big'):0{8 * width}b}"
        if "1" in bits[most:]:
            raise reader.refused(f"has {what} that do not exist")
        return tuple(number for number, bit in enumerate(bits) if bit == "1")

    return Form(write_marks, read_marks)


def endorsed(item: Callable[[str, bytes], Any]) -> Form:
    """Signatures of different helpers, in the order of the helpers."""

    def write_votes(votes: Sequence[Any], terms: Terms) -> bytes:
        places = [_place(vote.helper, terms) for vote in votes]
        written = [SIGNATURE.write(vote.signature, terms) for vote in votes]
        return b"".join([voters.write(places, terms), *written])

    def read_votes(reader: Reader, terms: Terms) -> tuple[Any, ...]:
        names = tuple(terms.helpers.members)
        return tuple(
            item(names[place], SIGNATURE.read(reader, terms))
            for place in voters.read(reader, terms)
        )

    voters = marks("helpers", helper_count)
    return Form(write_votes, read_votes)


def _place(helper: str, terms: Terms) -> int:
    place = terms.helper_position.get(helper)
    if place is None:
        raise VerificationError(f"{helper!r} is no helper in {terms.title}")
    return place


def _write_helper(helper: str, terms: Terms) -> bytes:
    return bytes((_place(helper, terms),))


def _read_helper(reader: Reader, terms: Terms) -> str:
    place, names = reader.take(1)[0], list(terms.helpers.members)
    if place >= len(names):
        raise reader.refused(f"names place {place} of {len(names)} helpers")
    return names[place]


def _write_subset(number: int, terms: Terms) -> bytes:
    if not 0 <= number < len(terms.subsets):
        raise VerificationError(f"set {number} of {len(terms.subsets)}")
    return bytes((number,))


def _read_subset(reader: Reader, terms: Terms) -> int:
    number = reader.take(1)[0]
    if number >= len(terms.subsets):
        raise reader.refused(f"names set {number} of {len(terms.subsets)}")
    return number


def nested(kind: Callable[..., Any], fields: Fields) -> Form:
    """A signed message within another one, under the terms of the whole."""

    def write_nested(message: Any, terms: Terms) -> bytes:
        return b"".join(write_fields(message, fields, terms))

    def read_nested(reader: Reader, terms: Terms) -> Any:
        return kind(**read_fields(reader, fields, terms))

    return Form(write_nested, read_nested)


def _write_some_words(words: Data, terms: Terms) -> Data:
    return b"".join((b"\1", WORDS.write(words, terms))) if len(words) else b"\0"


def _read_some_words(reader: Reader, terms: Terms) -> Data:
    mark = reader.take(1)[0]
    if mark > 1:
        raise reader.refused(f"has the mark {mark} where its words begin")
    return WORDS.read(reader, terms) if mark else b""


HELPER: Final = Form(_write_helper, _read_helper)
SUBSET: Final = Form(_write_subset, _read_subset)
WORDS: Final = packed("the words of a vector")
SOME_WORDS: Final = Form(_write_some_words, _read_some_words)
