"""The shape of a federated algorithm: a client half and a server half, state in, state out.

One file per algorithm. Its settings are one small frozen value, and their ``algorithm`` is a
record of functions, both halves on one screen. What a record leaves out is federated averaging, so
a file says only in what its algorithm differs. A new algorithm is one file here and one name in the
union of the configuration.

A round, in the order in which the functions are called, for every client k of the cohort:

    receive     the weights, and ``anchor(state, own)`` where the rule compares with something else
    train       tensors for which ``trains`` holds, along ``adjust(gradient, weights, anchor)``
    keep        tensors for which ``private`` holds stay with the client
    send        ``finish(state, own, change, work)``: what travels, and what the client remembers
    read        ``expand(state, sent)``, only where a sum is not enough
    add         Σ weight·sent, in integers
    move        ``step(state, mean)``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from sottovoce.errors import VerificationError
from sottovoce.update import Tensors

Moments = Mapping[str, Tensors]
"""What a server remembers beside the weights, by kind: ``first``, ``second``, ``control``."""

Own = Mapping[str, Tensors]
"""What a client remembers of an algorithm between rounds, by kind. Private."""

Adjust = Callable[[Any, Any, Any], Any]
"""The rule of a local step: (gradient, weights, anchor) to gradient.

All are arrays of one shape ``[C, D]``, one row per client, and of one kind, of NumPy or torch. It
uses operators only, so that it runs on both.
"""

Weighting = Literal["examples", "targets", "uniform"]
"""What a client weighs in a mean: its examples, the supervised tokens it read, or as all others."""


@dataclass(frozen=True)
class ServerState:
    """All that the server remembers between rounds; a checkpoint is this value.

    Args:
        weights: the shared weights, float32.
        moments: the memory of the server optimizer and of the rule; empty where there is none.
        round: rounds completed, which is also the index of the round to come.
        residual: what the base model's own weights have changed by, before scaling, by
            ``factors.residual_name``; empty for all rules but ``flora`` and ``fedex``.
    """

    weights: Tensors
    moments: Moments
    round: int
    residual: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What a client's local training consisted of. Public.

    Args:
        rates: the learning rate of each step that it took.
        momentum: of the local SGD.
    """

    rates: tuple[float, ...]
    momentum: float = 0.0


@dataclass(frozen=True)
class Mean:
    """What the server reads of a round.

    Args:
        tensors: Σ weight_k·sent_k / Σ weight_k.
        share: how much of all clients delivered, by number: |S| / N.
    """

    tensors: Tensors
    share: float = 1.0


def every_tensor(name: str, round_index: int) -> bool:  # noqa: ARG001 - the shape of ``trains``
    """All tensors train in all rounds."""
    return True


def no_tensor(name: str) -> bool:  # noqa: ARG001 - the shape of ``private``
    """No tensor stays with a client."""
    return False


def nothing_more(weights: Tensors) -> Mapping[str, tuple[int, ...]]:  # noqa: ARG001
    """The change alone is sent."""
    return {}


def as_it_is(state: ServerState) -> ServerState:
    """The first state holds nothing but the weights."""
    return state


def send_change(
    state: ServerState,  # noqa: ARG001 - the shape of ``finish``
    own: Own,
    change: Tensors,
    work: Work,  # noqa: ARG001
) -> tuple[Tensors, Own]:
    """Send what training changed; remember nothing new."""
    return change, own


@dataclass(frozen=True)
class Algorithm:
    """Both halves of a federated algorithm as pure functions; the defaults are federated averaging.

    Args:
        step: the server half: the state after a round with this mean.
        init: what the rule adds to the first state.
        trains: whether a tensor is trained and sent in the round of this index.
        private: whether a tensor is trained but stays with its client.
        adjust: the rule of each local step; None takes the gradient as it is.
        anchor: the third argument of ``adjust`` for one client; None takes what it received.
        finish: what a client sends, and what it remembers.
        adds: names and shapes that are sent beside the trained tensors.
        shows: the kinds of the server's memory that the clients' half reads.
        expand: what the server reads from one client's tensors before it adds them; None where
            it needs the sum alone.
        weighting: what a client weighs unless the configuration says otherwise.
        fixes: local settings that belong to the algorithm.
        needs_sgd: whether its lines hold for plain SGD only.
        needs_lora: whether it is about the factors of an adapter.
        any_rank: whether clients may hold adapters of lower rank.
        joins_late: whether an update to older weights may join.
        renews_factors: whether the server replaces the factors, so that a client's optimizer
            memory of them has no meaning in the next round.
    """

    step: Callable[[ServerState, Mean], ServerState]
    init: Callable[[ServerState], ServerState] = as_it_is
    trains: Callable[[str, int], bool] = every_tensor
    private: Callable[[str], bool] = no_tensor
    adjust: Adjust | None = None
    anchor: Callable[[ServerState, Own], Tensors] | None = None
    finish: Callable[[ServerState, Own, Tensors, Work], tuple[Tensors, Own]] = send_change
    adds: Callable[[Tensors], Mapping[str, tuple[int, ...]]] = nothing_more
    shows: tuple[str, ...] = ()
    expand: Callable[[ServerState, Tensors], Tensors] | None = None
    weighting: Weighting = "examples"
    fixes: Mapping[str, object] = field(default_factory=dict)
    needs_sgd: bool = False
    needs_lora: bool = False
    any_rank: bool = True
    joins_late: bool = True
    renews_factors: bool = False

    @property
    def needs_only_sums(self) -> bool:
        """Whether the server half reads nothing but the weighted sum of what is sent."""
        return self.expand is None

    def keeps(self, names: Iterable[str]) -> bool:
        """Whether some of these tensors stay with each client."""
        return any(map(self.private, names))

    def first(self, weights: Tensors) -> ServerState:
        """The state before the first round.

        Args:
            weights: what every client starts from, float32 and finite.

        Raises:
            VerificationError: a tensor is not float32 or not finite.
        """
        for name, value in weights.items():
            if value.dtype != np.float32 or not np.isfinite(value).all():
                raise VerificationError(
                    f"the first weights of tensor {name!r} are {value.dtype} or not finite",
                    allowed="finite float32",
                )
        return self.init(ServerState(dict(weights), {}, round=0))

    def sent(self, state: ServerState) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what every client sends in the round to come."""
        shapes = {
            name: tuple(value.shape)
            for name, value in state.weights.items()
            if self.trains(name, state.round) and not self.private(name)
        }
        return shapes | dict(self.adds(state.weights))


class Strategy(Protocol):
    """What the settings of every federated algorithm can do."""

    @property
    def name(self) -> str:
        """The algorithm's name in the configuration."""

    @property
    def algorithm(self) -> Algorithm:
        """Both halves, with these settings."""
