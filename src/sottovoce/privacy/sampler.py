"""Exact and fast draws from any symmetric, unimodal distribution on the integers.

A histogram of 4,096 bins of width 2^m covers the distribution from -2^(m+11) to 2^(m+11) - 1. Bin a
has the integer weight W_a, the weights add up to 2^64, and for a constant c

    W_a >= c·f(k)   for every k of the bin,   f(k) = P(k) / P(0).

A draw chooses a bin with probability W_a/2^64, an integer k of the bin uniformly, and keeps k with
probability c·f(k)/W_a; otherwise it starts again. So k comes out in proportion to f(k), whatever
the weights are (von Neumann 1951). Two 64-bit words make a draw:

- the first chooses the bin. Its upper 12 bits name a column of an alias table, its other 52 bits
  are compared with that column's threshold (Walker 1977, Vose 1991). Weights and thresholds are
  integers that add up exactly, so the bin's probability is exactly W_a/2^64;
- the second gives k's place in the bin in its lower m bits, and with its other bits u the verdict:
  below the bin's least chance k is kept at once, which settles about 99 of 100 draws. The others
  meet c·f(k)/W_a in float64, with the stated error of f on both sides. Where that leaves a doubt,
  192 further bits and rational arithmetic decide.

What separates the draws from P: bins beyond the reach have no weight, which removes a mass of at
most 2^-100, and a verdict in rational arithmetic is biased by at most 2^-190. In total variation
that is at most 2^-99 a draw, and 2^-75 for a vector of 2^24 draws. It takes for granted that the
source is uniform; for AES-256 in counter mode that is the usual assumption on the cipher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import VerificationError
from sottovoce.rng import Source

DISTANCE: Final = 2.0**-99
"""The total variation distance between one draw and its distribution is at most this."""

BINS: Final = 2**12
LARGEST_REACH: Final = 2**51 - 1
_HALF: Final = BINS // 2
_CAPACITY: Final = 2**52
_FURTHER_WORDS: Final = 3
# Two blocks of words and a handful of temporaries stay within a core's own cache.
_BLOCK: Final = 2**14


@dataclass(frozen=True, eq=False)
class Shape:
    """A distribution P on the integers with P(k) = P(-k), falling as |k| grows.

    Args:
        relative: from distances |k|, float64, to P(k)/P(0), float64.
        exact: P(k)/P(0) for one distance, with a relative error of at most 2^-200.
        error: bound on the relative error of ``relative`` up to 1.001 times the reach, rounding
            included; 2^-44 or more, so that it also covers the sampler's own roundings.
        reach: an integer with P(|k| > reach) <= 2^-100, at most 2^51 - 1.
    """

    relative: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    exact: Callable[[int], Fraction]
    error: float
    reach: int


@dataclass(frozen=True, eq=False)
class Table:
    """The histogram of a shape and its alias table.

    Args:
        shape: what is drawn.
        shift: m, so that a bin holds 2^m integers.
        scale: c, the constant under the weights.
        weights: W_a, integers that add up to 2^64.
        thresholds: per column j, j·2^52 plus the part of the column that is bin j's own.
        alias: per column, the bin that owns the rest.
        sure: per bin, a second word below this is kept without a further look.
        ratio: per bin, c/W_a, and 0 for a bin without weight.
    """

    shape: Shape
    shift: int
    scale: float
    weights: tuple[int, ...]
    thresholds: NDArray[np.uint64]
    alias: NDArray[np.int64]
    sure: NDArray[np.uint64]
    ratio: NDArray[np.float64]


def largest(shape: Shape) -> int:
    """Return a bound on |k| that no draw exceeds."""
    return _HALF << _shift(shape)


def sample(shape: Shape, count: int, source: Source) -> NDArray[np.int64]:
    """Draw independent integers from a distribution.

    Args:
        shape: the distribution. Public.
        count: how many, 0 or more. Public.
        source: where the random words come from; private, or the draws protect nobody.

    Returns:
        ``[count]``, int64. Private as long as they are noise.

    Guarantees:
        - each draw is within ``DISTANCE`` of the distribution, in total variation, and independent
          of the others;
        - no draw exceeds ``largest(shape)`` in absolute value;
        - the same words give the same draws;
        - memory beside the result stays within a few blocks and 8 bytes for every rejected draw.

    Edge cases: the time of a call depends on how many candidates were rejected, that is on the
    noise, never on what the noise is added to.

    Raises:
        VerificationError: the shape's masses contradict each other.
    """
    table = tabulate(shape)
    drawn = np.empty(count, dtype=np.int64)
    rejected = [
        begin + _candidates(table, source, drawn[begin : begin + _BLOCK])
        for begin in range(0, count, _BLOCK)
    ]
    again = np.concatenate(rejected) if rejected else np.empty(0, dtype=np.int64)
    if again.size:
        drawn[again] = sample(shape, again.size, source)
    return drawn


def _candidates(table: Table, source: Source, drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fill ``drawn`` with one candidate each and return the places of the rejected ones."""
    words = source.words(2 * drawn.size)
    first, second = words[: drawn.size], words[drawn.size :]
    shift = np.uint64(table.shift)
    bins = (first >> np.uint64(52)).view(np.int64)
    # No index leaves the table, so that the cheapest rule for those that do may be taken.
    own = table.thresholds.take(bins, mode="wrap")
    np.copyto(bins, table.alias.take(bins, mode="wrap"), where=first >= own)
    np.left_shift(bins - _HALF, table.shift, out=drawn)
    drawn |= (second & ((np.uint64(1) << shift) - np.uint64(1))).view(np.int64)
    doubtful = np.flatnonzero(second >= table.sure.take(bins, mode="wrap"))
    kept = _verdicts(table, drawn[doubtful], bins[doubtful], second[doubtful] >> shift, source)
    return doubtful[~kept]


def _verdicts(
    table: Table,
    values: NDArray[np.int64],
    bins: NDArray[np.int64],
    uniform: NDArray[np.uint64],
    source: Source,
) -> NDArray[np.bool_]:
    """Keep each value with its chance, given a uniform integer of 64 - m bits for each."""
    bits = 64 - table.shift
    chance = table.ratio[bins] * table.shape.relative(np.abs(values).astype(np.float64))
    # One part of the margin is the stated error, the rest is room for three roundings.
    margin = 4 * table.shape.error
    u = uniform.astype(np.float64)
    kept = u + 1 <= np.ldexp(chance * (1 - margin), bits)
    for i in np.flatnonzero(~kept & (u < np.ldexp(chance * (1 + margin), bits))):
        kept[i] = _exact_verdict(table, int(values[i]), int(bins[i]), int(uniform[i]), source)
    return kept


def _exact_verdict(table: Table, value: int, chosen: int, uniform: int, source: Source) -> bool:
    chance = Fraction(table.scale) * table.shape.exact(abs(value)) / table.weights[chosen]
    if chance > 1:
        raise VerificationError(
            f"the mass at {value} passes its bin's weight by a factor of {float(chance):.6g}",
            remedy="The float64 and the exact mass of this distribution contradict each other",
        )
    for word in source.words(_FURTHER_WORDS).tolist():
        uniform = uniform << 64 | word
    return Fraction(uniform, 1 << (64 - table.shift + 64 * _FURTHER_WORDS)) < chance


def _shift(shape: Shape) -> int:
    return max(0, shape.reach.bit_length() - (BINS.bit_length() - 2))


@lru_cache(maxsize=8)
def tabulate(shape: Shape) -> Table:
    """Build the histogram and the alias table of a shape, or return the ones built before.

    Guarantees:
        - the weights add up to 2^64, and column by column bin a owns exactly W_a of it;
        - W_a >= c·f(k) for every k of bin a up to the reach, and a bin beyond the reach has none;
        - a second word below ``sure`` is one that the exact verdict would keep.

    Raises:
        VerificationError: the reach or the error is not one that the sampler can work with.
    """
    if not (0 <= shape.reach <= LARGEST_REACH and 2**-44 <= shape.error < 1 / 16):
        raise VerificationError(
            f"a shape with reach {shape.reach} and error {shape.error}",
            allowed=f"a reach of 0 to {LARGEST_REACH} and an error from 2^-44 to 1/16",
        )
    shift = _shift(shape)
    left = (np.arange(BINS, dtype=np.int64) - _HALF) << shift
    right = left + (1 << shift) - 1
    nearest, farthest = np.where(left >= 0, [left, right], [-right, -left])
    covered = nearest <= shape.reach
    heights = np.zeros(BINS)
    heights[covered] = shape.relative(nearest[covered].astype(np.float64))
    # Six errors of room under 2^64, so that rounding every weight up still leaves something.
    scale = float(2.0**64 / heights.sum() * (1 - 8 * shape.error))
    roof = np.ceil(scale * heights * (1 + 2 * shape.error))
    weights = [int(weight) for weight in roof]
    # A weight may exceed its bin, so the rest goes where it costs least, to the heaviest.
    weights[_HALF] += 2**64 - sum(weights)
    ratio = np.array([scale / weight if weight else 0.0 for weight in weights])
    least = np.zeros(BINS)
    least[covered] = ratio[covered] * shape.relative(farthest[covered].astype(np.float64))
    sure = np.floor(np.ldexp(least * (1 - 4 * shape.error), 64 - shift)).astype(np.uint64)
    thresholds, alias = _alias(weights)
    return Table(
        shape=shape,
        shift=shift,
        scale=scale,
        weights=tuple(weights),
        thresholds=np.array(thresholds, dtype=np.uint64),
        alias=np.array(alias, dtype=np.int64),
        sure=sure << np.uint64(shift),
        ratio=ratio,
    )


def _alias(weights: list[int]) -> tuple[list[int], list[int]]:
    """Divide the weights among columns of 2^52 each, of which every one has at most two owners.

    Vose 1991, in integers.

    Guarantees:
        - Σ over columns of what bin a owns is W_a exactly.
    """
    rest = list(weights)
    # A column without an entry of its own belongs to its alias, here still itself.
    own = [0] * BINS
    alias = list(range(BINS))
    small = [bin_ for bin_ in range(BINS) if rest[bin_] < _CAPACITY]
    large = [bin_ for bin_ in range(BINS) if rest[bin_] >= _CAPACITY]
    while small:
        column, donor = small.pop(), large[-1]
        own[column], alias[column] = rest[column], donor
        rest[donor] -= _CAPACITY - rest[column]
        if rest[donor] < _CAPACITY:
            small.append(large.pop())
    return [column * _CAPACITY + own[column] for column in range(BINS)], alias
