"""How runs go, for whoever watches: read from their folders, and nothing is written."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from sottovoce.errors import SottovoceError, UsageError, VerificationError
from sottovoce.run.check import check_run
from sottovoce.run.folder import RunFolder
from sottovoce.run.identity import LOADED
from sottovoce.run.ledger import GENESIS, Record, read, unchanging

NAMED: Final = 40
"""Of runs with more clients, single rounds are told in numbers alone."""
LISTED: Final = 1000
"""Of runs with more clients, nobody is told how often each took part."""
POINTS: Final = 500
"""Rounds that are told at most; of more, every second, third and so on."""

State = Literal["running", "finished", "unfinished", "broken"]


@dataclass
class Overview:
    """What the folder of one run says.

    Args:
        folder: of the run.
        config: its configuration as it stands there.
        records: of its ledger, as far as they are sound.
        error: what is wrong with it; None where nothing is.
    """

    folder: RunFolder
    config: Mapping[str, Any]
    records: list[Record] = field(default_factory=list)
    error: str | None = None

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        """The payloads of one kind of record."""
        return [record.payload for record in self.records if record.kind == kind]

    @property
    def start(self) -> Mapping[str, Any]:
        """What the run was started with."""
        return next(iter(self.of("start")), {})

    @property
    def named(self) -> bool:
        """Whether its clients are few enough to be told one by one."""
        return len(self.start.get("clients", ())) <= NAMED


def found_in(places: Sequence[Path]) -> dict[str, Path]:
    """The run folders that lie in these, by name; of two with one name the first."""
    found: dict[str, Path] = {}
    for place in dict.fromkeys(place.resolve() for place in places):
        for ledger in sorted(place.glob("*/ledger.jsonl")):
            found.setdefault(ledger.parent.name, ledger.parent)
    return found


def look(root: Path) -> Overview:
    """Read a run folder, whatever state it is in."""
    folder = RunFolder(root)
    try:
        config = tomllib.loads(folder.config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Overview(folder, {}, error=f"its configuration cannot be read: {error}")
    seen = Overview(folder, config)
    try:
        seen.records.extend(read(folder.ledger, under_way=True))
    except VerificationError as error:
        seen.error = str(error)
    return seen


def in_short(seen: Overview) -> dict[str, Any]:
    """One line of a list of runs."""
    losses = [_mean(one["loss"]) for one in seen.of("evaluation")]
    privacy = _section(seen, "privacy")
    return {
        "name": seen.folder.root.name,
        "state": state_of(seen),
        "rounds": len(seen.of("round")),
        "of": _section(seen, "federation").get("rounds"),
        "strategy": _section(_section(seen, "federation"), "strategy").get("name", "fedavg"),
        "unit": privacy.get("unit", "none"),
        "epsilon": _spent(seen).get("epsilon"),
        "budget": privacy.get("epsilon"),
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "changed": int(seen.folder.ledger.stat().st_mtime),
        "error": seen.error,
    }


def in_full(seen: Overview, checked: Mapping[str, Any]) -> dict[str, Any]:
    """All that is told of one run.

    Args:
        seen: its folder.
        checked: what ``checked_ledger`` says of it.
    """
    metrics = _metrics(seen.folder)
    rounds, clients = seen.of("round"), len(seen.start.get("clients", ()))
    return in_short(seen) | {
        "losses": _thinned([_loss(seen, one, metrics) for one in seen.of("evaluation")]),
        "history": _thinned([_round(seen, one, metrics) for one in rounds]),
        "participation": _participation(rounds) if clients <= LISTED else [],
        "clients": clients,
        "privacy": _privacy(seen),
        "secure": {"aggregation": _section(seen, "secure").get("aggregation", "none")},
        "ledger": {
            "records": len(seen.records),
            "head": seen.records[-1].line_sha256 if seen.records else GENESIS,
            **checked,
        },
        "data": _data(seen),
    }


def state_of(seen: Overview) -> State:
    """Whether a run has ended, is under way, or neither."""
    if seen.error is not None:
        return "broken"
    return "finished" if seen.of("end") else standing(seen.folder.root)


def standing(root: Path) -> State:
    """Whether a run without an end is under way: somebody holds its ledger."""
    try:
        with unchanging(RunFolder(root).ledger):
            return "unfinished"
    except UsageError:
        return "running"


def checked_ledger(seen: Overview) -> dict[str, Any]:
    """Whether a run is what its ledger says: all its files where it stands still, else the lines."""
    if seen.error is not None:
        return {"verified": False, "how": seen.error}
    try:
        check_run(seen.folder.root)
    except UsageError:
        how = "Every line follows from the one before it; files are checked once the run stands still."
        return {"verified": True, "how": how}
    except SottovoceError as error:
        return {"verified": False, "how": str(error)}
    return {"verified": True, "how": "Every line, and every file that a line vouches for."}


def _section(of: Overview | Mapping[str, Any], name: str) -> Mapping[str, Any]:
    held = of.config if isinstance(of, Overview) else of
    section = held.get(name, {})
    return section if isinstance(section, Mapping) else {}


def _mean(losses: Mapping[str, float]) -> float | None:
    return sum(losses.values()) / len(losses) if losses else None


def _spent(seen: Overview) -> Mapping[str, Any]:
    """What the last charge, or the end, says has been spent."""
    return next(reversed(seen.of("end") or seen.of("charge")), {})


def _loss(
    seen: Overview, one: Mapping[str, Any], metrics: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    row = metrics.get(one["round"], {})
    return {
        "round": one["round"],
        "loss": _mean(one["loss"]),
        "seconds": row.get("seconds"),
        "tokens": row.get("tokens"),
        "by_client": one["loss"] if seen.named else {},
    }


def _round(
    seen: Overview, one: Mapping[str, Any], metrics: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "round": one["round"],
        "clients": one["clients"] if seen.named else [],
        "failed": one["failed"] if seen.named else [],
        "taking_part": len(one["clients"]),
        "train_loss": one.get("loss"),
        "bytes_up": one.get("bytes_up"),
        "tokens": sum(one["tokens"]) if one.get("tokens") else None,
        # What the model was worth after a round stands in the metrics by the next one's number.
        "stages": metrics.get(one["round"] + 1, {}).get("stages"),
    }


def _participation(rounds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    took = Counter(name for one in rounds for name in one["clients"])
    failed = Counter(name for one in rounds for name in one["failed"])
    return [
        {"client": name, "rounds": took[name], "failed": failed[name]}
        for name in sorted({*took, *failed})
    ]


def _privacy(seen: Overview) -> dict[str, Any]:
    asked, spent = _section(seen, "privacy"), _spent(seen)
    claim = seen.start.get("claim")
    planned = claim.get("statement", []) if isinstance(claim, Mapping) else []
    return {
        "unit": asked.get("unit", "none"),
        "epsilon": spent.get("epsilon"),
        "of": spent.get("of"),
        "delta": asked.get("delta"),
        "budget": asked.get("epsilon"),
        "statement": spent.get("claim") or planned,
    }


def _data(seen: Overview) -> dict[str, Any] | None:
    rows = seen.start.get(LOADED)
    if not rows:
        return None
    scrub = _section(seen, "data").get("scrub")
    return {
        "rows": [
            {
                "file": file,
                "kind": kind,
                "loaded": _number(loaded),
                "skipped": _number(skipped),
                "what": what,
            }
            for file, kind, loaded, skipped, what in (
                [*row, "", "", "", ""][:5] for row in rows[1:]
            )
        ],
        "note": None if scrub is None else f"[data] scrub = {json.dumps(scrub)}",
    }


def _number(cell: str) -> int | None:
    return int(cell) if cell.isdecimal() else None


def _metrics(folder: RunFolder) -> dict[int, Mapping[str, Any]]:
    """The federation's rows of the metrics by round; a line that is just being written is left out."""
    found: dict[int, Mapping[str, Any]] = {}
    try:
        lines = folder.metrics.read_bytes().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "arm" not in row and isinstance(row.get("round"), int):
            found[row["round"]] = row
    return found


def _thinned(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    every = -(-len(rows) // POINTS)
    return rows if every < 2 else rows[(len(rows) - 1) % every :: every]
