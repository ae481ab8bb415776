"""Named streams: fixed for ever, distinct by name and type, independent of each other."""

import copy
import hashlib
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sottovoce import rng
from sottovoce.errors import ConfigError
from sottovoce.rng import Source, derive_seed, secret_source, seeded_source, stream

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


# --- the cryptographic source --------------------------------------------------------------------

# NIST SP 800-38A, F.5.5, CTR-AES256.Encrypt.
KEY = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
COUNTER = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
PLAIN = (
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CIPHER = (
    "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
)


def test_the_words_are_nists_key_stream():
    source = Source(bytes.fromhex(KEY), start=int(COUNTER, 16))
    key_stream = source.words(8).astype("<u8").tobytes()
    plain = np.frombuffer(bytes.fromhex(PLAIN), np.uint8)
    assert (plain ^ np.frombuffer(key_stream, np.uint8)).tobytes().hex() == CIPHER


@given(st.lists(st.integers(0, 20_000), max_size=6))
def test_how_words_are_divided_among_calls_changes_none(counts):
    source = seeded_source(1, "parts")
    parts = [source.words(count) for count in counts]
    assert [part.shape for part in parts] == [(count,) for count in counts]
    whole = seeded_source(1, "parts").words(sum(counts))
    assert np.array_equal(np.concatenate([*parts, whole[:0]]), whole)


def test_no_word_comes_twice():
    source = secret_source()
    words = np.concatenate([source.words(count) for count in (1, 9_999, 8_192, 30_000, 3)])
    assert len(np.unique(words)) == words.size


def test_two_secret_sources_share_nothing():
    assert not np.intersect1d(secret_source().words(1000), secret_source().words(1000)).size


@pytest.mark.parametrize("source", [secret_source(), seeded_source(2, "even")])
def test_words_and_numbers_are_uniform(source):
    words = source.words(100_000)
    for shift in range(0, 64, 8):
        bytes_ = (words >> np.uint64(shift) & np.uint64(255)).astype(int)
        assert stats.chisquare(np.bincount(bytes_, minlength=256)).pvalue > 1e-6
    numbers = source.uniform(100_000)
    assert stats.kstest(numbers, "uniform").pvalue > 1e-6
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert np.array_equal(numbers * 2.0**53, np.floor(numbers * 2.0**53))
    assert (np.ldexp(numbers, 53) % 2 == 1).mean() == pytest.approx(0.5, abs=0.02)


def test_numbers_are_the_upper_bits_of_words():
    words = seeded_source(3).words(5)
    assert seeded_source(3).uniform(5).tolist() == [(int(w) >> 11) / 2**53 for w in words]


def test_the_words_of_a_seed_never_change():
    key = hashlib.sha256(derive_seed(7, "noise", 3).to_bytes(16, "big")).digest()
    assert np.array_equal(seeded_source(7, "noise", 3).words(9), Source(key).words(9))
    assert seeded_source(7, "noise", 3).words(1) != seeded_source(7, "noise", 4).words(1)
    assert seeded_source(7, "noise").words(1) != seeded_source(8, "noise").words(1)


def test_only_a_key_that_nobody_knows_is_private():
    assert secret_source().private
    assert not seeded_source(0).private
    assert not Source(bytes(32)).private


@pytest.mark.parametrize("source", [secret_source(), seeded_source(0)])
def test_a_source_is_neither_printed_nor_pickled_nor_copied(source):
    assert repr(source) == f"Source(private={source.private})"
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled or copied"):
            take(source)


def test_the_key_is_not_in_the_object(monkeypatch):
    monkeypatch.setattr(rng.secrets, "token_bytes", lambda count: bytes(range(count)))
    source = secret_source()
    held = [getattr(source, name) for name in Source.__slots__]
    assert not hasattr(source, "__dict__")
    assert not any(isinstance(value, (bytes, bytearray, str)) for value in held)
    assert np.array_equal(source.words(4), Source(bytes(range(32))).words(4))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_repeat_its_parent():
    secret, seeded = secret_source(), seeded_source(4)
    secret.words(5)
    seeded.words(5)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, secret.words(100).tobytes() + seeded.words(100).tobytes())
        os._exit(0)
    os.waitpid(child, 0)
    childs = np.frombuffer(os.read(reading, 1600), np.uint64)
    os.close(reading)
    os.close(writing)
    assert childs.size == 200
    assert not np.intersect1d(childs[:100], secret.words(1000)).size
    assert np.array_equal(childs[100:], seeded.words(100))


def test_the_parent_goes_on_after_a_fork_where_it_was(monkeypatch):
    monkeypatch.setattr(rng.secrets, "token_bytes", lambda count: bytes(count))
    source = secret_source()
    first = source.words(3)
    assert np.array_equal(np.concatenate([first, source.words(3)]), Source(bytes(32)).words(6))


def test_memory_beside_the_words_stays_small():
    source = seeded_source(5)
    tracemalloc.start()
    try:
        words = source.words(2_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - words.nbytes < 100_000


@pytest.mark.parametrize("count", [0, 1])
def test_few_words(count):
    assert seeded_source(6).words(count).shape == (count,)
    assert seeded_source(6).words(count).dtype == np.uint64
    assert seeded_source(6).uniform(count).shape == (count,)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(size):
    with pytest.raises(ConfigError, match=f"a key of {size} bytes. Allowed: 32 bytes"):
        Source(bytes(size))


def test_a_negative_count_is_refused():
    with pytest.raises(ConfigError, match="-1 random words"):
        seeded_source(0).words(-1)
    with pytest.raises(ConfigError, match="-1 random words"):
        seeded_source(0).uniform(-1)
