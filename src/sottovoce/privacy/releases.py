"""What is released: noise, how it is sampled, and how often, with noise over the sensitivity.

Two data sets are neighbours when one has one unit more (add or remove one).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from sottovoce.errors import ConfigError

LEAST_NOISE = 1e-6
"""Below this noise over sensitivity ε counts as infinite; it would be above 10^11."""


@dataclass(frozen=True)
class SampledGaussian:
    """A Gaussian of std ``noise_multiplier`` times the sensitivity, on a Poisson sample of units.

    Args:
        noise_multiplier: standard deviation over sensitivity; 0 is no noise. Public.
        sampling_probability: of each unit, on its own; 1 is no sampling. Public.

    Raises:
        ConfigError: noise that is negative or not finite; a probability outside (0, 1].
    """

    noise_multiplier: float
    sampling_probability: float = 1.0

    def __post_init__(self) -> None:
        check_noise("noise_multiplier", self.noise_multiplier)
        check_probability(self.sampling_probability)


@dataclass(frozen=True)
class SampledLaplace:
    """Laplace noise of ``scale`` times the sensitivity, on a Poisson sample of units.

    Args:
        scale: over the sensitivity in the sum norm; 0 is no noise. Public.
        sampling_probability: of each unit, on its own; 1 is no sampling. Public.

    Raises:
        ConfigError: a scale that is negative or not finite; a probability outside (0, 1].
    """

    scale: float
    sampling_probability: float = 1.0

    def __post_init__(self) -> None:
        check_noise("scale", self.scale)
        check_probability(self.sampling_probability)


@dataclass(frozen=True)
class SampledExamples:
    """A Gaussian release on a Poisson sample of examples, seen from a unit that owns several.

    The sum moves by the number of the unit's examples in the sample, which is Binomial(K, q): a
    mixture of Gaussians. Far less than what group privacy would charge.

    Charles et al. 2024, "Fine-tuning large language models with user-level differential privacy".

    Args:
        noise_multiplier: standard deviation over the bound of one example. Public.
        sampling_probability: q, of each example on its own. Public.
        examples_per_unit: K, the most examples that a unit has. Public.

    Raises:
        ConfigError: as for ``SampledGaussian``; less than one example per unit.
    """

    noise_multiplier: float
    sampling_probability: float
    examples_per_unit: int

    def __post_init__(self) -> None:
        check_noise("noise_multiplier", self.noise_multiplier)
        check_probability(self.sampling_probability)
        if self.examples_per_unit < 1 or self.examples_per_unit != int(self.examples_per_unit):
            raise ConfigError(
                f"examples_per_unit is {self.examples_per_unit}",
                allowed="a whole number of 1 or more",
                remedy="Bound how many examples one unit has; without a bound there is no promise",
            )


@dataclass(frozen=True)
class Concentrated:
    """A release with ρ-zero-concentrated differential privacy, such as a discrete Gaussian's.

    Its Rényi divergence of order α is at most ρ·α. Bun and Steinke 2016, definition 1.1.

    Args:
        rho: per release, without amplification by sampling. Public.

    Raises:
        ConfigError: ``rho`` is negative or not finite.
    """

    rho: float

    def __post_init__(self) -> None:
        check_noise("rho", self.rho)


@dataclass(frozen=True)
class Renyi:
    """A release that is known by bounds of its Rényi divergence, such as Skellam noise.

    Args:
        orders: above 1, ascending. Public.
        epsilons: the bound at each order, without amplification by sampling. Public.

    Raises:
        ConfigError: no order, orders that are not finite, ascending and above 1, a bound that is
            negative or not finite, or another number of bounds than orders.
    """

    orders: tuple[float, ...]
    epsilons: tuple[float, ...]

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip((1.0, *self.orders), self.orders, strict=False))
        if not (self.orders and ascending and math.isfinite(self.orders[-1])):
            raise ConfigError(
                f"the Rényi orders are {self.orders}", allowed="finite, ascending and above 1"
            )
        if len(self.epsilons) != len(self.orders):
            raise ConfigError(
                f"{len(self.orders)} Rényi orders have {len(self.epsilons)} bounds",
                allowed="one bound per order",
            )
        for bound in self.epsilons:
            check_noise("a Rényi bound", bound)


Sampled: TypeAlias = SampledGaussian | SampledLaplace | SampledExamples
Release: TypeAlias = Sampled | Concentrated | Renyi
Spent: TypeAlias = Sequence[tuple[Release, int]]
"""What was released, and how often each."""


def combined_multiplier(multipliers: Sequence[float]) -> float:
    """Return the noise multiplier of one Gaussian that costs what several on one sample do.

        (Σ z^-2)^-1/2

    Args:
        multipliers: at least one, each positive. Public.

    Guarantees:
        - ``rest_multiplier`` is its inverse.

    Raises:
        ConfigError: no multiplier, or one that is not positive and finite.

    >>> combined_multiplier([2.0, 2.0, 2.0, 2.0])
    1.0
    """
    if not multipliers:
        raise ConfigError("there is no noise multiplier to combine", allowed="one or more")
    for multiplier in multipliers:
        check_multiplier(multiplier)
    return 1 / math.hypot(*(1 / multiplier for multiplier in multipliers))


def rest_multiplier(total: float, others: Sequence[float]) -> float:
    """Return the noise multiplier that is left for one Gaussian beside others on the same sample.

        (total^-2 - Σ others^-2)^-1/2

    Andrew et al. 2021, "Differentially private learning with adaptive clipping", theorem 1.

    Args:
        total: what all of them together should cost, positive. Public.
        others: the multipliers of the others, each positive. Public.

    Guarantees:
        - together with the others it costs ``total``, up to floating-point rounding.

    Raises:
        ConfigError: a multiplier that is not positive and finite; the others alone cost as much
            as ``total`` or more.

    >>> round(rest_multiplier(1.0, [10.0]), 5)  # 100 clients, adaptive clipping, TFF's default
    1.00504
    """
    check_multiplier(total)
    if not others:
        return total
    least = combined_multiplier(others)
    if least <= total:
        raise ConfigError(
            f"the other releases alone have a noise multiplier of {least:.6g}, and {total:.6g} is"
            " wanted of all together",
            allowed=f"less than {least:.6g}",
            remedy="Give the other releases more noise, or ask for less in all",
        )
    # The factored difference of squares keeps digits when both are close.
    return total / math.sqrt((1 - total / least) * (1 + total / least))


def without_amplification(spent: Spent) -> Spent:
    """Return what ``spent`` is for someone who sees the sample: every sampling probability is 1.

    >>> without_amplification([(SampledGaussian(1.0, 0.01), 100)])
    ((SampledGaussian(noise_multiplier=1.0, sampling_probability=1.0), 100),)
    """
    return tuple(
        (
            release
            if isinstance(release, Concentrated | Renyi)
            else replace(release, sampling_probability=1.0),
            count,
        )
        for release, count in spent
    )


Merged: TypeAlias = tuple[tuple[Release, int], ...]


def merge(spent: Spent) -> Merged:
    """Return equal releases added up, in an order of their own, without those never made."""
    counts: dict[Release, int] = {}
    for release, count in spent:
        if count < 0 or count != int(count):
            raise ConfigError(
                f"a release was made {count} times", allowed="a whole number of 0 or more"
            )
        if count:
            plain = _simplest(release)
            counts[plain] = counts.get(plain, 0) + int(count)
    return tuple(sorted(counts.items(), key=repr))


def _simplest(release: Release) -> Release:
    """Return a mixture that is none as the Gaussian that it is."""
    if not isinstance(release, SampledExamples):
        return release
    if release.sampling_probability == 1:
        return SampledGaussian(release.noise_multiplier / release.examples_per_unit)
    if release.examples_per_unit == 1:
        return SampledGaussian(release.noise_multiplier, release.sampling_probability)
    return release


def _noise(release: Release) -> float:
    """Return noise over sensitivity; infinite where a release states its cost instead."""
    if isinstance(release, SampledGaussian | SampledExamples):
        return release.noise_multiplier
    return release.scale if isinstance(release, SampledLaplace) else math.inf


def noiseless(merged: Merged) -> bool:
    """Whether one of the releases has so little noise that ε counts as infinite."""
    return any(_noise(release) < LEAST_NOISE for release, _ in merged)


def check_noise(name: str, value: float) -> None:
    """Refuse what is negative or not finite."""
    if not (value >= 0 and math.isfinite(value)):
        raise ConfigError(f"{name} is {value}", allowed="a finite number of 0 or more")


def check_multiplier(value: float) -> None:
    """Refuse what is not positive or not finite."""
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"a noise multiplier is {value}", allowed="a positive finite number")


def check_probability(value: float) -> None:
    """Refuse what is outside (0, 1]."""
    if not 0 < value <= 1:
        raise ConfigError(
            f"sampling_probability is {value}",
            allowed="above 0, and at most 1",
            remedy="Write 1 where every unit takes part",
        )


def check_delta(delta: float) -> None:
    """Refuse what is outside (0, 1)."""
    if not 0 < delta < 1:
        raise ConfigError(
            f"delta is {delta}",
            allowed="between 0 and 1, both excluded",
            remedy="Choose it well below one over the number of units",
        )


def check_target(epsilon: float) -> None:
    """Refuse what is not positive or not finite."""
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise ConfigError(f"the target ε is {epsilon}", allowed="a positive finite number")
