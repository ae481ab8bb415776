"""What the dashboard asks: how runs go. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, TypeVar

from fastapi import FastAPI, Request

from sottovoce.run.overview import (
    Overview,
    checked_ledger,
    found_in,
    in_full,
    in_short,
    look,
    standing,
    state_of,
)
from sottovoce.serve.gate import Gate, Guest
from sottovoce.serve.problems import Problem

_HELD: Final = 4
"""Runs that are kept in memory as they were read; of the others a line each."""

Told = TypeVar("Told")
Kept = dict[Path, tuple[object, Told]]
Refusals = dict[int | str, dict[str, Any]]


class Board:
    """Reads run folders, and reads again only what has changed.

    Args:
        places: folders in which run folders lie.

    Guarantees:
        - many may ask at once, and none waits for the files of a run but who asks for that run;
        - a folder that goes away meanwhile is no trouble.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = places
        self._rows: Kept[dict[str, Any]] = {}
        self._seen: Kept[Overview] = {}
        self._checked: Kept[Mapping[str, Any]] = {}
        self._reading, self._checking = Lock(), Lock()

    def every(self) -> list[dict[str, Any]]:
        """All runs, the one that changed last first."""
        rows = list[dict[str, Any]]()
        with self._reading:
            for root in found_in(self._places).values():
                with suppress(FileNotFoundError):
                    rows.append(self._row(root))
        return sorted(rows, key=lambda row: (-row["changed"], row["name"]))

    def one(self, name: str) -> dict[str, Any]:
        """One run.

        Raises:
            Problem: 404 where there is none of this name.
        """
        root = found_in(self._places).get(name)
        try:
            if root is None:
                raise FileNotFoundError
            with self._reading:
                seen = _kept(self._seen, root, _of_ledger(root), lambda: look(root))
                while len(self._seen) > _HELD:
                    del self._seen[next(iter(self._seen))]
            return in_full(seen, self._check(root, seen))
        except FileNotFoundError as gone:
            raise Problem(404, "There is no run of this name.", code="run_not_found") from gone

    def _row(self, root: Path) -> dict[str, Any]:
        row = _kept(self._rows, root, _of_ledger(root), lambda: in_short(look(root)))
        if row["state"] in ("running", "unfinished"):
            # Whether somebody works on it does not stand in the ledger.
            row["state"] = standing(root)
        return row

    def _check(self, root: Path, seen: Overview) -> Mapping[str, Any]:
        if state_of(seen) == "running":
            return checked_ledger(seen)
        # To read all files of a large run takes a while, and many may ask at once.
        with self._checking:
            return _kept(self._checked, root, _of_files(root), lambda: checked_ledger(seen))


def _kept(held: Kept[Told], root: Path, now: object, read: Callable[[], Told]) -> Told:
    """What was read before, as long as what it was read from is as it was then."""
    before = held.get(root)
    if before is not None and before[0] == now:
        return before[1]
    told = read()
    held[root] = (now, told)
    return told


def _of_ledger(root: Path) -> object:
    stat = (root / "ledger.jsonl").stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _of_files(root: Path) -> object:
    stats = [path.stat() for path in root.rglob("*") if path.is_file()]
    return len(stats), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)


def add_board(app: FastAPI, gate: Gate, board: Board, refusals: Refusals, *, chat: bool) -> None:
    """Give the application its two addresses.

    Args:
        app: the application.
        gate: says who may see them.
        board: tells how runs go.
        refusals: what may be answered instead.
        chat: whether models answer beside them.
    """

    @app.get("/v1/runs", responses=refusals)
    def runs(request: Request) -> dict[str, Any]:
        """How the runs go, each in a few words."""
        gate.require_dashboard(_guest(request))
        return {"runs": board.every(), "chat": chat}

    @app.get("/v1/runs/{name}", responses=refusals)
    def run(request: Request, name: str) -> dict[str, Any]:
        """How one run goes."""
        gate.require_dashboard(_guest(request))
        return board.one(name)


def _guest(request: Request) -> Guest:
    guest: Guest = request.state.guest
    return guest
