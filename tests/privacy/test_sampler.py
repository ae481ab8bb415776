"""The sampler against exact arithmetic: the table, the envelope, the doubt, and the law itself."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sottovoce.errors import VerificationError
from sottovoce.privacy import discrete_gaussian, laplace, sampler, skellam
from sottovoce.rng import seeded_source

few = settings(max_examples=25, deadline=None)

WIDTHS = st.floats(-4.9, 43.9).map(lambda power: 2.0**power)
SHAPES = st.one_of(
    WIDTHS.map(discrete_gaussian.shape),
    WIDTHS.map(laplace.shape),
    WIDTHS.map(lambda width: skellam.shape(max(width * width, 2.0**-10))),
)
EXAMPLES = [
    discrete_gaussian.shape(0.3),
    discrete_gaussian.shape(2.0**42),
    laplace.shape(33.0),
    skellam.shape(25.0),
]


class Script:
    """Words that a test has chosen, in order."""

    def __init__(self, *words: int) -> None:
        self.left = list(words)

    def words(self, count: int) -> np.ndarray:
        given, self.left = self.left[:count], self.left[count:]
        assert len(given) == count
        return np.array(given, dtype=np.uint64)


def p_value(drawn: np.ndarray, mass: np.ndarray) -> float:
    """Chi-square against the masses at -r..r; from where ten are expected, the ends are one."""
    r = len(mass) // 2
    q = int(np.flatnonzero(mass / mass.sum() * drawn.size >= 10)[-1]) - r
    seen = np.bincount(np.clip(drawn, -q, q) + q, minlength=2 * q + 1)
    expected = mass[r - q : r + q + 1].copy()
    expected[[0, -1]] += mass[: r - q].sum()
    return float(stats.chisquare(seen, expected / expected.sum() * drawn.size).pvalue)


def geometric(scale: float) -> np.ndarray:
    return np.exp(-np.abs(np.arange(-60 * scale, 60 * scale + 1)) / scale)


def shares(table: sampler.Table) -> list[int]:
    """What the columns give every bin, in units of 2^-64."""
    given = [0] * sampler.BINS
    for column, (threshold, alias) in enumerate(
        zip(table.thresholds.tolist(), table.alias.tolist(), strict=True)
    ):
        own = threshold - column * 2**52
        assert 0 <= own < 2**52
        given[column] += own
        given[alias] += 2**52 - own
    return given


@few
@given(SHAPES)
def test_the_columns_give_every_bin_exactly_its_weight(shape: sampler.Shape) -> None:
    table = sampler.tabulate(shape)
    assert sum(table.weights) == 2**64
    assert shares(table) == list(table.weights)


@few
@given(SHAPES, st.data())
def test_no_mass_passes_its_weight_and_what_is_sure_is_kept(
    shape: sampler.Shape, data: st.DataObject
) -> None:
    table = sampler.tabulate(shape)
    distance = data.draw(st.integers(0, shape.reach))
    value = data.draw(st.sampled_from([distance, -distance]))
    chosen = (value >> table.shift) + sampler.BINS // 2
    chance = Fraction(table.scale) * shape.exact(distance) / table.weights[chosen]
    assert 0 < chance <= 1
    sure = int(table.sure[chosen]) >> table.shift
    assert Fraction(sure, 2 ** (64 - table.shift)) <= chance
    assert math.isclose(table.ratio[chosen], table.scale / table.weights[chosen], rel_tol=1e-15)


@few
@given(SHAPES)
def test_bins_beyond_the_reach_have_no_weight_and_all_others_some(shape: sampler.Shape) -> None:
    table = sampler.tabulate(shape)
    left = [(number - sampler.BINS // 2) << table.shift for number in range(sampler.BINS)]
    nearest = [begin if begin >= 0 else -(begin + (1 << table.shift) - 1) for begin in left]
    assert [weight > 0 for weight in table.weights] == [each <= shape.reach for each in nearest]


@few
@given(SHAPES)
def test_the_table_reaches_far_enough_and_not_much_further(shape: sampler.Shape) -> None:
    assert shape.reach < sampler.largest(shape)
    assert sampler.largest(shape) <= max(2048, 2 * shape.reach)


@few
@given(SHAPES, st.data())
def test_the_stated_error_of_a_shape_holds(shape: sampler.Shape, data: st.DataObject) -> None:
    distance = data.draw(st.integers(0, int(1.001 * shape.reach)))
    exact = shape.exact(distance)
    fast = Fraction(float(shape.relative(np.array([float(distance)]))[0]))
    assert abs(fast / exact - 1) <= Fraction(shape.error)


@pytest.mark.parametrize("shape", EXAMPLES)
def test_almost_every_draw_is_settled_at_once(shape: sampler.Shape) -> None:
    table = sampler.tabulate(shape)
    sure = np.ldexp(table.sure.astype(float), -64)
    assert sure @ np.array(table.weights, dtype=float) / 2.0**64 > 0.95


@pytest.mark.parametrize("scale", [2.0, 6.0, 200.0])
def test_counts_follow_the_masses_and_no_other_scale(scale: float) -> None:
    drawn = sampler.sample(laplace.shape(scale), 200_000, seeded_source(1, "counts"))
    assert p_value(drawn, geometric(scale)) > 1e-3
    assert p_value(drawn, geometric(0.9 * scale)) < 1e-9
    assert p_value(drawn, geometric(1.1 * scale)) < 1e-9


def test_the_masses_fall_within_a_bin_too() -> None:
    # A bin of 16 integers over which the mass falls by a seventh.
    shape = replace(laplace.shape(100.0), reach=20_000)
    assert sampler.tabulate(shape).shift == 4
    drawn = sampler.sample(shape, 500_000, seeded_source(2, "bins"))
    places = np.bincount(drawn[drawn > 15] % 16, minlength=16)
    fall = np.exp(-np.arange(16) / 100.0)
    assert stats.chisquare(places, fall / fall.sum() * places.sum()).pvalue > 1e-3
    assert stats.chisquare(places).pvalue < 1e-9


def test_the_doubtful_path_gives_the_same_law() -> None:
    asked: list[int] = []
    plain = laplace.shape(6.0)

    def exact(distance: int) -> Fraction:
        asked.append(distance)
        return plain.exact(distance)

    # A wide margin sends a large part of the draws to rational arithmetic.
    shape = replace(plain, exact=exact, error=0.05)
    drawn = sampler.sample(shape, 20_000, seeded_source(3, "doubt"))
    assert len(asked) > 5_000
    assert p_value(drawn, geometric(6.0)) > 1e-3
    assert p_value(drawn, geometric(0.9 * 6.0)) < 1e-9
    assert p_value(drawn, geometric(1.1 * 6.0)) < 1e-9


@pytest.mark.parametrize("width", [0.4, 50.0, 2.0**36, 2.0**43])
def test_further_bits_decide_where_the_first_ones_cannot(width: float) -> None:
    table = sampler.tabulate(laplace.shape(width))
    bits = 64 - table.shift
    # The column of bin 2,048, and a first word below its threshold or of a column that lends to it.
    own = int(table.thresholds[2048]) - 2048 * 2**52
    column = 2048 if own else int(np.flatnonzero(table.alias == 2048)[0])
    first = column * 2**52 + (0 if column == 2048 else 2**52 - 1)
    offset = (1 << table.shift) - 1
    chance = Fraction(table.scale) * table.shape.exact(offset) / table.weights[2048]
    u = math.floor(chance * 2**bits)
    rest = math.floor((chance * 2**bits - u) * 2**192)
    second = u << table.shift | offset
    for further, kept in ((rest, True), (rest + 1, False)):
        script = Script(
            first, second, *(further >> move & (2**64 - 1) for move in (128, 64, 0)), first, 0
        )
        drawn = sampler.sample(table.shape, 1, script)
        assert drawn.tolist() == [offset if kept else 0]
        assert len(script.left) == (2 if kept else 0)


def test_a_word_at_the_threshold_belongs_to_the_alias() -> None:
    shape = laplace.shape(50.0)
    table = sampler.tabulate(shape)
    own = table.thresholds.astype(object) - np.arange(sampler.BINS).astype(object) * 2**52
    weights = np.array(table.weights, dtype=object)
    lending = (own > 0) & (table.alias != np.arange(sampler.BINS)) & (weights > 2**30)
    column = int(np.flatnonzero(lending)[0])
    for word, chosen in (
        (int(table.thresholds[column]) - 1, column),
        (int(table.thresholds[column]), int(table.alias[column])),
    ):
        drawn = sampler.sample(shape, 1, Script(word, 0))
        assert drawn.tolist() == [(chosen - sampler.BINS // 2) << table.shift]


def test_a_shape_that_contradicts_itself_is_noticed() -> None:
    plain = laplace.shape(6.0)
    low = replace(plain, exact=lambda distance: 3 * plain.exact(distance), error=0.05)
    with pytest.raises(VerificationError, match="contradict"):
        sampler.sample(low, 10_000, seeded_source(4))


@pytest.mark.parametrize(
    "changes", [{"reach": -1}, {"reach": 2**51}, {"error": 2.0**-45}, {"error": 1 / 16}]
)
def test_a_shape_outside_of_the_proof_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(VerificationError, match=r"reach of 0 to .* error from 2\^-44"):
        sampler.sample(replace(laplace.shape(6.0), **changes), 1, seeded_source(0))


def test_the_largest_reach_that_is_allowed_works() -> None:
    shape = replace(laplace.shape(2.0**44), reach=sampler.LARGEST_REACH)
    assert np.abs(sampler.sample(shape, 1000, seeded_source(0))).max() < sampler.largest(shape)


@pytest.mark.parametrize("shape", EXAMPLES)
def test_no_draw_exceeds_the_largest(shape: sampler.Shape) -> None:
    drawn = sampler.sample(shape, 100_000, seeded_source(5))
    assert np.abs(drawn).max() <= shape.reach <= sampler.largest(shape)


@pytest.mark.parametrize(
    ("shape", "tail", "bits"),
    [
        # The Gaussian's is what e^ε may be multiplied with: gaussian.grid_cost counts on it.
        (discrete_gaussian.shape(2.0**42), lambda x: mpmath.erfc(x / mpmath.sqrt(2)), 239),
        (laplace.shape(2.0**42), lambda x: mpmath.exp(-x), 100),
    ],
)
def test_the_reach_of_wide_noise_leaves_out_less_than_the_distance(
    shape: sampler.Shape, tail: Callable[[float], float], bits: int
) -> None:
    assert 2.0 ** -(bits + 10) < tail(shape.reach / 2.0**42) <= 2.0**-bits


@pytest.mark.parametrize(
    "shape", [discrete_gaussian.shape(0.3), discrete_gaussian.shape(40.0), laplace.shape(5.0)]
)
def test_the_reach_of_narrow_noise_leaves_out_less_than_the_distance(shape: sampler.Shape) -> None:
    masses = [shape.exact(k) for k in range(2 * shape.reach + 50)]
    whole = masses[0] + 2 * sum(masses[1:])
    assert 2 * sum(masses[shape.reach + 1 :]) / whole <= Fraction(1, 2**100)


def test_large_draws_are_symmetric_uncorrelated_and_even_in_their_last_bits() -> None:
    drawn = sampler.sample(discrete_gaussian.shape(2.0**36), 300_000, seeded_source(6))
    assert stats.binomtest(int((drawn < 0).sum()), drawn.size).pvalue > 1e-3
    for bits in (drawn & 255, drawn >> 20 & 255):
        assert stats.chisquare(np.bincount(bits, minlength=256)).pvalue > 1e-3
    for lag in (1, 2, 16_384):
        assert abs(np.corrcoef(drawn[lag:], drawn[:-lag])[0, 1]) < 5 / math.sqrt(drawn.size)


def test_the_same_words_give_the_same_draws() -> None:
    shape = discrete_gaussian.shape(1000.0)
    one, other = (sampler.sample(shape, 50_000, seeded_source(7, "a")) for _ in range(2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, sampler.sample(shape, 50_000, seeded_source(7, "b")))


@pytest.mark.parametrize("count", [0, 1, 16_384, 16_385])
def test_as_many_as_were_asked_for(count: int) -> None:
    drawn = sampler.sample(discrete_gaussian.shape(1e6), count, seeded_source(8))
    assert drawn.shape == (count,)
    assert drawn.dtype == np.int64
    # Memory that was never written would hold the same number twice.
    assert len(np.unique(drawn)) > 0.98 * count - 1


def test_memory_beside_the_draws_stays_small() -> None:
    shape = discrete_gaussian.shape(1e9)
    sampler.sample(shape, 10, seeded_source(9))
    source = seeded_source(9)
    tracemalloc.start()
    try:
        drawn = sampler.sample(shape, 1_000_000, source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - drawn.nbytes < 2_000_000


def test_the_table_is_built_once_per_width() -> None:
    first = sampler.tabulate(discrete_gaussian.shape(123.0))
    assert sampler.tabulate(discrete_gaussian.shape(123.0)) is first
