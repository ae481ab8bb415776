"""Where a vault takes letters: what is no letter of its server goes no further, one at a time goes in.

A site's vault and a helper's differ in what they answer, and not in whom.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Final

from sottovoce.codec.roster import Identity, Roster
from sottovoce.errors import RefusedError, SottovoceError, UsageError, VerificationError
from sottovoce.run import letter as letters
from sottovoce.run.connection import Limits, ServerOf
from sottovoce.run.folder import on_disk
from sottovoce.run.letter import SERVER, Letter

Answer = tuple[str, dict[str, Any], dict[str, bytes]]
"""Kind, facts and parts of an answer, before it is signed."""

Log = Callable[[str, Mapping[str, Any]], None]

_RUN: Final = re.compile(r"[0-9a-f]{64}")


def silent(event: str, fields: Mapping[str, Any]) -> None:
    """Tell nobody."""


@dataclass
class Reception:
    """Reads letters and writes their answers.

    Args:
        name: whose letters these are.
        server: whose they must be.
        limits: how large one may be.
        folder: on whose disk the work is done.
        identity: what answers are signed with. Private.
        log: told what went wrong.
        leave: lets go of what is open, after an error in the middle of something.
        told: what the server may know of an error.

    Guarantees:
        - a letter that is not the server's, or not for this name, changes nothing and gets no answer
          but an error;
        - who asks for progress is answered at once, whatever is being worked on;
        - an error of any kind is answered with ``refused``, and the process goes on.
    """

    name: str
    server: ServerOf
    limits: Limits
    folder: Path
    identity: Identity = field(repr=False)
    log: Log
    leave: Callable[[], None]
    told: Callable[[Exception], Mapping[str, Any]]
    steps: int = 0
    _busy: str = ""
    _work: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        key = bytes.fromhex(self.server.identity)
        self._pinned = Roster({SERVER: key, self.name: self.identity.public})

    def answer(self, data: bytes, answered: Callable[[Letter, str], bytes]) -> bytes:
        """Answer one letter.

        Args:
            data: as it came.
            answered: from a letter and its hash to the signed answer.

        Raises:
            VerificationError: the bytes are no letter of the server's.
        """
        letter = letters.read(data, self._pinned, to=self.name, limit=self.limits.letter_bytes)
        if letter.sender != SERVER or not _RUN.fullmatch(letter.run):
            raise VerificationError("a letter that no server of a run has written")
        request = letters.name_of(data)
        if letter.kind == "progress":
            told = {"steps": self.steps, "busy": self._busy}
            return self.written(letter, request, ("progress", told, {}))
        with self._work:
            self._busy = request
            try:
                with on_disk(self.folder):
                    return answered(letter, request)
            except Exception as error:  # noqa: BLE001 - whatever it is, the vault goes on
                return self.written(letter, request, ("refused", self._failed(letter, error), {}))
            finally:
                self._busy = ""

    def written(self, letter: Letter, request: str, answer: Answer) -> bytes:
        """Sign an answer."""
        kind, facts, parts = answer
        told = {**facts, "answers": request}
        return letters.write(
            Letter(kind, letter.run, self.name, SERVER, told, parts), self.identity
        )

    def stepped(self, *_: object) -> None:
        """Some work is done."""
        self.steps += 1

    def _failed(self, letter: Letter, error: Exception) -> dict[str, Any]:
        """Log what went wrong, and say what the server may know of it."""
        if isinstance(error, SottovoceError):
            self.log("refused", {"kind": letter.kind, "error": str(error)})
        else:
            # Its text may hold what was worked on, so the log says what it is and where it was.
            where = "".join(traceback.format_tb(error.__traceback__))
            self.log("failed", {"kind": letter.kind, "error": type(error).__name__, "at": where})
        if not isinstance(error, RefusedError | VerificationError | UsageError):
            # It may have come in the middle of something; what is on the disk is what counts.
            self.leave()
        code = error.exit_code if isinstance(error, SottovoceError) else SottovoceError.exit_code
        return {**self.told(error), "code": code}
