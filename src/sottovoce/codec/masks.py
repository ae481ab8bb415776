"""Masks: key streams that are added to a vector and cancel in the sum of all vectors.

The mask of a 32-byte key is the key stream of AES-256 in counter mode, the counter starting at 0
(NIST SP 800-38A, section 6.5), read as little-endian words of the vector's type. The full range of
the word is used, so that a masked entry is uniform on [0, 2^16) or [0, 2^32), and the sum wraps by
itself. A modulus 2^b below that is one AND away, because 2^b divides 2^16 and 2^32.

One key serves one mask: two vectors under one key reveal their difference. Who uses masks derives
a key for each (run, round, pair) and forgets it afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from numpy.typing import NDArray

from sottovoce.errors import VerificationError

KEY_BYTES: Final = 32

# A block of the vector, one of key stream and one of zeros stay within a core's own cache.
_BLOCK_BYTES: Final = 2**17
_ZEROS: Final = bytes(_BLOCK_BYTES)
# A cipher for each key is open at a time, so keys are taken in portions.
_KEYS_AT_ONCE: Final = 512
# The cipher may ask for a block of room behind the text that it writes.
_CIPHER_BLOCK_BYTES: Final = 16

Words = NDArray[np.uint16] | NDArray[np.uint32]


def add_mask(vector: Words, key: bytes, *, subtract: bool = False) -> None:
    """Add the mask of one key to a vector, in place: vector ± keystream(key) mod 2^16 or 2^32.

    NIST SP 800-38A, section 6.5, for the key stream.

    Args:
        vector: uint16 or uint32, C-contiguous and writable; changed. Private.
        key: 32 bytes that serve this mask and no other. Private.
        subtract: take the mask away instead. Public.

    Guarantees:
        - word i of the mask is the i-th little-endian word of the AES-256 key stream whose counter
          starts at 0, whatever the length of the vector;
        - adding and subtracting the same mask leaves every word as it was.

    Raises:
        VerificationError: the vector or the key is none of the above; the vector is as it was.

    >>> vector = np.arange(3, dtype=np.uint16)
    >>> add_mask(vector, bytes(32))
    >>> add_mask(vector, bytes(32), subtract=True)
    >>> vector.tolist()
    [0, 1, 2]
    """
    add_masks(vector, [] if subtract else [key], [key] if subtract else [])


def add_masks(vector: Words, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
    """Add many masks to a vector, in place: vector + Σ keystream(plus) - Σ keystream(minus).

    Many masks pass over one block of the vector while it lies in the cache, and each key stream
    goes on from block to block.

    Args:
        vector: uint16 or uint32, C-contiguous and writable, of any shape; changed. Private.
        plus: keys of 32 bytes whose masks are added, all different. Private.
        minus: keys whose masks are taken away, different from each other and from ``plus``.

    Guarantees:
        - the result is that of ``add_mask`` for one key after the other, in any order;
        - memory beside the vector is one block and at most 512 ciphers.

    Edge cases: no keys, or an empty vector, change nothing.

    Raises:
        VerificationError: the vector or a key is none of the above, or a key comes twice; the
            vector is as it was.
    """
    _require_words(vector)
    _require_keys([*plus, *minus])
    signed: list[tuple[np.ufunc, bytes]] = [(np.add, key) for key in plus]
    signed += [(np.subtract, key) for key in minus]
    for begin in range(0, len(signed), _KEYS_AT_ONCE):
        portion = signed[begin : begin + _KEYS_AT_ONCE]
        _add_streams(vector.reshape(-1), [(adding, _key_stream(key)) for adding, key in portion])


def _add_streams(words: Words, streams: Sequence[tuple[np.ufunc, CipherContext]]) -> None:
    room = np.empty(min(_BLOCK_BYTES, words.nbytes) + _CIPHER_BLOCK_BYTES, np.uint8)
    mask = room[:-_CIPHER_BLOCK_BYTES].view(words.dtype.newbyteorder("<"))
    block_words = _BLOCK_BYTES // words.itemsize
    for begin in range(0, words.size, block_words):
        block = words[begin : begin + block_words]
        zeros = memoryview(_ZEROS)[: block.nbytes]
        for operation, cipher in streams:
            cipher.update_into(zeros, room.data)
            operation(block, mask[: block.size], out=block)


def _key_stream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(_CIPHER_BLOCK_BYTES))).encryptor()


def _require_words(vector: Words) -> None:
    if not isinstance(vector, np.ndarray) or vector.dtype not in (np.uint16, np.uint32):
        seen = getattr(vector, "dtype", type(vector).__name__)
        raise VerificationError(f"a vector of {seen}", allowed="an array of uint16 or uint32")
    # A copy would take the mask in the vector's place, and the vector would leave without it.
    if not (vector.flags.c_contiguous and vector.flags.writeable):
        raise VerificationError(
            "a vector with gaps or one that is read-only", allowed="C-contiguous and writable"
        )


def _require_keys(keys: Sequence[bytes]) -> None:
    for key in keys:
        if not isinstance(key, bytes) or len(key) != KEY_BYTES:
            raise VerificationError(
                "a mask key that is none", allowed=f"a byte string of length {KEY_BYTES}"
            )
    if len(set(keys)) < len(keys):
        raise VerificationError(
            f"{len(keys)} mask keys, of which only {len(set(keys))} differ",
            remedy="One key serves one mask; derive a key for each pair and round",
        )
