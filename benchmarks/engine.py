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
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from math import floor, log10
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import LoraSettings, wrap_base
from sottovoce.privacy.clip import clip_and_sum
from sottovoce.rng import derive_seed, stream
from sottovoce.train import Batch, Client, Example, Round, TrainSettings, score, train

SEED = 20
LEARNING_RATE = 2e-3
BOUND = 1.0
"""The largest norm of a client's gradient, and of an example's."""


@dataclass(frozen=True)
class Shape:
    """A Llama with random weights; speed does not depend on what they are."""

    hidden: int
    feed_forward: int
    layers: int
    heads: int
    vocabulary: int

    @property
    def linear_weights(self) -> int:
        """P: the weights of the linear layers and the head."""
        block = 4 * self.hidden**2 + 3 * self.hidden * self.feed_forward
        return self.layers * block + self.vocabulary * self.hidden


@dataclass(frozen=True)
class Setting:
    """What one measurement runs: ``steps`` steps of ``clients`` clients with ``batch`` sequences."""

    shape: Shape
    clients: int
    batch: int
    length: int
    steps: int = 4
    rank: int = 8
    dtype: str = "float32"
    tokens_per_pass: int = 8192

    @property
    def name(self) -> str:
        """The name under ``detail``."""
        return (
            f"hidden {self.shape.hidden}, {self.shape.layers} layers, {self.clients} clients, "
            f"batch {self.batch}, length {self.length}"
        )

    @property
    def tokens(self) -> int:
        """Tokens read in all steps of all clients."""
        return self.steps * self.clients * self.batch * self.length


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
    """

    rounds: tuple[Setting, ...]
    wider: tuple[Setting, ...]
    per_example: Setting
    bfloat16: Setting
    utilisation: Setting
    memory: Setting


# The scale of model that a few cores train at conversation speed, some times the bundled one.
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
        Setting(SMALL, clients=8, batch=batch, length=length)
        for batch in (1, 4)
        for length in (64, 128)
    ),
    wider=tuple(Setting(MIDDLE, clients=8, batch=batch, length=64, steps=2) for batch in (1, 4)),
    # Sixteen short conversations, as a step of private training at a small site has them.
    per_example=Setting(SMALL, clients=1, batch=16, length=128),
    # The precision matters where products are large, so the wider model; eight steps move the loss.
    bfloat16=Setting(MIDDLE, clients=8, batch=1, length=128, steps=8),
    # 2,048 tokens a step, as the edge of the matrices whose product is the measure.
    utilisation=Setting(LARGE, clients=8, batch=1, length=256, steps=1),
    # A high rank makes a client's state large beside the noise of an allocator, and the tokens of
    # half the clients fill a pass, so that activations do not grow with the other half.
    memory=Setting(SMALL, clients=16, batch=1, length=64, steps=3, rank=64, tokens_per_pass=512),
)

_SHORT = Setting(HALF_BILLION, clients=64, batch=1, length=64, steps=2, dtype="bfloat16")
ACCELERATOR = Plan(
    rounds=(_SHORT,),
    wider=(),
    per_example=replace(_SHORT, clients=1, batch=64),
    bfloat16=_SHORT,
    utilisation=replace(_SHORT, length=128),
    memory=replace(_SHORT, tokens_per_pass=2048),
)


def rehearsal(plan: Plan) -> Plan:
    """The same measurements on a toy, to see that they run."""

    def small(setting: Setting) -> Setting:
        return replace(setting, shape=TOY, length=8, steps=2, rank=4)

    return Plan(
        rounds=tuple(small(setting) for setting in plan.rounds),
        wider=tuple(small(setting) for setting in plan.wider),
        per_example=small(plan.per_example),
        bfloat16=small(plan.bfloat16),
        utilisation=small(plan.utilisation),
        memory=replace(small(plan.memory), tokens_per_pass=plan.memory.clients * 4),
    )


@dataclass(frozen=True)
class Figure:
    """One measured number, its bar where it has one, and what it was made from."""

    key: str
    setting: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        """Whether the bar is met; None without a bar."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least


@dataclass(frozen=True)
class Bench:
    """How to measure: the plan, where, and how often."""

    plan: Plan
    device: torch.device
    repeats: int
    processes: int


def build_vendor(setting: Setting, device: torch.device) -> Any:
    """A Llama of this shape with random weights, the same for every caller."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = setting.shape
    config = LlamaConfig(
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=False,
    )
    torch.manual_seed(derive_seed(SEED, "base") % 2**63)
    with device:
        return LlamaForCausalLM(config).to(getattr(torch, setting.dtype))


def build_ours(setting: Setting, device: torch.device) -> LoraModel:
    """The engine's model: a frozen base with grouped adapters on all linear layers."""
    base = wrap_base(build_vendor(setting, device), "random")
    return LoraModel(base, LoraSettings(rank=setting.rank, alpha=2.0 * setting.rank))


def build_peft(setting: Setting, device: torch.device) -> tuple[Any, list[Tensor]]:
    """The baseline's model, and its trainable weights."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=setting.rank, lora_alpha=2 * setting.rank, target_modules="all-linear")
    model = get_peft_model(build_vendor(setting, device), lora)
    model.train()
    return model, [weight for weight in model.parameters() if weight.requires_grad]


def draw_tokens(setting: Setting) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Ids ``[clients, steps, batch, length]``; each client uses few of them, so that it can learn."""
    random = stream(SEED, "tokens")
    words = random.integers(0, setting.shape.vocabulary, (setting.clients, 32))
    size = (setting.clients, setting.steps * setting.batch * setting.length)
    chosen = np.take_along_axis(words, random.integers(0, 32, size), axis=1)
    shape = (setting.clients, setting.steps, setting.batch, setting.length)
    return chosen.reshape(shape).astype(np.int32)


def draw_clients(setting: Setting) -> list[Client]:
    """The same tokens as the engine takes them."""
    supervised = np.arange(setting.length) > 0
    return [
        Client(f"{c}", [Example(ids, supervised) for ids in own.reshape(-1, setting.length)])
        for c, own in enumerate(draw_tokens(setting))
    ]


def recipe(setting: Setting) -> TrainSettings:
    """What every arm does: AdamW at a constant rate, gradients bounded by their norm."""
    return TrainSettings(
        learning_rate=LEARNING_RATE,
        schedule="constant",
        warmup_fraction=0.0,
        max_gradient_norm=BOUND,
        batch_size=setting.batch,
        tokens_per_pass=setting.tokens_per_pass,
    )


Run = Callable[[], Any]


def grouped(setting: Setting, device: torch.device) -> Run:
    """A whole round of the engine, batching and the making of updates included."""
    model = build_ours(setting, device)
    clients = draw_clients(setting)
    start = model.initial(SEED)
    received = {client.name: start for client in clients}
    return lambda: train(model, clients, received, recipe(setting), Round(0, 1, SEED))


def _peft_loop(setting: Setting, device: torch.device, batches: Sequence[Tensor]) -> Run:
    model, weights = build_peft(setting, device)

    def run() -> None:
        optimizer = torch.optim.AdamW(weights, LEARNING_RATE, weight_decay=0.0, fused=True)
        for tokens in batches:
            model(input_ids=tokens, labels=tokens).loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, BOUND)
            optimizer.step()
            optimizer.zero_grad()

    return run


def centralised(setting: Setting, device: torch.device) -> Run:
    """`peft` on the union: each step reads the sequences of all clients as one batch."""
    tokens = torch.from_numpy(draw_tokens(setting)).long().to(device)
    together = [tokens[:, step].reshape(-1, setting.length) for step in range(setting.steps)]
    return _peft_loop(setting, device, together)


def sequential(setting: Setting, device: torch.device) -> Run:
    """`peft` for one client after another.

    A real loop would also exchange adapters and optimizers between clients; this one is not
    charged for it.
    """
    tokens = torch.from_numpy(draw_tokens(setting)).long().to(device)
    return _peft_loop(setting, device, list(tokens.flatten(0, 1)))


def _lora_steps(setting: Setting, device: torch.device, groups: int) -> Run:
    """Steps of one client whose sequences fall into ``groups`` groups; one group is plain LoRA."""
    model = build_ours(setting, device)
    start = torch.from_numpy(model.initial(SEED)).to(device)
    every = torch.from_numpy(draw_tokens(setting)).long().to(device)[0]

    def batch(ids: Tensor) -> Batch:
        tokens = ids.view(1, groups, -1, setting.length)
        targets = torch.nn.functional.pad(tokens[..., 1:], (0, 1), value=-1)
        weight = groups / (setting.batch * (setting.length - 1))
        return Batch(tokens, targets, torch.full(tokens.shape[:3], weight, device=device))

    def run() -> None:
        weights = start[None].clone()
        row = torch.nn.Parameter(weights[0])
        optimizer = torch.optim.AdamW([row], LEARNING_RATE, weight_decay=0.0, fused=True)
        gradients = torch.zeros(1, groups, start.numel(), device=device)
        for ids in every:
            gradients.zero_()
            model.gradients(weights, batch(ids), gradients)
            if groups == 1:
                norm = torch.linalg.vector_norm(gradients)
                gradients.mul_(torch.clamp(BOUND / (norm + 1e-6), max=1.0))
                row.grad = gradients[0, 0]
            else:
                row.grad = clip_and_sum(gradients, BOUND).total[0].div_(groups)
            optimizer.step()

    return run


def plain(setting: Setting, device: torch.device) -> Run:
    """The engine's own step without privacy."""
    return _lora_steps(setting, device, 1)


def per_example(setting: Setting, device: torch.device) -> Run:
    """One gradient per example, each clipped over all layers, then summed."""
    return _lora_steps(setting, device, setting.batch)


ARMS: dict[str, Callable[[Setting, torch.device], Run]] = {
    arm.__name__: arm for arm in (grouped, centralised, sequential, plain, per_example)
}


def synchronise(device: torch.device) -> None:
    """Wait until an accelerator has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(run: Run, device: torch.device) -> float:
    """The time of one run, garbage collected beforehand."""
    gc.collect()
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def take_turns(runs: Mapping[str, Run], bench: Bench) -> dict[str, list[float]]:
    """Time all runs in turn, every other time backwards; the first time does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(bench.repeats + 1):
        for name in list(runs)[:: 1 if repeat % 2 else -1]:
            taken = seconds_of(runs[name], bench.device)
            if repeat:
                seconds[name].append(taken)
    return seconds


def over(seconds: Mapping[str, Sequence[float]], above: str, below: str) -> tuple[float, Any]:
    """The ratio of two medians, and what it was made from."""
    pairs = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
    ratio = statistics.median(seconds[above]) / statistics.median(seconds[below])
    facts = {f"{name}_seconds": statistics.median(seconds[name]) for name in (above, below)}
    return ratio, {**facts, "lowest": min(pairs), "highest": max(pairs), "repeats": len(pairs)}


def measure_rounds(bench: Bench, wanted: str) -> list[Figure]:
    """Many clients as groups, against one centralised `peft` loop or many after one another."""
    figures = []
    for setting in (*bench.plan.rounds, *bench.plan.wider):
        other = "centralised" if wanted == "federated_over_centralised" else "sequential"
        runs = {name: ARMS[name](setting, bench.device) for name in ("grouped", other)}
        seconds = take_turns(runs, bench)
        bar = setting in bench.plan.rounds
        if other == "centralised":
            ratio, facts = over(seconds, "grouped", "centralised")
            figure = Figure(wanted, setting.name, ratio, 1.05 if bar else None, facts=facts)
        else:
            ratio, facts = over(seconds, "sequential", "grouped")
            least = 4.0 if bench.plan is ACCELERATOR else 2.0 if setting.batch == 1 else 1.5
            figure = Figure(
                wanted, setting.name, ratio, at_least=least if bar else None, facts=facts
            )
        figures.append(figure)
    return figures


def measure_per_example(bench: Bench, wanted: str) -> list[Figure]:
    """Clipped per-example gradients against a plain step of the engine, in time and memory."""
    setting = bench.plan.per_example
    arms = {"plain": plain, "per_example": per_example, "centralised": centralised}
    seconds = take_turns({name: arm(setting, bench.device) for name, arm in arms.items()}, bench)
    ratio, facts = over(seconds, "per_example", "plain")
    peft_ratio, peft_facts = over(seconds, "per_example", "centralised")
    peaks = {name: peak_bytes(name, setting, bench) for name in arms}
    memory = peaks["per_example"] / peaks["plain"]
    return [
        Figure(wanted, setting.name, ratio, 1.05, facts=facts),
        Figure(wanted, f"{setting.name}, over a peft step", peft_ratio, facts=peft_facts),
        Figure("per_example_memory_over_plain", setting.name, memory, 1.10, facts=peaks),
    ]


def measure_bfloat16(bench: Bench, wanted: str) -> list[Figure]:
    """A round on a base in bfloat16 against the same in float32: time, and loss afterwards."""
    settings = {
        dtype: replace(bench.plan.bfloat16, dtype=dtype) for dtype in ("float32", "bfloat16")
    }
    runs = {dtype: grouped(setting, bench.device) for dtype, setting in settings.items()}
    ratio, facts = over(take_turns(runs, bench), "float32", "bfloat16")
    rates = {
        dtype: matrix_rate(getattr(torch, dtype), bench.device) for dtype in reversed(settings)
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
            wanted,
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


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second in the best of 10 products of 2048 x 2048 x 2048."""
    size = 2048
    left, right = torch.ones(2, size, size, dtype=dtype, device=device)
    out = torch.empty_like(left)
    seconds = [seconds_of(lambda: torch.mm(left, right, out=out), device) for _ in range(10)]
    return 2 * size**3 / min(seconds)


def measure_utilisation(bench: Bench, wanted: str) -> list[Figure]:
    """4·P·T over the time of a round, against the matrix rate in the same dtype."""
    setting = bench.plan.utilisation
    run = grouped(setting, bench.device)
    dtype = getattr(torch, setting.dtype)
    seconds, rates = [], []
    for repeat in range(bench.repeats + 1):
        rate, taken = matrix_rate(dtype, bench.device), seconds_of(run, bench.device)
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
    return [Figure(wanted, setting.name, achieved / rate, at_least=0.6, facts=facts)]


def measure_memory(bench: Bench, wanted: str) -> list[Figure]:
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
        Figure(wanted, name, each, 1.2 * state, facts=facts),
        Figure("memory_per_client_over_state", name, each / state, 1.2),
    ]


def resident() -> tuple[int, int]:
    """Resident bytes of this process: now, and at most so far."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        now, most = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return now, most
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return most, most


def peak_here(arm: str, setting: Setting, device: torch.device) -> int:
    """Peak bytes of one run beyond what was held before it; on an accelerator, its own bytes."""
    run = ARMS[arm](setting, device)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return int(torch.cuda.max_memory_allocated(device)) - before
    forget_peak = Path("/proc/self/clear_refs")
    if forget_peak.exists():
        # Loading may need more than training; 5 resets the high-water mark to what is held now.
        forget_peak.write_text("5")
    before, _ = resident()
    run()
    return resident()[1] - before


def peak_bytes(arm: str, setting: Setting, bench: Bench) -> int:
    """The median of ``peak_here`` over fresh processes."""
    task = {
        "arm": arm,
        "setting": asdict(setting),
        "device": str(bench.device),
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, str(Path(__file__).resolve()), "--peak", json.dumps(task)]
    return int(
        statistics.median(
            int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(bench.processes)
        )
    )


def peak_of_task(text: str) -> int:
    """The other end of ``peak_bytes``, inside the fresh process."""
    task = json.loads(text)
    torch.set_num_threads(task["threads"])
    shape = Shape(**task["setting"].pop("shape"))
    return peak_here(
        task["arm"], Setting(shape=shape, **task["setting"]), torch.device(task["device"])
    )


MEASURES: dict[str, Callable[[Bench, str], list[Figure]]] = {
    "federated_over_centralised": measure_rounds,
    "sequential_peft_over_grouped": measure_rounds,
    "per_example_over_plain": measure_per_example,
    "bf16_speedup": measure_bfloat16,
    "mfu": measure_utilisation,
    "memory_per_client_bytes": measure_memory,
}


def bfloat16_instructions() -> list[str]:
    """The processor's instructions for bfloat16, by name."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.exists() else set()
    return sorted(words & {"avx512_bf16", "amx_bf16", "bf16", "svebf16"})


def environment(device: torch.device) -> dict[str, object]:
    """Where the figures were taken."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            command = ["git", "-C", str(here), *words]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return None

    commit, changes = git("rev-parse", "--short", "HEAD"), git("status", "--porcelain")
    return {
        "commit": commit and commit.strip(),
        "clean": None if changes is None else not changes,
        "machine": platform.machine(),
        "system": platform.system(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "bfloat16_instructions": bfloat16_instructions(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "peft", "numpy")},
    }


def tidy(value: Any) -> Any:
    """Round floats to four significant digits, however deep they lie."""
    if isinstance(value, Mapping):
        return {str(key): tidy(inner) for key, inner in value.items()}
    if isinstance(value, float) and value:
        return round(value, 3 - floor(log10(abs(value))))
    return value


def summary(figures: Sequence[Figure], about: Mapping[str, object]) -> dict[str, Any]:
    """The JSON object: under each key the worst value that has a bar, all under ``detail``."""
    result: dict[str, Any] = {}
    passed: dict[str, bool | None] = {}
    detail: dict[str, dict[str, Any]] = {}
    for key in dict.fromkeys(figure.key for figure in figures):
        own = [figure for figure in figures if figure.key == key]
        judged = [figure for figure in own if figure.passed is not None] or own[:1]
        worst = min if judged[0].at_least is not None else max
        result[key] = worst(figure.value for figure in judged)
        verdicts = [figure.passed for figure in judged]
        passed[key] = None if None in verdicts else all(verdicts)
        detail[key] = {
            figure.setting: {
                "value": figure.value,
                "at_most": figure.at_most,
                "at_least": figure.at_least,
                "passed": figure.passed,
                **figure.facts,
            }
            for figure in own
        }
    return {**tidy(result), "passed": passed, "detail": tidy(detail), "environment": dict(about)}


def table(figures: Sequence[Figure], about: Mapping[str, object]) -> str:
    """The same for a reader."""
    lines = [", ".join(f"{key} {value}" for key, value in about.items()), ""]
    for key in dict.fromkeys(figure.key for figure in figures):
        lines.append(key)
        for figure in figures:
            if figure.key == key:
                bar = "no bar"
                if figure.passed is not None:
                    least = figure.at_most is None
                    limit = figure.at_least if least else figure.at_most
                    word = "pass" if figure.passed else "MISS"
                    bar = f"{word}, at {'least' if least else 'most'} {limit:,.4g}"
                lines.append(f"  {figure.value:>12,.4g}  {bar:<26}  {figure.setting}")
    return "\n".join(lines)


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
