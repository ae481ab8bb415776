"""Accounting without a run: from noise to ε, and from a target ε to noise."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import ceil
from typing import Any, Literal

from sottovoce.errors import ConfigError
from sottovoce.privacy import accounting
from sottovoce.privacy.plan import PrivacyPlan, epsilon_of, make_plan
from sottovoce.privacy.settings import PrivacySettings
from sottovoce.privacy.shares import Lattice, Shares
from sottovoce.privacy.statement import of_person, participations, shuffled, silos, statement

_SIZES = {
    "example": ("examples", "batch_size"),
    "owner": ("owners", "owners_per_step"),
    "client": ("clients", "clients_per_round"),
}
_OTHERS = {
    "example": {"epochs", "steps", "examples_per_person"},
    "owner": {"steps"},
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
    trust: str = "server"


def answer(asked: Question) -> dict[str, Any]:
    """ε, the noise, and the full statement.

    Returns:
        ``epsilon``, ``epsilon_rdp``, ``accountant``, ``noise_multiplier``, ``delta``, ``unit``,
        ``sampling_probability``, ``releases``, ``epsilon_unamplified``, ``epsilon_classic``,
        ``epsilon_shuffled`` (unit example) and ``statement``.

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
    if asked.unit == "example" and plan.sampling_probability < 1:
        told["epsilon_shuffled"], line = shuffled(plan)
        lines.append(line)
        if asked.examples_per_person is None:
            lines.append(
                "Nothing follows for a person with several conversations; bound their number with "
                "--examples-per-person, or take --unit owner."
            )
    if plan.shares is not None:
        return told | {"statement": [*lines, _BEFORE_ROUNDING]}
    if asked.examples_per_person is not None:
        told["epsilon_of_person"], line = of_person(plan, asked.examples_per_person)
        lines.append(line)
    if asked.max_participations is not None:
        told["epsilon_capped"], line = participations(plan, asked.max_participations)
        lines.append(line)
    return told | {"statement": lines + silos(plan)}


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
    unit: Literal["example", "owner", "client"] = asked.unit  # type: ignore[assignment]
    for name in ("noise_multiplier", "target_epsilon"):
        value = getattr(asked, name)
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{_option(name)} is {value}", allowed="a positive finite number")
    if not 0 < asked.delta < 1:
        raise ConfigError(f"--delta is {asked.delta}", allowed="above 0 and below 1")
    settings = PrivacySettings(
        unit=unit,
        epsilon=asked.target_epsilon,
        noise_multiplier=asked.noise_multiplier,
        delta=asked.delta,
        clip_norm=1.0,
    )
    if asked.trust == "server":
        return make_plan(settings, units=everyone, expected_units=expected, releases=releases)
    return make_plan(
        settings,
        units=everyone,
        expected_units=everyone,
        releases=releases
        if asked.max_participations is None
        else min(releases, asked.max_participations),
        shares=lambda noise_std: Shares("skellam", 1, 1, noise_std, _FINE),
    )


def _releases(asked: Question, everyone: int, expected: int) -> int:
    if asked.unit == "client":
        return _size(asked, "rounds")
    if asked.steps is not None or asked.unit == "owner":
        return _size(asked, "steps")
    if asked.epochs is None or not 0 < asked.epochs < float("inf"):
        raise ConfigError(
            f"--epochs is {asked.epochs}", allowed="a positive number, or --steps in its place"
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
    if asked.trust == "none":
        known -= {"examples_per_person"}
    for field in fields(asked):
        if field.name not in known | always and getattr(asked, field.name) is not None:
            raise ConfigError(
                f"{_option(field.name)} is given, and --unit is {asked.unit}",
                allowed=", ".join(_option(name) for name in sorted(known)),
            )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
