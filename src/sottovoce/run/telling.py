"""What a finished run says of itself: as the keys that scripts rely on, and in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sottovoce.config import Config
from sottovoce.evaluate import AnswerReport, Estimate, LossReport, Scores
from sottovoce.privacy.statement import number
from sottovoce.run.compare import Comparison
from sottovoce.run.local import Outcome
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import facts as privacy_facts
from sottovoce.run.secure import facts as secure_facts
from sottovoce.run.sums import told


def run_facts(prepared: Prepared, done: Comparison) -> dict[str, Any]:
    """What ``sotto run --json`` prints."""
    outcome = done.outcome
    share, reason = done.gap
    return {
        "run_dir": str(outcome.folder.root),
        "rounds": outcome.rounds,
        "loss": done.loss,
        "gap_closed": share,
        "gap_closed_reason": reason,
        "learning_rates": dict(done.learning_rates),
        "adapter_sha256": outcome.adapter_sha256,
        "privacy": _privacy_facts(prepared, outcome),
        "secure": secure_facts(**told(prepared)),
        "seconds": round(outcome.seconds, 3),
        "tokens_per_second": round(outcome.tokens / outcome.seconds, 1)
        if outcome.seconds and outcome.tokens
        else None,
        "bytes_up_per_client": outcome.bytes_up_per_client,
        "personal": _personal_facts(outcome),
        "ledger_head": outcome.ledger_head,
    }


def _privacy_facts(prepared: Prepared, outcome: Outcome) -> dict[str, Any]:
    """What the run has cost, and all runs on the same text; or why nothing bounds that."""
    told = privacy_facts(prepared.plans, outcome.spent)
    told["epsilon_of_data"] = outcome.epsilon_of_data
    if prepared.plans.plans:
        told["epsilon_of_data_reason"] = outcome.epsilon_of_data_reason
    return told


def _personal_facts(outcome: Outcome) -> dict[str, Any] | None:
    """Per client, what its own model gives it over the shared one; None without such models."""
    gains = outcome.gains
    if gains is None:
        return None
    return {
        name: {"shared": gain.shared, "personal": gain.personal, "gain": gain.gain}
        for name, gain in gains.items()
    }


def in_words(facts: Mapping[str, Any]) -> str:
    """What ``sotto run`` says when it has ended."""
    losses = "  ".join(
        f"{arm} {loss:.4f}" for arm, loss in facts["loss"].items() if loss is not None
    )
    lines = [
        f"{facts['rounds']} rounds in {facts['seconds']:.0f} s",
        f"held-out loss: {losses}",
    ]
    if facts["gap_closed"] is not None:
        lines.append(f"the federation closes {facts['gap_closed']:.0%} of the gap to pooled text")
    whose = ""
    if facts["personal"] is not None:
        whose = f" --client {shlex.quote(next(iter(facts['personal'])))}"
        gains = [client["gain"] for client in facts["personal"].values()]
        better = sum(gain > 0 for gain in gains)
        mean = sum(gains) / len(gains)
        lines.append(
            f"personal models: {better} of {len(gains)} clients gain, {mean:+.4f} nats in the mean"
        )
    lines += [
        *facts["privacy"].get("statement", ["Privacy: none (unit none was written out)."]),
        *_of_data(facts["privacy"]),
        f"run folder: {facts['run_dir']}",
        f"next: sotto chat {facts['run_dir']}{whose}",
    ]
    return "\n".join(lines)


def warnings(config: Config, outcome: Outcome) -> list[str]:
    """What happened to updates in a run that whoever holds the text should know."""
    lines = []
    if outcome.zeroed:
        lines.append(
            f"{outcome.zeroed} contributions were not finite and counted as zero; that is private "
            "to who holds the text"
        )
    if outcome.clipped:
        hint = "raise it unless that is meant"
        if config.privacy.unit != "none":
            hint = "that is private to who holds the text"
        lines.append(
            f"{outcome.clipped} updates were longer than their clip norm and were shortened; {hint}"
        )
    return lines


def _of_data(privacy: Mapping[str, Any]) -> list[str]:
    """What this run and those before it on the same text come to."""
    reason, figure = privacy.get("epsilon_of_data_reason"), privacy["epsilon_of_data"]
    if not reason and figure is None:
        return []
    told = f"no bound, since {reason}" if reason else f"ε = {number(figure)}"
    return [f"All runs beside this one on the same text, together: {told}."]


def eval_facts(losses: LossReport, answers: AnswerReport | None) -> dict[str, Any]:
    """What ``sotto eval --json`` prints: averages over clients, and every client apart."""
    figures: dict[str, Scores | None] = {
        "loss": losses.loss,
        "perplexity": losses.perplexity,
        "token_accuracy": losses.token_accuracy,
        "rouge_l": answers.rouge_l if answers else None,
        "tool_call_accuracy": answers.tool_call_accuracy if answers else None,
        "exact_match": answers.exact_match if answers else None,
    }
    clients = {
        client: {
            name: _estimate(scores.clients.get(client)) if scores else None
            for name, scores in figures.items()
        }
        for client in losses.loss.clients
    }
    averages = {
        name: scores.average.value if scores and scores.average else None
        for name, scores in figures.items()
    }
    intervals = {
        name: _estimate(scores.average) if scores else None for name, scores in figures.items()
    }
    return {**averages, "intervals": intervals, "clients": clients}


def _estimate(estimate: Estimate | None) -> dict[str, float | None] | None:
    return None if estimate is None else asdict(estimate)
