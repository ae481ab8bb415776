"""What a server holds while a federation across machines is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sottovoce.config import Config
from sottovoce.run import letter as letters
from sottovoce.run.cohorts import Cohort
from sottovoce.run.folder import RunFolder
from sottovoce.run.gather import Post
from sottovoce.run.known import Federation, Known
from sottovoce.run.ledger import Ledger, Record
from sottovoce.run.letter import Letter
from sottovoce.run.mailbox import Mailbox
from sottovoce.run.protect import facts as facts_of_privacy
from sottovoce.run.stages import Stages
from sottovoce.strategies import ServerState


@dataclass
class Host:
    """A run at its server; held by one process at a time.

    Args:
        config: the whole.
        folder: of the run.
        ledger: of that folder, open.
        post: the server's desk.
        stages: how long the exchanges of finished rounds took, since the metrics told it last.
    """

    config: Config
    folder: RunFolder
    ledger: Ledger
    post: Post
    known: Federation = field(init=False)
    server: ServerState = field(init=False)
    steps: dict[str, int] = field(init=False)
    start: Record = field(init=False)
    cohorts: Iterator[Cohort] = field(init=False)
    spent: dict[str, int] = field(default_factory=dict)
    charged: int = -1
    told_spent: dict[str, int] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    evaluated: int = -1
    loss: dict[str, float] = field(default_factory=dict)
    gains: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    next_drawn: Cohort | None = None
    lost: int = 0
    stages: Stages = field(default_factory=Stages)

    def mail(self, name: str) -> Mailbox:
        """The mail of a round, or of the run's beginning or end."""
        names = [*sorted(self.post.roster.members), *self.post.helper_names]
        places = {site: place for place, site in enumerate(names)}
        return Mailbox(self.folder.root / "mail" / name, places)


def hides(config: Config) -> bool:
    """Whether updates are hidden from this server."""
    return config.secure.aggregation != "none"


def helped(config: Config) -> bool:
    """Whether helpers open the sums of a run."""
    return config.secure.aggregation == "helpers"


def asking(
    post: Post, kind: str, site: str, facts: Mapping[str, Any], parts: Mapping[str, bytes]
) -> Callable[[], bytes]:
    """What writes a letter to a site, once it is needed."""
    return lambda: post.letter(kind, site, facts, parts)


def took_part(one: Host, sites: Iterable[str]) -> None:
    """Count participations."""
    for site in sites:
        one.taken[site] = one.taken.get(site, 0) + 1


def count_price(one: Host, charge: Mapping[str, Any]) -> None:
    """Count the releases of a round that is charged, by plan."""
    for name, releases in charge["releases"].items():
        one.spent[name] = one.spent.get(name, 0) + int(releases)
    one.charged = int(charge["round"])


def told_spent(one: Host, answers: Mapping[str, Letter]) -> dict[str, int]:
    """What sites with plans of their own say that they have spent so far, all rounds together."""
    if one.known.plans.federation is not None or not one.known.plans.plans:
        return {}
    return {
        site: letters.count(told.facts, "spent", most_spent(one.known, site))
        for site, told in answers.items()
    }


def most_spent(known: Known, site: str) -> int:
    """The most that a site can say it has spent of a plan of its own.

    Where there is a target ε the site keeps to it. Else every round that it was killed in while it
    trained is one more, which has an end somewhere.
    """
    plan = known.plans.plans.get(site)
    if plan is None:
        return 0
    return plan.releases * (1 if plan.target is not None else 100)


def count_round(one: Host, record: Mapping[str, Any]) -> None:
    """Count what the line of a finished round tells of budgets.

    Where the server adds the noise, participations were counted before that.
    """
    one.told_spent.update(record["spent"])
    if one.known.plans.federation is None:
        took_part(one, record["clients"])


def spent_of(one: Host) -> dict[str, int]:
    """Releases so far, by plan.

    A site with a plan of its own may have spent what it was asked for, and more where it was killed
    while it trained, which it says itself.
    """
    if one.known.plans.federation is not None:
        return dict(one.spent)
    asked, told = one.spent, one.told_spent
    return {
        site: min(most_spent(one.known, site), max(asked.get(site, 0), told.get(site, 0)))
        for site in one.known.plans.plans
    }


def epsilon_of(one: Host) -> float | None:
    """The largest ε of any plan so far; None without privacy."""
    found: float | None = facts_of_privacy(one.known.plans, spent_of(one))["epsilon"]
    return found
