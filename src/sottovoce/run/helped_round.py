"""The server's side of a round whose sum helpers open: one exchange with the sites, three with them.

    round       sites     model, who takes part       ->  Upload, figures
    delivery    helpers   all sites' parcels          ->  Receipt
    proposal    helpers   who is in the sum           ->  Vote
    request-0   helpers   the votes                   ->  sums of key streams
    request-1   ...       again, where a holder of one fell silent

Every exchange is on disk before the next begins, and this side draws nothing at random: a server
that was killed plays what it has again and is where it was, and proposes the same survivors. What
a site has sent is opened in one sum or in none, so a round whose sum fails has no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sottovoce.codec.oneshot.messages import (
    Message,
    PartialSum,
    Receipt,
    Upload,
    Vote,
    read,
    write,
)
from sottovoce.codec.oneshot.server import Server
from sottovoce.codec.oneshot.terms import Terms
from sottovoce.errors import AbortedError, VerificationError
from sottovoce.run.gather import Check, Post, TooFewError, gather, sound
from sottovoce.run.helper_terms import Helping, facts_of
from sottovoce.run.known import Known
from sottovoce.run.letter import PART, Letter, part
from sottovoce.run.mailbox import Mailbox
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.secure import mean_of
from sottovoce.run.sum_terms import helped_terms, parts_of, summing_of
from sottovoce.run.sums import as_update, shared_inside
from sottovoce.strategies import ServerState
from sottovoce.update import Tensors


@dataclass(frozen=True)
class HelpedRound:
    """One round that helpers are to open.

    Args:
        known: the federation.
        helping: who has to do with its sums.
        server: before the round.
        facts: what the letter that asks for an update says to each site of the cohort.
        parts: the model, as parts of that letter.
        check: of the figures that come with an update.
    """

    known: Known
    helping: Helping
    server: ServerState
    facts: Mapping[str, Mapping[str, Any]]
    parts: Mapping[str, bytes]
    check: Check = sound


def helped_round(post: Post, mail: Mailbox, one: HelpedRound) -> tuple[Tensors, dict[str, Letter]]:
    """Form the sum of a round.

    Returns:
        The mean of the survivors' updates, and the letters of those that are in it.

    Raises:
        AbortedError: too few sites or helpers are left for a sum, and there will be none in this
            round. Nothing is released.
        VerificationError: the sum does not verify, or helpers contradict each other, who are named.
            Nothing is released.
        RefusedError: too few sites are left because of their policies.
    """
    cohort = tuple(sorted(one.facts))
    index = one.server.round
    model_sha256 = bytes.fromhex(digest(model_tensors(one.server)))
    terms = helped_terms(one.known, one.helping, index, cohort, model_sha256)
    play = _Sum(post, mail, Server(terms))
    updates = _uploaded(play, one, cohort)
    _received(play, updates)
    _voted(play)
    _opened(play)
    names = play.machine.survivors
    total = play.machine.recover()
    how = summing_of(one.known, one.server)
    mean = mean_of(total, how, round_index=index, clients=len(names))
    entries, inside = parts_of(one.known, one.server), shared_inside(one.known)
    found = as_update(one.known, one.server, mean, entries, inside=inside)
    return found, {name: updates[name] for name in names}


@dataclass(frozen=True)
class _Sum:
    """One sum under way."""

    post: Post
    mail: Mailbox
    machine: Server

    @property
    def terms(self) -> Terms:
        """What all sides have agreed on."""
        return self.machine.terms

    def exchange(
        self,
        stage: str,
        asks: Mapping[str, Callable[[], bytes]],
        least: int,
        check: Check,
    ) -> dict[str, Letter]:
        """Ask for one stage of the sum; the letters of those that sent it.

        Raises:
            AbortedError: fewer than ``least`` did, and no more can.
        """
        try:
            return gather(self.post, self.mail, stage, asks, least=least, check=check)[0]
        except TooFewError as error:
            terms = self.terms
            raise AbortedError(
                terms.title, stage, terms.round, str(error), error.refused
            ) from error

    def ask_helpers(
        self, stage: str, messages: Mapping[str, Message], least: int, check: Check
    ) -> dict[str, Letter]:
        """Ask helpers, each with a message of its own."""
        facts, kind = facts_of(self.terms), stage.partition("-")[0]

        def make(name: str) -> Callable[[], bytes]:
            return lambda: self.post.letter(
                kind, name, facts, {PART: write(messages[name], self.terms)}
            )

        return self.exchange(stage, {name: make(name) for name in messages}, least, check)

    def readable(self, kind: type[Any]) -> Check:
        """Whether all parts of an answer are messages of a kind; what is none counts as not sent."""

        def check(answer: Letter) -> None:
            if not answer.parts:
                raise VerificationError(f"an answer without a {kind.__name__}")
            for name in answer.parts:
                read(kind, answer.parts[name], self.terms, sender=answer.sender)

        return check

    def take(
        self, sender: str, kind: type[Any], data: Iterable[bytes], add: Callable[[Any], None]
    ) -> bool:
        """Hand messages of one sender to the protocol; whether it has taken them all."""
        try:
            for message in data:
                add(read(kind, message, self.terms, sender=sender))
        except VerificationError as error:
            told = {"site": sender, "stage": kind.__name__, "error": str(error)}
            self.post.log("rejected", told)
            return False
        return True


def _uploaded(play: _Sum, one: HelpedRound, cohort: tuple[str, ...]) -> dict[str, Letter]:
    """Ask the cohort for its updates, and add what is hidden in them; what each has sent."""
    post, machine = play.post, play.machine

    def make(site: str) -> Callable[[], bytes]:
        facts = {**one.facts[site], "cohort": list(cohort)}
        return lambda: post.letter("round", site, facts, one.parts)

    def add(site: str) -> Callable[[Upload], None]:
        def added(message: Upload) -> None:
            if message.parcel.client != site:
                raise VerificationError(f"{site!r} brings what {message.parcel.client!r} has sent")
            machine.add_upload(message)

        return added

    least = machine.terms.minimum_survivors
    asks = {site: make(site) for site in cohort}
    answers = play.exchange("round", asks, least, one.check)
    sent = {site: found for site, found in answers.items() if PART in found.parts}
    for site in sorted(sent):
        play.take(site, Upload, (sent[site].parts[PART],), add(site))
    return sent


def _received(play: _Sum, updates: Mapping[str, Letter]) -> None:
    """Have helpers open what is theirs; whose seeds one of them could not open is left out."""
    machine, terms = play.machine, play.terms
    delivery = machine.close_uploads()
    asks = dict.fromkeys(_there(play), delivery)
    receipts = play.ask_helpers("delivery", asks, terms.quorum, play.readable(Receipt))
    heard = [
        name
        for name in sorted(receipts)
        if play.take(name, Receipt, (part(receipts[name], PART),), machine.add_receipt)
    ]
    _give_up_who_refuses_all(play, len(delivery.parcels), len(heard) - terms.quorum)
    for client, by in machine.refused.items():
        why = f"its seeds did not open for {', '.join(by)}"
        play.post.log("rejected", {"site": client, "stage": "delivery", "error": why})
        machine.take_back(read(Upload, updates[client].parts[PART], terms, sender=client))


def _there(play: _Sum) -> tuple[str, ...]:
    """The helpers that are asked: not one that let a deadline pass and has not been seen since.

    Where too few are left without it, it is waited for.
    """
    post, names = play.post, play.post.helper_names
    gone = post.away - post.carrier.present()
    left = tuple(name for name in names if name not in gone)
    return left if len(left) >= play.terms.quorum else names


def _give_up_who_refuses_all(play: _Sum, sites: int, spare: int) -> None:
    """Do without helpers that refuse so many sites that no sum is left, where some can be spared."""
    machine, terms = play.machine, play.terms
    for _ in range(spare):
        refused = machine.refused
        if sites - len(refused) >= terms.minimum_survivors:
            return
        blames = [name for by in refused.values() for name in by]
        most = max(sorted(set(blames)), key=blames.count)
        play.post.log("gave up", {"site": most, "stage": "delivery", "refuses": len(refused)})
        machine.give_up(most)


def _voted(play: _Sum) -> None:
    """Have helpers sign who is in the sum."""
    machine, terms = play.machine, play.terms
    proposal = machine.close_receipts()
    asks = dict.fromkeys(machine.waiting_for, proposal)
    votes = play.ask_helpers("proposal", asks, terms.quorum, play.readable(Vote))
    for name in sorted(votes):
        play.take(name, Vote, (part(votes[name], PART),), machine.add_vote)


def _opened(play: _Sum) -> None:
    """Have helpers tell the sums of key streams, each set by the first of its holders that does."""
    machine, terms = play.machine, play.terms
    requests = machine.close_votes()
    for attempt in range(len(terms.helpers.members)):
        asks = {name: requests[name] for name in machine.waiting_for if name in requests}
        if not asks:
            return
        # Any t + 1 helpers are one of each set; those that have told all count.
        least = max(0, terms.colluding + 1 - (len(requests) - len(asks)))
        stage = f"request-{attempt}"
        told = play.ask_helpers(stage, asks, min(least, len(asks)), play.readable(PartialSum))
        failed = {
            name
            for name in sorted(told)
            if not play.take(name, PartialSum, _sorted_parts(told[name]), machine.add_sum)
        }
        # Whoever is given up leaves its sets to others, so who is silent is told before that.
        for name in sorted(failed | set(machine.waiting_for)):
            play.post.log("gave up", {"site": name, "stage": stage})
            machine.give_up(name)
        requests = machine.requests()


def _sorted_parts(answer: Letter) -> Iterator[bytes]:
    return (answer.parts[name] for name in sorted(answer.parts))
