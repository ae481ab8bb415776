"""The laws of sums, each as one sentence that holds for whatever Hypothesis can think of."""

from fractions import Fraction
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.codec.fixed_point import add_client, add_encoded, decode, empty_sum, encode
from sottovoce.errors import VerificationError
from sottovoce.run.rounds import round_step
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.update import Layout, Update

LAYOUT = Layout({"a": (2,), "b": (1, 2)})
SMALL = st.floats(-1.0, 1.0, width=32)
WIDE = st.floats(-1000.0, 1000.0, width=32)


@st.composite
def clients(draw, values=SMALL | WIDE, size=8):
    """Each client's tensors and weight; at least one weight is positive."""
    rows = draw(
        st.lists(
            st.tuples(st.lists(values, min_size=4, max_size=4), st.integers(0, 10_000)),
            min_size=1,
            max_size=size,
        ).filter(lambda rows: any(weight for _, weight in rows))
    )
    return [
        ({"a": np.array(v[:2], np.float32), "b": np.array([v[2:]], np.float32)}, weight)
        for v, weight in rows
    ]


def total_of(some):
    total = empty_sum(LAYOUT)
    for tensors, weight in some:
        total = add_client(total, tensors, weight)
    return total


def bits(tensors):
    return {name: value.tobytes() for name, value in tensors.items()}


@given(clients())
@settings(max_examples=60, deadline=None)
def test_decoding_the_sum_of_encodings_gives_the_weighted_mean_within_the_stated_error(some):
    total = total_of(some)
    decoded = decode(total.tensors, total.weight)
    rounded = sum(weight > 0 for _, weight in some)
    for name, shape in LAYOUT.shapes.items():
        for place in np.ndindex(shape):
            mean = sum(w * Fraction(float(t[name][place])) for t, w in some) / total.weight
            error = abs(Fraction(float(decoded[name][place])) - mean)
            bound = (1 + Fraction(1, 2**20)) * (
                Fraction(rounded, total.weight * 2**33) + abs(mean) / 2**24
            )
            assert error <= bound


@given(clients(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_arrival_never_changes_a_bit(some, random):
    one, other = total_of(some), total_of(random.sample(some, len(some)))
    assert (bits(one.tensors), one.weight, one.count) == (
        bits(other.tensors),
        other.weight,
        other.count,
    )


@given(clients(), st.integers(0, 8))
@settings(max_examples=60, deadline=None)
def test_sums_of_sums_are_the_sum(some, cut):
    left, right = total_of(some[:cut]), total_of(some[cut:])
    assert bits(add_encoded(left.tensors, right.tensors)) == bits(total_of(some).tensors)


@given(clients())
@settings(max_examples=60, deadline=None)
def test_adding_one_by_one_is_adding_all_encodings(some):
    encodings = [encode(tensors, weight) for tensors, weight in some]
    assert bits(total_of(some).tensors) == bits(reduce(add_encoded, encodings))


@given(
    st.lists(
        st.tuples(st.floats(-(2.0**30), 2.0**30, width=32), st.integers(0, 3)),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_a_sum_is_exact_or_an_error_and_never_a_wrong_number(some):
    total, running = empty_sum(Layout({"a": (1,)})), 0
    for value, weight in some:
        exact = running + round(Fraction(value) * weight * 2**32)
        tensors = {"a": np.array([value], np.float32)}
        if -(2**63) <= exact < 2**63 and abs(Fraction(value)) * weight < 2**31:
            total, running = add_client(total, tensors, weight), exact
        else:
            with pytest.raises(VerificationError):
                add_client(total, tensors, weight)
        assert total.tensors["a"].tolist() == [running]


def test_the_number_of_clients_does_not_matter_as_long_as_the_running_sum_fits():
    near = {"a": np.array([2.0**30], np.float32)}
    back = {"a": -near["a"]}
    total = empty_sum(Layout({"a": (1,)}))
    for _ in range(1000):
        total = add_client(add_client(total, near, 1), back, 1)
    assert (total.tensors["a"].tolist(), total.count) == ([0], 2000)
    with pytest.raises(VerificationError):
        add_client(add_client(total, near, 1), near, 1)


@given(clients(values=SMALL), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_round_with_the_same_updates_in_any_order_ends_in_the_same_bits(some, random):
    updates = [
        Update(tensors, f"client {place}", weight, place, 10 * place, loss=place / 3)
        for place, (tensors, weight) in enumerate(some)
    ]
    state = FedAvg().algorithm.first(
        {name: np.ones(s, np.float32) for name, s in LAYOUT.shapes.items()}
    )
    one, record = round_step(FedAvg().algorithm, state, updates)
    other, again = round_step(FedAvg().algorithm, state, random.sample(updates, len(updates)))
    assert bits(one.weights) == bits(other.weights)
    assert record == again
