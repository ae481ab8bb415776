"""Words of b bits as bytes, b bits each.

A word of b bits is cut into planes, one for each power of two in b, from the lowest bits up: 20 is
16 + 4, so a word is its lower 16 bits and the 4 above them. The planes follow one another, the
largest first. Those of 32, 16 and 8 bits are little-endian integers in the order of the words.
Smaller ones share bytes: with m = 8/p planes of p bits to a byte and q = ceil(length/m) bytes, byte
i holds the words i, i + q, i + 2q, ... from its lowest bits up. So every step is one operation on
long rows, and 16 or 32 bits are the words as they are.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import VerificationError

_PLANES: Final = (32, 16, 8, 4, 2, 1)


def packed_bytes(length: int, bits: int) -> int:
    """Return how many bytes ``length`` words of ``bits`` bits take.

    >>> packed_bytes(1_000_000, 16), packed_bytes(1_000_000, 20)
    (2000000, 2500000)
    """
    return sum(-(-length * plane // 8) for plane in _planes(bits))


def pack(words: NDArray[np.unsignedinteger[Any]], bits: int) -> bytes:
    """Write the lower bits of words.

    Args:
        words: unsigned, ``[length]``. What lies above ``bits`` is left out: words are mod 2^bits.
        bits: b, 1 to 32.

    Returns:
        ``packed_bytes(length, bits)`` bytes.

    Guarantees:
        - ``unpack`` brings back the words mod 2^bits;
        - equal words give equal bytes, and no other bytes give these words.

    Raises:
        VerificationError: the words are not a vector of unsigned integers, or have fewer bits than
            are to be written; or ``bits`` is out of range.

    >>> pack(np.array([0x12345, 0xABCDE], np.uint32), 20).hex()
    '4523debca1'
    """
    planes = _planes(bits)
    kind = words.dtype
    if kind.kind != "u" or words.ndim != 1 or 8 * kind.itemsize < bits:
        raise VerificationError(
            f"words of type {kind} and shape {words.shape}",
            allowed=f"a vector of unsigned integers of at least {bits} bits",
        )
    parts, shift = [], 0
    for plane in planes:
        parts.append(_write(words >> shift if shift else words, plane))
        shift += plane
    return b"".join(parts)


def unpack(data: bytes, bits: int, length: int) -> NDArray[Any]:
    """Read what ``pack`` wrote.

    Args:
        data: bytes from anywhere.
        bits: b, 1 to 32.
        length: how many words there must be.

    Returns:
        ``[length]``, uint16 up to 16 bits, else uint32; a new array.

    Guarantees:
        - for any bytes whatever it returns the words of which ``pack`` makes exactly these bytes,
          or raises.

    Raises:
        VerificationError: the bytes are too few or too many, bits behind the last word are not
            zero, or ``bits`` or ``length`` is out of range.
    """
    planes = _planes(bits)
    if length < 0 or len(data) != packed_bytes(length, bits):
        raise VerificationError(
            f"{len(data)} bytes for {length} words of {bits} bits",
            allowed=f"{packed_bytes(max(length, 0), bits)} bytes",
        )
    kind = np.dtype(np.uint16 if bits <= 16 else np.uint32)
    words = np.zeros(length, kind)
    begin, shift = 0, 0
    for plane in planes:
        end = begin + packed_bytes(length, plane)
        part = _read(data[begin:end], plane, length).astype(kind, copy=False)
        words |= part << shift if shift else part
        begin, shift = end, shift + plane
    return words


def _planes(bits: int) -> list[int]:
    if not 1 <= bits <= 32:
        raise VerificationError(f"words of {bits} bits", allowed="1 to 32")
    return [plane for plane in _PLANES if bits & plane]


def _write(words: NDArray[Any], plane: int) -> bytes:
    """Write the lowest bits of each word, one plane."""
    if plane >= 8:
        return words.astype(f"<u{plane // 8}").tobytes()
    low = words.astype(np.uint8)
    low &= np.uint8(2**plane - 1)
    width = packed_bytes(low.size, plane)
    octets = np.zeros(width, np.uint8)
    for place, begin in enumerate(range(0, low.size, max(width, 1))):
        few = low[begin : begin + width]
        octets[: few.size] |= few << (place * plane)
    return octets.tobytes()


def _read(data: bytes, plane: int, length: int) -> NDArray[Any]:
    if plane >= 8:
        return np.frombuffer(data, f"<u{plane // 8}")
    octets = np.frombuffer(data, np.uint8)
    spread = np.concatenate([octets >> place for place in range(0, 8, plane)])
    spread &= np.uint8(2**plane - 1)
    if spread[length:].any():
        raise VerificationError("bits behind the last word are set", allowed="zeros")
    return spread[:length]
