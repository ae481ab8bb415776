"""What privacy costs beside the same training without it: time, memory, noise and accounting.

    python benchmarks/dp_overhead.py            a table
    python benchmarks/dp_overhead.py --json     one JSON object on one line

Time is that of whole rounds of ``sottovoce.train.train`` that take turns in one process, after one
that does not count. The private round has every sequence as a unit and reads all of them in every
step (q = 1), so it reads the tokens of the clear one; sampling, clipping, the integer sum,
cryptographic noise and the optimizer are all in it. The clear round bounds its gradient's norm.

Three readings of memory, all from fresh processes:

- ``memory_ratio``, which has the bar: what a step needs. The bytes of the frozen weights, and the
  most that is held during a round beyond what was held before it.
- ``memory_ratio_beyond_weights``: the same without the weights, as `engine.py` reports it. The
  strictest of the three; no base model is large enough to hide anything in.
- ``memory_ratio_of_process``: the most that the process holds, with Python and the libraries. What
  a machine must have. On a small model it hides most, so no bar stands on it.

Opacus trains the same shape through `peft` and is held against the plain `peft` loop; its noise is
that of torch's own generator, as is its default. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from dp_arms import ARMS, NOISE, PEFT, adaptive, clear, opacus_ghost, opacus_hooks, private
from engine import BUNDLED, SMALL, TOY
from engine_arms import Arm, Setting, Shape, build_vendor
from measuring import Figure, environment, over, peak_of, resident, summary, table, take_turns

from sottovoce.privacy import accounting, discrete_gaussian, gaussian
from sottovoce.privacy.plan import PrivacyPlan, make_plan
from sottovoce.privacy.settings import PrivacySettings
from sottovoce.rng import secret_source


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Args:
        barred: the setting that has the bars.
        wider: further settings, without a bar.
        draws: how many entries get noise.
        noise_std: its standard deviation in grid steps.
        units: how many there are in the accounted run.
        sampling_probability: with which each is in a release.
        releases: how many the accounted run makes.
        epsilon: the target of a calibration.
    """

    barred: Setting
    wider: tuple[Setting, ...]
    draws: int = 10_000_000
    noise_std: float = 2.0**36
    units: int = 1000
    sampling_probability: float = 0.05
    releases: int = 1000
    epsilon: float = 8.0


# The bundled model is the harder case: its adapter is large beside the arithmetic of a step.
FULL = Plan(
    barred=Setting(BUNDLED, clients=1, batch=16, length=128),
    wider=(Setting(SMALL, clients=1, batch=16, length=128),),
)
# For trying the script out.
REHEARSAL = Plan(
    barred=Setting(TOY, clients=1, batch=3, length=8, steps=2, rank=4),
    wider=(Setting(TOY, clients=1, batch=4, length=8, steps=2, rank=4),),
    draws=10_000,
    releases=10,
)


@dataclass(frozen=True)
class Bench:
    """How to measure: the plan, where, and how often."""

    plan: Plan
    device: torch.device
    repeats: int
    processes: int

    @property
    def settings(self) -> dict[Setting, bool]:
        """Every setting, and whether it has the bars."""
        return {self.plan.barred: True, **dict.fromkeys(self.plan.wider, False)}

    def turns(self, setting: Setting, *arms: Arm) -> dict[str, list[float]]:
        """Seconds of each arm in this setting, by its name."""
        runs = {arm.__name__: arm(setting, self.device) for arm in arms}
        return take_turns(runs, self.device, self.repeats)


def measure_time(bench: Bench, key: str) -> list[Figure]:
    """A private round over the clear one, with a fixed and with an adaptive clip norm."""
    figures = []
    for setting, barred in bench.settings.items():
        seconds = bench.turns(setting, clear, private, adaptive)
        ratio, facts = over(seconds, "private", "clear")
        facts = {**facts, "steps": setting.steps}
        figures.append(Figure(key, setting.name, ratio, 1.05 if barred else None, facts=facts))
        ratio, facts = over(seconds, "adaptive", "clear")
        figures.append(Figure(key, f"{setting.name}, adaptive clip norm", ratio, facts=facts))
    return figures


@dataclass(frozen=True)
class Peak:
    """The most bytes that one round of an arm held.

    Args:
        beyond: beyond what was held before it.
        process: of the whole process.
    """

    beyond: int
    process: int


def measure_memory(bench: Bench, key: str) -> list[Figure]:
    """A private round's peak over the clear one's; the module's docstring says of what."""
    figures = []
    for setting, barred in bench.settings.items():
        peaks = {arm.__name__: peak(arm, setting, bench) for arm in (clear, private)}
        weights = weight_bytes(setting)
        most: dict[str, dict[str, int]] = {
            key: {name: weights + found.beyond for name, found in peaks.items()},
            f"{key}_beyond_weights": {name: found.beyond for name, found in peaks.items()},
            f"{key}_of_process": {name: found.process for name, found in peaks.items()},
        }
        figures += [
            Figure(
                name,
                setting.name,
                by_arm["private"] / by_arm["clear"],
                1.10 if barred and name == key else None,
                facts={**{f"{arm}_bytes": held for arm, held in by_arm.items()}, **facts},
            )
            for name, by_arm in most.items()
            for facts in [{"weight_bytes": weights, "processes": bench.processes}]
        ]
    return figures


def weight_bytes(setting: Setting) -> int:
    """The bytes of the frozen weights, which both arms hold."""
    model = build_vendor(setting, torch.device("cpu"))
    return sum(int(weight.nbytes) for weight in model.parameters())


@cache
def peak(arm: Arm, setting: Setting, bench: Bench) -> Peak:
    """The median peaks of an arm over fresh processes."""
    threads, device = torch.get_num_threads(), str(bench.device)
    task = json.dumps([arm.__name__, asdict(setting), device, threads])
    command = [sys.executable, str(Path(__file__).resolve()), "--peak", task]
    found = [
        Peak(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
        for _ in range(bench.processes)
    ]
    return Peak(
        int(statistics.median(one.beyond for one in found)),
        int(statistics.median(one.process for one in found)),
    )


def peak_of_task(task: str) -> Peak:
    """The other end of ``peak``, inside the fresh process."""
    arm, fields, name, threads = json.loads(task)
    torch.set_num_threads(threads)
    device = torch.device(name)
    setting = Setting(**{**fields, "shape": Shape(**fields["shape"])})
    beyond = peak_of(ARMS[arm](setting, device), device)
    if device.type == "cuda":
        return Peak(beyond, int(torch.cuda.max_memory_allocated(device)))
    return Peak(beyond, resident()[1])


def measure_opacus(bench: Bench, key: str) -> list[Figure]:
    """A private step of Opacus over the plain `peft` step, in time and in memory; no bar is ours."""
    arm = {"opacus_hooks_ratio": opacus_hooks, "opacus_ghost_ratio": opacus_ghost}[key]
    figures = []
    for setting in bench.settings:
        ratio, facts = over(bench.turns(setting, PEFT, arm), arm.__name__, PEFT.__name__)
        weights = weight_bytes(setting)
        held = [weights + peak(each, setting, bench).beyond for each in (arm, PEFT)]
        facts = {**facts, "memory_ratio": held[0] / held[1], "noise_multiplier": NOISE}
        figures.append(Figure(key, setting.name, ratio, facts=facts))
    return figures


def measure_noise(bench: Bench, key: str) -> list[Figure]:
    """Cryptographic discrete Gaussian noise on a vector, by one thread; NumPy's beside it."""
    count, std = bench.plan.draws, bench.plan.noise_std
    total, source, plain = np.zeros(count, np.int64), secret_source(), np.random.default_rng()
    runs: dict[str, Callable[[], object]] = {
        "add_noise": lambda: gaussian.add_noise(total, std, source),
        "sample": lambda: discrete_gaussian.sample(std, count, source),
        "words": lambda: source.words(2 * count),
        "numpy_normal": lambda: plain.standard_normal(count),
    }
    seconds = take_turns(runs, torch.device("cpu"), 5)
    middle = {name: statistics.median(own) for name, own in seconds.items()}
    facts = {f"{name}_seconds": value for name, value in middle.items()}
    facts |= {"lowest": min(seconds["add_noise"]), "highest": max(seconds["add_noise"])}
    return [
        Figure(
            key,
            f"{count:,} entries, std 2^{np.log2(std):g}",
            middle["add_noise"],
            0.5,
            facts={**facts, "repeats": len(seconds["add_noise"])},
        )
    ]


def measure_accounting(bench: Bench, key: str) -> list[Figure]:
    """ε after many rounds by both accountants, and the noise for a target ε; nothing remembered."""
    plan = bench.plan
    fixed = accounted(plan, noise_multiplier=1.0)

    def anew(run: Callable[[], object]) -> Callable[[], object]:
        def forget_and_run() -> object:
            forget()
            return run()

        return forget_and_run

    runs = {
        "epsilon": anew(fixed.epsilon),
        "calibration": anew(lambda: accounted(plan, epsilon=plan.epsilon)),
    }
    imported = import_seconds()
    fixed.epsilon()  # Imports dp_accounting, which is told apart.
    seconds = take_turns(runs, torch.device("cpu"), bench.repeats)
    found = fixed.epsilon()
    name = f"{plan.releases} releases, q = {plan.sampling_probability:g}"
    facts = {
        "epsilon": found.epsilon,
        "epsilon_rdp": found.epsilon_rdp,
        "accountant": found.accountant,
        "import_seconds": imported,
        "repeats": bench.repeats,
    }
    asked = accounted(plan, epsilon=plan.epsilon)
    middle = {arm: statistics.median(own) for arm, own in seconds.items()}
    calibrated = {"noise_multiplier": asked.noise_multiplier, "repeats": bench.repeats}
    return [
        Figure(key, f"{name}, z = 1", middle["epsilon"], 2.0, facts=facts),
        Figure(
            "calibration_seconds",
            f"{name}, target {plan.epsilon:g}",
            middle["calibration"],
            facts=calibrated,
        ),
    ]


def accounted(plan: Plan, **noise: float) -> PrivacyPlan:
    """A plan of so many rounds over clients, with the noise or for the target ε."""
    settings = PrivacySettings(unit="client", delta=1e-5, clip_norm=1.0, **noise)
    return make_plan(
        settings,
        units=plan.units,
        expected_units=plan.sampling_probability * plan.units,
        releases=plan.releases,
    )


def forget() -> None:
    """Empty every cache of the accountant, so that nothing was computed before."""
    for name, value in vars(accounting).items():
        clear_cache = getattr(value, "cache_clear", None)
        if name.startswith("_") and clear_cache is not None:
            clear_cache()


def import_seconds() -> float:
    """How long a fresh process takes to import dp_accounting, NumPy being there."""
    code = (
        "import time, numpy; start = time.perf_counter(); import dp_accounting; "
        "from dp_accounting.pld import privacy_loss_distribution; "
        "print(time.perf_counter() - start)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    return float(done.stdout)


MEASURES: Mapping[str, Callable[[Bench, str], list[Figure]]] = {
    "time_ratio": measure_time,
    "memory_ratio": measure_memory,
    "opacus_hooks_ratio": measure_opacus,
    "opacus_ghost_ratio": measure_opacus,
    "noise_seconds_10m": measure_noise,
    "accounting_seconds_1000": measure_accounting,
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
        "--rehearsal",
        action="store_true",
        help="the same measurements on a toy, to see that they run; no bars are meant",
    )
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.peak:
        print(json.dumps(asdict(peak_of_task(options.peak))))
        return 0
    if options.threads:
        torch.set_num_threads(options.threads)
    plan = REHEARSAL if options.rehearsal else FULL
    bench = Bench(plan, torch.device(options.device), *((3, 1) if options.quick else (9, 3)))
    about = environment(bench.device)
    about |= {name: version(name) for name in ("opacus", "dp-accounting", "cryptography")}
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
