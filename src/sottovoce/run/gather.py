"""One exchange between a server and its sites: ask all, wait for as many as can be waited for.

There is one deadline. A site that answers, or shows progress on what it was asked, has it anew; one
that does neither until then is left out of this exchange, as long as enough are left. A question that
may have been lost is asked again: a site answers the same question the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Protocol

from sottovoce.codec.forms import Data
from sottovoce.codec.roster import Identity, Roster
from sottovoce.errors import RefusedError, SottovoceError, VerificationError
from sottovoce.run import letter as letters
from sottovoce.run.letter import SERVER, Letter
from sottovoce.run.mailbox import Mailbox
from sottovoce.run.stages import Stages

LOOK_S: Final = 0.05
"""Seconds between two looks for answers."""
PROGRESS_S: Final = 2.0
"""Seconds between two questions how far a site is."""
_LONGEST_SHOWN: Final = 1000

Log = Callable[[str, Mapping[str, Any]], None]
Check = Callable[[Letter], None]


def sound(answer: Letter) -> None:
    """Any answer will do."""


class Carrier(Protocol):
    """What carries bytes between a server and its sites, and knows nothing of them."""

    def ask(self, site: str, make: Callable[[], bytes]) -> None:
        """Bring bytes to a site, sooner or later, or never; made when they leave, and not kept."""

    def answers(self) -> Iterable[tuple[str, bytes]]:
        """What has come since, and from whom."""

    def present(self) -> frozenset[str]:
        """The sites that could be reached now."""

    def forget(self, site: str) -> None:
        """Wait for nothing more from a site that was asked before."""


@dataclass
class Post:
    """A server's desk: what it signs with, whom it knows, and who carries its letters.

    Args:
        run: the run that all letters belong to.
        identity: the server's. Private.
        roster: the sites.
        carrier: who carries.
        limit: the most bytes of a letter that are read.
        deadline_s: seconds without answer and without progress that a site may take.
        log: told what happens.
        helpers: who opens the sums, where a run has helpers; else None.
        bytes_up: bytes of the answers that counted, by site.
        away: sites that let a deadline pass and have sent nothing since.
        stages: seconds that each kind of exchange took.
    """

    run: str
    identity: Identity
    roster: Roster
    carrier: Carrier
    limit: int
    deadline_s: float
    log: Log
    helpers: Roster | None = None
    bytes_up: dict[str, int] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    stages: Stages = field(default_factory=Stages)

    def letter(self, kind: str, to: str, facts: Any, parts: Mapping[str, bytes]) -> bytes:
        """Write and sign a letter to a site."""
        return letters.write(Letter(kind, self.run, SERVER, to, facts, parts), self.identity)

    @property
    def helper_names(self) -> tuple[str, ...]:
        """The helpers, in the order of their names; none where a run has no helpers."""
        return () if self.helpers is None else tuple(self.helpers.members)

    def read(self, site: str, data: Data) -> Letter:
        """Read what came from a site, or from a helper.

        Raises:
            VerificationError: it is no letter of this site, of this run.
        """
        known = self.roster
        if self.helpers is not None and site in self.helpers.members:
            known = self.helpers
        found = letters.read(data, known, to=SERVER, limit=self.limit)
        if found.sender != site or found.run != self.run:
            raise VerificationError(f"{site!r} brought a letter of {found.sender!r}")
        return found


@dataclass
class _Asked:
    """One site in one exchange.

    A letter is made whenever it leaves, the same each time: to keep all of them would take a model
    for every site.
    """

    make: Callable[[], bytes]
    name: str
    lease: float
    steps: int = -1
    asked: float = 0.0
    again: int = 0
    reminded: float = 0.0
    unanswered: int = 0


def gather(
    post: Post,
    mail: Mailbox,
    stage: str,
    asks: Mapping[str, Callable[[], bytes]],
    *,
    least: int,
    check: Check = sound,
) -> tuple[dict[str, Letter], dict[str, str]]:
    """Play one exchange, or take up one that was interrupted.

    Args:
        post: the server's desk.
        mail: of the round.
        stage: the exchange's name.
        asks: what makes the letter to each site.
        least: how many answers have to come; until they have, it waits on, as long as they can.
        check: raises a VerificationError where an answer is not what was asked for; it counts as
            one that did not come.

    Returns:
        The answers that count, by site, and what sites said that refused, or why they were.

    Guarantees:
        - an answer counts only if it is on disk, signed by its site and to this very question;
        - once it has returned, the same answers count for ever;
        - neither questions nor answers are held, whatever the number of sites: parts of an answer
          are read from the mail when they are looked at.
    """
    closed = mail.closed(stage)
    if closed is not None:
        said: dict[str, str] = mail.noted(f"{stage}.refused") or {}
        return {site: _kept(post, mail, stage, site) for site in closed}, said
    begun = time.monotonic()
    waiting = _begin(post, mail, stage, asks)
    refused: dict[str, Mapping[str, Any]] = {}
    looked = 0.0
    while waiting:
        for site, body in post.carrier.answers():
            _arrived(post, mail, stage, waiting, refused, site, body, check)
        now = time.monotonic()
        if now - looked >= PROGRESS_S:
            looked = now
            _remind(post, waiting, now)
        late = [site for site, asked in waiting.items() if now - asked.lease > post.deadline_s]
        have = sum(mail.has(stage, site) for site in asks)
        if late and have >= least:
            for site in late:
                del waiting[site]
                post.carrier.forget(site)
                post.away.add(site)
                post.log("late", {"site": site, "stage": stage})
        if have + len(waiting) < least:
            break
        told = {"sites": dict.fromkeys(waiting, stage), "present": post.carrier.present()}
        post.log("waiting", told)
        if waiting:
            time.sleep(LOOK_S)
    have_now = [site for site in asks if mail.has(stage, site)]
    if len(have_now) < least:
        raise _too_few(stage, len(have_now), least, asks, refused)
    said = {site: str(told.get("error")) for site, told in refused.items()}
    mail.note(f"{stage}.refused", said)
    if accused := _accused(asks, refused):
        mail.note(f"{stage}.accused", accused)
    mail.close(stage, have_now)
    seconds = round(time.monotonic() - begun, 4)
    post.stages.add(stage.partition("-")[0], seconds)
    post.log("exchange", {"stage": stage, "sites": len(have_now), "seconds": seconds})
    return {site: _kept(post, mail, stage, site) for site in have_now}, said


class _Parts(Mapping[str, bytes]):
    """The parts of an answer that is on disk, read whenever one is looked at, and not held."""

    def __init__(self, names: Iterable[str], read: Callable[[], Letter]) -> None:
        self._names, self._read = tuple(names), read

    def __getitem__(self, name: str) -> bytes:
        if name not in self._names:
            raise KeyError(name)
        return self._read().parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _kept(post: Post, mail: Mailbox, stage: str, site: str) -> Letter:
    """An answer from the mail, whose parts stay there until they are looked at."""

    def read() -> Letter:
        return post.read(site, mail.get(stage, site))

    found = read()
    return replace(found, parts=_Parts(found.parts, read))


def _too_few(
    stage: str,
    have: int,
    least: int,
    asks: Collection[str],
    refused: Mapping[str, Mapping[str, Any]],
) -> SottovoceError:
    """What to raise where too few have answered: who refused, and by which rule of their own."""
    why = "; ".join(f"{site}: {told.get('error')}" for site, told in sorted(refused.items()))
    policy = any(told.get("code") == RefusedError.exit_code for told in refused.values())
    said = f"{have} sites answered {stage}, and {least} are needed: {why or 'the others are late'}"
    if policy:
        return RefusedError(said)
    return TooFewError(said, refused=tuple(sorted(refused)), accused=_accused(asks, refused))


def _accused(asks: Collection[str], refused: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Whom sites that refused have named as the cause, as far as they were asked as well."""
    named = {site: str(told.get("culprit")) for site, told in refused.items()}
    return {site: culprit for site, culprit in named.items() if culprit in asks and culprit != site}


class TooFewError(VerificationError):
    """An exchange that too few have answered.

    Args:
        seen: what was seen.
        refused: the sites that refused.
        accused: whom some of them named as the cause.
    """

    def __init__(self, seen: str, *, refused: tuple[str, ...], accused: Mapping[str, str]) -> None:
        self.refused, self.accused = refused, accused
        super().__init__(seen)

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), refused=self.refused, accused=self.accused), (self.seen,)


def _begin(
    post: Post, mail: Mailbox, stage: str, asks: Mapping[str, Callable[[], bytes]]
) -> dict[str, _Asked]:
    waiting: dict[str, _Asked] = {}
    for site, make in asks.items():
        if not mail.has(stage, site):
            waiting[site] = _Asked(make, letters.name_of(make()), time.monotonic())
    for site, asked in waiting.items():
        _ask(post, site, asked)
    return waiting


def _ask(post: Post, site: str, asked: _Asked) -> None:
    asked.asked = time.monotonic()
    post.carrier.ask(site, asked.make)


def _arrived(
    post: Post,
    mail: Mailbox,
    stage: str,
    waiting: dict[str, _Asked],
    refused: dict[str, Mapping[str, Any]],
    site: str,
    body: bytes,
    check: Check,
) -> None:
    """Take what came: an answer, a refusal, a sign of progress, or something that counts for nothing."""
    try:
        found = post.read(site, body)
    except VerificationError as error:
        post.log("rejected", {"site": site, "stage": stage, "error": str(error)})
        return
    post.away.discard(site)
    asked = waiting.get(site)
    if found.kind == "progress":
        if asked is not None:
            _progressed(post, site, asked, found)
        return
    if asked is None or found.facts.get("answers") != asked.name:
        post.log("late answer", {"site": site, "kind": _shown(found.kind)})
        return
    del waiting[site]
    if found.kind == "refused":
        why = _shown(found.facts.get("error"))
        told = {name: found.facts.get(name) for name in ("code", "culprit")}
        refused[site] = {"error": why, **told}
        post.log("refused", {"site": site, "stage": stage, "error": why})
        return
    try:
        check(found)
    except VerificationError as error:
        refused[site] = {"error": _shown(error), "code": error.exit_code}
        post.log("rejected", {"site": site, "stage": stage, "error": _shown(error)})
        return
    mail.put(stage, site, body)
    post.bytes_up[site] = post.bytes_up.get(site, 0) + len(body)
    post.log("answered", {"site": site, "stage": stage, "bytes": len(body)})


def _shown(text: object) -> str:
    """What a site has written, as far as a log or a terminal should hold it."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(text)[:_LONGEST_SHOWN])


def _progressed(post: Post, site: str, asked: _Asked, found: Letter) -> None:
    now = time.monotonic()
    steps = found.facts.get("steps")
    busy = found.facts.get("busy")
    if busy == asked.name and isinstance(steps, int) and steps > asked.steps:
        asked.steps, asked.lease = steps, now
    asked.unanswered = 0
    # It is there and not at work on the question: the question or its answer was lost, or is still on
    # a slow way. So it is asked again after twice as long each time; and who fails each time, at the
    # end of its work, lets the deadline pass between two attempts.
    if busy != asked.name and now - asked.asked > PROGRESS_S * 2**asked.again:
        asked.again += 1
        _ask(post, site, asked)


def _remind(post: Post, waiting: Mapping[str, _Asked], now: float) -> None:
    present = post.carrier.present()
    for site, asked in waiting.items():
        since = now - max(asked.asked, asked.reminded)
        # Who does not say how far it is, is asked less and less often.
        if site in present and since > PROGRESS_S * (1 + asked.unanswered) - LOOK_S:
            asked.reminded, asked.unanswered = now, asked.unanswered + 1
            post.carrier.ask(site, partial(post.letter, "progress", site, {}, {}))
