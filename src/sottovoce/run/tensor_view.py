"""float32 tensors in the bytes of a safetensors file, where they lie: nothing is copied. Pure.

    length of the head (8, little-endian) | head: JSON | entries of all tensors, one after the other

The library's own reader copies every tensor, which a server that adds up large updates cannot spare.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.strict_json import decode_json
from sottovoce.errors import DataError, UsageError, VerificationError

_LENGTH_BYTES: Final = 8
_LARGEST_HEAD: Final = 2**24
_METADATA: Final = "__metadata__"
_DIMENSIONS: Final = 8


def view_tensors(data: bytes, what: str) -> dict[str, NDArray[np.float32]]:
    """Read float32 tensors.

    Args:
        data: the bytes of a safetensors file that came from outside.
        what: names them in errors.

    Returns:
        Arrays over ``data`` itself, which cannot be written to.

    Guarantees:
        - whatever the bytes are, what comes back is what the library reads, or a VerificationError.

    Raises:
        VerificationError: the bytes are no such file, or a tensor is not float32.
    """
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    begin = _LENGTH_BYTES + size
    if len(data) < begin or not 2 <= size <= _LARGEST_HEAD:
        raise _damaged(what, f"a head of {size} bytes in {len(data)}")
    rows = sorted(_rows(data[_LENGTH_BYTES:begin], what), key=lambda row: row[2:])
    found: dict[str, NDArray[np.float32]] = {}
    end = 0
    for name, shape, start, stop in rows:
        if start != end or stop - start != 4 * prod(shape) or begin + stop > len(data):
            raise _damaged(what, f"a tensor {name!r} that does not lie where the one before ends")
        flat = np.frombuffer(data, "<f4", prod(shape), begin + start)
        found[name], end = flat.reshape(shape), stop
    if begin + end != len(data):
        raise _damaged(what, f"{len(data) - begin - end} bytes behind the last tensor")
    return found


def _rows(head: bytes, what: str) -> list[tuple[str, list[int], int, int]]:
    """Name, shape, start and end of every tensor."""
    try:
        listed: Any = decode_json(head.decode())
    except (DataError, UsageError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(what, "a head that is no JSON") from error
    if not head.startswith(b"{") or not isinstance(listed, dict) or _METADATA in listed:
        raise _damaged(what, "a head that is not a list of tensors alone")
    rows: list[tuple[str, list[int], int, int]] = []
    for name, about in listed.items():
        match about:
            case {"dtype": "F32", "shape": list(shape), "data_offsets": [start, stop]} if (
                len(about) == 3 and len(shape) <= _DIMENSIONS and _counts([*shape, start, stop])
            ):
                rows.append((name, shape, start, stop))
            case _:
                raise _damaged(what, f"{name!r}, which is no tensor of float32")
    return rows


def _counts(values: list[object]) -> bool:
    return all(type(value) is int and 0 <= value < 2**48 for value in values)


def _damaged(what: str, seen: str) -> VerificationError:
    return VerificationError(f"{what} cannot be read: {seen}", allowed="float32 tensors")
