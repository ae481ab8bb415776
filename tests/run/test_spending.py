"""The budget of one run: charged before anything is drawn, never understated, wherever it dies."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_faults import Disk, Killed, moments, watched

from sottovoce.config import make_config
from sottovoce.errors import ConfigError, RefusedError, SottovoceError
from sottovoce.model.base import LoraSettings, fingerprint, model_folder
from sottovoce.model.tokenizer import load_tokenizer
from sottovoce.privacy import gaussian
from sottovoce.privacy.plan import PrivacyPlan
from sottovoce.run import claims, identity, local, play
from sottovoce.run.check import check_run
from sottovoce.run.cohorts import Cohort, Part
from sottovoce.run.folder import RunFolder, read_tensors
from sottovoce.run.ledger import Ledger, verify
from sottovoce.run.local import federate
from sottovoce.run.prepare import Party, Prepared, sent_sizes
from sottovoce.run.protect import Plans, claim, facts, make_plans
from sottovoce.run.rounds import digest
from sottovoce.run.spending import Spending
from sottovoce.update import unflatten

NAMES = ("ada", "ben", "cyd")


def build_world(attach: Any, make_client: Any, names: tuple[str, ...] = NAMES) -> Prepared:
    """Clients with three owners each and a model so small that a round takes milliseconds."""
    lora = LoraSettings(rank=2, alpha=4, targets=("q_proj", "v_proj"))
    model = attach("llama", lora, hidden_size=16, intermediate_size=16, num_hidden_layers=1)
    parties = []
    for name in names:
        made = make_client(name, [5, 6, 5, 7, 5, 6]).examples
        train = [
            replace(example, owner=f"{name} {place // 2}", record=place)
            for place, example in enumerate(made)
        ]
        held_out = make_client(name, [6], seed=1).examples
        parties.append(Party(name, tuple(train), held_out, (None,)))
    tokenizer = load_tokenizer(model_folder("tiny"))
    return Prepared(None, tuple(parties), model, tokenizer, ())  # type: ignore[arg-type]


def at(world: Prepared, root: Path, unit: str = "client", **changes: Any) -> Prepared:
    """A private run in this folder; what is no section goes to ``[privacy]``."""
    tree: dict[str, Any] = {
        "run": {"dir": str(root), "threads": 1, "evaluate_clients": 1},
        "data": {"path": "marketplace"},
        "train": {"steps_per_round": 1, "batch_size": 3, "max_length": 48, "learning_rate": 0.05},
        "federation": {"rounds": 2},
        "privacy": {"unit": unit, "delta": 1e-3, "clip_norm": 1.0},
    }
    for key, value in changes.items():
        if key in ("seed", "secure"):
            tree[key] = value
        elif key in tree:
            tree[key].update(value)
        else:
            tree["privacy"][key] = value
    if not {"epsilon", "noise_multiplier"} & tree["privacy"].keys():
        tree["privacy"]["noise_multiplier"] = 1.0
    if unit == "none":
        tree["privacy"] = {"unit": "none"}
    config = make_config(tree, place="test")
    held = {party.name: party.train for party in world.parties}
    size = world.model.layout.size
    plans = make_plans(
        config,
        held,
        size,
        sent_sizes(config, unflatten(world.model.initial(0), world.model.layout)),
    )
    return replace(world, config=config, plans=plans)


def payloads(root: Path, kind: str) -> list[dict[str, Any]]:
    """What the records of one kind hold; an unfinished line is no record."""
    path = root / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [row["payload"] for row in rows if row["kind"] == kind]


def charged(root: Path) -> int:
    """Releases that the ledger of a run has charged, over all plans."""
    return sum(sum(row["releases"].values()) for row in payloads(root, "charge"))


def budget_rows(folder: Path) -> dict[str, list[list[Any]]]:
    """What the budget file beside the runs says of every run: a row for each client's text."""
    rows: dict[str, list[list[Any]]] = {}
    path = folder / "privacy-budget.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        if line.endswith(b"\n"):
            payload = json.loads(line)["payload"]
            if "rows" in payload:
                rows[payload["run"]] = payload["rows"]
            else:
                before = rows[payload["run"]]
                pairs = zip(before, payload["releases"], strict=True)
                rows[payload["run"]] = [[*row[:-1], count] for row, count in pairs]
    return rows


def reserved(folder: Path) -> int:
    """Releases that the budget file counts, over all runs and plans."""
    total = 0
    for rows in budget_rows(folder).values():
        # One plan protects all clients under the unit client.
        total += rows[0][-1] if rows[0][1] == "client" else sum(row[-1] for row in rows)
    return total


def stop_at(run: Prepared, place: int, patch: pytest.MonkeyPatch, fault: str = "kill") -> bool:
    """Run, or go on, and be killed at one thing done to the disk; whether that came at all."""
    try:
        with watched(Disk(Path(run.config.run.dir).parent, fault, place), patch):
            federate(run, resume=True)
    except Killed:
        return True
    return False


def kill_in_round(run: Prepared, wanted: int) -> None:
    """Run, or go on, and die between the charge of a round and the end of its first draw."""
    real = gaussian.add_noise

    def die(*arguments: Any) -> Any:
        if charges_of(Path(run.config.run.dir), wanted):
            real(*arguments)
            raise Killed
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "add_noise", die)
        with pytest.raises(Killed):
            federate(run, resume=True)


def charges_of(root: Path, index: int) -> int:
    """How often a round was charged."""
    return sum(row["round"] == index for row in payloads(root, "charge"))


@pytest.fixture(scope="module")
def world(attach: Any, make_client: Any) -> Prepared:
    return build_world(attach, make_client)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loses its power here, so nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


# Charged first


class Watcher:
    """Looks at the disk whenever noise is about to be drawn."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.draws = 0
        self.unsynced: set[int] = set()
        self._real = (gaussian.add_noise, os.write)
        patch.setattr(gaussian, "add_noise", self._drawn)
        patch.setattr(os, "write", self._written)
        patch.setattr(os, "fsync", self.unsynced.discard)

    def _written(self, descriptor: int, data: Any) -> int:
        self.unsynced.add(descriptor)
        return self._real[1](descriptor, data)

    def _drawn(self, *arguments: Any) -> Any:
        assert not self.unsynced, "something was written and is not yet on the disk"
        assert charged(self.root) > self.draws, "noise is drawn that nobody paid for"
        assert reserved(self.root.parent), "the budget of the data does not know of this run"
        self.draws += 1
        return self._real[0](*arguments)


@pytest.mark.parametrize("unit", ["client", "owner", "example"])
def test_every_release_is_paid_for_on_disk_before_it_is_drawn(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    # Everyone is in every step: what a sample costs is the accountant's own affair.
    run = at(world, tmp_path / "run", unit, train={"steps_per_round": 2, "batch_size": 6})
    watcher = Watcher(tmp_path / "run", monkeypatch)
    outcome = federate(run)
    assert watcher.draws == charged(tmp_path / "run") == sum(outcome.spent.values())
    assert watcher.draws == (2 if unit == "client" else 2 * 2 * 3)


@pytest.mark.parametrize(
    ("unit", "chosen"), [("client", slice(1, None, 9)), ("owner", slice(4, None, 17))]
)
def test_killed_anywhere_a_run_never_says_less_than_it_spent(
    world: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unit: str,
    chosen: slice,
) -> None:
    """With a target: whatever is drawn again is paid for again, and the end is an end."""
    _sweep(world, tmp_path, monkeypatch, unit, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["client", "owner", "example"])
def test_killed_at_every_single_write_a_run_never_says_less_than_it_spent(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    _sweep(world, tmp_path, monkeypatch, unit, slice(None))


def _sweep(
    world: Prepared, folder: Path, patch: pytest.MonkeyPatch, unit: str, chosen: slice
) -> None:
    root = folder / "runs" / "run"
    run = at(world, root, unit, epsilon=8.0)
    planned = sum(plan.releases for plan in run.plans.plans.values())
    with watched(Disk(root.parent), patch) as disk:
        assert sum(federate(run).spent.values()) == planned
    refusals = 0
    for fault, stop in moments(disk.done)[chosen]:
        shutil.rmtree(root.parent)
        with patch.context() as inner:
            watcher = Watcher(root, inner)
            watcher.draws = 0
            assert stop_at(run, stop, inner, fault)
            assert charged(root) >= watcher.draws
            try:
                federate(run, resume=True)
            except RefusedError as error:
                refusals += 1
                assert "privacy.epsilon" in str(error)
                assert len(payloads(root, "round")) < 2
        assert watcher.draws <= charged(root) <= planned
        assert check_run(root).complete, disk.done[stop - 1]
        (end,) = payloads(root, "end")
        assert end["rounds"] == len(payloads(root, "round"))
        model = read_tensors(root / "adapter" / "adapter_model.safetensors")
        assert digest(model) == end["adapter_sha256"]
        # A run that died before its own record of the reservation stands with two of them.
        assert reserved(root.parent) >= charged(root) >= watcher.draws
    assert refusals > 2


@pytest.mark.parametrize(
    ("unit", "changes"),
    [
        ("client", {"clip_norm": {"initial": 0.5, "count_noise_std": 3.0}}),
        ("client", {"federation": {"strategy": "scaffold"}, "train": {"optimizer": "sgd"}}),
        pytest.param(
            "owner",
            {"clip_norm": {"initial": 0.5, "count_noise_std": 3.0}},
            marks=pytest.mark.slow,
        ),
        ("example", {"train": {"optimizer_state": "keep"}}),
    ],
)
def test_with_seeded_noise_a_killed_run_ends_with_the_same_bits(
    world: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unit: str,
    changes: dict[str, Any],
) -> None:
    """Law 5: bit-equality is tested with the seeded generator, which is no protection and says so."""
    root = tmp_path / "runs" / "run"
    run = at(world, root, unit, generator="seeded_for_tests", **changes)
    with watched(Disk(root.parent), monkeypatch) as disk:
        whole = federate(run)
    assert facts(run.plans, whole.spent)["epsilon"] is None
    assert whole.epsilon_of_data is None
    (rows,) = budget_rows(root.parent).values()
    assert [row[1] for row in rows] == ["none"] * 3, "it gave all of it away, and that stays"
    evaluated = payloads(root, "evaluation")
    again = 0
    for fault, stop in moments(disk.done)[5::13]:
        shutil.rmtree(root.parent)
        assert stop_at(run, stop, monkeypatch, fault)
        resumed = federate(run, resume=True)
        assert resumed.adapter_sha256 == whole.adapter_sha256, disk.done[stop - 1]
        assert payloads(root, "evaluation") == evaluated
        again += sum(resumed.spent.values()) > sum(whole.spent.values())
        assert check_run(root).complete
    assert again, "some kill came between a charge and its record"


# What the ledger says of it


@pytest.mark.parametrize("unit", ["client", "owner"])
def test_every_charge_says_what_all_charges_come_to(
    world: Prepared, tmp_path: Path, unit: str
) -> None:
    """Law 3: whoever finds the ledger of a run that died knows its ε without the tool."""
    federation = {"rounds": 4, "clients_per_round": 2}
    run = at(world, tmp_path / "run", unit, federation=federation)
    federate(run)
    spent: dict[str, int] = {}
    for row in payloads(tmp_path / "run", "charge"):
        for name, count in row["releases"].items():
            spent[name] = spent.get(name, 0) + count
        name, found = run.plans.worst(spent)
        assert run.plans.plans[row["of"]].epsilon(spent[row["of"]]) == found, name
        assert row["epsilon"] == found.epsilon > 0
        assert (row["epsilon_rdp"], row["accountant"]) == (found.epsilon_rdp, found.accountant)
    assert len(payloads(tmp_path / "run", "charge")) == 4


@pytest.mark.parametrize("unit", ["client", "owner"])
def test_the_ledger_holds_the_claim_before_and_after(
    world: Prepared, tmp_path: Path, unit: str
) -> None:
    run = at(world, tmp_path / "run", unit, epsilon=8.0)
    kill_in_round(run, 0)
    with suppress(RefusedError):
        federate(run, resume=True)
    (start,), (end,) = (payloads(tmp_path / "run", kind) for kind in ("start", "end"))
    assert start["claim"] == {
        "unit": unit,
        "relation": "add or remove one unit",
        "sampling": "poisson",
        "private": True,
        "statement": claim(run.plans),
    }
    for name, plan in run.plans.plans.items():
        told, planned = start["plans"][name], plan.epsilon()
        assert told["epsilon"] == planned.epsilon <= 8.0
        assert (told["epsilon_rdp"], told["accountant"]) == (
            planned.epsilon_rdp,
            planned.accountant,
        )
        assert (told["delta"], told["sampling_probability"]) == (1e-3, 1.0)
    charges = payloads(tmp_path / "run", "charge")
    names = run.plans.plans
    spent = {name: sum(row["releases"].get(name, 0) for row in charges) for name in names}
    _, found = run.plans.worst(spent)
    assert end["claim"] == claim(run.plans, spent)
    assert (end["private"], end["delta"]) == (True, 1e-3)
    assert (end["epsilon"], end["epsilon_rdp"], end["accountant"]) == (
        found.epsilon,
        found.epsilon_rdp,
        found.accountant,
    )


def test_before_it_is_known_who_takes_part_nothing_is_claimed(
    world: Prepared, tmp_path: Path
) -> None:
    """A site begins its ledger before it has plans; no plan is not the same as no privacy."""
    run = at(world, tmp_path / "run", "owner")
    federate(run)
    folder = RunFolder(tmp_path / "run")
    assert identity.facts(run, folder, "")["claim"] == claims.planned(run.plans)
    assert identity.facts(replace(run, plans=Plans()), folder, "")["claim"] is None
    open_ = at(world, tmp_path / "x", "none")
    assert identity.facts(open_, folder, "")["claim"]["private"] is False


@pytest.mark.parametrize("changes", [{"unit": "none"}, {"generator": "seeded_for_tests"}])
def test_a_run_that_hides_nothing_is_marked_so(
    world: Prepared, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = at(world, tmp_path / "run", **changes)
    federate(run)
    (start,), (end,) = (payloads(tmp_path / "run", kind) for kind in ("start", "end"))
    assert start["claim"]["private"] is end["private"] is False
    assert "Privacy: none" in start["claim"]["statement"][0]
    for told in (end, *payloads(tmp_path / "run", "charge"), *start["plans"].values()):
        assert told["epsilon"] is told["epsilon_rdp"] is told["accountant"] is None


def test_charging_takes_the_time_of_one_plan(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round asks the accountant for one ε, however many clients have plans of their own."""
    run = at(world, tmp_path / "run", "owner", federation={"rounds": 3})
    # Each client has noise of its own, so that no figure serves for two of them.
    plans = {
        name: replace(plan, noise_multiplier=1.2345 + place)
        for place, (name, plan) in enumerate(run.plans.plans.items())
    }
    run = replace(run, plans=replace(run.plans, plans=plans))
    asked: list[int] = []
    real = PrivacyPlan.epsilon
    monkeypatch.setattr(
        PrivacyPlan, "epsilon", lambda self, count=None: asked.append(1) or real(self, count)
    )
    spending = Spending(run, tmp_path / "run")
    with Ledger.open(tmp_path / "ledger.jsonl") as ledger:
        for index in range(3):
            parts = tuple(Part(name, index) for name in NAMES)
            spending.charge(ledger, Cohort(index, parts, (), 0.0), dict.fromkeys(NAMES, 1))
            assert len(asked) == index + 1


# A cap


def test_a_crash_after_the_noise_lets_nobody_take_part_more_often_than_agreed(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round that is drawn again releases an update once more, whatever became of the first time."""
    seen: dict[str, int] = {}
    real = play.private_round_step

    def count(algorithm: Any, state: Any, updates: Any, *more: Any) -> Any:
        updates = list(updates)
        for update in updates:
            seen[update.client] = seen.get(update.client, 0) + 1
        return real(algorithm, state, updates, *more)

    monkeypatch.setattr(play, "private_round_step", count)
    run = at(world, tmp_path / "run", max_participations=2, federation={"rounds": 4})
    for wanted in (0, 0, 0, 1):
        kill_in_round(run, wanted)
    federate(run, resume=True)
    assert seen == dict.fromkeys(NAMES, 2)
    drawn = [row["clients"] for row in payloads(tmp_path / "run", "drawn")]
    assert {name: sum(name in row for row in drawn) for name in NAMES} == seen
    assert len(drawn) == len(payloads(tmp_path / "run", "charge"))


def test_a_client_with_noise_of_its_own_counts_a_round_when_it_is_charged(
    world: Prepared, tmp_path: Path
) -> None:
    run = at(world, tmp_path / "run", "owner", max_participations=2, federation={"rounds": 4})
    kill_in_round(run, 0)
    kill_in_round(run, 0)
    with pytest.raises(RefusedError, match="max_participations = 2 covers no more"):
        federate(run, resume=True)
    assert charged(tmp_path / "run") == 2 * 3


def test_a_participation_that_was_charged_counts_once_though_a_site_says_it_again(
    world: Prepared, tmp_path: Path
) -> None:
    """A site tells of every round that it answered; where it charged the round itself, that is all."""
    parts = tuple(Part(name, 0) for name in NAMES)
    for unit, wanted in (("owner", 1), ("client", 2)):
        run = at(world, tmp_path / unit, unit, max_participations=2)
        spending = Spending(run, tmp_path / unit)
        with Ledger.open(tmp_path / f"{unit}.jsonl") as ledger:
            spending.charge(ledger, Cohort(0, parts, (), 0.0), dict.fromkeys(NAMES, 1))
        # Under a plan of the federation a site does not charge, and this is how it counts.
        spending.took_part(["ada"])
        assert spending.taken == dict.fromkeys(NAMES, 1) | {"ada": wanted}


# When it ends


def test_redrawn_rounds_use_up_the_target_and_the_model_so_far_stands(
    world: Prepared, tmp_path: Path
) -> None:
    run = at(world, tmp_path / "run", epsilon=8.0)
    kill_in_round(run, 0)
    with pytest.raises(RefusedError, match=r"after 1 of 2 rounds: privacy.epsilon = 8.0") as seen:
        federate(run, resume=True)
    assert seen.value.exit_code == 3
    assert check_run(tmp_path / "run").complete
    assert payloads(tmp_path / "run", "end")[0]["rounds"] == 1
    spent = {"": charged(tmp_path / "run")}
    assert spent == {"": 2}
    assert facts(run.plans, spent)["epsilon"] <= 8.0


def test_only_a_client_that_has_nothing_left_stays_out(world: Prepared, tmp_path: Path) -> None:
    """Under the unit owner every client has a budget of its own."""
    run = at(world, tmp_path / "run", "owner", federation={"clients_per_round": 2}, epsilon=8.0)
    kill_in_round(run, 0)
    with suppress(RefusedError):
        federate(run, resume=True)
    charges = payloads(tmp_path / "run", "charge")
    spent = {name: sum(row["releases"].get(name, 0) for row in charges) for name in NAMES}
    assert max(spent.values()) <= 2
    assert check_run(tmp_path / "run").complete
    for row, charge in zip(payloads(tmp_path / "run", "round"), charges[1:], strict=True):
        assert row["clients"] == sorted(charge["releases"])


def test_without_a_target_the_run_goes_on_and_says_what_it_cost(
    world: Prepared, tmp_path: Path
) -> None:
    run = at(world, tmp_path / "run")
    for _ in range(3):
        kill_in_round(run, 0)
    outcome = federate(run, resume=True)
    assert outcome.rounds == 2
    assert outcome.spent == {"": 5}
    told = facts(run.plans, outcome.spent)
    assert told["releases"] == 5
    assert told["epsilon"] == run.plans.plans[""].epsilon(5).epsilon
    assert told["epsilon"] > run.plans.plans[""].epsilon().epsilon
    assert outcome.epsilon_of_data >= told["epsilon"]


def test_a_run_that_keeps_dying_stands_in_the_budget_with_all_that_it_charged(
    world: Prepared, tmp_path: Path
) -> None:
    """Without a target nothing stops it, so what it reserved has to grow before it is spent."""
    run = at(world, tmp_path / "runs" / "run")
    for _ in range(5):
        kill_in_round(run, 0)
    assert charged(tmp_path / "runs" / "run") == 5
    assert reserved(tmp_path / "runs") >= 5


def test_a_run_that_ended_for_want_of_budget_says_so_again(world: Prepared, tmp_path: Path) -> None:
    run = at(world, tmp_path / "run", epsilon=8.0)
    kill_in_round(run, 0)
    for _ in range(2):
        with pytest.raises(RefusedError):
            federate(run, resume=True)


def test_the_model_that_a_refusal_leaves_is_evaluated(world: Prepared, tmp_path: Path) -> None:
    run = at(
        world, tmp_path / "run", run={"evaluate_every": 3}, federation={"rounds": 3}, epsilon=8.0
    )
    kill_in_round(run, 1)
    with pytest.raises(RefusedError):
        federate(run, resume=True)
    assert payloads(tmp_path / "run", "evaluation")[-1]["round"] == 2


def test_too_few_clients_with_a_budget_left_is_a_refusal(world: Prepared, tmp_path: Path) -> None:
    """Who is out of budget is no client that diverged."""
    federation = {"rounds": 3, "clients_per_round": 2, "minimum_clients": 2}
    for seed in range(4):
        root = tmp_path / str(seed)
        run = at(world, root, "owner", seed=seed, federation=federation, epsilon=8.0)
        for _ in range(2):
            kill_in_round(run, 0)
        # Two clients can pay for one round more; sooner or later one of them meets the third.
        with pytest.raises(RefusedError):
            federate(run, resume=True)
        assert check_run(root).complete


# The site's policy

POLICY = {
    "weakest_unit": "owner",
    "max_epsilon_per_run": 8.0,
    "max_epsilon_per_data_set": 12.0,
    "max_delta": 1e-3,
    "min_cohort": 3,
    "secure_aggregation": False,
    "tasks": ["chat"],
    "trust": "server",
}


def write_policy(path: Path, world: Prepared, **changes: Any) -> str:
    """The site's own file."""
    rules = POLICY | {"base_models": [fingerprint(world.model.base)]} | changes
    lines = [f"{key} = {json.dumps(value)}" for key, value in rules.items() if value is not None]
    path.write_text("\n".join(lines))
    return str(path)


REFUSALS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "weakest_unit": ({"weakest_unit": "client"}, {"unit": "owner"}),
    "max_epsilon_per_run": ({"max_epsilon_per_run": 1.0}, {}),
    "max_epsilon_per_data_set": ({"max_epsilon_per_data_set": 1.0}, {}),
    "max_delta": ({"max_delta": 1e-4}, {}),
    "min_cohort": ({"min_cohort": 4}, {}),
    "secure_aggregation": ({"secure_aggregation": True}, {}),
    "base_models": ({"base_models": ["0" * 64]}, {}),
    "tasks": ({"tasks": ["pretrain"]}, {}),
    "trust": ({"trust": "none"}, {}),
    "cryptographic_noise": ({}, {"generator": "seeded_for_tests"}),
}


@pytest.mark.parametrize("rule", REFUSALS)
def test_a_refusal_names_its_rule_and_reserves_nothing(
    world: Prepared, tmp_path: Path, rule: str
) -> None:
    rules, asked = REFUSALS[rule]
    policy = write_policy(tmp_path / "site.toml", world, **rules)
    run = at(world, tmp_path / "runs" / "run", policy=policy, **{"unit": "client", **asked})
    with pytest.raises(RefusedError, match=rf"policy has {rule} = ") as seen:
        federate(run)
    assert seen.value.exit_code == 3
    assert reserved(tmp_path / "runs") == 0
    assert not payloads(tmp_path / "runs" / "run", "start")


def test_a_unit_of_none_is_asked_about_too(world: Prepared, tmp_path: Path) -> None:
    policy = write_policy(tmp_path / "site.toml", world)
    run = at(world, tmp_path / "run", "none")
    privacy = run.config.privacy.model_copy(update={"policy": policy})
    config = run.config.model_copy(update={"privacy": privacy})
    with pytest.raises(RefusedError, match="weakest_unit"):
        federate(replace(run, config=config))


@pytest.mark.parametrize("before", [{"unit": "none"}, {"generator": "seeded_for_tests"}])
def test_a_limit_for_the_data_set_counts_what_was_given_away(
    world: Prepared, tmp_path: Path, before: dict[str, Any]
) -> None:
    """None, not a large number: no figure bounds a text that was read without noise."""
    federate(at(world, tmp_path / "runs" / "before", **before))
    policy = write_policy(tmp_path / "site.toml", world)
    with pytest.raises(RefusedError, match="epsilon_of_data_set is null") as seen:
        federate(at(world, tmp_path / "runs" / "run", policy=policy))
    assert "Rules broken: max_epsilon_per_data_set" in str(seen.value)
    limits = ("max_epsilon_per_run", "max_epsilon_per_data_set", "max_delta")
    anything = dict.fromkeys(limits) | {"weakest_unit": "none"}
    policy = write_policy(tmp_path / "site.toml", world, **anything)
    assert federate(at(world, tmp_path / "runs" / "run", policy=policy)).rounds == 2


def missing(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def no_toml(path: Path) -> None:
    path.write_text("weakest_unit = ")


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def empty(path: Path) -> None:
    path.write_text("")


def misspelt(path: Path) -> None:
    path.write_text(path.read_text().replace("max_delta", "max_detla"))


@pytest.mark.parametrize("spoil", [missing, a_folder, no_toml, no_text, empty, misspelt])
def test_a_policy_that_cannot_be_read_stops_everything(
    world: Prepared, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    policy = write_policy(tmp_path / "site.toml", world)
    run = at(world, tmp_path / "runs" / "run", policy=policy)
    spoil(Path(policy))
    with pytest.raises(ConfigError, match=r"site\.toml") as seen:
        federate(run)
    assert seen.value.exit_code == 2
    assert reserved(tmp_path / "runs") == 0
    assert not payloads(tmp_path / "runs" / "run", "start")


def test_a_refused_run_leaves_nothing_and_can_be_asked_again(
    world: Prepared, tmp_path: Path
) -> None:
    policy = write_policy(tmp_path / "site.toml", world, min_cohort=4)
    run = at(world, tmp_path / "runs" / "run", policy=policy)
    with pytest.raises(RefusedError):
        federate(run)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").rglob("*"))
    write_policy(tmp_path / "site.toml", world)
    assert federate(run).rounds == 2


def test_the_data_set_fills_up_over_runs_until_one_is_refused(
    world: Prepared, tmp_path: Path
) -> None:
    one = at(world, tmp_path / "x").plans.plans[""]
    limit = one.epsilon(4).epsilon * 1.001
    policy = write_policy(tmp_path / "site.toml", world, max_epsilon_per_data_set=limit)
    for place in range(2):
        assert federate(at(world, tmp_path / "runs" / str(place), policy=policy)).rounds == 2
    shutil.rmtree(tmp_path / "runs" / "0")
    with pytest.raises(RefusedError, match="max_epsilon_per_data_set"):
        federate(at(world, tmp_path / "runs" / "2", policy=policy))
    assert reserved(tmp_path / "runs") == 4


def test_a_run_that_reserves_in_between_is_not_overlooked(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs ask, each alone is within the limit, both reserve."""
    limit = at(world, tmp_path / "x").plans.plans[""].epsilon().epsilon * 1.001
    policy = write_policy(tmp_path / "site.toml", world, max_epsilon_per_data_set=limit)
    first, second = (at(world, tmp_path / "runs" / name, policy=policy) for name in "ab")
    real = local.facts

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(local, "facts", real)
        federate(second)
        return real(*arguments)

    monkeypatch.setattr(local, "facts", late)
    with pytest.raises(RefusedError, match="max_epsilon_per_data_set"):
        federate(first)


def test_going_on_asks_the_policy_again(world: Prepared, tmp_path: Path) -> None:
    """A site that has changed its mind, or lost its rules, lets nothing more out."""
    policy = write_policy(tmp_path / "site.toml", world)
    run = at(world, tmp_path / "run", policy=policy)
    kill_in_round(run, 0)
    Path(policy).unlink()
    with pytest.raises(SottovoceError, match=r"site\.toml"):
        federate(run, resume=True)


def test_rounds_drawn_again_stay_within_the_policy(world: Prepared, tmp_path: Path) -> None:
    limit = at(world, tmp_path / "x").plans.plans[""].epsilon().epsilon * 1.001
    policy = write_policy(tmp_path / "site.toml", world, max_epsilon_per_run=limit)
    run = at(world, tmp_path / "run", policy=policy)
    kill_in_round(run, 0)
    with pytest.raises(RefusedError):
        federate(run, resume=True)


# Careless callers


def test_a_preparation_without_the_plans_it_asks_for_does_not_run(
    world: Prepared, tmp_path: Path
) -> None:
    run = at(world, tmp_path / "run")
    with pytest.raises(SottovoceError):
        federate(replace(world, config=run.config))


@pytest.mark.parametrize("unit", ["client", "owner", "example"])
def test_a_ledger_without_privacy_has_no_charge(world: Prepared, tmp_path: Path, unit: str) -> None:
    federate(at(world, tmp_path / "plain", "none"))
    kinds = {record.kind for record in verify(tmp_path / "plain" / "ledger.jsonl")[0]}
    assert not kinds & {"charge", "budget"}
    outcome = federate(at(world, tmp_path / "run", unit, train={"batch_size": 6}))
    kinds_then = [record.kind for record in verify(outcome.folder.ledger)[0]]
    assert kinds_then == [
        *("start", "budget", "evaluation"),
        *("charge", "round", "evaluation") * 2,
        "end",
    ]
    assert np.isfinite(outcome.weights).all()
