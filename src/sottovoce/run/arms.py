"""What every arm of a comparison shares: held-out loss, and training without meeting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sottovoce import train as training
from sottovoce.config import Config
from sottovoce.run.prepare import Party, Prepared
from sottovoce.run.rounds import round_step
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.train import Client, Example, Progress, Round, TrainSettings
from sottovoce.update import flatten, unflatten

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Evaluation:
    """Held-out loss after some rounds.

    Args:
        round: rounds finished; 0 is the base model.
        loss: token-mean loss per client, by name.
    """

    round: int
    loss: Mapping[str, float]

    @property
    def mean(self) -> float:
        """The loss averaged over clients."""
        return float(np.mean(list(self.loss.values())))


@dataclass(frozen=True)
class Watch:
    """What is told of a run under way; each part may be left out.

    Args:
        arm: the name of what is trained, for display.
        on_step: after each optimizer step.
        on_evaluation: after each evaluation.
    """

    arm: str = "federated"
    on_step: Callable[[str, int, Progress], None] | None = None
    on_evaluation: Callable[[str, Evaluation], None] | None = None

    def step(self, round_index: int) -> Callable[[Progress], None] | None:
        """The hook of one round for ``train``."""
        tell = self.on_step
        if tell is None:
            return None
        return lambda progress: tell(self.arm, round_index, progress)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Tell of an evaluation."""
        if self.on_evaluation is not None:
            self.on_evaluation(self.arm, evaluation)


def evaluate_parties(
    prepared: Prepared,
    weights: Callable[[str], Vector],
    parties: Sequence[Party],
    round_index: int,
) -> Evaluation:
    """Held-out loss of every party under the row of weights that belongs to its name."""
    losses = {}
    for party in parties:
        scores = training.score(
            prepared.model,
            weights(party.name),
            party.validation,
            tokens_per_pass=prepared.config.train.tokens_per_pass,
        )
        losses[party.name] = float(scores.nll.sum() / scores.tokens.sum())
    return Evaluation(round_index, losses)


def is_evaluated(config: Config, finished: int) -> bool:
    """Whether the held-out conversations are scored after this many rounds."""
    return finished == config.federation.rounds or finished % config.run.evaluate_every == 0


def train_apart(
    prepared: Prepared,
    clients: Mapping[str, tuple[Sequence[Example], Sequence[Party]]],
    settings: TrainSettings,
    watch: Watch,
    *,
    rounds: int | None = None,
) -> tuple[dict[str, Vector], list[Evaluation]]:
    """Train clients that never meet.

    The local arm hands in every party with itself as judge; the centralised arm hands in one
    client that holds the union, judged by all parties. To train alone is to be a federation of
    one: rounds mark where optimizer state is reset and where the curve has points, and what a
    round changed passes through the same integers.

    Args:
        prepared: model and configuration.
        clients: by name, the examples to train on and the parties to judge by.
        settings: the recipe of this arm.
        watch: what is told.
        rounds: None takes as many as the federation.

    Returns:
        The trained row of each client, and the evaluations.
    """
    config, layout = prepared.config, prepared.model.layout
    rounds = config.federation.rounds if rounds is None else rounds
    averaging = FedAvg().algorithm
    start = averaging.first(unflatten(prepared.model.initial(config.seed), layout))
    servers = dict.fromkeys(clients, start)
    members = [Client(name, examples) for name, (examples, _) in clients.items()]
    evaluations = []
    for index in range(rounds):
        where = Round(index, rounds, config.seed)
        received = {name: flatten(server.weights, layout) for name, server in servers.items()}
        trained = training.train(
            prepared.model, members, received, settings, where, on_step=watch.step(index)
        )
        for place, (update, state) in enumerate(trained):
            servers[update.client], _ = round_step(averaging, servers[update.client], [update])
            members[place] = replace(members[place], state=state)
        if index + 1 == rounds or is_evaluated(prepared.config, index + 1):
            rows = {
                party.name: flatten(servers[name].weights, layout)
                for name, (_, judges) in clients.items()
                for party in judges
            }
            parties = [party for _, judges in clients.values() for party in judges]
            evaluations.append(evaluate_parties(prepared, rows.__getitem__, parties, index + 1))
            watch.evaluated(evaluations[-1])
    return {name: flatten(server.weights, layout) for name, server in servers.items()}, evaluations
