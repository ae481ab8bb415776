"""What a party of secure sums remembers: one small memory a sum, encrypted, then wiped.

A party stores what it sends before the first byte leaves, and after a restart sends it again. Every
step of a sum has a key of its own:

    <run>/<round>/record.0003   what is remembered after the third step, under that step's key
    <run>/<round>/key.0003      that key, under the party's store key
    <run>/<round>/finished      what is left when the sum is over (or dropped-out): a mark

The key's file makes the step count: it is renamed into place when the record is on disk, and then
the key of the step before is overwritten and removed. So what a step has forgotten can no longer be
read, and what ``wipe`` leaves of a sum can be read by nobody, the owner of the store key included.

What this cannot do:
    - notice that the WHOLE folder of a sum was put back as it once stood. A single file that is
      older than its neighbours is noticed. Keep this folder out of backups;
    - reach old copies of a block. Flash, file systems that copy on write, and snapshots keep what
      is overwritten, for a while. That is why even the keys lie there encrypted, and the store key
      has to lie elsewhere: whoever has an old copy AND the store key reads it;
    - clear the memory of the process.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Literal, Self

from sottovoce.codec import at_rest
from sottovoce.codec.roster import hashed, require_name
from sottovoce.errors import ConfigError, SottovoceError, UsageError, VerificationError
from sottovoce.run.folder import sync_folder, write_all

Protocol = Literal["secagg", "helpers"]
Ended = Literal["finished", "dropped-out"]
"""How a sum may be over for a party. It is the name of the file that says so."""

_ENDINGS: Final[tuple[Ended, ...]] = ("finished", "dropped-out")
_KEY: Final = re.compile(r"key\.(\d{4})")
_WHOLE_RUN: Final = "all-rounds"
_ROUND: Final = re.compile(rf"\d{{8,}}|{_WHOLE_RUN}")
_OURS: Final = re.compile(r"(key|record)\.\d{4}|\..*\.part")
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700


@dataclass(frozen=True)
class Sum:
    """Which sum something is remembered of.

    Args:
        run: 32 bytes, drawn once per run. Public.
        round: the number of the round; None for what holds in all rounds. Public.
        protocol: what kind of sum. Public.
    """

    run: bytes
    round: int | None
    protocol: Protocol

    @property
    def title(self) -> str:
        """How an error names this sum."""
        return "the run" if self.round is None else f"round {self.round}"


@dataclass(frozen=True)
class Kept:
    """What is remembered of a sum.

    Args:
        step: how often something was stored; 0 where nothing was.
        data: what was stored last. Private.
    """

    step: int
    data: bytes = field(repr=False)


class Outbox:
    """The memory of one party, held by one process at a time.

    Args:
        root: the party's folder; made if need be, and closed to all other users.
        store_key: 32 bytes that live as long as the party, somewhere else. Private.
        party: its name.

    Guarantees:
        - ``store`` returns when the step is on disk, whole; killed or failed before, it has changed
          nothing that ``read`` returns, or the step counts;
        - of two who go on from one step, one is refused;
        - a file of another round, run, protocol or party, an older one, or a changed one is refused;
        - nothing that was stored lies there in plain text, and no other user may read a file;
        - once a step has followed it, and after ``wipe``, the key of what was stored is overwritten;
        - a sum that is over stays over: ``read`` and ``store`` refuse it;
        - a wipe that was interrupted is finished when the folder is opened again.

    Edge cases: forked children and later openers of a folder that is in use are refused.

    Raises:
        UsageError: another process, or another ``Outbox``, holds the folder, or this one is closed.
        SottovoceError: the disk refuses. What was not stored must not be sent.
        ConfigError: the key does not have 32 bytes.
    """

    def __init__(self, root: Path, store_key: bytes, party: str) -> None:
        if len(store_key) != at_rest.KEY_BYTES:
            raise ConfigError(
                f"a store key of {len(store_key)} bytes", allowed=f"{at_rest.KEY_BYTES} bytes"
            )
        require_name(party)
        self.party = party
        self._root = root.absolute()
        self._store_key = store_key
        self._mutex = Lock()
        self._process = os.getpid()
        self._descriptor: int | None = None
        with self._on_disk(self._root):
            _make_private(self._root)
            self._root.chmod(_PRIVATE_FOLDER)
            sync_folder(self._root.parent)
            self._descriptor = self._locked()
            try:
                for place in self._places():
                    self._finish_wipe(place)
            except BaseException:
                self.close()
                raise

    def __repr__(self) -> str:
        return f"Outbox({self.party!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def read(self, about: Sum) -> Kept:
        """Read what was stored last of a sum.

        Guarantees:
            - what it returns survives a loss of power, so that it may be sent again.

        Raises:
            VerificationError: the sum is over, or what lies there is not what was stored last.
        """
        with self._mutex, self._on_disk(self._place(about)) as place:
            self._require_under_way(about)
            newest = max(_steps(place), default=0)
            if not newest:
                return Kept(0, b"")
            title = f"step {newest} of {about.title} of {self.party!r}"
            box = (place / _key(newest)).read_bytes()
            key = at_rest.unseal(
                self._store_key, box, self._bound("key", about, newest), what=f"the key of {title}"
            )
            data = at_rest.unseal(
                key,
                _bytes_of(place / _record(newest), title),
                self._bound("record", about, newest),
                what=f"the record of {title}",
            )
            # A kill may have come between the renaming and the moment when it is durable.
            sync_folder(place)
            _forget(place, newest)
            return Kept(newest, data)

    def store(self, about: Sum, after: int, data: bytes) -> None:
        """Remember one more step of a sum, in place of the last one.

        Args:
            about: which sum.
            after: the step that was read before; another than the last is refused.
            data: what to remember. Private.

        Raises:
            VerificationError: the sum is over, or has gone on since it was read.
        """
        with self._mutex, self._on_disk(self._place(about)) as place:
            self._require_under_way(about)
            if max(_steps(place), default=0) != after:
                raise VerificationError(
                    f"{self.party!r} has gone on in {about.title} since it read its memory",
                    remedy="Let one thread at a time answer for one sum",
                )
            if not after:
                _make_private(place)
                # A kill may have come between the making of a folder and the moment when its
                # name was durable, so it is not enough that the folder is there.
                sync_folder(place.parent)
                sync_folder(self._root)
            step, key = after + 1, at_rest.draw_key()
            record = at_rest.seal(key, data, self._bound("record", about, step))
            _write(place / _record(step), record)
            box = at_rest.seal(self._store_key, key, self._bound("key", about, step))
            _write(place / _key(step), box)
            _forget(place, step)

    def wipe(self, about: Sum, ended: Ended) -> None:
        """Destroy all that is remembered of a sum, and leave a mark that it is over.

        It needs no room on the disk where something was stored, and may be repeated; the first mark
        stays.
        """
        with self._mutex, self._on_disk(self._place(about)) as place:
            if self._ended(place) is None:
                _make_private(place)
                newest = max(_steps(place), default=0)
                if newest:
                    # From here on the key's file is the mark, whatever interrupts the rest.
                    (place / _key(newest)).replace(place / ended)
                else:
                    _write(place / ended, b"")
            self._finish_wipe(place)

    def ended(self, about: Sum) -> Ended | None:
        """Return how a sum is over for this party, or nothing while it is not."""
        with self._on_disk(self._place(about)) as place:
            return self._ended(place)

    def under_way(self, run: bytes) -> tuple[int, ...]:
        """Return the rounds of a run of which something is remembered."""
        with self._on_disk(self._root / run.hex()) as folder:
            return tuple(
                int(place.name)
                for place in self._places()
                if place.parent == folder
                and place.name != _WHOLE_RUN
                and self._ended(place) is None
                and _steps(place)
            )

    # --- what all of them share ------------------------------------------------------------------

    @contextmanager
    def _on_disk(self, place: Path) -> Iterator[Path]:
        """A context in which this process may touch the folder, and a disk that refuses is told."""
        if self._process != os.getpid():
            raise UsageError("a forked process uses its parent's outbox")
        try:
            yield place
        except OSError as error:
            raise SottovoceError(
                f"the memory of {self.party!r} in {place} cannot be read or written: "
                f"{error.strerror}",
                remedy="What is not stored is not sent. Make room or give leave to write there",
            ) from error

    def _place(self, about: Sum) -> Path:
        if self._descriptor is None:
            raise UsageError(f"the outbox of {self.party!r} is closed")
        name = _WHOLE_RUN if about.round is None else f"{about.round:08d}"
        return self._root / about.run.hex() / name

    def _places(self) -> list[Path]:
        return sorted(place for place in self._root.glob("*/*") if _ROUND.fullmatch(place.name))

    def _locked(self) -> int:
        descriptor = os.open(
            self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            os.close(descriptor)
            raise UsageError(
                f"the memory of {self.party!r} is held by another process",
                remedy="One process answers for a party; wait until the other one has ended",
            ) from problem
        return descriptor

    def _bound(self, kind: str, about: Sum, step: int) -> bytes:
        return hashed(
            f"sottovoce outbox v1 {kind}",
            self.party.encode(),
            about.run,
            b"" if about.round is None else about.round.to_bytes(8, "big"),
            about.protocol.encode(),
            step.to_bytes(8, "big"),
        )

    def _ended(self, place: Path) -> Ended | None:
        return next((ended for ended in _ENDINGS if (place / ended).exists()), None)

    def _require_under_way(self, about: Sum) -> None:
        ended = self._ended(self._place(about))
        if ended is not None:
            how = "has finished" if ended == "finished" else "has dropped out of"
            raise VerificationError(
                f"{self.party!r} {how} {about.title}, and its secrets of it are gone",
                remedy="It answers nothing more in this round; it may take part in the next one",
            )

    def _finish_wipe(self, place: Path) -> None:
        """Overwrite and remove all but the mark, if there is one."""
        ended = self._ended(place)
        if ended is None:
            return
        if any((place / ended).read_bytes()):
            # A key that was overwritten under its old name would not say that the sum is over.
            sync_folder(place)
            _overwrite(place / ended)
        _forget(place, None)


def _forget(place: Path, kept: int | None) -> None:
    """Remove the files of all steps but one, the keys overwritten first."""
    keep = () if kept is None else (_key(kept), _record(kept))
    old = [path for path in place.iterdir() if _OURS.fullmatch(path.name) and path.name not in keep]
    for path in old:
        if "key" in path.name:
            _overwrite(path)
    for path in old:
        path.unlink()
    if old:
        sync_folder(place)


def _overwrite(path: Path) -> None:
    """Write zeros over a file, in place, and have them on disk before returning."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        write_all(descriptor, bytes(os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes) -> None:
    """Write a file for its owner alone, whole or not at all, and durable with its name."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(part, flags, _PRIVATE_FILE)
        try:
            write_all(descriptor, data)
        finally:
            os.close(descriptor)
        part.replace(path)
        sync_folder(path.parent)
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _make_private(folder: Path) -> None:
    """Make a folder and what it lies in for their owner alone, their names durable."""
    missing = [level for level in (folder, *folder.parents) if not level.exists()]
    for level in reversed(missing):
        level.mkdir(mode=_PRIVATE_FOLDER)
        sync_folder(level.parent)


def _steps(place: Path) -> list[int]:
    """The steps whose keys are there."""
    if not place.is_dir():
        return []
    found = (_KEY.fullmatch(path.name) for path in place.iterdir())
    return [int(match[1]) for match in found if match]


def _key(step: int) -> str:
    return f"key.{step:04d}"


def _record(step: int) -> str:
    return f"record.{step:04d}"


def _bytes_of(path: Path, title: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as problem:
        raise VerificationError(f"the record of {title} is missing") from problem
