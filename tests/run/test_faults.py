"""Runs that are killed at every single write, on disks that refuse, and told to go on."""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError

import sottovoce
from sottovoce.config import make_config
from sottovoce.errors import ConfigError, SottovoceError, UsageError, VerificationError
from sottovoce.model import peft_format
from sottovoce.model.base import LoraSettings, model_folder
from sottovoce.model.tokenizer import load_tokenizer
from sottovoce.run import identity, local
from sottovoce.run.check import check_run
from sottovoce.run.local import federate
from sottovoce.run.prepare import Party, Prepared

# What each kind of run has to remember: server momentum, optimizer state of clients, control
# variates, personal models, private tensors, a residual in the base, and who is under way.
KINDS: dict[str, dict[str, Any]] = {
    "fedavg": {
        "train": {"optimizer_state": "keep"},
        "federation": {"strategy": {"name": "fedavg", "server": {"name": "sgd", "momentum": 0.5}}},
    },
    "scaffold": {
        "train": {"optimizer": "sgd"},
        "federation": {"strategy": "scaffold", "clients_per_round": 2},
    },
    "ditto": {"federation": {"personal": "ditto", "clients_per_round": 2}},
    "finetune": {"federation": {"personal": "finetune"}},
    "fedsa": {"federation": {"strategy": "fedsa"}},
    "fedex": {"federation": {"strategy": "fedex"}},
    "asynchronous": {
        "federation": {"rounds": 4, "asynchronous": {"buffer": 1, "concurrency": 3}},
    },
}


@pytest.fixture(scope="module")
def world(attach, make_client) -> Prepared:
    """Three clients and a model so small that a whole run takes a fiftieth of a second."""
    lora = LoraSettings(rank=2, alpha=4, targets=("q_proj", "v_proj"))
    model = attach("llama", lora, hidden_size=16, intermediate_size=16, num_hidden_layers=1)
    tokenizer = load_tokenizer(model_folder("tiny"))
    parties = []
    for place, name in enumerate(["ada", "ben", "cyd"]):
        train, held_out = make_client(name, [5] * (2 + place)), make_client(name, [6], seed=1)
        parties.append(Party(name, train.examples, held_out.examples, (None,)))
    return Prepared(None, tuple(parties), model, tokenizer, ())  # type: ignore[arg-type]


def at(world: Prepared, root: Path, kind: str = "scaffold", **changes: Any) -> Prepared:
    """The run of one kind in this folder."""
    tree: dict[str, Any] = {
        "run": {"dir": str(root), "threads": 1, "evaluate_clients": 2},
        "data": {"path": "marketplace"},
        "train": {"steps_per_round": 1, "batch_size": 2, "max_length": 48, "learning_rate": 0.05},
        "federation": {"rounds": 2},
        "privacy": {"unit": "none"},
    }
    for settings in (KINDS[kind], changes):
        for section, values in settings.items():
            if isinstance(values, dict):
                tree.setdefault(section, {}).update(values)
            else:
                tree[section] = values
    return replace(world, config=make_config(tree, place="test"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loses its power here, so nobody waits for the disk."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


# The injector


class Killed(BaseException):
    """Stands for a kill: no handler of the package may catch it."""


class Disk:
    """Counts everything that a process does to a folder, and stops it at one of these things.

    After a kill the process does nothing more: whatever runs on the way out, a clean-up in a
    ``finally`` say, is stopped as well. A disk that fails goes on failing, but only at what it
    refuses: on a full one something can still be removed.
    """

    def __init__(self, root: Path, fault: str = "none", stop: int = 0) -> None:
        self.root, self.fault, self.stop = str(root), fault, stop
        self.done: list[str] = []
        self.mine: set[int] = set()
        self.broken = False

    def touch(self, what: str, place: object, grow: bool, half: Callable[[], object]) -> None:
        """Count one operation and let it fail if it is its turn."""
        if self.fault == "kill" and self.broken:
            raise Killed
        inside = place in self.mine if isinstance(place, int) else self._inside(place)
        if not inside:
            return
        self.done.append(f"{what} {place}")
        if len(self.done) == self.stop:
            self.broken = True
            if self.fault == "kill in the middle":
                self.fault = "kill"
                half()
            if self.fault == "kill":
                raise Killed
        if not self.broken:
            return
        if self.fault == "full" and grow:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)
        if self.fault == "read-only":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), place)

    def _inside(self, place: object) -> bool:
        return str(os.path.abspath(os.fspath(place))).startswith(self.root)  # type: ignore[call-overload]  # noqa: PTH100


def nothing() -> None:
    """Not all things can be half done."""


@contextmanager
def watched(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Every door to the disk that a run uses, with the injector behind it."""
    real_open, real_write, real_file = os.open, os.write, io.open

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)

        def create() -> None:
            os.close(real_open(path, flags, mode))

        if writes:
            disk.touch("open", path, not os.path.exists(path), create)  # noqa: PTH110
        descriptor = real_open(path, flags, mode, dir_fd=dir_fd)
        disk.mine.discard(descriptor)
        if writes and disk._inside(path):
            disk.mine.add(descriptor)
        return descriptor

    def written(descriptor: int, data: Any) -> int:
        half = memoryview(data)[: len(data) // 2]
        disk.touch("write", descriptor, True, lambda: real_write(descriptor, half))
        return real_write(descriptor, data)

    def filed(file: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        if not isinstance(file, int) and set(mode) & set("wax+"):
            disk.touch("file", file, True, lambda: real_file(file, mode, *more, **named).close())
        return real_file(file, mode, *more, **named)

    def simple(name: str, grow: bool = False) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(place: Any, *more: Any, **named: Any) -> Any:
            if named.get("dir_fd") is None:
                disk.touch(name, place, grow, nothing)
            return real(place, *more, **named)

        return call

    real_save = peft_format.save_file

    def saved(tensors: Any, path: Path) -> None:
        # It writes behind Python's back, and its errors are its own.
        try:
            disk.touch("save", path, True, lambda: path.write_bytes(b"half"))
        except OSError as error:
            raise SafetensorError(f"I/O error: {error.strerror}") from None
        real_save(tensors, path)

    with monkeypatch.context() as patch:
        for name in ("replace", "rename", "unlink", "remove", "ftruncate", "rmdir"):
            patch.setattr(os, name, simple(name))
        for name in ("mkdir", "fsync"):
            patch.setattr(os, name, simple(name, grow=True))
        patch.setattr(os, "open", opened)
        patch.setattr(os, "write", written)
        patch.setattr(io, "open", filed)
        patch.setattr(builtins, "open", filed)
        patch.setattr(peft_format, "save_file", saved)
        yield disk


def left(root: Path) -> dict[str, object]:
    """Everything in a run folder, to the byte, but for how long it took."""
    found: dict[str, object] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(root))] = path.read_bytes()
    rows = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    found["metrics.jsonl"] = [
        {k: v for k, v in row.items() if k not in ("seconds", "stages")} for row in rows
    ]
    return found


def other(found: dict[str, object], whole: dict[str, object]) -> list[str]:
    """The files that one run left otherwise than another, or that only one of them left."""
    names = sorted(found.keys() | whole.keys())
    return [name for name in names if found.get(name) != whole.get(name)]


def undisturbed(run: Prepared, patch: pytest.MonkeyPatch) -> tuple[dict[str, object], list[str]]:
    """What a run leaves, and everything that it does to the disk on the way."""
    root = Path(run.config.run.dir)
    with watched(Disk(root), patch) as disk:
        federate(run, resume=True)
    return left(root), disk.done


def stopped(run: Prepared, fault: str, stop: int, patch: pytest.MonkeyPatch) -> bool:
    """Run, or go on, and be killed at one operation; whether that came at all."""
    try:
        with watched(Disk(Path(run.config.run.dir), fault, stop), patch):
            federate(run, resume=True)
    except Killed:
        return True
    return False


def test_the_injector_sees_all_that_a_run_does_to_its_folder(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python itself tells of every file that is opened, made, renamed or removed."""
    seen: list[str] = []
    on = [True]
    names = {
        "open": "open",
        "os.mkdir": "mkdir",
        "os.rename": "replace",
        "os.remove": "unlink",
        "os.rmdir": "rmdir",
        "os.truncate": "ftruncate",
    }

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not on or event not in names or str(tmp_path) not in str(arguments[0]):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        seen.append(f"{names[event]} {arguments[0]}")

    sys.addaudithook(hook)
    for kind in ("scaffold", "ditto", "fedex"):
        _, done = undisturbed(at(world, tmp_path / kind, kind), monkeypatch)
        told = {
            line.replace("file ", "open ", 1)
            for line in done
            if line.partition(" ")[0] not in ("write", "fsync", "save")
        }
        assert {line for line in seen if f"/{kind}" in line} <= told | {
            f"rmdir {tmp_path}"  # what is removed by descriptor is told relative to nothing
        }
        seen.clear()
    on.clear()


# Kills

HALF = ("open", "write", "file", "save")
"""What can be cut in the middle."""


def moments(done: list[str]) -> list[tuple[str, int]]:
    """Every way in which a run that does these things can be stopped."""
    clean = [("kill", stop) for stop in range(1, len(done) + 1)]
    cut = [
        ("kill in the middle", stop)
        for stop, line in enumerate(done, 1)
        if line.partition(" ")[0] in HALF
    ]
    return clean + cut


def recorded(root: Path) -> int:
    """Whole lines of the ledger."""
    ledger = root / "ledger.jsonl"
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def sweep(run: Prepared, patch: pytest.MonkeyPatch, chosen: slice = slice(None)) -> int:
    """Stop a run at every single thing it does, let it go on, and compare all that it leaves."""
    root = Path(run.config.run.dir)
    whole, done = undisturbed(run, patch)
    tried = moments(done)[chosen]
    wrong = []
    for fault, stop in tried:
        shutil.rmtree(root)
        assert stopped(run, fault, stop, patch)
        if fault == "kill" and (records := recorded(root)):
            assert check_run(root).records == records
        federate(run, resume=True)
        wrong += [f"{fault} at {stop}, {done[stop - 1]}: {n}" for n in other(left(root), whole)]
    assert not wrong
    return len(tried)


def test_killed_at_every_single_write_a_run_ends_with_the_same_bytes(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep(at(world, tmp_path / "run"), monkeypatch) > 100


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"scaffold"}))
def test_every_kind_of_memory_survives_kills(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    sweep(at(world, tmp_path / "run", kind), monkeypatch, slice(3, None, 19))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_memory_survives_every_kill(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    assert sweep(at(world, tmp_path / "run", kind), monkeypatch) > 100


def test_killed_again_while_it_goes_on(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies after every few things it does still gets to the same end."""
    run = at(world, tmp_path / "run", "ditto")
    root = Path(run.config.run.dir)
    whole, done = undisturbed(run, monkeypatch)
    for patience in (45, 55):
        shutil.rmtree(root)
        deaths = 0
        while stopped(run, "kill in the middle", patience, monkeypatch):
            deaths += 1
            assert deaths < len(done)
        assert deaths > 1
        assert other(left(root), whole) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_any_two_kills_in_a_row(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    run = at(world, tmp_path / "run", kind)
    root = Path(run.config.run.dir)
    whole, done = undisturbed(run, monkeypatch)
    draw = np.random.default_rng(0)
    tried = moments(done)
    for fault, stop in tried:
        shutil.rmtree(root)
        assert stopped(run, fault, stop, monkeypatch)
        again = str(draw.choice(["kill", "kill in the middle"]))
        stopped(run, again, int(draw.integers(1, 40)), monkeypatch)
        federate(run, resume=True)
        assert other(left(root), whole) == [], (fault, stop)


# Disks that refuse


def refused(
    run: Prepared, fault: str, stop: int, patch: pytest.MonkeyPatch
) -> SottovoceError | None:
    """The error of a run whose disk refuses from one operation on; None where it ran through."""
    try:
        with watched(Disk(Path(run.config.run.dir), fault, stop), patch):
            federate(run, resume=True)
    except SottovoceError as error:
        return error
    return None


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_refuses_at_any_write_gets_a_clear_error_and_the_run_goes_on(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    run = at(world, tmp_path / "run")
    root = Path(run.config.run.dir)
    whole, done = undisturbed(run, monkeypatch)
    for stop in range(1, len(done) + 1, 2):
        shutil.rmtree(root)
        error = refused(run, fault, stop, monkeypatch)
        if error is not None:
            assert error.remedy, error
            assert "space" in str(error) or "ead-only" in str(error)
        else:
            assert fault == "full", "only what frees room may still be done"
        if recorded(root):
            assert check_run(root).records == recorded(root), "the last good round is usable"
        federate(run, resume=True)
        assert other(left(root), whole) == [], done[stop - 1]


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_disk_that_refuses_while_a_killed_run_goes_on(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Clearing away what a kill has left needs the disk as well."""
    run = at(world, tmp_path / "run")
    root = Path(run.config.run.dir)
    whole, done = undisturbed(run, monkeypatch)
    last_line = max(place for place, line in enumerate(done, 1) if line.startswith("write"))
    halfway = [place for place, line in enumerate(done, 1) if "00001.safetensors.part" in line][1]
    for stop in (halfway, last_line, len(done) - 6):
        shutil.rmtree(root)
        assert stopped(run, "kill in the middle", stop, monkeypatch)
        with watched(Disk(root), monkeypatch) as disk:
            kept = root.with_name("kept")
            shutil.copytree(root, kept)
            federate(run, resume=True)
        for place in range(1, min(12, len(disk.done))):
            shutil.rmtree(root)
            shutil.copytree(kept, root)
            error = refused(run, fault, place, monkeypatch)
            assert error is None or error.remedy, error
            federate(run, resume=True)
            assert other(left(root), whole) == [], (stop, place)
        shutil.rmtree(kept)


@pytest.mark.parametrize("kind", ["scaffold", "fedex"])
def test_a_result_that_does_not_fit_on_the_disk_is_a_clear_error(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The libraries that write it raise errors of their own; here the system itself refuses."""
    run = at(world, tmp_path / "run", kind)
    real = local.write_result
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def cramped(*arguments: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
        try:
            real(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    monkeypatch.setattr(local, "write_result", cramped)
    with pytest.raises(SottovoceError, match="too large") as seen:
        federate(run)
    assert "--resume" in seen.value.remedy
    monkeypatch.undo()
    assert not check_run(tmp_path / "run").complete
    federate(run, resume=True)
    assert check_run(tmp_path / "run").complete
    assert not list((tmp_path / "run").glob(".*"))


# Where a run begins


def nothing_yet(root: Path) -> None:
    """The folder itself is missing."""


def empty_folder(root: Path) -> None:
    root.mkdir()


def empty_ledger(root: Path) -> None:
    root.mkdir()
    (root / "ledger.jsonl").touch()


def half_a_line(root: Path) -> None:
    root.mkdir()
    (root / "ledger.jsonl").write_bytes(b'{"index":0,"kind":"sta')


def configuration_only(root: Path) -> None:
    root.mkdir()
    (root / "config.toml").write_text("seed = 5")


def first_weights_only(root: Path) -> None:
    configuration_only(root)
    (root / "rounds").mkdir()
    (root / "rounds" / "00000.safetensors").write_bytes(b"old")
    (root / "rounds" / ".00000.safetensors.part").write_bytes(b"half")


@pytest.mark.parametrize(
    "begun",
    [
        nothing_yet,
        empty_folder,
        empty_ledger,
        half_a_line,
        configuration_only,
        first_weights_only,
    ],
)
def test_without_a_complete_record_resume_starts_from_the_beginning(
    world: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begun: Callable[[Path], None],
) -> None:
    run = at(world, tmp_path / "run")
    whole, _ = undisturbed(run, monkeypatch)
    shutil.rmtree(tmp_path / "run")
    begun(tmp_path / "run")
    federate(run, resume=True)
    assert other(left(tmp_path / "run"), whole) == []


def test_a_ledger_without_its_configuration_is_no_beginning(
    world: Prepared, tmp_path: Path
) -> None:
    run = at(world, tmp_path / "run")
    federate(run)
    (tmp_path / "run" / "config.toml").unlink()
    before = (tmp_path / "run" / "ledger.jsonl").read_bytes()
    with pytest.raises(VerificationError, match=r"config\.toml.*Restore"):
        federate(run, resume=True)
    with pytest.raises(ConfigError, match="holds a run already"):
        federate(run)
    assert (tmp_path / "run" / "ledger.jsonl").read_bytes() == before


def test_rounds_without_their_ledger_are_no_beginning(world: Prepared, tmp_path: Path) -> None:
    run = at(world, tmp_path / "run")
    federate(run)
    ledger = tmp_path / "run" / "ledger.jsonl"
    for lose in (ledger.unlink, ledger.touch):
        lose()
        before = left(tmp_path / "run")
        for resume in (True, False):
            with pytest.raises(SottovoceError, match=r"ledger\.jsonl is missing|holds a run"):
                federate(run, resume=resume)
        assert other(left(tmp_path / "run"), before) == []


# Two at once

HOLDER = """
import fcntl, sys, time
with open(sys.argv[1], "ab") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_processes_never_share_a_run_folder(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = at(world, tmp_path / "run")
    root = Path(run.config.run.dir)
    assert stopped(run, "kill", 60, monkeypatch)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    command = [sys.executable, "-c", HOLDER, str(root / "ledger.jsonl")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdin is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="held by another process"):
            federate(run, resume=True)
        with pytest.raises(ConfigError, match="holds a run already"):
            federate(run)
        assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        first.stdin.close()
    federate(run, resume=True)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("other_run", ["finished", "under way"])
def test_who_starts_a_moment_later_in_the_same_folder_is_refused(
    world: Prepared,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    resume: bool,
    other_run: str,
) -> None:
    """Both have seen that there is no run in the folder; only one of them may begin."""
    root = tmp_path / "run"
    first, second = at(world, root), at(world, root, seed=int(resume))
    real = local.folders.create
    held: list[Any] = []

    def late(*arguments: Any, **named: Any) -> Any:
        folder = real(*arguments, **named)
        monkeypatch.setattr(local.folders, "create", real)
        if other_run == "finished":
            federate(first)
        else:
            assert stopped(first, "kill", 60, monkeypatch)
            held.append((root / "ledger.jsonl").open("ab"))
            fcntl.flock(held[0], fcntl.LOCK_EX)
        return folder

    monkeypatch.setattr(local.folders, "create", late)
    with pytest.raises(
        UsageError, match=r"holds a run already|held by another|configuration differs"
    ):
        federate(second, resume=resume)
    for file in held:
        file.close()
    federate(first, resume=True)
    assert check_run(root).complete


# Another run


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 9}, "seed is 9 and was 0"),
        ({"train": {"learning_rate": 0.5}}, "train.learning_rate is 0.5 and was 0.05"),
        ({"federation": {"rounds": 3}}, "federation.rounds is 3 and was 2"),
        ({"run": {"threads": 2}}, "run.threads is 2 and was 1"),
        (
            {"federation": {"strategy": {"name": "fedprox", "mu": 0.5}}},
            "federation.strategy.mu is 0.5 and was None; "
            "federation.strategy.name is 'fedprox' and was 'scaffold'",
        ),
        ({"model": {"lora": {"rank": 3}}}, "model.lora.rank is 3 and was 8"),
    ],
)
def test_another_configuration_is_named_key_by_key(
    world: Prepared, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    federate(at(world, tmp_path / "run"))
    with pytest.raises(ConfigError) as seen:
        federate(at(world, tmp_path / "run", **changes), resume=True)
    assert said in str(seen.value)


def test_other_data_another_model_and_other_packages_are_named_with_both_values(
    world: Prepared, tmp_path: Path, attach: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = at(world, tmp_path / "run")
    federate(run)
    began = json.loads((tmp_path / "run/ledger.jsonl").read_text().splitlines()[0])["payload"]

    def refusal(changed: Prepared) -> str:
        with pytest.raises(VerificationError) as seen:
            federate(changed, resume=True)
        return str(seen.value)

    fewer = replace(world.parties[0], train=world.parties[0].train[1:])
    moved = replace(run, parties=(fewer, *world.parties[1:]))
    said = refusal(moved)
    assert said.startswith(f"data_sha256 is {moved.data_sha256!r}")
    assert repr(began["data_sha256"]) in said

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    said = refusal(replace(run, model=attach("llama", world.model.settings, seed=3, **shape)))
    assert said.startswith("model_sha256 is ")
    assert repr(began["model_sha256"]) in said

    for package in identity.PACKAGES:
        with monkeypatch.context() as patch:
            real = identity.version
            patch.setattr(identity, "version", lambda n: "0.0.1" if n == package else real(n))  # noqa: B023
            said = refusal(run)
        assert f"packages.{package} is '0.0.1'" in said
        assert f"started with {began['packages'][package]!r}" in said
    with monkeypatch.context() as patch:
        patch.setattr(sottovoce, "__version__", "9.9.9")
        assert f"sottovoce is '9.9.9', and the run was started with {began['sottovoce']!r}" in (
            refusal(run)
        )
    federate(run, resume=True)


# Swapped checkpoints


def test_no_round_starts_from_weights_that_the_ledger_does_not_know(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first weights, the newest, and the older ones that a late client still trains from."""
    run = at(world, tmp_path / "run", "asynchronous")
    root = tmp_path / "run"
    whole, done = undisturbed(run, monkeypatch)
    lines = [place for place, line in enumerate(done, 1) if line.startswith("fsync")]
    ages = [
        json.loads(line)["payload"] for line in (root / "ledger.jsonl").read_text().splitlines()
    ]
    oldest = {
        payload["round"]: payload["round"] - max(payload["staleness"])
        for payload in ages
        if "staleness" in payload
    }
    assert any(age < index for index, age in oldest.items()), "somebody is late"
    refusals = 0
    for stop in lines[::2]:
        shutil.rmtree(root)
        assert stopped(run, "kill", stop, monkeypatch)
        finished = recorded_rounds(root)
        if finished is None or finished not in oldest:
            continue
        wrong = root / "rounds" / f"{oldest[finished]:05d}.safetensors"
        swapped(wrong)
        with pytest.raises(
            VerificationError, match=f"files of round {oldest[finished]} |{wrong.name}"
        ):
            federate(run, resume=True)
        swapped(wrong)
        federate(run, resume=True)
        assert other(left(root), whole) == []
        refusals += 1
    assert refusals > 3


def test_the_first_round_starts_from_the_weights_in_the_ledger(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = at(world, tmp_path / "run")
    _, done = undisturbed(run, monkeypatch)
    stop = next(place for place, line in enumerate(done, 1) if "00001.safetensors" in line)
    shutil.rmtree(tmp_path / "run")
    assert stopped(run, "kill", stop, monkeypatch)
    swapped(tmp_path / "run" / "rounds" / "00000.safetensors")
    before = recorded(tmp_path / "run")
    with pytest.raises(VerificationError, match=r"round 0|00000\.safetensors"):
        federate(run, resume=True)
    assert recorded(tmp_path / "run") == before


def recorded_rounds(root: Path) -> int | None:
    """Rounds in the ledger; None where it has not begun."""
    if not recorded(root):
        return None
    return (root / "ledger.jsonl").read_bytes().count(b'"kind":"round"')


def swapped(path: Path) -> None:
    """Turn over the bits of the last number of a file; twice gives it back."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80
    path.write_bytes(data)
