"""The vector of one secure sum: as words in memory, and packed in blocks in a message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sottovoce.codec import terms as agreed
from sottovoce.codec import wire
from sottovoce.codec.forms import Data, Form, fixed
from sottovoce.codec.masks import Words
from sottovoce.codec.terms import Agreed
from sottovoce.errors import VerificationError

# Entries in a block: in the cache of a core, and a multiple of eight.
_BLOCK: Final = 2**15


def require_vector(vector: Words, terms: Agreed) -> None:
    """Refuse a vector that is not what the terms say.

    Raises:
        VerificationError: another type or shape, or an entry beyond the width of a word.
    """
    word = agreed.word(terms)
    if vector.dtype != word or vector.shape != (terms.length,):
        raise VerificationError(
            f"a vector of {vector.dtype} and shape {vector.shape}",
            allowed=f"{word} and shape ({terms.length},)",
        )
    if int(vector.max()) > agreed.largest(terms):
        raise VerificationError(
            f"the vector has an entry beyond {terms.bits} bits",
            remedy="Encode it for the width that the terms name",
        )


def pack_words(vector: Words, terms: Agreed) -> bytes:
    """Pack a vector block by block, so that it can be read block by block."""
    return b"".join(
        wire.pack(vector[begin : begin + _BLOCK], terms.bits)
        for begin in range(0, terms.length, _BLOCK)
    )


def unpack_words(words: Data, terms: Agreed) -> Iterator[tuple[int, Words]]:
    """Read an upload's words in blocks, each with the place where it begins, the last block first.

    Guarantees:
        - if the words can be refused at all, it happens before the first block is handed out: only
          the last one can be ragged, and hold bits that belong to no word.

    Raises:
        VerificationError: such a bit is set, or the size is not what the terms say.
    """
    view = memoryview(words)
    if len(view) != packed_bytes(terms):
        raise VerificationError(
            f"an upload of {len(view)} bytes", allowed=f"{packed_bytes(terms)} bytes"
        )
    for begin in reversed(range(0, terms.length, _BLOCK)):
        count = min(_BLOCK, terms.length - begin)
        # Full blocks take whole bytes, whatever the width.
        at = begin * terms.bits // 8
        size = wire.packed_bytes(count, terms.bits)
        yield begin, wire.unpack(bytes(view[at : at + size]), terms.bits, count)


def packed_bytes(terms: Agreed) -> int:
    """Return how many bytes a packed vector takes; blocks do not add any."""
    return wire.packed_bytes(terms.length, terms.bits)


def packed(what: str) -> Form:
    """The form of a packed vector, which is read as a view."""
    return Form(
        lambda words, terms: fixed(packed_bytes(terms), what).write(words, terms),
        lambda reader, terms: reader.view(packed_bytes(terms)),
    )
