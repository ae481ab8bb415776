"""Skellam noise: its law against scipy and mpmath, and its Rényi bound against the divergence."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy import stats

from sottovoce.errors import ConfigError
from sottovoce.privacy import skellam
from sottovoce.rng import seeded_source


def masses(variance: float) -> np.ndarray:
    r = math.ceil(12 * math.sqrt(variance) + 12)
    weights = stats.skellam.pmf(np.arange(-r, r + 1), variance / 2, variance / 2)
    # Far out scipy's masses lose their digits and may fall below zero.
    return np.maximum(weights, 0.0)


def p_value(drawn: np.ndarray, mass: np.ndarray) -> float:
    """Chi-square against the masses at -r..r; from where ten are expected, the ends are one."""
    r = len(mass) // 2
    q = int(np.flatnonzero(mass / mass.sum() * drawn.size >= 10)[-1]) - r
    seen = np.bincount(np.clip(drawn, -q, q) + q, minlength=2 * q + 1)
    expected = mass[r - q : r + q + 1].copy()
    expected[[0, -1]] += mass[: r - q].sum()
    return float(stats.chisquare(seen, expected / expected.sum() * drawn.size).pvalue)


@pytest.mark.parametrize("std", [0.3, 1.0, 5.0, 40.0])
def test_draws_follow_scipys_masses_and_no_other_width(std: float) -> None:
    drawn = skellam.sample(std**2, 200_000, seeded_source(21, "law"))
    assert p_value(drawn, masses(std**2)) > 1e-3
    assert p_value(drawn, masses((0.9 * std) ** 2)) < 1e-9
    assert p_value(drawn, masses((1.1 * std) ** 2)) < 1e-9


@pytest.mark.parametrize("std", [2.0**30, 2.0**42])
def test_wide_draws_follow_the_normal_distribution(std: float) -> None:
    drawn = skellam.sample(std**2, 60_000, seeded_source(22, "wide")) / std
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    assert stats.kstest(drawn / 0.9, "norm").pvalue < 1e-9
    assert stats.kstest(drawn / 1.1, "norm").pvalue < 1e-9


def test_shares_add_up_to_one_draw() -> None:
    shares = [skellam.sample(2.25, 200_000, seeded_source(23, "share", i)) for i in range(4)]
    assert p_value(np.sum(shares, axis=0), masses(9.0)) > 1e-3
    assert p_value(np.sum(shares[:3], axis=0), masses(9.0)) < 1e-9


@pytest.mark.parametrize("variance", [2.0**-10, 0.09, 1.0, 7.3, 25.0, 1600.0, 4000.0])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 1.0])
def test_the_exact_mass_is_mpmaths(variance: float, part: float) -> None:
    shape = skellam.shape(variance)
    distance = round(part * shape.reach)
    context = mpmath.MPContext()
    context.prec = 400
    wanted = context.besseli(distance, context.mpf(variance))
    wanted /= context.besseli(0, context.mpf(variance))
    mantissa, exponent = wanted.man_exp
    wanted = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    assert abs(shape.exact(distance) / wanted - 1) < Fraction(1, 2**200)
    fast = Fraction(float(shape.relative(np.array([float(distance)]))[0]))
    assert abs(fast / wanted - 1) < Fraction(shape.error)


@pytest.mark.parametrize("power", [20, 40, 60, 84])
def test_the_exact_mass_is_mpmaths_for_wide_noise(power: int) -> None:
    # Only near the centre: far out mpmath's series does not converge at these widths.
    variance = 1.37 * 2.0**power
    shape = skellam.shape(variance)
    distance = int(0.5 * math.sqrt(variance))
    context = mpmath.MPContext()
    context.prec = 400
    wanted = context.besseli(distance, context.mpf(variance))
    wanted /= context.besseli(0, context.mpf(variance))
    mantissa, exponent = wanted.man_exp
    wanted = Fraction(int(mantissa)) * Fraction(2) ** int(exponent)
    assert abs(shape.exact(distance) / wanted - 1) < Fraction(1, 2**200)


def test_far_out_neighbouring_masses_obey_the_recurrence_of_bessel_functions() -> None:
    # I_{k-1} - I_{k+1} = (2k/μ)·I_k, where no library is at hand to compare with.
    for variance in (3.0 * 2.0**20, 2.0**50):
        shape = skellam.shape(variance)
        for part in (0.3, 0.7, 1.0):
            k = int(part * shape.reach)
            below, here, above = (shape.exact(k + step) for step in (-1, 0, 1))
            wanted = Fraction(2 * k) / Fraction(variance) * here
            # The difference loses the bits that its two terms share.
            assert abs((below - above) / wanted - 1) < Fraction(1, 2**150)


@pytest.mark.parametrize(
    "variance",
    [2.0**-10, 0.09, 1.0, 25.0, pytest.param(1600.0, marks=pytest.mark.slow)],
)
def test_the_reach_leaves_out_a_mass_below_two_to_the_minus_100(variance: float) -> None:
    context = mpmath.MPContext()
    context.prec = 400
    reach = skellam.shape(variance).reach
    masses = [context.besseli(k, context.mpf(variance)) for k in range(reach + 100)]
    whole = masses[0] + 2 * sum(masses[1:])
    assert 2 * sum(masses[reach + 1 :]) / whole <= 2.0**-100
    # Nor does it go much further than it must.
    assert 2 * sum(masses[round(0.9 * reach) - 1 :]) / whole > 2.0**-100


@pytest.mark.parametrize("variance", [2.0**-10, 0.09, 25.0, 2.0**30, 2.0**84])
def test_the_reach_obeys_chernoffs_bound(variance: float) -> None:
    # 2·E exp(t·N)/exp(t·k) at the best t, for the first k that is left out.
    with mpmath.workprec(300):
        mu, k = mpmath.mpf(variance), skellam.shape(variance).reach + 1
        t = mpmath.asinh(k / mu)
        assert 2 * mpmath.exp(mu * (mpmath.cosh(t) - 1) - t * k) <= mpmath.mpf(2) ** -100


@pytest.mark.parametrize("variance", [0.0, -1.0, 2.0**-11, 2.0**91, math.nan, math.inf])
def test_a_variance_out_of_range_is_refused(variance: float) -> None:
    with pytest.raises(ConfigError, match=r"2\^-10 to 2\^90"):
        skellam.sample(variance, 1, seeded_source(0))


# --- privacy -------------------------------------------------------------------------------------


def divergence(order: float, variance: float, moved: int) -> float:
    """Σ P(k)^α·Q(k)^(1-α), with Q moved, in 60 digits."""
    context = mpmath.MPContext()
    context.dps = 60
    r = math.ceil(8 * math.sqrt(variance)) + int(order * moved) + 40
    mass = {k: context.besseli(k, context.mpf(variance)) for k in range(r + moved + 1)}
    whole = mass[0] + 2 * sum(mass[k] for k in range(1, r + 1))
    terms = (mass[abs(k)] ** order * mass[abs(k + moved)] ** (1 - order) for k in range(-r, r + 1))
    return float(context.log(sum(terms) / whole) / (order - 1))


@pytest.mark.parametrize("variance", [1.0, 4.0, 25.0, 100.0])
@pytest.mark.parametrize("moved", [1, 3])
@pytest.mark.parametrize("order", [2, 5])
def test_the_bound_is_above_the_true_divergence(variance: float, moved: int, order: int) -> None:
    true = divergence(order, variance, moved)
    bound = skellam.renyi(order, variance, l1=moved, l2=moved)
    assert true <= bound
    if variance >= 25:
        assert bound <= 1.2 * true
        # Whoever takes μ for each Poisson's mean claims half of the loss.
        assert skellam.renyi(order, 2 * variance, l1=moved, l2=moved) < true


def test_the_bound_covers_a_vector() -> None:
    # Entries are independent, so their divergences add up.
    for order, variance in ((2, 2.0), (3, 9.0), (8, 50.0)):
        true = divergence(order, variance, 1) + divergence(order, variance, 2)
        bound = skellam.renyi(order, variance, l1=3, l2=math.sqrt(5))
        assert true <= bound
        if variance >= 9:
            assert bound <= 1.5 * true


@pytest.mark.parametrize("order", [1.2, 2.5, 3.9])
def test_an_order_between_integers_is_covered(order: float) -> None:
    assert divergence(order, 4.0, 2) <= skellam.renyi(order, 4.0, l1=2, l2=2)
    above = skellam.renyi(math.ceil(order), 4.0, l1=2, l2=2)
    assert skellam.renyi(order, 4.0, l1=2, l2=2) <= above
    # The halves of an interval meet its ends: a line in (order - 1) times the bound.
    low, high = math.floor(order), math.ceil(order)
    line = [(a - 1) * (skellam.renyi(a, 4.0, l1=2, l2=2) if a > 1 else 0) for a in (low, high)]
    expected = (line[0] * (high - order) + line[1] * (order - low)) / (order - 1)
    assert skellam.renyi(order, 4.0, l1=2, l2=2) == pytest.approx(expected, rel=1e-14)


def test_the_bound_by_hand() -> None:
    # μ = 10: α·Δ₂²/2μ = 0.6; the lesser of (5·4 + 6·3)/400 = 0.095 and 9/20 = 0.45.
    assert skellam.renyi(3, 10.0, l1=3, l2=2) == pytest.approx(0.695, rel=1e-14)
    # μ = 1/2: 12 + the lesser of (5·4 + 6·3)/1 = 38 and 9/1.
    assert skellam.renyi(3, 0.5, l1=3, l2=2) == pytest.approx(21.0, rel=1e-14)
    assert skellam.renyi(3, 0.5, l1=0, l2=0) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"order": 1},
        {"order": math.inf},
        {"order": math.nan},
        {"variance": 0.0},
        {"variance": math.inf},
        {"l1": -1.0},
        {"l2": math.nan},
        {"l2": math.inf},
    ],
)
def test_what_the_theorem_does_not_cover_is_refused(changes: dict[str, float]) -> None:
    right = {"order": 2, "variance": 4.0, "l1": 1.0, "l2": 1.0}
    skellam.renyi(**right)
    with pytest.raises(ConfigError):
        skellam.renyi(**(right | changes))
