"""All rules for joining LoRA adapters, on real data: how inexact each is, and what it learns.

    python benchmarks/lora_rules.py            measure, keep the result, print the README's table
    python benchmarks/lora_rules.py --table    the table of the last measurement
    python benchmarks/lora_rules.py --json     one JSON object on one line

Bitext customer support in eight clients, once drawn alike (IID) and once by Dirichlet 0.1 over the
intent. Every rule starts from the same adapter and sees the same batches. Its learning rate is the
best of a grid on one half of the held-out conversations; the loss that is reported comes from the
other half, averaged over clients.

The drift error of a round is ‖M - P‖ / ‖M‖ over all layers. M is the weighted mean of the changes
that the clients' models would make to the base model's weights, s·B_k·A_k and all that was folded
into the base before; P is what the server's model makes of it. It is 0 where the mean is exact,
and has no meaning for rules whose B stays at the client.

The last measurement lies in ``lora_rules.json`` beside this file; ``--table`` makes the README's table
of it without measuring anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import environment

from sottovoce.config import load_config
from sottovoce.run.arms import Watch
from sottovoce.run.compare import halves
from sottovoce.run.play import Played
from sottovoce.run.prepare import Prepared, prepare
from sottovoce.run.rehearsal import rehearse
from sottovoce.strategies import ServerState
from sottovoce.strategies.factors import pairs, product
from sottovoce.update import Tensors, Update

CONFIG = Path(__file__).resolve().parent.parent / "examples" / "bitext.toml"
KEPT = Path(__file__).with_suffix(".json")
EXACT = 1e-5
"""Below this a drift error is rounding: weights are float32, and sums integers of 2^-32."""
RULES = ("fedit", "ffa", "rolora", "fedsa", "fedsvd", "flora", "fedex")
SPLITS = {
    "IID": ['data.clients="iid"'],
    "Dirichlet 0.1": ['data.clients="dirichlet"', "data.dirichlet_alpha=0.1"],
}
RECIPE = (
    'train.optimizer_state="reset"',
    "train.epochs_per_round=0.1",
    "data.max_conversations=1200",
    "federation.rounds=10",
)


@dataclass(frozen=True)
class Trial:
    """One rule at one learning rate.

    Args:
        rate: the learning rate.
        tuning: loss on the half that chooses the rate.
        loss: loss on the other half.
        drift: drift error of each round; empty where it has no meaning.
        bytes_up: what one client sent in all rounds.
        seconds: how long it took.
    """

    rate: float
    tuning: float
    loss: float
    drift: tuple[float, ...]
    bytes_up: int
    seconds: float


def main() -> None:
    """Measure all rules on both splits and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.02])
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    if options.table:
        print(markdown(json.loads(KEPT.read_text(encoding="utf-8"))["rows"]))
        return
    rows = []
    for split, keys in SPLITS.items():
        prepared = prepare(load_config(CONFIG, [*RECIPE, *keys, *options.set]))
        base = _base_loss(prepared)
        for rule in options.rules:
            trials = [_trial(prepared, rule, rate) for rate in options.rates]
            best = min(trials, key=lambda trial: trial.tuning)
            rows.append(_row(split, rule, best, base))
            print(f"{split} {rule}: {rows[-1]}", file=sys.stderr, flush=True)
    facts = {
        "rows": rows,
        "rates": options.rates,
        "environment": environment(torch.device("cpu")),
    }
    if set(options.rules) == set(RULES) and not options.set:
        KEPT.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts) if options.json else markdown(rows))


def _trial(prepared: Prepared, rule: str, rate: float) -> Trial:
    """Train with one rule at one rate, measuring each round."""
    config = prepared.config
    federation = config.federation.model_validate(
        config.federation.model_dump() | {"strategy": {"name": rule}}
    )
    settings = config.train.model_copy(update={"learning_rate": rate})
    tried = replace(
        prepared,
        config=config.model_copy(update={"federation": federation, "train": settings}),
    )
    private = federation.strategy.algorithm.keeps(prepared.model.layout.shapes)
    drift: list[float] = []
    sent = []

    def measure(before: ServerState, played: Played) -> None:
        sent.append(8 * sum(value.size for value in played.updates[0].tensors.values()))
        if not private:
            drift.append(drift_error(before, played.updates, played.server))

    begin = time.monotonic()
    ended = rehearse(tried, Watch(), on_round=measure)
    seconds = time.monotonic() - begin
    tuning, reporting = halves(tried)
    return Trial(
        rate,
        ended.evaluate(tuning).mean,
        ended.evaluate(reporting).mean,
        tuple(drift),
        sum(sent),
        seconds,
    )


def drift_error(before: ServerState, updates: Sequence[Update], after: ServerState) -> float:
    """‖M - P‖ / ‖M‖ of one round; the scaling s cancels."""
    total = sum(update.counts for update in updates)
    missed = meant = 0.0
    for a, b, name in pairs(before.weights):
        folded = before.residual.get(name, np.float32(0))
        mean = folded + sum(
            (update.counts / total)
            * product(_trained(before, update.tensors, a), _trained(before, update.tensors, b))
            for update in updates
        )
        kept = after.residual.get(name, np.float32(0))
        made = kept + product(after.weights[a], after.weights[b])
        missed += float(np.square(mean - made).sum())
        meant += float(np.square(mean).sum())
    return sqrt(missed / meant) if meant else 0.0


def _trained(
    before: ServerState, sent: Tensors, name: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A client's factor after training; one that it did not send is the server's."""
    return before.weights[name] + sent[name] if name in sent else before.weights[name]


def _base_loss(prepared: Prepared) -> float:
    """The base model's loss on the half that is reported."""
    none = prepared.config.federation.model_copy(update={"rounds": 1})
    still = prepared.config.train.model_copy(update={"steps_per_round": 0})
    config = prepared.config.model_copy(update={"federation": none, "train": still})
    idle = replace(prepared, config=config)
    return rehearse(idle, Watch()).evaluate(halves(idle)[1]).mean


def _row(split: str, rule: str, best: Trial, base: float) -> dict[str, object]:
    return {
        "split": split,
        "rule": rule,
        "drift_error": statistics.fmean(best.drift) if best.drift else None,
        "loss": best.loss,
        "base_loss": base,
        "rate": best.rate,
        "megabytes_up": best.bytes_up / 1e6,
        "seconds": round(best.seconds, 1),
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The README's table: one line per rule, drift error and loss on every split."""
    lines = ["| rule | " + " | ".join(f"drift, {s} | loss, {s}" for s in SPLITS) + " | MB sent |"]
    lines.append("|---" * (2 + 2 * len(SPLITS)) + "|")
    for rule in dict.fromkeys(row["rule"] for row in rows):
        found = {row["split"]: row for row in rows if row["rule"] == rule}
        cells = [cell for split in SPLITS for cell in _cells(found[split])]
        sent = found[next(iter(SPLITS))]["megabytes_up"]
        lines.append(f"| `{rule}` | " + " | ".join(cells) + f" | {sent:.1f} |")
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    drift = row["drift_error"]
    shown = "-" if drift is None else "0" if drift < EXACT else f"{drift:.3f}"
    return [shown, f"{row['loss']:.3f}"]


if __name__ == "__main__":
    main()
