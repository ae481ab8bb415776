"""The benchmark runs and keeps its promises on a toy; its figures mean nothing here."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def engine() -> Iterator[ModuleType]:
    """The script, imported as when it is run: its own folder first on the path."""
    pytest.importorskip("peft", reason="the baselines need peft, which make venv installs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        import engine

        yield engine
        for name in ("engine", "engine_arms", "measuring"):
            sys.modules.pop(name, None)


@pytest.fixture
def toy(engine: ModuleType) -> ModuleType:
    """A bench that measures one repeat of a toy."""
    plan = engine.rehearsal(engine.ACCELERATOR)
    few = [replace(setting, clients=3) for setting in plan.rounds]
    return engine.Bench(replace(plan, rounds=tuple(few)), CPU, repeats=1, processes=1)


def test_json_is_one_object_on_the_last_line(
    engine: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "federated_over_centralised"
    assert engine.main(["--accelerator-rehearsal", "--quick", "--json", "--only", key]) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert len(lines) == 1
    assert result[key] == max(entry["value"] for entry in result["detail"][key].values()) > 0
    assert {"torch", "threads", "commit", "bfloat16_instructions"} <= set(result["environment"])


@pytest.mark.parametrize("key", ["sequential_peft_over_grouped", "bf16_speedup", "mfu"])
def test_every_timed_key_gives_a_positive_figure(
    engine: ModuleType, toy: ModuleType, key: str
) -> None:
    figures = engine.MEASURES[key](toy, key)
    assert figures[0].key == key
    assert all(figure.value >= 0 for figure in figures)
    assert figures[0].value > 0


def test_a_peak_is_that_of_one_run() -> None:
    """In a process of its own, since in one that has done other things memory may be there already."""
    code = """
import measuring, torch
held = []
print(measuring.peak_of(lambda: held.append(torch.ones(2**24)), torch.device("cpu")))
"""
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True)
    block = 4 * 2**24
    assert block * 0.9 <= int(told.stdout) <= block * 1.5


@pytest.mark.slow
def test_memory_is_measured_in_a_fresh_process(engine: ModuleType, toy: ModuleType) -> None:
    assert engine.peak_bytes("grouped", toy.plan.memory, toy) > 0


def test_all_arms_read_the_same_tokens(engine: ModuleType) -> None:
    import engine_arms

    setting = replace(engine.CPU.rounds[-1], shape=engine.TOY, length=8)
    tokens = engine_arms.draw_tokens(setting)
    clients = engine_arms.draw_clients(setting)
    for own, client in zip(tokens, clients, strict=True):
        for ids, example in zip(own.reshape(-1, setting.length), client.examples, strict=True):
            assert ids.tolist() == example.tokens.tolist()
            assert example.supervised.tolist() == [False] + [True] * (setting.length - 1)


def test_a_plain_step_is_a_step_of_the_engine(engine: ModuleType) -> None:
    import engine_arms

    setting = replace(engine.CPU.per_example, shape=engine.TOY, batch=3, length=8, steps=1)
    [(update, _)] = engine_arms.grouped(setting, CPU)()
    assert (update.steps, update.tokens) == (setting.steps, setting.tokens)
    change = torch.cat([torch.from_numpy(value).ravel() for value in update.tensors.values()])
    torch.testing.assert_close(change, engine_arms.plain(setting, CPU)(), rtol=0, atol=1e-5)
    assert change.abs().max() > 1e-3


@pytest.mark.parametrize("arm", ["per_example", "centralised", "sequential"])
def test_every_other_arm_trains(
    engine: ModuleType, toy: ModuleType, arm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An arm that moved no weight would be fast and mean nothing."""
    import engine_arms

    built = []

    def build_peft(*arguments: object) -> tuple[object, list[torch.Tensor]]:
        built.append(build(*arguments))
        return built[-1]

    build = engine_arms.build_peft
    monkeypatch.setattr(engine_arms, "build_peft", build_peft)
    setting = replace(engine.CPU.per_example, shape=engine.TOY, batch=2, length=8, steps=2)
    run = engine.ARMS[arm](setting, CPU)
    before = [weight.detach().clone() for _, weights in built for weight in weights]
    change = run()
    if arm == "per_example":
        assert change.isfinite().all()
        assert change.abs().max() > 1e-3
    else:
        after = [weight.detach() for _, weights in built for weight in weights]
        moved = [float((a - b).abs().max()) for a, b in zip(after, before, strict=True)]
        assert max(moved) > 1e-3
        assert all(map(math.isfinite, moved))


def test_weights_are_counted_without_the_embedding(engine: ModuleType) -> None:
    import engine_arms

    setting = replace(engine.CPU.per_example, shape=engine.TOY)
    model = engine_arms.build_vendor(setting, CPU)
    linear = [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert engine.TOY.linear_weights == sum(linear)


def test_the_worst_setting_stands_under_the_key(engine: ModuleType) -> None:
    from measuring import Figure, summary

    result = summary(
        [
            Figure("slow", "a", 0.9, at_most=1.0),
            Figure("slow", "b", 1.1, at_most=1.0),
            Figure("slow", "c", 9.0),
            Figure("gain", "a", 3.0, at_least=2.0),
            Figure("gain", "b", 1.6, at_least=1.5),
        ],
        {},
    )
    assert (result["slow"], result["gain"]) == (1.1, 1.6)
    assert result["passed"] == {"slow": False, "gain": True}
    assert set(result["detail"]["slow"]) == {"a", "b", "c"}
