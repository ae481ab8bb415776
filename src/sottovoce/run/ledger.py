"""An append-only, hash-chained record of a run: one canonical JSON object per line.

    {"index":0,"kind":"start","payload":{...},"previous":"000...","sha256":"..."}

``previous`` is the SHA-256 of the line before, newline included (64 zeros before the first), so
no line can change without breaking the next. ``sha256`` is that of the line's own object without
this member, so that the last line, which has no next one, cannot be damaged unseen either.
The head is the SHA-256 of the last line: ``tail -n 1 ledger.jsonl | sha256sum``.

A chain shows that nothing within it was altered after the head was known. Someone who can write
the file can still write a whole other chain, or cut lines off its end: only a head that was kept
elsewhere tells.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Final

from sottovoce.errors import SottovoceError, UsageError, VerificationError
from sottovoce.run.folder import sync_folder, write_all

GENESIS: Final = "0" * 64
"""What stands before the first record; the head of an empty ledger."""

_MEMBERS: Final = {"index", "kind", "payload", "previous", "sha256"}


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a ledger.

    Args:
        index: its place, from 0.
        kind: what it records.
        payload: the facts, as plain JSON values.
        previous: SHA-256 of the line before.
        line_sha256: SHA-256 of this line; the head when it is the last.
    """

    index: int
    kind: str
    payload: Mapping[str, object]
    previous: str
    line_sha256: str


def canonical(value: object) -> bytes:
    """Write a value as JSON in the one form that a ledger knows.

    Sorted keys, no spaces, UTF-8, floats in their shortest form that reads back the same.

    Guarantees:
        - equal values give equal bytes, and ``json.loads`` gives the value back, with tuples as
          lists.

    Raises:
        UsageError: a NaN or infinite number, an integer beyond 64 bits, a key that is no string, a type JSON does not have,
            or text that UTF-8 cannot hold.

    >>> canonical({"b": 0.1, "a": (1, "ü")}).decode()
    '{"a":[1,"ü"],"b":0.1}'
    """
    text = json.dumps(_plain(value, "$"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError as problem:
        raise UsageError(f"text for the ledger is not Unicode: {problem}") from problem


def read(path: Path, *, under_way: bool = False) -> Iterator[Record]:
    """Read a ledger and check each line on the way, in the memory of one line.

    Args:
        path: of the ledger.
        under_way: whether its last line may be one that is just being written, which is left out.

    Raises:
        VerificationError: at the first line that is not what the chain says; or no such file.
    """
    try:
        with path.open("rb") as file:
            previous = GENESIS
            for index, line in enumerate(file):
                if not line.endswith(b"\n"):
                    if under_way:
                        return
                    raise _broken(
                        index, "does not end", "Go on with sotto run --resume, which drops it"
                    )
                record = _checked(line, index, previous)
                previous = record.line_sha256
                yield record
    except OSError as problem:
        raise VerificationError(
            f"the ledger {path.name} cannot be read: {problem.strerror}"
        ) from problem


def verify(path: Path) -> tuple[tuple[Record, ...], str]:
    """Check a whole ledger.

    Returns:
        Its records and its head.

    Guarantees:
        - a ledger in which any one byte was changed raises.

    Raises:
        VerificationError: names the first bad line.
    """
    records = tuple(read(path))
    return records, records[-1].line_sha256 if records else GENESIS


@contextmanager
def unchanging(path: Path) -> Iterator[None]:
    """A context in which nobody writes to a ledger; many may read it at once.

    Raises:
        UsageError: a run is writing to it.
        VerificationError: it cannot be opened.
    """
    try:
        file = path.open("rb")
    except OSError as problem:
        raise VerificationError(
            f"the ledger {path.name} cannot be read: {problem.strerror}"
        ) from problem
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as problem:
            raise UsageError(
                f"the run of {path} is under way",
                remedy="Wait until it has ended, or interrupt it",
            ) from problem
        yield


class Ledger:
    """An open ledger, locked against every other process.

    Guarantees:
        - a record that ``append`` returned is on the disk;
        - lines that stand are never written again;
        - opening drops at most one line that a crash left unfinished, and ``torn`` tells its size.

    A context manager; closing releases the lock.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        """Take over a locked descriptor; ``Ledger.open`` is the way to call this."""
        self._path = path
        self._descriptor: int | None = descriptor
        self._size = 0
        self._count = 0
        self._head = GENESIS
        self._torn = 0

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """Open or create a ledger, check all of it, and drop a last line that a crash cut short.

        Raises:
            VerificationError: a line is not what the chain says; the file stays as it was.
            UsageError: another process holds the ledger, or the file cannot be opened.
        """
        try:
            fresh = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as problem:
            raise UsageError(
                f"the ledger {path} cannot be opened: {problem.strerror}",
                remedy="Choose a run.dir that can be written",
            ) from problem
        ledger = cls(path, descriptor)
        try:
            ledger._lock()
            if fresh:
                sync_folder(path.parent)
            ledger._load()
        except BaseException:
            ledger.close()
            raise
        return ledger

    @property
    def head(self) -> str:
        """SHA-256 of the last line; 64 zeros where there is none."""
        return self._head

    @property
    def count(self) -> int:
        """How many records stand."""
        return self._count

    @property
    def torn(self) -> int:
        """Bytes of an unfinished line that opening dropped; 0 where there was none."""
        return self._torn

    def append(self, kind: str, payload: Mapping[str, object]) -> Record:
        """Add one record and return when it is on the disk.

        Args:
            kind: what it records.
            payload: plain JSON values. Nothing is added to them, no clock either.

        Raises:
            UsageError: the payload is not plain JSON, or the ledger is closed; nothing was
                written.
            VerificationError: someone else wrote to the file.
            SottovoceError: the disk refused. What was written of the line is taken back and the
                ledger is closed; all earlier records stand.
        """
        if self._descriptor is None:
            raise UsageError("the ledger is closed", remedy="Open it again")
        line = _line(self._count, kind, payload, self._head)
        if os.fstat(self._descriptor).st_size != self._size:
            raise VerificationError(
                f"the ledger {self._path.name} changed while it was open",
                remedy="Let nothing else write to the run folder",
            )
        try:
            write_all(self._descriptor, line)
        except OSError as problem:
            self._take_back()
            raise SottovoceError(
                f"the ledger {self._path} cannot be written: {problem.strerror}",
                remedy="Make room on the disk, then resume the run",
            ) from problem
        record = _checked(line, self._count, self._head)
        self._accept(record, len(line))
        return record

    def close(self) -> None:
        """Release the lock. Closing twice is harmless."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _lock(self) -> None:
        if self._descriptor is None:
            raise UsageError("the ledger is closed")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            raise UsageError(
                f"the ledger {self._path} is held by another process",
                remedy="Wait until that run has ended, or choose another run.dir",
            ) from problem

    def _load(self) -> None:
        if self._descriptor is None:
            raise UsageError("the ledger is closed")
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            for index, line in enumerate(file):
                if line.endswith(b"\n"):
                    self._accept(_checked(line, index, self._head), len(line))
                elif _holds_an_object(line):
                    # A crash leaves the beginning of a line. A whole object with something else
                    # than a newline behind it was written, and then altered.
                    raise _broken(index, "does not end in a newline")
                else:
                    self._torn = len(line)
        if self._torn:
            os.ftruncate(self._descriptor, self._size)
            os.fsync(self._descriptor)

    def _accept(self, record: Record, size: int) -> None:
        self._size += size
        self._count += 1
        self._head = record.line_sha256

    def _take_back(self) -> None:
        if self._descriptor is not None:
            # Where even this fails, an unfinished line stays behind, and the next opening drops it.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            self.close()


def _plain(value: object, place: str) -> object:
    """The value in JSON's own types, or an error that names the place."""
    match value:
        case None | bool() | str():
            return value
        case int() if -(2**63) <= value < 2**63:
            return value
        case float() if isfinite(value):
            return float(value)
        case list() | tuple():
            return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
        case Mapping():
            if not all(isinstance(key, str) for key in value):
                raise UsageError(f"a key of {place} is no text", allowed="keys that are text")
            return {key: _plain(item, f"{place}.{key}") for key, item in value.items()}
        case _:
            raise UsageError(
                f"{place} is {value!r}",
                allowed="text, 64-bit integers, finite floats, true, false, null, lists and objects",
            )


def _line(index: int, kind: str, payload: Mapping[str, object], previous: str) -> bytes:
    body = {"index": index, "kind": kind, "payload": payload, "previous": previous}
    checksum = hashlib.sha256(canonical(body)).hexdigest()
    return canonical({**body, "sha256": checksum}) + b"\n"


def _checked(line: bytes, index: int, previous: str) -> Record:
    """Read one line that ends in a newline; it must be exactly what ``append`` writes here."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise _broken(index, "is no JSON") from problem
    if not isinstance(value, dict) or set(value) != _MEMBERS:
        raise _broken(index, f"is no object with exactly {sorted(_MEMBERS)}")
    if value["index"] != index or value["previous"] != previous:
        raise _broken(index, "does not follow from the line before")
    kind, payload = value["kind"], value["payload"]
    if not isinstance(kind, str) or not isinstance(payload, dict):
        raise _broken(index, "has a kind that is no text or a payload that is no object")
    try:
        written = _line(index, kind, payload, previous)
    except (UsageError, RecursionError) as problem:
        raise _broken(index, "holds a number or text that no ledger holds") from problem
    if written != line:
        raise _broken(index, "is not what its own hash says")
    return Record(index, kind, payload, previous, hashlib.sha256(line).hexdigest())


def _broken(index: int, what: str, remedy: str = "") -> VerificationError:
    return VerificationError(
        f"line {index + 1} of the ledger {what}",
        allowed="lines exactly as they were written",
        remedy=remedy or "Restore the file from a copy; nothing from this line on can be trusted",
    )


def _holds_an_object(tail: bytes) -> bool:
    """Whether a whole JSON object, and at least one byte more, stands in an unfinished line."""
    text = tail.decode(errors="replace")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return end < len(text)
