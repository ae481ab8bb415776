"""The discrete Gaussian: its law, and the privacy of one and of a sum of shares."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy import stats

from sottovoce.errors import ConfigError
from sottovoce.privacy import discrete_gaussian
from sottovoce.rng import seeded_source


def masses(std: float, widths: float = 12.0) -> np.ndarray:
    """The definition: exp(-k²/2σ²), divided by its sum, at -r..r."""
    r = math.ceil(widths * std) + 1
    weights = np.exp(-(np.arange(-r, r + 1) ** 2) / (2 * std**2))
    return weights / weights.sum()


def p_value(drawn: np.ndarray, mass: np.ndarray) -> float:
    """Chi-square against the masses at -r..r; from where ten are expected, the ends are one."""
    r = len(mass) // 2
    q = int(np.flatnonzero(mass / mass.sum() * drawn.size >= 10)[-1]) - r
    seen = np.bincount(np.clip(drawn, -q, q) + q, minlength=2 * q + 1)
    expected = mass[r - q : r + q + 1].copy()
    expected[[0, -1]] += mass[: r - q].sum()
    return float(stats.chisquare(seen, expected / expected.sum() * drawn.size).pvalue)


@pytest.mark.parametrize("std", [0.3, 1.0, 5.0, 40.0, 400.0])
def test_draws_follow_the_definition_and_no_other_width(std: float) -> None:
    drawn = discrete_gaussian.sample(std, 200_000, seeded_source(11, "law"))
    assert p_value(drawn, masses(std)) > 1e-3
    assert p_value(drawn, masses(0.9 * std)) < 1e-9
    assert p_value(drawn, masses(1.1 * std)) < 1e-9


@pytest.mark.parametrize("std", [2.0**30, 1.4 * 2.0**42])
def test_wide_draws_follow_the_normal_distribution(std: float) -> None:
    drawn = discrete_gaussian.sample(std, 60_000, seeded_source(12, "wide")) / std
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    assert stats.kstest(drawn / 0.9, "norm").pvalue < 1e-9
    assert stats.kstest(drawn / 1.1, "norm").pvalue < 1e-9


def test_the_draws_of_a_seeded_source_never_change() -> None:
    # seeded_source(0, "pinned"), made by this sampler; a change here changes every seeded run.
    drawn = discrete_gaussian.sample(2.0**36, 4, seeded_source(0, "pinned"))
    assert drawn.tolist() == [1471121467, -84249183813, -33249401425, 35279656241]


@pytest.mark.parametrize(("std", "distance"), [(0.3, 3), (1.0, 1), (40.0, 400), (2.0**42, 2**45)])
def test_the_exact_mass_is_mpmaths(std: float, distance: int) -> None:
    context = mpmath.MPContext()
    context.prec = 300
    wanted = context.exp(-(context.mpf(distance) ** 2) / (2 * context.mpf(std) ** 2))
    mantissa, exponent = wanted.man_exp
    ours = discrete_gaussian.shape(std).exact(distance)
    assert abs(ours / (Fraction(int(mantissa)) * Fraction(2) ** int(exponent)) - 1) < Fraction(
        1, 2**200
    )


@pytest.mark.parametrize("std", [0.0, -1.0, 2.0**-6, 2.0**46, math.nan, math.inf])
def test_a_width_out_of_range_is_refused(std: float) -> None:
    with pytest.raises(ConfigError, match=r"2\^-5 to 2\^45 grid steps"):
        discrete_gaussian.sample(std, 1, seeded_source(0))


# --- privacy -------------------------------------------------------------------------------------


def renyi(p: list[mpmath.mpf], q: list[mpmath.mpf], order: float) -> float:
    terms = (a**order * b ** (1 - order) for a, b in zip(p, q, strict=True))
    return float(mpmath.log(sum(terms)) / (order - 1))


def summed(std: float, shares: int, r: int) -> list[mpmath.mpf]:
    """The exact law of a sum of discrete Gaussians at -r..r, by convolution."""
    one = [mpmath.exp(-(mpmath.mpf(k) ** 2) / (2 * mpmath.mpf(std) ** 2)) for k in range(-r, r + 1)]
    whole = sum(one)
    one = [weight / whole for weight in one]
    total = one
    for _ in range(shares - 1):
        total = [
            sum(total[i] * one[k - i + r] for i in range(max(0, k - r), min(2 * r, k + r) + 1))
            for k in range(2 * r + 1)
        ]
    return total


@pytest.mark.parametrize("std", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("moved", [1, 3])
def test_one_is_as_private_as_the_continuous_gaussian(std: float, moved: int) -> None:
    p = summed(std, 1, 60)
    epsilon = discrete_gaussian.concentrated(std, moved)
    for order in (2, 4):
        true = renyi(p[:-moved], p[moved:], order)
        assert true == pytest.approx(order * epsilon**2 / 2, rel=1e-9)


@pytest.mark.parametrize(("std", "shares"), [(0.5, 2), (0.5, 4), (0.6, 3), (0.8, 3), (1.0, 2)])
def test_a_sum_of_shares_stays_below_its_bound(std: float, shares: int) -> None:
    r = 40
    total = summed(std, shares, r)
    for order in (1.5, 2, 4):
        true = renyi(total[:-1], total[1:], order)
        epsilon = discrete_gaussian.distributed(std, shares, size=1, l1=1, l2=1)
        assert true <= order * epsilon**2 / 2 * (1 + 1e-9)
        if std >= 0.8:
            assert order * epsilon**2 / 2 < 1.1 * true


@pytest.mark.parametrize(("std", "shares"), [(0.5, 2), (0.5, 4), (0.7, 3), (1.0, 2)])
def test_tau_bounds_the_distance_of_a_sum_from_one(std: float, shares: int) -> None:
    r = 40
    total, one = summed(std, shares, r), summed(std * math.sqrt(shares), 1, r)
    middle = slice(r - 8, r + 9)
    worst = max(abs(mpmath.log(a / b)) for a, b in zip(total[middle], one[middle], strict=True))
    tau = discrete_gaussian.tau(std, shares)
    assert tau / 20 < worst <= tau


def test_tau_by_hand() -> None:
    wanted = 10 * (math.exp(-(math.pi**2)) + math.exp(-4 * math.pi**2 / 3))
    assert discrete_gaussian.tau(1.0, 3) == pytest.approx(wanted, rel=1e-14)
    assert discrete_gaussian.tau(1.0, 1) == 0


def test_each_of_the_three_terms_is_the_least_somewhere() -> None:
    # distributed_dp/accounting_utils.py of google-research/federated, compute_rdp_dgaussian, by
    # hand: order/2 times the square of our ε is the least of its three terms.
    cases = {
        0: {"std": 0.5, "shares": 4, "size": 1, "l1": 100.0, "l2": 100.0},
        1: {"std": 0.6, "shares": 3, "size": 100, "l1": 1.0, "l2": 1.0},
        2: {"std": 0.6, "shares": 3, "size": 100, "l1": 200.0, "l2": 1.0},
    }
    order = 2.0
    for least, case in cases.items():
        tau = discrete_gaussian.tau(case["std"], case["shares"])
        sigma = math.sqrt(case["shares"]) * case["std"]
        l1, l2, size = case["l1"] / sigma, case["l2"] / sigma, case["size"]
        terms = [
            order / 2 * l2**2 + tau * size,
            order / 2 * (l2**2 + 2 * l1 * tau + tau**2 * size),
            order / 2 * (l2 + math.sqrt(size) * tau) ** 2,
        ]
        epsilon = discrete_gaussian.distributed(
            case["std"], case["shares"], size=size, l1=case["l1"], l2=case["l2"]
        )
        # At order 2 their first term is ours with αtd in place of τd.
        terms[0] += (order - 1) * tau * size
        assert min(terms) == terms[least]
        assert order / 2 * epsilon**2 == pytest.approx(terms[least], rel=1e-12)


def test_one_client_costs_what_one_discrete_gaussian_costs() -> None:
    alone = discrete_gaussian.distributed(2.0, 1, size=100, l1=30.0, l2=3.0)
    assert alone == discrete_gaussian.concentrated(2.0, 3.0) == 1.5


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"local_std": 0.49}, "1/2 or more"),
        ({"local_std": math.nan}, "1/2 or more"),
        ({"local_std": math.inf}, "1/2 or more"),
        ({"clients": 0}, "1 or more"),
        ({"size": 0}, "1 or more"),
        ({"l1": -1.0}, "l1 is -1.0"),
        ({"l2": math.nan}, "l2 is nan"),
        ({"l2": math.inf}, "l2 is inf"),
    ],
)
def test_what_the_theorem_does_not_cover_is_refused(changes: dict, match: str) -> None:
    right = {"local_std": 1.0, "clients": 3, "size": 10, "l1": 2.0, "l2": 1.0}
    discrete_gaussian.distributed(**right)
    with pytest.raises(ConfigError, match=match):
        discrete_gaussian.distributed(**(right | changes))


@pytest.mark.parametrize(("std", "l2"), [(0.0, 1.0), (math.nan, 1.0), (1.0, -1.0), (1.0, math.inf)])
def test_one_needs_a_width_and_a_length(std: float, l2: float) -> None:
    with pytest.raises(ConfigError):
        discrete_gaussian.concentrated(std, l2)
