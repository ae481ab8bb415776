"""Whole private runs: every unit with every algorithm, and what may be found on the disk after it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_faults import Killed
from test_spending import at, build_world, charged, kill_in_round, payloads

from sottovoce.errors import ConfigError
from sottovoce.privacy import gaussian
from sottovoce.privacy.guard import Guard
from sottovoce.run import contribute, local, play
from sottovoce.run.arms import Watch
from sottovoce.run.check import check_run
from sottovoce.run.compare import compare
from sottovoce.run.folder import read_tensors
from sottovoce.run.local import federate
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import claim, facts
from sottovoce.run.rehearsal import rehearse
from sottovoce.run.rounds import model_tensors
from sottovoce.strategies import ServerState
from sottovoce.update import Update

MANY = tuple(f"client {place:02d}" for place in range(12))
PRIVATE = "*v_proj*"

STRATEGIES: dict[str, tuple[object, dict[str, Any]]] = {
    "fedavg": ("fedavg", {}),
    "fedprox": ("fedprox", {}),
    "fedsgd": ("fedsgd", {}),
    "server_damping": ("server_damping", {}),
    "scaffold": ("scaffold", {"optimizer": "sgd"}),
    "fednova": ("fednova", {"optimizer": "sgd"}),
    "ffa": ("ffa", {}),
    "rolora": ("rolora", {}),
    "fedsa": ("fedsa", {}),
    "fedsvd": ("fedsvd", {}),
    "fedper": ({"name": "fedper", "private": [PRIVATE]}, {}),
    "flora": ("flora", {}),
    "fedex": ("fedex", {}),
}
READ_ONE_BY_ONE = ("flora", "fedex")


@pytest.fixture(scope="module")
def world(attach: Any, make_client: Any) -> Prepared:
    return build_world(attach, make_client)


@pytest.fixture(scope="module")
def dozen(attach: Any, make_client: Any) -> Prepared:
    return build_world(attach, make_client, MANY)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loses its power here, so nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def strategy_of(name: str) -> dict[str, Any]:
    """The sections that choose an algorithm."""
    strategy, train = STRATEGIES[name]
    tree: dict[str, Any] = {"federation": {"strategy": strategy, "rounds": 1}, "train": dict(train)}
    if name == "fedsgd":
        # ``at`` names a batch size and a number of steps, which this algorithm fixes.
        tree["train"] |= {"batch_size": 2**31 - 1, "max_gradient_norm": "off", "optimizer": "sgd"}
    return tree


def entries(tensors: Sequence[Any]) -> int:
    return sum(int(np.size(value)) for value in tensors)


# Every unit with every algorithm


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - set(READ_ONE_BY_ONE)))
def test_whole_clients_are_hidden_by_every_algorithm_that_needs_sums(
    world: Prepared, tmp_path: Path, name: str
) -> None:
    _run_once(world, tmp_path, "client", name)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_owners_are_hidden_by_every_algorithm(world: Prepared, tmp_path: Path, name: str) -> None:
    _run_once(world, tmp_path, "owner", name)


@pytest.mark.parametrize("name", READ_ONE_BY_ONE)
def test_what_reads_clients_one_by_one_cannot_hide_them(
    world: Prepared, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match=f"{name} reads every client's update by itself"):
        at(world, tmp_path / "run", "client", **strategy_of(name))


def _run_once(world: Prepared, folder: Path, unit: str, name: str) -> None:
    run = at(world, folder / "run", unit, **strategy_of(name))
    outcome = federate(run, wire=folder / "wire")
    assert outcome.rounds == 1
    assert np.isfinite(outcome.weights).all()
    assert check_run(folder / "run").complete
    algorithm = run.config.federation.strategy.algorithm
    before, after = (read_tensors(outcome.folder.weights(index)) for index in (0, 1))
    sent = {
        tensor: value
        for tensor, value in before.items()
        if "residual" not in tensor
        and algorithm.trains(tensor, 0)
        and not algorithm.private(tensor)
    }
    uploads = [read_tensors(path) for path in sorted((folder / "wire/round-00001").iterdir())]
    assert len(uploads) == len(world.parties)
    for upload in uploads:
        assert {t for t in upload if t in before} == set(sent)
        assert entries(upload.values()) * 8 == outcome.bytes_up_per_client
    for tensor, value in before.items():
        if tensor not in sent and name not in ("fedsvd", *READ_ONE_BY_ONE):
            np.testing.assert_array_equal(after[tensor], value)
    if name not in ("fednova", "fedsvd", *READ_ONE_BY_ONE):
        # Noise reaches every entry, also those whose gradient is exactly zero before it.
        for tensor, value in sent.items():
            assert (after[tensor] != value).all(), tensor
    told = facts(run.plans, outcome.spent)
    assert told["unit"] == unit
    assert told["epsilon"] == pytest.approx(next(iter(run.plans.plans.values())).epsilon(1).epsilon)
    assert charged(folder / "run") == (1 if unit == "client" else 3)


@pytest.mark.parametrize("unit", ["client", "owner", "example"])
def test_a_target_is_kept_and_told_with_all_that_belongs_to_it(
    world: Prepared, tmp_path: Path, unit: str
) -> None:
    run = at(world, tmp_path / "run", unit, epsilon=8.0, train={"batch_size": 6})
    lines = claim(run.plans)
    outcome = federate(run)
    told = facts(run.plans, outcome.spent)
    assert 7.9 < told["epsilon"] <= 8.0
    assert told["delta"] == 1e-3
    assert told["accountant"]
    assert told["noise_multiplier"] > 0
    assert told["noise_std"] == pytest.approx(told["noise_multiplier"], rel=1e-3)
    assert told["statement"] == lines, "what was announced is what was done"
    assert any("adding or removing" in line for line in lines)
    whole = any("All 3 clients take part in all 2 rounds" in line for line in lines)
    assert whole == (unit == "client")


@pytest.mark.parametrize("unit", ["client", "owner"])
def test_the_noise_has_the_size_that_is_told(dozen: Prepared, tmp_path: Path, unit: str) -> None:
    """Where nothing is learnt, a round moves the model by the noise over the expected number."""
    train = {"optimizer": "sgd", "learning_rate": 1e-7 if unit == "client" else 1.0}
    train |= {"batch_size": 6, "schedule": "constant"}
    once = {"rounds": 1}
    run = at(dozen, tmp_path / "run", unit, noise_multiplier=50.0, federation=once, train=train)
    outcome = federate(run)
    # A sum over 12 clients; or the mean of 12 clients' sums over 3 owners each.
    expected = 50.0 / 12 if unit == "client" else 50.0 / 3 / np.sqrt(12)
    moved = outcome.weights - run.model.initial(run.config.seed)
    assert 0.7 < np.std(moved) / expected < 1.3


def test_a_rehearsal_plays_the_same_rounds(world: Prepared, tmp_path: Path) -> None:
    for unit in ("client", "owner", "example"):
        run = at(
            world,
            tmp_path / unit,
            unit,
            generator="seeded_for_tests",
            clip_norm={"initial": 0.5, "count_noise_std": 3.0},
        )
        outcome = federate(run)
        ended = rehearse(run, Watch())
        for name, value in read_tensors(outcome.folder.weights(2)).items():
            np.testing.assert_array_equal(ended.server.weights[name], value)


def test_the_sample_is_as_large_as_the_plan_expects(dozen: Prepared, tmp_path: Path) -> None:
    """Poisson sampling replaces the draw of a cohort; it does not come after it."""
    federation = {"rounds": 40, "clients_per_round": 6}
    run = at(dozen, tmp_path / "run", federation=federation, generator="seeded_for_tests")
    sizes = []
    rehearse(run, Watch(), on_round=lambda _, played: sizes.append(len(played.record.clients)))
    assert run.plans.plans[""].expected_units == 6
    assert 5.0 < np.mean(sizes) < 7.0
    assert np.std(sizes) > 0.5


@pytest.mark.parametrize("unit", ["client", "owner"])
def test_an_adaptive_norm_survives_rounds_and_kills(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    seen: list[float] = []
    real = gaussian.grid_step
    monkeypatch.setattr(
        gaussian, "grid_step", lambda norm, size: seen.append(norm) or real(norm, size)
    )
    changes: dict[str, Any] = {
        "federation": {"rounds": 3},
        "clip_norm": {"initial": 0.5, "learning_rate": 1.0, "count_noise_std": 3.0},
        "generator": "seeded_for_tests",
    }
    federate(at(world, tmp_path / "whole", unit, **changes))
    whole = {round(norm, 6) for norm in seen}
    assert len(whole) >= 3, "the norm moves"
    seen.clear()
    run = at(world, tmp_path / "killed", unit, **changes)
    kill_in_round(run, 1)
    kill_in_round(run, 2)
    federate(run, resume=True)
    assert {round(norm, 6) for norm in seen} == whole


@pytest.mark.parametrize(("initial", "grows"), [(1e-4, True), (1e3, False)])
@pytest.mark.parametrize("unit", ["client", "owner"])
def test_an_adaptive_norm_follows_the_norms_before_clipping(
    world: Prepared, tmp_path: Path, unit: str, initial: float, grows: bool
) -> None:
    run = at(
        world,
        tmp_path / "run",
        unit,
        train={"batch_size": 6, "steps_per_round": 3},
        clip_norm={"initial": initial, "learning_rate": 1.0, "count_noise_std": 0.6},
        generator="seeded_for_tests",
    )
    server = rehearse(run, Watch())
    kept = server.server.moments if unit == "client" else server.clients["ben"].own
    assert (float(kept["privacy"]["clip_norm"][0]) > initial) == grows


# What is on the disk


def every_byte(*folders: Path) -> dict[str, bytes]:
    """All files of these folders and of what lies beside them."""
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def holding(files: dict[str, bytes], needles: Sequence[bytes]) -> list[str]:
    return [name for name, data in files.items() if any(needle in data for needle in needles)]


@pytest.mark.parametrize("unit", ["client", "owner", "example"])
def test_no_key_no_noise_and_nothing_without_noise_is_written(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    keys: list[bytes] = []
    sums: list[bytes] = []
    clients: list[bytes] = []
    real_bytes, real_noise, real_add = secrets.token_bytes, gaussian.add_noise, Guard.add

    def token_bytes(count: int | None = None) -> bytes:
        made = real_bytes(count)
        if count == 32:
            keys.append(made)
        return made

    def forms(values: Any) -> list[bytes]:
        """A vector as anything here would write it: a tensor of it is enough to be found."""
        wide = np.asarray(values, np.float64)
        middle = wide[4:20]
        whole = np.rint(middle * 2.0**32).astype("<i8")
        return [middle.astype("<f4").tobytes(), middle.astype("<f8").tobytes(), whole.tobytes()]

    def add_noise(total: Any, std: float, source: Any) -> Any:
        noisy = real_noise(total, std, source)
        for steps in (total, noisy - total):
            sums.append(np.asarray(steps[4:20], "<i8").tobytes())
            sums.extend(forms(steps))
        return noisy

    def add(self: Guard, gradients: Any, losses: Any) -> None:
        for row in gradients.numpy():
            if np.count_nonzero(row[4:20]) > 8:
                sums.extend(forms(row))
        real_add(self, gradients, losses)

    real_step = play.private_round_step

    def step(algorithm: Any, state: Any, updates: Sequence[Update], *more: Any) -> Any:
        for update in updates:
            for value in update.tensors.values():
                if np.count_nonzero(value.ravel()[4:20]) > 8:
                    clients.append(np.asarray(value.ravel()[4:20], "<f4").tobytes())
        return real_step(algorithm, state, updates, *more)

    monkeypatch.setattr(play, "private_round_step", step)
    monkeypatch.setattr(secrets, "token_bytes", token_bytes)
    monkeypatch.setattr(gaussian, "add_noise", add_noise)
    monkeypatch.setattr(Guard, "add", add)
    train = {"optimizer_state": "keep", "batch_size": 6}
    run = at(world, tmp_path / "runs" / "run", unit, train=train)
    federate(run, wire=tmp_path / "wire")
    assert len(keys) >= (2 if unit == "client" else 6)
    found = every_byte(tmp_path)
    assert len(found) > 8
    told = [form for key in keys for form in (key, key.hex().encode(), key[::-1])]
    assert holding(found, told) == []
    assert holding(found, [form for form in sums if any(form)]) == []
    assert bool(clients) == (unit == "client")
    assert holding(every_byte(tmp_path / "runs"), clients) == []


def test_uploads_of_clients_are_clipped_on_the_wire(world: Prepared, tmp_path: Path) -> None:
    """``--wire`` holds what the server received; a client bounds its update before it leaves."""
    run = at(world, tmp_path / "run", clip_norm=0.01, train={"learning_rate": 0.5})
    federate(run, wire=tmp_path / "wire")
    for path in (tmp_path / "wire").rglob("*.safetensors"):
        whole = np.concatenate([value.ravel() for value in read_tensors(path).values()])
        assert np.linalg.norm(whole / 2.0**32) <= 0.01 * (1 + 1e-5)


def test_the_wire_holds_one_sample_of_each_round(dozen: Prepared, tmp_path: Path) -> None:
    federation = {"rounds": 2, "clients_per_round": 6}
    run = at(dozen, tmp_path / "run", federation=federation)
    for _ in range(6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local, "model_tensors", killed_after_the_wire)
            with pytest.raises(Killed):
                federate(run, resume=True, wire=tmp_path / "wire")
    federate(run, resume=True, wire=tmp_path / "wire")
    for row in payloads(tmp_path / "run", "round"):
        files = list((tmp_path / "wire" / f"round-{row['round'] + 1:05d}").glob("*"))
        assert len(files) == len(row["clients"])


def killed_after_the_wire(state: ServerState) -> Any:
    """In the place of what names the model's tensors: the wire is written, the round is not."""
    if state.round:
        raise Killed
    return model_tensors(state)


@pytest.mark.parametrize("unit", ["owner", "example"])
def test_no_exact_scalar_of_what_was_trained_on_is_recorded(
    world: Prepared, tmp_path: Path, unit: str
) -> None:
    """Counts and losses of a Poisson sample would tell who is in it."""
    run = at(
        world, tmp_path / "run", unit, train={"epochs_per_round": 1.0, "steps_per_round": None}
    )
    outcome = federate(run)
    for row in payloads(tmp_path / "run", "round"):
        assert row["loss"] is None
        assert row["examples"] == row["tokens"] == []
    assert payloads(tmp_path / "run", "start")[0]["examples"] == []
    assert outcome.tokens == 0
    assert {row["tokens"] for row in metrics(tmp_path / "run")} == {None}


def test_no_exact_count_of_the_drawn_clients_is_recorded(world: Prepared, tmp_path: Path) -> None:
    outcome = federate(at(world, tmp_path / "run"))
    assert outcome.tokens == 0
    assert {row["tokens"] for row in metrics(tmp_path / "run")} == {None}


def test_metrics_of_a_resumed_run_go_on_where_they_were(world: Prepared, tmp_path: Path) -> None:
    changes = {"generator": "seeded_for_tests"}
    federate(at(world, tmp_path / "whole", **changes))
    run = at(world, tmp_path / "killed", **changes)
    kill_in_round(run, 1)
    federate(run, resume=True)
    tokens = [[row["tokens"] for row in metrics(tmp_path / name)] for name in ("whole", "killed")]
    assert tokens[0] == tokens[1]


def metrics(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]


# One client that breaks


def test_a_client_that_is_not_finite_counts_as_zero(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a client's training blows up depends on its text, so nobody may see it."""
    real = contribute.training.train

    def spoil(model: Any, clients: Any, received: Any, *more: Any, **named: Any) -> Any:
        received = dict(received)
        received["ben"] = np.full_like(received["ben"], np.nan)
        return real(model, clients, received, *more, **named)

    monkeypatch.setattr(contribute.training, "train", spoil)
    run = at(world, tmp_path / "run")
    outcome = federate(run)
    assert np.isfinite(outcome.weights).all()
    assert outcome.zeroed == 2, "once a round"
    assert all(
        row["clients"] == ["ada", "ben", "cyd"] for row in payloads(tmp_path / "run", "round")
    )


@pytest.mark.parametrize("unit", ["owner", "example"])
def test_a_unit_that_is_not_finite_is_counted_and_spoils_nothing(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    real = type(world.model).gradients

    def spoil(self: Any, weights: Any, batch: Any, out: Any) -> Any:
        sums = real(self, weights, batch, out)
        out[:, 0] = np.nan
        return sums

    monkeypatch.setattr(type(world.model), "gradients", spoil)
    outcome = federate(at(world, tmp_path / "run", unit))
    assert np.isfinite(outcome.weights).all()
    assert outcome.zeroed >= 2


def test_nothing_is_counted_where_everything_is_finite(world: Prepared, tmp_path: Path) -> None:
    for unit in ("client", "owner"):
        assert federate(at(world, tmp_path / unit, unit)).zeroed == 0


def test_a_spoilt_update_of_a_client_counts_as_zero(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client sends is bounded whatever it holds."""
    real = play.private_round_step

    def spoil(algorithm: Any, state: Any, updates: Sequence[Update], *more: Any) -> Any:
        bad = {name: np.full_like(value, np.inf) for name, value in updates[0].tensors.items()}
        return real(algorithm, state, [replace(updates[0], tensors=bad), *updates[1:]], *more)

    monkeypatch.setattr(play, "private_round_step", spoil)
    assert np.isfinite(federate(at(world, tmp_path / "run")).weights).all()


# Beside the federation


def test_a_comparison_beside_a_private_run_works(world: Prepared, tmp_path: Path) -> None:
    run = at(world, tmp_path / "run", "owner")
    done = compare(run, watch=Watch)
    assert all(value is not None for value in done.loss.values())
    assert done.outcome.spent == {"ada": 2, "ben": 2, "cyd": 2}


def test_what_a_run_claims_speaks_of_the_other_arms(world: Prepared, tmp_path: Path) -> None:
    lines = " ".join(claim(at(world, tmp_path / "run", "owner").plans))
    assert "--compare" in lines
