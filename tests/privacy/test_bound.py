"""One client's bounded update, without torch: exact arithmetic, and the twin in ``clip``."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from sottovoce.errors import ConfigError
from sottovoce.privacy.bound import bound
from sottovoce.privacy.clip import clip_and_sum
from sottovoce.privacy.gaussian import grid_step

CLIP_NORMS = st.floats(-6, 6).map(lambda power: 10.0**power)
ANY_VECTOR = arrays.arrays(
    np.float32, st.integers(1, 50), elements=st.floats(width=32, allow_nan=True)
)
VECTOR = arrays.arrays(
    np.float32,
    st.integers(1, 50),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


def length(steps: NDArray[np.int64]) -> float:
    return math.sqrt(sum(int(entry) ** 2 for entry in steps))


def most(clip_norm: float, step: float, size: int) -> float:
    return ((1 + 2.0**-30) * clip_norm / step + math.sqrt(size) / 2) * (1 + 1e-15)


@settings(deadline=None)
@given(ANY_VECTOR, CLIP_NORMS, st.integers(0, 30))
def test_the_integers_are_within_the_bound(
    vector: NDArray[np.float32], clip_norm: float, coarser: int
) -> None:
    step = grid_step(clip_norm, len(vector)) * 2.0**coarser
    result = bound(vector, clip_norm, step)
    assert result.steps.dtype == np.int64
    assert length(result.steps) <= most(clip_norm, step, len(vector))


@settings(deadline=None)
@given(ANY_VECTOR, CLIP_NORMS)
def test_it_is_clipping_a_batch_of_one_to_the_integer(
    vector: NDArray[np.float32], clip_norm: float
) -> None:
    step = grid_step(clip_norm, len(vector))
    ours = bound(vector, clip_norm, step)
    twin = clip_and_sum(torch.from_numpy(vector)[None], clip_norm, step)
    assert ours.steps.tolist() == twin.total.tolist()
    assert ours.finite == bool(twin.finite[0])
    assert (ours.norm <= clip_norm) == bool(twin.norms[0] <= clip_norm)


@settings(deadline=None)
@given(VECTOR, CLIP_NORMS)
def test_the_direction_is_kept_and_the_rounding_is_to_nearest(
    vector: NDArray[np.float32], clip_norm: float
) -> None:
    step = grid_step(clip_norm, len(vector))
    entries = [Fraction(float(entry)) for entry in vector]
    square = sum(entry**2 for entry in entries)
    scale = Fraction(1)
    if square > Fraction(clip_norm) ** 2:
        norm = Fraction(math.isqrt(square.numerator * 4**200 // square.denominator), 2**200)
        scale = Fraction(clip_norm) / norm
    for ours, entry in zip(bound(vector, clip_norm, step).steps.tolist(), entries, strict=True):
        wanted = entry * scale / Fraction(step)
        assert abs(ours - wanted) <= Fraction(1, 2) + abs(wanted) * Fraction(1, 2**50)


def test_a_vector_on_the_bound_is_only_rounded_and_one_above_is_scaled() -> None:
    vector = np.array([3, 4], np.float32)
    assert bound(vector, 5.0, 2.0**-20).steps.tolist() == [3 * 2**20, 4 * 2**20]
    assert bound(vector, 2.5, 2.0**-20).steps.tolist() == [3 * 2**19, 4 * 2**19]
    assert bound(vector, 2.5, 2.0**-20).norm == 5.0


@pytest.mark.parametrize("size", [1_000, 100_003])
def test_the_bound_is_kept_and_met_by_long_vectors(size: int) -> None:
    vector = np.random.default_rng(size).normal(0, 1e3, size).astype(np.float32)
    step = grid_step(1.0, size)
    assert 0.999999 / step < length(bound(vector, 1.0, step).steps) <= most(1.0, step, size)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_zero_and_says_so(bad: float) -> None:
    result = bound(np.array([1.0, bad, 2.0], np.float32), 1.0, 0.5)
    assert result.steps.tolist() == [0, 0, 0]
    assert not result.finite
    assert not math.isfinite(result.norm)


def test_the_largest_finite_floats_are_clipped_not_dropped() -> None:
    result = bound(np.full(100, np.finfo(np.float32).max, np.float32), 1.0, 2.0**-20)
    assert result.finite
    assert length(result.steps) == pytest.approx(2**20, rel=1e-5)


def test_a_zero_vector_is_zero_and_finite() -> None:
    result = bound(np.zeros(3, np.float32), 1e-3, 2.0**-40)
    assert (result.steps.tolist(), result.norm, result.finite) == ([0, 0, 0], 0.0, True)


def test_the_vector_stays_as_it_was() -> None:
    vector = np.array([3, 4], np.float32)
    bound(vector, 1.0, 0.5)
    assert vector.tolist() == [3, 4]


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_is_none_is_refused(clip_norm: float) -> None:
    with pytest.raises(ConfigError, match=f"clip_norm is {clip_norm}.*positive finite"):
        bound(np.zeros(1, np.float32), clip_norm, 0.5)


def test_it_needs_no_torch() -> None:
    script = (
        "import sys, sottovoce.privacy.bound, sottovoce.privacy.plan; print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
