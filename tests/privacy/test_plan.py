"""The plan: what one unit moves, how much noise covers it, what it costs, and what is refused.

The sensitivity is judged by building two inputs that differ in one unit and looking at the integer
sums before the noise; nothing here trusts a formula of the plan but the noise that it adds.
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from sottovoce.errors import ConfigError
from sottovoce.privacy import accounting, gaussian, sampler
from sottovoce.privacy.bound import bound
from sottovoce.privacy.clip import clip_and_sum
from sottovoce.privacy.costs import of_vectors
from sottovoce.privacy.plan import (
    NoisySum,
    PrivacyPlan,
    Released,
    cost_of,
    epsilon_of,
    grid,
    make_plan,
)
from sottovoce.privacy.settings import AdaptiveClip, PrivacySettings
from sottovoce.privacy.shares import Lattice, Shares
from sottovoce.privacy.statement import statement
from sottovoce.rng import Source, seeded_source

Rows = NDArray[np.float32]
CLIP_NORMS = st.floats(-6, 6).map(lambda power: 10.0**power)


def plan_of(**changes: Any) -> PrivacyPlan:
    facts: dict[str, Any] = {
        "unit": "example",
        "units": 100,
        "expected_units": 10.0,
        "releases": 5,
        "noise_multiplier": 1.0,
        "delta": 1e-4,
        "size": 4,
    }
    return PrivacyPlan(**{**facts, **changes})


@st.composite
def plans(draw: st.DrawFn, size: int) -> PrivacyPlan:
    """Plans with a fixed or a moving norm, with and without losses, whose parts fit together."""
    clip_norm: float | AdaptiveClip = draw(CLIP_NORMS)
    multiplier = draw(st.floats(0.05, 20))
    units = draw(st.integers(1, 1000))
    if draw(st.booleans()):
        count = multiplier * draw(st.floats(0.8, 100))
        clip_norm = AdaptiveClip(initial=clip_norm, count_noise_std=count)
    loss = multiplier * draw(st.floats(1.7, 1e4)) if draw(st.booleans()) else None
    return plan_of(
        units=units,
        expected_units=units * draw(st.floats(0.01, 1)),
        noise_multiplier=multiplier,
        clip_norm=clip_norm,
        size=size,
        loss_noise_multiplier=loss,
        loss_bound=draw(st.floats(1e-3, 1e3)),
    )


ENTRIES = st.one_of(
    st.floats(-1e3, 1e3, width=32),
    st.sampled_from([0.0, 1e-30, 3e38, -3e38, math.nan, math.inf]),
)
LOSSES = st.one_of(st.floats(0, 50), st.sampled_from([-1.0, 1e9, math.nan, math.inf, -math.inf]))


@st.composite
def rounds(draw: st.DrawFn) -> tuple[PrivacyPlan, Rows, NDArray[np.float64]]:
    size, count = draw(st.integers(1, 30)), draw(st.integers(1, 6))
    plan = draw(plans(size))
    rows = draw(arrays.arrays(np.float32, (count, size), elements=ENTRIES))
    losses = draw(arrays.arrays(np.float64, count, elements=LOSSES))
    return plan, rows, losses


def add(total: NoisySum, rows: Rows, losses: NDArray[np.float64]) -> None:
    clipped = clip_and_sum(torch.from_numpy(rows), total.clip_norm, total.grid.step)
    total.add(
        clipped.total.numpy(),
        (clipped.norms <= total.clip_norm).numpy(),
        losses,
        clipped.finite.numpy(),
    )


def released_before_noise(
    plan: PrivacyPlan, clip_norm: float, rows: Rows, losses: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The integers of a release as they are before the noise, seen where the noise is added."""
    seen: list[NDArray[np.int64]] = []

    def keep(total: NDArray[np.int64], std: float, source: Source) -> NDArray[np.int64]:
        seen.append(total.copy())
        return total

    total = NoisySum(plan, clip_norm)
    add(total, rows, losses)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", keep)
        total.release(seeded_source(0))
    assert len(seen) == 1, "noise is added once"
    return seen[0]


def covered(moved: NDArray[np.int64], plan: PrivacyPlan, clip_norm: float) -> bool:
    """Whether the noise is at least z times what the sum moved by; exact but for a hair."""
    square = sum(entry**2 for entry in moved.tolist())
    allowed = Fraction(grid(plan, clip_norm).noise_std) / Fraction(plan.noise_multiplier)
    return square <= allowed**2 * (1 + Fraction(1, 10**12))


@settings(deadline=None, max_examples=100)
@given(rounds(), CLIP_NORMS, st.data())
def test_one_unit_moves_the_release_by_its_own_integers_and_no_more_than_is_covered(
    drawn: tuple[PrivacyPlan, Rows, NDArray[np.float64]], moved_norm: float, data: st.DataObject
) -> None:
    plan, rows, losses = drawn
    clip_norm = data.draw(st.sampled_from([plan.first_clip_norm, moved_norm]))
    gone = data.draw(st.integers(0, len(rows) - 1))
    rest = np.delete(rows, gone, 0), np.delete(losses, gone)
    with_it = released_before_noise(plan, clip_norm, rows, losses)
    without = released_before_noise(plan, clip_norm, *rest)
    one = slice(gone, gone + 1)
    alone = released_before_noise(plan, clip_norm, rows[one], losses[one])
    moved = with_it - without
    assert moved.tolist() == alone.tolist()
    assert covered(moved, plan, clip_norm)
    if not np.isfinite(rows[gone]).all():
        assert not moved.any()


@pytest.mark.parametrize("size", [1, 2, 1000, 100_003])
@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("loss", [None, 20.0])
def test_the_worst_unit_is_covered_and_not_by_much(
    size: int, adaptive: bool, loss: float | None
) -> None:
    """Clipped in full, within the norm, with the largest loss: z is what the noise is worth."""
    plan = plan_of(
        size=size,
        clip_norm=AdaptiveClip(initial=0.3, count_noise_std=4.0) if adaptive else 0.3,
        loss_noise_multiplier=loss,
    )
    row = np.random.default_rng(size).normal(size=(1, size)).astype(np.float32)
    # Just within, so that the entry of the norm is there too.
    row *= np.float32(0.3 * (1 - 1e-6) / np.linalg.norm(row.astype(np.float64)))
    moved = released_before_noise(plan, 0.3, row, np.array([99.0]))
    assert covered(moved, plan, 0.3)
    norm = math.sqrt(sum(entry**2 for entry in moved.tolist()))
    assert grid(plan, 0.3).noise_std / norm == pytest.approx(plan.noise_multiplier, rel=1e-4)
    assert bool(moved[-2]) == adaptive
    assert bool(moved[-1]) == (loss is not None)


@settings(deadline=None, max_examples=50)
@given(rounds(), st.data())
def test_order_and_splitting_change_no_bit_of_the_release(
    drawn: tuple[PrivacyPlan, Rows, NDArray[np.float64]], data: st.DataObject
) -> None:
    plan, rows, losses = drawn
    order = data.draw(st.permutations(range(len(rows))))
    one, other = (NoisySum(plan, plan.first_clip_norm) for _ in range(2))
    add(one, rows, losses)
    for place in order:
        add(other, rows[[place]], losses[[place]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", lambda total, *_: total)
        first, second = (total.release(seeded_source(1)) for total in (one, other))
    assert first.mean.tobytes() == second.mean.tobytes()
    assert (first.loss, first.clip_norm) == (second.loss, second.clip_norm)
    assert one.zeroed == other.zeroed == int((~np.isfinite(rows)).any(1).sum())


@settings(deadline=None, max_examples=50)
@given(rounds())
def test_a_client_that_bounds_alone_sends_what_the_sum_of_many_adds(
    drawn: tuple[PrivacyPlan, Rows, NDArray[np.float64]],
) -> None:
    plan, rows, losses = drawn
    clip_norm = plan.first_clip_norm
    together, apart = (NoisySum(plan, clip_norm) for _ in range(2))
    add(together, rows, losses)
    for row, loss in zip(rows, losses, strict=True):
        one = bound(row, clip_norm, apart.grid.step)
        within = np.array([one.norm <= clip_norm])
        apart.add(one.steps, within, np.array([loss]), np.array([one.finite]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", lambda total, *_: total)
        released = [total.release(seeded_source(1)) for total in (together, apart)]
    assert released[0].mean.tobytes() == released[1].mean.tobytes()
    assert dataclasses.replace(released[0], mean=released[1].mean) == released[1]


def without_noise(
    plan: PrivacyPlan, rows: Rows, losses: NDArray[np.float64] | None = None
) -> Released:
    total = NoisySum(plan, plan.first_clip_norm)
    if len(rows):
        add(total, rows, np.zeros(len(rows)) if losses is None else losses)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", lambda total, *_: total)
        return total.release(seeded_source(1))


def test_the_sum_is_divided_by_the_expected_number_and_not_by_those_who_came() -> None:
    plan = plan_of(units=40, expected_units=8.0, size=2, clip_norm=5.0)
    row = np.array([[3, 4]], np.float32)
    for count in (1, 3, 8, 20):
        released = without_noise(plan, np.repeat(row, count, 0))
        assert released.mean == pytest.approx(np.array([3, 4]) * count / 8, rel=1e-6)


def test_losses_are_clipped_and_their_mean_is_over_the_expected_number() -> None:
    plan = plan_of(units=40, expected_units=4.0, size=1, loss_noise_multiplier=10.0, loss_bound=8.0)
    rows = np.zeros((4, 1), np.float32)
    told = without_noise(plan, rows, np.array([2.0, -5.0, 100.0, math.nan])).loss
    assert told == pytest.approx((2 + 0 + 8 + 8) / 4, rel=1e-6)
    # Two of four expected: 4 + 4, and what is missing counts as the middle of the range.
    told = without_noise(plan, rows[:2], np.array([4.0, 4.0])).loss
    assert told == pytest.approx(4.0, rel=1e-6)
    assert without_noise(plan, rows[:0]).loss == pytest.approx(4.0)
    assert without_noise(plan_of(size=1), rows).loss is None


def test_a_unit_that_is_not_finite_counts_zero_in_every_entry() -> None:
    plan = plan_of(
        size=2,
        clip_norm=AdaptiveClip(initial=1.0, count_noise_std=5.0),
        loss_noise_multiplier=10.0,
    )
    rows = np.array([[0.1, 0.1], [math.nan, 0.0], [math.inf, 0.0]], np.float32)
    losses = np.array([1.0, 9.0, math.nan])
    seen = released_before_noise(plan, 1.0, rows, losses)
    assert seen.tolist() == released_before_noise(plan, 1.0, rows[:1], losses[:1]).tolist()


def test_the_share_within_the_norm_moves_it_as_the_paper_says() -> None:
    """Andrew et al. 2021: C · exp(-η (b̃ - γ)), b̃ over the expected number of units."""
    for quantile, rate in ((0.5, 0.2), (0.9, 1.0)):
        adaptive = AdaptiveClip(
            initial=2.0, quantile=quantile, learning_rate=rate, count_noise_std=5.0
        )
        plan = plan_of(units=10, expected_units=10.0, size=1, clip_norm=adaptive)
        for within in (0, 3, 10):
            rows = np.array([[1.0]] * within + [[3.0]] * (10 - within), np.float32)
            told = without_noise(plan, rows).clip_norm
            wanted = 2.0 * math.exp(-rate * (within / 10 - quantile))
            assert told == pytest.approx(wanted, rel=1e-6)
    fixed = plan_of(size=1, clip_norm=2.0)
    assert without_noise(fixed, np.ones((3, 1), np.float32)).clip_norm == 2.0


@pytest.mark.parametrize(
    ("quantile", "initial"),
    [
        (0.2, 50.0),
        (0.9, 1e-3),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in [(0.2, 1e-3), (0.5, 1e-3), (0.5, 50.0), (0.9, 50.0)]
        ),
    ],
)
def test_the_norm_converges_to_the_true_quantile(quantile: float, initial: float) -> None:
    adaptive = AdaptiveClip(
        initial=initial, quantile=quantile, learning_rate=0.2, count_noise_std=5.0
    )
    plan = plan_of(units=200, expected_units=200.0, size=1, clip_norm=adaptive)
    rng = np.random.default_rng(3)
    clip_norm, late = initial, []
    for index in range(500):
        norms = rng.lognormal(0.5, 0.6, (200, 1)).astype(np.float32)
        current = dataclasses.replace(
            plan, clip_norm=adaptive.model_copy(update={"initial": clip_norm})
        )
        clip_norm = without_noise(current, norms).clip_norm
        late += [clip_norm] if index >= 300 else []
    truth = float(np.quantile(np.random.default_rng(4).lognormal(0.5, 0.6, 200_000), quantile))
    assert np.mean(late) == pytest.approx(truth, rel=0.03)


def test_the_noise_of_the_vector_is_that_of_tensorflow_federated() -> None:
    """TFF's adaptive_clip_noise_params: z = 1 and 100 clients give σ_b = 5 and z_sum = 1.00504."""
    plan = plan_of(units=1000, expected_units=100.0, clip_norm=AdaptiveClip(initial=0.1))
    assert plan.count_noise_std == 5.0
    assert round(plan.sum_noise_multiplier, 5) == 1.00504
    assert plan.sum_noise_multiplier == pytest.approx((1 - 10.0**-2) ** -0.5, rel=1e-12)
    assert plan_of(clip_norm=0.1).sum_noise_multiplier == 1.0
    assert plan_of(clip_norm=0.1).count_noise_std is None


@settings(deadline=None)
@given(plans(7), CLIP_NORMS)
def test_all_parts_of_a_release_together_are_one_gaussian_at_z(
    plan: PrivacyPlan, clip_norm: float
) -> None:
    used = grid(plan, clip_norm)
    longest = clip_norm / used.step * (1 + 2.0**-30) + math.sqrt(7) / 2
    parts = [used.noise_std / longest]
    parts += [used.noise_std / used.within] if used.within else []
    parts += [used.noise_std / used.loss] if used.loss else []
    together = accounting.combined_multiplier(parts)
    assert together >= plan.noise_multiplier * (1 - 1e-12)
    # The count's and the loss's reach are rounded down to whole steps, which only helps.
    assert together <= plan.noise_multiplier * (1 + 1e-5)
    # A whole unit within the norm is twice the half that is counted.
    if plan.count_noise_std is not None and used.within > 1000:
        per_unit = used.noise_std / (2 * used.within)
        assert per_unit == pytest.approx(plan.count_noise_std, rel=1e-3)


def variance(values: NDArray[np.float64]) -> float:
    return float(np.mean(np.square(values)))


def fits(values: NDArray[np.float64], std: float) -> bool:
    """Whether centred Gaussian values have this standard deviation; five of its own deviations."""
    return abs(variance(values) / std**2 - 1) <= 5 * math.sqrt(2 / len(values))


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_noise_has_z_times_the_norm_and_neither_a_tenth_more_nor_less(adaptive: bool) -> None:
    z, clip_norm, expected = 0.7, 3.0, 10.0
    plan = plan_of(
        noise_multiplier=z,
        expected_units=expected,
        size=40_000,
        clip_norm=AdaptiveClip(initial=clip_norm, count_noise_std=5.0) if adaptive else clip_norm,
        loss_noise_multiplier=20.0,
    )
    z_sum = (z**-2 - (10.0**-2 if adaptive else 0) - 20.0**-2) ** -0.5
    source = seeded_source(7, "variance")
    for _ in range(2):
        noise = NoisySum(plan, clip_norm).release(source).mean.astype(np.float64)
        std = z_sum * clip_norm / expected
        assert fits(noise, std)
        assert not fits(noise, 0.9 * std)
        assert not fits(noise, 1.1 * std)
        assert abs(noise.mean()) < 5 * std / math.sqrt(len(noise))
    assert fits(noise, z * clip_norm / expected) or z_sum / z > 1.02


def test_the_noise_of_losses_and_norms_has_the_scale_that_was_asked_for() -> None:
    adaptive = AdaptiveClip(initial=1.0, count_noise_std=5.0, learning_rate=0.2)
    plan = plan_of(
        expected_units=100.0,
        units=100,
        size=1,
        clip_norm=adaptive,
        loss_noise_multiplier=8.0,
        loss_bound=6.0,
    )
    source = seeded_source(8)
    many = [NoisySum(plan, 1.0).release(source) for _ in range(3000)]
    losses = np.array([one.loss for one in many], np.float64) - 3.0
    # The noise is 8 times half the range of one unit's loss, over 100 units.
    std = 8.0 * 3.0 / 100
    assert fits(losses, std)
    assert not fits(losses, 0.9 * std)
    assert not fits(losses, 1.1 * std)
    # log C moves by -η times the share, whose noise is σ_b over 100.
    shares = np.array([-math.log(one.clip_norm) / 0.2 for one in many])
    assert fits(shares, 5.0 / 100)
    assert not fits(shares, 0.9 * 5.0 / 100)
    assert not fits(shares, 1.1 * 5.0 / 100)


def test_every_release_has_noise_of_its_own_also_without_any_unit() -> None:
    plan, source = plan_of(size=5000), seeded_source(9)
    rows = np.zeros((3, 5000), np.float32)
    releases = []
    for count in (0, 0, 3, 3):
        total = NoisySum(plan, 1.0)
        add(total, rows[:count], np.zeros(count))
        releases.append(total.release(source).mean)
    for place, one in enumerate(releases):
        assert np.mean(one == 0) < 0.01
        for other in releases[:place]:
            assert np.mean(one == other) < 0.01
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.08


def test_a_sum_is_released_once() -> None:
    total = NoisySum(plan_of(), 1.0)
    total.release(seeded_source(1))
    with pytest.raises(RuntimeError, match="released once"):
        total.release(seeded_source(1))


# What it costs.


def asked(**changes: Any) -> PrivacySettings:
    tree = {"unit": "example", "noise_multiplier": 1.0, "delta": 1e-5, "clip_norm": 1.0}
    return PrivacySettings(**{**tree, **changes})


@pytest.mark.parametrize(
    ("target", "delta", "q", "releases"),
    [
        (0.1, 1e-5, 1.0, 3),
        (20.0, 1e-3, 1.0, 30),
        pytest.param(1.0, 1e-5, 0.01, 1000, marks=pytest.mark.slow),
        pytest.param(8.0, 1e-5, 0.05, 200, marks=pytest.mark.slow),
        pytest.param(8.0, 1e-3, 0.5, 1, marks=pytest.mark.slow),
    ],
)
def test_the_target_is_kept_and_nearly_used_up(
    target: float, delta: float, q: float, releases: int
) -> None:
    settings = asked(epsilon=target, noise_multiplier=None, delta=delta)
    plan = make_plan(settings, units=900, expected_units=900 * q, releases=releases)
    assert plan.target == target
    assert 0.99 * target <= plan.epsilon().epsilon <= target
    # The accountant's own figure, asked directly, must not be above it.
    event = accounting.SampledGaussian(plan.noise_multiplier, q)
    assert accounting.epsilon([(event, releases)], delta).epsilon <= target


def test_epsilon_is_that_of_the_accountant_and_never_below() -> None:
    for z, q, count in ((2.0, 0.01, 100), (2.0, 1.0, 20)):
        plan = plan_of(
            units=1000, expected_units=1000 * q, noise_multiplier=z, releases=count, delta=1e-5
        )
        ideal = accounting.epsilon([(accounting.SampledGaussian(z, q), count)], 1e-5).epsilon
        assert ideal <= plan.epsilon().epsilon <= ideal * (1 + 1e-6)
        assert plan.epsilon(count // 2).epsilon < plan.epsilon().epsilon
        assert plan.epsilon(0).epsilon == 0


def test_a_composition_is_charged_for_the_grid_at_the_least_noise_in_it() -> None:
    """Among rows of several runs one with less noise has the coarser grid for it."""
    plan = plan_of(noise_multiplier=3.0, releases=2)
    quiet = accounting.SampledGaussian(0.02, 0.1)
    both = [(plan.release, 2), (quiet, 3)]
    assert cost_of(both, plan) == of_vectors(0.02, plan.size, 5)
    assert cost_of([(plan.release, 2), (quiet, 0)], plan) == of_vectors(3.0, plan.size, 2)
    mixture = accounting.SampledExamples(0.5, 0.1, 4)
    assert cost_of([(mixture, 1)], plan) == of_vectors(0.5, plan.size, 1)
    assert cost_of(both, plan).ratio > 1e4 * cost_of(plan.spent(5), plan).ratio


def test_what_the_grid_takes_of_delta_is_told_with_all_its_digits() -> None:
    """A difference of 10^-40 from 10^-5 is lost where one is taken from the other."""
    cost = gaussian.GridCost(1e-12, 2.0**-130)
    taken = cost.delta_taken(1e-5, 8.0)
    assert taken == pytest.approx(1e-17 + 2 * math.exp(8) * 2.0**-130, rel=1e-9)
    heavy = gaussian.GridCost(0.01, 1e-9)
    assert heavy.delta_taken(1e-3, 2.0) == pytest.approx(
        1e-3 - heavy.delta_left(1e-3, 2.0), rel=1e-9
    )
    assert heavy + cost == gaussian.GridCost(0.01 + 1e-12, 1e-9 + 2.0**-130)
    assert math.isinf(heavy.delta_taken(1e-3, 1e3))


def test_the_statement_says_what_the_grid_and_the_sampler_cost() -> None:
    plan = plan_of(unit="owner", size=4000, releases=50, delta=1e-5, expected_units=100.0)
    cost, spent = cost_of(plan.spent(50), plan), plan.epsilon().epsilon
    delta = cost.delta_taken(1e-5, spent + 1)
    (line,) = [line for line in statement(plan) if "sampler" in line]
    assert line == (
        f"The grid and the sampler cost ε = {cost.epsilon:.1e} and δ = {delta:.1e}, included; "
        "the sampler's distance is at most 2^-99 a draw."
    )
    assert 0 < cost.epsilon < 1e-10
    assert 0 < delta < 1e-10
    assert sampler.DISTANCE == 2.0**-99
    # Where no vector is at hand nothing can be said of its grid.
    assert "sampler" not in " ".join(statement(plan_of(size=0)))
    shares = Shares("skellam", 8, 6, 4.0, Lattice(7, 64.0, 66.0))
    (line,) = [line for line in statement(plan_of(size=7, shares=shares)) if "sampler" in line]
    assert "cost ε = 0.0e+00 and δ = " in line


def test_the_silos_of_the_design_cost_what_the_design_says() -> None:
    """DESIGN section 4: multiplier 1 for 50 rounds in which everybody takes part is ε = 54."""
    plan = plan_of(
        unit="client", units=10, expected_units=10.0, releases=50, delta=1e-5, noise_multiplier=1.0
    )
    assert plan.epsilon().epsilon == pytest.approx(54, abs=1)


def test_a_release_that_nobody_made_costs_nothing() -> None:
    assert epsilon_of([], plan_of()).epsilon == 0


def test_what_is_spent_is_counted_and_ends() -> None:
    settings = asked(epsilon=4.0, noise_multiplier=None)
    plan = make_plan(settings, units=100, expected_units=100, releases=7)
    assert [plan.affords(spent) for spent in (0, 1, 6, 7, 8, 100)] == [7, 6, 1, 0, 0, 0]
    assert plan.spent(0) == []
    assert plan.spent(3) == [(plan.release, 3)]
    assert plan.epsilon(0 + plan.affords(0)).epsilon <= 4.0
    free = make_plan(asked(), units=100, expected_units=10, releases=7)
    assert [free.affords(spent) for spent in (0, 7, 100)] == [7, 7, 7]


def test_a_release_is_accounted_at_the_rate_at_which_units_are_drawn() -> None:
    plan = make_plan(asked(), units=100, expected_units=7, releases=1)
    assert plan.sampling_probability == pytest.approx(0.07)
    assert plan.release == accounting.SampledGaussian(1.0, plan.sampling_probability)
    everyone = make_plan(asked(), units=100, expected_units=250, releases=1)
    assert (everyone.sampling_probability, everyone.expected_units) == (1.0, 100.0)


def test_delta_is_below_one_over_the_number_of_units() -> None:
    with pytest.raises(ConfigError, match=r"delta is 0\.01 with 100 examples.*below 1/100.*Lower"):
        make_plan(asked(delta=0.01), units=100, expected_units=5, releases=1)
    make_plan(asked(delta=0.0099), units=100, expected_units=5, releases=1)


def test_a_target_that_no_noise_reaches_is_refused_with_a_way_out() -> None:
    many = {"units": 100, "expected_units": 100.0, "releases": 10**6}
    settings = asked(epsilon=1e-9, noise_multiplier=None, delta=1e-12)
    with pytest.raises(ConfigError, match=r"cannot be reached.*Raise privacy\.epsilon, or take"):
        make_plan(settings, **many)
    make_plan(asked(epsilon=1.0, noise_multiplier=None), **{**many, "releases": 10})


@pytest.mark.parametrize("multiplier", [0.0099, 1e-9])
def test_noise_that_hides_nothing_is_refused(multiplier: float) -> None:
    with pytest.raises(ConfigError, match=r"hides nothing.*at least 0\.01.*Raise privacy\.noise_"):
        make_plan(asked(noise_multiplier=multiplier), units=9, expected_units=1, releases=1)
    make_plan(asked(noise_multiplier=0.01), units=9, expected_units=1, releases=1)


def test_losses_and_norms_that_cost_more_than_the_whole_are_refused() -> None:
    where = {"units": 1000, "expected_units": 10.0, "releases": 1}
    with pytest.raises(ConfigError, match=r"scalars 0\.9: they alone cost more.*Raise"):
        make_plan(asked(loss_noise_multiplier=0.9), **where)
    make_plan(asked(loss_noise_multiplier=1.1), **where)
    with pytest.raises(ConfigError, match="they alone cost more"):
        make_plan(asked(clip_norm=AdaptiveClip(initial=1.0, count_noise_std=0.49)), **where)
    make_plan(asked(clip_norm=AdaptiveClip(initial=1.0, count_noise_std=0.51)), **where)
    # A twentieth of ten units: σ_b is 0.5 and its multiplier just the 1 that all may cost.
    with pytest.raises(ConfigError, match="they alone cost more"):
        make_plan(asked(clip_norm=AdaptiveClip(initial=1.0)), **where)


def test_a_plan_needs_a_unit_somebody_and_something_to_read() -> None:
    none = PrivacySettings(unit="none")
    with pytest.raises(ConfigError, match=r'privacy\.unit is "none".*client, owner or example'):
        make_plan(none, units=10, expected_units=1, releases=1)
    for units, expected, releases in ((0, 1.0, 1), (5, 0.0, 1), (5, math.nan, 1), (5, 1.0, -1)):
        with pytest.raises(ConfigError, match="at least one unit"):
            make_plan(asked(), units=units, expected_units=expected, releases=releases)
    make_plan(asked(), units=1, expected_units=0.5, releases=0)


def test_a_target_over_no_release_still_has_a_scale() -> None:
    """A recipe of zero steps makes a guard, though it releases nothing."""
    settings = asked(epsilon=1.0, noise_multiplier=None)
    plan = make_plan(settings, units=9, expected_units=1, releases=0, size=3)
    assert grid(plan, 1.0).step > 0


def test_a_count_that_is_all_noise_is_refused() -> None:
    adaptive = AdaptiveClip(initial=1.0, count_noise_std=1e9)
    with pytest.raises(ConfigError, match="count_noise_std"):
        make_plan(asked(clip_norm=adaptive), units=9, expected_units=9, releases=1, size=3)


def test_whoever_adds_a_field_to_the_plan_looks_here() -> None:
    """Each changes what is released or what it costs, and has a test above."""
    assert {field.name for field in dataclasses.fields(PrivacyPlan)} == {
        "unit",
        "units",
        "expected_units",
        "releases",
        "noise_multiplier",
        "delta",
        "clip_norm",
        "size",
        "loss_noise_multiplier",
        "loss_bound",
        "target",
        "shares",
    }


def test_the_settings_reach_the_plan() -> None:
    adaptive = AdaptiveClip(initial=0.5, quantile=0.3, learning_rate=0.4, count_noise_std=3.0)
    settings = asked(
        unit="owner",
        clip_norm=adaptive,
        loss_noise_multiplier=5.0,
        loss_bound=3.0,
        noise_multiplier=0.8,
        delta=1e-6,
    )
    plan = make_plan(settings, units=50, expected_units=5, releases=9, size=11)
    assert plan == PrivacyPlan(
        unit="owner",
        units=50,
        expected_units=5.0,
        releases=9,
        noise_multiplier=0.8,
        delta=1e-6,
        clip_norm=adaptive,
        size=11,
        loss_noise_multiplier=5.0,
        loss_bound=3.0,
        target=None,
    )


def test_a_target_beyond_what_a_grid_covers_is_refused_with_the_right_way_out() -> None:
    with pytest.raises(ConfigError, match=r"privacy.epsilon is 200, more than .* Lower it") as seen:
        make_plan(
            PrivacySettings(unit="owner", epsilon=200.0, delta=1e-5, clip_norm=1.0),
            units=100,
            expected_units=10,
            releases=5,
            size=10,
        )
    assert "Raise" not in str(seen.value)
