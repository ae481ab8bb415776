"""Named streams: fixed for ever, distinct by name and type, independent of each other."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.rng import derive_seed, stream

NAMES = st.lists(st.text(max_size=4) | st.integers(-20, 20), max_size=3)


def test_the_seed_is_the_documented_hash():
    digest = hashlib.sha256(
        b"i" + (1).to_bytes(8, "big") + b"7"
        b"s" + (6).to_bytes(8, "big") + b"batchx"
        b"i" + (2).to_bytes(8, "big") + b"-3"
    ).digest()
    assert derive_seed(7, "batchx", -3) == int.from_bytes(digest[:16], "big")


@given(NAMES, NAMES)
def test_different_names_never_meet(left, right):
    same = [(type(n), n) for n in left] == [(type(n), n) for n in right]
    assert (derive_seed(0, *left) == derive_seed(0, *right)) == same


def test_names_are_not_glued_and_types_count():
    seeds = [
        derive_seed(0),
        derive_seed(0, ""),
        derive_seed(0, "a", "bc"),
        derive_seed(0, "ab", "c"),
        derive_seed(0, "abc"),
        derive_seed(0, "1"),
        derive_seed(0, 1),
        derive_seed(1),
        derive_seed(0, "é"),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**128 for seed in seeds)


@pytest.mark.parametrize("number", [np.int64(3), np.int32(3), np.uint8(3)])
def test_a_numpy_integer_names_the_same_stream_as_its_number(number):
    assert derive_seed(0, "round", number) == derive_seed(0, "round", 3)
    assert derive_seed(number) == derive_seed(3)
    assert derive_seed(0, number) != derive_seed(0, "3")


def test_the_numbers_of_a_stream_never_change():
    # Philox 4x64-10 under NumPy 2.4: np.random.Philox(derive_seed(7, "partition")).random_raw(3).
    raw = stream(7, "partition").bit_generator.random_raw(3).tolist()
    assert raw == [10139957388269188969, 1883374444453507680, 3261793828214105186]


def test_a_stream_starts_anew_each_time():
    one, other = stream(7, "a", 1), stream(7, "a", 1)
    one.random(5)
    assert stream(7, "a", 1).random() == other.random()


def test_streams_of_neighbouring_names_are_uncorrelated():
    drawn = np.array([stream(0, "client", i).standard_normal(2000) for i in range(20)])
    correlation = np.corrcoef(drawn) - np.eye(20)
    # Five standard deviations of a correlation of 2,000 independent pairs.
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)
    assert len(set(drawn[:, 0].tolist())) == 20
