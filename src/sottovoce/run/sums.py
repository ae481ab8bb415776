"""What the sums of a run need to know of it: who is in one, how it is written, who adds noise."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.codec.coding import Coding
from sottovoce.config import Config
from sottovoce.errors import VerificationError
from sottovoce.privacy.shares import Shares
from sottovoce.rng import Source
from sottovoce.run.cohorts import Cohort, cohorts
from sottovoce.run.distributed import (
    Crowd,
    clients_in_a_round,
    clip_norm_of,
    coding_of,
    crowd_of,
    lattice_of,
)
from sottovoce.run.groups import require_groups, smallest_group, sum_in_groups
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import drawn_from
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.secure import (
    Contribution,
    Noise,
    Summed,
    Summing,
    least_survivors,
    require_enough,
    sum_of,
)
from sottovoce.run.sending import PART, compressed, part_of, places, thinned, whole
from sottovoce.strategies import ServerState
from sottovoce.strategies.settings import Device
from sottovoce.train import ClientState, Round, rate_of
from sottovoce.update import Layout, Update, scale


@dataclass(frozen=True, eq=False)
class Sent:
    """What leaves the clients of a round.

    Args:
        pairs: the updates as the server reads them, with what each client remembers.
        travels: what the server receives, by client and stage, where that is neither words nor
            plain tensors.
        parts: which entries travel; None for all.
    """

    pairs: Sequence[tuple[Update, ClientState]]
    travels: Mapping[tuple[str, str], bytes] = field(default_factory=dict)
    parts: NDArray[np.int64] | None = None


def summed_by(
    prepared: Prepared,
    server: ServerState,
    sent: Sent,
    absent: Collection[str],
    contributions: Mapping[str, Contribution],
) -> Summed | None:
    """The sum of a round whose updates travel as words; None where they travel as they are.

    Args:
        prepared: model, data and configuration.
        server: before the round.
        sent: what those that delivered send.
        absent: who was drawn and fell silent.
        contributions: what clients send in place of their updates, where they add shares of noise
            and the units lie inside them; then the mean is that of all units.
    """
    config, parts = prepared.config, sent.parts
    if clip_norm_of(config) is None:
        return None
    layout = layout_of(prepared, server)
    if contributions:
        # Gradients of units come in the order of the model's own row.
        row = prepared.model.layout.shapes
        layout = Layout({name: row[name] for name in row if name in layout.shapes})
    crowd = crowd_in(prepared)
    size = layout.size if parts is None else parts.size
    noise, coding = _noise(prepared, crowd, size, server.round, contributions)
    how = Summing(
        config.secure,
        prepared.circle,
        config.seed,
        layout if parts is None else Layout({PART: (size,)}),
        coding,
        max((own.units for own in contributions.values()), default=heaviest(prepared)),
        crowd.least,
        noise,
    )
    form = sum_of if config.secure.group_size is None else sum_in_groups
    model_sha256 = bytes.fromhex(digest(model_tensors(server)))
    updates = [update for update, _ in sent.pairs]
    summed = form(updates, absent, how, round_index=server.round, model_sha256=model_sha256)
    if parts is not None:
        return replace(summed, mean=whole(summed.mean, parts, layout))
    if not contributions:
        return summed
    # What came is the mean gradient of all units; one plain step along it is what a client sends.
    where = Round(server.round, config.federation.rounds, config.seed)
    return replace(summed, mean=scale(summed.mean, -rate_of(config.train, where, 1, 0)))


def as_sent(
    prepared: Prepared, server: ServerState, pairs: Sequence[tuple[Update, ClientState]]
) -> Sent:
    """What leaves the clients of a round: all of their updates, a part, or few bits of each."""
    config = prepared.config
    secure, layout = config.secure, layout_of(prepared, server)
    if secure.compress is not None:
        travels: dict[tuple[str, str], bytes] = {}
        read = []
        for update, state in pairs:
            update, data = compressed(update, layout, secure.compress, config.seed, server.round)
            travels[update.client, "blocks"] = data
            read.append((update, state))
        return Sent(read, travels)
    bound = clip_norm_of(config)
    if secure.keep < 1 and bound is not None:
        parts = places(layout.size, secure.keep, config.seed, server.round)
        return Sent([thinned(*pair, layout, parts, bound) for pair in pairs], parts=parts)
    return Sent(pairs)


def layout_of(prepared: Prepared, server: ServerState) -> Layout:
    """What every client sends in the round to come, in one order however the state was made."""
    algorithm = prepared.config.federation.strategy.algorithm
    return Layout(dict(sorted(algorithm.sent(server).items())))


def _noise(
    prepared: Prepared,
    crowd: Crowd,
    size: int,
    round_index: int,
    contributions: Mapping[str, Contribution],
) -> tuple[Noise | None, Coding]:
    """What hides each client's units in a sum, and how it is written."""
    config, plans = prepared.config, prepared.plans
    if config.privacy.trust != "none":
        return None, _coding(config, crowd, size)
    planned = _planned_shares(prepared)
    if planned is None:
        raise ValueError("a plan without a trusted party has shares of noise")
    coding = _coding(config, crowd, size, planned.largest_noise_std)
    lattice = lattice_of(coding)
    if not planned.lattice.covers(lattice):
        raise VerificationError(
            f"a sum of {size} entries is not one that the privacy plan has accounted for"
        )
    if contributions and lattice.scale != planned.lattice.scale:
        raise VerificationError(
            f"people's gradients were written {planned.lattice.scale:g} to the unit, and a sum of "
            f"{size} entries is read {lattice.scale:g} to the unit"
        )

    def source(name: str) -> Source:
        return plans.source(config.seed, "share", name, round_index)

    return Noise(replace(planned, lattice=lattice), source, contributions), coding


def _planned_shares(prepared: Prepared) -> Shares | None:
    """The shares of noise that the plans of a run have accounted for; the same in all of them."""
    plans = prepared.plans.plans.values()
    return max(plans, key=lambda plan: plan.noise_std).shares if plans else None


def _coding(config: Config, crowd: Crowd, size: int, noise_std: float = 0.0) -> Coding:
    coding = coding_of(config, crowd, size, noise_std)
    if coding is None:
        raise ValueError("words are written by a clip norm that is a number")
    return coding


def crowd_in(prepared: Prepared) -> Crowd:
    """Who is in the sums of a run."""
    units = prepared.plans.units
    return crowd_of(prepared.config, [len(units.get(party.name, ())) for party in prepared.parties])


def told(prepared: Prepared) -> dict[str, Any]:
    """What ``secure.facts`` and ``secure.claim`` say of a run's sums, as their arguments."""
    crowd = crowd_in(prepared)
    shares = _planned_shares(prepared)
    noise_std = 0.0 if shares is None else shares.largest_noise_std
    secure = prepared.config.secure
    size = part_of(prepared.model.layout.size, secure.keep)
    coding = coding_of(prepared.config, crowd, size, noise_std)
    clients, least = crowd.clients, crowd.least
    if secure.group_size is not None:
        # The smallest group hides its clients least.
        everyone = clients_in_a_round(prepared.config, len(prepared.parties))
        clients = smallest_group(everyone, secure.group_size)
        least = least_survivors(secure, clients)
    return {"secure": secure, "clients": clients, "coding": coding, "least": least}


def require_summable(prepared: Prepared) -> None:
    """Refuse sums in words that could not be formed, before anything is written.

    Raises:
        ConfigError: fewer than two clients, a client heavier than agreed, or words too narrow for
            so many clients.
    """
    config = prepared.config
    if clip_norm_of(config) is None:
        return
    crowd = crowd_in(prepared)
    coding_of(config, crowd, prepared.model.layout.size)
    require_enough(config.secure, crowd.clients)
    require_groups(config.secure, clients_in_a_round(config, len(prepared.parties)))


def cohorts_of(
    prepared: Prepared, steps: Mapping[str, int], devices: Mapping[str, Device]
) -> Iterator[Cohort]:
    """Who takes part in every round, as the privacy plan and the secure sum want it."""
    config = prepared.config
    federation = drawn_from(prepared.plans, config.federation)
    least = max(crowd_in(prepared).least, federation.minimum_clients)
    federation = federation.model_copy(update={"minimum_clients": least})
    return cohorts(federation, steps, devices, config.seed)


def heaviest(prepared: Prepared) -> int:
    """The most that a client may weigh."""
    config = prepared.config
    if prepared.plans.plans or config.federation.weighting == "uniform":
        return 1
    return config.secure.max_weight or max(len(party.train) for party in prepared.parties)
