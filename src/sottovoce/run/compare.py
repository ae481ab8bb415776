"""The federation beside its alternatives: every client alone, and one model on the union."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sottovoce.config import Config
from sottovoce.rng import stream
from sottovoce.run.arms import Evaluation, Watch, train_apart
from sottovoce.run.folder import append_metrics, find
from sottovoce.run.local import Outcome, federate
from sottovoce.run.prepare import Party, Prepared
from sottovoce.run.rehearsal import rehearse
from sottovoce.train import Example, steps_in_round

ARMS = ("local", "federated", "centralised")


@dataclass(frozen=True)
class Comparison:
    """All arms of one comparison.

    Args:
        outcome: the federation.
        curves: held-out losses by arm, each beginning with the base model; ``federated`` is
            always there.
        learning_rates: what each arm trained with.
    """

    outcome: Outcome
    curves: Mapping[str, tuple[Evaluation, ...]]
    learning_rates: Mapping[str, float]

    @property
    def loss(self) -> dict[str, float | None]:
        """Held-out loss of the base model and of every arm, averaged over clients."""
        base: dict[str, float | None] = {"base": self.curves["federated"][0].mean}
        return base | {
            arm: self.curves[arm][-1].mean if arm in self.curves else None for arm in ARMS
        }

    @property
    def gap(self) -> tuple[float | None, str]:
        """``gap_closed`` of these losses."""
        return gap_closed(self.loss)


def federation_only(
    prepared: Prepared,
    *,
    watch: Callable[[str], Watch],
    resume: bool = False,
    wire: Path | None = None,
) -> Comparison:
    """Run the federation alone; the other arms are missing from the comparison."""
    outcome = federate(prepared, watch=watch("federated"), resume=resume, wire=wire)
    rate = prepared.config.train.learning_rate
    return Comparison(outcome, {"federated": outcome.evaluations}, {"federated": rate})


def gap_closed(loss: Mapping[str, float | None]) -> tuple[float | None, str]:
    """How much of the way from training alone to training on the union the federation covers.

        (local - federated) / (local - centralised)

    Args:
        loss: ``base``, ``local``, ``federated`` and ``centralised``.

    Returns:
        The share, and an empty text; or None, and why it would mean nothing: it needs
        centralised <= 0.95·local and local < base.

    >>> gap_closed({"base": 4.0, "local": 2.0, "federated": 1.25, "centralised": 1.0})
    (0.75, '')
    """
    base, local = loss["base"], loss["local"]
    federated, centralised = loss["federated"], loss["centralised"]
    if base is None or local is None or federated is None or centralised is None:
        return None, "the other arms were not trained; ask for them with --compare"
    if not local < base:
        return None, f"training alone ({local:.4g}) is no better than the base model ({base:.4g})"
    if not centralised <= 0.95 * local:
        return None, (
            f"the union ({centralised:.4g}) is less than 5 % better than training alone "
            f"({local:.4g}), so there is no gap to close"
        )
    return (local - federated) / (local - centralised), ""


def compare(
    prepared: Prepared,
    *,
    watch: Callable[[str], Watch],
    resume: bool = False,
    wire: Path | None = None,
) -> Comparison:
    """Run the federation, then every client alone and one model on the union.

    All arms see the same conversations equally often, by one recipe or, in the arms that have no
    noise to live with, by that of ``compare.train``. With a grid in
    ``compare.learning_rates`` each arm is first tuned on it, on one half of every client's
    held-out conversations; the losses reported then come from the other half.

    Args:
        prepared: model, data and configuration.
        watch: what is told of each arm, by its name.
        resume: go on with an interrupted federation.
        wire: as for ``federate``.
    """
    rates = _given_rates(prepared.config)
    if prepared.config.compare.learning_rates:
        tuning, reporting = halves(prepared)
        rates = _tune(tuning, watch)
        prepared = reporting
    config = prepared.config
    tuned = config.train.model_copy(update={"learning_rate": rates["federated"]})
    prepared = replace(prepared, config=config.model_copy(update={"train": tuned}))
    outcome = federate(prepared, watch=watch("federated"), resume=resume, wire=wire)
    base = outcome.evaluations[0]
    curves = {"federated": outcome.evaluations}
    for arm in ("local", "centralised"):
        curves[arm] = (base, *_train_arm(prepared, arm, rates[arm], watch(arm)))
    _record(outcome, curves, rates)
    return Comparison(outcome, curves, rates)


def _given_rates(config: Config) -> dict[str, float]:
    apart = (config.compare.train or config.train).learning_rate
    return {
        "local": config.compare.local_learning_rate or apart,
        "federated": config.train.learning_rate,
        "centralised": config.compare.centralised_learning_rate or apart,
    }


def _train_arm(prepared: Prepared, arm: str, rate: float, watch: Watch) -> list[Evaluation]:
    config = prepared.config
    recipe = config.compare.train or config.train
    settings = recipe.model_copy(update={"learning_rate": rate})
    rounds = config.federation.rounds
    if arm == "local":
        # Whoever is drawn for a quarter of the rounds reads its text that often, and no oftener.
        rounds = max(1, round(rounds * _share_drawn(prepared)))
    else:
        settings = settings.model_copy(update={"steps_per_round": _steps_on_the_union(prepared)})
    return train_apart(prepared, _apart(prepared, arm), settings, watch, rounds=rounds)[1]


def _share_drawn(prepared: Prepared) -> float:
    """The share of the clients that a round draws."""
    clients = len(prepared.parties)
    return min(prepared.config.federation.clients_per_round or clients, clients) / clients


def _steps_on_the_union(prepared: Prepared) -> int:
    """Steps in which the union reads as many examples as the federation does in a round.

    A batch that holds the union has read it all in one step.
    """
    settings = prepared.config.train
    union = sum(len(party.train) for party in prepared.parties)
    read = _share_drawn(prepared) * sum(_read_in_a_round(prepared, p) for p in prepared.parties)
    # Rounded first: what is meant as a whole number may lie a hair above it.
    return math.ceil(round(read / min(settings.batch_size, max(union, 1)), 6))


def _read_in_a_round(prepared: Prepared, party: Party) -> float:
    """Examples that a client reads in a round that it takes part in, in the mean."""
    settings, examples = prepared.config.train, len(party.train)
    plan = prepared.plans.plans.get(party.name)
    if plan is not None:
        units = len(prepared.plans.units[party.name])
        return steps_in_round(units, settings) * plan.sampling_probability * examples
    if settings.steps_per_round is None:
        return settings.epochs_per_round * examples
    return settings.steps_per_round * min(settings.batch_size, examples)


def _apart(prepared: Prepared, arm: str) -> dict[str, tuple[Sequence[Example], Sequence[Party]]]:
    """Who trains on what and is judged by whom: each party by itself, or the union by all.

    A party that nobody judges need not train alone.
    """
    if arm == "local":
        return {party.name: (party.train, [party]) for party in prepared.judged}
    union = [example for party in prepared.parties for example in party.train]
    return {"centralised": (union, prepared.judged)}


def halves(prepared: Prepared) -> tuple[Prepared, Prepared]:
    """The same preparation judged by one half of each client's held-out examples, and the other."""

    def half(party: Party, which: int) -> Party:
        order = stream(prepared.config.seed, "tuning", party.name).permutation(
            len(party.validation)
        )
        chosen = np.sort(order[which::2]) if len(order) > 1 else order
        return replace(
            party,
            validation=tuple(party.validation[place] for place in chosen),
            units=tuple(party.units[place] for place in chosen),
        )

    tuning = tuple(half(party, 0) for party in prepared.parties)
    reporting = tuple(half(party, 1) for party in prepared.parties)
    return replace(prepared, parties=tuning), replace(prepared, parties=reporting)


def _tune(prepared: Prepared, watch: Callable[[str], Watch]) -> dict[str, float]:
    """The learning rate of the grid with the lowest final loss, for each arm."""
    rates = {}
    for arm in ARMS:
        found = {
            rate: tuned_loss(prepared, arm, rate, watch(f"{arm} at {rate:g}"))
            for rate in prepared.config.compare.learning_rates
        }
        rates[arm] = min(found, key=lambda rate: found[rate])
    return rates


def tuned_loss(prepared: Prepared, arm: str, rate: float, watch: Watch) -> float:
    """The final held-out loss of one arm at one learning rate, leaving nothing on disk."""
    if arm != "federated":
        return _train_arm(prepared, arm, rate, watch)[-1].mean
    config = prepared.config
    tuned = config.train.model_copy(update={"learning_rate": rate})
    prepared = replace(prepared, config=config.model_copy(update={"train": tuned}))
    return rehearse(prepared, watch).evaluate(prepared).mean


def _record(
    outcome: Outcome, curves: Mapping[str, Sequence[Evaluation]], rates: Mapping[str, float]
) -> None:
    """Add the other arms' curves to the metrics of the run."""
    folder = find(outcome.folder.root)
    for arm in ("local", "centralised"):
        for evaluation in curves[arm][1:]:
            row = {"arm": arm, "round": evaluation.round, "loss": evaluation.mean}
            append_metrics(folder, row | {"learning_rate": rates[arm]})
