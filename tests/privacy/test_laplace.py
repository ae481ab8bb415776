"""The discrete Laplace: its law against scipy, and what one released number costs."""

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

from sottovoce.errors import ConfigError
from sottovoce.privacy import laplace
from sottovoce.rng import seeded_source

BOUNDS = st.floats(1e-6, 1e6)


class Zero:
    """A source whose draws are all zero: the noise vanishes."""

    def words(self, count: int) -> np.ndarray:
        table = laplace.sampler.tabulate(laplace.shape(SCALE))
        # Bin 2,048 begins at zero; a column that is wholly its own leads there.
        column = 2048 if table.alias[2048] == 2048 else int(np.flatnonzero(table.alias == 2048)[0])
        first = column * 2**52 + (0 if column == 2048 else 2**52 - 1)
        return np.array([first, 0][:count], dtype=np.uint64)


SCALE = 2.0**30


def p_value(drawn: np.ndarray, scale: float) -> float:
    """Chi-square against scipy; from where ten are expected, the ends are one."""
    r = math.ceil(40 * scale) + 2
    mass = stats.dlaplace.pmf(np.arange(-r, r + 1), 1 / scale)
    q = int(np.flatnonzero(mass / mass.sum() * drawn.size >= 10)[-1]) - r
    seen = np.bincount(np.clip(drawn, -q, q) + q, minlength=2 * q + 1)
    expected = mass[r - q : r + q + 1].copy()
    expected[[0, -1]] += mass[: r - q].sum()
    return float(stats.chisquare(seen, expected / expected.sum() * drawn.size).pvalue)


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0, 40.0])
def test_draws_follow_scipys_masses_and_no_other_scale(scale: float) -> None:
    drawn = laplace.sample(scale, 200_000, seeded_source(31, "law"))
    assert p_value(drawn, scale) > 1e-3
    assert p_value(drawn, 0.9 * scale) < 1e-9
    assert p_value(drawn, 1.1 * scale) < 1e-9


@pytest.mark.parametrize("scale", [2.0**30, 2.0**44])
def test_wide_draws_follow_the_continuous_laplace(scale: float) -> None:
    drawn = laplace.sample(scale, 80_000, seeded_source(32, "wide")) / scale
    assert stats.kstest(drawn, "laplace").pvalue > 1e-3
    assert stats.kstest(drawn / 0.9, "laplace").pvalue < 1e-9
    assert stats.kstest(drawn / 1.1, "laplace").pvalue < 1e-9


@pytest.mark.parametrize(("scale", "distance"), [(0.3, 7), (40.0, 1000), (2.0**44, 2**49 + 1)])
def test_the_exact_mass_is_mpmaths(scale: float, distance: int) -> None:
    context = mpmath.MPContext()
    context.prec = 300
    mantissa, exponent = context.exp(-context.mpf(distance) / context.mpf(scale)).man_exp
    wanted = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    assert abs(laplace.shape(scale).exact(distance) / wanted - 1) < Fraction(1, 2**200)


@pytest.mark.parametrize("scale", [0.0, -1.0, 2.0**-6, 2.0**45, math.nan, math.inf])
def test_a_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match=r"2\^-5 to 2\^44"):
        laplace.sample(scale, 1, seeded_source(0))
    with pytest.raises(ConfigError, match=r"2\^-5 to 2\^44"):
        laplace.epsilon(1.0, scale)


# --- releasing one number ------------------------------------------------------------------------


@given(BOUNDS)
def test_the_grid_is_the_largest_power_of_two(bound: float) -> None:
    step = Fraction(laplace.grid_step(bound))
    assert step <= Fraction(bound) / 2**24 < 2 * step
    assert math.frexp(float(step))[0] == 0.5


@given(BOUNDS, st.floats(), st.floats())
def test_two_numbers_differ_by_at_most_the_stated_steps(
    bound: float, one: float, other: float
) -> None:
    step = laplace.grid_step(bound)
    values = [laplace.release(v, bound, SCALE, Zero()) for v in (one, other, 0.0, bound)]
    places = [Fraction(value) / Fraction(step) for value in values]
    assert all(place.denominator == 1 for place in places)
    assert abs(places[0] - places[1]) <= laplace.steps(bound) == places[3] - places[2]


@given(BOUNDS, st.floats(allow_nan=False))
def test_without_noise_the_clipped_number_comes_back(bound: float, value: float) -> None:
    inside = min(max(value, 0.0), bound)
    found = laplace.release(value, bound, SCALE, Zero())
    assert abs(Fraction(found) - Fraction(inside)) <= Fraction(laplace.grid_step(bound)) / 2


def test_what_is_not_a_number_counts_as_zero() -> None:
    assert laplace.release(math.nan, 1.0, SCALE, Zero()) == 0.0
    assert laplace.release(math.inf, 1.0, SCALE, Zero()) == 1.0
    assert laplace.release(-math.inf, 1.0, SCALE, Zero()) == 0.0


def test_a_release_is_the_number_plus_one_draw() -> None:
    noise = laplace.sample(2.0**26, 1, seeded_source(33))
    found = laplace.release(0.625, 1.0, 2.0**26, seeded_source(33))
    assert found == 0.625 + int(noise[0]) * 2.0**-24


def test_releases_have_the_law_around_the_number() -> None:
    source = seeded_source(34)
    scale = laplace.scale_for(10.0, 2.0)
    found = np.array([laplace.release(3.0, 10.0, scale, source) for _ in range(4000)])
    # ε = 2 on a range of 10 is a Laplace of scale 5.
    assert stats.kstest((found - 3.0) / 5.0, "laplace").pvalue > 1e-3
    assert stats.kstest((found - 3.0) / 4.0, "laplace").pvalue < 1e-6


@given(BOUNDS, st.floats(0.01, 100.0))
def test_the_price_is_the_largest_change_of_any_probability(bound: float, target: float) -> None:
    scale = laplace.scale_for(bound, target)
    price = laplace.epsilon(bound, scale)
    # scipy's masses at 0 and at the furthest that a number can be moved.
    change = stats.dlaplace.logpmf(0, 1 / scale) - stats.dlaplace.logpmf(
        laplace.steps(bound), 1 / scale
    )
    assert float(price) == pytest.approx(change, rel=1e-9)
    assert price <= Fraction(target)
    assert laplace.epsilon(bound, math.nextafter(scale, 0.0)) > Fraction(target)


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf, 0.999 * 2.0**-20])
def test_a_target_that_no_scale_meets_is_refused(target: float) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"epsilon is {target}.")):
        laplace.scale_for(1.0, target)


def test_the_ends_of_the_scales_serve_as_far_as_they_reach() -> None:
    assert laplace.scale_for(1.0, 2.0**-20) == laplace.LARGEST_SCALE
    assert laplace.scale_for(1.0, 1e12) == laplace.SMALLEST_SCALE


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf, 2.0**-901, 2.0**901])
def test_a_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(ConfigError, match="bound is"):
        laplace.release(0.5, bound, SCALE, seeded_source(0))
    with pytest.raises(ConfigError, match="bound is"):
        laplace.epsilon(bound, SCALE)


@pytest.mark.parametrize("bound", [2.0**-900, 2.0**900])
def test_the_ends_of_the_range_are_finite_and_on_the_grid(bound: float) -> None:
    found = laplace.release(bound, bound, laplace.LARGEST_SCALE, seeded_source(1))
    assert math.isfinite(found)
    assert (Fraction(found) / Fraction(laplace.grid_step(bound))).denominator == 1
