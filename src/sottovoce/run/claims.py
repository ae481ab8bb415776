"""What may be said of a run's privacy: in sentences, as keys of a result, as lines of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from sottovoce.privacy.statement import RELATION, number, participations, silos, statement
from sottovoce.run.plans import Plans

ACCOUNTED = ("epsilon", "epsilon_rdp", "accountant")

NOT_COVERED = (
    "Not covered: held-out losses, which are exact and of conversations that nothing trained on. "
    "They are for whoever holds all the text: in one process they stand in the ledger and the "
    "metrics, across machines no site sends its own. Nor what else trains on the same text without "
    "noise: runs with unit none, and the other arms of --compare.",
    "Runs in one folder are counted together for the same text. A text that was changed, if only by "
    "one conversation, begins a new count.",
)


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
    told: dict[str, Any] = {
        "unit": unit,
        "relation": RELATION,
        "epsilon": found.epsilon if plans.private else None,
        "delta": plan.delta,
        "accountant": found.accountant,
        "noise_multiplier": plan.noise_multiplier,
        "noise_std": plan.noise_std,
        "epsilon_rdp": found.epsilon_rdp if plans.private else None,
        "sampling_probability": plan.sampling_probability,
        "releases": spent.get(name, 0),
        "generator": plans.settings.generator,
        "statement": claim(plans, spent),
    }
    if plans.federation is None and plans.private:
        told["clients"] = {one: plans.of_client(one, spent).epsilon for one in plans.plans}
    if plans.settings.inside_clients and plans.private:
        together, held = plans.everywhere(spent), plans.units_of_person
        told["sites_per_owner"] = plans.sites_per_owner
        told["units_of_person"] = None if held is None else max(held.values())
        told["epsilon_of_a_person_at_all"] = None if together is None else together.epsilon
    return told


def claim(plans: Plans, spent: Mapping[str, int] | None = None) -> list[str]:
    """The full statement of a run's privacy, one sentence a line.

    Args:
        plans: of the run.
        spent: releases charged, by plan; None takes all that are planned.

    Guarantees:
        - a person with several units is told a figure where they are known to be hers, and else
          that there is none.
    """
    if not plans.plans:
        return ["Privacy: none (unit none was written out); ε is unbounded for everybody."]
    if not plans.private:
        return [
            "Privacy: none. The noise was seeded for tests, so whoever has the seed removes it."
        ]
    spent = _all(plans) if spent is None else spent
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
        lines += [f"That is the client with the largest ε, {name}.", _of_person(plans, spent)]
    return [*lines, *NOT_COVERED]


def _all(plans: Plans) -> dict[str, int]:
    """All releases that are planned, by plan."""
    return {name: plan.releases for name, plan in plans.plans.items()}


def _of_person(plans: Plans, spent: Mapping[str, int]) -> str:
    """What follows for a person, who may have several units and be at several clients."""
    together, held = plans.everywhere(spent), plans.units_of_person
    if together is None or held is None:
        return "No bound for a person, whose conversations are not known to belong together."
    where = f"at {plans.sites_per_owner} of the {len(plans.plans)} clients"
    figure = f"ε = {number(together.epsilon)}"
    if plans.settings.unit == "owner":
        return f"For a person {where}: {figure}."
    most = max(held.values())
    many = "one conversation" if most == 1 else f"up to {most} conversations"
    return (
        f"For a person with {many} at one client, {where}: {figure}. How many one person has at most "
        "is taken as public."
    )


def planned(plans: Plans) -> dict[str, Any]:
    """The claim as the first line of a ledger holds it: before anything is spent."""
    settings = plans.settings
    # Under a secure sum nothing is claimed of a sample.
    sampling = settings.sampling if settings.trust == "server" else "none"
    return {
        "unit": settings.unit,
        "relation": RELATION if plans.plans else None,
        "sampling": sampling if plans.plans else None,
        "private": plans.private,
        "statement": claim(plans),
    }


def planned_of(plans: Plans, name: str) -> dict[str, Any]:
    """What one plan of a run comes to, beside what defines it."""
    return _accounted(plans, name, _all(plans))


def so_far(plans: Plans, spent: Mapping[str, int]) -> dict[str, Any]:
    """What the releases charged so far come to, for the line that charges them.

    Args:
        plans: of the run; at least one.
        spent: releases charged, by plan, those of this line among them.
    """
    if not plans.private:
        return dict.fromkeys(ACCOUNTED)
    name, _ = plans.so_far(spent)
    return {"of": name} | _accounted(plans, name, spent)


def ended(plans: Plans, spent: Mapping[str, int]) -> dict[str, Any]:
    """What a run has cost, for the last line of its ledger."""
    told: dict[str, Any] = {"private": plans.private, "claim": claim(plans, spent)}
    if not plans.plans:
        return told | dict.fromkeys(ACCOUNTED)
    name, _ = plans.worst(spent)
    delta = {"delta": plans.plans[name].delta}
    return told | delta | _accounted(plans, name, spent)


def _accounted(plans: Plans, name: str, spent: Mapping[str, int]) -> dict[str, Any]:
    """ε, its second opinion and its accountant; null where nothing bounds it."""
    if not plans.private:
        return dict.fromkeys(ACCOUNTED)
    found = plans.of_client(name, spent)
    return {
        "epsilon": found.epsilon if isfinite(found.epsilon) else None,
        "epsilon_rdp": found.epsilon_rdp if isfinite(found.epsilon_rdp) else None,
        "accountant": found.accountant,
    }
