"""Sites that are killed at every single thing they do to a disk, and sites whose disk is full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from quick_world import (
    EXAMPLE,
    GROWING,
    BrokenDisk,
    Mortal,
    QuickWorld,
    clear,
    parsed,
    quick,
    watched,
)

from sottovoce.errors import SottovoceError
from sottovoce.run import budget
from sottovoce.run.budget import Budget
from sottovoce.run.ledger import verify
from sottovoce.run.rounds import digest, model_tensors

CRYPTOGRAPHIC = EXAMPLE | {"generator": "cryptographic"}
KINDS: Mapping[str, Mapping[str, Any]] = {
    "kept moments": {"train": {"optimizer_state": "keep"}},
    "private": {"privacy": EXAMPLE},
    "personal": {"federation": {"personal": "finetune"}},
}


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, attach: Any, make_client: Any
) -> Iterator[QuickWorld]:
    made = QuickWorld(tmp_path_factory.mktemp("world"), attach, make_client)
    with quick(made):
        yield made
    made.close()


@pytest.fixture
def world(shared: QuickWorld) -> Iterator[QuickWorld]:
    yield shared
    clear(shared)


def folder_of(world: QuickWorld, name: str) -> Path:
    return Path(world.site(name).folder)


def played(
    world: QuickWorld,
    changes: Mapping[str, Any],
    patch: pytest.MonkeyPatch,
    fault: str = "none",
    stop: int = 0,
) -> tuple[str, BrokenDisk]:
    """A whole run in which the first site meets a fault; how it ends, and what the site did."""
    disk = BrokenDisk(folder_of(world, world.names[0]), fault, stop)
    carrier = Mortal(world, disk)
    with watched(disk, patch):
        one = world.host(world.config("run", **changes), carrier)
    assert carrier.deaths == (fault != "none")
    assert one.ended
    return digest(model_tensors(one.server)), disk


def ledgers(world: QuickWorld) -> list[Path]:
    return sorted(folder_of(world, world.names[0]).glob("*/ledger.jsonl"))


def sweep(
    world: QuickWorld,
    changes: Mapping[str, Any],
    patch: pytest.MonkeyPatch,
    faults: Mapping[str, slice],
) -> int:
    expected, disk = played(world, changes, patch)
    tried = 0
    for fault, chosen in faults.items():
        for stop in range(1, len(disk.done) + 1)[chosen]:
            clear(world)
            found, _ = played(world, changes, patch, fault, stop)
            assert found == expected, (fault, disk.done[stop - 1])
            for ledger in ledgers(world):
                verify(ledger)
            tried += 1
    return tried


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_that_is_killed_at_any_write_changes_nothing(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    start = list(KINDS).index(kind)
    every = {
        "kill": slice(1 + 5 * start, None, 19),
        "half": slice(5 + start, None, 47),
        "power": slice(9 + start, None, 43),
    }
    assert sweep(world, KINDS[kind], monkeypatch, every) > 5


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_site_that_is_killed_at_every_write_changes_nothing(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    every = dict.fromkeys(("kill", "half", "power"), slice(None))
    assert sweep(world, KINDS[kind], monkeypatch, every) > 100


def never_understated(world: QuickWorld) -> None:
    """Every answer was paid for, and the folder's budget covers all that was paid."""
    answered = charged = 0
    for ledger in ledgers(world):
        records = verify(ledger)[0]
        for record in records:
            payload: Mapping[str, Any] = record.payload
            if record.kind == "answer" and payload["kind"] == "round":
                answered += len(payload["clients"])
            if record.kind == "charge":
                charged += sum(payload["releases"].values())
    assert answered
    assert charged >= answered
    rows = Budget(folder_of(world, world.names[0]) / "privacy-budget.jsonl").rows()
    assert sum(row.releases for [row] in rows.values()) >= charged


def killed_under_a_plan(world: QuickWorld, patch: pytest.MonkeyPatch, chosen: slice) -> None:
    changes: dict[str, Any] = {"privacy": CRYPTOGRAPHIC}
    _, disk = played(world, changes, patch)
    never_understated(world)
    for fault in ("kill", "power"):
        for stop in range(1, len(disk.done) + 1)[chosen]:
            clear(world)
            played(world, changes, patch, fault, stop)
            never_understated(world)


def test_what_is_spent_is_never_understated(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_under_a_plan(world, monkeypatch, slice(2, None, 29))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_is_spent_is_never_understated_wherever_it_is_killed(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_under_a_plan(world, monkeypatch, slice(None))


# Disks that are full


@pytest.mark.parametrize("fault", ["full", "read-only", "fsync"])
@pytest.mark.parametrize("changes", [{}, {"privacy": CRYPTOGRAPHIC}])
def test_a_site_whose_disk_refuses_in_a_round_is_back_in_the_next(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch, fault: str, changes: Mapping[str, Any]
) -> None:
    """Whatever of a round is the first that it refuses."""
    three = {**changes, "federation": {"rounds": 3}}
    monkeypatch.setattr(budget, "PATIENCE_S", 0.05)
    places = writes_of_round(world, three, monkeypatch, 1)
    for stop in [*places[:: max(1, len(places) // 2)][-2:], places[-1]]:
        clear(world)
        disk = BrokenDisk(folder_of(world, world.names[0]), fault, stop)
        carrier = Mortal(world, disk)

        def mend(site: str, body: bytes, disk: BrokenDisk = disk) -> None:
            if disk.broken and parsed(body).facts.get("round") != 1:
                disk.mend()

        carrier.before = mend
        with watched(disk, monkeypatch):
            world.host(world.config("run", **three), carrier)
        first = world.names[0]
        rounds = world.records(world.root / "run" / "ledger.jsonl", "round")
        took_part = [first in one["clients"] for one in rounds]
        if fault != "fsync":
            assert took_part == [True, False, True], stop
            assert any(first == told["site"] for told in world.told("refused"))
        assert all(world.names[1] in one["clients"] for one in rounds)
        for ledger in ledgers(world):
            verify(ledger)
        if changes:
            never_understated(world)


def writes_of_round(
    world: QuickWorld, changes: Mapping[str, Any], patch: pytest.MonkeyPatch, index: int
) -> list[int]:
    """Which of the first site's operations belong to a round, and need room."""
    disk = BrokenDisk(folder_of(world, world.names[0]))
    carrier, edges = Mortal(world, disk), list[int]()

    def look(site: str, body: bytes) -> None:
        letter = parsed(body)
        if site == world.names[0] and letter.kind == "round":
            edges.append(len(disk.done))

    carrier.before = look
    with watched(disk, patch):
        world.host(world.config("run", **changes), carrier)
    of_round = range(edges[index] + 1, edges[index + 1] + 1)
    return [stop for stop in of_round if disk.done[stop - 1].split()[0] in GROWING]


def test_a_site_whose_disk_is_full_from_the_beginning_is_left_out(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = BrokenDisk(folder_of(world, world.names[0]), "full", 1)
    with watched(disk, monkeypatch), suppress(SottovoceError):
        world.host(world.config("run"), Mortal(world, disk))
    rounds = world.records(world.root / "run" / "ledger.jsonl", "round")
    assert [sorted(one["clients"]) for one in rounds] == [world.names[1:]] * 2
