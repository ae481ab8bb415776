"""The benchmark of private training runs and keeps its promises on a toy; its figures mean nothing."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script, imported as when it is run: its own folder first on the path."""
    pytest.importorskip("peft", reason="the baselines need peft, which make venv installs")
    pytest.importorskip("opacus", reason="an outside judge, which make venv installs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import dp_overhead

        yield dp_overhead
        for name in ("dp_overhead", "dp_arms", "engine", "engine_arms", "measuring"):
            sys.modules.pop(name, None)


@pytest.fixture
def toy(bench: ModuleType) -> object:
    """One repeat of the rehearsal's barred setting."""
    return bench.Bench(replace(bench.REHEARSAL, wider=()), CPU, repeats=1, processes=1)


def change(result: list[tuple[object, object]]) -> np.ndarray:
    [(update, _)] = result
    return np.concatenate([value.ravel() for value in update.tensors.values()])


def test_json_is_one_object_on_the_last_line(
    bench: ModuleType,
    toy: object,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench, "Bench", lambda *_: toy)
    assert bench.main(["--rehearsal", "--quick", "--json", "--only", "time_ratio"]) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert len(lines) == 1
    barred = [e for e in result["detail"]["time_ratio"].values() if e["at_most"] == 1.05]
    assert [e["value"] for e in barred] == [result["time_ratio"]]
    assert {"opacus", "dp-accounting", "cryptography"} <= set(result["environment"])


def test_the_settings_are_those_of_the_claim(bench: ModuleType) -> None:
    assert {(s.clients, s.batch, s.length) for s in (bench.FULL.barred, *bench.FULL.wider)} == {
        (1, 16, 128)
    }
    assert (bench.FULL.draws, bench.FULL.noise_std) == (10_000_000, 2.0**36)
    assert (bench.FULL.releases, bench.FULL.sampling_probability) == (1000, 0.05)


def test_noise_and_accounting_have_their_bars(bench: ModuleType, toy: object) -> None:
    [noise] = bench.measure_noise(toy, "noise_seconds_10m")
    assert (noise.at_most, noise.facts["repeats"]) == (0.5, 5)
    assert noise.facts["sample_seconds"] > 0 < noise.value
    # A sample of everyone is accounted in closed form, in no time.
    everyone = replace(toy, plan=replace(toy.plan, sampling_probability=1.0))
    spent, calibrated = bench.measure_accounting(everyone, "accounting_seconds_1000")
    assert (spent.at_most, calibrated.at_most) == (2.0, None)
    assert 0 < spent.facts["epsilon"] <= spent.facts["epsilon_rdp"]
    assert calibrated.facts["noise_multiplier"] > 0


def test_nothing_is_remembered_between_two_accounts(bench: ModuleType) -> None:
    from sottovoce.privacy import accounting

    bench.accounted(
        replace(bench.REHEARSAL, sampling_probability=1.0), noise_multiplier=2.0
    ).epsilon()
    assert accounting._epsilon.cache_info().currsize > 0
    bench.forget()
    assert accounting._epsilon.cache_info().currsize == 0


def test_private_and_clear_rounds_read_the_same_tokens(bench: ModuleType, toy: object) -> None:
    import dp_arms

    setting = replace(toy.plan.barred, steps=1)
    [(clear, _)] = dp_arms.clear(setting, CPU)()
    for arm in (dp_arms.private, dp_arms.adaptive):
        [(private, _)] = arm(setting, CPU)()
        assert (private.steps, private.tokens) == (clear.steps, clear.tokens) == (1, setting.tokens)
        # Before its first step every round has the same weights, so the same loss.
        assert private.loss == pytest.approx(clear.loss, rel=1e-6)


def test_only_private_rounds_are_noised_and_all_of_them_train(
    bench: ModuleType, toy: object
) -> None:
    import dp_arms

    setting = toy.plan.barred
    for arm, noised in ((dp_arms.clear, False), (dp_arms.private, True), (dp_arms.adaptive, True)):
        run = arm(setting, CPU)
        first, second = change(run()), change(run())
        assert np.isfinite(first).all()
        assert np.abs(first).max() > 1e-3
        assert (np.abs(first - second).max() > 1e-3) is np.bool_(noised)


@pytest.mark.parametrize("bound", [1e3, 1e-2])
def test_opacus_without_noise_agrees_with_itself_and_with_peft(
    bench: ModuleType, toy: object, monkeypatch: pytest.MonkeyPatch, bound: float
) -> None:
    """Both ways of clipping end alike; where nothing is clipped, where plain `peft` ends."""
    import dp_arms
    import engine_arms

    built = []

    def build_peft(*arguments: object) -> tuple[object, list[torch.Tensor]]:
        built.append(build(*arguments))
        return built[-1]

    build = engine_arms.build_peft
    for module in (dp_arms, engine_arms):
        monkeypatch.setattr(module, "build_peft", build_peft)
        monkeypatch.setattr(module, "BOUND", bound)
    monkeypatch.setattr(dp_arms, "NOISE", 0.0)
    ends = []
    # AdamW's first step is nearly the gradient's signs; the second tells more.
    for arm in (dp_arms.PEFT, dp_arms.opacus_hooks, dp_arms.opacus_ghost):
        run = arm(replace(toy.plan.barred, steps=2), CPU)
        before = [weight.detach().clone() for weight in built[-1][1]]
        run()
        pairs = zip(built[-1][1], before, strict=True)
        ends.append(torch.cat([(weight.detach() - old).ravel() for weight, old in pairs]))
    plain, hooks, ghost = ends
    assert hooks.abs().max() > 1e-3
    torch.testing.assert_close(hooks, ghost, rtol=0, atol=1e-4)
    if bound > 1:
        torch.testing.assert_close(hooks, plain, rtol=0, atol=1e-4)
    else:
        assert (hooks - plain).abs().max() > 1e-3


def test_opacus_adds_noise(bench: ModuleType, toy: object, monkeypatch: pytest.MonkeyPatch) -> None:
    import dp_arms

    drawn = []
    normal = torch.normal

    def count(*arguments: object, **named: object) -> torch.Tensor:
        drawn.append(math.prod(named["size"]))
        return normal(*arguments, **named)

    for arm in (dp_arms.opacus_hooks, dp_arms.opacus_ghost):
        run = arm(toy.plan.barred, CPU)
        drawn.clear()
        with monkeypatch.context() as patch:
            patch.setattr(torch, "normal", count)
            run()
        size = dp_arms.build_ours(toy.plan.barred, CPU).layout.size
        assert sum(drawn) == toy.plan.barred.steps * size


def test_memory_is_told_in_three_readings(
    bench: ModuleType, toy: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = {"clear": bench.Peak(1000, 10_000), "private": bench.Peak(1100, 10_100)}
    monkeypatch.setattr(bench, "peak", lambda arm, setting, bench: peaks[arm.__name__])
    monkeypatch.setattr(bench, "weight_bytes", lambda setting: 1000)
    figures = {figure.key: figure for figure in bench.measure_memory(toy, "memory_ratio")}
    assert [figure.value for figure in figures.values()] == [1.05, 1.1, 1.01]
    assert [figure.at_most for figure in figures.values()] == [1.10, None, None]


@pytest.mark.slow
def test_memory_is_measured_in_a_fresh_process(bench: ModuleType, toy: object) -> None:
    import dp_arms

    found = bench.peak(dp_arms.private, toy.plan.barred, toy)
    assert 0 < found.beyond < found.process


@pytest.mark.slow
def test_importing_it_imports_no_dp_accounting_and_no_opacus() -> None:
    """Otherwise their memory and time would count for arms that don't use them."""
    code = (
        "import sys; import dp_overhead; "
        "print([name for name in ('opacus', 'dp_accounting', 'peft') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, cwd=FOLDER, stdout=subprocess.PIPE, text=True)
    assert done.stdout.strip() == "[]"


def test_its_files_name_no_judge_before_they_need_it() -> None:
    """The same at once, for what these files say themselves; tests of the package say the rest."""
    for name in ("dp_overhead", "dp_arms", "engine", "engine_arms", "measuring"):
        tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
        named = {
            alias.name.partition(".")[0]
            for node in tree.body
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").partition(".")[0]
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
        }
        assert not named & {"opacus", "dp_accounting", "peft"}, name
