"""Secret sharing: any ``threshold`` shares give the secret back, fewer say nothing about it.

Shamir 1979, "How to share a secret", over the integers modulo the largest 256-bit prime p. The
secret is a_0 of a random polynomial of degree below the threshold t,

    f(x) = a_0 + a_1·x + ... + a_{t-1}·x^{t-1}  mod p,     share at place i = f(i + 1).

Places count from 0 and x from 1, because f(0) is the secret itself. Python's integers do not take
the same time for every value: split and combine where nobody else measures the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import zip_longest
from math import prod
from typing import Final

import numpy as np

from sottovoce.errors import VerificationError
from sottovoce.rng import Source

PRIME: Final = 2**256 - 189
"""p, the largest prime below 2^256."""

SHARE_BYTES: Final = 32
"""A secret or a share: an integer below ``PRIME``, big-endian."""

LARGEST_COUNT: Final = 2**16
"""Places lie below this."""

_WORDS: Final = SHARE_BYTES // 8


def draw_secret(source: Source) -> bytes:
    """Draw a secret that ``split`` takes: uniform on the integers below ``PRIME``, as 32 bytes.

    Args:
        source: private, or the secret is none.

    Returns:
        32 bytes, of which 189 in 2^256 never come. Private.
    """
    return _elements(source, 1)[0].to_bytes(SHARE_BYTES, "big")


def split(secret: bytes, threshold: int, count: int, source: Source) -> tuple[bytes, ...]:
    """Split a secret into ``count`` shares, any ``threshold`` of which give it back.

    f(x) = secret + Σ_{j=1}^{t-1} a_j·x^j mod p at x = 1, ..., count, with every a_j uniform.
    Shamir 1979.

    Args:
        secret: 32 bytes, as an integer below ``PRIME``; ``draw_secret`` makes such. Private.
        threshold: t, how many shares it takes. Public.
        count: how many shares, at most 2^16. Public.
        source: where the coefficients come from; private, or the shares protect nothing.

    Returns:
        ``count`` shares of 32 bytes; the one at place i belongs to x = i + 1. Each is private.

    Guarantees:
        - ``combine`` returns the secret, byte for byte, from any ``threshold`` shares;
        - any ``threshold`` - 1 shares are uniform and independent of the secret;
        - each call draws coefficients of its own, without bias, zero among them.

    Edge cases: with a threshold of 1 each share is the secret.

    Raises:
        VerificationError: the secret is not 32 bytes below ``PRIME``, or not
            1 <= threshold <= count <= 2^16.

    >>> from sottovoce.rng import secret_source
    >>> shares = split(bytes(31) + b"7", 2, 3, secret_source())
    >>> combine({0: shares[0], 2: shares[2]}, 2)[-1:]
    b'7'
    """
    if not 1 <= threshold <= count <= LARGEST_COUNT:
        raise VerificationError(
            f"{count} shares with a threshold of {threshold}",
            allowed=f"a threshold of 1 or more, and no more than the count, up to {LARGEST_COUNT}",
        )
    constant = _element(secret, "a secret")
    falling = [*_elements(source, threshold - 1), constant]
    return tuple(_at(falling, x).to_bytes(SHARE_BYTES, "big") for x in range(1, count + 1))


def combine(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Give back the secret from shares by place: f(0) by Lagrange's formula.

    f(0) = Σ_i f(x_i) · Π_{j≠i} x_j / (x_j - x_i) mod p over the ``threshold`` lowest places. Every
    further share has to lie on the same polynomial.

    Args:
        shares: place to share, ``threshold`` or more of them. Private.
        threshold: t, as it was when the secret was split. Public.

    Returns:
        The secret, 32 bytes. Private.

    Guarantees:
        - the order of the mapping does not matter;
        - where more than ``threshold`` shares are given, up to (shares - threshold) wrong ones are
          never overlooked;
        - up to (shares - threshold) / 2 wrong ones are named by their places.

    Edge cases: exactly ``threshold`` shares lie on some polynomial whatever they are, so that a
    wrong one among them gives a wrong secret; only its user can tell.

    Raises:
        VerificationError: fewer shares than the threshold; a place outside [0, 2^16); a share that
            is not 32 bytes below ``PRIME``; or shares that contradict each other.
    """
    points = _points(shares, threshold)
    if not _on_one_polynomial(points, threshold):
        wrong = wrong_places(shares, threshold)
        named = f"; wrong: {', '.join(map(str, wrong))}" if wrong else "; which ones cannot be told"
        raise VerificationError(
            f"{len(points)} shares do not lie on one polynomial of threshold {threshold}{named}",
            remedy="Somebody sent a share that is not the one received; leave it out",
        )
    lowest = tuple(points)[:threshold]
    whole = prod(lowest)
    inverses = _inverse_differences(lowest)
    # Π_{j≠i} (x_j - x_i) differs from Π_{j≠i} (x_i - x_j) by a sign for each of t - 1 factors.
    sign = -1 if threshold % 2 == 0 else 1
    terms = (points[x] * (whole // x) * v for x, v in zip(lowest, inverses, strict=True))
    return (sign * sum(terms) % PRIME).to_bytes(SHARE_BYTES, "big")


def wrong_places(shares: Mapping[int, bytes], threshold: int) -> tuple[int, ...] | None:
    """Tell which shares do not lie on the polynomial that most of them lie on.

    Gao 2003, "A new algorithm for decoding Reed-Solomon codes": the extended Euclidean algorithm
    on Π (x - x_i) and the polynomial through all shares.

    Args:
        shares: as for ``combine``. Private.
        threshold: as for ``combine``. Public.

    Returns:
        The places in order, empty where all shares agree. None where more than
        (shares - threshold) / 2 are wrong, in a way that leaves open which. Public.

    Guarantees:
        - if at most (shares - threshold) / 2 shares are wrong, exactly these are returned.

    Edge cases: more wrong shares than that, on one other polynomial, make the right ones look
    wrong. Takes some 20 ms for 101 shares.

    Raises:
        VerificationError: as ``combine``, except that shares may contradict each other.
    """
    points = _points(shares, threshold)
    product = [1]
    for x in points:
        product = _times(product, [-x % PRIME, 1])
    older, newer = product, _through(points)
    older_factor: list[int] = []
    newer_factor = [1]
    # The shares' own polynomial appears as soon as the degree falls below (shares + threshold) / 2.
    while 2 * (len(newer) - 1) >= len(points) + threshold:
        quotient, rest = _divided(older, newer)
        older, newer = newer, rest
        factor = _minus(older_factor, _times(quotient, newer_factor))
        older_factor, newer_factor = newer_factor, factor
    found, _ = _divided(newer, newer_factor)
    wrong = [x for x, y in points.items() if _at(found[::-1], x) != y]
    if len(found) > threshold or 2 * len(wrong) > len(points) - threshold:
        return None
    return tuple(x - 1 for x in wrong)


def _elements(source: Source, count: int) -> list[int]:
    """Draw integers below p: 256 bits each, thrown away where they are not below."""
    drawn: list[int] = []
    while len(drawn) < count:
        words = source.words(_WORDS * (count - len(drawn)))
        data = words.astype("<u8", copy=False).tobytes()
        numbers = (
            int.from_bytes(data[begin : begin + SHARE_BYTES], "little")
            for begin in range(0, len(data), SHARE_BYTES)
        )
        drawn += [number for number in numbers if number < PRIME]
    return drawn


def _element(data: bytes, what: str) -> int:
    """Read 32 bytes as an integer below p. The error says nothing of their value."""
    whole = isinstance(data, bytes) and len(data) == SHARE_BYTES
    number = int.from_bytes(data, "big") if whole else PRIME
    if number >= PRIME:
        raise VerificationError(
            f"{what} that is no integer below 2^256 - 189 in {SHARE_BYTES} bytes",
            remedy="Draw secrets with draw_secret, and hand on shares as they are",
        )
    return number


def _points(shares: Mapping[int, bytes], threshold: int) -> dict[int, int]:
    """Read shares as f's values by x, in the order of x."""
    if threshold < 1 or len(shares) < threshold:
        raise VerificationError(
            f"{len(shares)} shares where the threshold is {threshold}",
            allowed="at least as many shares as the threshold, which is 1 or more",
        )
    for place in shares:
        # At place -1 stands the secret itself, so that whoever may name it chooses the secret.
        if not isinstance(place, (int, np.integer)) or not 0 <= place < LARGEST_COUNT:
            raise VerificationError(
                f"a share at place {place!r}", allowed=f"an integer from 0 to {LARGEST_COUNT - 1}"
            )
    return {
        int(place) + 1: _element(shares[place], f"a share at place {place}")
        for place in sorted(shares)
    }


def _on_one_polynomial(points: Mapping[int, int], threshold: int) -> bool:
    """Whether all points lie on one polynomial of degree below the threshold.

    They do exactly if Σ_i f(x_i)·x_i^k / Π_{j≠i} (x_i - x_j) = 0 for each k < shares - threshold,
    because the divided differences of higher order vanish.
    """
    inverses = _inverse_differences(tuple(points))
    terms = [y * v % PRIME for y, v in zip(points.values(), inverses, strict=True)]
    for _ in range(len(points) - threshold):
        if sum(terms) % PRIME:
            return False
        terms = [term * x % PRIME for x, term in zip(points, terms, strict=True)]
    return True


@lru_cache(maxsize=64)
def _inverse_differences(xs: tuple[int, ...]) -> tuple[int, ...]:
    """Return 1 / Π_{j≠i} (x_i - x_j) mod p for every i, by one inversion for all of them.

    The clients of a round mostly share the same places, which are public.
    """
    products = [prod(x - other for other in xs if other != x) % PRIME for x in xs]
    before = [1]
    for product in products:
        before.append(before[-1] * product % PRIME)
    rest = pow(before.pop(), -1, PRIME)
    inverses: list[int] = []
    for product, earlier in zip(reversed(products), reversed(before), strict=True):
        inverses.append(rest * earlier % PRIME)
        rest = rest * product % PRIME
    return tuple(reversed(inverses))


def _at(falling: Sequence[int], x: int) -> int:
    """Evaluate a polynomial, highest coefficient first, by Horner's rule."""
    value = 0
    # One reduction at the end: x is small, so that the integers meanwhile stay short.
    for coefficient in falling:
        value = value * x + coefficient
    return value % PRIME


# --- polynomials as lists of coefficients, lowest first, without zeros at the end ----------------


def _trimmed(polynomial: list[int]) -> list[int]:
    while polynomial and not polynomial[-1]:
        polynomial.pop()
    return polynomial


def _minus(left: Sequence[int], right: Sequence[int]) -> list[int]:
    return _trimmed([(a - b) % PRIME for a, b in zip_longest(left, right, fillvalue=0)])


def _times(left: Sequence[int], right: Sequence[int]) -> list[int]:
    product = [0] * (len(left) + len(right))
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            product[i + j] += a * b
    return _trimmed([value % PRIME for value in product])


def _divided(dividend: Sequence[int], divisor: Sequence[int]) -> tuple[list[int], list[int]]:
    """Divide with a rest: dividend = quotient·divisor + rest, the rest of a lower degree."""
    rest = list(dividend)
    lead = pow(divisor[-1], -1, PRIME)
    quotient = [0] * max(0, len(rest) - len(divisor) + 1)
    for shift in reversed(range(len(quotient))):
        factor = rest[shift + len(divisor) - 1] * lead % PRIME
        quotient[shift] = factor
        for i, value in enumerate(divisor):
            rest[shift + i] = (rest[shift + i] - factor * value) % PRIME
    return _trimmed(quotient), _trimmed(rest)


def _through(points: Mapping[int, int]) -> list[int]:
    """Return the polynomial through all points, by Newton's divided differences."""
    xs, differences = list(points), list(points.values())
    for order in range(1, len(xs)):
        for i in reversed(range(order, len(xs))):
            step = differences[i] - differences[i - 1]
            differences[i] = step * pow(xs[i] - xs[i - order], -1, PRIME) % PRIME
    polynomial: list[int] = []
    for x, difference in zip(reversed(xs), reversed(differences), strict=True):
        polynomial = _minus(_times(polynomial, [-x % PRIME, 1]), [-difference % PRIME])
    return polynomial
