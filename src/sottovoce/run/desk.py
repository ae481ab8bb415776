"""What a server holds while a federation across machines is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sottovoce.config import Config
from sottovoce.run.cohorts import Cohort
from sottovoce.run.folder import RunFolder
from sottovoce.run.gather import Post
from sottovoce.run.known import Federation
from sottovoce.run.ledger import Ledger, Record
from sottovoce.run.mailbox import Mailbox
from sottovoce.run.protect import facts as facts_of_privacy
from sottovoce.strategies import ServerState


@dataclass
class Host:
    """A run at its server; held by one process at a time.

    Args:
        config: the whole.
        folder: of the run.
        ledger: of that folder, open.
        post: the server's desk.
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
    taken: dict[str, int] = field(default_factory=dict)
    evaluated: int = -1
    loss: dict[str, float] = field(default_factory=dict)
    gains: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    next_drawn: Cohort | None = None

    def mail(self, name: str) -> Mailbox:
        """The mail of a round, or of the run's beginning or end."""
        names = sorted(self.post.roster.members)
        places = {site: place for place, site in enumerate(names)}
        return Mailbox(self.folder.root / "mail" / name, places)


def hides(config: Config) -> bool:
    """Whether updates are hidden from this server."""
    return config.secure.aggregation != "none"


def asking(
    post: Post, kind: str, site: str, facts: Mapping[str, Any], parts: Mapping[str, bytes]
) -> Callable[[], bytes]:
    """What writes a letter to a site, once it is needed."""
    return lambda: post.letter(kind, site, facts, parts)


def took_part(one: Host, sites: Any) -> None:
    """Count the participations of a round."""
    for site in sites:
        one.taken[site] = one.taken.get(site, 0) + 1


def count_price(one: Host, price: Mapping[str, int]) -> None:
    """Count releases that were charged, by plan."""
    for name, releases in price.items():
        one.spent[name] = one.spent.get(name, 0) + int(releases)


def spent_of(one: Host) -> dict[str, int]:
    """Releases so far, by plan; what sites spend on plans of their own they count themselves too."""
    plans = one.known.plans
    if plans.federation is not None or not plans.plans:
        return dict(one.spent)
    each = {site: 1 if plans.whole_clients else steps for site, steps in one.steps.items()}
    return {site: times * each[site] for site, times in one.taken.items()}


def epsilon_of(one: Host) -> float | None:
    """The largest ε of any plan so far; None without privacy."""
    found: float | None = facts_of_privacy(one.known.plans, spent_of(one))["epsilon"]
    return found
