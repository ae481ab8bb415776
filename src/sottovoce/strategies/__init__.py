"""The shape of a federated algorithm: a client half and a server half, state in, state out.

One file per algorithm. Its settings are one small frozen value that carries both halves: the
client half is ``adjust``, called on every local gradient; the server half is ``init`` and
``step``. A new algorithm is one file here and one name in the union of the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sottovoce.update import Tensors

Moments = Mapping[str, Tensors]
"""A server optimizer's memory: ``first`` and ``second`` to tensors shaped as the weights."""

Adjust = Callable[[Any, Any, Any], Any]
"""A client half: (gradient, weights, received weights) to gradient.

The four are arrays of one shape ``[C, D]``, one row per client, of one kind: float32 of NumPy or
torch. A client half uses operators only, so that it runs on both.
"""


@dataclass(frozen=True)
class ServerState:
    """All that the server remembers between rounds; a checkpoint is this value.

    Args:
        weights: the shared weights, float32.
        moments: the server optimizer's memory; empty before the first round, and always where
            the optimizer has none.
        round: rounds completed, which is also the index of the round to come.
    """

    weights: Tensors
    moments: Moments
    round: int


class Strategy(Protocol):
    """What the settings of every federated algorithm can do. Pure; nothing here keeps state."""

    @property
    def name(self) -> str:
        """The algorithm's name in the configuration."""

    @property
    def needs_only_sums(self) -> bool:
        """Whether the server half reads nothing but the weighted sum of the updates."""

    @property
    def adjust(self) -> Adjust | None:
        """The client half, or None where the gradient is used as it is."""

    def init(self, weights: Tensors) -> ServerState:
        """The state before the first round."""

    def step(self, state: ServerState, mean_update: Tensors) -> ServerState:
        """The server half: the state after a round with this weighted mean of the updates."""
