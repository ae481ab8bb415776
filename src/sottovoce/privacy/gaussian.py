"""The Gaussian mechanism on an integer grid: what is added, and what the grid costs.

A vector is rounded to a fine grid, unit by unit, summed as integers, and gets discrete Gaussian
noise. It is accounted as the continuous Gaussian, with an ε and a δ for the difference of the two
noises.

Let x be the integer sum and s the noise's σ in grid steps. Rounding x + N(0, s²) to integers is
post-processing of the Gaussian mechanism, and since x is whole it equals x plus rounded noise. So
only the rounded and the discrete Gaussian have to be compared, entry by entry:

    P_rounded(k) = exp(-k²/2s²)/(√2π·s) · E exp(-(2kt + t²)/2s²),   t uniform on [-1/2, 1/2];
    P_discrete(k) = exp(-k²/2s²)/θ,   √2π·s <= θ = Σ_j exp(-j²/2s²) <= √2π·s·(1 + 3 exp(-2π²s²)).

With E exp(-(2kt + t²)/2s²) = E exp(-t²/2s²)·cosh(kt/s²), the first factor being at least 1 - t²/2s²
and the second at least 1 and at most exp(k²t²/2s⁴) in every t,

    1 - 1/24s² <= P_rounded(k)/P_discrete(k) <= exp(k²/24s⁴)·(1 + 3 exp(-2π²s²)),

the upper bound because E cosh(ut) = sinh(u/2)/(u/2) <= exp(u²/24) for u = k/s². So for s >= 8 and
|k| <= 14.2 s the logarithm of the ratio is at most 8.5/s² either way. There the sampler keeps what it
proposes with a chance of at least 2^-93 and errs in it by at most 2^-190, which is less than 5.5/s²
of it for every s that it takes. Beyond 14.2 s lies less than 2^-144 of either distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ConfigError, VerificationError
from sottovoce.privacy import discrete_gaussian, sampler
from sottovoce.rng import Source

GRID_BITS: Final = 24
_LARGEST: Final = 2**63 - 1
_LEAST_STD: Final = 8.0
_LARGEST_EPSILON: Final = 700.0
"""Its exponential still fits a float64."""


def grid_step(clip_norm: float, size: int) -> float:
    """Return the largest power of two that is at most clip_norm·2^-24/√size.

    Args:
        clip_norm: the bound on one unit's vector. Public.
        size: how many entries the vector has, 1 or more. Public.

    Returns:
        The distance of two neighbouring grid points, in the unit of the vector.

    Guarantees:
        - rounding all entries to the grid moves a vector by at most clip_norm·2^-25.

    Raises:
        ConfigError: ``clip_norm`` is outside of [2^-900, 2^900], or there are no entries.

    >>> grid_step(1.0, 4) == 2.0**-25
    True
    """
    _check_size(size)
    if not 2.0**-900 <= clip_norm <= 2.0**900:
        raise ConfigError(f"clip_norm is {clip_norm}", allowed="2^-900 to 2^900")
    # The quotient may have been rounded up to a power of two, so squares are compared, exactly.
    exponent = math.frexp(clip_norm / math.sqrt(size))[1] - 1
    while Fraction(4) ** exponent * size > Fraction(clip_norm) ** 2:
        exponent -= 1
    return math.ldexp(1.0, exponent - GRID_BITS)


def add_noise(
    total: NDArray[np.int64], noise_std_steps: float, source: Source
) -> NDArray[np.int64]:
    """Add discrete Gaussian noise to every entry of an integer sum.

    Args:
        total: of any shape, in grid steps. Private.
        noise_std_steps: σ, in grid steps. Public.
        source: the random words; private, or the noise hides nothing.

    Returns:
        int64, of the same shape.

    Guarantees:
        - the result minus the total is ``discrete_gaussian.sample``, entry by entry;
        - the total is left as it was;
        - no result wraps around: whether it could is known before any noise is drawn.

    Raises:
        VerificationError: the total is not int64, or an entry is so large that noise could carry
            it out of int64. The message does not quote the entry.
        ConfigError: σ is out of range.
    """
    if total.dtype != np.int64:
        raise VerificationError(f"a sum of type {total.dtype}", allowed="int64")
    room = _LARGEST - sampler.largest(discrete_gaussian.shape(noise_std_steps))
    if total.size and (int(total.max()) > room or int(total.min()) < -room):
        raise VerificationError(
            "a sum is too large to take noise in 64 bits",
            allowed=f"{room} grid steps at most",
            remedy="Clip to a smaller norm or sum fewer units at once",
        )
    noise = discrete_gaussian.sample(noise_std_steps, total.size, source)
    noise += total.ravel()
    return noise.reshape(total.shape)


@dataclass(frozen=True)
class GridCost:
    """What discrete noise costs beyond the continuous noise that the accountant knows. Public.

    Args:
        ratio: bound on |log(P/Q)| over all releases together, where P is the distribution of the
            noise that is drawn and Q that of the rounded continuous one; save far out.
        outside: P and Q of what lies far out, over all releases together.
    """

    ratio: float
    outside: float

    @property
    def epsilon(self) -> float:
        """What to add to ε: P on one input, Q on it, Q on its neighbour, P on that."""
        return 2 * self.ratio

    def delta_left(self, delta: float, epsilon: float) -> float:
        """The δ at which the accountant must be asked, so that ``delta`` holds in the end.

            P(S) <= e^r·Q(S) + outside <= e^r·(e^ε·Q'(S) + δ') + outside
                 <= e^(ε+2r)·P'(S) + e^r·δ' + (1 + e^(ε+r))·outside

        Args:
            delta: what shall hold.
            epsilon: the accountant's ε.

        Returns:
            δ'; zero or less where the outside alone exceeds ``delta``.
        """
        if epsilon > _LARGEST_EPSILON:
            return -math.inf
        return delta * math.exp(-self.ratio) - 2 * math.exp(epsilon) * self.outside

    def delta_taken(self, delta: float, epsilon: float) -> float:
        """What ``delta_left`` takes off δ, with all its digits; the arguments are the same."""
        if epsilon > _LARGEST_EPSILON:
            return math.inf
        return -delta * math.expm1(-self.ratio) + 2 * math.exp(epsilon) * self.outside

    def __add__(self, other: GridCost) -> GridCost:
        """What two lots of releases cost together."""
        return GridCost(self.ratio + other.ratio, self.outside + other.outside)


def grid_cost(noise_std_steps: float, size: int, releases: int) -> GridCost:
    """What the grid costs in so many adaptive releases of vectors.

        ratio = T·size·14/s²,   outside = T·size·2^-143

    The module's docstring has the proof for one entry; logarithms of independent entries add up,
    and so do those of adaptive releases, and mixtures over samples keep the bounds.

    Args:
        noise_std_steps: s, in grid steps, 8 or more. Public.
        size: entries of each vector. Public.
        releases: T. Public.

    Guarantees:
        - neither bound is ever passed.

    Raises:
        ConfigError: s is below 8 or not finite, there are no entries, or releases are negative.

    >>> grid_cost(2.0**24, 1, 1).ratio == 14 * 2.0**-48
    True
    """
    _check_size(size)
    if not (noise_std_steps >= _LEAST_STD and math.isfinite(noise_std_steps)):
        raise ConfigError(
            f"the noise is {noise_std_steps} grid steps wide", allowed=f"{_LEAST_STD:g} or more"
        )
    if releases < 0:
        raise ConfigError(f"{releases} releases", allowed="0 or more")
    entries = float(releases) * size
    return GridCost(14 * entries / noise_std_steps**2, entries * 2.0**-143)


def _check_size(size: int) -> None:
    if size < 1:
        raise ConfigError(f"a vector of {size} entries", allowed="1 or more")
