"""Shares of noise: their variance, what they cost, and what covers what."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_skellam import divergence

from sottovoce.errors import ConfigError
from sottovoce.privacy import accounting
from sottovoce.privacy.releases import Concentrated, Renyi
from sottovoce.privacy.shares import Lattice, Mechanism, Shares, worst
from sottovoce.rng import seeded_source

MECHANISMS: tuple[Mechanism, ...] = ("skellam", "discrete_gaussian")


def shares(mechanism: Mechanism = "skellam", **changes: Any) -> Shares:
    made = Shares(mechanism, 8, 6, 2.0, Lattice(50_000, 10.0, 21.0))
    return replace(made, **changes)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("present", [6, 8])
def test_the_certain_shares_have_the_stated_variance_and_more_have_more(
    mechanism: Mechanism, present: int
) -> None:
    one = shares(mechanism)
    total = sum(one.draw(seeded_source(3, "share", place)) for place in range(present))
    expected = one.noise_std_steps**2 * present / 6
    found = float(np.mean(np.square(total, dtype=np.float64)))

    def fits(variance: float) -> bool:
        # The standard deviation of a mean of 50,000 squares is 0.63 percent of it.
        return abs(found / variance - 1) < 0.03

    assert fits(expected)
    assert not fits(0.9**2 * expected)
    assert not fits(1.1**2 * expected)
    assert one.largest_noise_std == pytest.approx(2.0 * math.sqrt(8 / 6))


def test_skellam_shares_cost_what_the_exact_divergence_says_or_a_little_more() -> None:
    one = Shares("skellam", 4, 4, 5.0, Lattice(1, 1.0, 2.0))
    release = one.release
    assert isinstance(release, Renyi)
    for order, bound in zip(release.orders, release.epsilons, strict=True):
        if order in (2, 3, 8):
            true = divergence(order, 25.0, 2)
            assert true <= bound < 1.2 * true


def test_discrete_gaussian_shares_cost_little_more_than_a_gaussian() -> None:
    release = shares("discrete_gaussian").release
    assert isinstance(release, Concentrated)
    gaussian = (21.0 / 20.0) ** 2 / 2
    assert gaussian <= release.rho < 1.0001 * gaussian
    # Shares of half an integer are no discrete Gaussian any more.
    narrow = shares("discrete_gaussian", noise_std=0.16).release
    assert isinstance(narrow, Concentrated)
    assert narrow.rho > 10 * (21.0 / 1.6) ** 2 / 2


@pytest.mark.parametrize(
    ("entries", "clients", "bits", "expected"),
    [
        (1e6, 100, 14, 1.06),
        (1e6, 100, 16, 1.00),
        (1e6, 10_000, 14, 7.0),
        (1e6, 10_000, 16, 1.38),
        (1e6, 10_000, 18, 1.02),
        (1e7, 100, 14, 1.60),
        (1e7, 1000, 14, 1.66),
        (1e7, 1000, 16, 1.04),
        (5e7, 1000, 14, 4.0),
        (5e7, 1000, 16, 1.19),
        (5e7, 10_000, 16, 1.56),
        (5e7, 10_000, 20, 1.00),
    ],
)
def test_the_overhead_over_a_gaussian_is_that_of_the_published_formulas(
    entries: float, clients: int, bits: int, expected: float
) -> None:
    """The table of the anchors, secagg.md 4.2: z = 1, C = 1, k = 4, order 16."""
    d, k = entries, 4
    std = 1 / math.sqrt(clients)
    scale = math.sqrt(2 ** (2 * bits) - clients * k**2) / (
        2 * k * math.sqrt(clients**2 / d + clients * std**2)
    )
    rounded = min(
        (1 + math.sqrt(d) / scale) ** 2,
        1 + d / (4 * scale**2) + (1 / scale) * (1 + math.sqrt(d) / (2 * scale)),
    )
    lattice = Lattice(int(d), scale, scale * math.sqrt(rounded))
    release = Shares("skellam", clients, clients, 1.0, lattice).release
    assert isinstance(release, Renyi)
    found = dict(zip(release.orders, release.epsilons, strict=True))[16.0] / 8
    # The table has three digits, and two where it is far above 1.
    assert found == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_covers_costs_no_less(mechanism: Mechanism) -> None:
    lattices = [Lattice(1000, 9.0, 20.0), Lattice(4000, 8.0, 17.0), Lattice(10, 30.0, 61.0)]
    cover = worst(lattices)
    at = {lattice: shares(mechanism, lattice=lattice).release for lattice in [*lattices, cover]}
    spent = {key: accounting.epsilon([(value, 7)], 1e-5).epsilon for key, value in at.items()}
    for lattice in lattices:
        assert cover.covers(lattice)
        assert spent[lattice] <= spent[cover]
    assert lattices[0].covers(lattices[0])
    for worse in (
        replace(cover, size=cover.size + 1),
        replace(cover, scale=0.999 * cover.scale, l2=0.999 * cover.l2),
        replace(cover, l2=1.001 * cover.l2),
    ):
        assert not cover.covers(worse)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_several_units_that_move_together_cost_their_number_squared(mechanism: Mechanism) -> None:
    one = shares(mechanism, noise_std=200.0)
    alone, together = ([(who.release, 1)] for who in (one, one.moved_by(3)))
    ninefold = [(one.release, 9)]
    found = accounting.epsilon(together, 1e-5).epsilon
    assert found == pytest.approx(accounting.epsilon(ninefold, 1e-5).epsilon, rel=0.01)
    assert found > 2.5 * accounting.epsilon(alone, 1e-5).epsilon


def test_the_cover_covers_each_to_the_last_bit() -> None:
    """Growth times scale over scale is often a bit below the growth, which would not cover."""
    draw = np.random.default_rng(0)
    rounded_down = 0
    for _ in range(300):
        found = [
            Lattice(int(size), float(scale), float(scale * growth))
            for size, scale, growth in zip(
                draw.integers(1, 99, 3), draw.uniform(1, 9, 3), draw.uniform(1, 2, 3), strict=True
            )
        ]
        cover = worst(found)
        assert all(cover.covers(one) for one in found)
        growth = max(one.l2 / one.scale for one in found)
        rounded_down += growth * cover.scale / cover.scale < growth
        assert cover.l2 <= growth * cover.scale * (1 + 2.0**-50)
    assert rounded_down > 10


def test_the_sum_norm_of_integers_is_at_most_their_squares() -> None:
    assert Lattice(10_000, 1.0, 3.0).l1 == 9.0
    assert Lattice(4, 1.0, 3.0).l1 == 6.0


def test_draws_that_are_not_exact_are_counted() -> None:
    assert shares().outside(5) == 5 * 8 * 50_000 * 2.0**-99


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"certain": 0}, "0 of 8 clients are certain"),
        ({"certain": 9}, "9 of 8 clients are certain"),
        ({"noise_std": 0.0}, "a noise of 0"),
        ({"noise_std": math.inf}, "a noise of inf"),
    ],
)
def test_noise_that_hides_nothing_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        shares(**changes)
