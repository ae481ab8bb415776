"""The privacy plans of one run as one value, and what releases under them come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from sottovoce.privacy.accounting import Epsilon
from sottovoce.privacy.costs import by_rdp
from sottovoce.privacy.plan import PrivacyPlan, epsilon_of
from sottovoce.privacy.settings import PrivacySettings
from sottovoce.rng import Source, secret_source, seeded_source

if TYPE_CHECKING:
    from sottovoce.train.units import Units

FEDERATION = ""
"""What stands for the whole federation where plans are kept by client."""


@dataclass(frozen=True)
class Plans:
    """How every contribution of a run is protected. The units are private, all else is public.

    Args:
        settings: the section ``[privacy]``.
        plans: by client where each one adds noise of its own, under ``FEDERATION`` where the
            server does; empty without privacy.
        units: the sequences of each unit, by client; empty unless the unit lies inside clients.
        sites_per_owner: at how many clients one person's text lies at most.
        units_of_person: how many units of one person each client holds at most; None where nobody
            knows which units are one person's.
    """

    settings: PrivacySettings = field(default_factory=lambda: PrivacySettings(unit="none"))
    plans: Mapping[str, PrivacyPlan] = field(default_factory=dict)
    units: Mapping[str, Units] = field(default_factory=dict)
    sites_per_owner: int = 1
    units_of_person: Mapping[str, int] | None = None

    @property
    def federation(self) -> PrivacyPlan | None:
        """The plan by which the server hides whole clients; None where it adds no noise."""
        return self.plans.get(FEDERATION)

    @property
    def whole_clients(self) -> bool:
        """Whether all that a client sends is one unit's contribution."""
        return self.settings.unit == "client"

    @property
    def private(self) -> bool:
        """Whether anything is hidden: there is a plan, and nobody can draw its noise again."""
        return bool(self.plans) and self.settings.generator == "cryptographic"

    def source(self, seed: int, *names: str | int) -> Source:
        """Where noise and samples come from: fresh, or for tests from the names."""
        if self.settings.generator == "cryptographic":
            return secret_source()
        return seeded_source(seed, "privacy", *names)

    def of_client(self, client: str, spent: Mapping[str, int]) -> Epsilon:
        """ε of the plan of this name after the releases that are charged to it."""
        return _after(self.plans[client], spent.get(client, 0))

    def worst(self, spent: Mapping[str, int]) -> tuple[str, Epsilon]:
        """The largest ε of any one plan after so many releases, and whose it is."""
        name = max(self.plans, key=lambda one: self.of_client(one, spent).epsilon)
        return name, self.of_client(name, spent)

    def so_far(self, spent: Mapping[str, int]) -> tuple[str, Epsilon]:
        """ε of the plan whose Rényi bound is the largest: ``worst`` in the time of one plan."""
        name = max(self.plans, key=lambda one: _bound(self.plans[one], spent.get(one, 0)))
        return name, self.of_client(name, spent)

    def everywhere(self, spent: Mapping[str, int]) -> Epsilon | None:
        """ε for a person at as many clients as one can be at, the most exposed ones together.

        Where each client adds noise of its own, that is the composition of theirs. Where all add
        shares to one sum, the person moves that sum once from every client, by all of her units.

        Returns:
            None where nobody knows how many units are one person's.
        """
        held = self.units_of_person
        if held is None:
            return None
        first = next(iter(self.plans.values()))
        if first.shares is not None:
            most = sorted((held[name] for name in self.plans), reverse=True)
            count = max(spent.get(name, 0) for name in self.plans)
            return _moving(first, sum(most[: self.sites_per_owner]), count)
        exposed = {
            name: [(plan.release_for(held[name]), spent.get(name, 0))]
            for name, plan in self.plans.items()
        }
        names = list(exposed)
        if self.sites_per_owner < len(names):
            names.sort(key=lambda one: by_rdp(exposed[one], first.delta), reverse=True)
        together = [part for name in names[: self.sites_per_owner] for part in exposed[name]]
        return epsilon_of(together, first)


def _moving(plan: PrivacyPlan, units: int, releases: int) -> Epsilon:
    """ε for somebody of whom so many units move one sum that has shares of noise."""
    moved = epsilon_of([(plan.release_for(units), releases)], plan)
    # Narrow shares cost more one by one than together, and either bound may be the wrong one.
    singly = epsilon_of([(plan.release, releases * units**2)], plan)
    return max(moved, singly, key=lambda one: one.epsilon)


@lru_cache(maxsize=1024)
def _after(plan: PrivacyPlan, releases: int) -> Epsilon:
    """ε after so many releases, once for all clients that have equal plans and spent as much."""
    return plan.epsilon(releases)


@lru_cache(maxsize=4096)
def _bound(plan: PrivacyPlan, releases: int) -> float:
    """A bound of the same by Rényi divergences alone, which take no time; it orders plans."""
    return by_rdp(plan.spent(releases), plan.delta)
