from __future__ import annotations

import math
import re
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

patient = settings(deadline=None)  # the first call of an operation may take long

ENTRIES = st.floats(-1e6, 1e6, width=32)
BOUNDS = st.floats(1e-3, 1e3)


@st.composite
def gradients(draw: st.DrawFn, least_groups: int = 1) -> Tensor:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(least_groups, 5), st.integers(1, 40)))
    return torch.from_numpy(draw(arrays.arrays(np.float32, shape, elements=ENTRIES)))


def norm(vector: Tensor) -> float:
    return math.sqrt(math.fsum(float(entry) ** 2 for entry in vector))


def reference(own: Tensor, clip_norm: float) -> list[list[float]]:
    """Per client: each group's finite gradient divided by max(1, norm / bound), then added."""
    sums = []
    for groups in own:
        total = [0.0] * own.shape[2]
        for row in groups.tolist():
            if all(math.isfinite(entry) for entry in row):
                factor = max(1.0, math.sqrt(math.fsum(e * e for e in row)) / clip_norm)
                total = [t + e / factor for t, e in zip(total, row, strict=True)]
        sums.append(total)
    return sums


@patient
@given(gradients(), BOUNDS)
def test_equals_a_slow_loop(own: Tensor, clip_norm: float) -> None:
    wanted = torch.tensor(reference(own, clip_norm))
    torch.testing.assert_close(
        clip_and_sum(own, clip_norm).total, wanted, rtol=1e-5, atol=1e-5 * clip_norm
    )


@patient
@given(gradients(), BOUNDS)
def test_one_group_contributes_at_most_the_bound(own: Tensor, clip_norm: float) -> None:
    for row in own.flatten(0, 1):
        assert norm(clip_and_sum(row[None, None], clip_norm).total[0]) <= clip_norm


def test_the_bound_holds_for_long_rows_after_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (1_000, 100_003):
        row = torch.randn(1, 1, size, generator=generator).mul_(1e3)
        assert 0.999999 < norm(clip_and_sum(row, 1.0).total[0]) <= 1.0


@patient
@given(gradients(), BOUNDS)
def test_a_group_below_the_bound_is_kept_bit_for_bit(own: Tensor, clip_norm: float) -> None:
    row = own[:1, :1]
    bound = max(clip_norm, norm(row[0, 0]) * (1 + 1e-12))
    assert torch.equal(clip_and_sum(row, bound).total, row[:, 0])


def test_a_norm_equal_to_the_bound_is_not_scaled() -> None:
    row = torch.tensor([[[3.0, 4.0]]])
    assert torch.equal(clip_and_sum(row, 5.0).total, row[:, 0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_contributes_zero_and_is_counted(bad: float) -> None:
    own = torch.tensor([[[1.0, 2.0], [bad, 1.0]], [[3.0, 4.0], [0.5, 0.5]]])
    result = clip_and_sum(own, 10.0)
    assert result.total.tolist() == [[1.0, 2.0], [3.5, 4.5]]
    assert result.zeroed.tolist() == [1, 0]
    assert not math.isfinite(result.norms[0, 1])


def test_the_largest_finite_floats_are_clipped_not_dropped() -> None:
    huge = torch.full((1, 1, 100), torch.finfo(torch.float32).max)
    result = clip_and_sum(huge, 1.0)
    assert result.zeroed.tolist() == [0]
    assert norm(result.total[0]) == pytest.approx(1.0, rel=1e-6)


@patient
@given(gradients(), BOUNDS, st.data())
def test_neighbouring_data_move_a_clients_sum_by_at_most_the_bound(
    own: Tensor, clip_norm: float, data: st.DataObject
) -> None:
    clients, groups, _ = own.shape
    gone = data.draw(st.integers(0, groups - 1))
    with_one = clip_and_sum(own, clip_norm).total.double()
    rest = torch.cat([own[:, :gone], own[:, gone + 1 :]], dim=1)
    without = clip_and_sum(rest, clip_norm).total.double()
    for client in range(clients):
        moved = norm(with_one[client] - without[client])
        assert moved <= clip_norm * (1 + groups * 2**-23)


@patient
@given(gradients(), BOUNDS)
def test_a_changed_group_moves_no_other_clients_sum(own: Tensor, clip_norm: float) -> None:
    changed = own.clone()
    changed[-1, 0] += 1.0
    before, after = (clip_and_sum(value, clip_norm).total[:-1] for value in (own, changed))
    assert torch.equal(before, after)


@patient
@given(gradients(), BOUNDS)
def test_the_gradients_stay_as_they_were(own: Tensor, clip_norm: float) -> None:
    before = own.clone()
    clip_and_sum(own, clip_norm)
    assert torch.equal(own, before)
    own[0, 0, 0] = math.nan
    clip_and_sum(own, clip_norm)
    assert math.isnan(own[0, 0, 0])


@settings(max_examples=20, deadline=None)
@given(gradients(), BOUNDS, st.integers(1, 64))
def test_the_size_of_a_part_does_not_matter(own: Tensor, clip_norm: float, size: int) -> None:
    whole = clip_and_sum(own, clip_norm)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip, "CHUNK_BYTES", size * 8)
        parts = clip_and_sum(own, clip_norm)
    torch.testing.assert_close(parts.norms, whole.norms, rtol=1e-12, atol=0)
    torch.testing.assert_close(parts.total, whole.total, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory needs Linux")
def test_no_second_copy_of_the_gradients_is_made() -> None:
    own = torch.ones(1, 32, 2**20)
    clip_and_sum(own[:, :, :1000], 1.0)
    Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status")
    before = _kibibytes(status.read_text(), "VmRSS")
    clip_and_sum(own, 1.0)
    used = (_kibibytes(status.read_text(), "VmHWM") - before) * 1024
    assert used < own.nbytes / 4


def _kibibytes(status: str, field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1])


def test_norms_are_those_before_clipping() -> None:
    own = torch.tensor([[[3.0, 4.0], [0.0, 0.5]]])
    assert clip_and_sum(own, 1.0).norms.tolist() == [[5.0, 0.5]]


def test_without_groups_the_sum_is_zero() -> None:
    result = clip_and_sum(torch.zeros(2, 0, 3), 1.0)
    assert result.total.tolist() == [[0.0] * 3] * 2
    assert result.norms.shape == (2, 0)
    assert result.zeroed.tolist() == [0, 0]


def test_a_zero_gradient_stays_zero() -> None:
    assert clip_and_sum(torch.zeros(1, 2, 3), 1e-3).total.tolist() == [[0.0] * 3]


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_is_none_is_refused(clip_norm: float) -> None:
    with pytest.raises(ConfigError, match=f"clip_norm is {clip_norm}.*positive finite"):
        clip_and_sum(torch.zeros(1, 1, 1), clip_norm)
