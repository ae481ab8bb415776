"""API keys: who may ask which models, how often and for how many tokens.

A key is 256 random bits that are shown once. What is kept is its salted SHA-256, in a file for its
owner alone; bits that nobody can guess need no slow hash.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run.folder import make_folder, sync_folder, write_all
from sottovoce.run.private_files import PRIVATE, read_private

PREFIX: Final = "sotto-"
"""What a key begins with, so that one that lies around is known for what it is."""

_BYTES: Final = 32


def _printable(name: str) -> str:
    if not name.isprintable() or name != name.strip():
        raise ValueError("a name is printable, without spaces at its ends")
    return name


class Key(BaseModel):
    """What is kept of a key.

    Args:
        name: whose it is, for people.
        salt: hexadecimal.
        sha256: of salt and key, hexadecimal.
        models: the names that it may ask for; None is every model that is not one client's own.
        requests_per_minute: at most; None is no limit.
        tokens_per_day: read and made, at most, by the UTC day; None is no limit.
        expires: the last day on which it is taken, in UTC.
        filtered: whether personal data are taken out of what it is told.
        dashboard: whether it may see how runs go.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
    salt: str
    sha256: str
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_day: int | None = Field(None, ge=1)
    expires: date | None = None
    filtered: bool = True
    dashboard: bool = False

    def fits(self, presented: str) -> bool:
        """Whether it is this one; the time says nothing of how much of it is right."""
        return hmac.compare_digest(_hashed(self.salt, presented), self.sha256)

    def may_ask(self, model: str, *, personal: bool) -> bool:
        """Whether it may use a model."""
        return not personal if self.models is None else model in self.models

    def expired(self, now: datetime) -> bool:
        """Whether its last day is over."""
        return self.expires is not None and now.astimezone(UTC).date() > self.expires


_FILE: Final = TypeAdapter(tuple[Key, ...])


class KeyFile:
    """The keys of a server, on disk.

    Args:
        path: a file for its owner alone; it need not exist yet.

    Guarantees:
        - a change by another process is seen at the next look;
        - a file that cannot be read, or that others can read, lets nobody in.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None
        self._keys: tuple[Key, ...] = ()

    def every(self) -> Sequence[Key]:
        """Every key.

        Raises:
            ConfigError: others can read the file, or it cannot be read.
            VerificationError: it holds something else than keys.
        """
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._seen, self._keys = None, ()
            return ()
        seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if seen != self._seen:
            self._keys = _read(self.path)
            self._seen = seen
        return self._keys

    def find(self, presented: str) -> Key | None:
        """The key that was presented; looking takes as long for a wrong one as for a right one."""
        found = None
        for key in self.every():
            found = key if key.fits(presented) else found
        return found

    def add(
        self,
        name: str,
        *,
        models: Sequence[str] | None = None,
        requests_per_minute: int | None = None,
        tokens_per_day: int | None = None,
        expires: date | None = None,
        filtered: bool = True,
        dashboard: bool = False,
    ) -> str:
        """Make a key.

        Returns:
            The key itself, which is nowhere kept.

        Raises:
            ConfigError: there is one of this name, or the name or a limit cannot be.
        """
        presented = PREFIX + secrets.token_urlsafe(_BYTES)
        salt = secrets.token_hex(16)
        try:
            key = Key(
                name=name,
                salt=salt,
                sha256=_hashed(salt, presented),
                models=None if models is None else tuple(models),
                requests_per_minute=requests_per_minute,
                tokens_per_day=tokens_per_day,
                expires=expires,
                filtered=filtered,
                dashboard=dashboard,
            )
        except ValidationError as error:
            told = "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
            raise ConfigError(f"the key cannot be made: {told}") from error
        with self._changing() as keys:
            if any(one.name == name for one in keys):
                raise ConfigError(
                    f"there is a key called {name!r} already",
                    remedy="Remove it first, or choose another name",
                )
            keys.append(key)
        return presented

    def remove(self, name: str) -> None:
        """Take a key back; a server that runs refuses it from then on.

        Raises:
            ConfigError: there is none of this name.
        """
        with self._changing() as keys:
            left = [key for key in keys if key.name != name]
            if len(left) == len(keys):
                every = ", ".join(sorted(key.name for key in keys))
                raise ConfigError(f"there is no key called {name!r}", allowed=every or "none yet")
            # The file stays, though it may be empty: who has had keys is not open to all again.
            keys[:] = left

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """The keys, to be changed while nobody else does; what they became is on disk afterwards."""
        make_folder(self.path.parent)
        lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            keys = list(self.every())
            yield keys
            _write(self.path, keys)
        finally:
            os.close(lock)


def _hashed(salt: str, presented: str) -> str:
    return hashlib.sha256(f"{salt}:{presented}".encode(errors="surrogateescape")).hexdigest()


def _read(path: Path) -> tuple[Key, ...]:
    text = read_private(path)
    try:
        return _FILE.validate_json(text)
    except ValidationError as error:
        raise VerificationError(
            f"{path} holds something else than keys",
            remedy="Restore it from a copy, or move it away and make keys anew",
        ) from error


def _write(path: Path, keys: Sequence[Key]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    try:
        text = json.dumps([key.model_dump(mode="json") for key in keys], indent=1)
        write_all(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
    part.replace(path)
    sync_folder(path.parent)
