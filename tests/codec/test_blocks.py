"""Small integers with a scale per block: means, error bounds, sizes, and bytes from anywhere."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from coding_reference import round_up_or_down, words_of_32_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.codec.blocks import BLOCK, LARGEST_ENTRY, Compressed, compress, expand, read, write
from sottovoce.codec.wire import packed_bytes
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.rng import Source, seeded_source

BITS = st.sampled_from([4, 8])
LEVELS = {4: 7, 8: 127}
ENTRIES = st.floats(-LARGEST_ENTRY, LARGEST_ENTRY, width=32) | st.floats(-1, 1, width=32)


class Ones:
    """A source that always rounds up what can be rounded up."""

    def words(self, count):
        return np.full(count, 2**64 - 1, np.uint64)


def normal(size, seed=0):
    return np.random.default_rng([seed, size]).standard_normal(size).astype(np.float32)


def spread(compressed):
    """The scale of each entry."""
    return np.repeat(compressed.scales, BLOCK)[: compressed.values.size].astype(float)


@given(
    BITS, st.lists(ENTRIES, max_size=20), st.integers(0, 600), st.binary(min_size=32, max_size=32)
)
@settings(max_examples=80, deadline=None)
def test_every_entry_is_within_the_bound_and_keeps_its_sign(bits, some, rest, key):
    vector = np.concatenate([normal(rest), np.array(some, np.float32)])
    kept = vector.copy()
    compressed = compress(vector, bits, Source(key))
    assert np.array_equal(vector, kept)
    scale = spread(compressed)
    back = expand(compressed)
    assert back.dtype == np.float32
    assert np.isfinite(back).all()
    assert (np.abs(back.astype(float) - vector) <= scale * (1 + 2**-15)).all()
    assert (back.astype(float) * vector >= 0).all()
    assert not back[vector == 0].any()
    for begin in range(0, vector.size, BLOCK):
        peak = float(np.abs(vector[begin : begin + BLOCK]).max())
        own = float(compressed.scales[begin // BLOCK])
        smallest = 2.0**-149 if peak else 0.0
        assert peak / LEVELS[bits] <= own
        assert own <= max(peak / LEVELS[bits] * (1 + 2**-22), peak / LEVELS[bits] + smallest)


@given(BITS, st.lists(st.integers(-1000, 1000), min_size=1, max_size=600))
@settings(max_examples=50, deadline=None)
def test_the_integers_are_those_of_exact_arithmetic(bits, numbers):
    # A peak of L times a power of two makes the scale a power of two, and all else exact.
    unit = Fraction(1, 2**5)
    peak = LEVELS[bits] * 8
    entries = [Fraction(max(-peak, min(peak, x))) * unit for x in numbers]
    entries = [peak * unit if i % BLOCK == 0 else entry for i, entry in enumerate(entries)]
    key = bytes(range(32))
    compressed = compress(np.array(entries, np.float32), bits, Source(key))
    assert set(compressed.scales.tolist()) == {0.25}
    scaled = [entry / Fraction(1, 4) for entry in entries]
    words = words_of_32_bits(key, len(entries))
    assert compressed.values.tolist() == round_up_or_down(scaled, LEVELS[bits], words)


@pytest.mark.parametrize("bits", [4, 8])
def test_the_mean_is_the_vector_and_another_rounding_is_told(bits):
    vector = np.full(BLOCK * 800, 0.3, np.float32)
    vector[::BLOCK] = 1.0
    compressed = compress(vector, bits, seeded_source(3, bits))
    scale = float(compressed.scales[0])
    body = vector != 1.0
    step = 0.3 / scale
    part = step - np.floor(step)
    deviation = scale * np.sqrt(part * (1 - part) / body.sum())

    def leans(mean):
        return abs(mean - 0.3) > 5 * deviation + 2**-15 * scale

    back = expand(compressed)[body]
    assert not leans(back.mean(dtype=float))
    assert back.std(dtype=float) <= scale / 2
    assert leans(scale * np.rint(step))
    assert leans(scale * np.floor(step))


@pytest.mark.parametrize("bits", [4, 8])
def test_no_quotient_passes_the_largest_integer(bits):
    # Of a thousand peaks, about half have a quotient that float32 would round down.
    vector = np.zeros(1000 * BLOCK, np.float32)
    vector[::BLOCK] = np.random.default_rng(1).uniform(0.5, 1, 1000)
    assert compress(vector, bits, Ones()).values.max() == LEVELS[bits]
    assert compress(-vector, bits, Ones()).values.min() >= -LEVELS[bits]


@pytest.mark.parametrize("peak", [1e-45, 1e-40, LARGEST_ENTRY])
@pytest.mark.parametrize("bits", [4, 8])
def test_the_smallest_and_the_largest_entries_come_back(peak, bits):
    vector = np.array([peak, -peak, 0, peak / 2], np.float32)
    compressed = compress(vector, bits, seeded_source(1))
    error = np.abs(expand(compressed).astype(float) - vector)
    assert (error <= spread(compressed) * (1 + 2**-15)).all()


@pytest.mark.parametrize(("bits", "per_entry"), [(8, 1.01565), (4, 0.51565)])
def test_the_bytes_of_an_entry(bits, per_entry):
    vector = normal(10**6)
    written = write(compress(vector, bits, seeded_source(0)))
    assert len(written) <= per_entry * 10**6
    back = expand(read(written, 10**6))
    assert np.linalg.norm(back - vector) <= {4: 0.25, 8: 0.014}[bits] * np.linalg.norm(vector)


@given(BITS, st.integers(0, 600))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(bits, size):
    compressed = compress(normal(size), bits, seeded_source(size))
    again = read(write(compressed), size)
    assert again.bits == bits
    assert again.values.tolist() == compressed.values.tolist()
    assert again.scales.tolist() == compressed.scales.tolist()
    assert np.array_equal(expand(again), expand(compressed))


@given(BITS, st.integers(0, 300), st.data())
@settings(max_examples=100, deadline=None)
def test_changed_bytes_are_read_as_what_writes_them_or_refused(bits, size, data):
    written = bytearray(write(compress(normal(size), bits, seeded_source(size))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(written) - 1))
        written[place] = data.draw(st.integers(0, 255))
    try:
        again = read(bytes(written), size)
    except VerificationError:
        return
    assert write(again) == bytes(written)


@given(st.binary(max_size=60), st.integers(0, 10))
def test_bytes_from_anywhere_are_refused(data, size):
    with pytest.raises(VerificationError):
        read(data, size)


def test_bytes_that_are_almost_a_vector_are_refused():
    written = write(compress(normal(300), 4, seeded_source(0)))
    read(written, 300)
    wrong = {
        "no compressed vector": [b"", written[:14], b"x" + written[1:]],
        "entries with": [written[:6] + b"\5" + written[7:], written[:7] + b"\0" + written[8:]],
        "bytes for 300 entries": [written[:-1], written + b"\0"],
    }
    for message, cases in wrong.items():
        for case in cases:
            with pytest.raises(VerificationError, match=message):
                read(case, 300)
    with pytest.raises(VerificationError, match=r"300 entries with 4 bits\. Allowed: 299"):
        read(written, 299)
    five = bytearray(written[:6] + b"\5" + written[7:23] + bytes(packed_bytes(300, 5)))
    with pytest.raises(VerificationError, match="300 entries with 5 bits"):
        read(bytes(five), 300)
    # A header that promises more than memory holds is refused by its length.
    huge = written[:7] + (2**60).to_bytes(8, "little") + written[15:]
    with pytest.raises(VerificationError, match="bytes for"):
        read(huge, 2**60)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1.8e38, -1.8e38])
@pytest.mark.parametrize("place", [0, 299])
def test_an_entry_of_no_usable_size_is_refused(wrong, place):
    vector = normal(300)
    vector[place] = wrong
    with pytest.raises(VerificationError, match=r"up to 2\^127"):
        compress(vector, 8, seeded_source(0))


@pytest.mark.parametrize("bits", [0, 1, 2, 7, 16])
def test_other_widths_are_refused(bits):
    with pytest.raises(ConfigError, match="8 or 4"):
        compress(normal(3), bits, seeded_source(0))
    with pytest.raises(ConfigError, match="8 or 4"):
        Compressed(bits, np.zeros(1, np.int8), np.zeros(1, np.float32))


def test_only_a_float32_vector_is_compressed():
    for wrong in (np.zeros(3), np.zeros((2, 2), np.float32)):
        with pytest.raises(VerificationError, match="a float32 vector"):
            compress(wrong, 8, seeded_source(0))


@pytest.mark.parametrize(
    ("values", "scales", "message"),
    [
        (np.zeros(3, np.int16), np.zeros(1, np.float32), "int8 and float32"),
        (np.zeros(3, np.int8), np.zeros(1), "int8 and float32"),
        (np.zeros((3, 1), np.int8), np.zeros(1, np.float32), "a scale for every 256"),
        (np.zeros(257, np.int8), np.zeros(1, np.float32), "a scale for every 256"),
        (np.zeros(256, np.int8), np.zeros(2, np.float32), "a scale for every 256"),
        (np.zeros(3, np.int8), np.float32([np.nan]), "a scale is out of range"),
        (np.zeros(3, np.int8), np.float32([-1]), "a scale is out of range"),
        (np.zeros(3, np.int8), np.float32([np.inf]), "a scale is out of range"),
        (np.zeros(3, np.int8), np.float32([2.0**127 / 7 * 1.001]), "a scale is out of range"),
        (np.int8([0, 8]), np.float32([1]), "a value is out of range"),
        (np.int8([0, -8]), np.float32([1]), "a value is out of range"),
        (np.int8([0, 1]), np.float32([0]), "a block of scale 0"),
    ],
)
def test_what_compress_never_makes_is_refused(values, scales, message):
    with pytest.raises(VerificationError, match=message):
        Compressed(4, values, scales)


def test_nothing_private_is_printed():
    assert repr(compress(normal(3), 8, seeded_source(0))) == "Compressed(bits=8)"
