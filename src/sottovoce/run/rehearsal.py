"""A whole federation in memory, leaving nothing on disk: for tuning and for benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sottovoce.run.arms import Evaluation, Watch
from sottovoce.run.contribute import devices_in, planned_steps
from sottovoce.run.play import Played, evaluate_judged, play_round
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import sampled
from sottovoce.run.sums import cohorts_of
from sottovoce.strategies import ServerState
from sottovoce.train import ClientState
from sottovoce.update import Tensors, unflatten


def rounds_of(prepared: Prepared, watch: Watch) -> Iterator[tuple[ServerState, Played]]:
    """Play all rounds of a federation; yield the state before each, and what the round gave."""
    config, layout = prepared.config, prepared.model.layout
    algorithm = config.federation.strategy.algorithm
    server = algorithm.first(unflatten(prepared.model.initial(config.seed), layout))
    clients = {party.name: ClientState() for party in prepared.parties}
    devices = devices_in(prepared)
    steps = planned_steps(prepared, devices)
    versions: dict[int, Tensors] = {}
    for cohort in cohorts_of(prepared, steps, devices):
        versions[server.round] = server.weights
        played = play_round(
            prepared,
            server,
            sampled(prepared.plans, cohort, config.seed),
            devices=devices,
            memory=clients.__getitem__,
            history=versions.__getitem__,
            watch=watch,
        )
        yield server, played
        clients.update(played.clients)
        server = played.server
        versions = {v: w for v, w in versions.items() if v >= cohort.oldest_needed}


@dataclass(frozen=True)
class Rehearsal:
    """What a federation in memory ends with.

    Args:
        server: the state after the last round.
        clients: what each client that took part remembers.
    """

    server: ServerState
    clients: Mapping[str, ClientState]

    def evaluate(self, prepared: Prepared) -> Evaluation:
        """Held-out loss of every party that is judged, under the weights that it would use."""

        def memory(name: str) -> ClientState:
            return self.clients.get(name, ClientState())

        return evaluate_judged(prepared, self.server, memory)


def rehearse(
    prepared: Prepared,
    watch: Watch,
    *,
    on_round: Callable[[ServerState, Played], None] | None = None,
) -> Rehearsal:
    """Play a whole federation in memory.

    Nothing is charged and no policy is asked: this is for benchmarks and for tuning on text that
    needs no privacy. Noise and samples are as in a run.

    Args:
        prepared: model, data and configuration.
        watch: what is told along the way.
        on_round: told after each round: the state before it, and what it gave.
    """
    algorithm = prepared.config.federation.strategy.algorithm
    first = unflatten(prepared.model.initial(prepared.config.seed), prepared.model.layout)
    ended = Rehearsal(algorithm.first(first), {})
    for before, played in rounds_of(prepared, watch):
        ended = Rehearsal(played.server, {**ended.clients, **played.clients})
        if on_round is not None:
            on_round(before, played)
    return ended
