"""The vault of a helper: the one process that holds its keys and what it remembers of sums.

As a site's vault it takes bytes and returns bytes, knows no network, and answers the letters of the
pinned server alone. It holds no text and needs no model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sottovoce.codec.roster import Identity
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run.enrol import roster_of
from sottovoce.run.folder import make_folder
from sottovoce.run.helper_run import HelperRun
from sottovoce.run.helper_settings import HelperSettings
from sottovoce.run.ledger import Ledger, read
from sottovoce.run.letter import Letter
from sottovoce.run.outbox import Outbox
from sottovoce.run.reception import Answer, Log, Reception, silent


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
        self._reception = Reception(
            own.name,
            own.server,
            own.limits,
            Path(own.folder),
            self.identity,
            lambda event, fields: self.log(event, fields),
            self._leave,
            _told,
        )

    def answer(self, data: bytes) -> bytes:
        """Answer one letter of the server.

        Returns:
            A signed letter: what was asked for, or ``refused`` with the reason.

        Raises:
            VerificationError: the bytes are no letter of this helper's server.
        """
        return self._reception.answer(data, self._signed)

    def _signed(self, letter: Letter, request: str) -> bytes:
        return self._reception.written(letter, request, self._answered(letter))

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
                self._reception.stepped,
            )
            for record in read(root / "ledger.jsonl"):
                found.replay(record)
        except BaseException:
            ledger.close()
            raise
        self._run = found
        return found


def _told(error: Exception) -> dict[str, Any]:
    """What the server may know of an error."""
    if isinstance(error, VerificationError):
        return {"error": str(error)}
    return {"error": f"{type(error).__name__}; the helper's own log says more"}
