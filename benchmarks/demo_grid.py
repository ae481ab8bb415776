"""Tune every arm of the demo on one grid of learning rates: how ``run/demo.toml`` got its values.

    python benchmarks/demo_grid.py [--json] [--rates 0.002 0.005 0.01] [--set KEY=VALUE]

Each arm is judged on one half of the held-out conversations; the losses at the chosen rates are
then given on the other half.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import sottovoce.run.demo
from sottovoce.config import load_config
from sottovoce.run.arms import Watch
from sottovoce.run.compare import ARMS, gap_closed, halves, tuned_loss
from sottovoce.run.prepare import prepare

CONFIG = Path(sottovoce.run.demo.__file__).with_name("demo.toml")


def main() -> None:
    """Print the table, or with ``--json`` one object on one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.003, 0.006, 0.012, 0.024])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    tuning, reporting = halves(prepare(load_config(CONFIG, options.set)))
    table: dict[str, dict[str, float]] = {}
    for arm in options.arms:
        table[arm] = {}
        for rate in options.rates:
            begin = time.monotonic()
            table[arm][f"{rate:g}"] = loss = tuned_loss(tuning, arm, rate, Watch())
            seconds = time.monotonic() - begin
            print(f"{arm} {rate:g}: {loss:.4f} in {seconds:.1f} s", file=sys.stderr, flush=True)
    chosen = {arm: min(row, key=lambda rate: row[rate]) for arm, row in table.items()}
    loss_at = {
        arm: tuned_loss(reporting, arm, float(rate), Watch()) for arm, rate in chosen.items()
    }
    facts: dict[str, object] = {"tuning": table, "chosen": chosen, "loss": loss_at}
    if set(loss_at) == set(ARMS):
        facts["gap_closed"] = gap_closed({"base": float("inf"), **loss_at})[0]
    print(json.dumps(facts) if options.json else json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
