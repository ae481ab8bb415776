"""The privacy budget of one run: what it may spend, what it spent, and who is asked first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from sottovoce.errors import ConfigError, RefusedError, VerificationError
from sottovoce.model.base import fingerprint
from sottovoce.privacy.plan import PrivacyPlan
from sottovoce.privacy.policy import Policy, Request, parse_policy, require
from sottovoce.run.budget import NAME, Budget, Row, Rows, shares_row, total, weakest
from sottovoce.run.claims import so_far
from sottovoce.run.cohorts import Cohort
from sottovoce.run.ledger import Ledger, Record
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import (
    FEDERATION,
    affordable,
    charges,
    require_planned,
    sampled,
    steps_in,
    under_cap,
)
from sottovoce.run.sums import crowd_in


class Spending:
    """What a run under way has spent of its privacy budget.

    Guarantees:
        - a charge is on disk before anything that it pays for is drawn, and says what all charges
          come to;
        - a participation is on disk before the client's update meets any noise;
        - a crash can overstate what was spent, and never understate it;
        - what was reserved on the same text counts for every later run of the folder;
        - where a policy is named, nothing begins or goes on without it.
    """

    def __init__(self, prepared: Prepared, root: Path) -> None:
        require_planned(prepared.config, prepared.plans)
        self.spent: dict[str, int] = {}
        self.taken: dict[str, int] = {}
        self._prepared = prepared
        self._root = root
        self._run: str | None = None
        self._budget = Budget(root.absolute().parent / NAME)

    @property
    def _counts(self) -> bool:
        """Whether anything is spent that a budget could count."""
        return self._prepared.plans.private

    def _plan_of(self, client: str) -> tuple[str, PrivacyPlan]:
        """The plan that protects a client's text, and its name."""
        plans = self._prepared.plans
        name = client if plans.federation is None else FEDERATION
        return name, plans.plans[name]

    def require_allowed(self) -> None:
        """Ask the site's policy, where there is one, with everything that is known here.

        Raises:
            RefusedError: with the rule.
            ConfigError: the policy cannot be read.
        """
        if self._prepared.config.privacy.policy is not None:
            self._allow(self._budget.rows(), self._planned())

    def _planned(self) -> dict[str, int]:
        """The most that every plan comes to: what it planned, or what was drawn again on top."""
        return {
            name: max(plan.releases, self.spent.get(name, 0))
            for name, plan in self._prepared.plans.plans.items()
        }

    def _allow(self, rows: Rows, releases: Mapping[str, int]) -> None:
        place = self._prepared.config.privacy.policy
        if place is None:
            return
        policy = _read_policy(Path(place))
        common = self._common()
        if not self._prepared.plans.plans:
            require(policy, Request(epsilon=None, epsilon_of_data_set=None, delta=None, **common))
        for row in self._rows(releases):
            _, plan = self._plan_of(row.client)
            together = {**rows, "this run": [row.row]}
            spent = total(together, row.row.data_sha256, plan, without=self._run)
            require(
                policy,
                Request(
                    epsilon=plan.epsilon(row.row.releases).epsilon,
                    epsilon_of_data_set=spent if isfinite(spent) else None,
                    delta=plan.delta,
                    **common,
                ),
            )

    def _common(self) -> dict[str, Any]:
        """What a policy asks of a run whoever's text it is."""
        prepared, config = self._prepared, self._prepared.config
        federation = config.federation
        whole = (
            federation.clients_per_round is None
            and not federation.failures
            and federation.asynchronous is None
        )
        return {
            "unit": config.privacy.unit,
            "cohort": len(prepared.clients) if whole else federation.minimum_clients,
            "secure_aggregation": config.secure.aggregation,
            "base_model_sha256": fingerprint(prepared.model.base),
            "task": config.task,
            "trust": "server" if prepared.plans.federation is not None else "none",
            "noise_is_private": config.privacy.generator == "cryptographic",
        }

    def _rows(self, releases: Mapping[str, int]) -> list[_Of]:
        """What this run stands with on every client's text."""
        if not self._prepared.plans.plans:
            return []
        found = []
        for party in self._prepared.parties:
            name, plan = self._plan_of(party.name)
            row = Row(
                party.fingerprint,
                plan.unit,
                plan.noise_multiplier,
                plan.sampling_probability,
                releases[name],
                shares_row(plan.shares),
            )
            found.append(_Of(party.name, row))
        return found

    def begin(self, ledger: Ledger) -> None:
        """Reserve all that the run may spend, unless an interrupted one has done so.

        A run that hides nothing, without a unit or with seeded noise, leaves a row for every text
        instead, so that no later run of the folder claims a bound on it; ``Budget.note`` says what
        happens where it cannot be written.

        Raises:
            RefusedError: the site's policy does not allow it, or no longer.
            VerificationError: the reservation of an interrupted run is gone.
        """
        if not self._counts:
            self._budget.note(party.fingerprint for party in self._prepared.parties)
            return
        if self._run is None:
            rows = [one.row for one in self._rows(self._planned())]
            self._run = self._budget.reserve(rows, lambda all: self._allow(all, self._planned()))
            ledger.append("budget", {"run": self._run})
        elif self._run not in self._budget.rows():
            raise VerificationError(
                f"{self._budget.path} does not hold what this run reserved",
                remedy="Restore the file from a copy; without it nobody knows what was spent",
            )

    def replay(self, record: Record) -> None:
        """Take over what a record of the run's ledger says."""
        payload: Mapping[str, Any] = record.payload
        if record.kind == "budget":
            self._run = str(payload["run"])
        elif record.kind == "drawn":
            self._take(payload["clients"])
        else:
            self._count(payload["releases"])

    def took_part(self, clients: Iterable[str]) -> None:
        """Count a participation in a round that nobody charges here.

        Where each client has a plan of its own its charge is its participation, and counts already.
        """
        if self._prepared.plans.federation is not None:
            self._take(clients)

    def _take(self, clients: Iterable[str]) -> None:
        for client in clients:
            self.taken[client] = self.taken.get(client, 0) + 1

    def charge(self, ledger: Ledger, cohort: Cohort, steps: Mapping[str, int]) -> Cohort:
        """Who takes part in a round, once its price is written down.

        Raises:
            RefusedError: too few clients' budgets cover the round, or the policy says no to what
                is drawn once more.
        """
        plans = self._prepared.plans
        if not plans.plans:
            return cohort
        taken = steps_in(cohort, steps)
        able = affordable(plans, cohort, self.spent, taken)
        if plans.federation is None:
            able = under_cap(plans, able, self.taken)
        least = 1 if plans.federation is not None else crowd_in(self._prepared).least
        # At a site there is one client, and who else delivers is not its own affair.
        least = min(least, len(cohort.parts))
        if cohort.parts and len(able.parts) < least:
            raise self.refusal(cohort.round)
        price = charges(plans, able, taken)
        self._cover(price)
        after = {name: self.spent.get(name, 0) + price.get(name, 0) for name in plans.plans}
        charged = {"round": cohort.round, "releases": price}
        ledger.append("charge", charged | so_far(plans, after))
        self._count(price)
        return able if plans.federation is None else self._drawn(ledger, able)

    def charge_own(self, ledger: Ledger, cohort: Cohort, steps: Mapping[str, int]) -> Cohort:
        """The same at one site, which is all of this cohort and keeps to its own limits.

        Raises:
            RefusedError: it has taken part as often as it ever will, or its budget is spent.
        """
        config = self._prepared.config
        [part] = cohort.parts
        if self._prepared.plans.federation is not None:
            # The server spends, once for all; what this site reserved covers every round of it.
            most = config.privacy.max_participations
            if most is not None and self.taken.get(part.client, 0) >= most:
                raise self.refusal(cohort.round)
            return cohort
        charged = self.charge(ledger, cohort, steps)
        if not charged.parts:
            raise RefusedError(
                f"{part.client!r} has taken part as often as it ever will",
                remedy="privacy.max_participations says how often",
            )
        return charged

    def _drawn(self, ledger: Ledger, cohort: Cohort) -> Cohort:
        """The sample of a round, without the clients that have had enough.

        The draw itself knows nothing of who has. Who is in is on disk before its update meets any
        noise: a round that is drawn again after a crash is one more for everybody who was in it.
        """
        plans = self._prepared.plans
        drawn = sampled(plans, cohort, self._prepared.config.seed)
        if plans.settings.max_participations is None:
            return drawn
        drawn = under_cap(plans, drawn, self.taken)
        clients = [part.client for part in drawn.parts]
        ledger.append("drawn", {"round": drawn.round, "clients": clients})
        self._take(clients)
        return drawn

    def refusal(self, finished: int) -> RefusedError:
        """What to say when the budget ended after so many rounds."""
        config = self._prepared.config
        limit = f"privacy.epsilon = {config.privacy.epsilon}"
        if config.privacy.epsilon is None:
            limit = f"privacy.max_participations = {config.privacy.max_participations}"
        return RefusedError(
            f"the privacy budget ended after {finished} of {config.federation.rounds} rounds: "
            f"{limit} covers no more",
            remedy=f"The model so far is in {self._root} and can be used",
        )

    def _cover(self, price: Mapping[str, int]) -> None:
        """Raise the reservation where rounds that were drawn again need more than was planned."""
        planned = self._planned()
        grown = {
            name: max(count, self.spent.get(name, 0) + price.get(name, 0))
            for name, count in planned.items()
        }
        if self._run is None or grown == planned:
            return
        self._allow(self._budget.rows(), grown)
        self._budget.settle(self._run, [one.row.releases for one in self._rows(grown)])

    def settle(self) -> None:
        """Give back what was reserved and not spent, once the run has ended."""
        if self._run is not None:
            spent = {name: self.spent.get(name, 0) for name in self._prepared.plans.plans}
            self._budget.settle(self._run, [one.row.releases for one in self._rows(spent)])

    def epsilon_of_data(self) -> tuple[float | None, str]:
        """ε of all that runs of the folder spent or reserved on the same text, the largest.

        Returns:
            ε and an empty text; or None, and why nothing bounds it.
        """
        plans = self._prepared.plans
        if not plans.plans:
            return None, "this run has no unit of privacy"
        if not plans.private:
            return None, "the noise of this run was seeded for tests"
        rows, found = self._budget.rows(), 0.0
        for party in self._prepared.parties:
            _, plan = self._plan_of(party.name)
            weaker = weakest(rows, party.fingerprint, plan)
            if weaker is not None:
                return None, _WEAKER[weaker]
            found = max(found, total(rows, party.fingerprint, plan))
        return (
            (found, "") if isfinite(found) else (None, "so much was spent that nothing bounds it")
        )

    def _count(self, price: Mapping[str, int]) -> None:
        for name, releases in price.items():
            self.spent[name] = self.spent.get(name, 0) + int(releases)
        if self._prepared.plans.federation is None:
            self._take(price)


_WEAKER = {
    "none": "a run without privacy, or whose noise was seeded for tests, read the same text",
    "example": "a run that hid single conversations read the same text, which bounds nothing for "
    "whoever has several",
    "owner": "a run that hid single owners read the same text, which bounds nothing for a client",
}
"""Why nothing bounds what was spent on a text, by the weakest unit that a run hid."""


class _Of(NamedTuple):
    """Whose row it is."""

    client: str
    row: Row


def _read_policy(path: Path) -> Policy:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the policy {path} cannot be read: {error}",
            remedy="A run does not start without the policy that it names",
        ) from error
    return parse_policy(text, str(path))
