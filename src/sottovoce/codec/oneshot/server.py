"""The server's side of one secure sum with helpers: it adds uploads, carries parcels, and unmasks.

The server is an object and not a row of frozen values, because it holds one thing that is too large
to copy at each step: the running total, into which every vector is added as it arrives. Everything
else it holds are parcels, signatures and hashes.

Each ``add_`` method takes one message, or raises and leaves everything as it was, so that a faulty
client costs the round no more than that client. Each ``close_`` method ends a stage with whoever
was heard by then, and returns what goes out.

A wrong sum of key streams is found where two helpers hold the set: every holder tells the hash of
its sum, and they must agree. Where more than t of them do, the others are wrong and are named;
otherwise it is known only that one of those named is. Where a set has one holder (t = m - 1)
nobody can check it here: a mistake then fails the checksum in the sum itself, as ``codec.checks``
says, but a helper who is out to change the sum, and changes the checksum with it, is not found.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import Literal

import numpy as np

from sottovoce.codec.masks import Words
from sottovoce.codec.oneshot.helper import lock_of
from sottovoce.codec.oneshot.messages import (
    Delivery,
    Endorsement,
    Parcel,
    PartialSum,
    Proposal,
    Receipt,
    Request,
    Upload,
    Vote,
    require_signed,
)
from sottovoce.codec.oneshot.terms import Terms
from sottovoce.codec.words import unpack_words
from sottovoce.errors import AbortedError, VerificationError

Stage = Literal["uploads", "receipts", "votes", "sums", "the sum"]


class Server:
    """One secure sum, seen from the server. It learns the sum of the survivors and nothing else.

    Args:
        terms: what was agreed on. Public.

    Guarantees:
        - ``recover`` returns Σ x_i mod 2^bits over the survivors, or raises and returns nothing;
        - memory for vectors is the total, one message and one block, however many clients and
          helpers there are;
        - a message that raises changes nothing; one that comes twice counts once.

    Raises:
        VerificationError: from every method: a message of the wrong stage, of somebody who is not
            expected, without its signature, or a second one that differs from the first; too few
            clients or helpers at the end of a stage, naming the stage, the round and the missing.
    """

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._stage: Stage = "uploads"
        self._total: Words = np.zeros(terms.length, terms.word)
        self._parcels: dict[str, Parcel] = {}
        self._digests: dict[str, bytes] = {}
        self._receipts: dict[str, Receipt] = {}
        self._votes: dict[str, Vote] = {}
        self._claims: dict[int, dict[str, bytes]] = {n: {} for n in range(len(terms.subsets))}
        self._added: set[int] = set()
        self._gone: set[str] = set()
        self._survivors: tuple[str, ...] = ()
        self._lock = b""

    @property
    def stage(self) -> Stage:
        """What is being gathered."""
        return self._stage

    @property
    def survivors(self) -> tuple[str, ...]:
        """Whose vectors are in the sum; known once the receipts are closed."""
        return self._survivors

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """Who may still send what is being gathered, and has not."""
        match self._stage:
            case "uploads":
                return tuple(name for name in self.terms.cohort if name not in self._parcels)
            case "receipts":
                return self._present(set(self.terms.helpers.members) - set(self._receipts))
            case "votes":
                return self._present(set(self._receipts) - set(self._votes))
            case "sums":
                wanted = self._wanted()
                return tuple(it for it in wanted if wanted[it] or not self._told_all(it))
            case "the sum":
                return ()

    @property
    def refused(self) -> dict[str, tuple[str, ...]]:
        """Whose upload is in the total and was not accepted by which helpers."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self._parcels:
            by = [it for it in self._receipts if name not in self._receipts[it].accepted]
            if by := list(self._present(by)):
                found[name] = tuple(by)
        return found

    # --- stage 1 ---------------------------------------------------------------------------------

    def add_upload(self, message: Upload) -> None:
        """Add a masked vector to the total, block by block, and forget it.

        Raises:
            VerificationError: also words that are not those of the parcel.
        """
        name = message.parcel.client
        found = self._checked_upload(message, "uploads")
        if self._digests.get(name, found) != found:
            raise VerificationError(f"client {name!r} sends uploads twice, and not the same")
        if name in self._digests:
            return
        for begin, block in unpack_words(message.words, self.terms):
            self._total[begin : begin + block.size] += block
        self._parcels[name], self._digests[name] = message.parcel, found

    def close_uploads(self) -> Delivery:
        """Go on with whoever uploaded: their parcels, for every helper."""
        self._require_stage("uploads")
        self._require_clients()
        self._stage = "receipts"
        return Delivery(tuple(self._parcels[name] for name in sorted(self._parcels)))

    # --- stage 2 ---------------------------------------------------------------------------------

    def add_receipt(self, message: Receipt) -> None:
        """Take a helper's word on whose seeds it could open."""
        self._require_stage("receipts")
        require_signed(message, self.terms)
        if self._receipts.setdefault(message.helper, message) != message:
            raise self._twice(message.helper)

    def take_back(self, message: Upload) -> None:
        """Take the upload of a client that a helper has refused out of the total again.

        The words are no longer here: whoever drives the server has kept them, or asks the client
        for the same bytes once more.

        Raises:
            VerificationError: also an upload that no helper has refused, or another than was added.
        """
        name = message.parcel.client
        found = self._checked_upload(message, "receipts")
        if name not in self.refused or found != self._digests[name]:
            raise VerificationError(
                f"the upload of client {name!r} is not one that was added and then refused"
            )
        for begin, block in unpack_words(message.words, self.terms):
            self._total[begin : begin + block.size] -= block
        del self._parcels[name], self._digests[name]

    def close_receipts(self) -> Proposal:
        """Go on with whoever all helpers have accepted, and with the helpers that were heard.

        Raises:
            VerificationError: also a client that was refused and is still in the total.
        """
        self._require_stage("receipts")
        self._require_helpers(self._receipts, self.terms.quorum)
        if refused := self.refused:
            raise VerificationError(
                f"the total of {self.terms.title} has clients that helpers refuse: {refused}",
                remedy="Take their uploads back, or give those helpers up",
            )
        self._require_clients()
        self._survivors = tuple(sorted(self._parcels))
        self._lock = lock_of([(it, self._digests[it]) for it in self._survivors])
        self._stage = "votes"
        return Proposal(self._survivors)

    # --- stage 3 ---------------------------------------------------------------------------------

    def add_vote(self, message: Vote) -> None:
        """Take a helper's signature under the survivors.

        Raises:
            VerificationError: also a vote for other survivors, or of a helper without a receipt.
        """
        name = message.helper
        self._require_stage("votes")
        require_signed(message, self.terms)
        if name not in self._receipts:
            raise VerificationError(f"helper {name!r} votes without having sent a receipt")
        if message.lock_sha256 != self._lock:
            raise VerificationError(
                f"helper {name!r} votes for other survivors of {self.terms.title} than are proposed"
            )
        self._votes[name] = message

    def close_votes(self) -> dict[str, Request]:
        """Go on with whoever voted, and ask them for the sums."""
        self._require_stage("votes")
        self._require_helpers(self._votes, self.terms.quorum)
        self._stage = "sums"
        return self.requests()

    # --- stage 4 ---------------------------------------------------------------------------------

    def requests(self) -> dict[str, Request]:
        """Ask every helper that is there, the first holder of each set for the words of its sum.

        What has arrived is not asked for again, so this may be called whenever a helper was given
        up.
        """
        self._require_stage("sums")
        votes = tuple(
            Endorsement(name, self._votes[name].signature) for name in sorted(self._votes)
        )
        return {
            name: Request(name, self._survivors, votes, numbers)
            for name, numbers in self._wanted().items()
        }

    def _wanted(self) -> dict[str, tuple[int, ...]]:
        """The sets of which each helper that is there is the first holder, and no words came."""
        live = self._present(self._votes)
        first = {
            number: next((name for name in subset if name in live), None)
            for number, subset in enumerate(self.terms.subsets)
            if number not in self._added
        }
        return {name: tuple(it for it in first if first[it] == name) for name in live}

    def give_up(self, helper: str) -> None:
        """Wait no longer for a helper: it is offline, or refuses clients without need.

        What it has said about sums still counts as evidence.
        """
        if helper not in self.terms.helpers.members:
            raise VerificationError(f"{helper!r} is no helper in {self.terms.title}")
        self._gone.add(helper)

    def add_sum(self, message: PartialSum) -> None:
        """Take one helper's sum of one set: into the total if it is the first with words.

        Raises:
            VerificationError: also words that are not those the helper claims, a set that it is not
                in, or a helper without a vote.
        """
        claim = message.claim
        name, number = claim.helper, claim.subset
        self._require_stage("sums")
        require_signed(claim, self.terms)
        if name not in self._votes or number not in self.terms.held[name]:
            raise VerificationError(
                f"helper {name!r} tells the sum of set {number} in {self.terms.title}, which is not "
                "its own to tell"
            )
        claims = self._claims[number]
        if claims.get(name, claim.sum_sha256) != claim.sum_sha256:
            raise self._twice(name)
        if len(message.words):
            if sha256(message.words).digest() != claim.sum_sha256:
                raise VerificationError(f"helper {name!r} sends another sum than it claims")
            blocks = unpack_words(message.words, self.terms)
            for begin, block in blocks if number not in self._added else ():
                self._total[begin : begin + block.size] += block
            self._added.add(number)
        claims[name] = claim.sum_sha256

    def recover(self) -> Words:
        """Hand over Σ x_i mod 2^bits over the survivors, once every helper has told every sum.

        Returns:
            ``[length]``, in the terms' type.

        Guarantees:
            - nothing is released while a holder that was not given up is silent, or where two
              holders of a set disagree.

        Raises:
            VerificationError: a sum is missing, naming who has not told it; or holders disagree,
                naming who is wrong, or all of them where that cannot be told.
        """
        self._require_stage("sums")
        for number, claims in self._claims.items():
            self._require_agreement(number, claims)
        silent = self.waiting_for
        if silent or len(self._added) < len(self.terms.subsets):
            raise self._stopped("sums that are missing", silent or sorted(self._gone))
        self._total &= self._total.dtype.type(self.terms.largest)
        self._stage = "the sum"
        return self._total

    def _require_agreement(self, number: int, claims: dict[str, bytes]) -> None:
        told = list(claims.values())
        if len(set(told)) <= 1:
            return
        # More than t helpers with one answer have an honest one among them.
        sure = next((it for it in told if told.count(it) > self.terms.colluding), None)
        wrong = sorted(name for name, it in claims.items() if it != sure)
        verdict = "they are wrong" if sure is not None else "at least one of them is wrong"
        raise VerificationError(
            f"helpers {wrong} disagree about set {number} in {self.terms.title}: {verdict}",
            remedy="Nothing was released; begin the next run without who was named",
        )

    # --- what all stages share -------------------------------------------------------------------

    def _checked_upload(self, message: Upload, stage: Stage) -> bytes:
        self._require_stage(stage)
        found = require_signed(message.parcel, self.terms)
        name = message.parcel.client
        if sha256(message.words).digest() != message.parcel.words_sha256:
            raise VerificationError(f"client {name!r} sends other words than its parcel names")
        return found

    def _told_all(self, helper: str) -> bool:
        return all(helper in self._claims[number] for number in self.terms.held[helper])

    def _present(self, helpers: Collection[str]) -> tuple[str, ...]:
        return tuple(sorted(set(helpers) - self._gone))

    def _require_stage(self, stage: Stage) -> None:
        if stage != self._stage:
            raise VerificationError(
                f"{self.terms.title} is gathering {self._stage}, not {stage}",
                remedy="What comes too late or too early is not counted",
            )

    def _require_clients(self) -> None:
        least = self.terms.minimum_survivors
        if len(self._parcels) < least:
            raise self._stopped(
                f"{len(self._parcels)} clients, and {least} are needed",
                [name for name in self.terms.cohort if name not in self._parcels],
            )

    def _require_helpers(self, heard: Collection[str], least: int) -> None:
        present = self._present(heard)
        if len(present) < least:
            raise self._stopped(
                f"{len(present)} helpers, and {least} are needed",
                sorted(set(self.terms.helpers.members).difference(present)),
            )

    def _twice(self, helper: str) -> VerificationError:
        return VerificationError(f"helper {helper!r} sends {self._stage} twice, and not the same")

    def _stopped(self, reason: str, missing: Sequence[str]) -> AbortedError:
        return AbortedError(self.terms.title, self._stage, self.terms.round, reason, missing)
