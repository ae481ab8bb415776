"""Random rounding against fractions, and its mean against wrong ways to round."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from coding_reference import round_up_or_down, words_of_32_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.codec.rounding import LARGEST, round_randomly
from sottovoce.errors import VerificationError
from sottovoce.rng import Source, seeded_source


class Script:
    """A source whose 64-bit words are all the same."""

    def __init__(self, word):
        self.word = word

    def words(self, count):
        return np.full(count, self.word, np.uint64)


def leans(rounded, value):
    """Whether the mean of roundings is five standard deviations away from the value."""
    part = value - np.floor(value)
    deviation = np.sqrt(part * (1 - part) / rounded.size)
    return abs(rounded.mean() - value) > 5 * deviation + 2**-17


LIMITS = st.sampled_from([1, 2, 3, 127, 3276, 2**15 - 1, 2**15, 2**20, LARGEST])


@given(LIMITS, st.binary(min_size=32, max_size=32), st.data())
@settings(max_examples=100, deadline=None)
def test_every_integer_is_that_of_exact_arithmetic(limit, key, data):
    number = st.floats(-limit, limit, width=32) if limit < 2**24 else st.floats(-1e9, 1e9, width=32)
    values = data.draw(st.lists(number, max_size=9))
    given_ = np.array(values, np.float32)
    rounded = round_randomly(given_, limit, Source(key))
    words = words_of_32_bits(key, len(values))
    assert rounded.tolist() == round_up_or_down([Fraction(x) for x in values], limit, words)
    assert rounded.dtype == (np.int32 if limit < 2**15 else np.int64)
    assert given_.tolist() == values


@given(LIMITS, st.sampled_from([0, 2**64 - 1]), st.data())
@settings(max_examples=100, deadline=None)
def test_each_becomes_a_neighbour_and_none_passes_the_limit(limit, word, data):
    edge = float(limit) if limit < 2**24 else 2.0**30
    number = st.floats(-edge, edge, width=32) | st.sampled_from([edge, -edge, 0.0, -0.0])
    values = np.array(data.draw(st.lists(number, min_size=1, max_size=9)), np.float32)
    rounded = round_randomly(values, limit, Script(word))
    # Below a multiple of 2^-17 there is nothing, so the nearest multiple's neighbours count.
    assert (rounded >= np.floor(values - 2.0**-17)).all()
    assert (rounded <= np.ceil(values + 2.0**-17)).all()
    assert np.abs(rounded).max() <= limit
    whole = values == np.rint(values)
    assert (rounded[whole] == values[whole]).all()


@pytest.mark.parametrize("limit", [1, 400, 2**15 - 1, 2**15])
@pytest.mark.parametrize("value", [0.3, -0.3, 0.5, -0.001, 0.999])
def test_the_mean_is_the_value_and_wrong_roundings_are_told(value, limit):
    values = np.full(300_000, value, np.float32)
    rounded = round_randomly(values, limit, seeded_source(31, "mean", limit))
    assert set(np.unique(rounded)) == {np.floor(value), np.ceil(value)}
    assert not leans(rounded, value)
    rng = np.random.default_rng(5)
    assert leans(np.floor(values), value)
    assert leans(np.rint(values), value)
    assert leans(np.trunc(values), value)
    # Only four random bits, of which the mean is off by up to a sixteenth.
    assert leans(np.floor(values + rng.integers(0, 16, values.size) / 16), value) or value == 0.5


def test_the_mean_of_a_large_value_is_the_value_too():
    # In float32 a sum of 16,000 and a number below 1 is rounded, so floor(x + u) would lean.
    values = np.full(2**20, 16_000.0, np.float32)
    assert set(round_randomly(values, 2**15 - 1, seeded_source(1))) == {16_000}
    noise = np.random.default_rng(5).random(values.size).astype(np.float32)
    assert set(np.floor(values + noise)) == {16_000, 16_001}


def test_chunks_share_one_stream_and_odd_lengths_are_served():
    values = np.full(2**16 + 61, 0.5, np.float32)
    key = bytes(range(32))
    rounded = round_randomly(values, 1, Source(key))
    words = words_of_32_bits(key, values.size)
    expected = [word >> 31 for word in words]
    assert rounded.tolist() == expected
    assert round_randomly(values[:0], 1, Source(key)).size == 0


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 5.001, -5.001])
@pytest.mark.parametrize("place", [0, 70_000])
def test_a_value_beyond_the_limit_is_refused(wrong, place):
    values = np.zeros(70_001, np.float32)
    values[place] = wrong
    with pytest.raises(VerificationError, match="-5 to 5"):
        round_randomly(values, 5, seeded_source(0))


@pytest.mark.parametrize("limit", [2**24 + 1, LARGEST])
def test_a_limit_that_no_float32_can_be_is_not_rounded_up(limit):
    above = np.nextafter(np.float32(limit), np.float32(np.inf))
    below = np.nextafter(np.float32(limit), np.float32(0))
    assert round_randomly(np.array([below, -below]), limit, seeded_source(0)).max() <= limit
    values = np.array([above if float(np.float32(limit)) <= limit else np.float32(limit)])
    for wrong in (values, -values):
        with pytest.raises(VerificationError, match="beyond the limit"):
            round_randomly(wrong, limit, seeded_source(0))


@pytest.mark.parametrize("limit", [0, -1, LARGEST + 1])
def test_a_limit_out_of_range_is_refused(limit):
    with pytest.raises(VerificationError, match="float32 up to"):
        round_randomly(np.zeros(1, np.float32), limit, seeded_source(0))


@pytest.mark.parametrize(("limit", "places"), [(1, 30), (3276, 19), (2**15 - 1, 16), (2**15, 32)])
def test_every_place_behind_the_point_counts(limit, places):
    values = np.array([2.0**-places, -(2.0**-places), 1 - 2.0**-24], np.float32)
    assert round_randomly(values, limit, Script(2**64 - 1)).tolist() == [1, 0, 1]
    assert round_randomly(values[:2], limit, Script(0)).tolist() == [0, -1]


def test_limits_have_31_bits():
    assert LARGEST == 2**31 - 1


def test_only_float32_is_rounded():
    with pytest.raises(VerificationError, match="float64"):
        round_randomly(np.zeros(1), 5, seeded_source(0))
