"""How every benchmark measures and reports: runs that take turns, peaks of memory, bars, a table."""

from __future__ import annotations

import gc
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from math import floor, log10
from pathlib import Path
from typing import Any

import torch

Run = Callable[[], Any]


@dataclass(frozen=True)
class Figure:
    """One measured number, its bar where it has one, and what it was made from.

    Args:
        key: under which it stands in the JSON object.
        setting: under which it stands in the key's detail.
        value: the number.
        at_most: the bar that it must not pass.
        at_least: the bar that it must reach; a figure has one bar or none.
        facts: what it was made from.
    """

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


def take_turns(
    runs: Mapping[str, Run], device: torch.device, repeats: int
) -> dict[str, list[float]]:
    """Time all runs in turn, every other time backwards; the first time does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    gc.collect()
    # What is alive now outlives all runs; searching it again before each would take a while.
    gc.freeze()
    for repeat in range(repeats + 1):
        for name in list(runs)[:: 1 if repeat % 2 else -1]:
            taken = seconds_of(runs[name], device)
            if repeat:
                seconds[name].append(taken)
    gc.unfreeze()
    return seconds


def over(seconds: Mapping[str, Sequence[float]], above: str, below: str) -> tuple[float, Any]:
    """The ratio of two medians, and what it was made from."""
    pairs = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
    ratio = statistics.median(seconds[above]) / statistics.median(seconds[below])
    facts = {f"{name}_seconds": statistics.median(seconds[name]) for name in (above, below)}
    return ratio, {**facts, "lowest": min(pairs), "highest": max(pairs), "repeats": len(pairs)}


def matrix_rate(size: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second in the best of 10 products of ``size`` by ``size`` matrices."""
    # Numbers at random: an accelerator draws less power, and runs faster, on equal ones.
    left, right = torch.rand(2, size, size, device=device).to(dtype)
    out = torch.empty_like(left)
    seconds = []
    for _ in range(10):
        synchronise(device)
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


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


def peak_of(run: Run, device: torch.device) -> int:
    """Peak bytes of one run beyond what was held before it; on an accelerator, its own bytes.

    Only the first run in a process tells the truth: later ones reuse what an allocator kept.
    """
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
