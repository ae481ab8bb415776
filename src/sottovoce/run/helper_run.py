"""One run at one helper: what it signs in the sums of the run, each thing once.

What a helper holds of a sum lies in its outbox, encrypted, and is there before an answer leaves; the
ledger holds hashes of all that it has signed. A helper whose ledger tells of something that its
outbox no longer remembers cannot know what it has promised, and is silent until the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from sottovoce.codec.oneshot.messages import write_key
from sottovoce.codec.oneshot.states import RunSecret
from sottovoce.codec.oneshot.terms import Terms
from sottovoce.codec.roster import Identity, Roster
from sottovoce.errors import VerificationError
from sottovoce.run import letter as letters
from sottovoce.run.helped import DurableHelper, announce_once, end_run
from sottovoce.run.helper_settings import HelperSettings
from sottovoce.run.helper_terms import KEY, require_same_roots, roots_of, terms_in
from sottovoce.run.ledger import Ledger, Record
from sottovoce.run.letter import PART, Letter
from sottovoce.run.outbox import Outbox, Sum
from sottovoce.run.reception import Answer

_STEPS: Final = {"delivery": 1, "proposal": 2}
"""How many messages a helper remembers once it has answered one of this kind."""


@dataclass
class HelperRun:
    """The sums of one run at one helper.

    Args:
        run: 32 bytes.
        settings: the helper's own file.
        identity: what it signs with. Private.
        outbox: what it remembers of sums, encrypted.
        ledger: of the run's folder, open.
        roster: the sites that it has pinned.
        helpers: the helpers that it has pinned.
        on_step: told whenever one more sum of key streams is made.

    Guarantees:
        - it shows one key in a run, and signs one set of survivors in a round, whatever arrives
          and whenever it is killed;
        - the same message gets the same bytes for as long as the round is open;
        - a round that is closed, or older than one that has begun, is answered no more, and
          nothing secret is left of it;
        - what it has signed and no longer remembers keeps it silent for the rest of that round.

    Raises:
        VerificationError: from every method: what is asked is not what this helper may answer.
        SottovoceError: the disk refuses. Nothing may be sent, and nothing was returned.
    """

    run: bytes
    settings: HelperSettings
    identity: Identity = field(repr=False)
    outbox: Outbox
    ledger: Ledger
    roster: Roster
    helpers: Roster
    on_step: Callable[[], None]
    key_sha256: str = ""
    newest: int = -1
    closed: int = -1
    over: bool = False
    _steps: dict[int, int] = field(default_factory=dict)
    _answers: dict[tuple[int, str, str], str] = field(default_factory=dict)

    def replay(self, record: Record) -> None:
        """Take over what a record of the run's ledger says."""
        payload: Mapping[str, Any] = record.payload
        match record.kind:
            case "start":
                self.key_sha256 = str(payload["key_sha256"])
            case "answer":
                index, kind = int(payload["round"]), str(payload["kind"])
                self.newest = max(self.newest, index)
                self._steps[index] = max(self._steps.get(index, 0), _STEPS.get(kind, 2))
                asked = index, kind, str(payload["message_sha256"])
                self._answers[asked] = str(payload["answer_sha256"])
            case "closed":
                self.closed = max(self.closed, int(payload["round"]))
            case "end":
                self.over = True

    def announce(self, request: Letter) -> Answer:
        """Show this helper's key of the run; the same whenever it is asked."""
        self._require_going()
        require_same_roots(request.facts, self.roster, self.helpers)
        _, written = self._key()
        if not self.key_sha256:
            self._append(
                "start",
                {
                    "run": self.run.hex(),
                    "helper": self.settings.name,
                    "key_sha256": _sha(written),
                    **roots_of(self.roster, self.helpers),
                },
            )
        return "announced", {}, {KEY: written}

    def answered(self, request: Letter) -> Answer:
        """Answer one message of a sum: a delivery, a proposal or a request."""
        self._require_going()
        if not self.key_sha256:
            raise VerificationError(f"helper {self.settings.name!r} has shown no key in this run")
        secret, _ = self._key()
        terms = terms_in(request.facts, self.run, self.roster, self.helpers)
        self._require_open(terms)
        helper = DurableHelper(self.outbox, terms, self.identity, secret)
        if helper.steps < self._steps.get(terms.round, 0):
            raise self._lost(f"what it has signed in {terms.title}")
        message = letters.part(request, PART)
        match request.kind:
            case "delivery":
                self._forget(terms.round - 1)
                kind, parts = "receipt", {PART: helper.receive(message)}
            case "proposal":
                kind, parts = "vote", {PART: helper.lock(message)}
            case _:
                told = enumerate(self._told(helper, message))
                kind, parts = "sums", {f"sum-{place:02d}": data for place, data in told}
        self._note(request.kind, terms, message, parts)
        return kind, {"round": terms.round}, parts

    def close(self, request: Letter) -> Answer:
        """End a round, and all before it: whatever is left of them is wiped."""
        index = letters.count(request.facts, "round")
        self._forget(index)
        if index > self.closed:
            self._append("closed", {"round": index})
        return "closed", {"round": index}, {}

    def finish(self) -> Answer:
        """End the run: the key of it is wiped as well."""
        if not self.over:
            end_run(self.outbox, self.run)
            self._append("end", {})
        return "finished", {}, {}

    # --- what is asked before an answer ----------------------------------------------------------

    def _key(self) -> tuple[RunSecret, bytes]:
        """The secret of the run, and what is shown of it.

        Once it was shown it has to be there: another one would open nothing.
        """
        about = Sum(self.run, None, "helpers")
        if self.key_sha256 and not self.outbox.read(about).step:
            raise self._lost("its key of this run")
        secret, shown = announce_once(self.outbox, self.helpers, self.run, self.identity)
        written = write_key(shown, self.helpers, self.run)
        if self.key_sha256 not in ("", _sha(written)):
            raise self._lost("the key that it has shown in this run")
        return secret, written

    def _require_going(self) -> None:
        if self.over:
            raise VerificationError(f"the run has ended for helper {self.settings.name!r}")

    def _require_open(self, terms: Terms) -> None:
        me, limit = self.settings.name, self.settings.limits.letter_bytes
        if terms.round <= self.closed or terms.round < self.newest:
            raise VerificationError(
                f"{terms.title} is over for helper {me!r}, and its secrets of it are gone"
            )
        if terms.minimum_survivors < self.settings.least:
            raise VerificationError(
                f"{terms.title} may be a sum of {terms.minimum_survivors} sites",
                allowed=f"{self.settings.least} or more, as the file of helper {me!r} says",
                remedy="Raise federation.minimum_clients",
            )
        if terms.length * terms.bits > 8 * limit:
            raise VerificationError(
                f"a vector of {terms.length} words of {terms.bits} bits",
                allowed=f"what fits into a letter of {limit} bytes",
                remedy=f"Raise limits.letter_bytes of helper {me!r}",
            )

    def _lost(self, what: str) -> VerificationError:
        return VerificationError(
            f"helper {self.settings.name!r} no longer remembers {what}, as its ledger says",
            remedy="It is silent where it could contradict itself; the next round or run is open",
        )

    # --- what is done with one -------------------------------------------------------------------

    def _told(self, helper: DurableHelper, message: bytes) -> Iterator[bytes]:
        for data in helper.sums(message):
            self.on_step()
            yield data

    def _note(self, kind: str, terms: Terms, message: bytes, parts: Mapping[str, bytes]) -> None:
        """Have the ledger hold an answer before it leaves; a second one would have to be the same."""
        found = _sha(*(parts[name] for name in sorted(parts)))
        before = self._answers.get((terms.round, kind, _sha(message)))
        if before is None:
            self._append(
                "answer",
                {
                    "kind": kind,
                    "round": terms.round,
                    "terms_sha256": terms.digest.hex(),
                    "message_sha256": _sha(message),
                    "answer_sha256": found,
                },
            )
        elif before != found:
            raise self._lost(f"how it has answered in {terms.title}")

    def _forget(self, last: int) -> None:
        """Wipe what is left of all rounds up to one."""
        for index in self.outbox.under_way(self.run):
            if index <= last:
                self.outbox.wipe(Sum(self.run, index, "helpers"), "finished")
        self._steps = {index: steps for index, steps in self._steps.items() if index > last}
        self._answers = {asked: sha for asked, sha in self._answers.items() if asked[0] > last}

    def _append(self, kind: str, payload: Mapping[str, Any]) -> None:
        self.replay(self.ledger.append(kind, payload))


def _sha(*parts: bytes) -> str:
    digest = sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
