"""Where the processes of a test come from: what they load is loaded here once, and then forked.

All but the start is as it is otherwise: each process runs the same command, in a memory of its own,
and a SIGKILL ends that one and nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")


def open_nursery() -> None:
    """Have the nursery load its modules, while the test does something else."""
    CONTEXT.set_forkserver_preload(["network_warm"])
    before = dict(os.environ)
    # Not every version of Python tells the fork server where else modules lie.
    paths = [str(Path(__file__).parent), *filter(None, [before.get("PYTHONPATH")])]
    os.environ.update(OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join(paths))
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)


class Born:
    """A process of the nursery, as ``subprocess`` would hand it out.

    Args:
        arguments: of ``sotto``.
        told: where the secrets of a server are written.
        log: takes standard error.
        out: takes standard output.
    """

    def __init__(self, arguments: Sequence[str], told: Path, log: Path, out: Path) -> None:
        places = [str(place) for place in (told, log, out)]
        self._process = CONTEXT.Process(target=live, args=(list(arguments), *places), daemon=True)
        self._process.start()
        self.pid = int(self._process.pid or 0)

    def poll(self) -> int | None:
        """The exit code; None while it lives."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end; the exit code."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("a process of the nursery", seconds or 0)
        return code

    def kill(self) -> None:
        """End it by force."""
        self._process.kill()

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()


def live(arguments: list[str], told: str, log: str, out: str) -> None:
    """Be ``sotto`` with these arguments, for as long as the test lives."""
    threading.Thread(target=_end_with_the_test, daemon=True).start()
    for number, place, how in ((1, out, os.O_TRUNC), (2, log, os.O_APPEND)):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | how, 0o644), number)
    from watched_sotto import run

    sys.argv = ["sotto", *arguments]
    run(Path(told))


def _end_with_the_test() -> None:
    test = multiprocessing.parent_process()
    if test is not None:
        test.join()
        os._exit(1)
