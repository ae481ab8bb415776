"""What a server has received in one exchange after the other, on disk before it counts.

    mail/00007/round-0003.bin    the answer of the fourth site, in its place among the sorted names
    mail/00007/round.closed      whose answers count: from here on nobody is added

A server that is killed reads it again and is where it was. When a round is in the ledger its mail is
removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from sottovoce.errors import VerificationError
from sottovoce.run import folder as folders
from sottovoce.run.ledger import canonical


@dataclass(frozen=True)
class Mailbox:
    """The mail of one round.

    Args:
        root: its folder; made when something comes.
        places: each site's place among the sorted names.
    """

    root: Path
    places: Mapping[str, int]

    def put(self, stage: str, site: str, data: bytes) -> None:
        """Keep an answer; it is on disk when this returns."""
        folders.write_bytes(self._path(stage, site), data)

    def has(self, stage: str, site: str) -> bool:
        """Whether an answer is there."""
        return self._path(stage, site).is_file()

    def get(self, stage: str, site: str) -> memoryview:
        """The answer of a site, as it came: a view of its file, which takes no memory of its own.

        Raises:
            VerificationError: it cannot be read.
        """
        path = self._path(stage, site)
        try:
            with path.open("rb") as file:
                return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))
        except (OSError, ValueError) as error:
            raise VerificationError(f"{path} cannot be read: {error}") from error

    def close(self, stage: str, sites: Sequence[str]) -> None:
        """Say whose answers count, once and for all."""
        self.note(f"{stage}.closed", sorted(sites))

    def closed(self, stage: str) -> tuple[str, ...] | None:
        """Whose answers count; None while the exchange is open."""
        found = self.noted(f"{stage}.closed")
        return None if found is None else tuple(found)

    def note(self, name: str, value: object) -> None:
        """Keep a small JSON value."""
        folders.write_bytes(self.root / name, canonical(value))

    def noted(self, name: str) -> Any:
        """What was kept under a name; None where nothing was.

        Raises:
            VerificationError: it is damaged.
        """
        path = self.root / name
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise VerificationError(f"{path} is damaged", remedy="Remove it") from error

    def empty(self) -> None:
        """Remove all of it.

        Raises:
            OSError: the disk refused; nothing that is left counts, and it can be removed later.
        """
        if self.root.is_dir():
            shutil.rmtree(self.root)

    def _path(self, stage: str, site: str) -> Path:
        return self.root / f"{stage}-{self.places[site]:04d}.bin"
