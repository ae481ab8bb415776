"""The one value in which sampling, clipping, weights, noise and accounting meet.

A release is one noisy sum over units. Every unit x in it was drawn by itself with probability q,
and contributes

    v(x) = [ clip(x, C) ,  s_b · (b(x) - 1/2) ,  s_l · (loss(x) - L/2) ]

where the second entry, whether x was within the norm, is there for an adaptive norm, and the third
where losses are released. The factors s are chosen so that one standard deviation σ of noise fits
all entries; the norm of v is at most Δ, and σ = z · Δ. So all of a release is one Gaussian at the
noise multiplier z, and nobody ever states a sensitivity.

Everything is an integer multiple of a grid, so a sum does not depend on its order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ConfigError
from sottovoce.privacy import accounting, costs, gaussian
from sottovoce.privacy.accounting import Epsilon, Release, SampledExamples, SampledGaussian
from sottovoce.privacy.gaussian import GridCost
from sottovoce.privacy.settings import AdaptiveClip, PrivacySettings, Unit
from sottovoce.privacy.shares import Shares
from sottovoce.rng import Source

Memory = Mapping[str, NDArray[np.float32]]
"""What outlives a release where the clip norm moves."""

LEAST_MULTIPLIER = 0.01
"""A smaller noise multiplier hides nothing."""

ROUNDING = 2.0**-30
"""By how much, relatively, a norm summed in float64 over up to 2^24 entries can be too small."""


@dataclass(frozen=True)
class PrivacyPlan:
    """How the contribution of one unit is bounded, hidden and accounted for. Public.

    Made by ``make_plan``. Under the units ``owner`` and ``example`` every client has its own.

    Args:
        unit: what is hidden: all of one client, or all of one owner or example at one client.
        units: how many there are, n; taken as public.
        expected_units: how many a release reads in the mean, q·n; sums are divided by it.
        releases: the most releases that the run makes in which one unit can be.
        noise_multiplier: z: the noise's standard deviation over the norm of one contribution.
        delta: δ of every statement about ε.
        clip_norm: the bound C on a contribution, or how it follows a quantile.
        size: entries of the vector that is released; 0 where no vector is at hand, and then
            nothing is said of the grid.
        loss_noise_multiplier: noise on the mean loss over half its range; None releases none.
        loss_bound: losses are clipped to [0, L].
        target: the ε that was asked for; None where the noise was.
        shares: how clients add the noise under a secure sum, so that σ = z · C and nothing is
            amplified; None where one party adds it.
    """

    unit: Unit
    units: int
    expected_units: float
    releases: int
    noise_multiplier: float
    delta: float
    clip_norm: float | AdaptiveClip = 1.0
    size: int = 0
    loss_noise_multiplier: float | None = None
    loss_bound: float = 10.0
    target: float | None = None
    shares: Shares | None = None

    @property
    def sampling_probability(self) -> float:
        """With what probability a unit is in a release, q."""
        return min(1.0, self.expected_units / self.units)

    @property
    def release(self) -> Release:
        """What one release costs."""
        if self.shares is not None:
            return self.shares.release
        return SampledGaussian(self.noise_multiplier, self.sampling_probability)

    def release_for(self, units: int) -> Release:
        """What one release costs somebody to whom so many units belong, each drawn by itself."""
        if self.shares is not None:
            return self.shares.moved_by(units).release
        return SampledExamples(self.noise_multiplier, self.sampling_probability, units)

    @property
    def first_clip_norm(self) -> float:
        """The clip norm of the first release."""
        return (
            self.clip_norm.initial if isinstance(self.clip_norm, AdaptiveClip) else self.clip_norm
        )

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on an entry of the first sum, in the vector's unit."""
        if self.shares is not None:
            return self.shares.noise_std
        used = grid(self, self.first_clip_norm)
        return used.noise_std * used.step

    @property
    def count_noise_std(self) -> float | None:
        """Noise on the number of units within the norm, in units; None with a fixed norm."""
        if not isinstance(self.clip_norm, AdaptiveClip):
            return None
        return self.clip_norm.count_noise_std or self.expected_units / 20

    @property
    def sum_noise_multiplier(self) -> float:
        """Noise on the sum of the vectors over the clip norm: what the scalars leave of z.

        Andrew et al. 2021, Theorem 1.
        """
        try:
            return accounting.rest_multiplier(self.noise_multiplier, self._scalar_multipliers())
        except ConfigError as error:
            raise ConfigError(
                f"the noise multiplier of a whole release is {self.noise_multiplier:g}, and that "
                f"of its scalars {', '.join(f'{z:g}' for z in self._scalar_multipliers())}: they "
                "alone cost more than the release may",
                remedy="Raise privacy.clip_norm.count_noise_std, which counts half, or "
                "privacy.loss_noise_multiplier",
            ) from error

    def _scalar_multipliers(self) -> list[float]:
        count = self.count_noise_std
        others = [] if count is None else [2 * count]
        return others + ([] if self.loss_noise_multiplier is None else [self.loss_noise_multiplier])

    def spent(self, releases: int) -> list[tuple[Release, int]]:
        """What so many releases cost, for the accountant."""
        return [(self.release, releases)] if releases else []

    def epsilon(self, releases: int | None = None) -> Epsilon:
        """ε at ``delta`` after so many releases; None takes all that are planned."""
        return epsilon_of(self.spent(self.releases if releases is None else releases), self)

    def affords(self, spent: int) -> int:
        """How many releases more stay within the target, after so many.

        Without a target nothing runs out: all that are planned can be made once more.

        Guarantees:
            - the planned number is afforded at the start, and no more;
            - a release that was drawn again counts twice.
        """
        return self.releases if self.target is None else max(0, self.releases - spent)

    def current_clip_norm(self, memory: Memory | None) -> float:
        """The clip norm of the release to come.

        Args:
            memory: what ``clip_norm_memory`` made of it after the release before; None before the
                first.
        """
        return self.first_clip_norm if memory is None else float(memory["clip_norm"][0])

    def next_clip_norm(self, clip_norm: float, share_within: float) -> float:
        """The clip norm after a release: C · exp(-η (b̃ - γ)), or C where it is fixed.

        Andrew et al. 2021, Algorithm 1.
        """
        if not isinstance(self.clip_norm, AdaptiveClip):
            return clip_norm
        moved = self.clip_norm.learning_rate * (share_within - self.clip_norm.quantile)
        return clip_norm * exp(-moved)


def clip_norm_memory(clip_norm: float) -> Memory:
    """A clip norm as tensors, to be kept with the state of whoever releases."""
    return {"clip_norm": np.array([clip_norm], np.float32)}


@dataclass(frozen=True)
class Grid:
    """The scale of one release: integers, what they stand for, and how much noise they get.

    Args:
        step: what the integer 1 stands for in the vector's unit.
        noise_std: standard deviation of the noise on every entry, in steps.
        within: steps that half a unit within the norm counts; 0 with a fixed norm.
        loss: steps of half the range of a loss; 0 where none is released.
    """

    step: float
    noise_std: float
    within: int
    loss: int


def grid(plan: PrivacyPlan, clip_norm: float) -> Grid:
    """The scale of a release at this clip norm.

    Guarantees:
        - a contribution's integers have a norm of at most noise_std / z, rounding included.
    """
    step = gaussian.grid_step(clip_norm, plan.size)
    # Rounding to the nearest step moves each entry by at most half of one.
    bound = clip_norm / step * (1 + ROUNDING) + sqrt(plan.size) / 2
    noise_std = plan.sum_noise_multiplier * bound
    count, loss = plan.count_noise_std, plan.loss_noise_multiplier
    # An entry of ±h steps has the multiplier noise_std / h; rounding h down leaves it more.
    within = 0 if count is None else int(noise_std / (2 * count))
    return Grid(step, noise_std, within, 0 if loss is None else int(noise_std / loss))


@dataclass(frozen=True)
class Released:
    """What everyone may know of a release.

    Args:
        mean: the noisy sum over the expected number of units, ``[D]``.
        loss: the noisy mean loss; None where none is released.
        clip_norm: that of the next release.
    """

    mean: NDArray[np.float32]
    loss: float | None
    clip_norm: float


class NoisySum:
    """One release under way: bounded contributions come in, one noisy mean goes out.

    Guarantees:
        - the order in which contributions come, and how many at a time, changes no bit;
        - without any contribution the release is noise alone;
        - it releases once.
    """

    def __init__(self, plan: PrivacyPlan, clip_norm: float) -> None:
        self.plan = plan
        self.clip_norm = clip_norm
        self.grid = grid(plan, clip_norm)
        self.zeroed = 0
        self._total = np.zeros(plan.size + 2, np.int64)
        self._released = False

    def add(
        self,
        steps: NDArray[np.int64],
        within: NDArray[np.bool_],
        losses: NDArray[np.float64],
        finite: NDArray[np.bool_],
    ) -> None:
        """Add the contributions of some units. All private.

        Args:
            steps: the sum of their clipped vectors on the grid, ``[D]``.
            within: whether each one's norm was within the clip norm, ``[E]``.
            losses: each one's loss, ``[E]``.
            finite: whether each one's vector was finite, ``[E]``; one that was not counts zero in
                every entry.
        """
        losses = np.where(np.isfinite(losses), losses, self.plan.loss_bound)
        half = self.plan.loss_bound / 2
        centred = np.clip(losses, 0, self.plan.loss_bound) / half - 1
        self._total[: self.plan.size] += steps
        self._total[-2] += self.grid.within * int(np.where(within, 1, -1)[finite].sum())
        self._total[-1] += int(np.rint(self.grid.loss * centred[finite]).astype(np.int64).sum())
        self.zeroed += int((~finite).sum())

    def release(self, source: Source) -> Released:
        """Add the noise and divide by the expected number of units.

        Args:
            source: where the noise comes from.

        Raises:
            RuntimeError: it was released before: the same sum with other noise is a second
                release, which nobody accounted for.
        """
        if self._released:
            raise RuntimeError("a sum is released once; make a new one for the next step")
        self._released = True
        plan, used = self.plan, self.grid
        noisy = gaussian.add_noise(self._total, used.noise_std, source)
        mean = noisy[: plan.size] * (used.step / plan.expected_units)
        share = 0.0
        if used.within:
            share = float(noisy[-2]) / (2 * used.within * plan.expected_units) + 0.5
        loss = None
        if used.loss:
            half = plan.loss_bound / 2
            loss = half * (float(noisy[-1]) / (used.loss * plan.expected_units) + 1)
        return Released(mean.astype(np.float32), loss, plan.next_clip_norm(self.clip_norm, share))


def make_plan(
    settings: PrivacySettings,
    *,
    units: int,
    expected_units: float,
    releases: int,
    size: int = 0,
    shares: Callable[[float], Shares] | None = None,
) -> PrivacyPlan:
    """Couple settings, sampling and rounds, and find the noise for a target ε.

    Args:
        settings: with a unit other than ``"none"``.
        units: how many units there are: clients of the federation, or owners or examples of one
            client.
        expected_units: how many a release reads in the mean; all, where this is more.
        releases: the most releases in which a unit can be.
        size: entries of the vector that is released.
        shares: how clients would add a noise of this standard deviation under a secure sum; None
            where one party adds it.

    Guarantees:
        - ε of all planned releases is at most ``settings.epsilon``, where that is given.

    Raises:
        ConfigError: δ is not below 1 / units, or no noise reaches the target.
    """
    if settings.unit == "none" or settings.delta is None or settings.clip_norm is None:
        raise ConfigError(
            'a plan was asked for without a unit: privacy.unit is "none"',
            allowed="client, owner or example",
        )
    if units < 1 or not expected_units > 0 or releases < 0:
        raise ConfigError(
            f"a plan over {units} units, {expected_units:g} in a release, {releases} releases",
            allowed="at least one unit, and more than none in a release",
        )
    if not settings.delta * units < 1:
        raise ConfigError(
            f"privacy.delta is {settings.delta:g} with {units} {settings.unit}s: one of them may "
            "be published whole and the promise still kept",
            allowed=f"below 1/{units} = {1 / units:.2g}",
            remedy="Lower privacy.delta; a tenth of that is common",
        )
    plan = PrivacyPlan(
        unit=settings.unit,
        units=units,
        expected_units=float(min(expected_units, units)),
        releases=releases,
        # Where nothing is released any noise will do.
        noise_multiplier=settings.noise_multiplier or 1.0,
        delta=settings.delta,
        clip_norm=settings.clip_norm,
        size=size,
        loss_noise_multiplier=settings.loss_noise_multiplier,
        loss_bound=settings.loss_bound,
        target=settings.epsilon,
    )

    def at(noise_multiplier: float) -> PrivacyPlan:
        noise_std = noise_multiplier * plan.first_clip_norm
        shared = None if shares is None else shares(noise_std)
        return replace(plan, noise_multiplier=noise_multiplier, shares=shared)

    found = at(plan.noise_multiplier)
    if settings.epsilon is not None and releases:
        found = at(_noise_for(found, settings.epsilon, at))
    _require_noise(found)
    return found


def _noise_for(plan: PrivacyPlan, target: float, at: Callable[[float], PrivacyPlan]) -> float:
    """The least noise multiplier at which all planned releases stay within the target."""
    # The cost at the least noise there is bounds the cost at the noise that is found.
    cost = cost_of(plan.spent(plan.releases), replace(plan, noise_multiplier=LEAST_MULTIPLIER))
    delta = cost.delta_left(plan.delta, target + 1.0)
    if not delta > 0:
        raise ConfigError(
            f"privacy.epsilon is {target:g}, more than noise on a grid can be accounted for, and "
            "more than hides anything",
            remedy='Lower it, 10 is already much, or write unit = "none"',
        )
    try:
        return accounting.noise_for(
            lambda z: [(at(z).release, plan.releases)], target - cost.epsilon, delta
        )
    except ConfigError as error:
        raise ConfigError(
            f"privacy.epsilon = {target:g} at delta = {plan.delta:g} cannot be reached in "
            f"{plan.releases} releases over {plan.units} {plan.unit}s: {error.seen}",
            remedy="Raise privacy.epsilon, or take fewer rounds or steps",
        ) from error


def _require_noise(plan: PrivacyPlan) -> None:
    if not plan.noise_multiplier >= LEAST_MULTIPLIER:
        raise ConfigError(
            f"the noise multiplier is {plan.noise_multiplier:g}, which hides nothing",
            allowed=f"at least {LEAST_MULTIPLIER:g}",
            remedy='Raise privacy.noise_multiplier, or write unit = "none"',
        )
    count = plan.count_noise_std
    if count is not None and count > plan.expected_units:
        raise ConfigError(
            f"privacy.clip_norm.count_noise_std is {count:g}, and a release reads "
            f"{plan.expected_units:g} {plan.unit}s in the mean",
            allowed=f"at most {plan.expected_units:g}, else the count is all noise",
        )
    # Raises where the scalars alone cost more than the whole release may.
    _ = plan.sum_noise_multiplier


def epsilon_of(
    spent: Sequence[tuple[Release, int]], plan: PrivacyPlan, *, cost: GridCost | None = None
) -> Epsilon:
    """ε of these releases at the plan's δ, what the integer grid costs included.

    Args:
        spent: releases, and how often each was made.
        plan: gives δ.
        cost: of the grid and the sampler, where not all releases are like the plan's; None takes
            ``cost_of``.
    """
    return costs.epsilon(spent, plan.delta, cost_of(spent, plan) if cost is None else cost)


def cost_of(spent: Sequence[tuple[Release, int]], plan: PrivacyPlan) -> GridCost:
    """What the grid and the sampler cost in these releases of vectors like the plan's."""
    count = sum(times for _, times in spent)
    if plan.shares is not None:
        # The accountant knows the integers; what it does not know is how exact the draws are.
        return GridCost(0.0, plan.shares.outside(count))
    return costs.of_vectors(costs.least_multiplier(spent, plan.noise_multiplier), plan.size, count)
