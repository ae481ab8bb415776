"""The discrete Gaussian: noise on the integers with mass in proportion to exp(-k²/2σ²).

Alone it is as private as the Gaussian of the same σ (Canonne, Kamath, Steinke 2020). Shares of it
from many clients add up to almost a discrete Gaussian, and what "almost" costs is counted here
(Kairouz, Liu, Steinke 2021). All lengths are in steps of the integer grid.
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

SMALLEST_STD: Final = 2.0**-5
LARGEST_STD: Final = 2.0**45

# Rounding k²/2σ² costs 2^-52 of an exponent of at most 167, and exp one step more: 2^-44 in all.
_ERROR: Final = 2.0**-40
# P(|N| > r) <= 2·exp(-(r+1)²/2σ²), and 240·ln 2 brings that to 2^-239: e^ε may stand before it.
_REACH: Final = math.sqrt(2 * 240 * math.log(2))
# Eighty digits are 265 bits; Decimal.exp is correctly rounded.
_DIGITS: Final = Context(prec=80)


def sample(noise_std: float, count: int, source: Source) -> NDArray[np.int64]:
    """Draw from the discrete Gaussian N_Z(0, σ²).

        P(k) = exp(-k²/2σ²) / Σ_j exp(-j²/2σ²)

    Canonne, Kamath, Steinke 2020, definition 1; drawn by ``sampler`` instead of their algorithm 3.

    Args:
        noise_std: σ, in grid steps, from 2^-5 to 2^45. The standard deviation itself is at most
            σ, and below it when σ is under one step. Public.
        count: how many draws. Public.
        source: the random words.

    Returns:
        ``[count]``, int64.

    Guarantees:
        - each draw is within ``sampler.DISTANCE`` of the distribution, in total variation.

    Raises:
        ConfigError: σ is out of range.
    """
    return sampler.sample(shape(noise_std), count, source)


@lru_cache(maxsize=8)
def shape(noise_std: float) -> sampler.Shape:
    """Describe the discrete Gaussian to the sampler.

    The tail follows from E exp(t·N) <= exp(t²σ²/2): Canonne, Kamath, Steinke 2020, lemma on
    subgaussian tails.

    Raises:
        ConfigError: σ is out of range.
    """
    if not SMALLEST_STD <= noise_std <= LARGEST_STD:
        raise ConfigError(
            f"a noise standard deviation of {noise_std} grid steps",
            allowed="2^-5 to 2^45 grid steps",
            remedy="Choose a grid on which the noise is some steps wide",
        )
    width = float(noise_std)
    twice = _DIGITS.multiply(Decimal(2), _DIGITS.power(Decimal(width), 2))

    def relative(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = distance / width
        return np.asarray(np.exp(-0.5 * (scaled * scaled)))

    def exact(distance: int) -> Fraction:
        exponent = _DIGITS.divide(Decimal(distance * distance), twice)
        # A minus sign would round to the thread's own precision, which is 28 digits.
        return Fraction(_DIGITS.exp(exponent.copy_negate()))

    return sampler.Shape(relative, exact, _ERROR, math.ceil(width * _REACH))


def concentrated(noise_std: float, l2: float) -> float:
    """Return the ε such that one discrete Gaussian per entry is ½ε²-concentrated DP.

        ε = Δ₂/σ,   which is the continuous Gaussian's

    Canonne, Kamath, Steinke 2020, theorem 4.

    Args:
        noise_std: σ of every entry, in grid steps. Public.
        l2: the furthest that one unit moves the integer vector, in grid steps. Public.

    Returns:
        ε; the Rényi divergence of order α is at most ½·α·ε².

    Raises:
        ConfigError: a number is negative, not finite, or σ is 0.

    >>> concentrated(8.0, 4.0)
    0.5
    """
    _check(noise_std=noise_std)
    _check_length(l2=l2)
    return l2 / noise_std


def tau(local_std: float, clients: int) -> float:
    """Bound how far a sum of discrete Gaussians is from one, as a logarithm of probabilities.

        τ = 10·Σ_{k=1}^{n-1} exp(-2π²·σ²·k/(k+1))

    Kairouz, Liu, Steinke 2021, theorem 1.

    Args:
        local_std: σ of each client's share, in grid steps, at least 1/2. Public.
        clients: n, how many shares are added, 1 or more. Public.

    Guarantees:
        - P and Q being the sum of n shares and one discrete Gaussian of √n·σ, |ln P(k)/Q(k)| <= τ;
        - a single share has τ = 0.

    Raises:
        ConfigError: σ is below 1/2, or there are no clients.

    >>> tau(1.0, 1)
    0.0
    """
    if clients < 1:
        raise ConfigError(f"{clients} clients add noise", allowed="1 or more")
    if not (local_std >= 0.5 and math.isfinite(local_std)):
        raise ConfigError(
            f"a local noise standard deviation of {local_std} grid steps",
            allowed="1/2 or more",
            remedy="Choose a finer grid, so that the noise is wider in steps",
        )
    k = np.arange(1, clients, dtype=np.float64)
    return 10 * math.fsum(np.exp(-2 * math.pi**2 * local_std**2 * (k / (k + 1))).tolist())


def distributed(local_std: float, clients: int, *, size: int, l1: float, l2: float) -> float:
    """Return the ε such that the sum of all clients' shares is ½ε²-concentrated DP.

        ε = min( √(Δ₂²/nσ² + 2τd),  √(Δ₂²/nσ² + 2τΔ₁/(√n·σ) + τ²d),  Δ₂/(√n·σ) + τ√d )

    Kairouz, Liu, Steinke 2021, proposition 14: a Rényi divergence of order α of at most ½·α·ε².
    The first term is theirs, ½·α·Δ₂²/nσ² + τd, with τd <= α·τd.

    Args:
        local_std: σ of each client's share, in grid steps, at least 1/2. Public.
        clients: n, the shares that are certain to be in the sum. Public.
        size: d, how many entries the vector has. Public.
        l1: Δ₁, the furthest that one unit moves the integer vector in the sum of absolute values,
            in grid steps. Public.
        l2: Δ₂, the same in the Euclidean norm. Public.

    Guarantees:
        - a single client has the ε of ``concentrated``;
        - the Rényi divergence of the true sum of shares stays below the bound.

    Raises:
        ConfigError: σ is below 1/2, there are no clients or no entries, or a sensitivity is
            negative or not finite.
    """
    excess = tau(local_std, clients)
    if size < 1:
        raise ConfigError(f"a vector of {size} entries", allowed="1 or more")
    _check_length(l1=l1, l2=l2)
    sigma = math.sqrt(clients) * local_std
    gaussian = l2 / sigma
    return min(
        math.sqrt(gaussian**2 + 2 * excess * size),
        math.sqrt(gaussian**2 + 2 * excess * l1 / sigma + excess**2 * size),
        gaussian + excess * math.sqrt(size),
    )


def _check(**values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} is {value}", allowed="a positive finite number")


def _check_length(**values: float) -> None:
    for name, value in values.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ConfigError(f"{name} is {value}", allowed="0 or a positive finite number")
