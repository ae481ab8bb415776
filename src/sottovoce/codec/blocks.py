"""Updates in 8 or 4 bits an entry, for a server that is trusted with every one of them.

Each block of 256 entries has a scale of its own, and an entry becomes the integer x/scale, rounded
at random to a neighbour:

    scale = max|x| / L,   L = 127 with 8 bits and 7 with 4

An entry takes 1.016 bytes with 8 bits and 0.516 with 4. As scales differ between clients, the sum
of two such updates is not read from the sum of their integers: this is compression, and hides
nothing. Alistarh et al. 2017 (QSGD), with the largest entry of a block in place of the norm.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.codec.rounding import round_randomly
from sottovoce.codec.wire import pack, packed_bytes, unpack
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.rng import Source

BLOCK: Final = 256
"""Entries that share a scale."""

LARGEST_ENTRY: Final = 2.0**127
"""Up to this, no entry overflows when it is read back."""

_MAGIC: Final = b"svblk1"
_HEADER: Final = struct.Struct("<6sBQ")


@dataclass(frozen=True, eq=False)
class Compressed:
    """A vector as small integers, and the scale of each block. Private.

    Args:
        bits: 8 or 4.
        values: int8, ``[N]``, from -L to L.
        scales: float32, one for every ``BLOCK`` values; 0 for a block of zeros.

    Raises:
        ConfigError: the bits are neither 8 nor 4.
        VerificationError: types or shapes do not fit, a value or a scale is out of range, or a
            block of scale 0 holds another value.
    """

    bits: int
    values: NDArray[np.int8] = field(repr=False)
    scales: NDArray[np.float32] = field(repr=False)

    def __post_init__(self) -> None:
        levels = _levels(self.bits)
        values, scales = self.values, self.scales
        if values.dtype != np.int8 or scales.dtype != np.float32:
            raise VerificationError(
                f"values of type {values.dtype} and scales of type {scales.dtype}",
                allowed="int8 and float32",
            )
        if values.ndim != 1 or scales.shape != (_blocks(values.size),):
            raise VerificationError(
                f"values of shape {values.shape} with scales of shape {scales.shape}",
                allowed=f"a vector, and a scale for every {BLOCK} of its entries",
            )
        largest = LARGEST_ENTRY / levels * (1 + 2.0**-22)
        if not ((scales >= 0) & (scales <= largest)).all():
            raise VerificationError("a scale is out of range", allowed=f"0 to {largest:g}")
        if values.max(initial=0) > levels or values.min(initial=0) < -levels:
            raise VerificationError("a value is out of range", allowed=f"-{levels} to {levels}")
        if values[np.repeat(scales == 0, BLOCK)[: values.size]].any():
            raise VerificationError("a block of scale 0 holds a value", allowed="zeros")


def compress(vector: NDArray[np.float32], bits: int, rounding: Source) -> Compressed:
    """Write each entry as a small multiple of its block's scale.

    Args:
        vector: x, ``[N]``. Private.
        bits: 8 or 4. Public.
        rounding: where the random roundings come from.

    Guarantees:
        - what ``expand`` brings back differs by at most (1 + 2^-15)·scale in each entry, with
          scale <= (1 + 2^-22)·max|x|/L, and a standard deviation of at most half of that;
        - its mean, over the rounding, is the vector, to 2^-15·scale;
        - zeros stay zeros, and so does every sign unless the entry becomes zero;
        - the vector is left as it was.

    Edge cases: a scale is at least the smallest float32, 1.4e-45, unless the block is zero.

    Raises:
        ConfigError: the bits are neither 8 nor 4.
        VerificationError: the vector is not a float32 vector, or an entry is not a finite number
            of at most 2^127.

    >>> from sottovoce.rng import seeded_source
    >>> compress(np.array([0, 7, -7], np.float32), 4, seeded_source(0)).values.tolist()
    [0, 7, -7]
    """
    levels = _levels(bits)
    if vector.dtype != np.float32 or vector.ndim != 1:
        raise VerificationError(
            f"an array of type {vector.dtype} and shape {vector.shape}", allowed="a float32 vector"
        )
    rows = np.zeros((_blocks(vector.size), BLOCK), np.float32)
    rows.reshape(-1)[: vector.size] = vector
    peaks = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    if not (peaks <= LARGEST_ENTRY).all():
        raise VerificationError(
            "an entry is not a number of a usable size", allowed="finite numbers up to 2^127"
        )
    scales = (peaks / np.float32(levels)).astype(np.float32)
    # Rounded up where the division rounded down, so that no quotient exceeds L.
    short = scales.astype(np.float64) * levels < peaks
    scales[short] = np.nextafter(scales[short], np.float32(np.inf))
    rows /= np.where(scales == 0, np.float32(1), scales)[:, None]
    values = round_randomly(rows.reshape(-1)[: vector.size], levels, rounding)
    return Compressed(bits, values.astype(np.int8), scales)


def expand(compressed: Compressed) -> NDArray[np.float32]:
    """Read a vector back: each integer times its block's scale.

    Returns:
        float32, ``[N]``.
    """
    values = compressed.values
    return values * np.repeat(compressed.scales, BLOCK)[: values.size]


def write(compressed: Compressed) -> bytes:
    """Write a compressed vector: a header of 15 bytes, the scales, the integers."""
    header = _HEADER.pack(_MAGIC, compressed.bits, compressed.values.size)
    scales = compressed.scales.astype("<f4").tobytes()
    return header + scales + pack(compressed.values.view(np.uint8), compressed.bits)


def read(data: bytes, size: int) -> Compressed:
    """Read what ``write`` wrote.

    Args:
        data: bytes from anywhere.
        size: N, which the reader knows.

    Guarantees:
        - for any bytes whatever it returns a vector that ``write`` makes into exactly these
          bytes, or raises;
        - nothing is set aside for a vector that is not there.

    Raises:
        VerificationError: the bytes are not such a vector of N entries.
    """
    if len(data) < _HEADER.size or data[: len(_MAGIC)] != _MAGIC:
        raise VerificationError("bytes that are no compressed vector")
    _, bits, entries = _HEADER.unpack_from(data)
    if bits not in (4, 8) or entries != size:
        raise VerificationError(
            f"a vector of {entries} entries with {bits} bits", allowed=f"{size} with 4 or 8"
        )
    begin = _HEADER.size + 4 * _blocks(size)
    if len(data) != begin + packed_bytes(size, bits):
        raise VerificationError(
            f"{len(data)} bytes for {size} entries with {bits} bits",
            allowed=f"{begin + packed_bytes(size, bits)}",
        )
    scales = np.frombuffer(data[_HEADER.size : begin], "<f4").astype(np.float32)
    raised = unpack(data[begin:], bits, size).astype(np.uint8) << (8 - bits)
    return Compressed(bits, raised.view(np.int8) >> (8 - bits), scales)


def _levels(bits: int) -> int:
    if bits not in (4, 8):
        raise ConfigError(f"entries of {bits} bits", allowed="8 or 4")
    return (1 << (bits - 1)) - 1


def _blocks(size: int) -> int:
    return -(-size // BLOCK)
