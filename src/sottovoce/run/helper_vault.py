"""The vault of a helper: the one process that holds its keys and what it remembers of sums.

As a site's vault it takes bytes and returns bytes, knows no network, and answers the letters of the
pinned server alone. It holds no text and needs no model.
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
from sottovoce.errors import ConfigError, SottovoceError, UsageError, VerificationError
from sottovoce.run import letter as letters
from sottovoce.run.enrol import roster_of
from sottovoce.run.folder import make_folder, on_disk
from sottovoce.run.helper_run import Answer, HelperRun
from sottovoce.run.helper_settings import HelperSettings
from sottovoce.run.ledger import Ledger, read
from sottovoce.run.letter import SERVER, Letter
from sottovoce.run.outbox import Outbox

_RUN: Final = re.compile(r"[0-9a-f]{64}")

Log = Callable[[str, Mapping[str, Any]], None]


def silent(event: str, fields: Mapping[str, Any]) -> None:
    """Tell nobody."""


@dataclass
class HelperVault:
    """A helper's own process, without its network.

    Args:
        settings: the helper's file.
        identity: what it signs with. Private.
        store_key: under which it keeps what it remembers of sums. Private.
        log: told what happens, as an event with fields; never keys.

    Guarantees:
        - a letter that is not the server's, or not for this helper, changes nothing and gets no
          answer but an error;
        - for everything else as ``HelperRun``.

    Raises:
        ConfigError: the lines of the file cannot be read, or have another key for this helper.
    """

    settings: HelperSettings
    identity: Identity
    store_key: bytes = field(repr=False)
    log: Log = silent
    _run: HelperRun | None = None
    _outbox: Outbox | None = None
    _work: Lock = field(default_factory=Lock)
    _steps: int = 0
    _busy: str = ""

    def __post_init__(self) -> None:
        own = self.settings
        self._roster, self._helpers = roster_of(own.roster)[0], roster_of(own.helpers)[0]
        if self._helpers.members.get(own.name) != self.identity.public:
            raise ConfigError(
                f"the lines of the helpers have another key for {own.name!r}, or none",
                remedy="Write the line that sotto enrol printed here",
            )
        if both := sorted(set(self._roster.members) & set(self._helpers.members)):
            raise ConfigError(f"{both[0]!r} is a site and a helper", allowed="one of both")
        key = bytes.fromhex(own.server.identity)
        self._pinned = Roster({SERVER: key, own.name: self.identity.public})

    def answer(self, data: bytes) -> bytes:
        """Answer one letter of the server.

        Returns:
            A signed letter: what was asked for, or ``refused`` with the reason.

        Raises:
            VerificationError: the bytes are no letter of this helper's server.
        """
        own = self.settings
        letter = letters.read(data, self._pinned, to=own.name, limit=own.limits.letter_bytes)
        if letter.sender != SERVER or not _RUN.fullmatch(letter.run):
            raise VerificationError("a letter that no server of a run has written")
        request = letters.name_of(data)
        if letter.kind == "progress":
            told = {"steps": self._steps, "busy": self._busy}
            return self._written(letter, request, ("progress", told, {}))
        with self._work:
            self._busy = request
            try:
                with on_disk(Path(own.folder)):
                    return self._written(letter, request, self._answered(letter))
            except Exception as error:  # noqa: BLE001 - whatever it is, the vault goes on
                return self._written(letter, request, ("refused", self._failed(letter, error), {}))
            finally:
                self._busy = ""

    def close(self) -> None:
        """Let go of everything that is open."""
        self._leave()
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None

    def _leave(self) -> None:
        if self._run is not None:
            self._run.ledger.close()
            self._run = None

    def _answered(self, letter: Letter) -> Answer:
        run = self._opened(letter)
        self.log("asked", {"kind": letter.kind, "round": letter.facts.get("round")})
        match letter.kind:
            case "announce":
                return run.announce(letter)
            case "delivery" | "proposal" | "request":
                return run.answered(letter)
            case "close":
                return run.close(letter)
            case "finish":
                return run.finish()
            case _:
                raise VerificationError(f"a letter of kind {letter.kind!r}")

    def _opened(self, letter: Letter) -> HelperRun:
        """The run of a letter, from memory or from its folder; one at a time."""
        run = bytes.fromhex(letter.run)
        if self._run is not None and self._run.run == run:
            return self._run
        root = Path(self.settings.folder) / letter.run
        if letter.kind != "announce" and not root.is_dir():
            raise VerificationError(
                f"helper {self.settings.name!r} knows nothing of run {letter.run[:16]}",
                remedy="Each helper shows its key before the first round of a run",
            )
        self._leave()
        make_folder(root)
        root.chmod(0o700)
        if self._outbox is None:
            place = Path(self.settings.folder) / "outbox"
            self._outbox = Outbox(place, self.store_key, self.settings.name)
        ledger = Ledger.open(root / "ledger.jsonl")
        try:
            found = HelperRun(
                run,
                self.settings,
                self.identity,
                self._outbox,
                ledger,
                self._roster,
                self._helpers,
                self._stepped,
            )
            for record in read(root / "ledger.jsonl"):
                found.replay(record)
        except BaseException:
            ledger.close()
            raise
        self._run = found
        return found

    def _stepped(self) -> None:
        self._steps += 1

    def _written(self, letter: Letter, request: str, answer: Answer) -> bytes:
        kind, facts, parts = answer
        told = {**facts, "answers": request}
        reply = Letter(kind, letter.run, self.settings.name, SERVER, told, parts)
        return letters.write(reply, self.identity)

    def _failed(self, letter: Letter, error: Exception) -> dict[str, Any]:
        """Log what went wrong, and say what the server may know of it."""
        code = error.exit_code if isinstance(error, SottovoceError) else SottovoceError.exit_code
        if isinstance(error, SottovoceError):
            self.log("refused", {"kind": letter.kind, "error": str(error)})
        else:
            where = "".join(traceback.format_tb(error.__traceback__))
            self.log("failed", {"kind": letter.kind, "error": type(error).__name__, "at": where})
        if not isinstance(error, VerificationError | UsageError):
            # It may have come in the middle of something; what is on the disk is what counts.
            self._leave()
        if not isinstance(error, VerificationError):
            return {
                "error": f"{type(error).__name__}; the helper's own log says more",
                "code": code,
            }
        return {"error": str(error), "code": code}
