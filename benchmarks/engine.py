"""How fast and how lean the training engine is, against plain `peft` loops in the same process.

    python benchmarks/engine.py            a table
    python benchmarks/engine.py --json     one JSON object on one line

All positions are supervised. P counts the weights of the linear layers and the head, no embedding.
A ratio is between medians of repeats that take turns in one process, after one repeat that does
not count. Memory is the peak of a fresh process less what it held before the first step. Run it on
a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from engine_arms import (
    ARMS,
    SEED,
    Arm,
    Setting,
    Shape,
    build_ours,
    centralised,
    draw_clients,
    grouped,
    per_example,
    plain,
    recipe,
    sequential,
)
from measuring import (
    Figure,
    bfloat16_instructions,
    environment,
    matrix_rate,
    over,
    peak_of,
    seconds_of,
    summary,
    table,
    take_turns,
)

from sottovoce.train import Round, score, train


@dataclass(frozen=True)
class Plan:
    """All settings for one kind of machine.

    Args:
        rounds: settings with a bar, where many clients meet the two `peft` loops.
        wider: further such settings, which show how the ratios move with size; no bar.
        per_example: one client whose ``batch`` sequences are the examples.
        bfloat16: one round in both precisions.
        utilisation: the model that is held against the matrix rate.
        memory: the larger number of clients; the smaller is half of it.
        gain: by batch and length, how much less than one client after another the groups must
            cost; no bar where nothing stands.
        edge: of the square matrices whose product gives the matrix rate.
    """

    rounds: tuple[Setting, ...]
    wider: tuple[Setting, ...]
    per_example: Setting
    bfloat16: Setting
    utilisation: Setting
    memory: Setting
    gain: Mapping[tuple[int, int], float]
    edge: int = 2048


# The bundled model: what the demo and the examples train on two cores.
BUNDLED = Shape(hidden=160, feed_forward=432, layers=4, heads=5, vocabulary=4096)
# Some times the bundled one, still at conversation speed.
SMALL = Shape(hidden=256, feed_forward=688, layers=4, heads=4, vocabulary=4096)
# Twice as wide and deep: here even one short sequence keeps two cores busy with arithmetic.
MIDDLE = Shape(hidden=512, feed_forward=1376, layers=8, heads=8, vocabulary=4096)
# 97.5M weights in linear layers and head: large enough that matrix products decide.
LARGE = Shape(hidden=768, feed_forward=2048, layers=12, heads=12, vocabulary=16384)
# 0.53B weights, with the vocabulary of a multilingual model.
HALF_BILLION = Shape(hidden=896, feed_forward=4864, layers=24, heads=14, vocabulary=151936)
# For trying the script out.
TOY = Shape(hidden=32, feed_forward=64, layers=2, heads=2, vocabulary=128)

CPU = Plan(
    rounds=tuple(
        Setting(BUNDLED, clients=8, batch=batch, length=length)
        for batch in (1, 4)
        for length in (64, 128)
    ),
    wider=(
        *(Setting(SMALL, clients=8, batch=batch, length=64) for batch in (1, 4)),
        *(Setting(MIDDLE, clients=8, batch=batch, length=64, steps=2) for batch in (1, 4)),
    ),
    # Sixteen short conversations, as a step of private training at a small site has them.
    per_example=Setting(SMALL, clients=1, batch=16, length=128),
    # The precision matters where products are large, so the wider model; eight steps move the loss.
    bfloat16=Setting(MIDDLE, clients=8, batch=1, length=128, steps=8),
    # 2,048 tokens a step, as the edge of the matrices whose product is the measure.
    utilisation=Setting(LARGE, clients=8, batch=1, length=256, steps=1),
    # A high rank and many clients make the state large beside what an allocator holds back, and
    # a pass takes eight clients, so that activations do not grow with the others.
    memory=Setting(SMALL, clients=64, batch=1, length=64, steps=3, rank=64, tokens_per_pass=512),
    # The groups gain where the sequences of one client alone are too few to fill the products.
    gain={(1, 64): 2.0, (4, 64): 1.5},
)

_SHORT = Setting(HALF_BILLION, clients=64, batch=1, length=64, steps=2, dtype="bfloat16")
ACCELERATOR = Plan(
    rounds=(_SHORT,),
    wider=(),
    per_example=replace(_SHORT, clients=1, batch=64),
    bfloat16=_SHORT,
    utilisation=replace(_SHORT, length=128),
    memory=replace(_SHORT, tokens_per_pass=2048),
    gain={(1, 64): 4.0},
)


def rehearsal(plan: Plan) -> Plan:
    """The same measurements on a toy, to see that they run."""

    def small(setting: Setting) -> Setting:
        return replace(setting, shape=TOY, length=8, steps=2, rank=4)

    return replace(
        plan,
        rounds=tuple(small(setting) for setting in plan.rounds),
        wider=tuple(small(setting) for setting in plan.wider),
        per_example=small(plan.per_example),
        bfloat16=small(plan.bfloat16),
        utilisation=small(plan.utilisation),
        memory=replace(small(plan.memory), tokens_per_pass=plan.memory.clients * 4),
        edge=64,
    )


@dataclass(frozen=True)
class Bench:
    """How to measure: the plan, where, and how often."""

    plan: Plan
    device: torch.device
    repeats: int
    processes: int

    def turns(self, setting: Setting, *arms: Arm) -> dict[str, list[float]]:
        """Seconds of each arm in this setting, by its name."""
        runs = {arm.__name__: arm(setting, self.device) for arm in arms}
        return take_turns(runs, self.device, self.repeats)


def measure_federated(bench: Bench, key: str) -> list[Figure]:
    """A round of many clients as groups, against `peft` on the union of the same tokens."""
    return [
        Figure(
            key, setting.name, ratio, 1.05 if setting in bench.plan.rounds else None, None, facts
        )
        for setting in (*bench.plan.rounds, *bench.plan.wider)
        for ratio, facts in [
            over(bench.turns(setting, grouped, centralised), "grouped", "centralised")
        ]
    ]


def measure_sequential(bench: Bench, key: str) -> list[Figure]:
    """The clients one after another with `peft`, against a round of them as groups."""
    figures = []
    for setting in (*bench.plan.rounds, *bench.plan.wider):
        ratio, facts = over(bench.turns(setting, sequential, grouped), "sequential", "grouped")
        barred = setting in bench.plan.rounds
        least = bench.plan.gain.get((setting.batch, setting.length)) if barred else None
        figures.append(Figure(key, setting.name, ratio, at_least=least, facts=facts))
    return figures


def measure_per_example(bench: Bench, key: str) -> list[Figure]:
    """Clipped per-example gradients against a plain step of the engine, in time and memory."""
    setting = bench.plan.per_example
    seconds = bench.turns(setting, plain, per_example, centralised)
    ratio, facts = over(seconds, "per_example", "plain")
    peft_ratio, peft_facts = over(seconds, "per_example", "centralised")
    peaks = {name: peak_bytes(name, setting, bench) for name in seconds}
    memory = peaks["per_example"] / peaks["plain"]
    return [
        Figure(key, setting.name, ratio, 1.05, facts=facts),
        Figure(key, f"{setting.name}, over a peft step", peft_ratio, facts=peft_facts),
        Figure("per_example_memory_over_plain", setting.name, memory, 1.10, facts=peaks),
    ]


def measure_bfloat16(bench: Bench, key: str) -> list[Figure]:
    """A round on a base in bfloat16 against the same in float32: time, and loss afterwards."""
    settings = {
        dtype: replace(bench.plan.bfloat16, dtype=dtype) for dtype in ("float32", "bfloat16")
    }
    runs = {dtype: grouped(setting, bench.device) for dtype, setting in settings.items()}
    ratio, facts = over(take_turns(runs, bench.device, bench.repeats), "float32", "bfloat16")
    rates = {
        dtype: matrix_rate(bench.plan.edge, getattr(torch, dtype), bench.device)
        for dtype in reversed(settings)
    }
    before = {dtype: mean_loss(settings[dtype], bench.device, 0) for dtype in settings}
    after = {dtype: mean_loss(settings[dtype], bench.device, 1) for dtype in settings}
    difference = abs(after["bfloat16"] / after["float32"] - 1)
    fast = bench.device.type == "cuda" or bool(bfloat16_instructions())
    name = bench.plan.bfloat16.name
    ceiling = rates["bfloat16"] / rates["float32"]
    losses = {"before": before, "after": after}
    return [
        Figure(
            key,
            name,
            ratio,
            at_least=1.3 if fast else None,
            facts={**facts, "matrix_rate_ratio": ceiling},
        ),
        Figure("bf16_loss_difference", name, difference, 0.01, facts=losses),
    ]


def mean_loss(setting: Setting, device: torch.device, rounds: int) -> float:
    """Every client's loss on its own tokens before (0) or after (1) a round, averaged."""
    model = build_ours(setting, device)
    clients = draw_clients(setting)
    weights = {client.name: model.initial(SEED) for client in clients}
    if rounds:
        trained = train(model, clients, weights, recipe(setting), Round(0, 1, SEED))
        for update, _ in trained:
            change = [update.tensors[name].ravel() for name in model.layout.shapes]
            weights[update.client] = weights[update.client] + np.concatenate(change)
    losses = []
    for client in clients:
        scores = score(model, weights[client.name], client.examples, tokens_per_pass=4096)
        losses.append(float(scores.nll.sum() / scores.tokens.sum()))
    return statistics.mean(losses)


def measure_utilisation(bench: Bench, key: str) -> list[Figure]:
    """4·P·T over the time of a round, against the matrix rate in the same dtype."""
    setting = bench.plan.utilisation
    run = grouped(setting, bench.device)
    dtype = getattr(torch, setting.dtype)
    seconds, rates = [], []
    for repeat in range(bench.repeats + 1):
        rate, taken = (
            matrix_rate(bench.plan.edge, dtype, bench.device),
            seconds_of(run, bench.device),
        )
        if repeat:
            rates.append(rate)
            seconds.append(taken)
    operations = 4 * setting.shape.linear_weights * setting.tokens
    rate = statistics.median(rates)
    achieved = operations / statistics.median(seconds)
    facts = {
        "weights": setting.shape.linear_weights,
        "tokens": setting.tokens,
        "seconds": statistics.median(seconds),
        "operations_per_second": achieved,
        "matrix_rate": rate,
        "dtype": setting.dtype,
        "repeats": len(seconds),
    }
    return [Figure(key, setting.name, achieved / rate, at_least=0.6, facts=facts)]


def measure_memory(bench: Bench, key: str) -> list[Figure]:
    """What one more client adds to the peak, against its adapter, gradient and AdamW's moments."""
    many = bench.plan.memory
    few = replace(many, clients=many.clients // 2)
    peaks = {s.clients: peak_bytes("grouped", s, bench) for s in (few, many)}
    each = (peaks[many.clients] - peaks[few.clients]) / (many.clients - few.clients)
    entries = build_ours(replace(many, clients=1), bench.device).layout.size
    state = 16 * entries
    facts = {"state_bytes": state, "adapter_entries": entries, "peak_bytes_by_clients": peaks}
    name = f"{many.name}, rank {many.rank}"
    return [
        Figure(key, name, each, 1.2 * state, facts=facts),
        Figure("memory_per_client_over_state", name, each / state, 1.2),
    ]


def peak_bytes(arm: str, setting: Setting, bench: Bench) -> int:
    """The median peak of an arm over fresh processes."""
    threads, device = torch.get_num_threads(), str(bench.device)
    task = json.dumps([arm, asdict(setting), device, threads])
    command = [sys.executable, str(Path(__file__).resolve()), "--peak", task]
    peaks = [
        int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        for _ in range(bench.processes)
    ]
    return int(statistics.median(peaks))


def peak_of_task(task: str) -> int:
    """The other end of ``peak_bytes``, inside the fresh process."""
    arm, fields, device, threads = json.loads(task)
    torch.set_num_threads(threads)
    setting = Setting(**{**fields, "shape": Shape(**fields["shape"])})
    return peak_of(ARMS[arm](setting, torch.device(device)), torch.device(device))


MEASURES: dict[str, Callable[[Bench, str], list[Figure]]] = {
    "federated_over_centralised": measure_federated,
    "sequential_peft_over_grouped": measure_sequential,
    "per_example_over_plain": measure_per_example,
    "bf16_speedup": measure_bfloat16,
    "mfu": measure_utilisation,
    "memory_per_client_bytes": measure_memory,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--only", choices=list(MEASURES), help="measure one key")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch")
    parser.add_argument(
        "--accelerator-rehearsal",
        action="store_true",
        help="the accelerator's measurements on a toy, to see that they run; no bars are meant",
    )
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.peak:
        print(peak_of_task(options.peak))
        return 0
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    plan = CPU if device.type == "cpu" else ACCELERATOR
    if options.accelerator_rehearsal:
        plan = rehearsal(ACCELERATOR)
    bench = Bench(plan, device, *((3, 1) if options.quick else (9, 3)))
    about = environment(device)
    figures: list[Figure] = []
    for key in [options.only] if options.only else MEASURES:
        print(f"measuring {key}", file=sys.stderr, flush=True)
        figures += MEASURES[key](bench, key)
    if options.json:
        print(json.dumps(summary(figures, about), allow_nan=False))
    else:
        print(table(figures, about))
    return 0


if __name__ == "__main__":
    sys.exit(main())
