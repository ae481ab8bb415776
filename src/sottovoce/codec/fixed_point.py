"""Weighted updates as 64-bit integers, so that the order of arrival cannot change a sum.

An entry x with weight n becomes the integer nearest to n·x·2^32. Integers add exactly, in any
order, and the mean comes back as the sum over (Σn)·2^32.

Headroom: an int64 holds |Σ n_k·x_k| < 2^31. The number of clients does not matter, only that this
running sum fits; where it would not, the addition raises and the sum stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import VerificationError
from sottovoce.update import Layout, Tensors

FRACTION_BITS: Final = 32
"""Binary places behind the point."""

WEIGHT_LIMIT: Final = 2**29
"""Weights stay below this: 24 bits of a float32 times 29 bits of a weight fill a float64's 53."""

_LARGEST: Final = 2**63 - 1
_SMALLEST: Final = -(2**63)
_REMEDY: Final = (
    "Lower train.learning_rate or set train.max_gradient_norm; an update of this size has diverged"
)

Encoded = Mapping[str, NDArray[np.int64]]


def encode(
    tensors: Tensors, weight: int, *, client: str = "unnamed"
) -> dict[str, NDArray[np.int64]]:
    """Write weighted tensors as integers: round_half_even(x·weight·2^32).

    The product is exact in float64: a float32 has 24 significant bits and the weight fewer than
    30, and 2^32 only moves the exponent. So each entry is rounded exactly once.

    Args:
        tensors: float32, of any shapes. Private.
        weight: an integer in [0, 2^29), public in a plain federation.
        client: whose tensors these are, for error messages. Public.

    Returns:
        int64 tensors under the same names.

    Guarantees:
        - each integer is within 1/2 of x·weight·2^32;
        - weight 0 gives zeros.

    Raises:
        VerificationError: a tensor is not float32, holds NaN or an infinity, or an entry reaches
            |x·weight| = 2^31; or the weight is not an integer in range.

    >>> encode({"a": np.array([0.5, -1.0], np.float32)}, 3)["a"].tolist()
    [6442450944, -12884901888]
    """
    if not isinstance(weight, (int, np.integer)) or not 0 <= weight < WEIGHT_LIMIT:
        raise VerificationError(
            f"client {client!r} has weight {weight!r}",
            allowed=f"an integer from 0 to {WEIGHT_LIMIT - 1}",
        )
    return {name: _encode(value, int(weight), name, client) for name, value in tensors.items()}


def fits(tensors: Tensors, weight: int) -> bool:
    """Whether ``encode`` can write these tensors: all finite, and small enough at this weight.

    >>> fits({"a": np.array([1.0], np.float32)}, 3), fits({"a": np.array([2e9], np.float32)}, 3)
    (True, False)
    """
    # The largest product is formed as ``encode`` forms it, so that the two never disagree; a NaN
    # is larger than nothing and fails as well.
    peaks = (float(np.abs(value).max(initial=0.0)) for value in tensors.values())
    return all(peak * float(weight << FRACTION_BITS) < 2.0**63 for peak in peaks)


def add_encoded(total: Encoded, other: Encoded) -> dict[str, NDArray[np.int64]]:
    """Add two encodings exactly.

    Guarantees:
        - the result is the integer sum of every entry, or nothing is returned;
        - neither argument changes.

    Raises:
        VerificationError: names or shapes differ, or an entry of the sum does not fit an int64;
            the error names the tensor.

    >>> add_encoded({"a": np.array([1, 2])}, {"a": np.array([3, 4])})["a"].tolist()
    [4, 6]
    """
    Layout({name: tuple(value.shape) for name, value in total.items()}).check(other)
    return {name: _add(value, other[name], name) for name, value in total.items()}


def decode(
    total: Encoded,
    total_weight: int,
    *,
    held: Mapping[str, NDArray[np.int64]] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Read a sum of encodings as the weighted mean: total / (total_weight·2^32).

    Args:
        total: the integer sum over the clients.
        total_weight: the sum W of their weights.
        held: the weight of the clients that hold each entry, by tensor and broadcast to its
            shape, where that is not all of them; an entry that nobody holds has the mean 0.

    Guarantees:
        - for K clients of weight 1 or more, each entry is within
          (1 + 2^-20)·(2^-33·K/W + 2^-24·|mean|) of the exact weighted mean: one rounding per
          client, and one to float32.

    Raises:
        VerificationError: the total weight is 0.

    >>> decode(encode({"a": np.array([0.25], np.float32)}, 7), 7)["a"].tolist()
    [0.25]
    """
    if total_weight < 1:
        raise VerificationError(
            f"the weights of all clients sum to {total_weight}",
            allowed="1 or more",
            remedy="At least one client of the round needs an example",
        )
    scale = float(total_weight) * 2.0**FRACTION_BITS
    means: dict[str, NDArray[np.float32]] = {}
    for name, value in total.items():
        weight = None if held is None else held.get(name)
        by = scale if weight is None else np.maximum(weight, 1) * 2.0**FRACTION_BITS
        means[name] = np.asarray(value / by, np.float32)
    return means


@dataclass(frozen=True)
class Sum:
    """A running integer sum; its size does not depend on how many clients are in it.

    Args:
        tensors: Σ round(n_k·x_k·2^32).
        weight: Σ n_k.
        count: how many clients were added.
    """

    tensors: Encoded
    weight: int
    count: int


def empty_sum(layout: Layout) -> Sum:
    """The sum over no clients."""
    zeros = {name: np.zeros(shape, np.int64) for name, shape in layout.shapes.items()}
    return Sum(zeros, weight=0, count=0)


def add_client(total: Sum, tensors: Tensors, weight: int, *, client: str = "unnamed") -> Sum:
    """Add one client to a running sum, one tensor at a time.

    Guarantees:
        - adding the same clients in any order gives the same bits;
        - ``total`` stays as it was, also when this raises;
        - memory is that of two sums and one encoded tensor, however many clients were added.

    Raises:
        VerificationError: as ``encode`` and ``add_encoded``.
    """
    Layout({name: tuple(value.shape) for name, value in total.tensors.items()}).check(tensors)
    added = {
        name: _add(value, encode({name: tensors[name]}, weight, client=client)[name], name)
        for name, value in total.tensors.items()
    }
    return Sum(added, weight=total.weight + int(weight), count=total.count + 1)


def add_in_place(total: Sum, tensors: Tensors, weight: int, *, client: str = "unnamed") -> Sum:
    """The same as ``add_client`` in the memory of one sum: the tensors of ``total`` are changed.

    Where it raises, ``total`` may hold a part of the client and counts for nothing any more.

    Guarantees:
        - the result is that of ``add_client``, bit for bit;
        - memory is that of the sum and one encoded tensor.

    Raises:
        VerificationError: as ``add_client``.
    """
    Layout({name: tuple(value.shape) for name, value in total.tensors.items()}).check(tensors)
    for name, value in total.tensors.items():
        encoded = encode({name: tensors[name]}, weight, client=client)[name]
        _add(value, encoded, name, out=value)
    return Sum(total.tensors, weight=total.weight + int(weight), count=total.count + 1)


def _encode(value: NDArray[np.float32], weight: int, name: str, client: str) -> NDArray[np.int64]:
    if value.dtype != np.float32:
        raise VerificationError(
            f"tensor {name!r} of client {client!r} is {value.dtype}", allowed="float32"
        )
    if not np.isfinite(value).all():
        raise VerificationError(
            f"tensor {name!r} of client {client!r} holds a value that is not finite",
            allowed="finite numbers",
            remedy=_REMEDY,
        )
    scaled = np.asarray(value.astype(np.float64) * float(weight << FRACTION_BITS))
    if max(scaled.max(initial=0.0), -scaled.min(initial=0.0)) >= 2.0**63:
        raise VerificationError(
            f"tensor {name!r} of client {client!r} reaches {np.abs(value).max():g} at weight {weight}",
            allowed="less than 2^31 for value times weight",
            remedy=_REMEDY,
        )
    return np.rint(scaled, out=scaled).astype(np.int64)


def _add(
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    name: str,
    out: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    highest = int(left.max(initial=0)) + int(right.max(initial=0))
    lowest = int(left.min(initial=0)) + int(right.min(initial=0))
    if highest > _LARGEST or lowest < _SMALLEST:
        # The extremes may lie in different entries, so only here is every entry looked at.
        over = left > _LARGEST - np.maximum(right, 0)
        under = left < _SMALLEST - np.minimum(right, 0)
        if (over | under).any():
            raise VerificationError(
                f"the sum of tensor {name!r} does not fit 64 bits",
                allowed="less than 2^31 for the sum of value times weight",
                remedy=_REMEDY,
            )
    return np.asarray(np.add(left, right, out=out))
