"""Who trains, from where, and what is changed about its training. Values, no arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.train.batches import Example
from sottovoce.train.recipe import TrainSettings, steps_in_round
from sottovoce.train.units import Guard, Units
from sottovoce.update import Tensors


@dataclass(frozen=True)
class ClientState:
    """What a client remembers between rounds.

    Args:
        cursor: batches consumed so far; the next round goes on from there.
        moments: optimizer state by name, each ``[D]``, and ``step``; None where it is not kept.
        own: what a federated algorithm keeps for this client, by kind; training hands it through.
    """

    cursor: int = 0
    moments: Mapping[str, NDArray[np.float32]] | None = None
    own: Mapping[str, Tensors] = field(default_factory=dict)


@dataclass(frozen=True)
class Client:
    """One party in local training. Private but the name and the two counts.

    Args:
        name: who it is.
        examples: what it trains on.
        state: what it remembers.
        steps: optimizer steps that it takes in every round; None takes the recipe's.
        stop_after: steps after which it ends this round early; the schedule goes on as if it had
            not.
        units: its sequences by owner or example, where its steps read these instead of batches.
    """

    name: str
    examples: Sequence[Example]
    state: ClientState = ClientState()
    steps: int | None = None
    stop_after: int | None = None
    units: Units = ()

    def planned(self, settings: TrainSettings) -> int:
        """The steps of every round, which the schedule is made for."""
        if self.steps is None or not self.examples:
            return steps_in_round(len(self.units or self.examples), settings)
        return self.steps

    def taken(self, settings: TrainSettings) -> int:
        """The steps of this round."""
        planned = self.planned(settings)
        return planned if self.stop_after is None else min(planned, self.stop_after)


@dataclass(frozen=True)
class Round:
    """Where in the run a round stands; the schedule spans the whole run.

    Args:
        index: which round, from 0.
        total: how many rounds the run has.
        seed: the run's seed.
    """

    index: int
    total: int
    seed: int


@dataclass(frozen=True)
class Rule:
    """What a federated algorithm changes about local training; the default changes nothing.

    Args:
        adjust: (gradients, weights, anchors), each ``[C, D]``, to gradients; None leaves them.
        anchors: the third argument by client name, each ``[D]``; None takes what was received.
        trained: which entries a client may change, by name, each ``[D]``; None means all. An
            entry that is not trained keeps its bits, whatever the optimizer or its memory would
            do to it, and so does its part of the memory.
    """

    adjust: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    anchors: Mapping[str, NDArray[np.float32]] | None = None
    trained: Mapping[str, NDArray[np.bool_]] | None = None


PLAIN = Rule()


@dataclass(frozen=True)
class Protection:
    """How steps read units instead of batches, where a privacy plan protects them.

    Args:
        guards: what bounds and hides each client's units, by name. Each is as long as the entries
            that its client trains, in their order.
        most: the most sequences of one unit that a step reads.
    """

    guards: Mapping[str, Guard]
    most: int
