"""A reader that copies nothing, beside the library whose files it reads."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load, save

from sottovoce.errors import VerificationError
from sottovoce.run.tensor_view import view_tensors

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
TENSORS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=8).filter(lambda name: name != "__metadata__"),
    SHAPES.flatmap(lambda shape: arrays.arrays(np.float32, shape)),
    max_size=5,
)


def written(head: object, body: bytes) -> bytes:
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + body


def tensor(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@given(TENSORS)
def test_it_reads_what_the_library_writes_and_copies_nothing(
    tensors: dict[str, np.ndarray],
) -> None:
    data = save(tensors)
    found = view_tensors(data, "a file")
    assert set(found) == set(tensors)
    for name, value in tensors.items():
        assert found[name].shape == value.shape
        assert found[name].tobytes() == value.tobytes()
        assert not found[name].flags.owndata
        assert not found[name].flags.writeable


@given(TENSORS, st.data())
def test_what_it_accepts_of_damaged_bytes_the_library_reads_alike(
    tensors: dict[str, np.ndarray], draw: st.DataObject
) -> None:
    data = bytearray(save(tensors))
    for _ in range(draw.draw(st.integers(1, 3))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(data)))
    for changed in (bytes(data), bytes(data[:cut])):
        try:
            found = view_tensors(changed, "a file")
        except VerificationError:
            continue
        judged = load(changed)
        assert {name: (v.shape, v.tobytes()) for name, v in found.items()} == {
            name: (v.shape, v.tobytes()) for name, v in judged.items()
        }


@given(st.binary(max_size=200))
def test_any_bytes_give_tensors_or_the_error(data: bytes) -> None:
    try:
        view_tensors(data, "a file")
    except VerificationError:
        return
    load(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "a head of 0 bytes"),
        ((2**40).to_bytes(8, "little") + b"{}", "a head of"),
        (written([], b""), "not a list of tensors"),
        (written({"__metadata__": {"a": "b"}}, b""), "not a list of tensors"),
        (written({"a": tensor([1], 0, 8, "F64")}, bytes(8)), "no tensor of float32"),
        (written({"a": tensor([-1], 0, 4)}, bytes(4)), "no tensor of float32"),
        (written({"a": {**tensor([1], 0, 4), "more": 1}}, bytes(4)), "no tensor of float32"),
        (written({"a": tensor([1], 4, 8)}, bytes(8)), "where the one before ends"),
        (written({"a": tensor([2], 0, 4)}, bytes(4)), "where the one before ends"),
        (written({"a": tensor([2], 0, 8)}, bytes(4)), "where the one before ends"),
        (written({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, bytes(4)), "one before ends"),
        (written({"a": tensor([1], 0, 4)}, bytes(5)), "1 bytes behind the last"),
        (b'\x07\0\0\0\0\0\0\0{"a":1,', "no JSON"),
    ],
)
def test_what_is_no_such_file_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(VerificationError, match=f"the update cannot be read: .*{why}"):
        view_tensors(data, "the update")
