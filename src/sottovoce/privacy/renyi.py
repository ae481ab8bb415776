"""Rényi differential privacy of releases, from the definition; the second opinion on every ε."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sottovoce.privacy.releases import (
    Concentrated,
    Merged,
    Release,
    Renyi,
    SampledExamples,
    SampledGaussian,
    SampledLaplace,
    noiseless,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Curve: TypeAlias = NDArray[np.float64]

ORDERS = (
    *(1 + i / 100 for i in range(1, 10)),
    *(1 + i / 10 for i in range(1, 100)),
    *(float(i) for i in range(11, 65)),
    *(80.0, 96.0, 128.0, 160.0, 192.0, 256.0, 320.0, 384.0, 512.0, 768.0, 1024.0, 2048.0),
)
"""The Rényi orders tried; those close to 1 matter where there is little noise."""


def epsilon_by_rdp(merged: Merged, delta: float) -> float:
    """Return ε by Canonne et al. 2020, proposition 12."""
    if not merged or noiseless(merged):
        return math.inf if merged else 0.0
    orders, curve = curve_of_all(merged)
    bounds = curve + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(0.0, float(bounds.min()))


def curve_of_all(merged: Merged) -> tuple[Curve, Curve]:
    """Return orders, and the bound of the Rényi divergence of all releases together at each."""
    given = sorted(
        {a for release, _ in merged if isinstance(release, Renyi) for a in release.orders}
    )
    orders = tuple(given) or ORDERS
    total = np.zeros(len(orders))
    for release, count in merged:
        total += count * np.asarray(curve_of(release, orders))
    return np.array(orders), total


@lru_cache(maxsize=1024)
def curve_of(release: Release, orders: tuple[float, ...]) -> tuple[float, ...]:
    """Return the bound of one release's Rényi divergence at each order."""
    alpha = np.array(orders)
    match release:
        case SampledGaussian(noise, probability):
            curve = _mixture_curve(noise, probability, 1, alpha)
        case SampledExamples(noise, probability, units):
            curve = _mixture_curve(noise, probability, units, alpha)
        case SampledLaplace(scale, probability):
            curve = _laplace_curve(scale, probability, alpha)
        case Concentrated(rho):
            curve = rho * alpha
        case Renyi():
            # A divergence grows with its order, so that a bound holds at every smaller order too.
            bounds = np.array([*np.minimum.accumulate(release.epsilons[::-1])[::-1], math.inf])
            curve = bounds[np.searchsorted(release.orders, alpha)]
    return tuple(curve.tolist())


def _mixture_curve(noise: float, probability: float, units: int, alpha: Curve) -> Curve:
    """Return the Rényi divergence between Σ_k Binomial(k; K, q)·N(k, z²) and N(0, z²).

    The larger of both directions, by the trapezoidal rule. The integrand is analytic in a strip of
    half-width π·z around the real line, so that the rule's error falls exponentially and is
    far below float64 at this step (Trefethen and Weideman 2014, theorem 5.1).
    """
    curve = alpha * (units / noise) ** 2 / 2  # without sampling: a bound at every order
    if probability == 1:
        return curve
    step = min(1.0, noise) / 4  # in standard deviations
    halves = np.ceil((alpha * units / noise + 12) / step)  # the integrand's mass lies within
    # An order that would need a larger grid keeps the bound without sampling.
    usable = halves <= min(50_000, 10**7 / (units + 1))
    if not usable.any():
        return curve
    middle = int(halves[usable].max())
    x = np.arange(-middle, middle + 1, dtype=np.float64) * step
    log_normal = -(x**2) / 2 + math.log(step / math.sqrt(2 * math.pi))
    log_ratios = log_ratio(x, noise, probability, units)
    for i in np.flatnonzero(usable):
        part = slice(middle - int(halves[i]), middle + int(halves[i]) + 1)
        order = float(alpha[i])
        divergence = max(
            _log_sum(log_normal[part] + order * log_ratios[part]),
            _log_sum(log_normal[part] + (1 - order) * log_ratios[part]),
        )
        # 1e-14 is more than the rounding of the sum, which thus never lowers the bound.
        curve[i] = min(curve[i], (max(0.0, divergence) + 1e-14) / (order - 1))
    return curve


def log_ratio(x: Curve, noise: float, probability: float, units: int) -> Curve:
    """Return log Σ_k Binomial(k; K, q)·N(k, z²) / N(0, z²) at ``x`` standard deviations."""
    total = np.full(x.shape, -math.inf)
    for k in range(units + 1):
        log_weight = (
            math.log(math.comb(units, k))
            + (k * math.log(probability))
            + (units - k) * math.log1p(-probability)
        )
        total = np.logaddexp(total, log_weight + x * (k / noise) - (k / noise) ** 2 / 2)
    return total


def _log_sum(logs: Curve) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))


def _laplace_curve(scale: float, probability: float, alpha: Curve) -> Curve:
    """Mironov 2017, proposition 6; on a sample, what its pure ε implies (Bun and Steinke 2016)."""
    curve: Curve = np.logaddexp(
        np.log(alpha / (2 * alpha - 1)) + (alpha - 1) / scale,
        np.log((alpha - 1) / (2 * alpha - 1)) - alpha / scale,
    ) / (alpha - 1)
    curve = np.maximum(curve, 0.0) + 1e-14 / (alpha - 1)
    pure = amplified(1 / scale, probability)
    return np.minimum(curve, np.minimum(pure, alpha * pure**2 / 2))


def amplified(pure: float, probability: float) -> float:
    """Return the pure ε of a release with pure ε on a sample: log(1 + q·(e^ε - 1))."""
    if probability == 1:
        return pure
    return float(np.logaddexp(math.log1p(-probability), math.log(probability) + pure))
