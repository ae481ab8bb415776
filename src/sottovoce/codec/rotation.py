"""A random rotation, after which no entry of a vector is much larger than the others.

A block of F entries, F a power of two, becomes H·D·x/√F: D flips signs at random, H is Sylvester's
Hadamard matrix, with (-1)^popcount(i & j) in row i and column j. H·D/√F is orthonormal, and an
entry of the result is a sum of the block's entries with independent random signs, over √F. So
whatever x is, by Hoeffding,

    P(|y_i| > t·‖x‖/√F) <= 2·exp(-t²/2).

A vector of N entries is not padded. With F the largest power of two up to N, a first block is
entries [0, F), and a second one, with signs of its own, entries [N - F, N). Every entry passes
through a block, so the bound above holds for all of them; and as F > N/2, it is within a factor of
√2 of what padding would give for up to twice the bytes.

H is applied 16 rows at a time. Products of that size stay in a core's cache, and are so small that
BLAS uses one thread, so that the number of threads changes no bit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import VerificationError
from sottovoce.rng import Source

_RADIX: Final = 16
# Two buffers of this many entries stay within a core's own cache.
_CHUNK: Final = 2**16
# OpenBLAS's fast path for small matrices ends between this and four times as many columns.
_COLUMNS: Final = 2**10

_PLACES: Final = np.arange(_RADIX)
# The first r rows and columns of Sylvester's matrix are his matrix of size r.
_H: Final = (1 - 2 * (np.bitwise_count(_PLACES[:, None] & _PLACES) % 2.0)).astype(np.float32)

Vector = NDArray[np.float32]


def block_size(size: int) -> int:
    """Return F, the number of entries over which each entry is spread.

    Guarantees:
        - it is the largest power of two that is at most ``size``.

    Raises:
        VerificationError: the size is below 1.

    >>> block_size(1), block_size(1000), block_size(2**20)
    (1, 512, 1048576)
    """
    if size < 1:
        raise VerificationError(f"a vector of {size} entries", allowed="1 or more")
    return 1 << (int(size).bit_length() - 1)


def rotate(vector: Vector, signs_seed: bytes) -> Vector:
    """Rotate a vector, so that its entries become about ‖x‖/√N each.

    Hadamard blocks with random signs: Ailon and Chazelle 2009; Suresh et al. 2017, section 4.

    Args:
        vector: float32, ``[N]``. Private.
        signs_seed: 32 bytes, the AES-256 key that the signs come from. Public, but chosen
            independently of the vector.

    Returns:
        float32, ``[N]``.

    Guarantees:
        - the Euclidean norm stays, to a relative error of 2^-20;
        - each entry is that of the exact rotation, to 2^-20·‖x‖;
        - an entry exceeds t·‖x‖/√F with a probability of at most 2·exp(-t²/2) over the seed;
        - ``unrotate`` brings the vector back;
        - the number of threads changes no bit;
        - the vector is left as it was.

    Edge cases: the only entry of a vector stays, up to its sign.

    Raises:
        VerificationError: the vector is not a float32 vector with an entry.
        ConfigError: the seed does not have 32 bytes.

    >>> np.abs(rotate(np.array([1, 0, 0, 0], np.float32), bytes(32))).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    rotated = vector.copy()
    rotate_in_place(rotated, signs_seed)
    return rotated


def unrotate(rotated: Vector, signs_seed: bytes) -> Vector:
    """Undo ``rotate``, given its seed.

    Args:
        rotated: float32, ``[N]``.
        signs_seed: the 32 bytes that it was rotated with; with others, what comes is a vector of
            the same norm and nothing else.

    Returns:
        float32, ``[N]``.

    Raises:
        VerificationError: the vector is not a float32 vector with an entry.
        ConfigError: the seed does not have 32 bytes.
    """
    vector = rotated.copy()
    unrotate_in_place(vector, signs_seed)
    return vector


def rotate_in_place(vector: Vector, signs_seed: bytes) -> None:
    """Do as ``rotate``, in the vector's own memory and two small buffers."""
    for block, signs in _blocks(vector, signs_seed):
        _flip(block, signs)
        _hadamard(block)


def unrotate_in_place(vector: Vector, signs_seed: bytes) -> None:
    """Do as ``unrotate``, in the vector's own memory and two small buffers."""
    for block, signs in reversed(_blocks(vector, signs_seed)):
        _hadamard(block)
        _flip(block, signs)


def _blocks(vector: Vector, signs_seed: bytes) -> list[tuple[Vector, NDArray[np.uint8]]]:
    """List the one or two blocks of a vector, each with a random bit for every entry."""
    if vector.dtype != np.float32 or vector.ndim != 1 or not vector.flags.c_contiguous:
        raise VerificationError(
            f"an array of type {vector.dtype} and shape {vector.shape}",
            allowed="a float32 vector in one piece",
        )
    source = Source(signs_seed)
    width = block_size(vector.size)
    pieces = [vector] if width == vector.size else [vector[:width], vector[-width:]]
    # The bytes of the key stream in their own order, on every machine.
    words = [source.words(-(-width // 64)).astype("<u8", copy=False) for _ in pieces]
    return [(piece, word.view(np.uint8)) for piece, word in zip(pieces, words, strict=True)]


def _flip(block: Vector, signs: NDArray[np.uint8]) -> None:
    """Multiply entry i by 1/√F, or by -1/√F where bit i is set, the lowest of a byte first."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    factors = ((1.0 - 2.0 * bits) / np.sqrt(block.size)).astype(np.float32)
    for begin in range(0, block.size, _CHUNK):
        piece = block[begin : begin + _CHUNK]
        octets = signs[begin // 8 : (begin + piece.size + 7) // 8]
        piece *= factors.take(octets, axis=0).reshape(-1)[: piece.size]


def _hadamard(block: Vector) -> None:
    """Multiply by H, in place: first within each chunk, then across the chunks."""
    chunk = min(block.size, _CHUNK)
    first, second = np.empty((2, chunk), np.float32)
    inner = min(chunk, _RADIX)
    for piece in block.reshape(-1, chunk):
        groups = (-1, min(_RADIX, chunk // inner), inner)
        np.matmul(piece.reshape(groups), _H[:inner, :inner], out=first.reshape(groups))
        mixed = _mix_rows(first, piece, inner)
        if mixed is not piece:
            piece[...] = mixed
    # A chunk is a row of this table now. A strip of columns at a time stays in the cache.
    table = block.reshape(-1, chunk)
    strip = max(1, chunk // len(table))
    for begin in range(0, chunk, strip):
        columns = table[:, begin : begin + strip]
        first.reshape(columns.shape)[...] = columns
        columns[...] = _mix_rows(first, second, strip).reshape(columns.shape)


def _mix_rows(values: Vector, spare: Vector, width: int) -> Vector:
    """Read the values as rows of a width and multiply that matrix by H; both buffers are used.

    Returns:
        The one of the two buffers that holds the result.
    """
    while width < values.size:
        radix = min(_RADIX, values.size // width)
        columns = min(width, _COLUMNS)
        groups = (-1, radix, width // columns, columns)
        before, after = values.reshape(groups), spare.reshape(groups)
        np.matmul(_H[:radix, :radix], before.swapaxes(1, 2), out=after.swapaxes(1, 2))
        values, spare = spare, values
        width *= radix
    return values
