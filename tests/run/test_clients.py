"""What clients remember on disk, and what it costs to have many of them."""

from __future__ import annotations

import gc
import os
import statistics
import time
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sottovoce.config import make_config
from sottovoce.errors import VerificationError
from sottovoce.model.base import LoraSettings, model_folder
from sottovoce.model.tokenizer import load_tokenizer
from sottovoce.run.arms import Evaluation, Watch
from sottovoce.run.clients import Clients
from sottovoce.run.folder import RunFolder, parse_tensors
from sottovoce.run.ledger import Ledger, Record, verify
from sottovoce.run.local import federate
from sottovoce.run.prepare import Party, Prepared
from sottovoce.train import ClientState

SCAFFOLD = {"train": {"optimizer": "sgd"}, "federation": {"strategy": "scaffold"}}


@pytest.fixture(scope="module")
def world(attach: Any, make_client: Any) -> Prepared:
    """Sixty clients that share three short conversations, and a model of a few thousand numbers."""
    lora = LoraSettings(rank=8, alpha=8)
    model = attach("llama", lora, num_hidden_layers=1)
    tokenizer = load_tokenizer(model_folder("tiny"))
    return Prepared(None, parties(60, make_client), model, tokenizer, ())  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the disk: it is the slowest part of a round by far, and the noisiest."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def parties(count: int, make_client: Any) -> tuple[Party, ...]:
    train, held_out = make_client("all", [5, 5, 5]).examples, make_client("held", [6]).examples
    return tuple(Party(f"c{place:05d}", train, held_out, (None,)) for place in range(count))


def at(world: Prepared, root: Path, **changes: Any) -> Prepared:
    tree: dict[str, Any] = {
        "run": {"dir": str(root), "threads": 1, "evaluate_clients": 1},
        "data": {"path": "marketplace"},
        "train": {"steps_per_round": 1, "batch_size": 2, "max_length": 48, "learning_rate": 0.05},
        "federation": {"rounds": 4, "clients_per_round": 3},
        "privacy": {"unit": "none"},
    }
    for section, values in changes.items():
        tree[section] = tree.get(section, {}) | values
    return replace(world, config=make_config(tree, place="test"))


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {key: first.get(key, {}) | second.get(key, {}) for key in first.keys() | second.keys()}


# What is written and read


def record(index: int, kept: dict[str, str | None], steps: int = 2) -> Record:
    payload = {
        "round": index,
        "clients": sorted(kept),
        "steps": [steps] * len(kept),
        "clients_sha256": [kept[name] for name in sorted(kept)],
    }
    return Record(index, "round", payload, "", "")


def state(value: float) -> ClientState:
    row = np.full(3, value, np.float32)
    own = {"control": {"layer/a.weight": row, "b": -row}, "private": {"layer/b": row + 1}}
    return ClientState(0, {"exp_avg": row, "step": np.float32(7)[None]}, own)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    clients = Clients(RunFolder(tmp_path), {"ada": 0, "ben": 1})
    assert clients.read("ada") == ClientState(), "who never took part remembers nothing"
    digests = clients.write(1, {"ben": state(2.0), "ada": state(1.0)})
    files = [RunFolder(tmp_path).client(place, 1).read_bytes() for place in (0, 1)]
    assert digests == [sha256(data).hexdigest() for data in files], "in the order of the names"
    assert clients.read("ada") == ClientState(), "nothing counts before its record"
    clients.replay(record(0, dict(zip(("ada", "ben"), digests, strict=True))))
    for name, value in (("ada", 1.0), ("ben", 2.0)):
        found, wanted = clients.read(name), state(value)
        assert found.cursor == 2
        assert found.moments is not None
        assert wanted.moments is not None
        assert found.own.keys() == wanted.own.keys()
        pairs = [(found.moments, wanted.moments)]
        pairs += [(found.own[kind], wanted.own[kind]) for kind in wanted.own]
        for one, two in pairs:
            assert one.keys() == two.keys()
            for key in two:
                np.testing.assert_array_equal(one[key], two[key])


def test_who_has_only_a_place_in_its_examples_gets_no_file(tmp_path: Path) -> None:
    clients = Clients(RunFolder(tmp_path), {"ada": 0})
    assert clients.write(1, {"ada": ClientState(5)}) == [None]
    assert list(tmp_path.rglob("*")) == []
    clients.replay(record(0, {"ada": None}, steps=5))
    clients.replay(record(3, {"ada": None}, steps=4))
    assert clients.read("ada") == ClientState(9)


def test_a_state_that_was_altered_lost_or_exchanged_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    clients = Clients(folder, {"ada": 0, "ben": 1})
    digests = clients.write(1, {"ada": state(1.0), "ben": state(2.0)})
    clients.replay(record(0, dict(zip(("ada", "ben"), digests, strict=True))))
    path, original = folder.client(0, 1), folder.client(0, 1).read_bytes()
    for damaged in (original[:-1], original + b"\n", folder.client(1, 1).read_bytes(), b""):
        path.write_bytes(damaged)
        with pytest.raises(
            VerificationError, match=r"client 'ada' .* is not the one in the ledger"
        ):
            clients.read("ada")
    path.unlink()
    with pytest.raises(VerificationError, match="cannot be read: No such file"):
        clients.read("ada")
    assert clients.read("ben").cursor == 2


def test_a_file_of_a_round_without_a_record_is_never_read(tmp_path: Path) -> None:
    """A run that was killed between a client's file and the record leaves the file behind."""
    clients = Clients(RunFolder(tmp_path), {"ada": 0})
    (digest,) = clients.write(1, {"ada": state(1.0)})
    clients.replay(record(0, {"ada": digest}))
    clients.write(2, {"ada": state(9.0)})
    found = clients.read("ada").own["private"]["layer/b"]
    np.testing.assert_array_equal(found, np.full(3, 2.0, np.float32))


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        (SCAFFOLD, {"own/control"}),
        ({"train": {"optimizer_state": "keep"}}, {"moments/exp_avg", "moments/step"}),
        ({"federation": {"personal": "ditto"}}, {"own/personal"}),
        ({"federation": {"strategy": "fedsa"}}, {"own/private"}),
        ({}, set()),
    ],
)
def test_a_run_keeps_one_file_for_each_client_that_took_part(
    world: Prepared, tmp_path: Path, changes: dict[str, Any], kinds: set[str]
) -> None:
    run = at(replace(world, parties=world.parties[:5]), tmp_path, **merged({}, changes))
    run = at(run, tmp_path / "run", **merged({"federation": {"clients_per_round": 2}}, changes))
    federate(run)
    folder = RunFolder(tmp_path / "run")
    last: dict[str, int] = {}
    for line in verify(folder.ledger)[0]:
        if line.kind == "round":
            payload: Any = line.payload
            last.update(dict.fromkeys(payload["clients"], payload["round"] + 1))
    assert len(set(last.values())) > 1, "not everybody takes part in the last round"
    found = sorted(path for path in (folder.root / "clients").rglob("*") if path.is_file())
    places = {party.name: place for place, party in enumerate(run.parties)}
    wanted = sorted(folder.client(places[name], finished) for name, finished in last.items())
    assert found == (wanted if kinds else [])
    for path in found:
        names = parse_tensors(path.read_bytes(), path)
        assert kinds <= {"/".join(name.split("/")[:2]) for name in names}


# What it costs


@dataclass
class Meter:
    """Reads the clock after every round, and the memory after some."""

    weighed: tuple[int, ...] = ()
    times: list[float] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)
    peaks: list[int] = field(default_factory=list)
    objects: dict[int, int] = field(default_factory=dict)
    tensors: dict[int, int] = field(default_factory=dict)

    def read(self, _arm: str, evaluation: Evaluation) -> None:
        if self.weighed and not evaluation.round:
            # What is done once, for every client of the run, is not what a round costs.
            tracemalloc.start()
        if self.weighed:
            self.peaks.append(tracemalloc.get_traced_memory()[1])
            gc.collect()
            if evaluation.round in self.weighed:
                self.held[evaluation.round] = tracemalloc.get_traced_memory()[0]
                alive = gc.get_objects()
                self.objects[evaluation.round] = len(alive)
                held = [thing.nbytes for thing in alive if type(thing) is torch.Tensor]
                self.tensors[evaluation.round] = sum(held)
            tracemalloc.reset_peak()
        self.times.append(time.perf_counter())

    @property
    def per_round(self) -> float:
        """The median time of a round; the first two warm up."""
        return statistics.median(np.diff(self.times[2:]))


def measured(run: Prepared, weighed: tuple[int, ...] = ()) -> Meter:
    """Run to the end; with rounds to weigh after, a slower one that counts every allocation."""
    meter = Meter(weighed)
    gc.collect()
    gc.freeze()
    try:
        federate(run, watch=Watch(on_evaluation=meter.read))
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    return meter


KEPT = {"train": {"optimizer_state": "keep"}}
FLOWING = {
    "federation": {"clients_per_round": None, "asynchronous": {"buffer": 3, "concurrency": 6}}
}


@pytest.mark.parametrize(
    "changes", [SCAFFOLD, KEPT, FLOWING], ids=["scaffold", "keep", "asynchronous"]
)
def test_memory_does_not_grow_with_rounds(
    world: Prepared, tmp_path: Path, changes: dict[str, Any]
) -> None:
    few = replace(world, parties=world.parties[:6])
    run = at(few, tmp_path / "run", **merged({"federation": {"rounds": 24}}, changes))
    meter = measured(run, (8, 24))
    # Python's own stores of small things fill up for a while; a single row of weights that stayed
    # behind in each round would be four times the bound, a single object would be counted.
    bound = 16 * 4 * run.model.layout.size / 4
    assert meter.held[24] - meter.held[8] < bound
    assert max(meter.peaks[17:]) - max(meter.peaks[3:10]) < bound
    assert meter.objects[24] - meter.objects[8] < 10
    assert meter.tensors[24] == meter.tensors[8]


@pytest.mark.slow
def test_ten_thousand_clients_cost_what_fifty_cost(
    world: Prepared, tmp_path: Path, make_client: Any
) -> None:
    """A round depends on who takes part in it: fifty of fifty, or fifty of ten thousand."""
    changes = merged({"federation": {"rounds": 8, "clients_per_round": 50}}, SCAFFOLD)
    seconds, extra = {}, {}
    for count in (50, 10_000):
        many = replace(world, parties=parties(count, make_client))
        seconds[count] = measured(at(many, tmp_path / f"{count}", **changes)).per_round
        short = merged({"federation": {"rounds": 3}}, changes)
        meter = measured(at(many, tmp_path / f"{count}-weighed", **merged(changes, short)), (1,))
        extra[count] = max(meter.peaks[2:]) - meter.held[1]
    print(seconds, extra)
    assert seconds[10_000] < 1.5 * seconds[50]
    assert extra[10_000] < 1.5 * extra[50]
    folders = list((tmp_path / "10000" / "clients").iterdir())
    assert 50 < len(folders) <= 8 * 50, "of those who took part, and of nobody else"


def test_names_and_results_are_on_disk_before_the_ledger_says_so(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, nothing that a record vouches for may be missing."""
    synced: list[Path] = []
    kept: dict[str, set[Path]] = {}
    real_sync, real_append = os.fsync, Ledger.append

    def sync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        real_sync(descriptor)

    def append(self: Ledger, kind: str, payload: Mapping[str, object]) -> Record:
        kept[kind] = set(synced)
        return real_append(self, kind, payload)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Ledger, "append", append)
    root = federate(at(world, tmp_path / "new" / "run")).folder.root.resolve()
    adapter = [path for path in (root / "adapter").iterdir() if path.is_file()]
    assert adapter
    assert {*adapter, root / "adapter", root} <= kept["end"]
    # A file's name lies in its folder, a new folder's name in the one above.
    assert {root, root / "rounds", tmp_path.resolve(), root.parent} <= kept["start"]
    assert {root / "state", root} <= kept["round"]


def test_who_is_judged_is_drawn_once_from_the_seed(world: Prepared, tmp_path: Path) -> None:
    def judged(**changes: Any) -> list[str]:
        tree = {"run": {"evaluate_clients": 5}} | changes
        return [party.name for party in at(world, tmp_path, **tree).judged]

    five = judged()
    assert len(set(five)) == 5
    assert five == sorted(five) == judged()
    everyone = [party.name for party in world.parties]
    assert five != everyone[:5]
    assert judged(run={"evaluate_clients": 60}) == everyone
    assert judged(run={"evaluate_clients": 99}) == everyone
    outcome = federate(at(world, tmp_path / "run", run={"evaluate_clients": 5}))
    assert all(sorted(scored.loss) == five for scored in outcome.evaluations)
