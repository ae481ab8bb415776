"""Weight, count and checksum behind a sum, against integers of any size."""

from __future__ import annotations

import numpy as np
import pytest
from coding_reference import add, limb_bits, seal
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.codec import checks
from sottovoce.codec.fixed_point import WEIGHT_LIMIT
from sottovoce.errors import VerificationError

BITS = st.integers(8, 32)
WEIGHTS = st.integers(0, WEIGHT_LIMIT - 1) | st.sampled_from([0, 1, WEIGHT_LIMIT - 1])
HEAVIEST = WEIGHT_LIMIT - 1


def sealed(entries, bits, clients, weight, count=1):
    kind = np.uint16 if bits <= 16 else np.uint32
    words = np.zeros(len(entries) + checks.check_words(bits, clients), kind)
    words[: len(entries)] = np.array(entries, np.int64).astype(kind)
    checks.seal(words, bits, clients, weight=weight, count=count)
    return words


@given(BITS, WEIGHTS, st.data())
@settings(max_examples=80, deadline=None)
def test_every_word_is_that_of_the_reference(bits, weight, data):
    clients = data.draw(st.integers(1, min(5000, 2 ** (bits - 1) - 1)))
    count = data.draw(st.integers(1, clients))
    entries = data.draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=40))
    words = sealed(entries, bits, clients, weight, count)
    expected = seal(entries, bits=bits, clients=clients, weight=weight, count=count)
    assert words.tolist() == expected


@pytest.mark.parametrize("bits", [8, 16, 20, 32])
def test_long_vectors_are_added_up_in_rows_to_the_same_checksum(bits):
    for size in (4096 * 8 - 1, 4096 * 8 + 5, 100_003):
        entries = np.random.default_rng(size).integers(-(2**15), 2**15, size).tolist()
        words = sealed(entries, bits, 10, 7)
        assert words.tolist() == seal(entries, bits=bits, clients=10, weight=7)


@given(BITS, st.data())
@settings(max_examples=40, deadline=None)
def test_the_sum_of_as_many_clients_as_may_be_is_read_exactly(bits, data):
    clients = data.draw(st.integers(1, 20))
    # All of the largest weight: no limb and no count of the sum may wrap.
    weights = data.draw(
        st.just([HEAVIEST] * clients) | st.lists(WEIGHTS, min_size=clients, max_size=clients)
    )
    vectors = [
        sealed(data.draw(st.lists(st.integers(-99, 99), min_size=3, max_size=3)), bits, clients, w)
        for w in weights
    ]
    total = np.sum(vectors, axis=0, dtype=vectors[0].dtype)
    assert checks.read(total, bits, clients, heaviest=HEAVIEST) == (sum(weights), clients)
    reduced = np.array(add([v.tolist() for v in vectors], bits), total.dtype)
    before = total.copy()
    assert checks.read(reduced, bits, clients, heaviest=HEAVIEST) == (sum(weights), clients)
    assert np.array_equal(total, before)


@given(BITS, st.integers(1, 2**20))
def test_a_limb_is_as_wide_as_it_may_be(bits, clients):
    clients = min(clients, 2 ** (bits - 1) - 1)
    words = checks.check_words(bits, clients)
    parts = -(-64 // bits)
    assert parts * bits >= 64
    assert words == -(-29 // limb_bits(bits, clients)) + 1 + parts


def test_words_of_b_bits_come_out_below_two_to_the_b():
    words = sealed([-1, 2**19, 5], 20, 1000, 3)
    assert words[:3].tolist() == [2**20 - 1, 2**19, 5]
    assert words.max() < 2**20


@given(BITS, st.data())
@settings(max_examples=80, deadline=None)
def test_a_single_changed_word_never_passes(bits, data):
    clients = data.draw(st.integers(2, min(50, 2 ** (bits - 1) - 1)))
    vectors = [sealed(range(-5, 6), bits, clients, w) for w in (3, 4)]
    total = vectors[0] + vectors[1]
    place = data.draw(st.integers(0, total.size - 1))
    total[place : place + 1] += total.dtype.type(data.draw(st.integers(1, 2**bits - 1)))
    with pytest.raises(VerificationError, match="checksum"):
        checks.read(total, bits, clients, heaviest=9)


@pytest.mark.parametrize("bits", [8, 16, 20, 32])
def test_a_mask_left_in_or_removed_twice_does_not_pass(bits):
    rng = np.random.default_rng(bits)
    total = sealed(range(100), bits, 10, 3)
    # The chance that one of these passes by luck is 2^-57 in all.
    for _ in range(50):
        mask = rng.integers(0, 2**bits, total.size).astype(total.dtype)
        for wrong in (total + mask, total - mask):
            with pytest.raises(VerificationError, match="mask was not removed"):
                checks.read(wrong, bits, 10, heaviest=9)
        assert checks.read(total + mask - mask, bits, 10, heaviest=9) == (3, 1)


def test_every_part_of_the_checksum_is_looked_at():
    # A mask that leaves all parts but one as they are still does not pass.
    for part in range(4):
        total = sealed(range(8), 16, 10, 3)
        total[part] += 1
        with pytest.raises(VerificationError, match="checksum"):
            checks.read(total, 16, 10, heaviest=9)


def test_the_checksum_is_blind_to_wraps():
    total = sealed([32767, -32768], 16, 10, 1) + sealed([1, -1], 16, 10, 1)
    assert checks.read(total, 16, 10, heaviest=9) == (2, 2)


def test_a_sum_of_nobody_or_of_too_many_is_refused():
    one = sealed([1, 2], 16, 3, 1)
    nobody = np.zeros_like(one)
    with pytest.raises(VerificationError, match="a sum of 0 clients"):
        checks.read(nobody, 16, 3, heaviest=9)
    with pytest.raises(VerificationError, match="a sum of 4 clients"):
        checks.read(np.sum([one] * 4, axis=0, dtype=one.dtype), 16, 3, heaviest=9)
    assert checks.read(np.sum([one] * 3, axis=0, dtype=one.dtype), 16, 3, heaviest=9) == (3, 3)


def test_more_weight_than_the_clients_can_have_is_refused():
    total = sealed([1], 16, 3, 5) + sealed([1], 16, 3, 4)
    with pytest.raises(VerificationError, match="2 clients with a weight of 9 together"):
        checks.read(total, 16, 3, heaviest=4)
    assert checks.read(total, 16, 3, heaviest=5) == (9, 2)


@pytest.mark.parametrize("weight", [-1, WEIGHT_LIMIT, 0.5, 1.0])
def test_a_weight_that_is_no_integer_in_range_is_refused(weight):
    with pytest.raises(VerificationError, match="a weight of"):
        sealed([1], 16, 3, weight)


@pytest.mark.parametrize("count", [0, 4, -1])
def test_a_count_that_is_not_of_the_cohort_is_refused(count):
    with pytest.raises(VerificationError, match=f"a count of {count}"):
        sealed([1], 16, 3, 1, count)


def test_a_weight_is_at_most_the_heaviest():
    checks.require_weight(0, 1)
    checks.require_weight(np.int32(4), np.int64(4))
    for weight, heaviest in ((5, 4), (0, 0), (1, WEIGHT_LIMIT), (1, 2.0)):
        with pytest.raises(VerificationError, match="heaviest"):
            checks.require_weight(weight, heaviest)
