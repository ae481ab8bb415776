"""What sharing one noise gains: eight shops, every customer hidden, at equal ε.

    python benchmarks/distributed_noise.py --json     one JSON object on one line

Each round is one plain step on the gradient of all customers of all shops, and the server's Adam
goes along it. With ``server`` every shop adds all of its own noise before it sends anything
(``privacy.trust = "server"``, Gaussian, accounted for by privacy loss distributions). With ``none``
each adds a share under a secure sum (``privacy.trust = "none"``, Skellam, Rényi divergences), so that
the sum holds the noise once. ``noiseless`` is clipped alike, with next to no noise.

``noise_std`` is what stands on one entry of the mean gradient of one customer, over the clip norm.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import environment, tidy

from sottovoce.config import load_config
from sottovoce.run.arms import Watch, evaluate_parties
from sottovoce.run.prepare import Prepared, prepare
from sottovoce.run.rehearsal import rehearse

CONFIG = Path(__file__).resolve().parent.parent / "examples" / "marketplace.toml"
_PRIVACY = 'unit="owner", delta=1e-5, clip_norm=1.0'
ARMS = {
    "server": 'trust="server", epsilon={epsilon}',
    "none": 'trust="none", mechanism="skellam", epsilon={epsilon}',
    "noiseless": 'trust="server", noise_multiplier=0.01',
}


def main() -> None:
    """Measure every arm and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--conversations", type=int, default=640)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.05, 0.2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts: dict[str, Any] = {"epsilon": options.epsilon, "arms": {}}
    for arm in ARMS:
        rows = [_row(arm, rate, options) for rate in options.rates]
        facts["arms"][arm] = min(rows, key=lambda row: row["loss"])
    found = facts["arms"]
    facts["noise_ratio"] = found["server"]["noise_std"] / found["none"]["noise_std"]
    facts["loss_gain"] = found["server"]["loss"] - found["none"]["loss"]
    facts = tidy(facts) | {"environment": environment(torch.device("cpu"))}
    print(json.dumps(facts) if options.json else markdown(facts))


def _row(arm: str, rate: float, options: argparse.Namespace) -> dict[str, Any]:
    """One arm at one rate of the server's Adam, the same noise for all rates."""
    prepared = prepare(load_config(CONFIG, _changes(arm, rate, options)))
    first = prepared.model.initial(prepared.config.seed)
    begin = time.monotonic()
    row = {
        "rate": rate,
        "base": evaluate_parties(prepared, lambda _: first, prepared.judged, 0).mean,
        "loss": rehearse(prepared, Watch()).evaluate(prepared).mean,
        "noise_multiplier": next(iter(prepared.plans.plans.values())).noise_multiplier,
        "noise_std": _noise_on_the_mean(prepared),
        "customers": sum(plan.units for plan in prepared.plans.plans.values()),
        "weights": prepared.plans.plans and _trained(prepared),
        "seconds": round(time.monotonic() - begin, 1),
    }
    print(f"{arm}: {row}", file=sys.stderr, flush=True)
    return row


def _changes(arm: str, rate: float, options: argparse.Namespace) -> Sequence[str]:
    privacy = ARMS[arm].format(epsilon=options.epsilon)
    hidden = ['secure={aggregation="secagg"}'] if arm == "none" else []
    return [
        f"privacy={{{_PRIVACY}, {privacy}}}",
        *hidden,
        f"data.max_conversations={options.conversations}",
        'train={optimizer="sgd", learning_rate=1.0, schedule="constant", warmup_fraction=0.0, '
        'batch_size=2147483647, steps_per_round=1, max_gradient_norm="off", max_length=96}',
        "model.lora={rank=1, alpha=2.0}",
        f"federation.rounds={options.rounds}",
        "federation.minimum_clients=8",
        f'federation.strategy={{name="ffa", server={{name="adam", lr={rate}}}}}',
        *options.set,
    ]


def _noise_on_the_mean(prepared: Prepared) -> float:
    """The noise on an entry of the mean over all customers, of all shops that deliver."""
    plans = list(prepared.plans.plans.values())
    shares = plans[0].shares
    if shares is not None:
        return shares.largest_noise_std / sum(plan.units for plan in plans)
    # The mean of the shops' means, each with noise of its own.
    return math.hypot(*(plan.noise_std / plan.units for plan in plans)) / len(plans)


def _trained(prepared: Prepared) -> int:
    return sum(
        math.prod(shape) for name, shape in prepared.model.layout.shapes.items() if "lora_B" in name
    )


def markdown(facts: dict[str, Any]) -> str:
    """A table of the arms."""
    lines = ["| noise | multiplier | on an entry of the mean | held-out loss |", "|---" * 4 + "|"]
    for arm, row in facts["arms"].items():
        lines.append(
            f"| {arm} | {row['noise_multiplier']:.2f} | {row['noise_std']:.5f} | {row['loss']:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
