"""The means, medians and Krum against rational arithmetic, SciPy, theorems and made-up rows."""

import statistics
import tracemalloc
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from sottovoce.aggregate import (
    geometric_median,
    krum,
    median,
    multi_krum,
    trimmed_mean,
    weighted_mean,
)
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.update import Update

VALUES = st.floats(-1e6, 1e6, width=32)


def update(values, examples, client="c"):
    return Update({"a": np.array(values, np.float32)}, client, examples, 1, 1, 0.0)


@st.composite
def federations(draw):
    width = draw(st.integers(0, 4))
    rows = draw(
        st.lists(
            st.tuples(st.lists(VALUES, min_size=width, max_size=width), st.integers(0, 10**6)),
            min_size=1,
            max_size=6,
        ).filter(lambda rows: any(examples for _, examples in rows))
    )
    return [update(values, examples, f"c{i}") for i, (values, examples) in enumerate(rows)]


@given(federations())
@settings(max_examples=80, deadline=None)
def test_each_entry_is_the_exact_mean_to_float64(updates):
    mean = weighted_mean(updates)["a"]
    total = sum(u.examples for u in updates)
    for place, entry in enumerate(mean):
        exact = sum(u.examples * Fraction(float(u.tensors["a"][place])) for u in updates) / total
        assert abs(Fraction(float(entry)) - exact) <= abs(exact) * Fraction(2) ** -52


@given(federations(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_clients_does_not_change_a_bit(updates, random):
    shuffled = random.sample(updates, len(updates))
    one, other = weighted_mean(updates)["a"], weighted_mean(shuffled)["a"]
    assert one.tobytes() == other.tobytes()


def test_it_agrees_with_numpy_average():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 3, 4)).astype(np.float32)
    examples = [3, 1, 4, 1, 5]
    mean = weighted_mean([update(r, n) for r, n in zip(rows, examples, strict=True)])["a"]
    assert mean.dtype == np.float64
    np.testing.assert_allclose(
        mean, np.average(rows.astype(np.float64), axis=0, weights=examples), rtol=1e-13, atol=1e-15
    )


def test_cancellation_loses_nothing():
    updates = [update([1e30], 1), update([1.0], 1), update([-1e30], 1)]
    assert weighted_mean(updates)["a"].tolist() == [1 / 3]


@pytest.mark.parametrize("updates", [[], [update([1.0], 0)]])
def test_no_updates_or_no_examples_raise(updates):
    with pytest.raises(VerificationError, match="at least one update with at least one example"):
        weighted_mean(updates)


def test_other_shapes_raise():
    with pytest.raises(VerificationError):
        weighted_mean([update([1.0], 1), update([1.0, 2.0], 1)])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_raise_by_client(bad):
    with pytest.raises(VerificationError, match="'a' of client 'rome'"):
        weighted_mean([update([1.0], 1), update([bad], 1, "rome")])


# --- robust rules --------------------------------------------------------------------------------

RULES = {
    "median": (median, 1),
    "trimmed mean": (lambda rows: trimmed_mean(rows, trim=(len(rows) - 1) // 2), 1),
    "trimmed mean of most": (lambda rows: trimmed_mean(rows, trim=(len(rows) - 1) // 3), 1),
    "geometric median": (geometric_median, 1),
    "krum": (lambda rows: krum(rows, faulty=(len(rows) - 3) // 2), 3),
    "multi-krum": (lambda rows: multi_krum(rows, faulty=(len(rows) - 3) // 2, keep=2), 3),
}
ENTRIES = st.floats(-1e6, 1e6, width=32) | st.sampled_from([0.0, -0.0, 1.0, 2.0])


def matrices(entries=ENTRIES, least=1, most=7):
    return st.tuples(st.integers(least, most), st.integers(0, 4)).flatmap(
        lambda shape: st.lists(
            st.lists(entries, min_size=shape[1], max_size=shape[1]),
            min_size=shape[0],
            max_size=shape[0],
        ).map(lambda rows: np.array(rows, np.float32).reshape(shape))
    )


def few_columns(monkeypatch):
    """Blocks of one to three columns, so that their borders are met."""
    monkeypatch.setattr("sottovoce.aggregate._BLOCK", 9)


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    if request.param == "many blocks":
        few_columns(monkeypatch)


def exact(rows):
    return [[Fraction(float(entry)) for entry in row] for row in rows]


def middle_mean(rows, trim):
    """The reference: sort each column of exact fractions and average what is left."""
    columns = [sorted(column)[trim : len(rows) - trim] for column in zip(*exact(rows), strict=True)]
    return [(sum(column) / len(column), max(map(abs, column))) for column in columns]


@given(matrices(), st.data())
@settings(max_examples=40, deadline=None)
def test_the_median_and_the_trimmed_mean_are_those_of_sorted_fractions(rows, data):
    most = (len(rows) - 1) // 2
    trim = data.draw(st.integers(0, most))
    for ours, cut in ((median(rows), most), (trimmed_mean(rows, trim=trim), trim)):
        expected = middle_mean(rows, cut)
        assert ours.dtype == np.float64
        assert len(ours) == len(expected)
        for entry, (fraction, largest) in zip(ours.tolist(), expected, strict=True):
            assert abs(Fraction(entry) - fraction) <= len(rows) * largest * Fraction(2) ** -52
    assert median(rows).tolist() == [
        statistics.median(column) for column in rows.T.astype(float).tolist()
    ]


def test_they_agree_with_scipy(blocks):
    rows = np.random.default_rng(0).normal(size=(10, 53))
    np.testing.assert_allclose(
        trimmed_mean(rows, trim=2), stats.trim_mean(rows, 0.2, axis=0), rtol=1e-12
    )
    np.testing.assert_array_equal(median(rows), np.median(rows, axis=0))


def krum_by_the_paper(rows, faulty, keep=1):
    """The reference: exact squares, all pairs, ties by content, in the paper's order."""
    numbers = exact(rows)
    scores = []
    for one in range(len(numbers)):
        squares = sorted(
            sum((a - b) ** 2 for a, b in zip(numbers[one], numbers[other], strict=True))
            for other in range(len(numbers))
            if other != one
        )
        scores.append((sum(squares[: len(numbers) - faulty - 2]), numbers[one]))
    best = [row for _, row in sorted(scores)[:keep]]
    return [float(sum(column) / keep) for column in zip(*best, strict=True)]


@given(matrices(st.integers(-9, 9), least=3), st.data())
@settings(max_examples=40, deadline=None)
def test_krum_is_that_of_the_paper_with_ties_by_content(rows, data):
    # Small integers, so that scores are exact and tie often.
    faulty = data.draw(st.integers(0, (len(rows) - 3) // 2))
    keep = data.draw(st.integers(1, len(rows) - faulty))
    assert krum(rows, faulty=faulty).tolist() == krum_by_the_paper(rows, faulty)
    np.testing.assert_allclose(
        multi_krum(rows, faulty=faulty, keep=keep),
        krum_by_the_paper(rows, faulty, keep),
        rtol=1e-14,
        atol=1e-14,
    )


def total_distance(rows, point):
    return np.linalg.norm(rows.astype(float) - point, axis=1).sum()


@given(matrices(st.floats(-100, 100, width=16), least=2))
@settings(max_examples=12, deadline=None)
def test_no_point_that_scipy_finds_is_nearer_to_all_rows(rows):
    ours = total_distance(rows, geometric_median(rows))
    starts = [rows.mean(axis=0), median(rows)] if rows.shape[1] else []
    found = [
        optimize.minimize(lambda z: total_distance(rows, z), start, method="Nelder-Mead").fun
        for start in starts
    ]
    nearest = min([total_distance(rows, row) for row in rows] + found)
    # The smoothing costs at most n·ν/2, and that only where the answer is that close to a row.
    away = np.median(np.linalg.norm(rows - median(rows), axis=1))
    assert ours <= nearest * (1 + 1e-5) + len(rows) * away * 2.0**-11


def test_points_whose_geometric_median_is_known():
    turn = np.linspace(0, 2 * np.pi, 5, endpoint=False)
    pentagon = np.stack([np.cos(turn), np.sin(turn)], axis=1) + 7
    np.testing.assert_allclose(geometric_median(pentagon), [7, 7], atol=1e-5)
    # Of a convex quadrilateral it is where the diagonals meet; the last corner may be anywhere
    # on its diagonal.
    for far in (2.0, 50.0, 1e12, 1e100):
        corners = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [far, far]])
        np.testing.assert_allclose(geometric_median(corners), [1, 1], atol=1e-5)
    # A corner of 120 degrees or more is the answer itself, and is returned exactly.
    for angle, is_corner in ((121, True), (119, False), (170, True), (60, False)):
        radians = np.deg2rad(angle)
        corner = np.array([0.1, -0.3])
        others = corner + np.array([[3.0, 0.0], [np.cos(radians), np.sin(radians)]])
        found = geometric_median(np.vstack([corner, others]))
        assert (found.tolist() == corner.tolist()) is is_corner
    # A row that more than half of the rows equal.
    assert geometric_median(np.array([[3.0, 1], [3, 1], [3, 1], [9, 9], [1e9, 0]])).tolist() == [
        3.0,
        1.0,
    ]


def test_a_row_that_an_iterate_meets_and_that_is_not_the_answer_is_left():
    # The columns' median is the first row, but the others pull away from it.
    rows = np.array([[0.0, 0.0], [10, -1], [11, -1], [-1, 10], [-1, 11]])
    assert median(rows).tolist() == [0, 0]
    found = geometric_median(rows)
    pull = (rows - found) / np.linalg.norm(rows - found, axis=1, keepdims=True)
    assert np.linalg.norm(pull.sum(axis=0)) <= 5e-6
    assert total_distance(rows, found) < total_distance(rows, rows[0]) - 0.1


def test_the_unit_vectors_to_the_rows_add_up_to_almost_nothing(blocks):
    rng = np.random.default_rng(2)
    for count in (4, 9, 20):
        for far in (1.0, 1e3, 1e60):
            rows = rng.normal(size=(count, 12))
            rows[: count // 3] *= far
            away = rows - geometric_median(rows)
            distances = np.linalg.norm(away, axis=1, keepdims=True)
            assert distances.min() > 0.1
            assert np.linalg.norm((away / distances).sum(axis=0)) <= 1.001e-6 * count


def test_of_two_rows_it_is_the_point_halfway_and_of_one_column_the_median():
    assert geometric_median(np.array([[1.0, 9.0], [4.0, 0.0]])).tolist() == [2.5, 4.5]
    for count in (1, 2, 3, 6, 7):
        column = np.random.default_rng(count).normal(size=(count, 1))
        assert geometric_median(column).tolist() == median(column).tolist()


def nearly_the_answer(excess, rng):
    """A row at zero from which the others' unit vectors add up to 1 + excess: hard to tell."""
    others = rng.normal(size=(3, 3))
    aside = others - others.mean(axis=0)

    def units(part):
        mixed = (1 - part) * aside + part * np.eye(3)[0]
        return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)

    part = optimize.brentq(
        lambda part: np.linalg.norm(units(part).sum(axis=0)) - 1 - excess, 0, 1, xtol=1e-15
    )
    return np.vstack([np.zeros(3), units(part) * 10 ** rng.uniform(-2, 2, (3, 1))])


def test_it_ends_soon_where_weiszfelds_steps_become_tiny(monkeypatch):
    # Unstretched steps need tens of thousands here.
    monkeypatch.setattr("sottovoce.aggregate._MOST_STEPS", 2500)
    rng = np.random.default_rng(0)
    for excess in np.geomspace(1e-5, 1e-1, 9):
        rows = nearly_the_answer(excess, rng)
        found = geometric_median(rows)
        assert np.linalg.norm(found) < 0.1 * np.linalg.norm(rows, axis=1).max()


def test_steps_that_do_not_end_are_an_error(monkeypatch):
    monkeypatch.setattr("sottovoce.aggregate._MOST_STEPS", 2)
    with pytest.raises(VerificationError, match="of 4 rows is not found in 2 steps"):
        geometric_median(nearly_the_answer(1e-3, np.random.default_rng(1)))


# Laws of all of them.


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_change_a_bit(name, data):
    rule, least = RULES[name]
    rows = data.draw(matrices(least=least))
    shuffled = rows[data.draw(st.permutations(range(len(rows))))]
    result = rule(rows)
    assert result.tobytes() == rule(shuffled).tobytes()
    assert result.tobytes() == rule(rows.astype(np.float64)).tobytes()
    assert result.dtype == np.float64
    assert result.shape == rows.shape[1:]


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_long_rows_does_not_change_a_bit_and_their_blocks_hardly(name, monkeypatch):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(9, 40)) * 10.0 ** rng.integers(-8, 8, (9, 1))
    rule, _ = RULES[name]
    whole = rule(rows)
    few_columns(monkeypatch)
    cut = rule(rows)
    np.testing.assert_allclose(whole, cut, rtol=1e-6, atol=1e-12)
    for _ in range(10):
        assert rule(rng.permutation(rows)).tobytes() == cut.tobytes()


@pytest.mark.parametrize("name", RULES)
def test_rows_that_tie_or_differ_in_a_sign_of_zero_have_no_order(name):
    rule, _ = RULES[name]
    rows = np.array([[0.0, 1.0], [-0.0, 2.0], [0.0, 2.0], [-0.0, 1.0], [1.0, -0.0], [1.0, 0.0]])
    results = {rule(rows[list(order)]).tobytes() for order in permutations(range(6))}
    assert len(results) == 1


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_rows_that_move_together_move_the_result(name, data):
    rule, least = RULES[name]
    rows = data.draw(matrices(st.integers(-50, 50), least=least)).astype(np.float64)
    by = data.draw(
        st.lists(st.integers(-1000, 1000), min_size=rows.shape[1], max_size=rows.shape[1])
    )
    # The order by content moves along, and small integers have exact squares: no tie breaks.
    np.testing.assert_allclose(rule(rows + by), rule(rows) + by, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", RULES)
@given(data=st.data())
@settings(max_examples=12, deadline=None)
def test_equal_rows_are_the_result_exactly(name, data):
    rule, least = RULES[name]
    row = data.draw(matrices(least=1, most=1))
    for count in range(least, least + 5):
        assert rule(np.repeat(row, count, axis=0)).tolist() == row[0].tolist()


def test_rounding_takes_no_mean_beyond_what_was_averaged():
    row = np.random.default_rng(0).normal(size=(1, 200))
    for count in (3, 7, 10, 31):
        rows = np.repeat(row, count, axis=0)
        assert (rows.sum(axis=0) / count != row[0]).any()
        assert trimmed_mean(rows, trim=0).tolist() == row[0].tolist()


@pytest.mark.parametrize("name", RULES)
def test_the_rows_are_left_as_they_were(name):
    rows = np.random.default_rng(0).normal(size=(7, 12)).astype(np.float32)
    before = rows.copy()
    RULES[name][0](rows)
    assert rows.tobytes() == before.tobytes()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**401])
def test_an_entry_of_no_usable_size_raises_by_its_row(name, bad, blocks):
    for kind in (np.float32, np.float64):
        rows = np.ones((5, 12), kind)
        RULES[name][0](rows)
        with np.errstate(over="ignore"):
            rows[3, 10] = bad
        with pytest.raises(VerificationError, match=r"row 3 holds an entry that is not a number"):
            RULES[name][0](rows)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((0, 3)),
        np.zeros(3),
        np.zeros((3, 3, 3)),
        np.zeros((3, 3), int),
        np.zeros((3, 3), bool),
    ],
    ids=["none", "vector", "cube", "integers", "marks"],
)
def test_what_is_no_matrix_of_floats_raises(name, rows):
    with pytest.raises(VerificationError, match="at least one row"):
        median(rows)
    with pytest.raises((VerificationError, ConfigError)):
        RULES[name][0](rows)


@pytest.mark.parametrize(
    ("rule", "rows", "why"),
    [
        (
            lambda rows: trimmed_mean(rows, trim=2),
            4,
            "trim is 2 for 4 rows.*trim = 1 or less.*take 5",
        ),
        (lambda rows: trimmed_mean(rows, trim=1), 2, "trim is 1 for 2 rows"),
        (lambda rows: trimmed_mean(rows, trim=-1), 4, "trim is -1. Allowed: an integer, 0 or more"),
        (lambda rows: trimmed_mean(rows, trim=0.5), 4, "trim is 0.5"),
        (lambda rows: trimmed_mean(rows, trim=True), 4, "trim is True"),
        (lambda rows: krum(rows, faulty=1), 4, "4 rows of which 1.*5 rows or more.*faulty = 0"),
        (lambda rows: krum(rows, faulty=3), 8, "9 rows or more.*faulty = 2"),
        (lambda rows: krum(rows, faulty=0), 2, "3 rows or more.*or the median"),
        (lambda rows: krum(rows, faulty=-1), 4, "faulty is -1"),
        (lambda rows: krum(rows, faulty=0.5), 9, "faulty is 0.5"),
        (lambda rows: multi_krum(rows, faulty=1, keep=0), 5, "keep is 0"),
        (lambda rows: multi_krum(rows, faulty=1, keep=5), 5, "keep is 5 for 5.*Allowed: 1 to 4"),
    ],
)
def test_a_precondition_that_does_not_hold_raises_with_the_remedy(rule, rows, why):
    with pytest.raises(ConfigError, match=why):
        rule(np.zeros((rows, 2)))


def test_they_hold_at_the_very_border():
    trimmed_mean(np.zeros((5, 2)), trim=2)
    krum(np.zeros((5, 2)), faulty=1)
    multi_krum(np.zeros((5, 2)), faulty=1, keep=4)


# How far rows that somebody made up can take the result.


def farthest(rule, honest, faulty, far, rng):
    """The result under the worst of some attacks, and where honest rows were: one for each."""
    size = honest.shape[1]
    aside = rng.normal(size=size)
    aside /= np.linalg.norm(aside)
    attacks = [
        np.repeat(honest[:1] + far * aside, faulty, axis=0),
        honest.mean(axis=0) + far * rng.normal(size=(faulty, size)),
        np.repeat(honest.mean(axis=0, keepdims=True) + 1.5 * aside, faulty, axis=0),
    ]
    return [rule(rng.permutation(np.vstack([honest, attack]))) for attack in attacks]


def columns_bound(honest, faulty, result):
    return (honest.min(axis=0) <= result).all() and (result <= honest.max(axis=0)).all()


def ball_bound(honest, faulty, result):
    count = len(honest) + faulty
    ratio = (faulty + count * 1e-6) / len(honest)
    room = max(1 + (1 + count**0.5) / 1024, (1 - ratio**2) ** -0.5)
    # Any centre will do; these are two.
    for centre in (honest.mean(axis=0), honest[0]):
        radius = np.linalg.norm(honest - centre, axis=1).max()
        if np.linalg.norm(result - centre) > radius * room * (1 + 1e-9):
            return False
    return True


def neighbour_bound(honest, faulty, result):
    count = len(honest) + faulty
    apart = max(np.linalg.norm(one - other) for one in honest for other in honest)
    room = ((count - faulty - 2) / (count - 2 * faulty - 1)) ** 0.5
    return min(np.linalg.norm(honest - result, axis=1)) <= apart * room * (1 + 1e-9)


BOUNDS = {
    "median": (columns_bound, lambda rows, faulty: median(rows), 1),
    "trimmed mean": (columns_bound, lambda rows, faulty: trimmed_mean(rows, trim=faulty), 1),
    "geometric median": (ball_bound, lambda rows, faulty: geometric_median(rows), 1),
    "krum": (neighbour_bound, lambda rows, faulty: krum(rows, faulty=faulty), 3),
    "multi-krum": (
        neighbour_bound,
        lambda rows, faulty: multi_krum(rows, faulty=faulty, keep=1),
        3,
    ),
}


@pytest.mark.parametrize("name", BOUNDS)
@given(st.integers(1, 5), st.integers(0, 3), st.integers(1, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_made_up_rows_move_the_result_no_further_than_the_bound(name, faulty, more, size, seed):
    bound, rule, least = BOUNDS[name]
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(faulty + least + more, size)) + rng.normal(size=size) * 100
    for far in (10.0, 1e6, 1e100):
        for result in farthest(lambda rows: rule(rows, faulty), honest, faulty, far, rng):
            assert bound(honest, faulty, result)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_mean_passes_no_bound(name):
    bound, _, least = BOUNDS[name]
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(1 + least, 3))
    for far in (1e3, 1e6, 1e9):
        mean, *_ = farthest(lambda rows: rows.mean(axis=0), honest, 1, far, rng)
        assert not bound(honest, 1, mean)
        assert np.linalg.norm(mean) > far / 10


@pytest.mark.parametrize("name", BOUNDS)
def test_one_more_made_up_row_than_the_theorem_allows_takes_any_rule(name):
    # So the bounds above are no accident of these data.
    _, rule, least = BOUNDS[name]
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(least + 2, 3))
    far = np.repeat(rng.normal(size=(1, 3)) * 1e9, len(honest) + 1, axis=0)
    rows = np.vstack([honest, far])
    result = rule(rows, (len(rows) - least) // 2)
    assert np.linalg.norm(result) > 1e6


def test_what_is_averaged_of_many_is_near_the_others_in_multi_krum():
    rng = np.random.default_rng(5)
    honest = rng.normal(size=(6, 4))
    for far in (3.0, 10.0, 1e9):
        rows = np.vstack([honest, honest[0] + far * rng.normal(size=(2, 4))])
        apart = max(np.linalg.norm(one - other) for one in honest for other in honest)
        kept = multi_krum(rows, faulty=2, keep=6)
        assert np.linalg.norm(kept - honest.mean(axis=0)) <= apart * (1 + (4 / 3) ** 0.5)


def test_memory_beside_the_rows_is_eight_blocks_and_some_vectors(monkeypatch):
    # With the blocks of 8 MiB that the rules work with, eight are the 64 MiB that they promise.
    monkeypatch.setattr("sottovoce.aggregate._BLOCK", 2**14)
    rows = np.random.default_rng(0).normal(size=(8, 2**17)).astype(np.float32)
    block, vector = 8 * 2**14, 8 * 2**17
    for name, vectors in (("median", 1), ("geometric median", 8), ("krum", 1), ("multi-krum", 1)):
        tracemalloc.start()
        RULES[name][0](rows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # The last term is for what does not grow with the columns.
        assert peak <= 8 * block + vectors * vector + 2**16
