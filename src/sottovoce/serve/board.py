"""What the dashboard asks: how the runs beside those that are served go. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

from fastapi import FastAPI, Request

from sottovoce.run.overview import (
    Overview,
    checked_ledger,
    found_beside,
    in_full,
    in_short,
    look,
    state_of,
)
from sottovoce.serve.gate import Gate, Guest
from sottovoce.serve.problems import Problem

_HELD: Final = 16
"""Runs whose folders are kept as they were read; others are read again."""

Told = TypeVar("Told")
Refusals = dict[int | str, dict[str, Any]]


class Board:
    """Reads run folders, and reads again only what has changed.

    Args:
        runs: those that are served; what lies beside them is told as well.
    """

    def __init__(self, runs: Sequence[Path]) -> None:
        self._runs = runs
        self._seen: dict[Path, tuple[object, Overview]] = {}
        self._checked: dict[Path, tuple[object, Mapping[str, Any]]] = {}
        self._checking = Lock()

    def every(self) -> list[dict[str, Any]]:
        """All runs, the one that changed last first."""
        rows = [in_short(self._look(root)) for root in found_beside(self._runs).values()]
        return sorted(rows, key=lambda row: (-row["changed"], row["name"]))

    def one(self, name: str) -> dict[str, Any]:
        """One run.

        Raises:
            Problem: 404 where there is none of this name.
        """
        root = found_beside(self._runs).get(name)
        if root is None:
            raise Problem(404, "There is no run of this name.", code="run_not_found")
        seen = self._look(root)
        # To read all files of a large run takes a while, and many may ask at once.
        with self._checking:
            if state_of(seen) == "running":
                return in_full(seen, checked_ledger(seen))
            return in_full(seen, _kept(self._checked, root, lambda: checked_ledger(seen)))

    def _look(self, root: Path) -> Overview:
        return _kept(self._seen, root, lambda: look(root))


def _kept(held: dict[Path, tuple[object, Told]], root: Path, read: Callable[[], Told]) -> Told:
    """What was read before, as long as the ledger is as it was then."""
    stat = (root / "ledger.jsonl").stat()
    now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    before = held.get(root)
    if before is not None and before[0] == now:
        return before[1]
    told = read()
    held[root] = (now, told)
    while len(held) > _HELD:
        del held[next(iter(held))]
    return told


def add_board(app: FastAPI, gate: Gate, board: Board, refusals: Refusals) -> None:
    """Give the application its two addresses."""

    @app.get("/v1/runs", responses=refusals)
    def runs(request: Request) -> dict[str, Any]:
        """How the runs go, each in a few words."""
        gate.require_dashboard(_guest(request))
        return {"runs": board.every()}

    @app.get("/v1/runs/{name}", responses=refusals)
    def run(request: Request, name: str) -> dict[str, Any]:
        """How one run goes."""
        gate.require_dashboard(_guest(request))
        return board.one(name)


def _guest(request: Request) -> Guest:
    guest: Guest = request.state.guest
    return guest
