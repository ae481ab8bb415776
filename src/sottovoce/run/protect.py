"""From a configuration to the privacy plans of a run, and what they do to each of its rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sottovoce.config import Config
from sottovoce.errors import ConfigError
from sottovoce.privacy.guard import Guard, SharedGuard
from sottovoce.privacy.plan import PrivacyPlan, make_plan
from sottovoce.privacy.sampling import poisson
from sottovoce.privacy.settings import PrivacySettings
from sottovoce.privacy.shares import Shares
from sottovoce.run.claims import claim, facts
from sottovoce.run.cohorts import Cohort
from sottovoce.run.distributed import crowd_of, shares_of
from sottovoce.run.plans import FEDERATION, Plans
from sottovoce.strategies import Own
from sottovoce.strategies.settings import FederationSettings
from sottovoce.train import Example, Protection, steps_in_round, units_of
from sottovoce.train.units import Units

__all__ = [
    "FEDERATION",
    "Plans",
    "affordable",
    "charges",
    "claim",
    "drawn_from",
    "facts",
    "make_plans",
    "plans_of",
    "protection_of",
    "require_planned",
    "sampled",
    "under_cap",
    "units_inside",
]


def make_plans(
    config: Config,
    examples: Mapping[str, Sequence[Example]],
    size: int,
    sent: Collection[int] = (),
) -> Plans:
    """Build the plans of a run from its configuration and what each client holds.

    Args:
        config: the whole.
        examples: what each client trains on, by name. Private.
        size: entries of an update.
        sent: entries of what is sent, in every kind of round; none given takes ``size``.

    Raises:
        ConfigError: the settings contradict the data: no owners, δ too large for so few units, an
            owner at more clients than declared, or a target that cannot be reached.
    """
    units = units_inside(config, examples)
    counts = {name: len(units.get(name, ())) for name in examples}
    sites = _sites_per_owner(examples, config.privacy) if units else 1
    plans = plans_of(config, counts, size, sent, sites=sites)
    held = _units_of_person(units) if config.privacy.unit == "example" else plans.units_of_person
    return replace(plans, units=units, units_of_person=held)


def units_inside(config: Config, examples: Mapping[str, Sequence[Example]]) -> dict[str, Units]:
    """The sequences of each unit, by client; none where units don't lie inside clients.

    Raises:
        ConfigError: the unit is the owner, and a conversation has none.
    """
    privacy = config.privacy
    if privacy.unit == "none" or not privacy.inside_clients:
        return {}
    return {name: _units(name, own, privacy) for name, own in examples.items()}


def plans_of(
    config: Config,
    counts: Mapping[str, int],
    size: int,
    sent: Collection[int] = (),
    *,
    sites: int = 1,
) -> Plans:
    """Build the plans of a run from what everybody may know; nobody's text is asked for.

    Args:
        config: the whole.
        counts: how many units each client holds, by name; 0 where units don't lie inside clients.
        size: entries of an update.
        sent: entries of what is sent, in every kind of round; none given takes ``size``.
        sites: at how many clients one person's text lies at most.

    Raises:
        ConfigError: as ``make_plans``.
    """
    privacy = config.privacy
    if privacy.unit == "none":
        return Plans(privacy)
    rounds = config.federation.rounds
    if privacy.unit == "client" and privacy.trust == "server":
        expected = config.federation.clients_per_round or len(counts)
        plan = make_plan(
            privacy, units=len(counts), expected_units=expected, releases=rounds, size=size
        )
        return Plans(privacy, {FEDERATION: plan})
    shares = None
    if privacy.trust == "none":
        if privacy.inside_clients:
            _require_everyone(config, counts, sent)
        crowd = crowd_of(config, list(counts.values()))
        shares = partial(shares_of, config, crowd, tuple(sent) or (size,))
    rounds = min(rounds, privacy.max_participations or rounds)
    if privacy.unit == "client":
        everyone = len(counts)
        plan = make_plan(
            privacy,
            units=everyone,
            expected_units=everyone,
            releases=rounds,
            size=size,
            shares=shares,
        )
        return Plans(privacy, dict.fromkeys(counts, plan))
    devices = config.federation.devices
    most = max((device.steps_per_round or 0 for device in devices.values()), default=0)
    plans = {
        name: _plan_of(
            name,
            config,
            units=own,
            releases=rounds * max(most, steps_in_round(own, config.train)),
            size=size,
            shares=shares,
        )
        for name, own in counts.items()
    }
    # One owner is one unit. Which examples are one person's is seen only where the text is.
    held = dict.fromkeys(counts, 1) if privacy.unit == "owner" else None
    return Plans(privacy, plans, sites_per_owner=sites, units_of_person=held)


def _require_everyone(config: Config, counts: Mapping[str, int], sent: Collection[int]) -> None:
    """Where all clients share the noise of one sum, every unit is in every sum."""
    most = max(counts.values())
    if config.train.batch_size < most:
        raise ConfigError(
            f'privacy.trust is "none", where every {config.privacy.unit} is read in every round, and '
            f"train.batch_size is {config.train.batch_size}",
            allowed=f"{most} or more, since so many are at one client",
            remedy="Set train.batch_size = 2147483647, which is everyone, and take fewer rounds",
        )
    if len(sent) > 1:
        raise ConfigError(
            f"{config.federation.strategy.name} sends vectors of {sorted(sent)} entries in turns, and "
            "people's gradients under shares of noise are written in one way",
            remedy='Take federation.strategy = "ffa" or "fedsgd"',
        )


def _plan_of(
    name: str,
    config: Config,
    *,
    units: int,
    releases: int,
    size: int,
    shares: Callable[[float], Shares] | None,
) -> PrivacyPlan:
    try:
        return make_plan(
            config.privacy,
            units=units,
            expected_units=config.train.batch_size,
            releases=releases,
            size=size,
            shares=shares,
        )
    except ConfigError as error:
        raise ConfigError(
            f"client {name!r}: {error.seen}", allowed=error.allowed, remedy=error.remedy
        ) from error


def _units(name: str, examples: Sequence[Example], privacy: PrivacySettings) -> Units:
    try:
        return units_of(examples, "owner" if privacy.unit == "owner" else "example")
    except ValueError as error:
        raise ConfigError(
            f'privacy.unit is "owner", and a conversation of client {name!r} has no owner',
            allowed="an owner for every conversation",
            remedy='Name data.owner_column, or set privacy.unit = "example"',
        ) from error


def _units_of_person(units: Mapping[str, Units]) -> dict[str, int] | None:
    """How many conversations one person has at each client at most; None unless all have owners."""
    held: dict[str, int] = {}
    for name, own in units.items():
        owners = [unit[0].owner for unit in own]
        if None in owners:
            return None
        held[name] = max(Counter(owners).values(), default=1)
    return held


def _sites_per_owner(examples: Mapping[str, Sequence[Example]], privacy: PrivacySettings) -> int:
    """How many clients hold text of one person at most: as declared, and checked; else all."""
    declared = privacy.max_sites_per_owner
    if declared is None:
        return len(examples)
    sites: dict[str, int] = {}
    for own in examples.values():
        for owner in {example.owner for example in own if example.owner is not None}:
            sites[owner] = sites.get(owner, 0) + 1
    found = max(sites.values(), default=0)
    if not sites:
        raise ConfigError(
            f"privacy.max_sites_per_owner is {declared}, and no conversation has an owner to check",
            remedy="Name data.owner_column, or remove max_sites_per_owner",
        )
    if found > declared:
        raise ConfigError(
            f"privacy.max_sites_per_owner is {declared}, and one owner is at {found} clients",
            remedy=f"Declare {found}, or remove it",
        )
    return min(declared, len(examples))


def require_planned(config: Config, plans: Plans) -> None:
    """Refuse to train under a unit that nothing protects.

    Raises:
        ConfigError: the configuration asks for a unit, and the plans were made without it.
    """
    if plans.settings.unit != config.privacy.unit:
        raise ConfigError(
            f'privacy.unit is "{config.privacy.unit}", and the plans are for '
            f'"{plans.settings.unit}"',
            remedy="Prepare the run anew from its configuration",
        )


def drawn_from(plans: Plans, federation: FederationSettings) -> FederationSettings:
    """The settings by which cohorts are drawn: everyone, where the plan itself draws the sample."""
    if plans.federation is None:
        return federation
    return federation.model_copy(update={"clients_per_round": None})


def sampled(plans: Plans, cohort: Cohort, seed: int) -> Cohort:
    """The clients of a round, each drawn by itself where clients are the units.

    Guarantees:
        - a client is in with the plan's probability, independently of all others;
        - under any other unit the cohort is as it was.
    """
    plan = plans.federation
    if plan is None:
        return cohort
    source = plans.source(seed, "cohort", cohort.round)
    drawn = poisson(len(cohort.parts), plan.sampling_probability, source)
    return replace(cohort, parts=tuple(cohort.parts[place] for place in drawn))


def under_cap(plans: Plans, cohort: Cohort, taken: Mapping[str, int]) -> Cohort:
    """The cohort without the clients that took part as often as they ever will.

    Every client enforces ``privacy.max_participations`` by itself.
    """
    most = plans.settings.max_participations
    if most is None:
        return cohort
    able = tuple(part for part in cohort.parts if taken.get(part.client, 0) < most)
    out = {part.client for part in cohort.parts} - {part.client for part in able}
    return replace(cohort, parts=able, failed=tuple(sorted({*cohort.failed, *out})))


def affordable(
    plans: Plans, cohort: Cohort, spent: Mapping[str, int], steps: Mapping[str, int]
) -> Cohort:
    """The cohort without the clients whose budget does not cover this round.

    Under the unit ``client`` it is one budget: either all of the cohort or nobody stays.
    """
    if plans.federation is not None:
        if plans.federation.affords(spent.get(FEDERATION, 0)) < 1:
            return replace(cohort, parts=())
        return cohort
    if not plans.plans:
        return cohort
    able = tuple(
        part
        for part in cohort.parts
        if plans.plans[part.client].affords(spent.get(part.client, 0))
        >= _releases(plans, part.client, steps)
    )
    out = {part.client for part in cohort.parts} - {part.client for part in able}
    return replace(cohort, parts=able, failed=tuple(sorted({*cohort.failed, *out})))


def steps_in(cohort: Cohort, steps: Mapping[str, int]) -> dict[str, int]:
    """How many steps each client of a cohort takes; a straggler stops earlier.

    Args:
        cohort: of a round.
        steps: of a whole round, by client.
    """
    return {
        part.client: steps[part.client]
        if part.stop_after is None
        else min(part.stop_after, steps[part.client])
        for part in cohort.parts
    }


def charges(plans: Plans, cohort: Cohort, steps: Mapping[str, int]) -> dict[str, int]:
    """How many releases a round makes, by plan; to be written down before it begins."""
    if plans.federation is not None:
        return {FEDERATION: 1}
    if not plans.plans:
        return {}
    return {part.client: _releases(plans, part.client, steps) for part in cohort.parts}


def _releases(plans: Plans, client: str, steps: Mapping[str, int]) -> int:
    """How many releases of its own one round of a client makes: one of it all, or one a step."""
    return 1 if plans.whole_clients else steps[client]


def protection_of(
    plans: Plans, sizes: Mapping[str, int], owned: Mapping[str, Own], seed: int, round_index: int
) -> Protection | None:
    """What guards the units of the clients of one round; None unless units lie inside clients.

    Args:
        plans: of the run.
        sizes: how many entries each client of the cohort trains.
        owned: what each of them remembers; its clip norm where that moves.
        seed: the run's, for the generator of tests.
        round_index: the same.
    """
    if not plans.units:
        return None

    def guard(name: str, size: int) -> Guard | SharedGuard:
        plan = replace(plans.plans[name], size=size)
        if plan.shares is not None:
            return SharedGuard(plan)
        return Guard(plan, plans.source(seed, name, round_index), owned[name].get("privacy"))

    return Protection(
        {name: guard(name, size) for name, size in sizes.items()},
        plans.settings.examples_per_owner if plans.settings.unit == "owner" else 2**31,
    )
