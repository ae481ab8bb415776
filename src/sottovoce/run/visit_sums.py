"""A site's side of sums that hide its update: what it answers, and what it never answers twice.

A server could ask for two sums over one update, with and without somebody else, and take their
difference. So a site that has helped to open a sum of a round takes part in no other of that round.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sottovoce.codec import graph
from sottovoce.codec.checks import Words
from sottovoce.codec.roster import Identity, Roster
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run.enrol import roster_of
from sottovoce.run.known import Known
from sottovoce.run.letter import NEXT, PART, Letter
from sottovoce.run.outbox import Outbox, Sum
from sottovoce.run.party import Party
from sottovoce.run.sum_terms import Agreement, bytes_by_name, terms_of_sum

_NONCE_BYTES = 32


class Hiding(Protocol):
    """What a visit asks of the sums that hide a site's update, whoever opens them."""

    @property
    def repeats(self) -> bool:
        """Whether a round may have a second sum."""

    def joined(self) -> dict[str, str]:
        """What the site tells of its sums as it joins."""

    def begun(self, facts: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        """Look at what the server shows as the run begins: what is remembered, and what is told."""

    def require(self, known: Known, request: Letter) -> None:
        """Refuse what the sum itself forbids, before anything is trained or charged."""

    def parts(
        self, known: Known, request: Letter, words: Callable[[], Words], model_sha256: str
    ) -> dict[str, bytes]:
        """The hidden words, as parts of the letter that answers."""

    def close(self) -> None:
        """Wipe what is left of all sums of the run."""


@dataclass
class Sums:
    """The sums of one run at one site.

    Args:
        run: 32 bytes.
        name: of the site.
        identity: what it signs with. Private.
        outbox: what it remembers of sums, encrypted.
        roster: the identities that this site has pinned itself.
        config_sha256: of the configuration that all share, as it came.
        root: the run folder at the site.
        opened: the newest round of which it has helped to open a sum; -1 for none.
    """

    run: bytes
    name: str
    identity: Identity
    outbox: Outbox
    roster: Roster
    config_sha256: bytes
    root: Path
    opened: int = -1
    agreed: Agreement | None = None

    @property
    def repeats(self) -> bool:
        """A round may have a second sum, as long as no other of it was opened."""
        return True

    def joined(self) -> dict[str, str]:
        """A commitment, which is told as the site joins."""
        return {"commitment": self.commitment()}

    def begun(self, facts: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        """Everybody's commitments, to be remembered, and the nonce, to be told; as ``reveal``."""
        committed, nonce = self.reveal(facts)
        return committed, {"nonce": nonce}

    def commitment(self) -> str:
        """A commitment to this site's part of the beacon; the same whenever it is asked for."""
        return graph.commit(self._nonce(), client=self.name, run=self.run).hex()

    def reveal(self, facts: Mapping[str, Any]) -> tuple[dict[str, str], str]:
        """Open this site's part of the beacon, once all commitments are known.

        Returns:
            The commitments, to be remembered; and the nonce.

        Raises:
            VerificationError: the commitment that stands for this site is not its own.
        """
        found = bytes_by_name(facts, "commitments")
        if found.get(self.name, b"").hex() != self.commitment():
            raise VerificationError(f"the commitments are not what {self.name!r} has committed to")
        return {name: value.hex() for name, value in found.items()}, self._nonce().hex()

    def agree(self, commitments: Mapping[str, str], facts: Mapping[str, Any]) -> None:
        """Take everybody's opened parts; the beacon must follow from what was committed to."""
        nonces = bytes_by_name(facts, "nonces")
        committed = {name: bytes.fromhex(value) for name, value in commitments.items()}
        agreed = Agreement(self.run, self.roster, self.config_sha256, committed, nonces)
        if nonces.get(self.name) != self._nonce() or not agreed.circle.beacon:
            raise VerificationError(f"the beacon is not one that {self.name!r} took part in")
        self.agreed = agreed

    def require(self, known: Known, request: Letter) -> None:
        """Refuse a sum that ``party`` refuses."""
        self.party(known, request)

    def party(self, known: Known, request: Letter) -> Party:
        """The party of the sum that a letter is about.

        Raises:
            VerificationError: a sum of a round of which another was opened, or without this site.
        """
        index = letters.count(request.facts, "round")
        attempt = letters.count(request.facts, "attempt", 999)
        cohort = request.facts.get("cohort")
        if not isinstance(cohort, list) or self.name not in cohort:
            raise VerificationError(f"a sum without {self.name!r}")
        if request.kind in ("keys", "shares", "round") and index <= self.opened:
            raise VerificationError(
                f"{self.name!r} has helped to open a sum of round {self.opened}",
                remedy="It takes part in no other sum of that round: two would show what differs",
            )
        party = self._party(known, index, attempt, cohort)
        self._wipe_others(party.terms.round)
        return party

    def following(self, known: Known, request: Letter) -> Party | None:
        """The party of the next round's sum, where the letter says who is in it."""
        cohort = request.facts.get("next")
        if not isinstance(cohort, list) or self.name not in cohort:
            return None
        return self._party(known, letters.count(request.facts, "round") + 1, 0, cohort)

    def _party(self, known: Known, index: int, attempt: int, cohort: list[Any]) -> Party:
        if self.agreed is None:
            raise VerificationError("a sum before everybody has agreed on it")
        terms = terms_of_sum(known, self.agreed, index, attempt, tuple(map(str, cohort)))
        return Party(self.outbox, terms, self.identity)

    def answered(self, known: Known, request: Letter) -> dict[str, bytes]:
        """The answer of the protocol to every letter but the one that asks for the update.

        Returns:
            The parts of the answer: the message, and that of the next round where it was asked for.
        """
        party = self.party(known, request)
        if request.kind == "keys":
            return {PART: party.advertise()}
        message = letters.part(request, PART)
        if request.kind == "shares":
            return {PART: party.share(message)}
        if request.kind == "survivors":
            return {PART: party.acknowledge(message)}
        answer = {PART: party.unmask(message)}
        following = self.following(known, request)
        if following is not None and NEXT in request.parts:
            answer[NEXT] = following.share(request.parts[NEXT])
        return answer

    def ahead(self, known: Known, request: Letter) -> dict[str, bytes]:
        """Keys for the next round, as a part of the letter that brings the update."""
        following = self.following(known, request)
        return {} if following is None else {NEXT: following.advertise()}

    def parts(
        self, known: Known, request: Letter, words: Callable[[], Words], model_sha256: str
    ) -> dict[str, bytes]:
        """The masked words, and the keys of the next round where they are asked for."""
        upload = self.upload(known, request, words, model_sha256)
        return {PART: upload, **self.ahead(known, request)}

    def upload(
        self, known: Known, request: Letter, words: Callable[[], Words], model_sha256: str
    ) -> bytes:
        """The masked words, in answer to the letter that asks for the update."""
        party = self.party(known, request)
        return party.upload(letters.part(request, PART), words, bytes.fromhex(model_sha256))

    def close(self) -> None:
        """Wipe what is left of all sums of the run."""
        self._wipe_others(None)

    def _wipe_others(self, kept: int | None) -> None:
        for number in self.outbox.under_way(self.run):
            if kept is None or number < kept:
                self.outbox.wipe(Sum(self.run, number, "secagg"), "finished")

    def _nonce(self) -> bytes:
        place = self.root / "nonce"
        if not place.exists():
            folders.write_bytes(place, secrets.token_bytes(_NONCE_BYTES))
            place.chmod(0o600)
        return place.read_bytes()


def pinned(lines: Mapping[str, str]) -> Roster:
    """The identities of all sites, as this site has pinned them.

    Args:
        lines: of the site's own file.

    Raises:
        ConfigError: the site has pinned none, or a line cannot be read.
    """
    if not lines:
        raise ConfigError(
            "the run hides updates from its server, and this site has pinned no roster",
            remedy="Write the lines of all sites under [roster] in the site's file: if the server "
            "alone says who the others are, it can be all of them",
        )
    return roster_of(lines)[0]
