"""What may be said about a plan: ε with its unit, relation, sampling, δ and accountant together."""

from __future__ import annotations

from math import ceil, inf, isfinite
from typing import TYPE_CHECKING

from sottovoce.privacy import accounting
from sottovoce.privacy.accounting import Epsilon, Release, SampledExamples, SampledGaussian
from sottovoce.privacy.plan import PrivacyPlan, epsilon_of
from sottovoce.privacy.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Sequence

PROTECTED = {
    "client": "all the text of one client",
    "owner": "one person's text at one client",
    "example": "one conversation at one client",
}
"""What each unit stands for, in words."""


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


def shuffled(plan: PrivacyPlan) -> tuple[float, str]:
    """What can honestly be said of batches that are cut from a shuffled data set.

    Every example is then in one batch of each epoch, so that an epoch is one release of it; no
    amplification is known that training could claim (Chua et al. 2024 show by how much claiming
    Poisson's would be wrong).

    Args:
        plan: for the noise, δ, and how many batches make an epoch.

    Returns:
        ε, and a sentence.
    """
    count = ceil(plan.releases / ceil(round(1 / plan.sampling_probability, 9)))
    found = epsilon_of([(SampledGaussian(plan.noise_multiplier, 1.0), count)], plan)
    return found.epsilon, (
        f"With shuffled batches instead of Poisson samples the {plan.unit} is in one batch of each "
        f"of {count} epochs, and only ε = {number(found.epsilon)} can be claimed."
    )


def of_person(plan: PrivacyPlan, examples: int) -> tuple[float, str]:
    """ε for a person with at most so many examples, where the plan samples examples.

    Args:
        plan: with the unit ``example``.
        examples: the most that one person has.

    Returns:
        ε, and a sentence.
    """
    release = SampledExamples(plan.noise_multiplier, plan.sampling_probability, examples)
    found = epsilon_of([(release, plan.releases)], plan)
    return found.epsilon, (
        f"For a person with at most {examples} conversations at one client: "
        f"ε = {number(found.epsilon)} (mixture of Gaussians)."
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
