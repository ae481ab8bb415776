"""The synthetic problem of FedProx, by this package's own proximal rule and aggregation.

    python benchmarks/fedprox_synthetic.py            a table
    python benchmarks/fedprox_synthetic.py --json     one JSON object on one line

Li et al. 2020, "Federated Optimization in Heterogeneous Networks", section 5: thirty devices hold
Synthetic(α, β) or data drawn alike, and multinomial logistic regression is trained from zero with
plain SGD, without weight decay. Every local step goes through ``Algorithm.adjust`` and every round
through ``round_step``, with the number of a device's training examples as its weight.

The local steps run in float64, all devices of all runs side by side, and the change travels as
float32, as an ``Update`` does. ``tests/benchmarks/fedprox_reference.py`` is a plain loop in float64
throughout; the weights of the two are compared. What lies between them is the rounding of changes
and shared weights to float32 and of sums to multiples of 2^-32.
"""

from __future__ import annotations

import argparse
import json
import runpy
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from measuring import Figure, environment, summary, table
from numpy.typing import NDArray

from sottovoce.run.rounds import round_step
from sottovoce.strategies import Adjust, Algorithm, ServerState
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.fedprox import FedProx
from sottovoce.strategies.server_damping import ServerDamping
from sottovoce.update import Update

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DEVICES, FEATURES, CLASSES = 30, 60, 10
INPUTS = FEATURES + 1  # The last input is 1, so that its weights are the biases.
REFERENCE = Path(__file__).resolve().parents[1] / "tests" / "benchmarks" / "fedprox_reference.py"


class Protocol(NamedTuple):
    """The numbers of the paper's ``run_fedavg.sh``: of a round, and of a device's SGD in it."""

    rounds: int = 200
    chosen: int = 10
    epochs: int = 20
    batch: int = 10
    rate: float = 0.01


@dataclass(frozen=True, eq=False)
class Arm:
    """An algorithm, and whether it takes what a straggler has done by the end of the round."""

    name: str
    algorithm: Algorithm
    takes_partial_work: bool = False


class Run(NamedTuple):
    """One federation: the data of one problem and seed, a share of stragglers, an arm."""

    problem: str
    seed: int
    stragglers: float
    arm: Arm


class Device(NamedTuple):
    """One device's training examples, ``x [n, 60]`` and ``y [n]``, and its test examples."""

    x: Floats
    y: Integers
    test_x: Floats
    test_y: Integers


Data = Mapping[tuple[str, int], Sequence[Device]]  # By problem and seed.

AVERAGING = Arm("FedAvg", FedAvg().algorithm)
PARTIAL = Arm("FedProx mu=0", FedProx(mu=0).algorithm, takes_partial_work=True)
PROXIMAL = Arm("FedProx mu=1", FedProx(mu=1).algorithm, takes_partial_work=True)
DAMPING = Arm("server damping mu=.5", ServerDamping(mu=0.5).algorithm)

PROBLEMS = {"(1,1)": (1.0, 1.0), "(.5,.5)": (0.5, 0.5), "(0,0)": (0.0, 0.0), "IID": None}
"""α, how far the devices' models lie apart, and β, their inputs; None where all are alike."""

# Without stragglers, μ = 0 is federated averaging, bit for bit, and needs no row. The figures are
# those of an earlier NumPy script at seed 0: accuracy, its deviation over rounds, training loss.
CASES: Mapping[tuple[str, float], Mapping[Arm, tuple[float, float | None, float | None]]] = {
    ("(1,1)", 0.0): {
        AVERAGING: (0.619, 0.036, 1.67),
        PROXIMAL: (0.867, 0.002, 0.397),
        DAMPING: (0.564, None, None),
    },
    ("(1,1)", 0.5): {
        AVERAGING: (0.506, 0.080, 1.69),
        PARTIAL: (0.652, 0.041, 1.44),
        PROXIMAL: (0.867, 0.002, 0.396),
    },
    ("(1,1)", 0.9): {
        AVERAGING: (0.348, 0.041, 3.44),
        PARTIAL: (0.693, 0.049, 1.09),
        PROXIMAL: (0.866, 0.002, 0.397),
    },
    ("(.5,.5)", 0.0): {AVERAGING: (0.571, 0.013, 2.61), PROXIMAL: (0.747, 0.003, 0.653)},
    ("(0,0)", 0.0): {AVERAGING: (0.645, 0.005, 1.83), PROXIMAL: (0.807, 0.002, 0.523)},
    ("IID", 0.0): {AVERAGING: (0.950, 0.002, 0.233), PROXIMAL: (0.710, 0.003, 0.932)},
}


def generate(problem: str, seed: int) -> list[Device]:
    """Draw the data of all devices.

        n_k = int(lognormal(4, 2)) + 50;   x ~ N(v_k, diag(j^-1.2));   y = argmax(x·W_k + b_k)
        W_k, b_k ~ N(u_k, 1), u_k ~ N(0, α);   v_k ~ N(B_k, 1), B_k ~ N(0, β)

    α and β are deviations, as in the paper's code. Alike, v = 0 and all share W, b ~ N(0, 1). The
    draws come in the order of that code; then each device's examples are shuffled, before the
    next device is drawn, and the first nine of ten are for training. Seed 0 gives 20,101 training
    and 2,248 test examples, those on which the earlier figures were measured.
    """
    random = np.random.RandomState(seed)
    sizes = random.lognormal(4, 2, DEVICES).astype(int) + 50
    deviation = np.sqrt(np.arange(1, FEATURES + 1) ** -1.2)
    spread = PROBLEMS[problem]
    u, centres = np.zeros(DEVICES), np.zeros((DEVICES, FEATURES))
    if spread is None:
        W, b = random.normal(0, 1, (FEATURES, CLASSES)), random.normal(0, 1, CLASSES)
    else:
        u, B = random.normal(0, spread[0], DEVICES), random.normal(0, spread[1], DEVICES)
        centres = np.stack([random.normal(mean, 1, FEATURES) for mean in B])
    devices = []
    for k, size in enumerate(sizes):
        if spread is not None:
            W, b = random.normal(u[k], 1, (FEATURES, CLASSES)), random.normal(u[k], 1, CLASSES)
        x = centres[k] + random.standard_normal((size, FEATURES)) * deviation
        order, train = random.permutation(size), int(0.9 * size)
        x, y = x[order], np.argmax(x @ W + b, axis=1)[order]
        devices.append(Device(x[:train], y[:train], x[train:], y[train:]))
    return devices


def draw(index: int, stragglers: float, protocol: Protocol) -> list[tuple[int, int, bool]]:
    """Draw a round's devices, the epochs that each will do, and which are stragglers.

    The seed is the round's index, in every run. Devices and stragglers are those of the paper's
    code, which seeds anew before each of the two draws; a straggler does 1 to 19 epochs. Of ten
    devices, 90 % of stragglers leave one that is none, so that no round is empty.
    """
    devices = np.random.RandomState(index).choice(DEVICES, protocol.chosen, replace=False)
    random = np.random.RandomState(index)
    quick = random.choice(devices, round(protocol.chosen * (1 - stragglers)), replace=False)
    partial = random.randint(1, protocol.epochs, protocol.chosen)
    return [
        (int(k), protocol.epochs if k in quick else int(epochs), k not in quick)
        for k, epochs in zip(devices, partial, strict=True)
    ]


class Examples(NamedTuple):
    """The training examples of all devices, one device after another, an empty row behind each.

    ``x [N, inputs]`` is 0 in the empty row, ``target [N, classes]`` is 1 at the label, and
    ``first`` is a device's first row by problem, seed and device.
    """

    x: Floats
    target: Floats
    first: Mapping[tuple[str, int, int], int]


def lay_out(data: Data) -> Examples:
    """Write the training examples into one table."""
    size = sum(len(device.y) + 1 for devices in data.values() for device in devices)
    x, target, first, end = np.zeros((size, INPUTS)), np.zeros((size, CLASSES)), {}, 0
    for (problem, seed), devices in data.items():
        for k, device in enumerate(devices):
            rows = end + np.arange(len(device.y))
            x[rows, :FEATURES], x[rows, FEATURES], target[rows, device.y] = device.x, 1, 1
            first[problem, seed, k], end = end, end + len(rows) + 1
    return Examples(x, target, first)


class Schedule(NamedTuple):
    """Which examples each step of a round reads, for all devices that are drawn in any run.

    ``rows [S, batch]`` counts from a device's first row, and a short batch ends in empty ones;
    ``size [S, 1, 1]`` is the number of its examples; ``first`` is where a device's steps begin, by
    its index and number of examples.
    """

    rows: Integers
    size: Floats
    first: Mapping[tuple[int, int], int]


def schedule(index: int, devices: set[tuple[int, int]], protocol: Protocol) -> Schedule:
    """Shuffle every epoch of these devices, by index and number of examples, and cut batches.

    A device's orders come from the round's index and its own, whatever else is drawn.
    """
    first, tables, sizes, end = {}, [], [], 0
    for k, examples in sorted(devices):
        random = np.random.RandomState([index, k])
        width = -(-examples // protocol.batch) * protocol.batch
        rows = np.full((protocol.epochs, width), examples)
        for epoch in rows:
            epoch[:examples] = random.permutation(examples)
        tables.append(rows.reshape(-1, protocol.batch))
        sizes.append((tables[-1] < examples).sum(axis=1).astype(np.float64))
        first[k, examples] = end
        end += len(tables[-1])
    return Schedule(np.concatenate(tables), np.concatenate(sizes)[:, None, None], first)


class Task(NamedTuple):
    """One device's work in one round of one run."""

    run: Run
    device: int
    examples: int
    steps: int


def tasks_of(run: Run, index: int, data: Data, protocol: Protocol) -> list[Task]:
    """Who delivers in a round: all but stragglers whose partial work the arm does not take."""
    tasks = []
    for k, epochs, slow in draw(index, run.stragglers, protocol):
        examples = len(data[run.problem, run.seed][k].y)
        if not slow or run.arm.takes_partial_work:
            tasks.append(Task(run, k, examples, epochs * -(-examples // protocol.batch)))
    return tasks


def gradients(weights: Floats, x: Floats, target: Floats, size: Floats) -> Floats:
    """The gradient of each row's mean cross-entropy, ``[C, D]``; an empty example adds nothing."""
    # In float64 no shift by the largest is needed below 700; beyond it, the sum of the round
    # refuses what is no number.
    error = np.exp(np.matmul(x, weights.reshape(-1, INPUTS, CLASSES)))
    error /= np.einsum("nbc->nb", error)[:, :, None]
    error -= target
    error /= size
    gradient: Floats = np.matmul(x.swapaxes(1, 2), error).reshape(weights.shape)
    return gradient


def local_sgd(
    start: Floats,
    tasks: Sequence[Task],
    examples: Examples,
    plan: Schedule,
    rule: Adjust | None,
    rate: float,
) -> Floats:
    """Run each task's local SGD, w ← w - rate·rule(∇f(w), w, start), all side by side.

    ``start`` and the result are ``[C, D]``, a row for each task; ``rule`` is the ``adjust`` of all
    arms that have one, and the others take the gradient as it is.
    """
    ruled = np.array([task.run.arm.algorithm.adjust is not None for task in tasks])
    steps = np.array([task.steps for task in tasks])
    # Rows without the rule stand on the left, those with most work last, and rows with it on the
    # right, those with most work first. Whoever still works is then one slice, in place.
    order = np.lexsort((np.where(ruled, -steps, steps), ruled))
    tasks, steps, middle = [tasks[i] for i in order], steps[order], int((~ruled).sum())
    longest = np.arange(steps.max())
    lows = np.searchsorted(steps[:middle], longest, side="right")
    highs = len(steps) - np.searchsorted(steps[middle:][::-1], longest, side="right")
    keys = [(task.run.problem, task.run.seed, task.device) for task in tasks]
    base = np.array([examples.first[key] for key in keys])[:, None]
    begin = np.array([plan.first[task.device, task.examples] for task in tasks])
    received = start[order]
    weights = received.copy()
    for step, (low, high) in enumerate(zip(lows.tolist(), highs.tolist(), strict=True)):
        batch = begin[low:high] + step
        rows = plan.rows[batch] + base[low:high]
        w = weights[low:high]
        x, target = examples.x.take(rows, axis=0), examples.target.take(rows, axis=0)
        gradient = gradients(w, x, target, plan.size[batch])
        if rule is not None and high > middle:
            own, right = gradient[middle - low :], slice(middle, high)
            own[:] = rule(own, weights[right], received[right])
        gradient *= rate
        w -= gradient
    trained = np.empty_like(weights)
    trained[order] = weights
    return trained


def play(runs: Sequence[Run], data: Data, protocol: Protocol) -> Iterator[dict[Run, ServerState]]:
    """Play runs side by side; yields the servers' states before the first and after each round.

    All arms with a rule for the local step share that one; a second does not unpack.
    """
    [rule] = {run.arm.algorithm.adjust for run in runs} - {None} or {None}
    examples = lay_out(data)
    zero = {"weights": np.zeros((INPUTS, CLASSES), np.float32)}
    states = {run: run.arm.algorithm.first(zero) for run in runs}
    yield dict(states)
    for index in range(protocol.rounds):
        tasks = [task for run in runs for task in tasks_of(run, index, data, protocol)]
        plan = schedule(index, {(task.device, task.examples) for task in tasks}, protocol)
        received = [states[task.run].weights["weights"].ravel() for task in tasks]
        start = np.stack(received).astype(np.float64)
        change = local_sgd(start, tasks, examples, plan, rule, protocol.rate) - start
        updates: dict[Run, list[Update]] = {run: [] for run in runs}
        for task, own in zip(tasks, change.astype(np.float32), strict=True):
            tensors, client = {"weights": own.reshape(INPUTS, CLASSES)}, f"device {task.device}"
            weight = 1 if task.run.arm.algorithm.weighting == "uniform" else task.examples
            # Tokens and loss are left at 0: they end in the record, which nothing here reads.
            update = Update(tensors, client, task.examples, task.steps, 0, 0.0, weight=weight)
            updates[task.run].append(update)
        for run in runs:
            states[run], _ = round_step(run.arm.algorithm, states[run], updates[run])
        yield dict(states)


def judge(weights: Sequence[Floats], devices: Sequence[Device]) -> dict[str, float]:
    """Over all devices' examples: accuracy, its deviation over these weights, the newest's loss."""
    x, y, test_x, test_y = (np.concatenate(part) for part in zip(*devices, strict=True))
    guesses = [np.argmax(test_x @ w[:-1] + w[-1], axis=1) for w in weights]
    right = [float((guess == test_y).mean()) for guess in guesses]
    logits = x @ weights[-1][:-1] + weights[-1][-1]
    loss = float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]).mean())
    deviation = statistics.pstdev(right)
    return {"accuracy": statistics.fmean(right), "deviation": deviation, "loss": loss}


def measure_table(seeds: Sequence[int], protocol: Protocol) -> list[dict[str, Any]]:
    """One row per case and arm, over the states after rounds 190 to 200, or the last eleven."""
    data = {(name, seed): generate(name, seed) for name in PROBLEMS for seed in seeds}
    runs = [
        Run(case[0], seed, case[1], arm) for case in CASES for arm in CASES[case] for seed in seeds
    ]
    last: dict[Run, list[Floats]] = {run: [] for run in runs}
    for index, states in enumerate(play(runs, data, protocol)):
        if index % 20 == 0:
            print(f"{index} of {protocol.rounds} rounds", file=sys.stderr, flush=True)
        if index >= protocol.rounds - 10:
            for run in runs:
                last[run].append(states[run].weights["weights"].astype(np.float64))
    rows: list[dict[str, Any]] = []
    for (problem, stragglers), arms in CASES.items():
        for arm, before in arms.items():
            own = [judge(last[Run(problem, s, stragglers, arm)], data[problem, s]) for s in seeds]
            by_seed = {name: [round(outcome[name], 4) for outcome in own] for name in own[0]}
            case = {"dataset": problem, "stragglers": stragglers, "algorithm": arm.name}
            means = {name: round(statistics.fmean(each), 4) for name, each in by_seed.items()}
            known = dict(zip(("seed", *by_seed), (0, *before), strict=True))
            own_seeds = {"by_seed": {"seed": list(seeds), **by_seed}}
            rows.append({**case, **means, **own_seeds, "reference": known})
    return rows


def compare(seeds: Sequence[int], rounds: int) -> list[Figure]:
    """The weights after these rounds, against the plain loop in NumPy and against FedAvg's bits."""
    cases = list(product(("(1,1)", "IID"), (0.0, 0.9), (AVERAGING, PARTIAL, PROXIMAL)))
    data = {(case[0], seed): generate(case[0], seed) for case in cases for seed in seeds}
    runs = {(*case, seed): Run(case[0], seed, *case[1:]) for case in cases for seed in seeds}
    *_, states = play(list(runs.values()), data, Protocol(rounds=rounds))
    ends = {key: states[run].weights["weights"] for key, run in runs.items()}
    plain, figures, same = runpy.run_path(str(REFERENCE))["fedprox"], [], True
    for case in cases:
        problem, stragglers, arm = case
        off = {}
        for seed in seeds:
            examples = [(own.x, own.y) for own in data[problem, seed]]
            mu, drops = float(arm is PROXIMAL), not arm.takes_partial_work
            end = plain(examples, rounds=rounds, mu=mu, stragglers=stragglers, drops=drops)
            off[str(seed)] = float(np.abs(ends[*case, seed] - np.vstack(end)).max())
            if arm is PARTIAL and not stragglers:
                averaging = ends[problem, stragglers, AVERAGING, seed]
                same = same and ends[*case, seed].tobytes() == averaging.tobytes()
        name, worst = f"{problem}, {stragglers:.0%} stragglers, {arm.name}", max(off.values())
        figures.append(Figure("max_reference_difference", name, worst, 1e-6, facts={"seeds": off}))
    return [*figures, Figure("mu0_is_fedavg", "no stragglers", int(same), at_least=1)]


def orderings(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """What is claimed of the table, in the mean over seeds: 1 where it holds."""
    of = {(row["dataset"], row["stragglers"], row["algorithm"]): row for row in rows}

    def below(key: str, case: tuple[str, float], low: Arm, high: Arm, what: str) -> Figure:
        pair = {arm.name: of[*case, arm.name][what] for arm in (low, high)}
        name = f"{case[0]}, {case[1]:.0%} stragglers, {low.name} below {high.name}"
        return Figure(key, name, int(pair[low.name] < pair[high.name]), at_least=1, facts=pair)

    figures, gaps = [], {}
    for case, arms in CASES.items():
        if PROBLEMS[case[0]] is None:
            figures.append(below("mu1_hurts_iid", case, PROXIMAL, AVERAGING, "accuracy"))
            continue
        others = [arm for arm in arms if arm is not PROXIMAL]
        figures += [below("mu1_wins_noniid", case, arm, PROXIMAL, "accuracy") for arm in others]
        figures.append(below("mu1_steadier_noniid", case, PROXIMAL, AVERAGING, "deviation"))
        if DAMPING in arms:
            figures.append(below("damping_loses", case, DAMPING, AVERAGING, "accuracy"))
        if case[0] == "(1,1)":
            high, low = (of[*case, arm.name]["accuracy"] for arm in (PROXIMAL, AVERAGING))
            gaps[f"{case[1]:.0%}"] = high - low
    grows = int(all(small < large for small, large in pairwise(gaps.values())))
    return [*figures, Figure("straggler_gap_grows", "(1,1)", grows, at_least=1, facts=gaps)]


def shown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown: means over seeds, each seed's accuracy, and the earlier seed 0."""
    heads = ("dataset", "stragglers", "algorithm", "accuracy", "loss", "by seed", "seed 0 before")
    lines: list[Sequence[str]] = [heads, ["---"] * len(heads)]
    for row in rows:
        seeds = ", ".join(f"{value:.3f}" for value in row["by_seed"]["accuracy"])
        before = [str(row["reference"][key] or "") for key in ("accuracy", "deviation", "loss")]
        case = row["dataset"], f"{row['stragglers']:.0%}", row["algorithm"]
        accuracy = f"{row['accuracy']:.3f} ± {row['deviation']:.3f}"
        lines.append([*case, accuracy, f"{row['loss']:.3f}", seeds, " ".join(before)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, play, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rounds", type=int, default=Protocol().rounds, help="of the table")
    options = parser.parse_args(argv)
    about, begin = environment(torch.device("cpu")), time.perf_counter()
    figures = compare(options.seeds, min(5, options.rounds))
    rows = measure_table(options.seeds, Protocol(rounds=options.rounds))
    figures += orderings(rows)
    about["seconds"] = round(time.perf_counter() - begin)
    result = {**summary(figures, about), "rows": rows}
    text = f"{table(figures, about)}\n\n{shown(rows)}"
    print(json.dumps(result, allow_nan=False) if options.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
