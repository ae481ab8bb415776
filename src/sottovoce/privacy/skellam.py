"""Symmetric Skellam noise: the difference of two Poisson draws, closed under addition.

Shares of variance μ/n from n clients add up to exactly a Skellam of variance μ, which is what
makes it the noise of a secure sum. All lengths are in steps of the integer grid.

Its masses are e^-μ·I_k(μ) with the modified Bessel function of the first kind. For an integer k,
moving the path of Bessel's integral to its saddle point iβ, sinh β = k/μ, gives without loss

    I_k(μ) = exp(r - k·β) · (1/2π)·∫ exp(-r·(1 - cos θ))·cos(k·(sin θ - θ)) dθ,   r = √(k² + μ²),

over a period. N equally spaced points instead of the integral give Σ_j I_{k+jN}(μ)·e^{jNβ}, and
I_{k+m}·e^{mβ} falls relative to I_k like exp(-m²/2r). So a few dozen points are as good as exact,
in float64 as in many digits, from the smallest variance to the largest (the periodic trapezoidal
rule: Trefethen and Weideman 2014).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Final

import mpmath
import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ConfigError
from sottovoce.privacy import sampler
from sottovoce.rng import Source

SMALLEST_VARIANCE: Final = 2.0**-10
LARGEST_VARIANCE: Final = 2.0**90

# The exponent is a difference of two numbers up to 144 with a few roundings each: 2^-44 in all.
_ERROR: Final = 2.0**-38
_TAIL: Final = 101 * math.log(2)
_PRECISION: Final = 320
_EXACT_BITS: Final = 230
_FLOAT_BITS: Final = 56


def sample(variance: float, count: int, source: Source) -> NDArray[np.int64]:
    """Draw from the symmetric Skellam distribution.

        P(k) = e^-μ·I_|k|(μ),   the law of X - Y with X and Y Poisson of mean μ/2

    Skellam 1946; Agarwal, Kairouz, Liu 2021, section 3.

    Args:
        variance: μ, of the whole draw, in squared grid steps, from 2^-10 to 2^90. Public.
        count: how many draws. Public.
        source: the random words.

    Returns:
        ``[count]``, int64.

    Guarantees:
        - each draw is within ``sampler.DISTANCE`` of the distribution, in total variation.

    Raises:
        ConfigError: μ is out of range.
    """
    return sampler.sample(shape(variance), count, source)


@lru_cache(maxsize=8)
def shape(variance: float) -> sampler.Shape:
    """Describe the symmetric Skellam to the sampler.

    Raises:
        ConfigError: μ is out of range.
    """
    if not SMALLEST_VARIANCE <= variance <= LARGEST_VARIANCE:
        raise ConfigError(
            f"a noise variance of {variance} squared grid steps",
            allowed="2^-10 to 2^90 squared grid steps",
            remedy="Choose a grid on which the noise is some steps wide",
        )
    mu = float(variance)
    reach = _reach(mu)
    period, used = _points(mu, reach, _FLOAT_BITS)
    angle = 2 * math.pi / period * np.arange(1, used + 1)
    # Halved squares of half sines: 1 - cos θ without cancellation.
    bend = 2 * np.sin(angle / 2) ** 2
    lag = np.sin(angle) - angle
    # Both halves of the period are alike.
    middle = 1.0 + 2.0 * float(np.sum(np.exp(-mu * bend)))

    def relative(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        radius = np.hypot(distance, mu)
        exponent = distance * (distance / (radius + mu) - np.arcsinh(distance / mu))
        waves = np.exp(-np.outer(radius, bend)) * np.cos(np.outer(distance, lag))
        return np.asarray(np.exp(exponent) * (1.0 + 2.0 * waves.sum(axis=1)) / middle)

    def exact(distance: int) -> Fraction:
        return _fraction(_bessel(distance, mu) / _bessel(0, mu))

    return sampler.Shape(relative, exact, _ERROR, reach)


def _reach(mu: float) -> int:
    """Find r with P(|N| > r) <= 2^-100 from Chernoff's bound, the factor exp(r - k·β) above.

    E exp(t·N) = exp(μ·(cosh t - 1)), at t = asinh(k/μ).
    """

    def exponent(k: float) -> float:
        return k * (k / (math.hypot(k, mu) + mu) - math.asinh(k / mu))

    # A tenth of a bit of room swallows the rounding of the exponent.
    low, high = 0.0, 1.0
    while exponent(high) > -_TAIL - 0.1:
        low, high = high, 2 * high
    while high - low > max(0.25, 1e-6 * high):
        middle = (low + high) / 2
        low, high = (middle, high) if exponent(middle) > -_TAIL - 0.1 else (low, middle)
    return math.ceil(high)


def _points(mu: float, reach: int, bits: int) -> tuple[int, int]:
    """Choose the period and how many points of its half matter, for an error of 2^-bits.

    The neighbours of I_k in the sum count for exp(-N²/2r) or, far outside, exp(-N/2) each, next to
    an integral of about 1/√(2πr): the widest r asks for most. A point at θ counts for
    exp(-2r·sin²(θ/2)): the narrowest r, which is μ, asks for most.
    """
    radius = math.hypot(1.01 * reach, mu)
    nats = bits * math.log(2) + math.log(4 + math.sqrt(2 * math.pi * radius))
    # An odd period has no point at its middle, which would count once instead of twice.
    period = math.ceil(math.sqrt(2.5 * nats * radius) + 4 * nats) | 1
    edge = 2 * math.asin(math.sqrt(min(1.0, nats / (2 * mu))))
    return period, min(period // 2, math.ceil(edge * period / (2 * math.pi)))


def _context() -> mpmath.MPContext:
    # A context of its own, so that nobody else's precision is changed.
    context = mpmath.MPContext()
    context.prec = _PRECISION
    return context


def _bessel(k: int, mu: float) -> mpmath.mpf:
    """Evaluate I_k(μ)·e^-μ·N with a relative error below 2^-210, N being the points in a period."""
    context = _context()
    x = context.mpf(mu)
    radius = context.sqrt(context.mpf(k) ** 2 + x**2)
    # One rule for every k, so that N cancels in a ratio.
    period, used = _points(mu, _reach(mu), _EXACT_BITS)
    total = context.one
    for j in range(1, used + 1):
        angle = 2 * context.pi * j / period
        wave = context.exp(-2 * radius * context.sin(angle / 2) ** 2)
        wave *= context.cos(k * (context.sin(angle) - angle))
        total += 2 * wave
    return total * context.exp(k * (k / (radius + x) - context.asinh(k / x)))


def _fraction(value: mpmath.mpf) -> Fraction:
    mantissa, exponent = value.man_exp
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def renyi(order: float, variance: float, *, l1: float, l2: float) -> float:
    """Bound the Rényi divergence of the Skellam mechanism, one draw added to every entry.

        ε(α) <= α·Δ₂²/2μ + min( ((2α-1)·Δ₂² + 6Δ₁)/4μ²,  3Δ₁/2μ )

    Agarwal, Kairouz, Liu 2021, corollary 3.6, for integer α >= 2. There as here μ is the variance
    of the whole noise on an entry: with n shares, n times a share's. Between integers (α - 1)·ε(α)
    is convex, and 0 at α = 1 (van Erven and Harremoës 2014, corollary 2), so the straight line
    between the neighbouring integers bounds it.

    Args:
        order: α, above 1. Public.
        variance: μ, of the noise that is certain to be in the sum, in squared grid steps. Public.
        l1: Δ₁, the furthest that one unit moves the integer vector in the sum of absolute values,
            in grid steps. Public.
        l2: Δ₂, the same in the Euclidean norm. Public.

    Returns:
        ε(α), in nats.

    Guarantees:
        - it is never below the true divergence of two Skellams shifted against each other;
        - a unit that moves nothing costs nothing.

    Raises:
        ConfigError: α is not above 1, μ is not positive, or a number is negative or not finite.

    >>> renyi(2, 100.0, l1=1, l2=1)
    0.010225
    """
    if not (order > 1 and math.isfinite(order)):
        raise ConfigError(f"a Rényi order of {order}", allowed="a finite number above 1")
    if not (variance > 0 and math.isfinite(variance)):
        raise ConfigError(f"a noise variance of {variance}", allowed="a positive finite number")
    for name, length in (("l1", l1), ("l2", l2)):
        if not (length >= 0 and math.isfinite(length)):
            raise ConfigError(f"{name} is {length}", allowed="0 or a positive finite number")
    below, above = math.floor(order), math.ceil(order)
    if below == above:
        return _at_integer(above, variance, l1, l2)
    lower = (below - 1) * _at_integer(below, variance, l1, l2) if below > 1 else 0.0
    upper = (above - 1) * _at_integer(above, variance, l1, l2)
    return (lower * (above - order) + upper * (order - below)) / (order - 1)


def _at_integer(alpha: int, variance: float, l1: float, l2: float) -> float:
    close = ((2 * alpha - 1) * l2**2 + 6 * l1) / (4 * variance**2)
    return alpha * l2**2 / (2 * variance) + min(close, 3 * l1 / (2 * variance))
