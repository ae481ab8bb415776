"""Whether a run folder is what its ledger says: every line, and every file that a line vouches for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run import folder as folders
from sottovoce.run.folder import RunFolder
from sottovoce.run.ledger import GENESIS, Record, read, unchanging
from sottovoce.run.plans import FEDERATION
from sottovoce.run.rounds import digest


@dataclass(frozen=True)
class Checked:
    """A run folder that is what its ledger says.

    Args:
        records: lines of the ledger.
        head: the hash of the last.
        rounds: rounds that are finished.
        complete: whether the run has come to its end.
    """

    records: int
    head: str
    rounds: int
    complete: bool


def check_run(root: Path) -> Checked:
    """Check a run folder, record by record.

    Checked are the chain itself, the configuration, the model after every round, the server's and
    the clients' states that a later round would start from, personal models, and the result; and
    in a private run that every round was paid for before it. At the server of a federation across
    machines whose clients add the noise, they pay, and their own ledgers hold it.

    Raises:
        ConfigError: there is no run in the folder.
        UsageError: the run is under way.
        VerificationError: names the first record that is broken, or whose files are.
    """
    folder = RunFolder(root)
    if not folder.ledger.is_file():
        folders.find(root)
        raise ConfigError(f"{root} holds no run")
    with unchanging(folder.ledger):
        return _check(folder)


def _check(folder: RunFolder) -> Checked:
    head, rounds, complete = GENESIS, 0, False
    newest: dict[str, tuple[Record, int, str]] = {}
    last: Record | None = None
    record: Record | None = None
    places: dict[str, int] = {}
    start: Record | None = None
    charge: Record | None = None
    for record in read(folder.ledger):
        _in_its_place(record, rounds, complete)
        try:
            match record.kind:
                case "start":
                    start, places = record, _check_start(folder, record)
                case "charge":
                    charge = record
                case "round":
                    _check_paid(start, charge, record)
                    rounds, last = rounds + 1, record
                    _check_weights(folder, record, rounds)
                    for name, sha in _states(record):
                        newest[name] = (record, rounds, sha)
                case "personal":
                    _check_personal(folder, record)
                case "end":
                    _check_result(folder, record)
                    complete = True
        except (TypeError, ValueError) as error:
            raise _broken(record, "does not hold what its kind needs") from error
        head = record.line_sha256
    if record is None:
        raise VerificationError(
            f"the ledger of {folder.root} holds no record",
            remedy="Start the run again with --resume",
        )
    if last is not None:
        _vouched(last, folder.state(rounds), _field(last, "state_sha256"))
    for name, (vouching, finished, sha) in newest.items():
        if name not in places:
            raise _broken(vouching, f"names {name!r}, which is no client of the run")
        _vouched(vouching, folder.client(places[name], finished), sha)
    return Checked(record.index + 1, head, rounds, complete)


def _in_its_place(record: Record, rounds: int, complete: bool) -> None:
    """A run starts once, its rounds follow one another, and nothing follows its end."""
    if (record.kind == "start") != (record.index == 0) or complete:
        raise _broken(record, "stands where no such record belongs")
    if record.kind == "round" and _field(record, "round") != rounds:
        raise _broken(record, f"stands where round {rounds} belongs")
    if record.kind == "end" and _field(record, "rounds") != rounds:
        raise _broken(record, f"stands after {rounds} rounds")


def _check_paid(start: Record | None, charge: Record | None, record: Record) -> None:
    """The last charge before a round of a private run is for this round, and for all that is in it."""
    payers = {} if start is None else _payers(start, record)
    if not payers:
        return
    paid: Mapping[str, Any] = {}
    if charge is not None and _field(charge, "round") == _field(record, "round"):
        paid = _field(charge, "releases")
    if unpaid := [name for name, due in payers.items() if name not in paid or paid[name] < due]:
        whose = ", ".join(repr(name) for name in unpaid if name) or "the federation"
        raise _broken(record, f"has no charge before it that covers {whose}")


def _payers(start: Record, record: Record) -> dict[str, int]:
    """Which plans a round releases under, and how often; the empty name is the federation's."""
    privacy = _field(start, "privacy")
    if privacy["unit"] == "none":
        return {}
    if privacy["unit"] == "client" and privacy["trust"] == "server":
        return {FEDERATION: 1}
    if "plans" not in start.payload:
        return {}
    clients, steps = _field(record, "clients"), _field(record, "steps")
    if privacy["unit"] == "client" or len(steps) != len(clients):
        return dict.fromkeys(clients, 1)
    return dict(zip(clients, steps, strict=True))


def _field(record: Record, name: str) -> Any:
    try:
        return record.payload[name]
    except KeyError:
        raise _broken(record, f"has no {name}") from None


def _states(record: Record) -> list[tuple[str, str]]:
    """Clients that left a state with this record, and its hash."""
    pairs = zip(_field(record, "clients"), _field(record, "clients_sha256"), strict=True)
    return [(name, sha) for name, sha in pairs if sha is not None]


def _check_start(folder: RunFolder, record: Record) -> dict[str, int]:
    _vouched(record, folder.config, _field(record, "config_sha256"))
    _check_weights(folder, record, 0)
    return {name: place for place, name in enumerate(_field(record, "clients"))}


def _check_weights(folder: RunFolder, record: Record, finished: int) -> None:
    path = folder.weights(finished)
    _same(
        record, path, lambda: digest(folders.read_tensors(path)), _field(record, "weights_sha256")
    )


def _check_result(folder: RunFolder, record: Record) -> None:
    for name, sha in _field(record, "files_sha256").items():
        _vouched(record, folder.adapter / name, sha)


def _check_personal(folder: RunFolder, record: Record) -> None:
    for place, sha in enumerate(_field(record, "tensors_sha256")):
        _same_tensors(record, folder.personal(place), sha)


def _same_tensors(record: Record, path: Path, vouched: str) -> None:
    _same(record, path, lambda: digest(folders.read_tensors(path)), vouched)


def _vouched(record: Record, path: Path, sha: str) -> None:
    _same(record, path, lambda: sha256(folders.read_bytes(path)).hexdigest(), sha)


def _same(record: Record, path: Path, found: Callable[[], str], vouched: str) -> None:
    try:
        seen = found()
    except VerificationError as error:
        raise _broken(record, f"vouches for a file that is damaged: {error.seen}") from error
    if seen != vouched:
        raise _broken(record, f"vouches for {path}, which was changed")


def _broken(record: Record, what: str) -> VerificationError:
    return VerificationError(
        f"record {record.index} ({record.kind}{_of(record.payload)}) {what}",
        allowed="files exactly as they were written",
        remedy="Restore the file from a copy, or start the run again",
    )


def _of(payload: Mapping[str, object]) -> str:
    return f" {payload['round']}" if "round" in payload else ""
