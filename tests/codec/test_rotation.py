"""The rotation against scipy's Hadamard matrix and a plain butterfly in float64."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from coding_reference import key_stream, signs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from sottovoce.codec.rotation import (
    block_size,
    rotate,
    rotate_in_place,
    unrotate,
    unrotate_in_place,
)
from sottovoce.errors import ConfigError, VerificationError

SEED = bytes(range(32))


def normal(size, seed=0):
    return np.random.default_rng([seed, size]).standard_normal(size).astype(np.float32)


def butterfly(values):
    """H·x, one level at a time."""
    width = 1
    while width < values.size:
        left, right = values.reshape(-1, 2, width).swapaxes(0, 1)
        values = np.stack([left + right, left - right], axis=1).reshape(-1)
        width *= 2
    return values


def quick_signs(seed, size):
    """The signs of a vector whose width is a multiple of 64."""
    width = block_size(size)
    bits = np.frombuffer(key_stream(seed, width // 4), np.uint8)
    flips = 1 - 2.0 * np.unpackbits(bits, bitorder="little")
    return [flips[:width]] if width == size else [flips[:width], flips[width:]]


def slowly(vector, seed, multiply):
    """The documented rotation in float64."""
    width = block_size(vector.size)
    rotated = vector.astype(np.float64)
    begins = [0] if width == vector.size else [0, vector.size - width]
    drawn = quick_signs if width > 64 else signs
    for begin, flips in zip(begins, drawn(seed, vector.size), strict=True):
        own = rotated[begin : begin + width] * flips
        rotated[begin : begin + width] = multiply(own) / np.sqrt(width)
    return rotated


@given(st.integers(1, 2**60))
def test_the_block_is_the_largest_power_of_two_that_fits(size):
    block = block_size(size)
    assert block.bit_count() == 1
    assert block <= size < 2 * block


@pytest.mark.parametrize("size", [0, -1])
def test_a_vector_without_entries_has_no_block(size):
    with pytest.raises(VerificationError, match="1 or more"):
        block_size(size)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 15, 16, 17, 63, 64, 65, 100, 256, 300, 1000, 2048])
def test_small_vectors_are_multiplied_by_scipys_hadamard_matrix(size):
    vector = normal(size)
    exact = slowly(vector, SEED, lambda own: hadamard(own.size).astype(float) @ own)
    assert np.abs(rotate(vector, SEED) - exact).max() <= 2**-20 * np.linalg.norm(vector)


@pytest.mark.parametrize("size", [2**15 + 9, 2**16, 2**17, 2**20, 2**21 + 5])
def test_large_vectors_meet_the_butterfly_and_keep_their_norm(size):
    vector = normal(size)
    norm = np.linalg.norm(vector.astype(float))
    rotated = rotate(vector, SEED)
    exact = slowly(vector, SEED, butterfly)
    # Far below the guarantee in each entry, so that one wrong entry would be seen.
    assert np.abs(rotated - exact).max() <= 2**-20 * np.abs(exact).max()
    assert abs(np.linalg.norm(rotated.astype(float)) / norm - 1) <= 2**-20
    back = unrotate(rotated, SEED)
    assert np.linalg.norm(back.astype(float) - vector) <= 2**-20 * norm


@given(st.integers(1, 700), st.binary(min_size=32, max_size=32))
@settings(max_examples=60, deadline=None)
def test_unrotate_brings_the_vector_back(size, seed):
    vector = normal(size)
    before = vector.copy()
    rotated = rotate(vector, seed)
    kept = rotated.copy()
    back = unrotate(rotated, seed)
    assert np.abs(back - vector).max() <= 2**-20 * np.linalg.norm(vector)
    # Neither of the two changed what it was given, or returned it.
    assert np.array_equal(vector, before)
    assert np.array_equal(rotated, kept)
    rotate_in_place(vector, seed)
    assert np.array_equal(vector, rotated)
    unrotate_in_place(vector, seed)
    assert np.array_equal(vector, back)


def test_another_seed_brings_something_else_back():
    vector = normal(5000)
    other = unrotate(rotate(vector, SEED), bytes(32))
    # Five standard deviations of the correlation of independent vectors.
    assert abs(np.corrcoef(vector, other)[0, 1]) < 5 / np.sqrt(5000)
    assert np.corrcoef(vector, unrotate(rotate(vector, SEED), SEED))[0, 1] > 0.999


# Vectors that some rotation without random signs, or with the same in both blocks, would pile up.
AWKWARD = {
    "constant": np.ones(96, np.float32),
    "one entry": np.eye(96, dtype=np.float32)[40],
    "first block only": np.repeat(np.float32([1, 0]), [32, 64]),
    "last block only": np.repeat(np.float32([0, 1]), [64, 32]),
    "a row of the matrix": np.resize(np.float32([1, -1]), 96),
    "the image of a constant": hadamard(128)[5][:96].astype(np.float32),
}


@pytest.mark.parametrize("vector", AWKWARD.values(), ids=AWKWARD)
def test_no_entry_is_large_more_often_than_hoeffding_allows(vector):
    draws = 1500
    seeds = [hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(draws)]
    rotated = np.array([rotate(vector, seed) for seed in seeds])
    unit = np.linalg.norm(vector) / np.sqrt(block_size(vector.size))
    for t in (2.0, 3.0):
        allowed = 2 * np.exp(-(t**2) / 2)
        beyond = (np.abs(rotated) > t * unit).mean(axis=0)
        # Four standard deviations, for the worst of 96 entries.
        assert beyond.max() <= allowed + 4 * np.sqrt(allowed / draws)


def test_the_signs_are_what_keeps_entries_small():
    # With the signs of one seed for ever, the vector that they undo piles up in one entry.
    piled = unrotate(np.eye(96, dtype=np.float32)[90], SEED)
    assert np.abs(rotate(piled, SEED)).max() > 0.999
    assert np.abs(rotate(piled, bytes(32))).max() < 0.7


def test_the_number_of_threads_changes_no_bit():
    code = """
import hashlib
import numpy as np
from sottovoce.codec.rotation import rotate, unrotate
x = np.random.default_rng(0).standard_normal(600_000).astype(np.float32)
y = rotate(x, bytes(32))
print(hashlib.sha256(y.tobytes() + unrotate(y, bytes(32)).tobytes()).hexdigest())
"""
    found = set()
    for threads in ("1", "4"):
        env = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_memory_beside_the_vector_is_two_small_buffers():
    vector = normal(2**20)
    tracemalloc.start()
    rotate_in_place(vector, SEED)
    unrotate_in_place(vector, SEED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Two of 64 Ki entries, the signs, and the factors of a chunk.
    assert peak <= 1.5e6


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(4),
        np.zeros(4, np.int32),
        np.zeros((2, 2), np.float32),
        np.zeros(8, np.float32)[::2],
        np.zeros(0, np.float32),
    ],
    ids=["float64", "int32", "matrix", "every other", "empty"],
)
def test_only_a_float32_vector_is_rotated(wrong):
    for function in (rotate_in_place, unrotate_in_place):
        with pytest.raises(VerificationError):
            function(wrong, SEED)


def test_a_seed_has_32_bytes():
    with pytest.raises(ConfigError, match="32 bytes"):
        rotate(normal(4), bytes(31))
    with pytest.raises(ConfigError, match="32 bytes"):
        unrotate(normal(4), bytes(33))
