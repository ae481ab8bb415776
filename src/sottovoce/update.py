"""What travels between a client and the server: named tensors and public facts about them.

Nothing here knows a model. Tensors are NumPy arrays under the names that the exported adapter
uses, so a server needs neither torch nor the base model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import fsum, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import VerificationError

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Layout:
    """The fixed order and shapes in which named tensors lie in one flat vector.

    Args:
        shapes: name to shape, in the order of the flat vector. Public.

    >>> Layout({"a": (2, 2), "b": (3,)}).size
    7
    """

    shapes: Mapping[str, tuple[int, ...]]

    @cached_property
    def offsets(self) -> Mapping[str, int]:
        """Where each tensor starts in the flat vector."""
        starts: dict[str, int] = {}
        position = 0
        for name, shape in self.shapes.items():
            starts[name] = position
            position += prod(shape)
        return starts

    @cached_property
    def size(self) -> int:
        """The length of the flat vector."""
        return sum(prod(shape) for shape in self.shapes.values())

    def check(self, tensors: Mapping[str, NDArray[np.generic]]) -> None:
        """Raise ``VerificationError`` unless names and shapes are exactly these."""
        if set(tensors) != set(self.shapes):
            missing = sorted(set(self.shapes) - set(tensors))[:3]
            extra = sorted(set(tensors) - set(self.shapes))[:3]
            raise VerificationError(
                f"the tensors lack {missing} and have {extra} beyond the layout",
                allowed=f"exactly the {len(self.shapes)} tensors of the adapter",
            )
        for name, shape in self.shapes.items():
            if tuple(tensors[name].shape) != shape:
                raise VerificationError(
                    f"{name} has shape {tuple(tensors[name].shape)}", allowed=str(shape)
                )


def flatten(tensors: Tensors, layout: Layout) -> NDArray[np.float32]:
    """Lay named tensors into one vector of length ``layout.size``."""
    layout.check(tensors)
    if not layout.shapes:
        return np.zeros(0, np.float32)
    return np.concatenate([np.asarray(tensors[name], np.float32).ravel() for name in layout.shapes])


def unflatten(vector: NDArray[np.float32], layout: Layout) -> dict[str, NDArray[np.float32]]:
    """Read one vector as named tensors; the inverse of ``flatten``.

    The tensors are views of ``vector``.
    """
    if vector.shape != (layout.size,):
        raise VerificationError(f"the vector has shape {vector.shape}", allowed=f"({layout.size},)")
    return {
        name: vector[start : start + prod(layout.shapes[name])].reshape(layout.shapes[name])
        for name, start in layout.offsets.items()
    }


def add(left: Tensors, right: Tensors) -> dict[str, NDArray[np.float32]]:
    """Add two sets of tensors name by name."""
    Layout({name: tuple(value.shape) for name, value in left.items()}).check(right)
    return {name: value + right[name] for name, value in left.items()}


def scale(tensors: Tensors, factor: float) -> dict[str, NDArray[np.float32]]:
    """Multiply every tensor by ``factor``."""
    return {name: value * np.float32(factor) for name, value in tensors.items()}


def l2_norm(tensors: Tensors) -> float:
    """The Euclidean norm over all entries, accumulated in float64.

    Guarantees:
        - neither the order of the names nor the number of threads changes a bit.
    """
    # A dot product would go to BLAS, which splits it by thread; ``sum`` of squares does not.
    return sqrt(fsum(float(np.square(v, dtype=np.float64).sum()) for v in tensors.values()))


@dataclass(frozen=True)
class Update:
    """One client's contribution to one round.

    Args:
        tensors: trained weights minus received weights, or what the federated algorithm sends in
            their place. Private until the privacy plan and the codec have dealt with them.
        client: the client's name. Public.
        examples: how many training examples the client holds. Public in a plain federation.
        steps: optimizer steps taken this round. Public.
        tokens: tokens read this round, padding excluded. Public in a plain federation.
        loss: mean training loss over this round's supervised tokens; 0 where no step was taken,
            and None where a privacy plan releases none.
        targets: supervised tokens read this round. Public in a plain federation.
        weight: what the tensors count in the sum; None takes ``examples``. Public.
        rank: the rank of the client's adapter where it is below the model's; None is all of it.
            Public.
    """

    tensors: Tensors
    client: str
    examples: int
    steps: int
    tokens: int
    loss: float | None
    targets: int = 0
    weight: int | None = None
    rank: int | None = None

    @property
    def counts(self) -> int:
        """The weight in the sum, n_k in the papers."""
        return self.examples if self.weight is None else self.weight
