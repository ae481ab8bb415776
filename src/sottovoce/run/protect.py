"""The privacy plans of one run: one for the federation, or one for every client."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

from sottovoce.config import Config
from sottovoce.errors import ConfigError
from sottovoce.privacy.accounting import Epsilon, Release
from sottovoce.privacy.guard import Guard, SharedGuard
from sottovoce.privacy.plan import PrivacyPlan, epsilon_of, make_plan
from sottovoce.privacy.sampling import poisson
from sottovoce.privacy.settings import PrivacySettings
from sottovoce.privacy.shares import Shares
from sottovoce.privacy.statement import number, participations, silos, statement
from sottovoce.rng import Source, secret_source, seeded_source
from sottovoce.run.cohorts import Cohort
from sottovoce.run.distributed import crowd_of, shares_of
from sottovoce.strategies import Own
from sottovoce.strategies.settings import FederationSettings
from sottovoce.train import Example, Protection, steps_in_round, units_of
from sottovoce.train.units import Units

FEDERATION = ""
"""What stands for the whole federation where plans are kept by client."""


@dataclass(frozen=True)
class Plans:
    """How every contribution of a run is protected. The units are private, all else is public.

    Args:
        settings: the section ``[privacy]``.
        plans: by client where each one adds noise of its own, under ``FEDERATION`` where the
            server does; empty without privacy.
        units: the sequences of each unit, by client; empty unless the unit lies inside clients.
        sites_per_owner: at how many clients one person's text lies at most.
    """

    settings: PrivacySettings = field(default_factory=lambda: PrivacySettings(unit="none"))
    plans: Mapping[str, PrivacyPlan] = field(default_factory=dict)
    units: Mapping[str, Units] = field(default_factory=dict)
    sites_per_owner: int = 1

    @property
    def federation(self) -> PrivacyPlan | None:
        """The plan by which the server hides whole clients; None where it adds no noise."""
        return self.plans.get(FEDERATION)

    @property
    def whole_clients(self) -> bool:
        """Whether all that a client sends is one unit's contribution."""
        return self.settings.unit == "client"

    def source(self, seed: int, *names: str | int) -> Source:
        """Where noise and samples come from: fresh, or for tests from the names."""
        if self.settings.generator == "cryptographic":
            return secret_source()
        return seeded_source(seed, "privacy", *names)

    def worst(self, spent: Mapping[str, int]) -> tuple[str, Epsilon]:
        """The largest ε of any one plan after so many releases, and whose it is."""
        name = max(self.plans, key=lambda one: _after(self.plans[one], spent.get(one, 0)).epsilon)
        return name, _after(self.plans[name], spent.get(name, 0))

    def everywhere(self, spent: Mapping[str, int]) -> Epsilon:
        """ε for a person at as many clients as one can be at, the most exposed ones together.

        Where each client adds noise of its own, that is the composition of theirs. Where all add
        shares to one sum, the person moves that sum once from every client.
        """
        ordered = sorted(
            self.plans,
            key=lambda one: _after(self.plans[one], spent.get(one, 0)).epsilon,
            reverse=True,
        )
        first = self.plans[ordered[0]]
        if first.shares is not None:
            count = spent.get(ordered[0], 0)
            sites = self.sites_per_owner
            moved = epsilon_of([(first.shares.moved_by(sites).release, count)], first)
            # Narrow shares cost more one by one than together, and either bound may be the wrong one.
            singly = epsilon_of([(first.release, count * sites**2)], first)
            return max(moved, singly, key=lambda one: one.epsilon)
        exposed: list[tuple[Release, int]] = []
        for name in ordered[: self.sites_per_owner]:
            exposed += self.plans[name].spent(spent.get(name, 0))
        return epsilon_of(exposed, first)


@lru_cache(maxsize=1024)
def _after(plan: PrivacyPlan, releases: int) -> Epsilon:
    """ε after so many releases, once for all clients that have equal plans and spent as much."""
    return plan.epsilon(releases)


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
    privacy = config.privacy
    if privacy.unit == "none":
        return Plans(privacy)
    rounds = config.federation.rounds
    if privacy.unit == "client" and privacy.trust == "server":
        expected = config.federation.clients_per_round or len(examples)
        plan = make_plan(
            privacy, units=len(examples), expected_units=expected, releases=rounds, size=size
        )
        return Plans(privacy, {FEDERATION: plan})
    units: dict[str, Units] = {}
    if privacy.inside_clients:
        units = {name: _units(name, own, privacy) for name, own in examples.items()}
    shares = None
    if privacy.trust == "none":
        if units:
            _require_everyone(config, units, sent)
        crowd = crowd_of(config, [len(units.get(name, ())) for name in examples])
        shares = partial(shares_of, config, crowd, tuple(sent) or (size,))
    rounds = min(rounds, privacy.max_participations or rounds)
    if privacy.unit == "client":
        everyone = len(examples)
        plan = make_plan(
            privacy,
            units=everyone,
            expected_units=everyone,
            releases=rounds,
            size=size,
            shares=shares,
        )
        return Plans(privacy, dict.fromkeys(examples, plan))
    devices = config.federation.devices
    most = max((device.steps_per_round or 0 for device in devices.values()), default=0)
    plans = {
        name: _plan_of(
            name,
            config,
            units=len(own),
            releases=rounds * max(most, steps_in_round(len(own), config.train)),
            size=size,
            shares=shares,
        )
        for name, own in units.items()
    }
    return Plans(privacy, plans, units, _sites_per_owner(examples, privacy))


def _require_everyone(config: Config, units: Mapping[str, Units], sent: Collection[int]) -> None:
    """Where all clients share the noise of one sum, every unit is in every sum."""
    most = max(map(len, units.values()))
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


def facts(plans: Plans, spent: Mapping[str, int]) -> dict[str, Any]:
    """What a result says about privacy; every figure is null without a unit.

    Args:
        plans: of the run.
        spent: releases charged, by plan.
    """
    keys = ("epsilon", "delta", "accountant", "noise_multiplier", "noise_std", "epsilon_rdp")
    unit = plans.settings.unit
    if not plans.plans:
        return {"unit": unit} | dict.fromkeys(keys)
    name, found = plans.worst(spent)
    plan = plans.plans[name]
    private = plans.settings.generator == "cryptographic"
    told: dict[str, Any] = {
        "unit": unit,
        "epsilon": found.epsilon if private else None,
        "delta": plan.delta,
        "accountant": found.accountant,
        "noise_multiplier": plan.noise_multiplier,
        "noise_std": plan.noise_std,
        "epsilon_rdp": found.epsilon_rdp if private else None,
        "sampling_probability": plan.sampling_probability,
        "releases": spent.get(name, 0),
        "generator": plans.settings.generator,
        "statement": claim(plans, spent),
    }
    if plans.federation is None and private:
        told["clients"] = {
            one: _after(own, spent.get(one, 0)).epsilon for one, own in plans.plans.items()
        }
    if plans.units and private:
        told["sites_per_owner"] = plans.sites_per_owner
        told["epsilon_of_a_person_at_all"] = plans.everywhere(spent).epsilon
    return told


def claim(plans: Plans, spent: Mapping[str, int] | None = None) -> list[str]:
    """The full statement of a run's privacy, one sentence a line.

    Args:
        plans: of the run.
        spent: releases charged, by plan; None takes all that are planned.
    """
    if not plans.plans:
        return ["Privacy: none (unit none was written out); ε is unbounded for everybody."]
    if plans.settings.generator != "cryptographic":
        return [
            "Privacy: none. The noise was seeded for tests, so whoever has the seed removes it."
        ]
    if spent is None:
        spent = {name: plan.releases for name, plan in plans.plans.items()}
    name, _ = plans.worst(spent)
    lines = statement(plans.plans[name], spent.get(name, 0))
    if plans.federation is not None:
        lines.append(
            "Amplification holds against those who see the models and not who took part; the run "
            "folder says who did."
        )
        if plans.settings.max_participations is not None:
            lines.append(participations(plans.federation, plans.settings.max_participations)[1])
        lines += silos(plans.federation)
    elif plans.whole_clients:
        lines.append(
            f"That is the client that took part most often, {name}; every one enforces for itself "
            f"that it takes part at most {plans.plans[name].releases} times."
        )
    else:
        together = plans.everywhere(spent)
        lines.append(
            f"That is the client with the largest ε, {name}. For a person at {plans.sites_per_owner}"
            f" of the {len(plans.plans)} clients: ε = {number(together.epsilon)}."
        )
    lines.append(
        "Not covered: held-out losses, which are exact and of conversations that nothing trained on, "
        "and whatever else trains on the same text without noise: runs with unit none, and the other "
        "arms of --compare."
    )
    return lines


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
