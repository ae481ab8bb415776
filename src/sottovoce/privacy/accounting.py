"""What noisy releases cost: ε at a δ, the noise for a target ε, the releases a budget allows.

Everywhere here, two data sets are neighbours when one has one unit more (add or remove one), and
noise is given over the sensitivity: over what one unit can move the sum by.

Two accountants. The privacy loss distribution (PLD) is exact up to a rounding that only ever
raises ε; it is dp_accounting's, and for plain Gaussians its closed form. Rényi differential privacy
(RDP) is computed in ``renyi``, from the definition, and is the second opinion. Both are upper bounds, and
the reported ε is the smaller one. The PLD is left out where it does not exist (``Concentrated``
and ``Renyi`` state a Rényi divergence and nothing else), and where its grid would be too large:
see ``_interval``. Importing dp_accounting takes about a second, so it waits for the first use.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from sottovoce.errors import ConfigError
from sottovoce.privacy.releases import (
    LEAST_NOISE,
    Concentrated,
    Merged,
    Release,
    Renyi,
    Sampled,
    SampledExamples,
    SampledGaussian,
    SampledLaplace,
    Spent,
    check_delta,
    check_noise,
    check_target,
    combined_multiplier,
    merge,
    noiseless,
    rest_multiplier,
    without_amplification,
)
from sottovoce.privacy.renyi import amplified, curve_of_all, epsilon_by_rdp, log_ratio

__all__ = [
    "Concentrated",
    "Epsilon",
    "Release",
    "Renyi",
    "SampledExamples",
    "SampledGaussian",
    "SampledLaplace",
    "Spent",
    "classic_epsilon",
    "combined_multiplier",
    "delta_at",
    "epsilon",
    "noise_for",
    "rest_multiplier",
    "steps_within",
    "without_amplification",
]

MOST_EPSILON = 500.0
"""Above this ε by RDP is not sharpened further: it is no protection, whatever the digits say."""
LEAST_SPAN = 1e-6
"""A release whose losses span less than this is left to RDP; dp_accounting cannot place them."""
MOST_KINDS = 16
"""More kinds of sampled releases than this are composed by RDP alone; each has a grid of its own."""
MOST_NOISE = 1e9
"""The largest noise multiplier that a calibration tries."""
MOST_STEPS = 10**12
"""The largest number of releases that ``steps_within`` counts to."""


@dataclass(frozen=True)
class Epsilon:
    """The privacy that was spent. Public.

    Args:
        epsilon: what is reported, the smaller of both accountants' bounds; may be infinite.
        epsilon_rdp: the second opinion, by RDP.
        accountant: which of the two ``epsilon`` comes from.
    """

    epsilon: float
    epsilon_rdp: float
    accountant: Literal["pld", "rdp"]


def epsilon(spent: Spent, delta: float) -> Epsilon:
    """Return ε of everything in ``spent`` together, at the given δ.

    PLD: Doroshenko et al. 2022. Plain Gaussians: Balle and Wang 2018, theorem 8.
    RDP: Mironov et al. 2019, section 3; conversion: Canonne et al. 2020, proposition 12.

    Args:
        spent: the releases and how often each was made. Public.
        delta: the probability with which the promise may fail; in (0, 1). Public.

    Returns:
        The reported ε, the second opinion, and the accountant of the reported one.

    Guarantees:
        - more noise, fewer releases or a smaller sampling probability never raise ε, but for the
          rounding of the PLD (below 0.1 % at the tested settings);
        - the order in which releases stand in ``spent`` does not change a bit;
        - no release costs nothing, and no noise costs infinitely much.

    Raises:
        ConfigError: ``delta`` outside (0, 1), or a count that is negative or not whole.

    >>> spent = [(SampledGaussian(1.3, sampling_probability=0.0025), 6000)]
    >>> e = epsilon(spent, 1e-5)
    >>> f"{e.epsilon:.3f} by {e.accountant}, {e.epsilon_rdp:.3f} by rdp"
    '0.640 by pld, 0.724 by rdp'
    """
    check_delta(delta)
    return _epsilon(merge(spent), delta)


def delta_at(spent: Spent, epsilon: float) -> float:
    """Return the δ at which everything in ``spent`` together is (ε, δ)-private.

    Args:
        spent: the releases and how often each was made. Public.
        epsilon: 0 or more. Public.

    Returns:
        The smaller of both accountants' bounds, in [0, 1].

    Raises:
        ConfigError: ``epsilon`` is negative or not finite, or a count is negative or not whole.
    """
    check_noise("epsilon", epsilon)
    merged = merge(spent)
    if not merged:
        return 0.0
    if noiseless(merged):
        return 1.0
    orders, curve = curve_of_all(merged)
    logs = (orders - 1) * (curve - epsilon + np.log1p(-1 / orders)) - np.log(orders)
    by_rdp = math.exp(min(0.0, float(logs.min())))
    multiplier = _plain_multiplier(merged)
    if multiplier is not None:
        return min(by_rdp, _gaussian_delta(multiplier, epsilon))
    interval = _interval(merged)
    if interval is None:
        return by_rdp
    return min(by_rdp, float(_distribution(merged, interval).get_delta_for_epsilon(epsilon)))


def classic_epsilon(spent: Spent, delta: float) -> float:
    """Return ε by RDP as papers before 2020 report it; for comparison with them alone.

        min over α of RDP(α) + log(1/δ) / (α - 1)

    Mironov 2017, proposition 3.

    Args:
        spent: the releases and how often each was made. Public.
        delta: in (0, 1). Public.

    Raises:
        ConfigError: as ``epsilon``.
    """
    check_delta(delta)
    merged = merge(spent)
    if not merged or noiseless(merged):
        return math.inf if merged else 0.0
    orders, curve = curve_of_all(merged)
    return float((curve - math.log(delta) / (orders - 1)).min())


def noise_for(releases: Callable[[float], Spent], epsilon: float, delta: float) -> float:
    """Return the least noise multiplier whose releases stay within (ε, δ).

    Args:
        releases: what is released at a given noise multiplier. ε must fall as that grows.
        epsilon: the target, positive. Public.
        delta: in (0, 1). Public.

    Returns:
        A multiplier, rounded up.

    Guarantees:
        - the reported ε of ``releases`` at the result is at most the target;
        - and at least 0.999 of it, unless ``LEAST_NOISE`` suffices.

    Raises:
        ConfigError: a target that is not positive and finite, or that no noise can reach.

    >>> round(noise_for(lambda z: [(SampledGaussian(z), 50)], 8.0, 1e-5), 2)
    4.24
    """
    check_target(epsilon)
    check_delta(delta)

    def cost(multiplier: float) -> float:
        return _epsilon(merge(releases(multiplier)), delta).epsilon

    low, high = 0.0, math.inf
    multiplier, slope = 1.0, -1.0
    before: tuple[float, float] | None = None
    for turn in itertools.count(1):
        spent = cost(multiplier)
        if spent <= epsilon:
            high = multiplier
            if spent >= 0.9999 * epsilon or high <= low * (1 + 1e-9):
                return high
        else:
            low = multiplier
        # On logarithmic scales ε is almost a straight line, and the last two points give it.
        if before is not None and 0 < spent < math.inf and 0 < before[1] < math.inf:
            slope = math.log(spent / before[1]) / math.log(multiplier / before[0])
            slope = min(-0.05, max(-20.0, slope))
        before = multiplier, spent
        gap = math.log(0.99995 * epsilon) - math.log(min(1e300, max(1e-300, spent)))
        multiplier *= math.exp(min(4.0, max(-3.0, gap / slope)))
        if 0 < low < high < math.inf and (turn % 6 == 0 or not low < multiplier < high):
            multiplier = math.sqrt(low * high)
        if multiplier < LEAST_NOISE:
            return high
        if multiplier > MOST_NOISE:
            raise ConfigError(
                f"ε = {epsilon} at δ = {delta} cannot be reached: the releases that this noise"
                f" does not enter spend ε = {spent:.4g}",
                allowed=f"a target above {spent:.4g}",
                remedy="Raise epsilon or delta, or make fewer of those releases",
            )
    return high


def steps_within(release: Release, epsilon: float, delta: float, *, spent: Spent = ()) -> int:
    """Return how many times more a release fits into a budget.

    Args:
        release: what would be released. Public.
        epsilon: the budget's, positive. Public.
        delta: the budget's, in (0, 1). Public.
        spent: what has been released before. Public.

    Guarantees:
        - with that many releases more the reported ε is at most the budget's;
        - with one more it is above, unless ``MOST_STEPS`` are returned.

    Edge cases: 0 when none fits, and when ``spent`` is over the budget already.

    Raises:
        ConfigError: a budget that is not positive and finite, or a ``delta`` outside (0, 1).

    >>> steps_within(SampledGaussian(4.0), 8.0, 1e-5)
    44
    """
    check_target(epsilon)
    check_delta(delta)

    def over(steps: int) -> float:
        """Return ε over its budget by RDP, which takes no time and is never below the reported."""
        return epsilon_by_rdp(merge([*spent, (release, steps)]), delta) / epsilon

    def cost(steps: int) -> float:
        return _epsilon(merge([*spent, (release, steps)]), delta).epsilon / epsilon

    low = _most(over, 0, 1) if over(1) <= 1 else 0
    if low == 0 and cost(1) > 1:
        return 0
    return _most(cost, max(1, low), max(2, low + low // 4))


def _most(cost: Callable[[int], float], low: int, high: int) -> int:
    """Return the most steps that cost at most 1, where ``low`` steps are known to."""
    at_low = cost(low)
    while (at_high := cost(high)) <= 1:
        if high >= MOST_STEPS:
            return MOST_STEPS
        low, at_low = high, at_high
        high = min(MOST_STEPS, 2 * high)
    turn = 0
    while high > low + 1:
        share = _share(at_low, 1.0, at_high) if turn % 3 < 2 and low else 0.5
        guess = round(low * (high / low) ** share) if low else high // 2
        guess = min(high - 1, max(low + 1, guess))
        if (at_guess := cost(guess)) <= 1:
            low, at_low = guess, at_guess
        else:
            high, at_high = guess, at_guess
        turn += 1
    return low


def _share(start: float, target: float, end: float) -> float:
    """Return how far from ``start`` to ``end`` the target lies, on a logarithmic scale."""
    if not (0 < start < math.inf and 0 < end < math.inf) or start == end:
        return 0.5
    share = math.log(target / start) / math.log(end / start)
    # A little beyond the straight line, so that both ends of the bracket move.
    return min(0.999, max(0.001, share + (0.002 if end < start else 0.0)))


@lru_cache(maxsize=512)
def _epsilon(merged: Merged, delta: float) -> Epsilon:
    if not merged:
        return Epsilon(0.0, 0.0, "pld")
    by_rdp = epsilon_by_rdp(merged, delta)
    if by_rdp > MOST_EPSILON:
        return Epsilon(by_rdp, by_rdp, "rdp")
    multiplier = _plain_multiplier(merged)
    if multiplier is not None:
        by_pld = _gaussian_epsilon(multiplier, delta)
    else:
        interval = _interval(merged)
        if interval is None:
            return Epsilon(by_rdp, by_rdp, "rdp")
        by_pld = float(_distribution(merged, interval).get_epsilon_for_delta(delta))
    if by_pld <= by_rdp:
        return Epsilon(by_pld, by_rdp, "pld")
    return Epsilon(by_rdp, by_rdp, "rdp")


def _plain_multiplier(merged: Merged) -> float | None:
    """Return the noise multiplier of the one Gaussian that unsampled Gaussians amount to."""
    inverses = []
    for release, count in merged:
        if not isinstance(release, SampledGaussian) or release.sampling_probability < 1:
            return None
        inverses.append(math.sqrt(count) / release.noise_multiplier)
    return 1 / math.hypot(*inverses)


def _gaussian_epsilon(multiplier: float, delta: float) -> float:
    from dp_accounting import get_epsilon_gaussian

    with np.errstate(divide="ignore"):  # With very much noise it takes the logarithm of a δ of 0.
        return float(get_epsilon_gaussian(multiplier, delta))


def _gaussian_delta(multiplier: float, epsilon: float) -> float:
    """Balle and Wang 2018, theorem 8: Φ(μ/2 - ε/μ) - e^ε·Φ(-μ/2 - ε/μ), where μ is 1/z."""
    near = math.erfc((epsilon * multiplier - 0.5 / multiplier) / math.sqrt(2)) / 2
    far = math.erfc((epsilon * multiplier + 0.5 / multiplier) / math.sqrt(2)) / 2
    # Where e^ε overflows, the bound without the second term is just as good.
    return near - math.exp(epsilon) * far if epsilon < 700 else near


def _interval(merged: Merged) -> float | None:
    """Choose the step of the grid of privacy losses, or None where the PLD is not attempted.

    10^-4, or finer where one release's losses span less than 2,000 such steps, because their
    rounding adds up over many releases. Coarser where the grid of one release would exceed 250,000
    points (15,000 for a mixture, whose points cost a hundred times more) or that of all releases
    two million. So that no setting takes more than a few seconds or a gigabyte, the PLD is not
    attempted where the losses of all releases together exceed twice ``MOST_EPSILON``; where the
    step would exceed 10^-2; where a release's losses span less than ``LEAST_SPAN``; for a unit
    with more than 1,000 examples; for more than ``MOST_KINDS`` kinds of sampled releases, of which
    a mixture counts eightfold; and where a release is made more than 100,000 times but spans less
    than 1,000 steps, which RDP states better.
    ``Concentrated`` and ``Renyi`` have no PLD.
    """
    orders, curve = curve_of_all(merged)
    # All losses but for a probability of 10^-15 lie below this, by Markov's inequality.
    reach = float((curve + 34.5 / (orders - 1)).min())
    if reach > 2 * MOST_EPSILON:
        return None
    preferred, needed = 1e-4, reach / 2e6
    often, kinds = math.inf, 0
    for release, count in merged:
        if isinstance(release, Concentrated | Renyi):
            return None
        if isinstance(release, SampledExamples) and release.examples_per_unit > 1000:
            return None
        if release.sampling_probability == 1 and isinstance(release, SampledGaussian):
            continue  # These become one Gaussian in ``_distribution``, so that nothing adds up.
        kinds += 8 if isinstance(release, SampledExamples) else 1
        span = _span(release)
        if span < LEAST_SPAN or kinds > MOST_KINDS:
            return None
        needed = max(needed, span / (15_000 if isinstance(release, SampledExamples) else 250_000))
        if count > 1:
            preferred = min(preferred, span / 2000)
        if count > 100_000:
            often = min(often, span)
    interval = _rounded_up(max(preferred, needed))
    return None if interval > min(1e-2, often / 1000) else interval


def _span(release: Sampled) -> float:
    """Return how far apart the losses of one release lie, but for a probability of e^-50."""
    if isinstance(release, SampledLaplace):
        return amplified(1 / release.scale, release.sampling_probability) + 1 / release.scale
    units = release.examples_per_unit if isinstance(release, SampledExamples) else 1
    far = 10 + units / release.noise_multiplier
    x = np.linspace(-far, far, 2001)
    losses = log_ratio(x, release.noise_multiplier, release.sampling_probability, units)
    return float(losses[losses - x**2 / 2 > -50].max() - losses[0])


def _rounded_up(value: float) -> float:
    """Return the next of 1, 2 and 5 times a power of ten, so that cached grids are met again."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= value * (1 - 1e-9))


@lru_cache(maxsize=2)  # ε is asked at two values of δ: without and with what a grid takes of it.
def _distribution(merged: Merged, interval: float) -> Any:
    """Return dp_accounting's privacy loss distribution of all releases together."""
    composed = None
    plain: list[tuple[Release, int]] = []
    for release, count in merged:
        if isinstance(release, Concentrated | Renyi):
            raise ConfigError(f"{release} has no privacy loss distribution")
        if isinstance(release, SampledGaussian) and release.sampling_probability == 1:
            plain.append((release, count))
            continue
        part = _distribution_of(release, interval).self_compose(count)
        composed = part if composed is None else composed.compose(part)
    multiplier = _plain_multiplier(tuple(plain)) if plain else None
    if multiplier is None:
        return composed
    part = _distribution_of(SampledGaussian(multiplier), interval)
    return part if composed is None else composed.compose(part)


@lru_cache(maxsize=8)
def _distribution_of(release: Sampled, interval: float) -> Any:
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import privacy_loss_distribution as pld

    grid = {"value_discretization_interval": interval, "pessimistic_estimate": True}
    match release:
        case SampledGaussian(noise, probability):
            return pld.from_gaussian_mechanism(
                noise,
                sampling_prob=probability,
                neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
                **grid,
            )
        case SampledExamples(noise, q, units):
            counts = range(units + 1)
            weights = [math.comb(units, k) * q**k * (1 - q) ** (units - k) for k in counts]
            return pld.from_mixture_gaussian_mechanism(noise, list(counts), weights, **grid)
        case SampledLaplace(scale, probability):
            return pld.from_laplace_mechanism(scale, sampling_prob=probability, **grid)
