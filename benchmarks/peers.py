"""Seconds per federated round: Flower's and pfl-research's simulators against the group axis.

    make bench-peers                       the whole comparison, in an environment of its own
    python benchmarks/peers.py --json      one JSON object on one line

All three train the same adapter on the same frozen model from the same weights, with the same
batches in the same order and AdamW without memory of the last round, and average by examples. One
common function scores the three final adapters: where they differ by more than 1 % of how far the
loss fell, the systems did not do the same work. The systems are launched side by side and take
turns, round by round; while one runs, the others are suspended. The first round of a launch does not
count. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import torch
from engine_arms import Setting
from measuring import Figure, environment, table, tidy
from peers_shape import CPU, SHAPES, initial_adapter, mean_loss
from peers_turns import Running, Task, await_calm

from sottovoce.update import Tensors


@dataclass(frozen=True)
class Arm:
    """How a system is run.

    Args:
        module: what runs it.
        one_process: with a thread for every core; else one process a core, with one thread.
        reloads: every client's task loads the base model from disk.
    """

    module: str
    one_process: bool = False
    reloads: bool = False


ARMS: Mapping[str, Arm] = {
    "ours": Arm("ours", one_process=True),
    "flower": Arm("flower"),
    "flower_template": Arm("flower", reloads=True),
    "pfl": Arm("pfl"),
    "pfl_one_process": Arm("pfl", one_process=True),
}
"""Each peer twice: tuned for this machine as well as we can, and as its users start it.

Flower's own LLM template loads the model in every client's task, and trains it by the trainer of
transformers. pfl-research runs in one process unless it is launched under a program for several.
"""
SYSTEMS = tuple(ARMS)
PEERS = SYSTEMS[1:]
BARS: Mapping[str, Mapping[str, float]] = {
    name: {"short": 4.0, "long": 1.4} if arm.module == "flower" else {"short": 2.0, "long": 1.2}
    for name, arm in ARMS.items()
}
NEEDED = ("flwr", "ray", "pfl", "peft")
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "PFL_PYTORCH_DEVICE": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
}
"""Nothing that is measured here may report to anyone or ask anyone, or leave the processor."""


@dataclass(frozen=True)
class Plan:
    """How much of it: launches of each system, and by shape the rounds of a launch.

    Args:
        shapes: what is measured, by name.
        launches: of each system, one after another.
        rounds: of one launch, the first included.
        cores: that a system may use.
        workers: processes of a peer that share the cores.
        patience: seconds that the rounds of a shape may wait, in all, for others to be done.
    """

    shapes: Mapping[str, Setting]
    launches: int
    rounds: Mapping[str, int]
    cores: int
    workers: int
    patience: float = 0.0

    def task(self, system: str, shape: str, folder: str) -> Task:
        """What one launch of one system does."""
        setting, arm = self.shapes[shape], ARMS[system]
        workers = 1 if arm.one_process else min(self.workers, setting.clients)
        threads = self.cores // workers
        return Task(setting, self.rounds[shape], workers, threads, folder, arm.reloads)


@dataclass
class Seen:
    """What one system did in one shape, over all launches."""

    seconds: list[float] = field(default_factory=list)
    startup: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    loss: float = 0.0

    @property
    def median(self) -> float:
        """Seconds per round."""
        return statistics.median(self.seconds)


def launch(system: str, task: Task, said: IO[str]) -> Running:
    """Start one system in processes of its own and let it run its first round."""
    settings = {**QUIET, "OMP_NUM_THREADS": str(task.threads)}
    copies = [settings]
    if ARMS[system].module == "pfl" and task.workers > 1:
        addresses = ",".join(f"127.0.0.1:{port}" for port in _free_ports(task.workers))
        copies = [
            {**settings, "PFL_WORKER_ADDRESSES": addresses, "PFL_WORKER_RANK": str(rank)}
            for rank in range(task.workers)
        ]
    command = [sys.executable, str(Path(__file__).resolve()), "--arm", system, task.to_json()]
    return Running(system, task, command, copies, said)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def run_arm(system: str, text: str) -> None:
    """The other end of ``launch``, inside a fresh process."""
    task = Task.from_json(text)
    torch.set_num_threads(task.threads)
    import_module(f"peers_{ARMS[system].module}").run(task)


def measure(plan: Plan, shape: str) -> dict[str, Seen]:
    """Let all systems take turns in one shape."""
    seen = {system: Seen() for system in SYSTEMS}
    adapters: dict[str, Tensors] = {}
    patience = plan.patience
    for number in range(plan.launches):
        with ExitStack() as stack:
            running = {}
            for system in SYSTEMS:
                _say(f"{shape}, launch {number + 1} of {plan.launches}: starting {system}")
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                said = stack.enter_context(tempfile.TemporaryFile("w+"))
                running[system] = launch(system, plan.task(system, shape, folder), said)
                stack.callback(running[system].close)
                seen[system].startup.append(running[system].startup)
            for index in range(1, plan.rounds[shape]):
                for system in SYSTEMS[:: 1 if index % 2 else -1]:
                    busy, waited = await_calm(patience)
                    patience -= waited
                    seen[system].busy.append(busy)
                    seen[system].seconds.append(running[system].round(index))
            adapters = {system: one.finish() for system, one in running.items()}
        medians = ", ".join(f"{system} {one.median:.3g} s" for system, one in seen.items())
        _say(f"{shape}: {medians} a round")
    for system, adapter in adapters.items():
        seen[system].loss = mean_loss(plan.shapes[shape], adapter)
    return seen


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def figures_of(shape: str, seen: Mapping[str, Seen], first_loss: float) -> list[Figure]:
    """The ratios with their bars, and what they were made from."""
    figures = []
    for peer in PEERS:
        pairs = [a / b for a, b in zip(seen[peer].seconds, seen["ours"].seconds, strict=True)]
        # Where something else ran meanwhile, the fastest rounds show it least.
        fastest = min(seen[peer].seconds) / min(seen["ours"].seconds)
        facts = {"lowest": min(pairs), "highest": max(pairs), "of_fastest_rounds": fastest}
        ratio = seen[peer].median / seen["ours"].median
        key = f"{peer}_over_ours"
        figures.append(Figure(key, shape, ratio, at_least=BARS[peer][shape], facts=facts))
    losses = {system: one.loss for system, one in seen.items()}
    spread = max(losses.values()) - min(losses.values())
    fall = first_loss - max(losses.values())
    # A system that trained nothing at all would be close to the others in the loss itself.
    share = spread / fall if fall > 0 else float(2**31)
    facts = {"first_loss": first_loss, **losses}
    return [*figures, Figure("loss_spread_over_fall", shape, share, at_most=0.01, facts=facts)]


def report(
    figures: Sequence[Figure],
    seen: Mapping[str, Mapping[str, Seen]],
    plan: Plan,
    about: Mapping[str, object],
) -> dict[str, Any]:
    """The JSON object: figures by key and shape, seconds and losses by system and shape."""
    result: dict[str, Any] = {}
    passed: dict[str, dict[str, bool | None]] = {}
    detail: dict[str, Any] = {}
    for figure in figures:
        result.setdefault(figure.key, {})[figure.setting] = figure.value
        passed.setdefault(figure.key, {})[figure.setting] = figure.passed
        bars = {"at_least": figure.at_least, "at_most": figure.at_most}
        detail.setdefault(figure.key, {})[figure.setting] = {**bars, **figure.facts}
    tasks = {s: {shape: plan.task(s, shape, "") for shape in seen} for s in SYSTEMS}

    def by_system(read: Any) -> dict[str, dict[str, Any]]:
        return {s: {shape: read(s, shape) for shape in seen} for s in SYSTEMS}

    # Losses keep all digits, so that their agreement can be seen.
    return {
        **tidy(result),
        "seconds_per_round": tidy(by_system(lambda s, shape: seen[shape][s].median)),
        "fastest_round_seconds": tidy(by_system(lambda s, shape: min(seen[shape][s].seconds))),
        "startup_seconds": tidy(
            by_system(lambda s, shape: statistics.median(seen[shape][s].startup))
        ),
        "final_loss": by_system(lambda s, shape: seen[shape][s].loss),
        "loss_within_1_percent": all(passed["loss_spread_over_fall"].values()),
        "passed": passed,
        "detail": tidy(detail),
        "processes": by_system(lambda s, shape: tasks[s][shape].workers),
        "threads_each": by_system(lambda s, shape: tasks[s][shape].threads),
        "shapes": {shape: asdict(plan.shapes[shape]) for shape in seen},
        "rounds_that_count": {shape: len(seen[shape]["ours"].seconds) for shape in seen},
        "others_busy_before_rounds": tidy(
            by_system(lambda s, shape: statistics.mean(seen[shape][s].busy))
        ),
        "launches": plan.launches,
        "versions": {name: version(name) for name in (*NEEDED, "torch", "transformers")},
        "environment": {**about, "load_at_end": round(os.getloadavg()[0], 2)},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--only", choices=list(SHAPES), help="measure one shape")
    parser.add_argument("--quick", action="store_true", help="one launch, five rounds that count")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="cores to use")
    parser.add_argument(
        "--workers", type=int, help="processes of a peer that share the cores (default: one each)"
    )
    parser.add_argument(
        "--patience", type=float, default=120, help="seconds a shape may wait for a calm machine"
    )
    parser.add_argument("--arm", nargs=2, metavar=("SYSTEM", "TASK"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.arm:
        run_arm(*options.arm)
        return 0
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        _say(
            f"benchmarks/peers.py needs {', '.join(missing)}, which this Python does not have: "
            "run `make bench-peers`, which sets up an environment with the peers."
        )
        return 2
    # A terminated script must not leave suspended systems behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    torch.set_num_threads(options.cores)
    rounds = {"short": 6, "long": 6} if options.quick else {"short": 13, "long": 9}
    plan = Plan(
        SHAPES,
        1 if options.quick else 2,
        rounds,
        options.cores,
        options.workers or options.cores,
        options.patience,
    )
    about = environment(CPU)
    seen: dict[str, dict[str, Seen]] = {}
    figures: list[Figure] = []
    for shape in [options.only] if options.only else SHAPES:
        seen[shape] = measure(plan, shape)
        first_loss = mean_loss(SHAPES[shape], initial_adapter(SHAPES[shape]))
        figures += figures_of(shape, seen[shape], first_loss)
    if options.json:
        print(json.dumps(report(figures, seen, plan, about), allow_nan=False))
    else:
        print(table(figures, about))
    return 0


if __name__ == "__main__":
    sys.exit(main())
