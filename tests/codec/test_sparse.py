"""A random part for the whole cohort: uniform subsets, and feedback that loses nothing."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from coding_reference import key_stream
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sottovoce.codec import sparse
from sottovoce.codec.sparse import REFUSAL_TOP_K, chosen, place, take, with_feedback
from sottovoce.errors import ConfigError, VerificationError

SEED = bytes(range(32))


def seed(number):
    return number.to_bytes(32, "big")


def normal(size, start=0):
    return np.random.default_rng([start, size]).standard_normal(size).astype(np.float32)


def norm(vector):
    return math.sqrt(math.fsum(float(x) ** 2 for x in vector))


# --- which entries -------------------------------------------------------------------------------


@given(st.integers(1, 200), st.data())
@settings(max_examples=100, deadline=None)
def test_the_entries_with_the_smallest_words_are_chosen(size, data):
    keep = data.draw(st.integers(1, size))
    key = data.draw(st.binary(min_size=32, max_size=32))
    stream = key_stream(key, 8 * size)
    words = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(size)]
    expected = sorted(sorted(range(size), key=words.__getitem__)[:keep])
    indices = chosen(size, keep, key)
    assert indices.tolist() == expected
    assert indices.dtype == np.int64


def uniform(subsets, size, keep):
    """The p-value of all subsets being equally likely."""
    names = {subset: i for i, subset in enumerate(combinations(range(size), keep))}
    seen = np.bincount([names[subset] for subset in subsets], minlength=len(names))
    return stats.chisquare(seen).pvalue


def test_every_subset_has_the_same_chance_and_other_ways_to_choose_are_told():
    draws = [tuple(chosen(6, 3, seed(i)).tolist()) for i in range(4000)]
    assert uniform(draws, 6, 3) > 1e-3
    rng = np.random.default_rng(0)
    neighbours = [tuple(sorted((s + np.arange(3)) % 6)) for s in rng.integers(0, 6, 4000)]
    assert uniform(neighbours, 6, 3) < 1e-9
    # Drawn with replacement, and filled up from the left where two were the same.
    mended = []
    for _ in range(4000):
        drawn = set(rng.integers(0, 6, 3).tolist())
        spare = iter(range(6))
        while len(drawn) < 3:
            drawn.add(next(spare))
        mended.append(tuple(sorted(drawn)))
    assert uniform(mended, 6, 3) < 1e-9


def test_a_tie_at_the_line_is_drawn_again(monkeypatch):
    script = [[5, 7, 7, 9], [8, 3, 4, 1]]

    class Script:
        def __init__(self, key):
            assert key == SEED

        def words(self, count):
            assert count == 4
            return np.array(script.pop(0), np.uint64)

    monkeypatch.setattr(sparse, "Source", Script)
    # Two sevens are tied for one place.
    assert chosen(4, 2, SEED).tolist() == [1, 3]
    assert script == []


def test_a_tie_that_decides_nothing_is_left(monkeypatch):
    script = [[5, 5, 7, 9]]

    class Script:
        def __init__(self, key):
            pass

        def words(self, count):
            return np.array(script.pop(0), np.uint64)

    monkeypatch.setattr(sparse, "Source", Script)
    assert chosen(4, 2, SEED).tolist() == [0, 1]


def test_rounds_choose_different_entries():
    one, two = chosen(1000, 100, seed(1)), chosen(1000, 100, seed(2))
    # 10 are expected in common; their standard deviation is 2.8.
    assert len(set(one.tolist()) & set(two.tolist())) < 25
    assert np.array_equal(one, chosen(1000, 100, seed(1)))


@pytest.mark.parametrize(("size", "keep"), [(5, 0), (5, 6), (0, 0), (0, 1), (5, -1)])
def test_a_part_that_is_none_is_refused(size, keep):
    with pytest.raises(VerificationError, match=f"{keep} of {size} entries"):
        chosen(size, keep, SEED)


def test_a_seed_has_32_bytes():
    with pytest.raises(ConfigError, match="32 bytes"):
        chosen(5, 2, bytes(16))


# --- taking and placing --------------------------------------------------------------------------


@given(st.integers(1, 100), st.data())
def test_what_was_taken_is_put_back(size, data):
    indices = chosen(size, data.draw(st.integers(1, size)), SEED)
    vector = normal(size)
    part = take(vector, indices)
    assert part.tolist() == [vector[i] for i in indices]
    back = place(part, indices, size)
    assert back.dtype == np.float32
    assert back.tolist() == [x if i in set(indices.tolist()) else 0 for i, x in enumerate(vector)]
    assert np.array_equal(take(back, indices), part)


def test_without_feedback_the_part_scaled_up_is_unbiased():
    vector = normal(50)
    backs = [
        place(take(vector, ix), ix, 50) for ix in (chosen(50, 10, seed(i)) for i in range(4000))
    ]
    mean = np.mean(backs, axis=0, dtype=float) * 5
    # Five standard deviations of a share of one in five.
    assert (np.abs(mean - vector) <= 5 * np.abs(vector) * np.sqrt(4 / 4000)).all()


WRONG = {
    "descending": np.array([3, 1]),
    "twice": np.array([1, 1]),
    "negative": np.array([-1, 2]),
    "beyond": np.array([1, 5]),
    "matrix": np.array([[1, 2]]),
    "int32": np.array([1, 2], np.int32),
    "float": np.array([1.0, 2.0]),
    "flags": np.array([True, False, True, False, True]),
}


@pytest.mark.parametrize("indices", WRONG.values(), ids=WRONG)
def test_only_ascending_places_of_the_vector_are_indices(indices):
    vector = normal(5)
    for call in (
        lambda: take(vector, indices),
        lambda: place(np.zeros(indices.shape, np.float32), indices, 5),
        lambda: with_feedback(vector, vector, indices, 1.0),
    ):
        with pytest.raises(VerificationError, match="ind"):
            call()


@pytest.mark.parametrize("count", [1, 3])
def test_one_value_for_each_place(count):
    with pytest.raises(VerificationError, match="one for each"):
        place(np.zeros(count, np.float32), np.array([0, 2]), 5)


# --- feedback ------------------------------------------------------------------------------------


def test_without_clipping_nothing_is_ever_lost():
    # Multiples of 2^-8, so that every sum is exact.
    updates = [np.rint(normal(60, r) * 256) / np.float32(256) for r in range(30)]
    residual = np.zeros(60, np.float32)
    arrived = np.zeros(60, np.float32)
    for number, update in enumerate(updates):
        indices = chosen(60, 7, seed(number))
        total = update + residual
        sent, residual = with_feedback(update, residual, indices, 1e6)
        assert np.array_equal(sent, total[indices])
        assert not residual[indices].any()
        arrived += place(sent, indices, 60)
    assert np.array_equal(arrived + residual, np.sum(updates, axis=0))


FLOATS = st.one_of(
    st.floats(-(2.0**100), 2.0**100, width=32),
    st.floats(-(2.0**-126), 2.0**-126, width=32),
    st.floats(-1, 1, width=32),
)
CLIPS = st.floats(1e-44, 1e30) | st.sampled_from([1.0, 1e-3, 5e-324, 1e300])


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=30), CLIPS, st.data())
@settings(max_examples=120, deadline=None)
def test_what_is_sent_is_within_the_bound_and_the_rest_is_kept(pairs, clip_norm, data):
    update, residual = (np.array(column, np.float32) for column in zip(*pairs, strict=True))
    kept = update.copy(), residual.copy()
    indices = chosen(update.size, data.draw(st.integers(1, update.size)), SEED)
    sent, left = with_feedback(update, residual, indices, clip_norm)
    assert norm(sent) <= clip_norm * (1 + 2**-52)
    assert sent.dtype == left.dtype == np.float32
    assert np.array_equal(update, kept[0])
    assert np.array_equal(residual, kept[1])
    total = update.astype(float) + residual
    error = np.abs(place(sent, indices, update.size).astype(float) + left - total)
    assert (error <= 2**-23 * np.abs(total) + 2.0**-149).all()
    outside = np.setdiff1d(np.arange(update.size), indices)
    assert np.array_equal(left[outside], (update + residual)[outside])


def test_clipping_keeps_the_direction_and_uses_the_bound():
    update, residual = normal(1000), 3 * normal(1000, 1)
    indices = chosen(1000, 400, SEED)
    sent, left = with_feedback(update, residual, indices, 0.5)
    part = (update + residual)[indices]
    assert 0.5 * (1 - 2**-20) < norm(sent) <= 0.5
    np.testing.assert_allclose(sent, part * (0.5 / norm(part)), rtol=1e-6)
    np.testing.assert_allclose(left[indices], part - sent)


def test_the_residual_is_added_before_clipping_and_not_after():
    residual = np.full(4, 100.0, np.float32)
    sent, _ = with_feedback(np.zeros(4, np.float32), residual, np.array([1, 2]), 1.0)
    assert norm(sent) <= 1.0
    assert norm(sent) > 0.99


def test_what_clipping_took_is_sent_later():
    update = np.array([8.0, 0.0], np.float32)
    residual, arrived = np.zeros(2, np.float32), 0.0
    for _ in range(9):
        sent, residual = with_feedback(update, residual, np.array([0]), 1.0)
        arrived += float(sent[0])
        update = np.zeros(2, np.float32)
    assert arrived == pytest.approx(8.0)
    assert np.abs(residual).max() < 1e-5


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_that_is_none_is_refused(clip_norm):
    with pytest.raises(ConfigError, match="clip_norm"):
        with_feedback(normal(3), normal(3), np.array([0]), clip_norm)


def test_vectors_that_do_not_fit_are_refused():
    indices = np.array([0])
    pairs = [
        (normal(3), normal(4)),
        (normal(3), normal(3).astype(float)),
        (normal(3).astype(float), normal(3)),
        (normal(3), normal(3).reshape(1, 3)),
    ]
    for update, residual in pairs:
        with pytest.raises(VerificationError, match="two float32 vectors of one length"):
            with_feedback(update, residual, indices, 1.0)


def test_a_total_that_is_not_finite_is_refused():
    big = np.array([3e38, 0], np.float32)
    bad = np.array([0, np.nan], np.float32)
    worse = np.array([np.inf, 0], np.float32)
    zero = np.zeros(2, np.float32)
    for update, residual in ((big, big), (bad, zero), (zero, bad), (worse, -worse)):
        with pytest.raises(VerificationError, match="not finite together"):
            with_feedback(update, residual, np.array([1]), 1.0)


def test_the_refusal_says_why():
    assert "which entries every client chose" in REFUSAL_TOP_K
    assert not REFUSAL_TOP_K.endswith(".")
    assert str(ConfigError(REFUSAL_TOP_K)).count(".") == 1
