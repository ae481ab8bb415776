"""The two factors of a LoRA adapter, by the names that travel: which is which, and whose partner.

An adapted layer X sends A as ``X.lora_A.weight`` ``[r, d_in]`` and B as ``X.lora_B.weight``
``[d_out, r]``. Rules that look inside the product B·A speak of names only; none needs a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from sottovoce.update import Layout, Tensors

_A, _B = ".lora_A.", ".lora_B."


def is_a(name: str, _round: int = 0) -> bool:
    """Whether a tensor is a first factor."""
    return _A in name


def is_b(name: str, _round: int = 0) -> bool:
    """Whether a tensor is a second factor."""
    return _B in name


def pairs(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Walk over (name of A, name of B, ``residual_name``) of every adapted layer.

    >>> list(pairs(["h.lora_A.weight", "h.lora_B.weight"]))
    [('h.lora_A.weight', 'h.lora_B.weight', 'h.residual.weight')]
    """
    for name in names:
        if is_a(name):
            yield name, name.replace(_A, _B), residual_name(name)


def residual_name(name: str) -> str:
    """Under which name the change of the layer's own weight stands, ``[d_out, d_in]``."""
    return name.replace(_A, ".residual.")


def product(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """B·A in float64, ``[d_out, d_in]``."""
    return np.asarray(b.astype(np.float64) @ a.astype(np.float64))


def zero_residual(weights: Tensors) -> dict[str, NDArray[np.float32]]:
    """No change of any layer's own weight."""
    return {
        residual: np.zeros((weights[b].shape[0], weights[a].shape[1]), np.float32)
        for a, b, residual in pairs(weights)
    }


def product_changes(weights: Tensors, change: Tensors) -> dict[str, NDArray[np.float32]]:
    """What one client's change of A and B does to each product: (B + ΔB)(A + ΔA) - B·A."""
    made = {}
    for a, b, residual in pairs(weights):
        delta_a, delta_b = change[a].astype(np.float64), change[b].astype(np.float64)
        moved = weights[b].astype(np.float64) @ delta_a + delta_b @ (weights[a] + delta_a)
        made[residual] = np.asarray(moved, np.float32)
    return made


def held(name: str, shape: tuple[int, ...], rank: int) -> NDArray[np.bool_]:
    """Which entries of a factor a client with an adapter of this rank holds; broadcasts to ``shape``.

    It holds the first ``rank`` rows of A and columns of B; of other tensors, everything.
    """
    if is_a(name):
        return (np.arange(shape[0]) < rank)[:, None]
    if is_b(name):
        return (np.arange(shape[1]) < rank)[None, :]
    return np.ones((1,) * len(shape), np.bool_)


def held_entries(layout: Layout, rank: int) -> NDArray[np.bool_]:
    """``held`` of all tensors as one flat row, ``[D]``."""
    rows = [
        np.broadcast_to(held(name, shape, rank), shape).ravel()
        for name, shape in layout.shapes.items()
    ]
    return np.concatenate(rows) if rows else np.zeros(0, np.bool_)


def chosen_entries(layout: Layout, chosen: Mapping[str, bool]) -> NDArray[np.bool_]:
    """One flat row, true where the tensor is chosen, ``[D]``."""
    rows = [np.full(int(np.prod(shape)), chosen[name]) for name, shape in layout.shapes.items()]
    return np.concatenate(rows) if rows else np.zeros(0, np.bool_)
