"""The Gaussian mechanism on a grid: its step, its widening, its noise, and what the grid costs."""

from __future__ import annotations

import math
import re
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sottovoce.errors import ConfigError, VerificationError
from sottovoce.privacy import discrete_gaussian, gaussian, sampler
from sottovoce.rng import seeded_source

NORMS = st.floats(1e-9, 1e9)


def masses(std: float) -> tuple[np.ndarray, np.ndarray]:
    """Discrete and rounded continuous Gaussian at -r..r, each by its definition."""
    k = np.arange(-math.ceil(40 * std) - 2, math.ceil(40 * std) + 3)
    weights = np.exp(-(k**2) / (2 * std**2))
    # On the left half the distribution function keeps its digits.
    left = stats.norm.cdf((-np.abs(k) + 0.5) / std) - stats.norm.cdf((-np.abs(k) - 0.5) / std)
    return weights / weights.sum(), left


@given(NORMS, st.integers(1, 2**40))
def test_the_step_is_the_largest_power_of_two(clip_norm: float, size: int) -> None:
    step = Fraction(gaussian.grid_step(clip_norm, size))
    bound = Fraction(clip_norm) ** 2 / 2**48
    assert step**2 * size <= bound < (2 * step) ** 2 * size
    assert math.frexp(float(step))[0] == 0.5


@pytest.mark.parametrize("size", [1, 4, 4**10])
@pytest.mark.parametrize("clip_norm", [0.25, 1.0, 2.0**60])
def test_the_step_at_exact_powers(clip_norm: float, size: int) -> None:
    assert gaussian.grid_step(clip_norm, size) == clip_norm * 2.0**-24 / math.sqrt(size)
    below = math.nextafter(clip_norm, 0.0)
    assert gaussian.grid_step(below, size) == clip_norm * 2.0**-25 / math.sqrt(size)


@pytest.mark.parametrize("size", [3, 6, 11, 13])
def test_the_step_where_the_quotient_is_rounded_up_to_a_power(size: int) -> None:
    clip_norm = math.nextafter(math.sqrt(size), 0.0)
    for bound in (clip_norm, math.sqrt(size)):
        if Fraction(bound) ** 2 < size:
            assert gaussian.grid_step(bound, size) == 2.0**-25


# --- noise ---------------------------------------------------------------------------------------


def test_the_noise_is_the_discrete_gaussian_of_the_same_words() -> None:
    total = np.arange(-6, 6, dtype=np.int64).reshape(3, 4) * 2**50
    before = total.copy()
    noisy = gaussian.add_noise(total, 2.0**36, seeded_source(41))
    drawn = discrete_gaussian.sample(2.0**36, 12, seeded_source(41))
    assert np.array_equal(noisy - total, drawn.reshape(3, 4))
    assert np.array_equal(total, before)
    assert noisy.dtype == np.int64


def test_every_entry_gets_noise_of_the_stated_width() -> None:
    noisy = gaussian.add_noise(np.zeros(100_000, np.int64), 2.0**30, seeded_source(42))
    assert stats.kstest(noisy / 2.0**30, "norm").pvalue > 1e-3
    for wrong in (0.9, 1.1):
        assert stats.kstest(noisy / (wrong * 2.0**30), "norm").pvalue < 1e-9


def test_an_empty_sum_stays_empty() -> None:
    assert gaussian.add_noise(np.zeros((0, 3), np.int64), 1.0, seeded_source(0)).shape == (0, 3)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_without_room_for_noise_is_refused_before_any_is_drawn(sign: int) -> None:
    std = 2.0**40
    room = 2**63 - 1 - sampler.largest(discrete_gaussian.shape(std))
    source = seeded_source(43)
    total = np.array([0, sign * (room + 1)], dtype=np.int64)
    with pytest.raises(VerificationError, match="too large to take noise") as caught:
        gaussian.add_noise(total, std, source)
    assert str(room + 1) not in str(caught.value)
    assert np.array_equal(source.words(3), seeded_source(43).words(3))
    # At the very edge nothing wraps around.
    edge = np.full(50_000, sign * room, dtype=np.int64)
    noise = gaussian.add_noise(edge, std, seeded_source(44)) - edge
    assert np.abs(noise).max() < 6 * std


def test_the_smallest_integer_is_refused_too() -> None:
    with pytest.raises(VerificationError, match="too large"):
        gaussian.add_noise(np.array([-(2**63)], dtype=np.int64), 1.0, seeded_source(0))


@pytest.mark.parametrize("kind", [np.int32, np.float64, np.uint64])
def test_a_sum_of_another_type_is_refused(kind: type) -> None:
    with pytest.raises(VerificationError, match=r"a sum of type .* Allowed: int64"):
        gaussian.add_noise(np.zeros(2, kind), 1.0, seeded_source(0))


# --- what the grid costs -------------------------------------------------------------------------


@pytest.mark.parametrize("std", [8.0, 11.0, 32.0, 100.0])
def test_the_ratio_of_the_masses_is_within_its_bound(std: float) -> None:
    discrete, rounded = masses(std)
    drawn = np.abs(np.arange(len(discrete)) - len(discrete) // 2) <= sampler.largest(
        discrete_gaussian.shape(std)
    )
    # Where float64 still holds the distribution function's difference to eight digits.
    seen = drawn & (discrete > 1e-30)
    true = np.abs(np.log(rounded[seen] / discrete[seen])).max()
    cost = gaussian.grid_cost(std, 1, 1)
    assert true <= cost.ratio < 10 * true
    # The lower step of the proof, which no tail bound is needed for.
    assert (rounded[seen] / discrete[seen]).min() >= 1 - 1 / (24 * std**2) - 1e-9
    far = np.abs(np.arange(len(discrete)) - len(discrete) // 2) > 14.2 * std
    assert discrete[far].sum() < cost.outside
    assert rounded[far].sum() < cost.outside


@pytest.mark.parametrize("std", [8.0, 16.0])
def test_the_ratio_far_out_in_high_precision(std: float) -> None:
    with mpmath.workdps(60):
        s = mpmath.mpf(std)
        theta = mpmath.nsum(lambda j: mpmath.exp(-(j**2) / (2 * s**2)), [-mpmath.inf, mpmath.inf])
        for k in (0, 40, int(14.2 * std)):
            upper, lower = ((k + half) / (s * mpmath.sqrt(2)) for half in (0.5, -0.5))
            rounded = (mpmath.erfc(lower) - mpmath.erfc(upper)) / 2
            ratio = mpmath.log(rounded / (mpmath.exp(-(k**2) / (2 * s**2)) / theta))
            assert abs(ratio) <= gaussian.grid_cost(std, 1, 1).ratio


def profile(p: np.ndarray, q: np.ndarray, epsilon: float) -> float:
    return float(np.maximum(p - math.exp(epsilon) * q, 0).sum())


def ideal_delta(std: float, shift: int, epsilon: float) -> float:
    """The continuous Gaussian's δ: Balle and Wang 2018, theorem 8."""
    half = shift / (2 * std)
    return float(
        stats.norm.cdf(half - epsilon * std / shift)
        - math.exp(epsilon) * stats.norm.cdf(-half - epsilon * std / shift)
    )


@pytest.mark.parametrize("std", [8.0, 12.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_the_cost_covers_the_discrete_mechanism(std: float, epsilon: float) -> None:
    discrete, _ = masses(std)
    shift = int(std)
    true = profile(discrete[shift:], discrete[:-shift], epsilon)
    cost = gaussian.grid_cost(std, 1, 1)
    if epsilon <= cost.epsilon:
        return
    # What the accountant says at ε less the cost must allow at least what is true at ε.
    promised = ideal_delta(std, shift, epsilon - cost.epsilon)
    assert true <= (promised + math.exp(epsilon) * cost.outside) * math.exp(cost.ratio)


def test_the_cost_by_hand() -> None:
    cost = gaussian.grid_cost(2.0**10, 8, 100)
    assert cost.ratio == 14 * 800 / 2.0**20
    assert cost.epsilon == 2 * cost.ratio
    assert cost.outside == 800 * 2.0**-143
    assert cost.delta_left(1e-5, 0.0) == pytest.approx(1e-5 * math.exp(-cost.ratio))
    assert gaussian.grid_cost(2.0**10, 8, 0) == gaussian.GridCost(0.0, 0.0)


def test_an_epsilon_beyond_all_bounds_leaves_no_delta() -> None:
    cost = gaussian.grid_cost(2.0**30, 1000, 100)
    assert cost.delta_left(1e-5, 60.0) > 0.99e-5
    assert cost.delta_left(1e-5, 120.0) < 0
    assert cost.delta_left(1e-5, math.inf) < 0


def test_the_usual_grid_costs_next_to_nothing() -> None:
    # Clip norm 1, noise multiplier 1, 5.64 million entries, 1,000 releases, ε = 54.
    size = 5_640_000
    std = 1.0 / gaussian.grid_step(1.0, size)
    cost = gaussian.grid_cost(std, size, 1000)
    assert cost.epsilon < 1e-9
    assert cost.delta_left(1e-5, 54.0) > 1e-5 * (1 - 1e-4)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan, math.inf, 2.0**-901, 2.0**901])
def test_a_clip_norm_that_is_none_is_refused(clip_norm: float) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"clip_norm is {clip_norm}.")):
        gaussian.grid_step(clip_norm, 1)


@pytest.mark.parametrize("bad", [0.0, -1.0, 7.9, math.nan, math.inf])
def test_noise_too_narrow_for_the_proof_is_refused(bad: float) -> None:
    with pytest.raises(ConfigError, match="8 or more"):
        gaussian.grid_cost(bad, 4, 1)


def test_a_vector_without_entries_is_refused() -> None:
    for call in (
        lambda: gaussian.grid_step(1.0, 0),
        lambda: gaussian.grid_cost(8.0, 0, 1),
    ):
        with pytest.raises(ConfigError, match="a vector of 0 entries"):
            call()


def test_releases_have_no_sign() -> None:
    with pytest.raises(ConfigError, match="-1 releases"):
        gaussian.grid_cost(8.0, 1, -1)
