"""A consortium of real processes that can be watched, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import tomli_w
from network_nursery import Born, open_nursery

from sottovoce.config import make_config
from sottovoce.run.local import federate
from sottovoce.run.network_demo import make_consortium, sotto
from sottovoce.run.prepare import prepare

WATCHED = Path(__file__).resolve().with_name("watched_sotto.py")
SUPERLINK = "sottovoce.run.flower.superlink"
DOOR = "sottovoce.run.flower.door"
SMALL: Mapping[str, Mapping[str, Any]] = {
    "train": {
        "steps_per_round": 2,
        "batch_size": 2,
        "max_length": 64,
        "learning_rate": 0.01,
        "memory_budget_mib": 1,
    },
    "federation": {"rounds": 3, "strategy": {"name": "fedavg"}},
    "secure": {"aggregation": "secagg", "clip_norm": 2.0},
}
"""A run of few short rounds, in which every client trains by itself."""

Process = subprocess.Popen[bytes] | Born


@dataclass
class Consortium:
    """A server and its sites as processes, with everything that they write in one folder.

    Args:
        folder: where ``make_consortium`` has written.
        born: whether processes come from the nursery, and not as a user starts them.
        sites: the process of each site and each helper that was started.
        server: the server's process, once it was started.
        run_name: of the server's run folder.
        overrides: settings of that run, beside what the file says.
        file: the server's configuration.
        prefix: a command that starts another one, for processes that a user starts, by site; the
            server's under the empty name.
    """

    folder: Path
    born: bool = True
    sites: dict[str, Process] = field(default_factory=dict)
    server: Process | None = None
    run_name: str = "run"
    overrides: tuple[str, ...] = ()
    file: str = "consortium.toml"
    prefix: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _logs: dict[str, tuple[int, list[dict[str, Any]]]] = field(default_factory=dict)
    _marks: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All sites that have a file."""
        return sorted(file.parent.name for file in self.folder.glob("*/site.toml"))

    @property
    def helper_names(self) -> list[str]:
        """All helpers that have a file."""
        return sorted(file.parent.name for file in self.folder.glob("*/helper.toml"))

    @property
    def run(self) -> Path:
        """The server's run folder."""
        return self.folder / self.run_name

    @property
    def port(self) -> int:
        """Where the server listens."""
        return int(self._settings["address"].rpartition(":")[2])

    @property
    def roster(self) -> dict[str, str]:
        """Every site's line."""
        found: dict[str, str] = self._settings["roster"]
        return found

    @property
    def _settings(self) -> dict[str, Any]:
        tree = tomllib.loads((self.folder / "consortium.toml").read_text())
        return dict(tree["network"])

    def start_site(self, name: str) -> None:
        """Start a site, or start it again."""
        place = self.folder / name
        told = place / "site.log", place / "site.out"
        self.sites[name] = self._start(["site", str(place / "site.toml")], *told, name)

    def start_helper(self, name: str) -> None:
        """Start a helper, or start it again."""
        place = self.folder / name
        told = place / "helper.log", place / "helper.out"
        self.sites[name] = self._start(["helper", str(place / "helper.toml")], *told, name)

    def begin(self, run_name: str = "run", *overrides: str) -> None:
        """Start the server with a new run; what was logged before counts no more."""
        self.run_name, self.overrides = run_name, overrides
        everybody = ("", *self.names, *self.helper_names)
        self._marks = {name: len(self._all_events(name)) for name in everybody}
        self.start_server()

    def configured(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Have the next run go by another file: the first one with some sections exchanged."""
        tree = tomllib.loads((self.folder / "consortium.toml").read_text())
        self.file = "changed.toml"
        (self.folder / self.file).write_text(tomli_w.dumps({**tree, **changes}))

    def start_server(self) -> None:
        """Start the server, or start it again with the same command."""
        arguments = ["server", str(self.folder / self.file), "--json"]
        for change in (f'run.dir="{self.run}"', *self.overrides):
            arguments += ["--set", change]
        self.server = self._start(arguments, self.folder / "server.log", self.told_file, "")

    def _start(self, arguments: list[str], log: Path, out: Path, name: str) -> Process:
        if self.born and name not in self.prefix:
            return Born(arguments, self.secrets_file, log, out)
        command = [*self.prefix.get(name, ()), sys.executable, "-P", str(WATCHED)]
        command += [str(self.secrets_file), *arguments]
        with log.open("ab") as lines, out.open("wb") as told:
            return subprocess.Popen(command, stdout=told, stderr=lines)

    @property
    def secrets_file(self) -> Path:
        """What the server's processes keep from everybody, one secret a line; written by tests."""
        return self.folder / "secrets.of.the.test"

    @property
    def bundle(self) -> Path:
        """If it is there, a bundle that the server offers in place of its own."""
        return self.secrets_file.with_suffix(".bundle")

    @property
    def told_file(self) -> Path:
        """Where the server's JSON goes."""
        return self.folder / "told.json"

    def finish(self, seconds: float) -> dict[str, Any]:
        """Wait for the server to end; what it printed."""
        code = self.server_ended(seconds)
        assert code == 0, self.last_words()
        told: dict[str, Any] = json.loads(self.told_file.read_text().splitlines()[-1])
        return told

    def server_ended(self, seconds: float) -> int:
        """Wait for the server to end; its exit code."""
        assert self.server is not None
        try:
            return self.server.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server goes on: {self.last_words()}") from None

    def last_words(self) -> str:
        """The end of the server's log."""
        return "\n".join((self.folder / "server.log").read_text().splitlines()[-12:])

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What a site, or without a name the server, has logged since the run began."""
        return self._all_events(name)[self._marks.get(name, 0) :]

    def _all_events(self, name: str) -> list[dict[str, Any]]:
        """All lines, each of which is JSON but a command's last word; read as they come."""
        kind = "helper" if name in self.helper_names else "site" if name else "server"
        log = self.folder / name / f"{kind}.log"
        offset, found = self._logs.get(name, (0, []))
        if log.exists():
            with log.open("rb") as file:
                file.seek(offset)
                whole, line, _ = file.read().rpartition(b"\n")
            lines = [text for text in whole.split(b"\n") if text]
            found += [json.loads(text) for text in lines if not text.startswith(b"error: ")]
            self._logs[name] = offset + len(whole) + len(line), found
        return found

    def asked(self, name: str, kind: str, index: int) -> bool:
        """Whether a site has begun to work on a letter."""
        return any(
            event["event"] == "asked" and event["kind"] == kind and event["round"] == index
            for event in self.events(name)
        )

    def until_asked(self, name: str, kind: str, index: int, seconds: float = 120.0) -> None:
        """Wait until a site has begun to work on a letter."""

        def true() -> bool:
            ended = self.server is not None and self.server.poll() is not None
            assert not ended, f"the server has ended: {self.last_words()}"
            return self.asked(name, kind, index)

        wait_for(true, seconds, f"{name} is asked for {kind} {index}")

    def child(self, process: Process, module: str) -> psutil.Process | None:
        """A process's child that runs a module; None while there is none."""
        with suppress(psutil.NoSuchProcess):
            for one in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    if module in one.cmdline():
                        return one
        return None

    def kill(self, what: str, name: str = "") -> None:
        """SIGKILL one of ``superlink``, ``server``, ``door``, ``vault`` and ``helper``, by name.

        A server, a site or a helper is waited for; what it had started ends by itself.
        """
        match what:
            case "superlink":
                assert self.server is not None
                self._kill_child(self.server, SUPERLINK)
            case "door":
                self._kill_child(self.sites[name], DOOR)
            case "server":
                assert self.server is not None
                _kill_tree(self.server)
            case "vault" | "helper":
                _kill_tree(self.sites[name])

    def _kill_child(self, parent: Process, module: str) -> None:
        child = wait_for(lambda: self.child(parent, module), 30, f"{module} is there")
        child.send_signal(signal.SIGKILL)

    def processes(self) -> list[psutil.Process]:
        """All processes that live now."""
        tops = [process for process in (self.server, *self.sites.values()) if process is not None]
        found = []
        for top in tops:
            with suppress(psutil.NoSuchProcess):
                one = psutil.Process(top.pid)
                found += [one, *one.children(recursive=True)]
        return found

    def close(self) -> None:
        """End everything."""
        tops = [process for process in (self.server, *self.sites.values()) if process is not None]
        for process in tops:
            # A stopped process is not ended by anything less.
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.terminate()
        for process in tops:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                _kill_tree(process)


def _kill_tree(process: Process) -> None:
    """Kill a process, and see that what it has started ends by itself."""
    children = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(30)
    _, left = psutil.wait_procs(children, timeout=10)
    for child in left:
        child.kill()
    assert not left, "a child has outlived its parent"


def wait_for(found: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait until something is there.

    Raises:
        AssertionError: it was not, for so long.
    """
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"after {seconds} s it is not so that {what}"
        time.sleep(0.02)
    return value


@contextmanager
def consortium(
    folder: Path,
    changes: Mapping[str, Mapping[str, Any]] = SMALL,
    *,
    shops: int = 3,
    each: int = 8,
    born: bool = True,
    helpers: int = 0,
) -> Iterator[Consortium]:
    """A consortium whose files are written; at the end all its processes are ended."""
    if born:
        open_nursery()
    written = make_consortium(folder, changes, shops=shops, each=each, helpers=helpers)
    made = Consortium(written, born)
    try:
        yield made
    finally:
        made.close()


def stricter(one: Consortium, name: str, **rules: Any) -> None:
    """Rewrite rules of a site's policy."""
    place = one.folder / name / "policy.toml"
    place.write_text(tomli_w.dumps(tomllib.loads(place.read_text()) | rules))


def by_one_process(one: Consortium, names: list[str], folder: Path) -> str:
    """The adapter that ``sotto run`` makes of the same text and configuration; its hash."""
    rows = []
    for name in names:
        for line in (one.folder / name / "conversations.jsonl").read_text().splitlines():
            rows.append(json.dumps(json.loads(line) | {"client": name}))
    folder.mkdir(parents=True)
    (folder / "all.jsonl").write_text("\n".join(rows) + "\n")
    tree = tomllib.loads((one.folder / "consortium.toml").read_text())
    del tree["network"]
    tree["run"]["dir"] = str(folder / "run")
    tree["data"] |= {"path": str(folder / "all.jsonl"), "scrub": "off"}
    return federate(prepare(make_config(tree, place="test"))).adapter_sha256


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``sotto`` to its end."""
    return subprocess.run(sotto(*arguments), capture_output=True, text=True, check=False)
