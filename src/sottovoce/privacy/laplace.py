"""The discrete Laplace: exact pure differential privacy for single numbers.

The mass at k is in proportion to exp(-|k|/b), so moving the centre by Δ steps changes no mass by
more than the factor exp(Δ/b), and ε = Δ/b without δ (Ghosh, Roughgarden, Sundararajan 2009).
"""

from __future__ import annotations

import math
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ConfigError
from sottovoce.privacy import sampler
from sottovoce.rng import Source

SMALLEST_SCALE: Final = 2.0**-5
LARGEST_SCALE: Final = 2.0**44
GRID_BITS: Final = 24

# Rounding k/b costs 2^-53 of an exponent of at most 104, and exp one step more: 2^-45 in all.
_ERROR: Final = 2.0**-40
# P(|N| > r) <= 2·exp(-(r+1)/b), and 101·ln 2 brings that to 2^-100.
_REACH: Final = 101 * math.log(2)
# Eighty digits are 265 bits; Decimal.exp is correctly rounded.
_DIGITS: Final = Context(prec=80)


def sample(scale: float, count: int, source: Source) -> NDArray[np.int64]:
    """Draw from the discrete Laplace distribution.

        P(k) = tanh(1/2b)·exp(-|k|/b)

    Ghosh, Roughgarden, Sundararajan 2009, where it is called the geometric mechanism.

    Args:
        scale: b, in grid steps, from 2^-5 to 2^44. Public.
        count: how many draws. Public.
        source: the random words.

    Returns:
        ``[count]``, int64.

    Guarantees:
        - each draw is within ``sampler.DISTANCE`` of the distribution, in total variation.

    Raises:
        ConfigError: b is out of range.
    """
    return sampler.sample(shape(scale), count, source)


@lru_cache(maxsize=8)
def shape(scale: float) -> sampler.Shape:
    """Describe the discrete Laplace to the sampler.

    Raises:
        ConfigError: b is out of range.
    """
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise ConfigError(
            f"a Laplace scale of {scale} grid steps", allowed="2^-5 to 2^44 grid steps"
        )
    width = float(scale)

    def relative(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.exp(-(distance / width)))

    def exact(distance: int) -> Fraction:
        exponent = _DIGITS.divide(Decimal(distance), Decimal(width))
        # A minus sign would round to the thread's own precision, which is 28 digits.
        return Fraction(_DIGITS.exp(exponent.copy_negate()))

    return sampler.Shape(relative, exact, _ERROR, math.ceil(width * _REACH))


def grid_step(bound: float) -> float:
    """Return the largest power of two that is at most bound·2^-24.

    Args:
        bound: the upper end of the numbers that are released. Public.

    Raises:
        ConfigError: the bound is outside of [2^-900, 2^900].

    >>> grid_step(1.0) == 2.0**-24, grid_step(1.9) == 2.0**-24
    (True, True)
    """
    if not 2.0**-900 <= bound <= 2.0**900:
        raise ConfigError(f"bound is {bound}", allowed="2^-900 to 2^900")
    return math.ldexp(0.5, math.frexp(bound)[1] - GRID_BITS)


def steps(bound: float) -> int:
    """Return by how many grid steps a rounded number in [0, bound] can differ from another."""
    step = grid_step(bound)
    return round(Fraction(bound) / Fraction(step))


def epsilon(bound: float, scale: float) -> Fraction:
    """Return the ε of one release, exactly.

        ε = steps(bound) / b

    Pure differential privacy: δ is 0 but for the sampler's distance, which adds
    (1 + e^ε)·``sampler.DISTANCE``.

    Args:
        bound: the number lies in [0, bound], whatever the data. Public.
        scale: b, in grid steps. Public.

    Guarantees:
        - no probability of ``release`` changes by more than the factor e^ε between any two values.

    Raises:
        ConfigError: the bound or the scale is out of range.

    >>> float(epsilon(1.0, 2.0**25))
    0.5
    """
    shape(scale)
    return Fraction(steps(bound)) / Fraction(scale)


def scale_for(bound: float, target: float) -> float:
    """Return the smallest scale whose release costs at most the target ε.

    Args:
        bound: the number lies in [0, bound]. Public.
        target: ε. Public.

    Returns:
        b, in grid steps.

    Guarantees:
        - ``epsilon(bound, scale_for(bound, ε)) <= ε``, in rational arithmetic;
        - the next smaller float64 would cost more, or is no scale any more.

    Raises:
        ConfigError: the target is not a positive finite number, or needs a scale above 2^44.

    >>> scale_for(1.0, 0.5) == 2.0**25
    True
    """
    if not (target > 0 and math.isfinite(target)):
        raise ConfigError(f"epsilon is {target}", allowed="a positive finite number")
    wanted = Fraction(steps(bound)) / Fraction(target)
    if wanted > LARGEST_SCALE:
        least = steps(bound) / LARGEST_SCALE
        raise ConfigError(f"epsilon is {target}", allowed=f"{least:.3g} or more for this bound")
    nearest = float(wanted)
    found = nearest if nearest >= wanted else math.nextafter(nearest, math.inf)
    return max(found, SMALLEST_SCALE)


def release(value: float, bound: float, scale: float, source: Source) -> float:
    """Release one number with noise, at the cost of ``epsilon(bound, scale)``.

    The number is clipped to [0, bound] and rounded to the grid, and a discrete Laplace is added.

    Args:
        value: the number. Private.
        bound: the upper end of what it may be. Public.
        scale: b, in grid steps. Public.
        source: the random words.

    Returns:
        A multiple of the grid step, exactly; outside of [0, bound] when the noise leads there.

    Guarantees:
        - the result is the clipped and rounded number plus one draw of ``sample``, times the step;
        - a number from outside of [0, bound] counts as the nearest one inside.

    Edge cases: not a number counts as 0, because an error would tell what the noise is to hide.

    Raises:
        ConfigError: the bound or the scale is out of range.
    """
    step = grid_step(bound)
    clipped = 0.0 if math.isnan(value) else min(max(value, 0.0), bound)
    # A float64 divided by a power of two is exact, so this rounds once.
    noisy = round(clipped / step) + int(sample(scale, 1, source)[0])
    return noisy * step
