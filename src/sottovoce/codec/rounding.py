"""Rounding to a neighbouring integer at random, so that the mean stays where it was.

A value becomes an integer multiple m of 2^-r, the nearest. With u uniform on the integers of
[0, 2^r), floor((m + u)/2^r) is the integer below or above m/2^r, with exactly the probabilities
that make m/2^r its mean. All of it is integer arithmetic, which cannot lean to one side.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import VerificationError
from sottovoce.rng import Source

LARGEST: Final = 2**31 - 1
_RANDOM_BITS: Final = 32
# Up to this limit, 16 bits or more of a 32-bit integer are left behind the point.
_NARROW: Final = 2**15 - 1
# A few buffers of this many entries stay within a core's own cache.
_CHUNK: Final = 2**16


def round_randomly(values: NDArray[np.float32], limit: int, rounding: Source) -> NDArray[Any]:
    """Round each value down or up, up with a probability of its distance from below.

        floor((rint(2^r·x) + u) / 2^r),   u uniform on {0, ..., 2^r - 1}

    Args:
        values: float32 of at most ``limit`` in absolute value, ``[N]``. Private.
        limit: 1 to 2^31 - 1. Public.
        rounding: 32 random bits for each value.

    Returns:
        ``[N]``, int32 for a limit below 2^15, with r = 31 - bits of the limit, 16 or more; int64
        above, with r = 32.

    Guarantees:
        - each integer is the value's floor or, where it is no integer, its ceiling;
        - none exceeds the limit in absolute value;
        - the mean of each, over the source, is within 2^-17 of the value;
        - the values are left as they were.

    Raises:
        VerificationError: a value exceeds the limit or is NaN, the limit is out of range, or the
            values are not float32.

    >>> from sottovoce.rng import seeded_source
    >>> values = np.array([2.0, -3.0, 0.5], np.float32)
    >>> round_randomly(values, 3, seeded_source(0)).tolist()[:2]
    [2, -3]
    """
    if values.dtype != np.float32 or not 1 <= limit <= LARGEST:
        raise VerificationError(
            f"values of type {values.dtype} up to {limit}", allowed=f"float32 up to {LARGEST}"
        )
    narrow = limit <= _NARROW
    shift = _RANDOM_BITS - 1 - limit.bit_length() if narrow else _RANDOM_BITS
    kind = np.dtype(np.int32) if narrow else np.dtype(np.int64)
    rounded = np.empty(values.shape, kind)
    # A product with a power of two is exact; so is float64 where more than 31 bits are needed.
    fixed = np.empty(min(_CHUNK, values.size), np.float32 if narrow else np.float64)
    for begin in range(0, values.size, _CHUNK):
        value, place = values[begin : begin + _CHUNK], rounded[begin : begin + _CHUNK]
        # As Python's numbers, which compare exactly: NumPy would round the limit to float32.
        if not (float(value.max()) <= limit and float(value.min()) >= -limit):
            raise VerificationError(
                "a value to be rounded is beyond the limit", allowed=f"-{limit} to {limit}"
            )
        multiple = np.multiply(value, fixed.dtype.type(2.0**shift), out=fixed[: value.size])
        place[...] = np.rint(multiple, out=multiple)
        words = rounding.words((value.size + 1) // 2).view(np.uint32)[: value.size]
        words >>= np.uint32(_RANDOM_BITS - shift)
        place += words.view(np.int32) if narrow else words
        place >>= shift
    return rounded
