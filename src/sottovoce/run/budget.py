"""What was spent on the same text by all runs of a folder, written before it is spent.

A run without a unit, or whose noise was seeded for tests, leaves a row as well: nothing bounds what
it gave away, so nothing bounds the whole. A text that was changed is another text.

One file beside the run folders. A run reserves all that it may spend before its first round, and
says at its end what it did spend; a run that ended otherwise stands with what it reserved. So the
sum can be too large and never too small, and deleting a run folder forgets nothing.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from sottovoce.errors import UsageError, VerificationError
from sottovoce.privacy import costs
from sottovoce.privacy.accounting import Release, SampledGaussian
from sottovoce.privacy.gaussian import GridCost
from sottovoce.privacy.plan import PrivacyPlan, epsilon_of
from sottovoce.privacy.policy import UNITS
from sottovoce.privacy.shares import Lattice, Shares
from sottovoce.run.ledger import Ledger, Record, read

NAME = "privacy-budget.jsonl"
PATIENCE_S = 10.0
"""How long a run waits for another one to have written its line."""


@dataclass(frozen=True)
class Row:
    """What one run spends, or may spend, on one client's text.

    Args:
        data_sha256: the text.
        unit: what the run hides; ``"none"`` also where its noise was seeded for tests.
        noise_multiplier: of every release.
        sampling_probability: of every release.
        releases: how many.
        shares: what makes the release where clients add shares of the noise, as ``shares_row``
            writes it; empty where one party adds it.
    """

    data_sha256: str
    unit: str
    noise_multiplier: float
    sampling_probability: float
    releases: int
    shares: Sequence[Any] = ()

    @property
    def columns(self) -> list[Any]:
        """How the file holds it: without ``shares`` where there are none."""
        values = list(vars(self).values())
        return values if self.shares else values[:-1]

    @property
    def release(self) -> Release:
        """What one release costs."""
        shared = self._shared
        if shared is None:
            return SampledGaussian(self.noise_multiplier, self.sampling_probability)
        return shared.release

    @property
    def cost(self) -> GridCost:
        """What integers and samplers cost in all releases; a row does not know its vector's size."""
        shared = self._shared
        if shared is None:
            return costs.at_most(self.noise_multiplier, self.releases)
        return GridCost(0.0, shared.outside(self.releases))

    @property
    def _shared(self) -> Shares | None:
        if not self.shares:
            return None
        mechanism, clients, certain, noise_std, lattice, corrupt = self.shares
        return Shares(mechanism, clients, certain, noise_std, Lattice(*lattice), corrupt)


def shares_row(shares: Shares | None) -> list[Any]:
    """Shares of noise as a row holds them."""
    if shares is None:
        return []
    facts = {**vars(shares), "lattice": list(vars(shares.lattice).values())}
    return list(facts.values())


Rows = Mapping[str, Sequence[Row]]
"""By run, what it stands with on every client's text."""


def total(rows: Rows, data_sha256: str, plan: PrivacyPlan, *, without: str | None = None) -> float:
    """ε of all that runs have spent or reserved on one client's text, for the plan's unit.

    A run that hides a stronger unit hides the plan's as well. One that hides a weaker unit bounds
    nothing for the plan's, so the total is infinite.

    Args:
        rows: what every run stands with.
        data_sha256: the text.
        plan: gives unit and δ.
        without: a run that is left out.

    Guarantees:
        - what the grid costs is charged row by row, each at its own noise.
    """
    found: list[tuple[Release, int]] = []
    cost = GridCost(0.0, 0.0)
    for row in _of_text(rows, data_sha256, without):
        if UNITS.index(row.unit) < UNITS.index(plan.unit):
            return inf
        found.append((row.release, row.releases))
        cost += row.cost
    return epsilon_of(found, plan, cost=cost).epsilon


def weakest(rows: Rows, data_sha256: str, plan: PrivacyPlan) -> str | None:
    """The weakest unit that a run hid on a text, where it is weaker than the plan's; else None."""
    units = [UNITS.index(row.unit) for row in _of_text(rows, data_sha256)]
    least = min(units, default=len(UNITS))
    return UNITS[least] if least < UNITS.index(plan.unit) else None


def _of_text(rows: Rows, data_sha256: str, without: str | None = None) -> Iterator[Row]:
    """What was spent on one text, run by run."""
    for run, own in rows.items():
        if run != without:
            yield from (row for row in own if row.data_sha256 == data_sha256 and row.releases)


class Budget:
    """The spending of all runs of one folder, on disk.

    Args:
        path: the file; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[str, list[Row]]:
        """What every run stands with.

        Raises:
            VerificationError: a line of the file was altered.
        """
        if not self.path.exists():
            return {}
        # Opening waits for a line under way, and drops one that a crash cut short.
        with self._open():
            return self._read()

    def reserve(self, rows: Sequence[Row], allow: Callable[[Rows], None]) -> str:
        """Write down all that a run may spend, if that is allowed; the name under which it stands.

        Args:
            rows: one for each client.
            allow: told what all other runs stand with; it raises where this one may not begin.
                Nobody else can reserve between its answer and the line that is written.
        """
        run = secrets.token_hex(16)
        with self._open() as ledger:
            allow(self._read())
            ledger.append("reserve", {"run": run, "rows": [row.columns for row in rows]})
        return run

    def note(self, texts: Iterable[str]) -> None:
        """Write down texts that a run gives away without a bound, each of them once for all.

        Where the folder beside the run takes no file and has none, nothing is written and the run
        may go on: with privacy none could begin there, since it needs the same file. Where there is
        a file that cannot be written, others count on it, and the run does not begin.

        Args:
            texts: fingerprints of what is trained on without a unit, or with seeded noise.

        Raises:
            UsageError: there is a file, and it cannot be opened.
            VerificationError: a line of the file was altered.
        """
        try:
            with self._open() as ledger:
                rows = (row for own in self._read().values() for row in own)
                known = {row.data_sha256 for row in rows if row.unit == "none"}
                fresh = [text for text in dict.fromkeys(texts) if text not in known]
                if fresh:
                    columns = [Row(text, "none", 0.0, 1.0, 1).columns for text in fresh]
                    ledger.append("reserve", {"run": secrets.token_hex(16), "rows": columns})
        except UsageError:
            if self.path.exists():
                raise

    def settle(self, run: str, releases: Sequence[int]) -> None:
        """Write down what a run has spent, client by client as it reserved."""
        with self._open() as ledger:
            ledger.append("settle", {"run": run, "releases": list(releases)})

    def _read(self) -> dict[str, list[Row]]:
        rows: dict[str, list[Row]] = {}
        for record in read(self.path):
            payload: Mapping[str, Any] = record.payload
            try:
                if record.kind == "reserve":
                    rows[payload["run"]] = [Row(*row) for row in payload["rows"]]
                else:
                    before = rows[payload["run"]]
                    pairs = zip(before, payload["releases"], strict=True)
                    rows[payload["run"]] = [
                        Row(**{**vars(row), "releases": int(count)}) for row, count in pairs
                    ]
            except (KeyError, TypeError, ValueError) as error:
                raise _unknown(self.path, record) from error
        return rows

    @contextmanager
    def _open(self) -> Iterator[Ledger]:
        """The file for as long as a few lines take; another run may be writing to it."""
        waited_until = time.monotonic() + PATIENCE_S
        while True:
            try:
                ledger = Ledger.open(self.path)
            except UsageError:
                if time.monotonic() > waited_until:
                    raise
                time.sleep(0.05)
                continue
            with ledger:
                yield ledger
            return


def _unknown(path: Path, record: Record) -> VerificationError:
    return VerificationError(
        f"record {record.index} ({record.kind}) of {path} does not hold what its kind needs",
        remedy="Restore the file from a copy; without it nobody knows what was spent",
    )
