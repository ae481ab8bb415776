"""Clients and helpers of sums with helpers that may be killed at any moment.

As in ``run/party.py``, everything is stored before it is returned. A client has one message. A
helper's steps draw nothing at random, so what it stores is what it was sent, and its state is
computed again from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from sottovoce.codec.checks import Words
from sottovoce.codec.oneshot import client as client_steps
from sottovoce.codec.oneshot import helper as steps
from sottovoce.codec.oneshot.messages import (
    Delivery,
    Proposal,
    Request,
    Upload,
    read,
    read_key,
    write,
    write_key,
)
from sottovoce.codec.oneshot.states import Locked, Received, RunSecret, State, repeat
from sottovoce.codec.oneshot.terms import HelperKey, Terms
from sottovoce.codec.roster import Identity, Roster
from sottovoce.rng import Source, secret_source
from sottovoce.run.outbox import Kept, Outbox, Sum
from sottovoce.run.party import BEGUN, remembered

_SECRET_BYTES: Final = 32
_SIZE_BYTES: Final = 8


def upload_once(
    outbox: Outbox,
    terms: Terms,
    identity: Identity,
    words: Callable[[], Words],
    source: Source | None = None,
) -> bytes:
    """Make a client's one message of a sum, or return the same again.

    Args:
        outbox: what the client remembers; its ``party`` is the client's name.
        terms: of the sum. Public.
        identity: what the client signs with. Private.
        words: makes them, noise and all; called once at most. Private.
        source: of the seeds; private, or they protect nobody. The operating system's by default.

    Guarantees:
        - what it returns is on disk, and there is no other in this round;
        - killed after words may have been made, and before the message was stored, a client has
          dropped out.

    Raises:
        VerificationError: the client has dropped out or finished, or has begun the round under
            other terms.
        SottovoceError: the disk refuses. Nothing may be sent, and nothing was returned.
    """
    about = Sum(terms.run, terms.round, "helpers")
    kept = remembered(outbox, about)
    if kept.step:
        return write(read(Upload, kept.data, terms, sender=f"memory of {outbox.party!r}"), terms)
    outbox.store(about, 0, BEGUN)
    drawn = source or secret_source()
    sent = write(client_steps.upload(identity, outbox.party, terms, words(), drawn), terms)
    outbox.store(about, 1, sent)
    return sent


def announce_once(
    outbox: Outbox, helpers: Roster, run: bytes, identity: Identity, source: Source | None = None
) -> tuple[RunSecret, HelperKey]:
    """Begin a helper's run, or return the same key again: it has one in all rounds.

    Args:
        outbox: what the helper remembers; its ``party`` is the helper's name.
        helpers: the pinned helpers. Public.
        run: 32 bytes, drawn once per run. Public.
        identity: what the helper signs with. Private.
        source: of the secret; private, or it protects nobody. The operating system's by default.

    Raises:
        VerificationError: the run is over for this helper, or what is stored is not of these
            helpers.
        SottovoceError: the disk refuses. Nothing may be shown, and nothing was returned.
    """
    about, me = Sum(run, None, "helpers"), outbox.party
    kept = outbox.read(about)
    if kept.step:
        secret, shown = kept.data[:_SECRET_BYTES], kept.data[_SECRET_BYTES:]
        return RunSecret(run, me, secret), read_key(shown, me, helpers, run)
    begun, key = steps.announce(identity, me, helpers, run, source or secret_source())
    outbox.store(about, 0, begun.secret + write_key(key, helpers, run))
    return begun, key


def end_run(outbox: Outbox, run: bytes) -> None:
    """End a helper's run: every sum of it that is open, and then its key, are wiped."""
    for round_ in outbox.under_way(run):
        outbox.wipe(Sum(run, round_, "helpers"), "finished")
    outbox.wipe(Sum(run, None, "helpers"), "finished")


@dataclass(frozen=True)
class DurableHelper:
    """A helper in one sum. It takes and returns bytes.

    Args:
        outbox: what the helper remembers; its ``party`` is the helper's name.
        terms: of the sum. Public.
        identity: what the helper signs with. Private.
        secret: what ``announce_once`` returned. Private.

    Guarantees:
        - killed at any moment and started again, it votes for one set of survivors in this round,
          and its receipt and its sums are the same bytes whenever it is asked;
        - after ``close`` it answers nothing more in this round.

    Raises:
        VerificationError: from every method: the message is not of this sum, or not one that can
            be answered now; the sum is over; or what is stored is not this helper's.
        SottovoceError: the disk refuses. Nothing may be sent, and nothing was returned.
    """

    outbox: Outbox
    terms: Terms
    identity: Identity = field(repr=False)
    secret: RunSecret = field(repr=False)

    def receive(self, delivery: bytes) -> bytes:
        """Answer a ``Delivery`` with a receipt."""
        message = read(Delivery, delivery, self.terms, sender="the server")
        kept, state = self._state()
        if kept.step:
            return write(repeat(state, message), self.terms)
        _, sent = steps.receive(state, message, self.identity)
        self.outbox.store(self._sum, 0, _joined(delivery))
        return write(sent, self.terms)

    def lock(self, proposal: bytes) -> bytes:
        """Answer a ``Proposal`` with a vote, once."""
        message = read(Proposal, proposal, self.terms, sender="the server")
        kept, state = self._state()
        if isinstance(state, Locked):
            return write(repeat(state, message), self.terms)
        _, sent = steps.lock(state, message, self.identity)
        self.outbox.store(self._sum, kept.step, kept.data + _joined(proposal))
        return write(sent, self.terms)

    def sums(self, request: bytes) -> Iterator[bytes]:
        """Answer a ``Request`` with the sums of this helper's key streams, one by one."""
        message = read(Request, request, self.terms, sender="the server")
        _, state = self._state()
        for told in steps.sums(steps.answer(state, message), self.identity):
            yield write(told, self.terms)

    def close(self) -> None:
        """End the sum, and wipe what is left of it."""
        self.outbox.wipe(self._sum, "finished")

    @property
    def steps(self) -> int:
        """How many messages of this sum it remembers to have answered: a delivery, then a proposal."""
        return sum(1 for _ in _parted(self.outbox.read(self._sum).data))

    @property
    def _sum(self) -> Sum:
        return Sum(self.terms.run, self.terms.round, "helpers")

    def _state(self) -> tuple[Kept, State]:
        """Take again the steps that were taken."""
        kept = self.outbox.read(self._sum)
        state: State = steps.begin(self.secret, self.terms)
        for data in _parted(kept.data):
            if isinstance(state, Received):
                again = read(Proposal, data, self.terms, sender="its memory")
                state, _ = steps.lock(state, again, self.identity)
            else:
                first = read(Delivery, data, self.terms, sender="its memory")
                state, _ = steps.receive(state, first, self.identity)
        return kept, state


def _joined(data: bytes) -> bytes:
    return len(data).to_bytes(_SIZE_BYTES, "big") + data


def _parted(data: bytes) -> Iterator[bytes]:
    while data:
        size = _SIZE_BYTES + int.from_bytes(data[:_SIZE_BYTES], "big")
        yield data[_SIZE_BYTES:size]
        data = data[size:]
