"""What noise on an integer grid costs beyond what the accountant knows, and ε with it included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite, sqrt

from sottovoce.privacy import accounting, gaussian
from sottovoce.privacy.accounting import Epsilon, Release, SampledExamples, SampledGaussian
from sottovoce.privacy.gaussian import GridCost
from sottovoce.privacy.releases import merge
from sottovoce.privacy.renyi import epsilon_by_rdp

MOST_ENTRIES = 2**24
"""Of a vector, where nobody remembers how many it had."""


def epsilon(spent: Sequence[tuple[Release, int]], delta: float, cost: GridCost) -> Epsilon:
    """ε of these releases, with what the grid and the sampler cost.

    Args:
        spent: releases, and how often each was made. Public.
        delta: δ of the claim, out of which the cost is paid. Public.
        cost: of all of them together. Public.

    Returns:
        Infinite where the cost alone exceeds ``delta``.
    """
    ideal = accounting.epsilon(spent, delta)
    if not (cost.ratio or cost.outside) or not isfinite(ideal.epsilon):
        return ideal
    left = cost.delta_left(delta, ideal.epsilon + 1.0)
    if not left > 0:
        return replace(ideal, epsilon=inf, epsilon_rdp=inf)
    found = accounting.epsilon(spent, left)
    return replace(
        found,
        epsilon=found.epsilon + cost.epsilon,
        epsilon_rdp=found.epsilon_rdp + cost.epsilon,
    )


def by_rdp(spent: Sequence[tuple[Release, int]], delta: float) -> float:
    """ε by Rényi divergences alone, without the grid: never below the accountant's, and at once."""
    return epsilon_by_rdp(merge(spent), delta)


def of_vectors(noise_multiplier: float, size: int, releases: int) -> GridCost:
    """What the grid costs, from the least noise in steps that any clip norm gives.

    Args:
        noise_multiplier: on a whole release, so at most that on its vector. Public.
        size: entries of the vector; 0 where no vector is at hand, which costs nothing. Public.
        releases: how many. Public.
    """
    if not size:
        return GridCost(0.0, 0.0)
    noise_std = noise_multiplier * 2.0**gaussian.GRID_BITS * sqrt(size)
    return gaussian.grid_cost(noise_std, size + 2, releases)


def at_most(noise_multiplier: float, releases: int) -> GridCost:
    """What the grid costs whatever the size of the vector, up to ``MOST_ENTRIES``.

    The shortest vector has the coarsest grid for its noise, the longest takes the most draws.

    >>> whole = at_most(1.0, 10)
    >>> all(
    ...     one.ratio <= whole.ratio and one.outside <= whole.outside
    ...     for one in (of_vectors(1.0, size, 10) for size in (1, 7, 3000, 2**24))
    ... )
    True
    """
    shortest, longest = (of_vectors(noise_multiplier, n, releases) for n in (1, MOST_ENTRIES))
    return GridCost(shortest.ratio, longest.outside)


def least_multiplier(spent: Sequence[tuple[Release, int]], otherwise: float) -> float:
    """The least noise of these releases, or of the one that is given, if that is less."""
    found = (
        release.noise_multiplier
        for release, times in spent
        if times and isinstance(release, SampledGaussian | SampledExamples)
    )
    return min((otherwise, *found))
