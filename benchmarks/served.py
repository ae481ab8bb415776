"""``sotto serve`` as its users start it: a process of its own, spoken to over loopback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

SOTTO = [sys.executable, "-c", "from sottovoce.cli import main; main()"]


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Args:
        host: where it listens.
        port: at which.
        process: of the server.
    """

    host: str
    port: int
    process: psutil.Process

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://{self.host}:{self.port}"

    def gauges(self) -> Mapping[str, float]:
        """What it tells to Prometheus."""
        lines = httpx.get(f"{self.address}/metrics").text.splitlines()
        found = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        return {name: float(value) for name, _, value in found}

    def resident(self) -> int:
        """Bytes of memory that it holds."""
        return int(self.process.memory_info().rss)

    def descriptors(self) -> int:
        """Files and sockets that it has open."""
        return int(self.process.num_fds())


@contextmanager
def serving(run: Path, log: Path, *settings: str) -> Iterator[Served]:
    """A server of a run, until the end of the context; it must end in good order."""
    with log.open("w") as errors:
        command = [*SOTTO, "serve", str(run), "--port", "0", "--json", *settings]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("the server's output is not to be read")
        with process.stdout as told:
            ready = told.readline()
        if not ready:
            raise RuntimeError(log.read_text())
        host, _, port = json.loads(ready)["address"].removeprefix("http://").partition(":")
        yield Served(host, int(port), psutil.Process(process.pid))
        process.terminate()
        if process.wait(60):
            raise RuntimeError(log.read_text())
    finally:
        process.kill()
        process.wait()
