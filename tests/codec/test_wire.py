"""Words as bytes, against a reference that goes bit by bit, and against bytes from anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from coding_reference import planes
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.codec.wire import pack, packed_bytes, unpack
from sottovoce.errors import VerificationError

BITS = st.integers(1, 32)


def kind(bits):
    return np.uint16 if bits <= 16 else np.uint32


@given(BITS, st.data())
@settings(max_examples=120, deadline=None)
def test_words_become_the_references_bytes_and_come_back(bits, data):
    numbers = data.draw(st.lists(st.integers(0, 2**bits - 1), max_size=40))
    written = pack(np.array(numbers, kind(bits)), bits)
    assert written == planes(numbers, bits)
    assert len(written) == packed_bytes(len(numbers), bits)
    back = unpack(written, bits, len(numbers))
    assert back.tolist() == numbers
    assert back.dtype == kind(bits)
    assert back.flags.writeable


@pytest.mark.parametrize(("bits", "size"), [(16, 2.0), (20, 2.5), (32, 4.0), (12, 1.5)])
def test_a_million_words_take_their_bits_and_no_more(bits, size):
    words = np.random.default_rng(0).integers(0, 2**bits, 10**6).astype(kind(bits))
    written = pack(words, bits)
    assert len(written) == packed_bytes(10**6, bits) == size * 1e6
    back = unpack(written, bits, 10**6)
    assert np.array_equal(back, words)
    assert back.dtype == words.dtype


@given(BITS, st.integers(0, 10**9))
def test_the_size_is_the_bits_rounded_up_in_each_plane(bits, length):
    assert length * bits / 8 <= packed_bytes(length, bits) < length * bits / 8 + 3


@given(BITS, st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_what_lies_above_the_bits_is_left_out(bits, numbers):
    words = np.array(numbers, np.uint32)
    before = words.copy()
    written = pack(words, bits)
    assert unpack(written, bits, len(numbers)).tolist() == [x % 2**bits for x in numbers]
    assert np.array_equal(words, before)


@given(BITS, st.integers(0, 30), st.data())
@settings(max_examples=120, deadline=None)
def test_any_bytes_are_read_as_what_packs_to_them_or_refused(bits, length, data):
    size = packed_bytes(length, bits) + data.draw(st.sampled_from([0, 0, 0, 1, -1]))
    given_ = data.draw(st.binary(min_size=max(size, 0), max_size=max(size, 0)))
    try:
        words = unpack(given_, bits, length)
    except VerificationError:
        return
    assert pack(words, bits) == given_


def test_bits_behind_the_last_word_are_refused():
    written = bytearray(pack(np.array([1, 2, 3], np.uint32), 20))
    assert unpack(bytes(written), 20, 3).tolist() == [1, 2, 3]
    # The fourth nibble of the second plane belongs to nobody.
    written[-1] |= 0x10
    with pytest.raises(VerificationError, match="behind the last word"):
        unpack(bytes(written), 20, 3)


@pytest.mark.parametrize("change", [-1, 1, -8])
@pytest.mark.parametrize("bits", [12, 16, 20, 32])
def test_bytes_too_few_or_too_many_are_refused(bits, change):
    with pytest.raises(VerificationError, match="for 8 words"):
        unpack(bytes(packed_bytes(8, bits) + change), bits, 8)


def test_numbers_out_of_range_are_refused():
    for bits in (1, 16):
        with pytest.raises(VerificationError, match="-1 words"):
            unpack(b"", bits, -1)
    for bits in (0, 33):
        for call in (
            lambda b=bits: unpack(b"", b, 0),
            lambda b=bits: pack(np.zeros(1, np.uint32), b),
            lambda b=bits: packed_bytes(1, b),
        ):
            with pytest.raises(VerificationError, match="1 to 32"):
                call()


@pytest.mark.parametrize(
    "wrong",
    [np.zeros(2, np.int32), np.zeros((2, 2), np.uint32), np.zeros(2, np.uint16), np.zeros(2)],
    ids=["signed", "matrix", "narrow", "float"],
)
def test_only_a_vector_of_wide_enough_unsigned_words_is_packed(wrong):
    with pytest.raises(VerificationError, match="unsigned integers of at least 20 bits"):
        pack(wrong, 20)
