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
from sottovoce.run.circle import Circle
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
from sottovoce.run.known import Known
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
from sottovoce.update import Layout, Tensors, Update, scale


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
    config = prepared.config
    if clip_norm_of(config) is None:
        return None
    how = summing(prepared, server, sent.parts, contributions, prepared.circle)
    form = sum_of if config.secure.group_size is None else sum_in_groups
    model_sha256 = bytes.fromhex(digest(model_tensors(server)))
    updates = [update for update, _ in sent.pairs]
    summed = form(updates, absent, how, round_index=server.round, model_sha256=model_sha256)
    mean = as_update(prepared, server, summed.mean, sent.parts, inside=bool(contributions))
    return replace(summed, mean=mean)


def summing(
    known: Known,
    server: ServerState,
    parts: NDArray[np.int64] | None,
    contributions: Mapping[str, Contribution],
    circle: Circle | None,
) -> Summing:
    """How the sum of the round to come is formed, where updates travel as words.

    Args:
        known: the federation.
        server: before the round.
        parts: which entries travel; None for all.
        contributions: what clients send in place of their updates; of those that are here.
        circle: who hides from the server in this process.
    """
    config = known.config
    layout = layout_of(known, server)
    inside = shared_inside(known)
    if inside:
        # Gradients of units come in the order of the model's own row.
        row = known.layout.shapes
        layout = Layout({name: row[name] for name in row if name in layout.shapes})
    crowd = crowd_in(known)
    size = layout.size if parts is None else parts.size
    noise, coding = _noise(known, crowd, size, server.round, contributions)
    return Summing(
        config.secure,
        circle,
        config.seed,
        layout if parts is None else Layout({PART: (size,)}),
        coding,
        max(known.unit_counts.values()) if inside else heaviest(known),
        crowd.least,
        noise,
    )


def shared_inside(known: Known) -> bool:
    """Whether clients share one noise and the units that it hides lie inside them."""
    privacy = known.config.privacy
    return privacy.trust == "none" and privacy.inside_clients


def as_update(
    known: Known,
    server: ServerState,
    mean: Tensors,
    parts: NDArray[np.int64] | None,
    *,
    inside: bool,
) -> Tensors:
    """The mean of a sum as the server reads it: an update of everything that is sent."""
    if parts is not None:
        return whole(mean, parts, layout_of(known, server))
    if not inside:
        return mean
    # What came is the mean gradient of all units; one plain step along it is what a client sends.
    config = known.config
    where = Round(server.round, config.federation.rounds, config.seed)
    return scale(mean, -rate_of(config.train, where, 1, 0))


def as_sent(known: Known, server: ServerState, pairs: Sequence[tuple[Update, ClientState]]) -> Sent:
    """What leaves the clients of a round: all of their updates, a part, or few bits of each."""
    config = known.config
    secure, layout = config.secure, layout_of(known, server)
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


def layout_of(known: Known, server: ServerState) -> Layout:
    """What every client sends in the round to come, in one order however the state was made."""
    algorithm = known.config.federation.strategy.algorithm
    return Layout(dict(sorted(algorithm.sent(server).items())))


def _noise(
    known: Known,
    crowd: Crowd,
    size: int,
    round_index: int,
    contributions: Mapping[str, Contribution],
) -> tuple[Noise | None, Coding]:
    """What hides each client's units in a sum, and how it is written."""
    config, plans = known.config, known.plans
    if config.privacy.trust != "none":
        return None, _coding(config, crowd, size)
    planned = _planned_shares(known)
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


def _planned_shares(known: Known) -> Shares | None:
    """The shares of noise that the plans of a run have accounted for; the same in all of them."""
    plans = known.plans.plans.values()
    return max(plans, key=lambda plan: plan.noise_std).shares if plans else None


def _coding(config: Config, crowd: Crowd, size: int, noise_std: float = 0.0) -> Coding:
    coding = coding_of(config, crowd, size, noise_std)
    if coding is None:
        raise ValueError("words are written by a clip norm that is a number")
    return coding


def crowd_in(known: Known) -> Crowd:
    """Who is in the sums of a run."""
    return crowd_of(known.config, list(known.unit_counts.values()))


def told(known: Known) -> dict[str, Any]:
    """What ``secure.facts`` and ``secure.claim`` say of a run's sums, as their arguments."""
    crowd = crowd_in(known)
    shares = _planned_shares(known)
    noise_std = 0.0 if shares is None else shares.largest_noise_std
    secure = known.config.secure
    size = part_of(known.layout.size, secure.keep)
    coding = coding_of(known.config, crowd, size, noise_std)
    clients, least = crowd.clients, crowd.least
    if secure.group_size is not None:
        # The smallest group hides its clients least.
        everyone = clients_in_a_round(known.config, len(known.clients))
        clients = smallest_group(everyone, secure.group_size)
        least = least_survivors(secure, clients)
    return {"secure": secure, "clients": clients, "coding": coding, "least": least}


def require_summable(known: Known) -> None:
    """Refuse sums in words that could not be formed, before anything is written.

    Raises:
        ConfigError: fewer than two clients, a client heavier than agreed, or words too narrow for
            so many clients.
    """
    config = known.config
    if clip_norm_of(config) is None:
        return
    crowd = crowd_in(known)
    coding_of(config, crowd, known.layout.size)
    require_enough(config.secure, crowd.clients)
    require_groups(config.secure, clients_in_a_round(config, len(known.clients)))


def cohorts_of(
    known: Known, steps: Mapping[str, int], devices: Mapping[str, Device]
) -> Iterator[Cohort]:
    """Who takes part in every round, as the privacy plan and the secure sum want it."""
    config = known.config
    federation = drawn_from(known.plans, config.federation)
    least = max(crowd_in(known).least, federation.minimum_clients)
    federation = federation.model_copy(update={"minimum_clients": least})
    return cohorts(federation, steps, devices, config.seed)


def heaviest(known: Known) -> int:
    """The most that a client may weigh."""
    config = known.config
    if known.plans.plans or config.federation.weighting == "uniform":
        return 1
    return config.secure.max_weight or known.heaviest_client
