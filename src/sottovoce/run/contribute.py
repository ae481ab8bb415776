"""The clients' half of a round: who trains from what, and what each makes of it. No disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np

from sottovoce import train as training
from sottovoce.codec.fixed_point import fits
from sottovoce.model.adapters import LoraModel
from sottovoce.model.full import FullModel
from sottovoce.privacy.guard import Guard, SharedGuard
from sottovoce.privacy.plan import clip_norm_memory
from sottovoce.run.arms import Vector, Watch
from sottovoce.run.cohorts import Cohort, Part, devices_of, staleness_scale
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import protection_of, require_planned
from sottovoce.run.secure import Contribution
from sottovoce.strategies import Algorithm, Own, ServerState, Work, factors
from sottovoce.strategies.personal import Ditto
from sottovoce.strategies.settings import Device
from sottovoce.train import Client, ClientState, Protection, Round, Rule, rate_of
from sottovoce.update import Tensors, Update, flatten, scale, unflatten


@dataclass(frozen=True)
class _Member:
    """One client of a cohort on its way through a round."""

    part: Part
    client: Client
    start: Tensors
    vector: Vector
    rank: int | None


def on_base(model: LoraModel | FullModel, residual: Tensors) -> AbstractContextManager[object]:
    """A context in which the base model has changed by what an algorithm folded into it."""
    if not residual or isinstance(model, FullModel):
        return nullcontext()
    return model.based_on(residual)


def planned_steps(prepared: Prepared, devices: Mapping[str, Device]) -> dict[str, int]:
    """The optimizer steps of a whole round, by client."""
    units = prepared.plans.units
    return {
        party.name: Client(
            party.name,
            party.train,
            steps=_steps(devices, party.name),
            units=units.get(party.name, ()),
        ).planned(prepared.config.train)
        for party in prepared.parties
    }


def devices_in(prepared: Prepared) -> dict[str, Device]:
    """The kind of device of every client that has one."""
    return devices_of(prepared.config.federation.devices, prepared.clients, prepared.config.seed)


def personal_weights(weights: Tensors, own: Own) -> Tensors:
    """The shared weights with what a client has kept to itself."""
    return {**weights, **own.get("private", {})}


@dataclass(frozen=True)
class Contributed:
    """What clients have made of a round, before anything of it is sent.

    Args:
        pairs: each one's update, and what it remembers if the update counts. Private.
        diverged: whose training is no longer finite.
        protection: what guarded the units inside clients; None where nothing did.
    """

    pairs: Sequence[tuple[Update, ClientState]]
    diverged: Sequence[str]
    protection: Protection | None


def contribute(
    prepared: Prepared,
    server: ServerState,
    cohort: Cohort,
    *,
    devices: Mapping[str, Device],
    memory: Callable[[str], ClientState],
    history: Callable[[int], Tensors],
    watch: Watch,
) -> Contributed:
    """The clients' half of a round: let those of a cohort that are here train.

    Args:
        prepared: model, data and configuration.
        server: before the round.
        cohort: who takes part, and from which weights.
        devices: the kinds of device of the clients that have one.
        memory: the state of a client by name.
        history: the shared weights after so many rounds.
        watch: what is told along the way.

    Raises:
        Diverged: a client's training is no longer finite and ``on_divergence`` is ``"stop"``.
    """
    federation, model = prepared.config.federation, prepared.model
    algorithm, plans, seed = federation.strategy.algorithm, prepared.plans, prepared.config.seed
    require_planned(prepared.config, plans)
    members = _members(prepared, cohort, devices, memory, history)
    where = Round(server.round, federation.rounds, seed)
    rule = _rule(prepared, algorithm, server, members)
    protection = protection_of(
        plans,
        _sizes(rule, members, model.layout.size),
        {member.part.client: member.client.state.own for member in members},
        seed,
        server.round,
    )
    diverged: list[str] = []
    with on_base(model, server.residual):
        trained = training.train(
            model,
            [member.client for member in members],
            {member.part.client: member.vector for member in members},
            prepared.config.train,
            where,
            rule=rule,
            protection=protection,
            on_step=watch.step(server.round),
            on_diverged=diverged.append
            if federation.on_divergence == "drop" or plans.whole_clients
            else None,
        )
        by_name = {member.part.client: member for member in members}
        finished = [
            _finish(prepared, algorithm, server, by_name[update.client], update, state, where)
            for update, state in trained
        ]
        if federation.on_divergence == "drop":
            diverged += [u.client for u, _ in finished if not fits(u.tensors, u.counts)]
            finished = [pair for pair in finished if pair[0].client not in diverged]
        if protection is not None:
            finished = [_protected(pair, protection) for pair in finished]
        if isinstance(federation.personal, Ditto):
            delivered = [by_name[update.client] for update, _ in finished]
            finished = _with_personal(prepared, federation.personal, delivered, finished, where)
    if plans.whole_clients:
        # Who is no longer finite counts as zero: to leave it out would tell of its text.
        zeros = [_nothing(algorithm, server, by_name[name], prepared) for name in diverged]
        return Contributed([*finished, *zeros], (), protection)
    return Contributed(finished, diverged, protection)


def _members(
    prepared: Prepared,
    cohort: Cohort,
    devices: Mapping[str, Device],
    memory: Callable[[str], ClientState],
    history: Callable[[int], Tensors],
) -> list[_Member]:
    layout = prepared.model.layout
    shared: dict[int, tuple[Tensors, Vector]] = {}
    members = []
    for part in cohort.parts:
        if part.version not in shared:
            weights = history(part.version)
            shared[part.version] = weights, flatten(weights, layout)
        weights, vector = shared[part.version]
        party, state = prepared.party(part.client), memory(part.client)
        device = devices.get(part.client)
        rank = device.rank if device else None
        if state.own.get("private"):
            weights = personal_weights(weights, state.own)
            vector = flatten(weights, layout)
        if rank is not None:
            vector = np.where(factors.held_entries(layout, rank), vector, np.float32(0))
            weights = unflatten(vector, layout)
        steps = _steps(devices, part.client)
        units = prepared.plans.units.get(party.name, ())
        client = Client(party.name, party.train, state, steps, part.stop_after, units)
        members.append(_Member(part, client, weights, vector, rank))
    return members


def _steps(devices: Mapping[str, Device], name: str) -> int | None:
    return devices[name].steps_per_round if name in devices else None


def _rule(
    prepared: Prepared, algorithm: Algorithm, server: ServerState, members: Sequence[_Member]
) -> Rule:
    """What the algorithm changes about local training in this round."""
    layout = prepared.model.layout
    anchors = None
    if algorithm.adjust is not None and algorithm.anchor is not None:
        anchors = {
            member.part.client: flatten(algorithm.anchor(server, member.client.state.own), layout)
            for member in members
        }
    chosen = {name: algorithm.trains(name, server.round) for name in layout.shapes}
    trained = None
    if not all(chosen.values()) or any(member.rank is not None for member in members):
        everyone = factors.chosen_entries(layout, chosen)
        trained = {
            member.part.client: everyone
            if member.rank is None
            else everyone & factors.held_entries(layout, member.rank)
            for member in members
        }
    return Rule(algorithm.adjust, anchors, trained)


def _finish(
    prepared: Prepared,
    algorithm: Algorithm,
    server: ServerState,
    member: _Member,
    update: Update,
    state: ClientState,
    where: Round,
) -> tuple[Update, ClientState]:
    """The client half after training: what travels, and what stays."""
    config = prepared.config
    trained = {n: v for n, v in update.tensors.items() if algorithm.trains(n, server.round)}
    change = {name: value for name, value in trained.items() if not algorithm.private(name)}
    staleness = server.round - member.part.version
    if staleness and config.federation.asynchronous is not None:
        exponent = config.federation.asynchronous.staleness_exponent
        change = scale(change, staleness_scale(staleness, exponent))
    planned = member.client.planned(config.train)
    rates = [rate_of(config.train, where, planned, step) for step in range(update.steps)]
    work = Work(tuple(rates), config.train.momentum)
    sent, own = algorithm.finish(server, state.own, change, work)
    private = {n: member.start[n] + v for n, v in trained.items() if algorithm.private(n)}
    if private:
        own = {**own, "private": private}
    counts = {"examples": update.examples, "targets": update.targets, "uniform": 1}
    # Under a plan a weight that grows with a client's data would let one unit count for more.
    weight = counts[config.federation.weighting] if not prepared.plans.plans else 1
    update = replace(update, tensors=sent, weight=weight, rank=member.rank)
    return update, replace(state, own=own)


def _nothing(
    algorithm: Algorithm, server: ServerState, member: _Member, prepared: Prepared
) -> tuple[Update, ClientState]:
    """What stands for a client whose training is no longer finite, and what it goes on from."""
    steps = member.client.taken(prepared.config.train)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in algorithm.sent(server).items()}
    state = member.client.state
    update = Update(tensors, member.part.client, 0, steps, 0, None, weight=1)
    return update, replace(state, cursor=state.cursor + steps)


def contributions_of(protection: Protection | None) -> dict[str, Contribution]:
    """What clients send in place of their updates, where units inside them hide in one sum."""
    if protection is None:
        return {}
    return {
        name: Contribution(guard.total, guard.plan.units)
        for name, guard in protection.guards.items()
        if isinstance(guard, SharedGuard)
    }


def _sizes(rule: Rule, members: Sequence[_Member], size: int) -> dict[str, int]:
    """How many entries each client trains."""
    names = [member.part.client for member in members]
    if rule.trained is None:
        return dict.fromkeys(names, size)
    return {name: int(np.count_nonzero(rule.trained[name])) for name in names}


def _protected(
    pair: tuple[Update, ClientState], protection: Protection
) -> tuple[Update, ClientState]:
    """What leaves a client that protects its units: nothing that its guard did not release."""
    update, state = pair
    guard = protection.guards[update.client]
    if not isinstance(guard, Guard | SharedGuard):
        raise TypeError(f"the guard of {update.client!r} is {type(guard).__name__}")
    loss = float(np.mean(guard.losses)) if guard.losses else None
    update = replace(update, examples=0, tokens=0, targets=0, loss=loss)
    if guard.clip_norm != guard.plan.first_clip_norm:
        state = replace(state, own={**state.own, "privacy": clip_norm_memory(guard.clip_norm)})
    return update, state


def _with_personal(
    prepared: Prepared,
    ditto: Ditto,
    members: Sequence[_Member],
    finished: Sequence[tuple[Update, ClientState]],
    where: Round,
) -> list[tuple[Update, ClientState]]:
    """Train each client's own model as well, over the same batches, near what it received."""
    layout = prepared.model.layout
    personal = {
        member.part.client: flatten(member.client.state.own.get("personal", member.start), layout)
        for member in members
    }
    alone = [
        replace(member.client, state=replace(member.client.state, moments=None))
        for member in members
    ]
    rule = Rule(ditto.adjust, {member.part.client: member.vector for member in members})
    settings = prepared.config.train.model_copy(update={"optimizer_state": "reset"})
    trained = training.train(prepared.model, alone, personal, settings, where, rule=rule)
    moved = {
        update.client: unflatten(personal[update.client] + flatten(update.tensors, layout), layout)
        for update, _ in trained
    }
    return [
        (update, replace(state, own={**state.own, "personal": moved[update.client]}))
        for update, state in finished
    ]
