"""The server's side of a round whose updates are hidden under masks: three exchanges, then a sum.

    round       Inbox(t), model t, who is next   ->  Upload(t), Advertisement(t + 1)
    survivors   Survivors(t)                     ->  Acknowledgement(t)
    unmask      UnmaskRequest(t), Cohort(t + 1)  ->  Unmasking(t), SealedShares(t + 1)

Keys and shares of the next round ride on this one's answers, because they depend on no model. The
first round, and one after a round that somebody missed, has two exchanges more: keys and shares.

Every exchange is on disk before the next begins, and the protocol draws nothing at random on this
side, so a server that was killed plays what it has again and is where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

from sottovoce.codec.roster import FEWEST_MEMBERS, HASH_BYTES
from sottovoce.codec.secagg.messages import (
    Acknowledgement,
    Advertisement,
    Cohort,
    Message,
    SealedShares,
    Unmasking,
    Upload,
    read,
    write,
)
from sottovoce.codec.secagg.server import Server
from sottovoce.codec.secagg.terms import Terms
from sottovoce.errors import AbortedError, VerificationError
from sottovoce.run.gather import PROGRESS_S, Check, Post, TooFewError, gather, sound
from sottovoce.run.known import Known
from sottovoce.run.letter import NEXT, PART, Letter
from sottovoce.run.mailbox import Mailbox
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.secure import mean_of
from sottovoce.run.sum_terms import Agreement, parts_of, summing_of, terms_of_sum
from sottovoce.run.sums import as_update, shared_inside
from sottovoce.strategies import ServerState
from sottovoce.update import Tensors

_MOST_ATTEMPTS: Final = 6
"""Sums that are tried in a round; each goes without who refused or spoiled the one before."""


@dataclass(frozen=True)
class Round:
    """One round that is to be hidden.

    Args:
        known: the federation.
        agreed: what everybody has agreed on.
        server: before the round.
        facts: what the letter that asks for an update says to each site of the cohort.
        parts: the model, as parts of that letter.
        following: the cohort of the next round; empty where there is none.
        ahead: the mail of the next round, where its keys and shares are kept until then.
        check: of the figures that come with an update.
    """

    known: Known
    agreed: Agreement
    server: ServerState
    facts: Mapping[str, Mapping[str, Any]]
    parts: Mapping[str, bytes]
    following: tuple[str, ...]
    ahead: Mailbox
    check: Check = sound


def hidden_round(post: Post, mail: Mailbox, one: Round) -> tuple[Tensors, dict[str, Letter]]:
    """Form the sum of a round, again where too few were left for it.

    Returns:
        The mean of the survivors' updates, and the letters of those that are in it.

    Raises:
        VerificationError: the sum does not verify, or there was none in many attempts. Nothing
            is released.
    """
    cohort = tuple(sorted(one.facts))
    begun = mail.noted("attempt") or {"number": 0, "cohort": list(cohort)}
    attempt, cohort = int(begun["number"]), tuple(begun["cohort"])
    while attempt < _MOST_ATTEMPTS:
        out: set[str] = set()
        try:
            return _attempt(post, mail, one, attempt, cohort, out)
        except AbortedError as error:
            told = {"round": one.server.round, "error": str(error), "without": sorted(out)}
            post.log("sum aborted", told)
            attempt += 1
            left = tuple(site for site in cohort if site not in out)
            if len(left) >= _fewest(one, cohort):
                cohort = left
            else:
                # Everybody is needed, so what ails a site, such as a full disk, has time to pass.
                time.sleep(min(post.deadline_s, PROGRESS_S * 4.0 ** (attempt - 1)))
            mail.note("attempt", {"number": attempt, "cohort": list(cohort)})
    raise VerificationError(
        f"round {one.server.round} had no sum in {_MOST_ATTEMPTS} attempts",
        remedy="The logs of the server and of the sites name who refused what; take out of the "
        "roster who spoils sums, and start another run",
    )


def _fewest(one: Round, cohort: tuple[str, ...]) -> int:
    """How many a sum of the round needs, at least."""
    return summing_of(one.known, one.server).least if cohort else 0


@dataclass
class _Sum:
    """One sum under way."""

    post: Post
    mail: Mailbox
    terms: Terms
    attempt: int
    facts: Mapping[str, Any]
    liars: int
    out: set[str] = field(default_factory=set)

    def exchange(
        self,
        kind: str,
        asks: Mapping[str, tuple[Mapping[str, Any], Mapping[str, bytes]]],
        least: int,
        check: Check = sound,
    ) -> dict[str, Letter]:
        """Ask for one stage of the sum; the letters of those that sent it."""

        def make(site: str) -> Callable[[], bytes]:
            facts, parts = asks[site]
            return lambda: self.post.letter(kind, site, {**self.facts, **facts}, parts)

        stage = f"{kind}-{self.attempt}"
        try:
            questions = {site: make(site) for site in asks}
            answers, refused = gather(
                self.post, self.mail, stage, questions, least=least, check=check
            )
        except TooFewError as error:
            self.out.update(error.refused)
            self.out.update(error.accused.values())
            self._judge(error.accused)
            heard = sorted(set(asks) - set(error.refused))
            raise AbortedError(
                self.terms.title, kind, self.terms.round, str(error), heard
            ) from error
        self.out.update(refused)
        if spoilers := self._judge(self.mail.noted(f"{stage}.accused") or {}):
            reason = f"{len(spoilers)} clients whom others accuse"
            raise AbortedError(self.terms.title, kind, self.terms.round, reason, spoilers)
        return {site: found for site, found in answers.items() if PART in found.parts}

    def _judge(self, accused: Mapping[str, str]) -> list[str]:
        """Who spoils a sum, by the word of so many that one of them is honest; they are left out.

        One site's word against another's proves nothing: then the sum goes on without the accuser
        as long as it can, and without both where it has to be begun again.
        """
        by: dict[str, set[str]] = {}
        for site, culprit in accused.items():
            by.setdefault(culprit, set()).add(site)
            told = {"round": self.terms.round, "site": culprit, "by": site}
            self.post.log("accused", told)
        spoilers = sorted(name for name, sites in by.items() if len(sites) > self.liars)
        for name in spoilers:
            self.out.difference_update(by[name])
        self.out.update(spoilers)
        return spoilers

    def take(
        self, messages: Mapping[str, bytes], kind: type[Any], add: Callable[[Any], None]
    ) -> None:
        """Hand messages to the protocol; one that it refuses counts as not sent, by name."""
        for site in sorted(messages):
            try:
                add(read(kind, messages[site], self.terms, sender=site))
            except VerificationError as error:
                told = {"site": site, "stage": kind.__name__, "error": str(error)}
                self.post.log("rejected", told)
                self.out.add(site)

    def told(self, message: Message) -> dict[str, bytes]:
        """A message of the server as the part of a letter."""
        return {PART: write(message, self.terms)}

    def messages(
        self, kind: str, asks: Mapping[str, Mapping[str, bytes]], least: int
    ) -> dict[str, bytes]:
        """The messages of a stage: what came with the round before, and the others asked for."""
        noted = (self.mail.noted("ahead") or {}) if self.attempt == 0 else {}
        early = {site: bytes.fromhex(data) for site, data in noted.get(kind, {}).items()}
        found = {site: early[site] for site in asks if site in early}
        missing: dict[str, tuple[dict[str, Any], Mapping[str, bytes]]] = {
            site: ({}, parts) for site, parts in asks.items() if site not in found
        }
        if missing:
            found |= _messages(self.exchange(kind, missing, max(0, least - len(found))))
        return found


class _Messages(Mapping[str, bytes]):
    """One part of each letter, looked at when it is asked for: uploads are too large to be held."""

    def __init__(self, letters: Mapping[str, Letter], part: str) -> None:
        self._letters, self._part = letters, part

    def __getitem__(self, site: str) -> bytes:
        return self._letters[site].parts[self._part]

    def __iter__(self) -> Iterator[str]:
        return iter(self._letters)

    def __len__(self) -> int:
        return len(self._letters)


def _messages(answers: Mapping[str, Letter], part: str = PART) -> Mapping[str, bytes]:
    return _Messages({site: it for site, it in answers.items() if part in it.parts}, part)


class _Ahead:
    """The sum of the next round, as far as this round's letters carry it."""

    def __init__(self, post: Post, one: Round) -> None:
        self._mail, self._cohort = one.ahead, one.following
        self._cohorts: dict[str, Cohort] = {}
        self._noted: dict[str, dict[str, str]] = {}
        self._sum: _Sum | None = None
        if len(one.following) >= FEWEST_MEMBERS:
            index = one.server.round + 1
            terms = terms_of_sum(one.known, one.agreed, index, 0, one.following)
            self._sum = _Sum(post, one.ahead, terms, 0, {}, 0)

    def asking(self, site: str) -> dict[str, Any]:
        """What the letter that asks for an update says of the next round."""
        return {"next": list(self._cohort)} if self._sum and site in self._cohort else {}

    def advertised(self, answers: Mapping[str, Letter]) -> None:
        """Take the keys that came with the updates."""
        if self._sum is None:
            return
        keys = _messages(answers, NEXT)
        self._noted["keys"] = {site: data.hex() for site, data in keys.items()}
        machine = Server(self._sum.terms, bytes(HASH_BYTES))
        try:
            self._sum.take(keys, Advertisement, machine.add_advertisement)
            found = machine.close_advertisements()
        except VerificationError:
            found = {}
        if set(found) == set(self._cohort):
            # Shares are sealed for all who advertised, so they ride only if nobody is still to come.
            self._cohorts = found

    def sharing(self, site: str) -> dict[str, bytes]:
        """What the letter that asks for shares of this round brings of the next."""
        if self._sum is None or site not in self._cohorts:
            return {}
        return {NEXT: write(self._cohorts[site], self._sum.terms)}

    def shared(self, answers: Mapping[str, Letter]) -> None:
        """Keep keys, and shares where everybody sent some, for the next round."""
        shares = _messages(answers, NEXT)
        if self._cohorts and set(shares) == set(self._cohort):
            self._noted["shares"] = {site: data.hex() for site, data in shares.items()}
        if self._noted:
            self._mail.note("ahead", self._noted)


def _attempt(
    post: Post,
    mail: Mailbox,
    one: Round,
    attempt: int,
    cohort: tuple[str, ...],
    out: set[str],
) -> tuple[Tensors, dict[str, Letter]]:
    """Try one sum; who refused or sent what the protocol refuses is put into ``out``."""
    index = one.server.round
    terms = terms_of_sum(one.known, one.agreed, index, attempt, cohort)
    model_sha256 = bytes.fromhex(digest(model_tensors(one.server)))
    machine = Server(terms, model_sha256)
    least = terms.minimum_survivors
    nonces = {name: value.hex() for name, value in one.agreed.nonces.items()}
    about = {"round": index, "attempt": attempt, "cohort": list(cohort), "nonces": nonces}
    liars = max(1, ceil(one.known.config.secure.corrupt * len(cohort)))
    play = _Sum(post, mail, terms, attempt, about, liars, out)

    ahead = _Ahead(post, one)

    keys = play.messages("keys", {site: {} for site in cohort}, least)
    play.take(keys, Advertisement, machine.add_advertisement)
    cohorts = machine.close_advertisements()
    told = {name: play.told(it) for name, it in cohorts.items()}
    shared = play.messages("shares", told, least)
    play.take(shared, SealedShares, machine.add_shares)
    inboxes = machine.close_shares()
    updates = play.exchange(
        "round",
        {
            name: (
                {**one.facts[name], **ahead.asking(name)},
                {**one.parts, **play.told(inbox)},
            )
            for name, inbox in inboxes.items()
        },
        least,
        one.check,
    )
    play.take(_messages(updates), Upload, machine.add_upload)
    ahead.advertised(updates)
    survivors = machine.close_uploads()
    names = survivors.survivors
    if terms.malicious:
        news = play.told(survivors)
        signed = play.exchange("survivors", {name: ({}, news) for name in names}, least)
        play.take(_messages(signed), Acknowledgement, machine.add_acknowledgement)
    requests = machine.close_acknowledgements()
    # With one more than the threshold, everybody's shares are enough in a complete graph.
    enough = min(len(requests), terms.threshold + 1)
    opened = play.exchange(
        "unmask",
        {
            name: (ahead.asking(name), {**play.told(it), **ahead.sharing(name)})
            for name, it in requests.items()
        },
        enough,
    )
    play.take(_messages(opened), Unmasking, machine.add_unmasking)
    ahead.shared(opened)
    total = machine.recover()
    how = summing_of(one.known, one.server)
    mean = mean_of(total, how, round_index=index, clients=len(names))
    parts = parts_of(one.known, one.server)
    inside = shared_inside(one.known)
    return as_update(one.known, one.server, mean, parts, inside=inside), {
        name: updates[name] for name in names
    }
