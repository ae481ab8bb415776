"""What the sums of a run need to know of its configuration: who is in one, and how heavy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from sottovoce.run.cohorts import Cohort, cohorts
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import drawn_from
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.secure import Summed, Summing, coding_of, least_survivors, require_enough, sum_of
from sottovoce.strategies import ServerState
from sottovoce.strategies.settings import Device
from sottovoce.update import Layout, Update


def summed_by(
    prepared: Prepared, server: ServerState, sent: Sequence[Update], absent: Collection[str]
) -> Summed | None:
    """The sum of a round whose updates travel as words; None where they travel as they are."""
    config, algorithm = prepared.config, prepared.config.federation.strategy.algorithm
    if config.secure.clip_norm is None:
        return None
    how = Summing(
        config.secure,
        prepared.circle,
        config.seed,
        # In one order however the state was made or read.
        Layout(dict(sorted(algorithm.sent(server).items()))),
        clients_in_a_sum(prepared),
        heaviest(prepared),
    )
    model_sha256 = bytes.fromhex(digest(model_tensors(server)))
    return sum_of(sent, absent, how, round_index=server.round, model_sha256=model_sha256)


def clients_in_a_sum(prepared: Prepared) -> int:
    """The most clients that can be in one sum."""
    everyone = len(prepared.parties)
    return min(prepared.config.federation.clients_per_round or everyone, everyone)


def require_summable(prepared: Prepared) -> None:
    """Refuse sums in words that could not be formed, before anything is written.

    Raises:
        ConfigError: fewer than two clients, a client heavier than agreed, or words too narrow for
            so many clients.
    """
    config = prepared.config
    if config.secure.clip_norm is None:
        return
    coding_of(config.secure, prepared.model.layout.size, clients_in_a_sum(prepared))
    require_enough(config.secure, clients_in_a_sum(prepared))


def cohorts_of(
    prepared: Prepared, steps: Mapping[str, int], devices: Mapping[str, Device]
) -> Iterator[Cohort]:
    """Who takes part in every round, as the privacy plan and the secure sum want it."""
    config = prepared.config
    federation = drawn_from(prepared.plans, config.federation)
    least = least_survivors(config.secure, clients_in_a_sum(prepared))
    federation = federation.model_copy(
        update={"minimum_clients": max(federation.minimum_clients, least)}
    )
    return cohorts(federation, steps, devices, config.seed)


def heaviest(prepared: Prepared) -> int:
    """The most that a client may weigh."""
    config = prepared.config
    if prepared.plans.plans or config.federation.weighting == "uniform":
        return 1
    return config.secure.max_weight or max(len(party.train) for party in prepared.parties)
