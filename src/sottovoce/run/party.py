"""A client of secure sums that may be killed at any moment: it stores every answer, then returns it.

Nothing is remembered but what lies in the outbox. Each call reads it, takes one step, stores the
new state with the answer in it, and only then hands the answer out, so that a restart is nothing
special. A message that was answered last is answered again, byte for byte.

Where a client that was killed may go on, and where not:

    stored        killed while            after a restart
    nothing       its keys were drawn     draws keys; nobody has seen any
    Advertised    it shared               shares; nobody has seen the other shares
    Shared        it checked the inbox    goes on to upload; it had made no words and no mask
    BEGUN         it made words, masked   has dropped out: a second upload under the same masks
                                          would reveal the difference of both
    Uploaded      it was asked to unmask  sends the same upload, signs, answers
    Answered      it sent its answer      sends the same answer, and no other

BEGUN stands on disk before words are made, and takes the place of the secrets: whoever finds it has
nothing left to mask with. So at no moment do a client's mask secrets and its upload lie on disk
together.

In a steady state the keys of the next round ride on this round's replies, because what is
advertised does not depend on the model. That makes two exchanges a round, or three where the server
may be malicious:

    train t    Inbox(t), model t             ->   Upload(t), Advertisement(t + 1)
    (ack t     Survivors(t)                  ->   Acknowledgement(t))
    unmask t   UnmaskRequest(t), Cohort(t+1) ->   Unmasking(t), SealedShares(t + 1)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sottovoce.codec.checks import Words
from sottovoce.codec.roster import Identity
from sottovoce.codec.secagg import client as steps
from sottovoce.codec.secagg.messages import (
    Cohort,
    Inbox,
    Message,
    Signed,
    Survivors,
    UnmaskRequest,
    read,
    write,
)
from sottovoce.codec.secagg.states import (
    Acknowledged,
    Advertised,
    Shared,
    State,
    Uploaded,
    at,
    dump,
    load,
    repeat,
)
from sottovoce.codec.secagg.terms import Terms
from sottovoce.errors import VerificationError
from sottovoce.rng import Source, secret_source
from sottovoce.run.outbox import Kept, Outbox, Sum

BEGUN: Final = b"begun"
"""Says that words may have been made of which no upload is stored. No state begins like this."""


@dataclass(frozen=True)
class Party:
    """A client of one secure sum, under masks that cancel. It takes and returns bytes.

    Args:
        outbox: what the client remembers; its ``party`` is the client's name.
        terms: of the sum. Public.
        identity: what the client signs with. Private.
        source: of its secrets; private, or they protect nobody.

    Guarantees:
        - whatever is returned is on disk, and is the only answer of its kind in this sum: killed
          at any moment and started again, it never returns two different ones;
        - a client of which words may have been made, and no upload is stored, has dropped out:
          its secrets are wiped, and every call says so;
        - a message that is refused leaves everything as it was;
        - after ``close`` nothing secret of the sum is left, and it cannot begin again;
        - a party of the next round may advertise and share while this one is open.

    Edge cases: a client whose outbox was lost has dropped out, and cannot know it: give it no sum
    that it may have begun.

    Raises:
        VerificationError: from every method: the message is not of this sum, or not one that can
            be answered now; the sum is over for this client; or what is stored is not its own.
        SottovoceError: the disk refuses. Nothing may be sent, and nothing was returned.
    """

    outbox: Outbox
    terms: Terms
    identity: Identity = field(repr=False)
    source: Source = field(default_factory=secret_source, repr=False)

    def advertise(self) -> bytes:
        """Begin the sum, or show the same keys again."""
        kept = remembered(self.outbox, self._sum)
        if kept.step:
            return write(at(load(kept.data, self.terms), Advertised).sent, self.terms)
        begun = steps.advertise(self.identity, self.outbox.party, self.terms, self.source)
        return self._stored(0, *begun)

    def share(self, cohort: bytes) -> bytes:
        """Answer a ``Cohort`` with sealed shares."""
        step = partial(steps.share, identity=self.identity, source=self.source)
        return self._answer(Cohort, cohort, Advertised, step)

    def upload(self, inbox: bytes, words: Callable[[], Words], model_sha256: bytes) -> bytes:
        """Answer an ``Inbox`` with the masked words.

        Args:
            inbox: what the server sent.
            words: makes them, noise and all; called once at most, and not for a repeated message.
                What it returns is overwritten. If it raises, the client has dropped out. Private.
            model_sha256: the hash of the model that this client received, computed by itself.
        """
        message = read(Inbox, inbox, self.terms, sender="the server")
        kept, state = self._state()
        if not isinstance(state, Shared):
            return write(repeat(state, message), self.terms)
        self.outbox.store(self._sum, kept.step, BEGUN)
        vector = words()
        try:
            uploaded = steps.upload(state, message, vector, model_sha256, self.identity)
        except VerificationError:
            # It refuses before it masks, so there is no upload, and the secrets may come back.
            self.outbox.store(self._sum, kept.step + 1, dump(state))
            raise
        return self._stored(kept.step + 1, *uploaded)

    def acknowledge(self, survivors: bytes) -> bytes:
        """Answer ``Survivors`` with a signature under them."""
        step = partial(steps.acknowledge, identity=self.identity)
        return self._answer(Survivors, survivors, Uploaded, step)

    def unmask(self, request: bytes) -> bytes:
        """Answer an ``UnmaskRequest``, once."""
        step = partial(steps.unmask, identity=self.identity)
        before = Acknowledged if self.terms.malicious else Uploaded
        return self._answer(UnmaskRequest, request, before, step)

    def close(self) -> None:
        """End the sum, whatever became of it, and wipe what is left of it."""
        self.outbox.wipe(self._sum, "finished")

    @property
    def _sum(self) -> Sum:
        return Sum(self.terms.run, self.terms.round, "secagg")

    def _state(self) -> tuple[Kept, State]:
        kept = remembered(self.outbox, self._sum)
        if not kept.step:
            raise VerificationError(
                f"client {self.outbox.party!r} remembers nothing of {self.terms.title}",
                remedy="It has not advertised, or lost its memory and has dropped out",
            )
        return kept, load(kept.data, self.terms)

    def _answer(
        self, kind: type[Message], data: bytes, before: type[State], step: Callable[..., Any]
    ) -> bytes:
        message = read(kind, data, self.terms, sender="the server")
        kept, state = self._state()
        if not isinstance(state, before):
            return write(repeat(state, message), self.terms)
        return self._stored(kept.step, *step(state, message))

    def _stored(self, after: int, state: State, sent: Signed) -> bytes:
        """Store a state, and only then return the message that it was made with."""
        self.outbox.store(self._sum, after, dump(state))
        return write(sent, self.terms)


def remembered(outbox: Outbox, about: Sum) -> Kept:
    """Read what a client remembers of a sum; one that had begun its upload has dropped out.

    Raises:
        VerificationError: the sum is over for this client.
    """
    kept = outbox.read(about)
    if kept.data == BEGUN:
        outbox.wipe(about, "dropped-out")
        return outbox.read(about)
    return kept
