"""Fixed-point encoding against exact rational arithmetic."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.codec.fixed_point import (
    WEIGHT_LIMIT,
    add_client,
    add_encoded,
    decode,
    empty_sum,
    encode,
)
from sottovoce.errors import VerificationError
from sottovoce.update import Layout

INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**63 - 1, -(2**63), 0, 1, -1])
WEIGHTS = st.integers(0, WEIGHT_LIMIT - 1) | st.sampled_from([1, 2, 3, WEIGHT_LIMIT - 1])


def tensor(*values):
    return np.array(values, np.float32)


def exact(value, weight):
    """The integer that x·weight·2^32 rounds to, half to even, without floating point."""
    return round(Fraction(float(value)) * weight * 2**32)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), WEIGHTS)
@settings(max_examples=200, deadline=None)
def test_an_entry_becomes_the_nearest_integer_ties_to_even_or_is_refused(value, weight):
    if abs(Fraction(value)) * weight >= 2**31:
        with pytest.raises(VerificationError, match="less than 2\\^31"):
            encode({"a": tensor(value)}, weight)
    else:
        assert encode({"a": tensor(value)}, weight)["a"].tolist() == [exact(value, weight)]


def test_ties_go_to_even():
    half = 2.0**-33
    values = tensor(half, 3 * half, 5 * half, -half, -3 * half)
    assert encode({"a": values}, 1)["a"].tolist() == [0, 2, 2, 0, -2]


def test_the_product_is_exact_at_full_significand_and_largest_weight():
    value = np.nextafter(np.float32(1.0), np.float32(0.0))
    weight = WEIGHT_LIMIT - 1
    assert encode({"a": tensor(value)}, weight)["a"].tolist() == [(2**24 - 1) * weight * 2**8]


def test_the_largest_entry_that_fits_is_kept_and_the_next_is_refused():
    last = np.nextafter(np.float32(2**31), np.float32(0.0))
    assert encode({"a": tensor(last, -last)}, 1)["a"].tolist() == [exact(last, 1), exact(-last, 1)]
    for over in (2.0**31, -(2.0**31)):
        with pytest.raises(VerificationError, match=r"'a' of client 'berlin' reaches 2.14748e\+09"):
            encode({"a": tensor(0.0, over)}, 1, client="berlin")


def test_weight_zero_gives_zeros():
    assert encode({"a": tensor(1e30, -3.0)}, 0)["a"].tolist() == [0, 0]


@pytest.mark.parametrize("weight", [-1, WEIGHT_LIMIT, 0.5, 1.0])
def test_a_weight_that_is_no_integer_in_range_is_refused(weight):
    with pytest.raises(VerificationError, match="client 'rome' has weight"):
        encode({"a": tensor(1.0)}, weight, client="rome")


def test_a_numpy_integer_is_a_weight():
    assert encode({"a": tensor(1.0)}, np.int32(3))["a"].tolist() == [3 * 2**32]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight", [0, 1])
def test_a_value_that_is_not_finite_is_refused_by_client_and_tensor(bad, weight):
    with pytest.raises(VerificationError, match=r"'lora_A' of client 'berlin' .* not finite"):
        encode({"fine": tensor(1.0), "lora_A": tensor(0.0, bad)}, weight, client="berlin")


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_another_type_than_float32_is_refused(dtype):
    with pytest.raises(VerificationError, match="Allowed: float32"):
        encode({"a": np.zeros(1, dtype)}, 1)


@given(st.lists(st.tuples(INT64, INT64), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_a_sum_of_encodings_is_exact_or_refused(pairs):
    left, right = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    sums = [a + b for a, b in pairs]
    if all(-(2**63) <= value < 2**63 for value in sums):
        assert add_encoded({"a": left}, {"a": right})["a"].tolist() == sums
    else:
        with pytest.raises(VerificationError, match="sum of tensor 'a' does not fit 64 bits"):
            add_encoded({"a": left}, {"a": right})
    assert [left.tolist(), right.tolist()] == [list(column) for column in zip(*pairs, strict=True)]


def test_extremes_in_different_entries_are_no_overflow():
    top = 2**63 - 1
    total = add_encoded({"a": np.array([top, -top])}, {"a": np.array([-top, top])})
    assert total["a"].tolist() == [0, 0]
    total = add_encoded({"a": np.array([top, 0, -top])}, {"a": np.array([0, top, -1])})
    assert total["a"].tolist() == [top, top, -(2**63)]


def test_overflow_names_the_tensor_and_the_remedy():
    big = {"small": np.array([1]), "lora_B": np.array([[2**62]])}
    with pytest.raises(VerificationError, match=r"'lora_B'.*Lower train\.learning_rate"):
        add_encoded(big, big)


def test_other_names_or_shapes_are_refused_and_never_broadcast():
    one = {"a": np.zeros(3, np.int64)}
    for other in ({"b": np.zeros(3, np.int64)}, {"a": np.zeros(1, np.int64)}, {}):
        with pytest.raises(VerificationError):
            add_encoded(one, other)
    with pytest.raises(VerificationError):
        add_client(empty_sum(Layout({"a": (3,)})), {"a": tensor(1.0)}, 1)


def test_decode_returns_float32_arrays_of_the_same_shapes():
    tensors = {"s": np.array(0.5, np.float32), "e": np.zeros((0, 3), np.float32)}
    back = decode(encode(tensors, 3), 3)
    for name, value in tensors.items():
        assert isinstance(back[name], np.ndarray)
        assert back[name].dtype == np.float32
        assert back[name].shape == value.shape
    assert float(back["s"]) == 0.5


@pytest.mark.parametrize("weight", [0, -1])
def test_decode_refuses_a_sum_without_weight(weight):
    with pytest.raises(VerificationError, match=f"sum to {weight}"):
        decode({"a": np.zeros(1, np.int64)}, weight)


def test_a_running_sum_counts_clients_and_weights_and_leaves_what_it_was_given():
    start = empty_sum(Layout({"a": (2,)}))
    one = add_client(start, {"a": tensor(1.0, -2.0)}, 3)
    two = add_client(one, {"a": tensor(0.5, 0.0)}, 2)
    assert (start.count, start.weight, start.tensors["a"].tolist()) == (0, 0, [0, 0])
    assert (one.count, one.weight) == (1, 3)
    assert one.tensors["a"].tolist() == [3 * 2**32, -6 * 2**32]
    assert (two.count, two.weight) == (2, 5)
    assert two.tensors["a"].tolist() == [4 * 2**32, -6 * 2**32]


def test_a_refused_client_leaves_the_sum_as_it_was():
    total = add_client(empty_sum(Layout({"a": (1,), "b": (1,)})), dict.fromkeys("ab", tensor(1)), 1)
    with pytest.raises(VerificationError):
        add_client(total, {"a": tensor(1.0), "b": tensor(np.nan)}, 1)
    assert [value.tolist() for value in total.tensors.values()] == [[2**32], [2**32]]
    assert (total.count, total.weight) == (1, 1)


def peak_bytes(clients, size):
    value = {name: np.ones(size, np.float32) for name in "abcd"}
    total = empty_sum(Layout(dict.fromkeys("abcd", (size,))))
    tracemalloc.start()
    for _ in range(clients):
        total = add_client(total, value, 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_number_of_clients():
    size = 20_000
    few, many = peak_bytes(2, size), peak_bytes(40, size)
    assert many <= few * 1.05
    # One more sum of four tensors, and what encoding a single tensor takes.
    assert many <= 2 * 4 * 8 * size + 4 * 8 * size
