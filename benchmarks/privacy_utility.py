"""What privacy leaves of a model: held-out loss over ε, on the generated market and on real text.

    python benchmarks/privacy_utility.py --keep     measure, keep the result, print the README's table
    python benchmarks/privacy_utility.py --table    the table of the last measurement
    python benchmarks/privacy_utility.py --json     one JSON object on one line

``examples/private.toml`` as it is, at ε = 1, 2, 4, 8 and with the same clipping and next to no noise
(∞), on the generated market and on Bitext's customer service; and at ε = 8 with fewer phones. Beside
them every phone alone and one model on the union, by the recipe of ``compare.train``, each at the
better of its rates. ``gap_closed`` is (local - private) / (local - centralised).

The noise is fresh in every measurement, so the last digits are not those of the next one. The last
measurement lies in ``privacy_utility.json`` beside this file, its picture in ``docs/images``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from measuring import environment, tidy

from sottovoce.config import load_config
from sottovoce.run.arms import Watch, evaluate_parties
from sottovoce.run.compare import gap_closed, tuned_loss
from sottovoce.run.prepare import Prepared, prepare
from sottovoce.run.rehearsal import rehearse

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "examples" / "private.toml"
KEPT = Path(__file__).with_suffix(".json")
PICTURE = ROOT / "docs" / "images" / "privacy_utility.png"
BITEXT = ROOT.parent / "shared" / "data" / "bitext-customer-support" / "bitext.csv"
DATA = {
    "marketplace": (),
    "bitext": (
        f'data.path="{BITEXT}"',
        'data.system="You are a customer service assistant."',
        "data.max_conversations=2560",
    ),
}
NO_NOISE = 0.01
"""The noise multiplier of the row "∞": a plan always adds noise, and this much changes nothing."""
_WITHOUT_TARGET = 'unit="client", delta=1e-5, clip_norm=0.1'
RATES = {"local": (0.003, 0.01, 0.03), "centralised": (0.003, 0.01)}


def main() -> None:
    """Measure both data sets and the numbers of phones, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--keep", action="store_true", help="put it in place of what was kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", nargs="*", default=list(DATA), choices=DATA)
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0, 0.0])
    parser.add_argument("--clients", type=int, nargs="*", default=[320, 640])
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    if options.table:
        print(markdown(json.loads(KEPT.read_text(encoding="utf-8"))))
        return
    torch.set_num_threads(options.threads)
    facts: dict[str, Any] = {
        "data": {name: _curve(name, options.epsilon, options.set) for name in options.data},
        "clients": [_with_fewer(clients, options.set) for clients in options.clients],
    }
    facts = tidy(facts) | {"environment": environment(torch.device("cpu"))}
    if options.keep:
        facts = _joined(
            json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}, facts
        )
        KEPT.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        if set(facts["data"]) == set(DATA):
            draw(facts, PICTURE)
    print(json.dumps(facts) if options.json else markdown(facts))


def _joined(kept: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured now, and of what was kept all that was not measured anew."""
    data = {**kept.get("data", {}), **facts["data"]}
    return {
        "data": {name: data[name] for name in DATA if name in data},
        "clients": facts["clients"] or kept.get("clients", []),
        "environment": facts["environment"],
    }


def _curve(name: str, epsilons: Sequence[float], changes: Sequence[str]) -> dict[str, Any]:
    """All arms on one data set, and the private one at every ε; 0 stands for next to no noise."""
    prepared = _prepare([*DATA[name], *changes])
    others = _others(prepared)
    rows = []
    for epsilon in epsilons:
        wanted = (
            [f"privacy.epsilon={epsilon}"]
            if epsilon
            else [f"privacy={{{_WITHOUT_TARGET}, noise_multiplier={NO_NOISE}}}"]
        )
        rows.append(_row(_prepare([*DATA[name], *changes, *wanted]), epsilon, others))
        print(f"{name}: {rows[-1]}", file=sys.stderr, flush=True)
    # From most privacy to none, however they were asked for.
    return {**others, "rows": sorted(rows, key=lambda row: row["epsilon"] or math.inf)}


def _with_fewer(clients: int, changes: Sequence[str]) -> dict[str, Any]:
    """The private arm at the example's ε among fewer phones, of which a quarter is drawn each time."""
    keys = [
        f"federation.clients={clients}",
        f"federation.clients_per_round={clients // 4}",
        f"data.max_conversations={2 * clients}",
    ]
    prepared = _prepare([*changes, *keys])
    row = _row(prepared, 8.0, _others(prepared)) | {"clients": clients}
    print(f"{clients} clients: {row}", file=sys.stderr, flush=True)
    return row


def _prepare(changes: Sequence[str]) -> Prepared:
    return prepare(load_config(CONFIG, changes))


def _others(prepared: Prepared) -> dict[str, Any]:
    """Held-out loss of the base model and of the arms without privacy, each at its best rate."""
    row = prepared.model.initial(prepared.config.seed)
    base = evaluate_parties(prepared, lambda _: row, prepared.judged, 0).mean
    found = {"base": base}
    for arm, rates in RATES.items():
        found[arm] = min(tuned_loss(prepared, arm, rate, Watch()) for rate in rates)
        print(f"{arm}: {found[arm]:.4f}", file=sys.stderr, flush=True)
    return found


def _row(prepared: Prepared, epsilon: float, others: Mapping[str, Any]) -> dict[str, Any]:
    plan = prepared.plans.federation
    begin = time.monotonic()
    loss = rehearse(prepared, Watch()).evaluate(prepared).mean
    gap, reason = gap_closed({**others, "federated": loss})
    return {
        "epsilon": epsilon or None,
        "noise_multiplier": None if plan is None else plan.noise_multiplier,
        "loss": loss,
        "gap_closed": gap,
        "reason": reason,
        "seconds": round(time.monotonic() - begin, 1),
    }


def markdown(facts: Mapping[str, Any]) -> str:
    """The README's tables: loss and share of the gap over ε, then over the number of phones."""
    names = list(facts["data"])
    lines = ["| | " + " | ".join(f"loss, {n} | gap closed, {n}" for n in names) + " |"]
    lines.append("|---" * (1 + 2 * len(names)) + "|")
    for arm in ("base", "local"):
        cells = [f"{facts['data'][n][arm]:.2f} | {'0' if arm == 'local' else ''}" for n in names]
        lines.append(f"| {_ARMS[arm]} | " + " | ".join(cells) + " |")
    for index, first in enumerate(facts["data"][names[0]]["rows"]):
        rows = [facts["data"][name]["rows"][index] for name in names]
        lines.append(f"| ε = {_epsilon(first)} | " + " | ".join(map(_cells, rows)) + " |")
    cells = [f"{facts['data'][n]['centralised']:.2f} | 1" for n in names]
    lines.append(f"| {_ARMS['centralised']} | " + " | ".join(cells) + " |")
    if facts["clients"]:
        whole = next(row for row in facts["data"]["marketplace"]["rows"] if row["epsilon"] == 8)
        lines += ["", "| phones | noise multiplier | loss | gap closed |", "|---" * 4 + "|"]
        for row in [*facts["clients"], whole | {"clients": 1280}]:
            noise = f"{row['noise_multiplier']:.2f}"
            lines.append(f"| {row['clients']:,} | {noise} | {_cells(row)} |")
    return "\n".join(lines)


_ARMS = {"base": "base model", "local": "each phone alone", "centralised": "all text pooled"}


def _epsilon(row: Mapping[str, Any]) -> str:
    return "∞" if row["epsilon"] is None else f"{row['epsilon']:g}"


def _cells(row: Mapping[str, Any]) -> str:
    gap = row["gap_closed"]
    return f"{row['loss']:.2f} | {'-' if gap is None else f'{gap:.2f}'}"


def draw(facts: Mapping[str, Any], path: Path) -> None:
    """Draw loss over ε, one line per data set, between its arms without privacy."""
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for (name, found), colour in zip(facts["data"].items(), ("#1f5fa8", "#c2571a"), strict=False):
        places = range(len(found["rows"]))
        losses = [row["loss"] for row in found["rows"]]
        axes.plot(places, losses, color=colour, marker="o", markersize=3.5, label=name)
        for arm, dashes in (("local", "--"), ("centralised", ":")):
            label = f"{name}: {_ARMS[arm]}"
            axes.axhline(found[arm], color=colour, linewidth=0.8, linestyle=dashes, label=label)
    axes.set_xticks(places, [_epsilon(row) for row in found["rows"]])
    axes.set_xlabel("ε at δ = 1e-5, one phone more or less; ∞ is clipped alike and hardly noised")
    axes.set_ylabel("held-out loss, nats per token")
    axes.set_ylim(bottom=0)
    axes.set_title("What privacy leaves", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, ncols=2)
    figure.savefig(path)


if __name__ == "__main__":
    main()
