"""The privacy budget of one run: what it may spend, what it spent, and who is asked first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sottovoce.errors import ConfigError, RefusedError, VerificationError
from sottovoce.model.base import fingerprint
from sottovoce.privacy.plan import PrivacyPlan
from sottovoce.privacy.policy import Policy, Request, parse_policy, require
from sottovoce.run.budget import NAME, Budget, Row, Rows, shares_row, total
from sottovoce.run.cohorts import Cohort
from sottovoce.run.ledger import Ledger, Record
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import (
    FEDERATION,
    affordable,
    charges,
    require_planned,
    sampled,
    under_cap,
)
from sottovoce.run.sums import crowd_in


class Spending:
    """What a run under way has spent of its privacy budget.

    Guarantees:
        - a charge is on disk before anything that it pays for is drawn;
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
        plans = self._prepared.plans
        return bool(plans.plans) and plans.settings.generator == "cryptographic"

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
            self._allow(self._budget.rows() if self._counts else {}, self._planned())

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
            require(
                policy,
                Request(
                    epsilon=plan.epsilon(row.row.releases).epsilon,
                    epsilon_of_data_set=total(
                        together, row.row.data_sha256, plan, without=self._run
                    ),
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
            "cohort": len(prepared.parties) if whole else federation.minimum_clients,
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

        Raises:
            RefusedError: the site's policy does not allow it, or no longer.
            VerificationError: the reservation of an interrupted run is gone.
        """
        if not self._counts:
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
        elif record.kind == "round":
            self.took_part(payload["clients"])
        else:
            self._count(payload["releases"])

    def took_part(self, clients: Iterable[str]) -> None:
        """Count the participations of a round."""
        for client in clients:
            self.taken[client] = self.taken.get(client, 0) + 1

    def charge(self, ledger: Ledger, cohort: Cohort, steps: Mapping[str, int]) -> Cohort:
        """Who takes part in a round, once its price is written down.

        Raises:
            RefusedError: too few clients' budgets cover the round, or the policy says no to what
                is drawn once more.
        """
        plans, config = self._prepared.plans, self._prepared.config
        if not plans.plans:
            return cohort
        taken = {
            part.client: steps[part.client]
            if part.stop_after is None
            else min(part.stop_after, steps[part.client])
            for part in cohort.parts
        }
        able = affordable(plans, cohort, self.spent, taken)
        if plans.federation is None:
            # Where a charge is one participation, it counts even if the round never ended.
            shared = config.privacy.trust == "none"
            able = under_cap(plans, able, self.spent if shared else self.taken)
        least = 1 if plans.federation is not None else crowd_in(self._prepared).least
        if cohort.parts and len(able.parts) < least:
            raise self.refusal(cohort.round)
        price = charges(plans, able, taken)
        self._cover(price)
        ledger.append("charge", {"round": cohort.round, "releases": price})
        self._count(price)
        drawn = sampled(plans, able, config.seed)
        # Who is drawn and has had enough stays away: the draw itself knows nothing of it.
        return drawn if plans.federation is None else under_cap(plans, drawn, self.taken)

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

    def epsilon_of_data(self) -> float | None:
        """ε of all that runs of the folder spent or reserved on the same text, the largest."""
        if not self._counts:
            return None
        rows = self._budget.rows()
        return max(
            total(rows, party.fingerprint, self._plan_of(party.name)[1])
            for party in self._prepared.parties
        )

    def _count(self, price: Mapping[str, int]) -> None:
        for name, releases in price.items():
            self.spent[name] = self.spent.get(name, 0) + int(releases)


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
