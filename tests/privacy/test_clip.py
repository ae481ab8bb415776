"""Clipping and rounding to the grid, against exact arithmetic; one unit moves a sum by itself."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from sottovoce.errors import ConfigError
from sottovoce.privacy import clip
from sottovoce.privacy.clip import clip_and_sum
from sottovoce.privacy.gaussian import grid_step

patient = settings(max_examples=60, deadline=None)  # the first call of an operation may take long

CLIP_NORMS = st.floats(-6, 6).map(lambda power: 10.0**power)
ENTRIES = st.floats(-1e6, 1e6, width=32)
ANYTHING = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def contributions(
    draw: st.DrawFn, elements: st.SearchStrategy[float] = ENTRIES, least: int = 1
) -> Tensor:
    shape = draw(st.tuples(st.integers(least, 6), st.integers(1, 40)))
    return torch.from_numpy(draw(arrays.arrays(np.float32, shape, elements=elements)))


def length(integers: Tensor) -> float:
    return math.sqrt(sum(entry**2 for entry in integers.tolist()))


def most(clip_norm: float, step: float, size: int) -> float:
    """The norm that the docstring promises, and room for the rounding of this line itself."""
    return ((1 + 2.0**-30) * clip_norm / step + math.sqrt(size) / 2) * (1 + 1e-15)


def exact(row: Tensor, clip_norm: float, step: float) -> list[Fraction]:
    """One unit's clipped contribution in steps, not rounded; zero where it is not finite."""
    entries = [float(entry) for entry in row]
    if not all(math.isfinite(entry) for entry in entries):
        return [Fraction(0)] * len(entries)
    square = sum(Fraction(entry) ** 2 for entry in entries)
    if square <= Fraction(clip_norm) ** 2:
        return [Fraction(entry) / Fraction(step) for entry in entries]
    # 80 bits of the norm.
    norm = Fraction(math.isqrt(square.numerator * 4**200 // square.denominator), 2**200)
    return [Fraction(entry) * Fraction(clip_norm) / norm / Fraction(step) for entry in entries]


@patient
@given(contributions(ANYTHING), CLIP_NORMS)
def test_every_unit_is_clipped_and_rounded_to_the_nearest_step(
    units: Tensor, clip_norm: float
) -> None:
    step = grid_step(clip_norm, units.shape[1])
    for row in units:
        steps = clip_and_sum(row[None], clip_norm, step).total
        for ours, real in zip(steps.tolist(), exact(row, clip_norm, step), strict=True):
            assert abs(ours - real) <= Fraction(1, 2) + abs(real) * Fraction(1, 2**50)


@patient
@given(contributions(ANYTHING, least=0), CLIP_NORMS)
def test_the_sum_is_that_of_the_units_one_at_a_time(units: Tensor, clip_norm: float) -> None:
    step = grid_step(clip_norm, units.shape[1])
    total = torch.zeros(units.shape[1], dtype=torch.int64)
    for row in units:
        total += clip_and_sum(row[None], clip_norm, step).total
    whole = clip_and_sum(units, clip_norm, step).total
    assert whole.dtype == torch.int64
    assert torch.equal(whole, total)


@patient
@given(contributions(ANYTHING), CLIP_NORMS, st.floats(0, 2))
def test_one_unit_adds_integers_of_at_most_the_bound(
    units: Tensor, clip_norm: float, coarser: float
) -> None:
    step = grid_step(clip_norm, units.shape[1]) * 2.0 ** round(12 * coarser)
    for row in units:
        total = clip_and_sum(row[None], clip_norm, step).total
        assert length(total) <= most(clip_norm, step, units.shape[1])


@pytest.mark.parametrize("size", [1_000, 100_003])
@pytest.mark.parametrize("kind", ["normal", "equal", "one dominates"])
def test_the_bound_is_kept_and_met_by_long_rows(size: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(size)
    row = torch.randn(1, size, generator=generator).mul_(1e3)
    if kind == "equal":
        row = torch.full((1, size), 0.1)
        row *= 1e4
    if kind == "one dominates":
        row[0, 7] = 1e9
    step = grid_step(1.0, size)
    got = length(clip_and_sum(row, 1.0, step).total[0:])
    assert 0.999999 / step < got <= most(1.0, step, size)


@patient
@given(contributions(), st.floats(0, 10))
def test_a_unit_within_the_bound_is_only_rounded(units: Tensor, room: float) -> None:
    row = units[:1]
    norm = math.sqrt(sum(float(entry) ** 2 for entry in row[0]))
    clip_norm = max(norm * (1 + 1e-12) * (1 + room), 1e-3)
    step = grid_step(clip_norm, row.shape[1])
    wanted = np.rint(row[0].double().numpy() / step).astype(np.int64)
    assert clip_and_sum(row, clip_norm, step).total.tolist() == wanted.tolist()


def test_a_norm_equal_to_the_bound_is_not_scaled_and_one_above_is() -> None:
    row = torch.tensor([[3.0, 4.0]])
    assert clip_and_sum(row, 5.0, 2.0**-20).total.tolist() == [3 * 2**20, 4 * 2**20]
    assert clip_and_sum(row, 2.5, 2.0**-20).total.tolist() == [3 * 2**19, 4 * 2**19]


def test_every_unit_has_a_factor_of_its_own() -> None:
    """Clipping the sum, or all units by one factor, would give other integers."""
    units = torch.tensor([[30.0, 40.0], [0.5, 0.0], [0.0, -500.0]])
    assert clip_and_sum(units, 1.0, 2.0**-10).total.tolist() == [
        round(0.6 * 2**10) + 2**9,
        round(0.8 * 2**10) - 2**10,
    ]


def test_half_a_step_goes_to_the_even_neighbour_for_each_unit_alone() -> None:
    units = torch.tensor([[0.5, 1.5, -0.5], [0.5, 0.5, -1.5]])
    assert clip_and_sum(units, 8.0, 1.0).total.tolist() == [0, 2, -2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_adds_zero_and_is_told(bad: float) -> None:
    units = torch.tensor([[1.0, 2.0], [bad, 1.0], [3.0, 4.0]])
    result = clip_and_sum(units, 10.0, 0.5)
    assert result.total.tolist() == [8, 12]
    assert result.finite.tolist() == [True, False, True]
    assert not math.isfinite(result.norms[1])


def test_the_largest_finite_floats_are_clipped_not_dropped() -> None:
    huge = torch.full((1, 100), torch.finfo(torch.float32).max)
    result = clip_and_sum(huge, 1.0, 2.0**-20)
    assert result.finite.tolist() == [True]
    assert length(result.total) == pytest.approx(2**20, rel=1e-5)


def test_the_smallest_floats_have_a_norm() -> None:
    tiny = torch.full((1, 4), 1e-45)
    result = clip_and_sum(tiny, 1e-300, 2.0**-1020)
    assert float(result.norms[0]) == pytest.approx(2 * float(tiny[0, 0]))
    assert length(result.total) == pytest.approx(1e-300 * 2.0**1020, rel=1e-6)


@patient
@given(contributions(ANYTHING), CLIP_NORMS, st.data())
def test_adding_or_removing_a_unit_moves_the_sum_by_exactly_its_integers(
    units: Tensor, clip_norm: float, data: st.DataObject
) -> None:
    count, size = units.shape
    step = grid_step(clip_norm, size)
    gone = data.draw(st.integers(0, count - 1))
    rest = torch.cat([units[:gone], units[gone + 1 :]])
    with_it = clip_and_sum(units, clip_norm, step)
    without = clip_and_sum(rest, clip_norm, step)
    alone = clip_and_sum(units[gone : gone + 1], clip_norm, step)
    moved = with_it.total - without.total
    assert torch.equal(moved, alone.total)
    assert length(moved) <= most(clip_norm, step, size)


@patient
@given(contributions(ANYTHING), CLIP_NORMS, st.data())
def test_order_and_splitting_change_no_bit(
    units: Tensor, clip_norm: float, data: st.DataObject
) -> None:
    count, size = units.shape
    step = grid_step(clip_norm, size)
    whole = clip_and_sum(units, clip_norm, step)
    order = data.draw(st.permutations(range(count)))
    cuts = sorted(data.draw(st.sets(st.integers(0, count))) | {0, count})
    total = torch.zeros(size, dtype=torch.int64)
    norms = torch.zeros(count, dtype=torch.float64)
    for begin, end in pairwise(cuts):
        places = order[begin:end]
        part = clip_and_sum(units[places], clip_norm, step)
        total += part.total
        norms[places] = part.norms
    assert torch.equal(total, whole.total)
    assert torch.equal(norms.nan_to_num(-1), whole.norms.nan_to_num(-1))


def test_many_units_at_once_give_the_bits_of_one_at_a_time() -> None:
    """So fine a grid shows the last bit of a norm, whose sum runs over parts of the entries."""
    generator = torch.Generator().manual_seed(0)
    units = torch.randn(1000, 777, generator=generator)
    step = 2.0**-40
    whole = clip_and_sum(units, 1.0, step)
    parts = [clip_and_sum(row[None], 1.0, step) for row in units]
    assert torch.equal(whole.norms, torch.cat([part.norms for part in parts]))
    assert torch.equal(whole.total, torch.stack([part.total for part in parts]).sum(0))


@patient
@given(contributions(), CLIP_NORMS)
def test_the_contributions_stay_as_they_were(units: Tensor, clip_norm: float) -> None:
    step = grid_step(clip_norm, units.shape[1])
    before = units.clone()
    clip_and_sum(units, clip_norm, step)
    assert torch.equal(units, before)
    units[0, 0] = math.nan
    clip_and_sum(units, clip_norm, step)
    assert math.isnan(units[0, 0])


@settings(max_examples=30, deadline=None)
@given(contributions(), CLIP_NORMS, st.integers(1, 64))
def test_the_size_of_a_part_does_not_matter_beyond_the_last_bit_of_a_norm(
    units: Tensor, clip_norm: float, size: int
) -> None:
    step = grid_step(clip_norm, units.shape[1])
    whole = clip_and_sum(units, clip_norm, step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip, "COLUMNS", size)
        patch.setattr(clip, "ROWS", size)
        parts = clip_and_sum(units, clip_norm, step)
    torch.testing.assert_close(parts.norms, whole.norms, rtol=1e-14, atol=0)
    assert int((parts.total - whole.total).abs().max()) <= len(units)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory needs Linux")
def test_no_second_copy_of_the_contributions_is_made() -> None:
    units = torch.ones(32, 2**20)
    clip_and_sum(units[:, :1000], 1.0, 2.0**-30)
    Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status")
    before = _kibibytes(status.read_text(), "VmRSS")
    clip_and_sum(units, 1.0, 2.0**-30)
    used = (_kibibytes(status.read_text(), "VmHWM") - before) * 1024
    assert used < units.nbytes / 2


def _kibibytes(status: str, field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


def test_norms_are_those_before_clipping_over_all_entries_of_a_unit() -> None:
    units = torch.tensor([[3.0, 4.0], [0.0, 0.5]])
    result = clip_and_sum(units, 1.0, 0.25)
    assert result.norms.tolist() == [5.0, 0.5]
    assert result.norms.dtype == torch.float64


def test_without_units_the_sum_is_zero() -> None:
    result = clip_and_sum(torch.zeros(0, 3), 1.0, 0.5)
    assert result.total.tolist() == [0, 0, 0]
    assert result.total.dtype == torch.int64
    assert result.norms.shape == result.finite.shape == (0,)


def test_a_zero_contribution_stays_zero() -> None:
    assert clip_and_sum(torch.zeros(2, 3), 1e-3, 2.0**-40).total.tolist() == [0, 0, 0]


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_is_none_is_refused(clip_norm: float) -> None:
    with pytest.raises(ConfigError, match=f"clip_norm is {clip_norm}.*positive finite"):
        clip_and_sum(torch.zeros(1, 1), clip_norm, 0.5)


def test_a_sum_that_would_round_is_refused_and_its_neighbour_is_not() -> None:
    """Integers stay below 2^52, where float64 adds them exactly in any order."""
    with pytest.raises(ConfigError, match=r"4 units .* too many for one sum.*tokens_per_pass"):
        clip_and_sum(torch.zeros(4, 1), 1.0, 2.0**-50)
    clip_and_sum(torch.ones(3, 1), 1.0, 2.0**-50)
    one = clip_and_sum(torch.ones(3, 1), 1.0, 2.0**-50).total
    assert one.tolist() == [3 * 2**50]
