"""The server as a process: from run folders to answers, until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from sottovoce.errors import ConfigError
from sottovoce.serve.answer import Answers
from sottovoce.serve.api import make_app
from sottovoce.serve.board import Board
from sottovoce.serve.engine import Engine, Limits
from sottovoce.serve.filters import ReplyFilters
from sottovoce.serve.gate import Gate, is_loopback
from sottovoce.serve.keys import KeyFile
from sottovoce.serve.shelf import open_shelf, read_runs

_log = logging.getLogger(__name__)

_BACKLOG = 2048


@dataclass(frozen=True)
class Serving:
    """What is served, to whom, and how long the end may take.

    Args:
        runs: run folders of one base model; without ``models`` also folders in which runs lie.
        host: the address to listen at.
        port: 0 takes one that is free.
        keys: the file with the keys.
        limits: what is taken on at once.
        patience: seconds in which what is under way may be finished, once it is told to end.
        models: whether the models of the runs answer; without, only how runs go is told.
    """

    runs: Sequence[Path]
    host: str = "127.0.0.1"
    port: int = 8000
    keys: Path | None = None
    limits: Limits = field(default_factory=Limits)
    patience: int = 30
    models: bool = True

    @property
    def places(self) -> Sequence[Path]:
        """The folders in which the runs lie; what lies beside them there is told of as well."""
        found = [run.resolve() for run in self.runs]
        if self.models:
            return [run.parent for run in found]
        return [run.parent if (run / "ledger.jsonl").is_file() else run for run in found]

    @property
    def key_file(self) -> Path:
        """Where the keys lie; beside the first run where nothing else is said."""
        return self.places[0] / "keys.json" if self.keys is None else self.keys


def serve(serving: Serving, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is under way, and end.

    Args:
        serving: what to serve.
        ready: told the address once requests are answered.

    Guarantees:
        - the address is bound before the model is loaded, so that a port in use is told at once;
        - a second signal ends it without waiting.

    Raises:
        ConfigError: the address cannot be used, the runs cannot be served together, or there is no
            run to be shown.
    """
    if not serving.models:
        _require_folders(serving.runs)
    with (
        bound(serving.host, serving.port) as listener,
        _answers(serving) if serving.models else nullcontext() as answers,
    ):
        gate = Gate(KeyFile(serving.key_file), open_without=is_loopback(serving.host))
        app = make_app(answers, gate, Board(serving.places))
        if warning := gate.warning():
            _log.warning(warning)
        asyncio.run(_run(app, listener, serving.patience, ready))


@contextmanager
def _answers(serving: Serving) -> Iterator[Answers]:
    """Whoever answers for the models, once all is loaded."""
    runs = read_runs(serving.runs)
    filter_of = ReplyFilters([run.config.data.pii for run in runs])
    shelf = open_shelf(runs)
    filter_of.wait()
    with Engine(shelf.model.base, shelf.model.applied_to_rows, serving.limits) as engine:
        yield Answers(shelf, engine, filter_of=filter_of)


def _require_folders(runs: Sequence[Path]) -> None:
    for run in runs:
        if not run.is_dir():
            raise ConfigError(
                f"{run} is no folder",
                allowed="a run folder, or a folder in which runs lie",
                remedy="Name the folder that run.dir lies in; a run that begins later is shown, too",
            )


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at an address.

    Raises:
        ConfigError: the address is in use, or is not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol left open, asyncio would not turn off Nagle's algorithm, and every stream
    # would wait 40 ms for the reader's acknowledgement of its first line.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened at: {error.strerror}",
                remedy="Choose another --host or --port",
            ) from error
        yield listener


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs it: uvicorn would raise them again once it has ended."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)
        if self.told is not None:
            self.told()

    told: Callable[[], None] | None = None


async def _run(
    app: FastAPI, listener: socket.socket, patience: int, ready: Callable[[str], None] | None
) -> None:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=patience,
    )
    server = _Server(config)
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    server.told = None if ready is None else lambda: ready(address)
    loop = asyncio.get_running_loop()

    def end() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await server.serve([listener])
