"""The floating-point mean against rational arithmetic and against NumPy."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.aggregate import weighted_mean
from sottovoce.errors import VerificationError
from sottovoce.update import Update

VALUES = st.floats(-1e6, 1e6, width=32)


def update(values, examples, client="c"):
    return Update({"a": np.array(values, np.float32)}, client, examples, 1, 1, 0.0)


@st.composite
def federations(draw):
    width = draw(st.integers(0, 4))
    rows = draw(
        st.lists(
            st.tuples(st.lists(VALUES, min_size=width, max_size=width), st.integers(0, 10**6)),
            min_size=1,
            max_size=6,
        ).filter(lambda rows: any(examples for _, examples in rows))
    )
    return [update(values, examples, f"c{i}") for i, (values, examples) in enumerate(rows)]


@given(federations())
@settings(max_examples=80, deadline=None)
def test_each_entry_is_the_exact_mean_to_float64(updates):
    mean = weighted_mean(updates)["a"]
    total = sum(u.examples for u in updates)
    for place, entry in enumerate(mean):
        exact = sum(u.examples * Fraction(float(u.tensors["a"][place])) for u in updates) / total
        assert abs(Fraction(float(entry)) - exact) <= abs(exact) * Fraction(2) ** -52


@given(federations(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_clients_does_not_change_a_bit(updates, random):
    shuffled = random.sample(updates, len(updates))
    one, other = weighted_mean(updates)["a"], weighted_mean(shuffled)["a"]
    assert one.tobytes() == other.tobytes()


def test_it_agrees_with_numpy_average():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 3, 4)).astype(np.float32)
    examples = [3, 1, 4, 1, 5]
    mean = weighted_mean([update(r, n) for r, n in zip(rows, examples, strict=True)])["a"]
    assert mean.dtype == np.float64
    np.testing.assert_allclose(
        mean, np.average(rows.astype(np.float64), axis=0, weights=examples), rtol=1e-13, atol=1e-15
    )


def test_cancellation_loses_nothing():
    updates = [update([1e30], 1), update([1.0], 1), update([-1e30], 1)]
    assert weighted_mean(updates)["a"].tolist() == [1 / 3]


@pytest.mark.parametrize("updates", [[], [update([1.0], 0)]])
def test_no_updates_or_no_examples_raise(updates):
    with pytest.raises(VerificationError, match="at least one update with at least one example"):
        weighted_mean(updates)


def test_other_shapes_raise():
    with pytest.raises(VerificationError):
        weighted_mean([update([1.0], 1), update([1.0, 2.0], 1)])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_raise_by_client(bad):
    with pytest.raises(VerificationError, match="'a' of client 'rome'"):
        weighted_mean([update([1.0], 1), update([bad], 1, "rome")])
