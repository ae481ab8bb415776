"""Accounting without a run: from noise to ε, and from a target ε to noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import ceil
from typing import Any, Literal

from sottovoce.errors import ConfigError
from sottovoce.privacy import accounting
from sottovoce.privacy.plan import LEAST_MULTIPLIER, PrivacyPlan, epsilon_of, make_plan
from sottovoce.privacy.settings import PrivacySettings
from sottovoce.privacy.shares import Lattice, Shares
from sottovoce.privacy.statement import (
    RELATION,
    at_sites,
    of_person,
    participations,
    shuffled,
    silos,
    statement,
)

_SIZES = {
    "example": ("examples", "batch_size"),
    "owner": ("owners", "owners_per_step"),
    "client": ("clients", "clients_per_round"),
}
_OTHERS = {
    "example": {"epochs", "steps", "examples_per_person", "max_sites_per_owner"},
    "owner": {"steps", "max_sites_per_owner"},
    "client": {"rounds", "max_participations"},
}


@dataclass(frozen=True)
class Question:
    """What ``sotto epsilon`` is asked; each unit has its own sizes. All public.

    Args:
        unit: ``"example"``, ``"owner"`` or ``"client"``.
        delta: δ.
        noise_multiplier: either this or ``target_epsilon``.
        target_epsilon: the noise for it is found.
        examples: all of them, with ``batch_size`` in a step in the mean, for ``epochs`` or
            ``steps``; one person has at most ``examples_per_person``.
        owners: all of them, with ``owners_per_step`` in the mean, for ``steps``.
        clients: all of them, with ``clients_per_round`` in the mean, for ``rounds``; each takes
            part at most ``max_participations`` times.
        max_sites_per_owner: at how many sites a person is at most, each of them like this one; of
            unit owner, or of examples where ``examples_per_person`` is known.
        trust: ``"server"``, or ``"none"`` where clients add shares of the noise under a secure sum
            and whoever forms it sees who takes part.
    """

    unit: str
    delta: float
    noise_multiplier: float | None = None
    target_epsilon: float | None = None
    examples: int | None = None
    batch_size: int | None = None
    epochs: float | None = None
    owners: int | None = None
    owners_per_step: int | None = None
    steps: int | None = None
    clients: int | None = None
    clients_per_round: int | None = None
    rounds: int | None = None
    max_participations: int | None = None
    examples_per_person: int | None = None
    max_sites_per_owner: int | None = None
    trust: str = "server"


def answer(asked: Question) -> dict[str, Any]:
    """ε, the noise, and the full statement.

    Returns:
        ``epsilon``, ``epsilon_rdp``, ``accountant``, ``noise_multiplier``, ``delta``, ``unit``,
        ``relation``, ``sampling_probability``, ``releases``, ``epsilon_unamplified``,
        ``epsilon_classic`` and ``statement``; ``epsilon_shuffled`` and
        ``epsilon_shuffled_of_person``, which hold for ``relation_shuffled``; ``epsilon_of_person``,
        ``epsilon_at_sites`` and ``epsilon_capped`` where the question bounds what they need.

    Raises:
        ConfigError: a size is missing, belongs to another unit or is out of range.

    >>> told = answer(Question("example", 1e-5, 1.1, examples=60000, batch_size=256, epochs=60))
    >>> round(told["epsilon"], 2), round(told["epsilon_rdp"], 2), round(told["epsilon_classic"], 2)
    (2.38, 2.6, 3.01)
    """
    plan = _plan(asked)
    found = plan.epsilon()
    spent = plan.spent(plan.releases)
    plain = epsilon_of(accounting.without_amplification(spent), plan)
    lines = statement(plan)
    told: dict[str, Any] = {
        "unit": asked.unit,
        "relation": RELATION,
        "epsilon": found.epsilon,
        "epsilon_rdp": found.epsilon_rdp,
        "accountant": found.accountant,
        "noise_multiplier": plan.noise_multiplier,
        "delta": asked.delta,
        "sampling_probability": plan.sampling_probability,
        "releases": plan.releases,
        "epsilon_unamplified": plain.epsilon,
        "epsilon_classic": accounting.classic_epsilon(spent, asked.delta),
    }
    lines.append(
        f"Papers before 2020 would print ε = {told['epsilon_classic']:.3f} (Rényi with the classic "
        "conversion)."
    )
    for key, (figure, line) in _of_other_ways(asked, plan):
        told[key] = figure
        lines.append(line)
    if "epsilon_shuffled" in told:
        told["relation_shuffled"] = "replace one unit by nothing"
    if asked.unit == "example" and asked.examples_per_person is None:
        lines.append(
            "Nothing follows for a person with several conversations; bound their number with "
            "--examples-per-person, or take --unit owner."
        )
    if plan.shares is not None:
        return told | {"statement": [*lines, _BEFORE_ROUNDING]}
    return told | {"statement": lines + silos(plan)}


def _of_other_ways(asked: Question, plan: PrivacyPlan) -> Iterator[tuple[str, tuple[float, str]]]:
    """What else was asked, or must be said: of a person, of sites, of caps, of shuffled batches."""
    held, sites = asked.examples_per_person, asked.max_sites_per_owner
    sampled = plan.shares is None and plan.sampling_probability < 1
    if asked.unit != "client" and sampled:
        yield "epsilon_shuffled", shuffled(plan)
    if held is not None:
        yield "epsilon_of_person", of_person(plan, held)
        if held > 1 and sampled:
            yield "epsilon_shuffled_of_person", shuffled(plan, held)
    if sites is not None:
        yield "epsilon_at_sites", at_sites(plan, sites, held or 1)
    if asked.max_participations is not None and plan.shares is None:
        yield "epsilon_capped", participations(plan, asked.max_participations)


_FINE = Lattice(1, 2.0**30, 2.0**30)
"""Integers so fine that rounding to them costs nothing."""

_BEFORE_ROUNDING = (
    "The noise is what the shares of honest clients that are certain to be in every sum add up to. "
    "Rounding to integers takes up to half a percent of it more, or what secure.bits asks for; a run "
    "counts that."
)


def _plan(asked: Question) -> PrivacyPlan:
    if asked.unit not in _SIZES:
        raise ConfigError(f"--unit is {asked.unit!r}", allowed="example, owner or client")
    if asked.trust not in ("server", "none"):
        raise ConfigError(f"--trust is {asked.trust!r}", allowed="server or none")
    if (asked.noise_multiplier is None) == (asked.target_epsilon is None):
        raise ConfigError(
            "either --noise-multiplier or --target-epsilon must be given, and not both"
        )
    everyone, expected = (_size(asked, name) for name in _SIZES[asked.unit])
    _require_fitting(asked)
    if expected > everyone:
        names = [_option(name) for name in _SIZES[asked.unit]]
        raise ConfigError(
            f"{names[1]} is {expected} and {names[0]} {everyone}", allowed=f"at most {everyone}"
        )
    releases = _releases(asked, everyone, expected)
    _require_numbers(asked, everyone)
    unit: Literal["example", "owner", "client"] = asked.unit  # type: ignore[assignment]
    settings = PrivacySettings(
        unit=unit,
        epsilon=asked.target_epsilon,
        noise_multiplier=asked.noise_multiplier,
        delta=asked.delta,
        clip_norm=1.0,
    )
    shares = None
    if asked.trust == "none":
        expected, releases = everyone, min(releases, asked.max_participations or releases)
        shares = _share
    try:
        return make_plan(
            settings, units=everyone, expected_units=expected, releases=releases, shares=shares
        )
    except ConfigError as error:
        raise ConfigError(
            _in_flags(error.seen), allowed=error.allowed, remedy=_in_flags(error.remedy)
        ) from error


def _share(noise_std: float) -> Shares:
    return Shares("skellam", 1, 1, noise_std, _FINE)


def _in_flags(text: str) -> str:
    """The sentence of an error without the names that only a configuration has."""
    for key, flag in (
        ("privacy.epsilon", "--target-epsilon"),
        (', or write unit = "none"', ""),
    ):
        text = text.replace(key, flag)
    return text


def _require_numbers(asked: Question, everyone: int) -> None:
    """Refuse numbers that no plan takes, by the names of their flags."""
    for name in ("noise_multiplier", "target_epsilon"):
        value = getattr(asked, name)
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{_option(name)} is {value}", allowed="a positive finite number")
    noise = asked.noise_multiplier
    if noise is not None and noise < LEAST_MULTIPLIER:
        raise ConfigError(
            f"--noise-multiplier is {noise:g}, which hides nothing",
            allowed=f"at least {LEAST_MULTIPLIER:g}",
            remedy="Raise it; 1 is common",
        )
    if not 0 < asked.delta < 1:
        raise ConfigError(f"--delta is {asked.delta}", allowed="above 0 and below 1")
    if not asked.delta * everyone < 1:
        raise ConfigError(
            f"--delta is {asked.delta:g} with {everyone} {asked.unit}s: one of them may be "
            "published whole and the promise still kept",
            allowed=f"below 1/{everyone} = {1 / everyone:.2g}",
            remedy="Lower --delta; a tenth of that is common",
        )
    for name in ("max_participations", "examples_per_person", "max_sites_per_owner"):
        value = getattr(asked, name)
        if value is not None and value < 1:
            raise ConfigError(f"{_option(name)} is {value}", allowed="1 or more")
    held = asked.examples_per_person
    if held is not None and held > everyone:
        raise ConfigError(
            f"--examples-per-person is {held} and --examples {everyone}",
            allowed=f"at most {everyone}",
        )


def _releases(asked: Question, everyone: int, expected: int) -> int:
    if asked.unit == "client":
        return _size(asked, "rounds")
    if asked.steps is not None or asked.unit == "owner":
        return _size(asked, "steps")
    if asked.epochs is None or not 0 < asked.epochs < float("inf"):
        raise ConfigError(
            f"--epochs is {'missing' if asked.epochs is None else asked.epochs}",
            allowed="a positive number, or --steps in its place",
        )
    return max(1, ceil(round(asked.epochs * everyone / expected, 9)))


def _size(asked: Question, name: str) -> int:
    value = getattr(asked, name)
    if value is None or value < 1:
        raise ConfigError(
            f"{_option(name)} is {'missing' if value is None else value}",
            allowed="1 or more",
            remedy=f"--unit {asked.unit} needs it",
        )
    return int(value)


def _require_fitting(asked: Question) -> None:
    known = {*_SIZES[asked.unit], *_OTHERS[asked.unit]}
    always = {"unit", "delta", "noise_multiplier", "target_epsilon", "trust"}
    for field in fields(asked):
        if field.name not in known | always and getattr(asked, field.name) is not None:
            raise ConfigError(
                f"{_option(field.name)} is given, and --unit is {asked.unit}",
                allowed=", ".join(_option(name) for name in sorted(known)),
            )
    if asked.trust == "none" and asked.examples_per_person is not None:
        raise ConfigError(
            "--examples-per-person is given, and --trust is none",
            allowed="--trust server, where every example is drawn by itself",
            remedy="Take --unit owner, which hides all of a person's examples together",
        )
    sites = asked.max_sites_per_owner
    if asked.unit == "example" and sites is not None and asked.examples_per_person is None:
        raise ConfigError(
            "--max-sites-per-owner is given, and nothing bounds a person's examples at one site",
            remedy="Give --examples-per-person too, or take --unit owner",
        )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
