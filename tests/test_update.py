"""Named tensors: layout, flattening, arithmetic, norm."""

from math import fsum, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sottovoce.errors import VerificationError
from sottovoce.update import Layout, Update, add, flatten, l2_norm, scale, unflatten

TENSORS = st.dictionaries(
    st.text(max_size=3),
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
        elements=st.floats(-100, 100, width=32),
    ),
    max_size=4,
)


def layout_of(tensors):
    return Layout({name: value.shape for name, value in tensors.items()})


@given(TENSORS)
@settings(max_examples=60, deadline=None)
def test_unflatten_is_the_inverse_of_flatten(tensors):
    layout = layout_of(tensors)
    vector = flatten(tensors, layout)
    assert vector.dtype == np.float32
    assert vector.shape == (layout.size,)
    back = unflatten(vector, layout)
    assert list(back) == list(tensors)
    for name, value in tensors.items():
        assert back[name].shape == value.shape
        np.testing.assert_array_equal(back[name], value)
    np.testing.assert_array_equal(flatten(back, layout), vector)


def test_the_layout_decides_the_order_and_not_the_mapping():
    layout = Layout({"b": (2,), "a": (1, 2)})
    tensors = {"a": np.array([[3, 4]], np.float32), "b": np.array([1, 2], np.float32)}
    assert flatten(tensors, layout).tolist() == [1, 2, 3, 4]
    assert dict(layout.offsets) == {"b": 0, "a": 2}
    assert layout.size == 4


def test_unflattened_tensors_are_views():
    vector = np.zeros(3, np.float32)
    unflatten(vector, Layout({"a": (1,), "b": (2,)}))["b"][1] = 5
    assert vector.tolist() == [0, 0, 5]


@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), ()])
def test_a_vector_of_another_length_is_refused(shape):
    with pytest.raises(VerificationError, match=r"Allowed: \(4,\)"):
        unflatten(np.zeros(shape, np.float32), Layout({"a": (2, 2)}))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"a": (2,)}, r"lack \['b'\]"),
        ({"a": (2,), "b": (), "c": ()}, r"have \['c'\] beyond"),
        ({"a": (1, 2), "b": ()}, r"a has shape \(1, 2\)\. Allowed: \(2,\)"),
    ],
)
def test_a_layout_names_what_differs(shapes, message):
    layout = Layout({"a": (2,), "b": ()})
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    for check in (layout.check, lambda wrong: flatten(wrong, layout)):
        with pytest.raises(VerificationError, match=message):
            check(tensors)


@given(TENSORS)
@settings(max_examples=60, deadline=None)
def test_add_and_scale_work_name_by_name_and_stay_float32(tensors):
    doubled, same = add(tensors, tensors), scale(tensors, 2.0)
    for name, value in tensors.items():
        assert doubled[name].dtype == same[name].dtype == np.float32
        np.testing.assert_array_equal(doubled[name], value + value)
        np.testing.assert_array_equal(same[name], doubled[name])


def test_add_never_broadcasts():
    with pytest.raises(VerificationError):
        add({"a": np.zeros(3, np.float32)}, {"a": np.zeros(1, np.float32)})
    with pytest.raises(VerificationError):
        add({"a": np.zeros(3, np.float32)}, {})


@given(TENSORS)
@settings(max_examples=60, deadline=None)
def test_the_norm_is_the_root_of_the_sum_of_squares(tensors):
    entries = [float(x) for value in tensors.values() for x in value.ravel()]
    assert l2_norm(tensors) == pytest.approx(sqrt(fsum(x * x for x in entries)), rel=1e-14)


def test_the_norm_is_accumulated_in_float64():
    ones = {"a": np.full(100_000, 1e-3, np.float32), "b": np.full(1, 3e19, np.float32)}
    assert l2_norm({"a": ones["a"]}) == pytest.approx(
        float(np.float32(1e-3)) * sqrt(1e5), rel=1e-12
    )
    assert l2_norm({"b": ones["b"]}) == float(ones["b"][0])


@given(st.permutations(range(5)))
def test_the_order_of_names_changes_no_bit_of_the_norm(order):
    rng = np.random.default_rng(0)
    tensors = {f"{i}": rng.normal(size=7, scale=10.0**i).astype(np.float32) for i in range(5)}
    assert l2_norm({f"{i}": tensors[f"{i}"] for i in order}) == l2_norm(tensors)


def test_the_norm_of_nothing_is_zero():
    assert l2_norm({}) == 0.0
    assert l2_norm({"a": np.zeros((0, 3), np.float32)}) == 0.0


def test_an_update_is_frozen():
    update = Update({}, "a", 1, 1, 1, 0.0)
    with pytest.raises(AttributeError):
        update.client = "b"
