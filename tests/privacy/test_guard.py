"""A client's guard: sample, add, release; what it promises for any way of splitting the work."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from sottovoce.privacy import gaussian
from sottovoce.privacy.guard import Guard
from sottovoce.privacy.plan import PrivacyPlan, clip_norm_memory, grid
from sottovoce.privacy.settings import AdaptiveClip
from sottovoce.rng import Source, seeded_source

ADAPTIVE = AdaptiveClip(initial=2.0, count_noise_std=1.0)


def plan_of(**changes: Any) -> PrivacyPlan:
    facts: dict[str, Any] = {
        "unit": "owner",
        "units": 20,
        "expected_units": 5.0,
        "releases": 5,
        "noise_multiplier": 1.0,
        "delta": 1e-4,
        "clip_norm": 2.0,
        "size": 3,
    }
    return PrivacyPlan(**{**facts, **changes})


class Totals:
    """Stands where the noise is added: remembers the sum, and adds none."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.int64]] = []

    def __call__(self, total: NDArray[np.int64], std: float, source: Source) -> NDArray[np.int64]:
        self.seen.append(total.copy())
        return total


ENTRIES = st.one_of(st.floats(-100, 100, width=32), st.sampled_from([math.nan, math.inf, 3e38]))


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(3)), elements=ENTRIES),
    st.data(),
    st.booleans(),
    st.booleans(),
)
def test_splitting_changes_no_bit_and_one_unit_moves_what_the_noise_covers(
    rows: NDArray[np.float32], data: st.DataObject, adaptive: bool, loss: bool
) -> None:
    plan = plan_of(
        clip_norm=ADAPTIVE if adaptive else 2.0, loss_noise_multiplier=4.0 if loss else None
    )
    losses = np.array(data.draw(st.lists(st.floats(0, 20), min_size=6, max_size=6)))
    losses = losses[: len(rows)]
    gone = data.draw(st.integers(0, len(rows) - 1))
    order = data.draw(st.permutations(range(len(rows))))
    runs = [
        [[*range(len(rows))]],
        [[place] for place in order],
        [[place for place in range(len(rows)) if place != gone]],
        [[gone]],
    ]
    totals = Totals()
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", totals)
        for parts in runs:
            guard = Guard(plan, seeded_source(0))
            for places in parts:
                guard.add(torch.from_numpy(rows[places]), losses[places])
            results.append((guard.release().numpy().tobytes(), guard.clip_norm, guard.losses))
    assert results[0] == results[1]
    whole, again, without, alone = totals.seen
    assert whole.tolist() == again.tolist()
    assert (whole - without).tolist() == alone.tolist()
    norm = math.sqrt(sum(int(entry) ** 2 for entry in alone))
    assert norm <= grid(plan, 2.0).noise_std / plan.noise_multiplier * (1 + 1e-12)


def test_a_step_is_the_clipped_sum_over_the_expected_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gaussian, "add_noise", Totals())
    guard = Guard(plan_of(), seeded_source(0))
    rows = torch.tensor([[3.0, 4.0, 0.0], [0.0, 1.0, 0.0], [math.nan, 0.0, 0.0]])
    guard.add(rows, np.zeros(3))
    mean = guard.release()
    assert mean.dtype == torch.float32
    # Clipped to 2: (1.2, 1.6) and (0, 1); of 5 expected.
    torch.testing.assert_close(mean, torch.tensor([1.2 / 5, 2.6 / 5, 0.0]))
    assert guard.zeroed == 1
    assert guard.losses == []


def test_every_release_begins_anew_and_is_noised_once_with_the_norm_of_its_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of(clip_norm=ADAPTIVE, loss_noise_multiplier=4.0)
    calls: list[tuple[int, float]] = []

    def keep(total: NDArray[np.int64], std: float, source: Source) -> NDArray[np.int64]:
        calls.append((int(np.abs(total[:3]).sum()), std))
        return total

    monkeypatch.setattr(gaussian, "add_noise", keep)
    guard = Guard(plan, seeded_source(0))
    norms = []
    for index in range(3):
        norms.append(guard.clip_norm)
        if index == 0:
            guard.add(torch.full((4, 3), 100.0), np.ones(4))
        guard.release()
    assert len(calls) == 3
    assert calls[0][0] > 0
    assert calls[1][0] == calls[2][0] == 0, "nothing is left of the step before"
    for norm, (_, std) in zip(norms, calls, strict=True):
        assert std == grid(plan, norm).noise_std
    # Four of five expected units above the norm: it grows; the empty step leaves it (γ = 1/2).
    assert norms[1] == pytest.approx(2.0 * math.exp(-0.2 * (-4 / 10)))
    assert norms[2] == pytest.approx(norms[1])
    assert guard.clip_norm == pytest.approx(norms[1])
    assert len(guard.losses) == 3


def test_the_clip_norm_of_an_earlier_round_is_taken_up() -> None:
    assert Guard(plan_of(clip_norm=ADAPTIVE), seeded_source(0)).clip_norm == 2.0
    guard = Guard(plan_of(clip_norm=ADAPTIVE), seeded_source(0), clip_norm_memory(0.25))
    assert guard.clip_norm == 0.25
    guard.add(torch.tensor([[1.0, 0.0, 0.0]]), np.zeros(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", Totals())
        assert float(guard.release()[0]) == pytest.approx(0.25 / 5)


def test_norms_that_are_not_within_count_as_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "add_noise", Totals())
    plan = dataclasses.replace(plan_of(clip_norm=ADAPTIVE), expected_units=1.0)
    for value, sign in ((2.0, 1), (2.0001, -1), (math.nan, 0)):
        guard = Guard(plan, seeded_source(0))
        guard.add(torch.tensor([[value, 0.0, 0.0]]), np.zeros(1))
        guard.release()
        assert guard.clip_norm == pytest.approx(2.0 * math.exp(-0.2 * sign / 2))


def test_an_empty_step_releases_noise_of_full_scale_and_never_the_same() -> None:
    guard = Guard(plan_of(size=20_000), seeded_source(3))
    steps = [guard.release().double().numpy() for _ in range(3)]
    std = 1.0 * 2.0 / 5
    for place, noise in enumerate(steps):
        ratio = float(np.mean(noise**2)) / std**2
        assert abs(ratio - 1) < 0.05
        assert not abs(ratio / 0.81 - 1) < 0.05
        assert not abs(ratio / 1.21 - 1) < 0.05
        for other in steps[:place]:
            assert abs(np.corrcoef(noise, other)[0, 1]) < 0.04


def test_a_step_samples_every_unit_at_the_rate_that_is_accounted() -> None:
    guard = Guard(plan_of(units=50, expected_units=10.0), seeded_source(4))
    samples = [guard.sample() for _ in range(2000)]
    counts = np.bincount(np.concatenate(samples), minlength=50)
    # 2000·0.2 = 400 of each, with a standard deviation of 18.
    assert np.abs(counts - 400).max() < 5 * 18
    assert len({sample.tobytes() for sample in samples}) > 1900
    everyone = Guard(plan_of(units=4, expected_units=4.0), seeded_source(4))
    assert everyone.sample().tolist() == [0, 1, 2, 3]
