"""What may be said about a plan: ε with its unit, relation, sampling, δ and accountant together."""

from __future__ import annotations

from math import ceil, inf, isfinite, log2
from typing import TYPE_CHECKING

from sottovoce.privacy import accounting, sampler
from sottovoce.privacy.accounting import Epsilon, Release, SampledGaussian
from sottovoce.privacy.plan import PrivacyPlan, cost_of, epsilon_of
from sottovoce.privacy.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Sequence

PROTECTED = {
    "client": "all the text of one client",
    "owner": "one person's text at one client",
    "example": "one conversation at one client",
}
"""What each unit stands for, in words."""

RELATION = "add or remove one unit"
"""Which data sets are neighbours, wherever nothing else is said."""

NOTHING = 50.0
"""From this ε on an attacker may be e^50 times surer of what is hidden: nothing is."""


def statement(plan: PrivacyPlan, releases: int | None = None) -> list[str]:
    """The whole claim after so many releases, one sentence a line.

    Args:
        plan: what protects.
        releases: how many were made; None takes all that are planned.

    Guarantees:
        - ε never stands without its unit, relation, sampling, δ and accountant.
    """
    count = plan.releases if releases is None else releases
    found = plan.epsilon(count)
    lines = [
        f"({number(found.epsilon)}, {plan.delta:g})-differential privacy for "
        f"{PROTECTED[plan.unit]}, where neighbouring data differ by adding or removing it.",
        f"Sampling: {_sampling(plan)}. {count} releases, {_noise(plan)}. "
        f"Accountant: {_accountant(found)}.",
    ]
    if found.epsilon >= NOTHING:
        lines.append(f"So large an ε ({NOTHING:g} or more) hides nothing.")
    lines += _grid(plan, count)
    if plan.shares is not None and plan.shares.clients > 1:
        lines.append(_shared(plan.shares))
    elif plan.sampling_probability < 1:
        plain = epsilon_of(accounting.without_amplification(plan.spent(count)), plan)
        lines.append(
            f"Against anyone who knows which {plan.unit}s were drawn there is no amplification by "
            f"sampling: ε = {number(plain.epsilon)}."
        )
    lines.append(f"The number of {plan.unit}s, {plan.units}, is taken as public.")
    return lines


def _noise(plan: PrivacyPlan) -> str:
    kind = (
        "Gaussian" if plan.shares is None else plan.shares.mechanism.replace("_", " ").capitalize()
    )
    grid = " on an integer grid" if plan.size or plan.shares is not None else ""
    return f"{kind} noise of multiplier {plan.noise_multiplier:.4g}{grid}"


def _grid(plan: PrivacyPlan, releases: int) -> list[str]:
    """What it costs that noise is drawn as integers; nothing is said where no vector is at hand."""
    if not releases or not (plan.size if plan.shares is None else plan.shares.clients > 1):
        return []
    spent = plan.spent(releases)
    cost = cost_of(spent, plan)
    delta = cost.delta_taken(plan.delta, epsilon_of(spent, plan).epsilon + 1.0)
    distance = f"2^{log2(sampler.DISTANCE):.0f}"
    return [
        f"The grid and the sampler cost ε = {cost.epsilon:.1e} and δ = {delta:.1e}, included; the "
        f"sampler's distance is at most {distance} a draw."
    ]


def _shared(shares: Shares) -> str:
    """Who adds the noise, and against whom that holds."""
    return (
        f"The noise is that of the {shares.certain} honest clients without whom no sum of up to "
        f"{shares.clients} is told; each adds its share before anything leaves it. It holds against "
        f"the server together with up to {shares.corrupt} of the clients of a round, as long as the "
        "secure sum holds."
    )


def _sampling(plan: PrivacyPlan) -> str:
    if plan.shares is not None:
        return "none is claimed, since whoever forms a sum sees who is in it"
    if plan.sampling_probability >= 1:
        return f"none, every {plan.unit} is in every release, so nothing is amplified"
    return (
        f"Poisson, every {plan.unit} by itself with probability {plan.sampling_probability:.4g}, "
        "unseen by whoever the claim is made against"
    )


def _accountant(found: Epsilon) -> str:
    if found.accountant == "rdp":
        return "Rényi divergences"
    return (
        f"privacy loss distributions; by Rényi divergences it would be {number(found.epsilon_rdp)}"
    )


def number(epsilon: float) -> str:
    """ε for people, rounded up.

    >>> number(7.99912), number(float("inf"))
    ('8.000', 'unbounded')
    """
    if not isfinite(epsilon):
        return "unbounded"
    if epsilon >= 1000:
        return f"{ceil(epsilon):,}"
    return f"{ceil(epsilon * 1000) / 1000:.3f}"


def shuffled(plan: PrivacyPlan, units: int = 1) -> tuple[float, str]:
    """What can honestly be said of batches that are cut from a shuffled data set.

    Every unit is then in one batch of each epoch, and where it is replaced by nothing all else
    stays in its place: an epoch is one release of it, and where several units are one person's they
    may all be in one batch. No amplification is known that training could claim (Chua et al. 2024
    show by how much claiming Poisson's would be wrong). Where a unit is added or removed, every
    later batch changes, and no figure is known at all.

    Args:
        plan: for the noise, δ, and how many batches make an epoch.
        units: the most that one person has.

    Returns:
        ε for replacing by nothing, and a sentence.
    """
    count = ceil(plan.releases / ceil(round(1 / plan.sampling_probability, 9)))
    found = epsilon_of([(SampledGaussian(plan.noise_multiplier / units), count)], plan).epsilon
    claimed = epsilon_of([(plan.release_for(units), plan.releases)], plan).epsilon
    only = "only " if found > claimed else ""
    who = f"the {plan.unit} is in one batch of each of {count} epochs"
    if units > 1:
        who = f"all {units} {plan.unit}s of a person may be in one batch of each of {count} epochs"
    return found, (
        f"With shuffled batches instead of Poisson samples {who}, and {only}ε = {number(found)} can "
        "be claimed, where neighbouring data differ by replacing one by nothing, so that its place "
        "stays empty; for adding or removing it, which moves every later batch, no figure is known."
    )


def of_person(plan: PrivacyPlan, examples: int) -> tuple[float, str]:
    """ε for a person with at most so many examples, where the plan samples examples.

    Args:
        plan: with the unit ``example``.
        examples: the most that one person has.

    Returns:
        ε, and a sentence.
    """
    found = epsilon_of([(plan.release_for(examples), plan.releases)], plan)
    return found.epsilon, (
        f"For a person with at most {examples} conversations at one client: "
        f"ε = {number(found.epsilon)} (mixture of Gaussians)."
    )


def at_sites(plan: PrivacyPlan, sites: int, units: int = 1) -> tuple[float, str]:
    """ε for a person at several sites, each of which has a plan like this one.

    Args:
        plan: of one site.
        sites: at how many a person is at most.
        units: the most that she has at one of them.

    Returns:
        ε, and a sentence.
    """
    if plan.shares is None:
        spent = [(plan.release_for(units), sites * plan.releases)]
    else:
        # All sites add to one sum, which she moves from every one of them.
        spent = [(plan.release_for(sites * units), plan.releases)]
    found = epsilon_of(spent, plan).epsilon
    return found, (
        f"For a person at {sites} sites that each hold and sample as many: ε = {number(found)}."
    )


def participations(plan: PrivacyPlan, most: int) -> tuple[float, str]:
    """ε without amplification for a client that enforces a cap on its participations.

    Args:
        plan: with the unit ``client``.
        most: the most rounds that it joins.

    Returns:
        ε, and a sentence.
    """
    count = min(most, plan.releases)
    spent: Sequence[tuple[Release, int]] = [(SampledGaussian(plan.noise_multiplier, 1.0), count)]
    found = epsilon_of(spent, plan).epsilon if count else 0.0
    return found, (
        f"A client that takes part at most {most} times loses at most ε = {number(found)}, even "
        "against someone who sees who takes part."
    )


def silos(plan: PrivacyPlan) -> list[str]:
    """What to say before a run in which every client takes part in every round.

    Returns:
        Nothing where clients are sampled or the unit lies inside clients.
    """
    if plan.unit != "client" or plan.sampling_probability < 1:
        return []
    found = plan.epsilon().epsilon if plan.noise_multiplier < inf else 0.0
    return [
        f"All {plan.units} clients take part in all {plan.releases} rounds, so sampling hides "
        f"nobody and nothing is amplified: this run costs ε = {number(found)} at δ = "
        f"{plan.delta:g} for every client, or a lot of noise.",
        "So few clients cannot hide in their own sum. The units that do better here are "
        '"owner" (a person inside a client) and "example" (a conversation), with noise inside '
        "every client.",
    ]
