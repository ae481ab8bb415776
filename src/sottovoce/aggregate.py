"""Many updates to one, in floating point, where single updates may be seen.

The engine itself sums integers (``codec/fixed_point.py``); the mean here is the slow, exact
reference that it is compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import VerificationError
from sottovoce.update import Layout, Update


def weighted_mean(updates: Sequence[Update]) -> dict[str, NDArray[np.float64]]:
    """Average updates by their number of examples: Σ n_k·x_k / Σ n_k.

    McMahan et al. 2017, Algorithm 1, last line. Each entry is summed without rounding errors
    (``math.fsum``), one entry at a time: slow, and beyond dispute.

    Args:
        updates: at least one, with equal names and shapes. Private.

    Returns:
        float64 tensors.

    Guarantees:
        - the order of the updates does not change a bit;
        - each entry lies within two roundings of float64 of the exact mean.

    Raises:
        VerificationError: no updates, different names or shapes, a value that is not finite, or no
            examples at all.

    >>> one = Update({"a": np.array([1.0], np.float32)}, "x", 1, 1, 8, 0.0)
    >>> two = Update({"a": np.array([4.0], np.float32)}, "y", 2, 1, 8, 0.0)
    >>> weighted_mean([one, two])["a"].tolist()
    [3.0]
    """
    total = sum(update.examples for update in updates)
    if total < 1:
        raise VerificationError(
            f"{len(updates)} updates with {total} examples in all",
            allowed="at least one update with at least one example",
        )
    layout = Layout({name: tuple(v.shape) for name, v in updates[0].tensors.items()})
    for update in updates:
        layout.check(update.tensors)
        for name, value in update.tensors.items():
            if not np.isfinite(value).all():
                raise VerificationError(
                    f"tensor {name!r} of client {update.client!r} holds a value that is not finite",
                    allowed="finite numbers",
                )
    return {name: _mean(name, shape, updates, total) for name, shape in layout.shapes.items()}


def _mean(
    name: str, shape: tuple[int, ...], updates: Sequence[Update], total: int
) -> NDArray[np.float64]:
    rows = [
        (update.tensors[name].astype(np.float64) * update.examples).ravel().tolist()
        for update in updates
    ]
    entries = [fsum(column) / total for column in zip(*rows, strict=True)]
    return np.array(entries, np.float64).reshape(shape)
