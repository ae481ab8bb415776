"""What travels behind the entries of a sum: the weight, the count and a checksum.

They are words mod 2^b like the entries, and the sum of the clients' words is the word of the sum.

- The weights of n clients need more bits than a word has. So a weight of 29 bits is cut into limbs
  of b - ceil(log2(n + 1)) bits, each in a word of its own: n limbs add up to less than 2^b.
- The count is 1 for a client, and n of them fit in a word.
- The checksum is the sum mod 2^b of all words before it, in K interleaved parts with K·b >= 64:
  part j adds up the words j, j + K, j + 2K, ... It is linear, so that it holds for a sum as for a
  summand, even where entries wrap around. A mask that was left in a sum, or removed twice, is
  uniform and so fits its checksum with a probability of 2^-64 or less. That finds mistakes, not
  forgeries: whoever can change words can change the checksum with them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.codec.fixed_point import WEIGHT_LIMIT
from sottovoce.errors import VerificationError

_WEIGHT_BITS: Final = (WEIGHT_LIMIT - 1).bit_length()
_CHECKSUM_BITS: Final = 64
# The words that are added up a row at a time, at the speed of memory.
_ROW: Final = 2**12

Words = NDArray[np.uint16] | NDArray[np.uint32]


def check_words(bits: int, clients: int) -> int:
    """Return how many words stand behind the entries.

    Args:
        bits: b, 8 to 32. Public.
        clients: n, the most in a sum, below 2^(b-1). Public.

    >>> check_words(16, 1000), check_words(20, 10_000)
    (10, 10)
    """
    return _limbs(bits, clients) + 1 + _parts(bits)


def seal(words: Words, bits: int, clients: int, *, weight: int, count: int) -> None:
    """Reduce the entries mod 2^b and write the words behind them, in place.

    Args:
        words: the entries, mod 2^16 or 2^32, and room for ``check_words``.
        bits: b. Public.
        clients: n. Public.
        weight: 0 to 2^29 - 1.
        count: how many clients the entries stand for.

    Guarantees:
        - every word is below 2^b;
        - ``read`` of the sum of n sealed vectors gives the sums of their weights and counts.

    Raises:
        VerificationError: the weight or the count is out of range.
    """
    require_weight(weight, WEIGHT_LIMIT - 1)
    if not 1 <= count <= clients:
        raise VerificationError(f"a count of {count}", allowed=f"1 to {clients}")
    parts, limbs, width = _parts(bits), _limbs(bits, clients), _limb_bits(bits, clients)
    cut = [int(weight) >> (i * width) & ((1 << width) - 1) for i in range(limbs)]
    words[-parts - 1 - limbs : -parts] = [*cut, count]
    words[-parts:] = _checksum(words[:-parts], parts)
    _reduce(words, bits)


def read(total: Words, bits: int, clients: int, *, heaviest: int) -> tuple[int, int]:
    """Verify the checksum of a sum and read its weight and count.

    Args:
        total: a sum of sealed vectors mod 2^16 or 2^32.
        bits: b. Public.
        clients: n. Public.
        heaviest: W, the largest weight of a client. Public.

    Returns:
        Σ w_k and how many clients are in the sum.

    Guarantees:
        - a sum in which a mask was left passes with a chance of 2^-64, and one in which a single
          word was changed never does;
        - the total is left as it was.

    Raises:
        VerificationError: the checksum is wrong, the count is not 1 to n, or the weight is more
            than so many clients can have.
    """
    parts, limbs, width = _parts(bits), _limbs(bits, clients), _limb_bits(bits, clients)
    tail = total[-parts - 1 - limbs :].copy()
    tail[-parts:] -= _checksum(total[:-parts], parts)
    _reduce(tail, bits)
    if tail[-parts:].any():
        raise VerificationError(
            "the checksum of the sum is wrong: a mask was not removed, or words were changed",
            remedy="Nothing was released; repeat the round",
        )
    *cut, count = tail[:-parts].tolist()
    if not 1 <= count <= clients:
        raise VerificationError(f"a sum of {count} clients", allowed=f"1 to {clients}")
    weight = sum(limb << (i * width) for i, limb in enumerate(cut))
    if weight > count * heaviest:
        raise VerificationError(
            f"{count} clients with a weight of {weight} together",
            allowed=f"at most {heaviest} each",
        )
    return weight, count


def require_weight(weight: int, heaviest: int) -> None:
    """Raise ``VerificationError`` unless 0 <= weight <= heaviest < 2^29, all integers."""
    whole = all(isinstance(number, int | np.integer) for number in (weight, heaviest))
    if not (whole and 0 < heaviest < WEIGHT_LIMIT and 0 <= weight <= heaviest):
        raise VerificationError(
            f"a weight of {weight!r} where the heaviest is {heaviest!r}",
            allowed=f"integers with 0 <= weight <= heaviest < {WEIGHT_LIMIT}",
        )


def _limb_bits(bits: int, clients: int) -> int:
    return bits - clients.bit_length()


def _limbs(bits: int, clients: int) -> int:
    return -(-_WEIGHT_BITS // _limb_bits(bits, clients))


def _parts(bits: int) -> int:
    return -(-_CHECKSUM_BITS // bits)


def _reduce(words: Words, bits: int) -> None:
    if bits < 8 * words.dtype.itemsize:
        words &= words.dtype.type((1 << bits) - 1)


def _checksum(words: Words, parts: int) -> NDArray[Any]:
    """Add up each interleaved part, mod 2^16 or 2^32, of which 2^b is a divisor."""
    row = parts * _ROW
    whole = words.size // row * row
    sums = np.zeros(row, words.dtype)
    sums[: words.size - whole] = words[whole:]
    sums += words[:whole].reshape(-1, row).sum(axis=0, dtype=words.dtype)
    return np.asarray(sums.reshape(-1, parts).sum(axis=0, dtype=words.dtype))
