"""Rounds that take turns between systems: what one is told, when it may go, how long it took.

A system runs in processes of its own. They meet the script in a folder: it allows a round by a
file, and finds there what the round took. In between a system is suspended with all that it started:
sleeping runtimes look around ten times a second, and a pass on all cores waits for each such look.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
import psutil
from engine_arms import Setting, Shape
from safetensors.numpy import load_file, save_file

from sottovoce.update import Tensors

POLL = 0.01
"""Seconds between two looks at the folder."""
CALM = 0.1
"""The share of all cores that others may use when a round begins."""


@dataclass(frozen=True)
class Task:
    """What one launch of one system does.

    Args:
        setting: the model, the clients and their tokens.
        rounds: how many, the first included.
        workers: processes that train clients side by side.
        threads: torch's threads in each of them.
        folder: where script and system meet.
        reloads: every client's task loads the base model from disk.
    """

    setting: Setting
    rounds: int
    workers: int
    threads: int
    folder: str
    reloads: bool = False

    def to_json(self) -> str:
        """The task as text, for another process."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Task:
        """The inverse of ``to_json``."""
        fields = json.loads(text)
        setting = fields["setting"]
        shape = Shape(**setting["shape"])
        return Task(**{**fields, "setting": Setting(**{**setting, "shape": shape})})


class Turns:
    """A system's side: wait before each round, say how long it took, hand over the result."""

    def __init__(self, task: Task, *, speaks: bool = True) -> None:
        self._task = task
        self._folder = Path(task.folder)
        self._speaks = speaks
        self._ended = 0
        self._begun = 0.0
        self._script = os.getppid()

    def wait(self) -> None:
        """Sleep until the next round may begin; after the last one, go on at once.

        Raises:
            RuntimeError: the script was killed, so no round will ever begin.
        """
        if self._ended == self._task.rounds:
            return
        if self._speaks and not self._ended:
            _write(self._folder / "ready", "")
        while not (self._folder / f"begin-{self._ended}").exists():
            if os.getppid() != self._script:
                raise RuntimeError("the script that this process belongs to has gone")
            time.sleep(POLL)
        self._begun = time.perf_counter()

    def end(self) -> None:
        """A round is over."""
        seconds = time.perf_counter() - self._begun
        if self._speaks:
            _write(self._folder / f"seconds-{self._ended}", repr(seconds))
        self._ended += 1

    def finish(self, adapter: Tensors) -> None:
        """Write the final adapter.

        A system that did not see all rounds must not pass for one that did.
        """
        if self._ended != self._task.rounds:
            raise ValueError(f"{self._ended} rounds ended, {self._task.rounds} were asked for")
        if self._speaks:
            tensors = {name: np.ascontiguousarray(value) for name, value in adapter.items()}
            save_file(tensors, self._folder / "adapter.safetensors")


def _write(path: Path, text: str) -> None:
    """Write a file that is never seen half-written."""
    draft = path.with_suffix(".draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


class Running:
    """The script's side: a launched system, its rounds one by one, its end.

    Args:
        name: the system's, for messages.
        task: what it does.
        command: starts one of its processes.
        copies: what the environment of each process has beyond the script's own.
        said: takes what the processes print; read only when one of them fails.
    """

    def __init__(
        self,
        name: str,
        task: Task,
        command: Sequence[str],
        copies: Sequence[Mapping[str, str]],
        said: IO[str],
    ) -> None:
        self.name = name
        self._folder = Path(task.folder)
        self._said = said
        self._suspended: list[psutil.Process] = []
        begun = time.perf_counter()
        self._processes = [
            subprocess.Popen(
                command, env={**os.environ, **own}, stdout=said, stderr=subprocess.STDOUT
            )
            for own in copies
        ]
        try:
            self._await("ready")
            self._round(0)
        except BaseException:
            self.close()
            raise
        self.startup = time.perf_counter() - begun
        self._suspend()

    def round(self, index: int) -> float:
        """Let one round run; its seconds."""
        self._resume()
        seconds = self._round(index)
        self._suspend()
        return seconds

    def _round(self, index: int) -> float:
        (self._folder / f"begin-{index}").touch()
        return float(self._await(f"seconds-{index}"))

    def _suspend(self) -> None:
        """Stop every process of the system where it stands."""
        for process in self._processes:
            with suppress(psutil.NoSuchProcess):
                tree = psutil.Process(process.pid)
                self._suspended += [tree, *tree.children(recursive=True)]
        for one in self._suspended:
            with suppress(psutil.NoSuchProcess):
                one.suspend()

    def _resume(self) -> None:
        """Let them go on, those first that were stopped last."""
        while self._suspended:
            with suppress(psutil.NoSuchProcess):
                self._suspended.pop().resume()

    def finish(self) -> Tensors:
        """Wait for the processes to end; the final adapter."""
        self._resume()
        for process in self._processes:
            process.wait()
        self._require_health()
        adapter: Tensors = load_file(self._folder / "adapter.safetensors")
        return adapter

    def close(self) -> None:
        """End what still runs, and nothing else."""
        self._resume()
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
                process.wait()

    def _await(self, name: str) -> str:
        path = self._folder / name
        while not path.exists():
            self._require_health()
            time.sleep(POLL)
        return path.read_text(encoding="utf-8")

    def _require_health(self) -> None:
        codes = [process.poll() for process in self._processes]
        if any(codes):
            self._said.seek(0)
            end = self._said.read()[-4000:]
            raise RuntimeError(f"the processes of {self.name} ended with {codes}:\n{end}")


def await_calm(patience: float) -> tuple[float, float]:
    """Wait until hardly anything else runs; between rounds all systems are stopped.

    Args:
        patience: seconds after which the round begins all the same.

    Returns:
        The share of all cores that was busy when the wait ended, and how long it was.
    """
    begun = time.perf_counter()
    while True:
        busy = psutil.cpu_percent(interval=0.3) / 100
        waited = time.perf_counter() - begun
        if busy <= CALM or waited >= patience:
            return busy, waited
