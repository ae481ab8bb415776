"""The vault: the one process of a site that holds its text, model, keys, ledger and policy.

It takes bytes and returns bytes, and knows no network. What arrives is a letter that the pinned
server has signed, or it is refused before anything of it is looked into. No code that arrives is ever
executed: a letter holds figures, tensors and a configuration, and nothing else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from sottovoce.codec.roster import Identity
from sottovoce.config import Config
from sottovoce.errors import (
    ConfigError,
    RefusedError,
    VerificationError,
)
from sottovoce.run import letter as letters
from sottovoce.run.arms import Watch
from sottovoce.run.folder import make_folder, write_bytes
from sottovoce.run.ledger import Ledger
from sottovoce.run.letter import Letter
from sottovoce.run.outbox import Outbox
from sottovoce.run.reception import Log, Reception, silent
from sottovoce.run.site_settings import SiteSettings, own_config
from sottovoce.run.visit import Visit, open_visit
from sottovoce.run.visit_helped import HelpedSums, pinned_helpers
from sottovoce.run.visit_sums import Hiding, Sums, pinned

_PLACE: Final = re.compile(r"[^\s'\"]*/[^\s'\"]*")
_CONFIG: Final = "shared.toml"


@dataclass
class Vault:
    """A site's own process, without its network.

    Args:
        site: the site's file.
        identity: what it signs with. Private.
        store_key: under which it keeps what it remembers of sums. Private.
        log: told what happens, as an event with fields; never text, keys or tensors.

    Guarantees:
        - a letter that is not the server's, or not for this site, changes nothing and gets no
          answer but an error;
        - a letter that was answered is answered again, byte for byte;
        - an error leaves the run as it was before the letter.
    """

    site: SiteSettings
    identity: Identity
    store_key: bytes = field(repr=False)
    log: Log = silent
    _visit: Visit | None = None
    _outbox: Outbox | None = None

    def __post_init__(self) -> None:
        site = self.site
        self._reception = Reception(
            site.name,
            site.server,
            site.limits,
            Path(site.folder),
            self.identity,
            lambda event, fields: self.log(event, fields),
            self._leave,
            lambda error: _told(error, site),
        )

    @property
    def steps(self) -> int:
        """Training steps so far."""
        return self._reception.steps

    def answer(self, data: bytes) -> bytes:
        """Answer one letter of the server.

        Returns:
            A signed letter: what was asked for, or ``refused`` with the reason.

        Raises:
            VerificationError: the bytes are no letter of this site's server.
        """
        return self._reception.answer(data, self._answered)

    def close(self) -> None:
        """Let go of everything that is open."""
        self._leave()
        if self._outbox is not None:
            self._outbox.close()
            self._outbox = None

    def _leave(self) -> None:
        if self._visit is not None:
            self._visit.ledger.close()
            self._visit = None

    def _answered(self, letter: Letter, request: str) -> bytes:
        visit = self._opened(letter)
        repeated = visit.repeated(request)
        if repeated is not None:
            self.log("repeated", {"kind": letter.kind})
            return repeated
        self.log("asked", {"kind": letter.kind, "round": letter.facts.get("round")})
        match letter.kind:
            case "join":
                return self._reception.written(letter, request, visit.join())
            case "first":
                return self._reception.written(letter, request, visit.first())
            case "offer":
                return self._reception.written(letter, request, visit.offer(letter))
            case "begin":
                return self._reception.written(letter, request, visit.begin(letter))
            case "round":
                answer, record = visit.round(letter)
                seconds = round(visit.train_seconds, 4)
                self.log("trained", {"round": record["round"], "seconds": seconds})
            case "finish":
                answer, record = visit.finish(letter)
            case "keys" | "shares" | "survivors" | "unmask":
                answer, record = visit.hidden(letter)
            case _:
                raise VerificationError(f"a letter of kind {letter.kind!r}")
        return visit.kept(request, self._reception.written(letter, request, answer), record)

    def _opened(self, letter: Letter) -> Visit:
        """The run of a letter, from memory or from its folder; one at a time."""
        root = Path(self.site.folder) / letter.run
        # Who joins again with another configuration is refused, whether the run is open or not.
        shared = self._shared(root, letter)
        if self._visit is not None and self._visit.folder.root == root:
            return self._visit
        self._leave()
        ledger = Ledger.open(root / "ledger.jsonl")
        try:
            watch = Watch(on_step=self._reception.stepped)
            self._visit = open_visit(
                self.site.name,
                root,
                lambda: own_config(self.site, shared, root),
                ledger,
                watch,
                lambda config: self._sums(letter.run, root, shared, config),
            )
        except BaseException:
            ledger.close()
            raise
        return self._visit

    def _sums(self, run: str, root: Path, shared: bytes, config: Config) -> Hiding:
        """What this site remembers of the sums of a run, once it has pinned who else is in them."""
        roster = pinned(self.site.roster)
        if roster.members.get(self.site.name) != self.identity.public:
            raise ConfigError(
                f"the roster of the site's file has another key for {self.site.name!r}",
                remedy="Write the line that sotto enrol printed here",
            )
        if self._outbox is None:
            place = Path(self.site.folder) / "outbox"
            self._outbox = Outbox(place, self.store_key, self.site.name)
        me, identity, config_sha256 = self.site.name, self.identity, sha256(shared).digest()
        number, box = bytes.fromhex(run), self._outbox
        if config.secure.aggregation == "helpers":
            helpers = pinned_helpers(self.site.helpers, config)
            return HelpedSums(number, me, identity, box, roster, helpers, config_sha256)
        return Sums(number, me, identity, box, roster, config_sha256, root)

    def _shared(self, root: Path, letter: Letter) -> bytes:
        """The configuration that all clients share, as it came with the first letter of a run."""
        place = root / _CONFIG
        if letter.kind != "join":
            if not place.exists():
                raise ConfigError(
                    f"{self.site.name!r} knows nothing of run {letter.run[:16]}",
                    remedy="The server asks every site to join before it asks for anything else",
                )
            return place.read_bytes()
        shared = letters.part(letter, "config")
        own_config(self.site, shared, root)
        make_folder(root)
        root.chmod(0o700)
        if place.exists() and place.read_bytes() != shared:
            raise VerificationError(f"run {letter.run[:16]} came with another configuration before")
        write_bytes(place, shared)
        return shared


def _told(error: Exception, site: SiteSettings) -> dict[str, Any]:
    """What the server may know of an error: the rule of a refusal, and of all else the kind.

    Errors about data and models name files and clients of the site; they stay in its own log.
    """
    if not isinstance(error, RefusedError | VerificationError):
        return {"error": f"{type(error).__name__}; the site's own log says more"}
    told = {"error": _without_places(str(error), site)}
    culprit = error.culprit if isinstance(error, VerificationError) else ""
    return told | ({"culprit": culprit} if culprit else {})


def _without_places(text: str, site: SiteSettings) -> str:
    """A text without the places where things lie at a site.

    >>> _PLACE.sub("(a file)", "the answer in /var/runs/x.bin is lost. See /etc")
    'the answer in (a file) is lost. See (a file)'
    """
    paths = site.data.get("path", ())
    known = [site.folder, site.keys, site.policy, site.model.path or "", site.server.ca or ""]
    # A place may have spaces in it, so the known ones are shortened first.
    for place in [*known, *([paths] if isinstance(paths, str) else paths)]:
        text = text.replace(place, "/") if "/" in place else text
    return _PLACE.sub("(a file of the site)", text)


def tell(event: str, fields: Mapping[str, Any]) -> None:
    """Say on standard error what happened, in one line."""
    told = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    sys.stderr.write(f"{event} {told}\n")
    sys.stderr.flush()
