"""What a site allows: read from the site's own file, by its own process, and failing closed.

>>> policy = parse_policy('''
... weakest_unit = "owner"          # a run protects at least every person: owner or client
... max_epsilon_per_run = 4.0
... max_epsilon_per_data_set = 8.0  # all runs on this data set together, composed
... max_delta = 1e-5
... min_cohort = 5                  # no sum over fewer clients is released
... secure_aggregation = true       # the server sees sums alone
... base_models = ["2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"]
... tasks = ["chat"]
... trust = "none"                  # the sites add the noise, not the server
... ''', "policy.toml")
>>> request = Request(
...     unit="owner", epsilon=3.0, epsilon_of_data_set=9.5, delta=1e-6, cohort=8,
...     secure_aggregation="secagg", base_model_sha256=policy.base_models[0], task="chat",
...     trust="none", noise_is_private=True)
>>> refusals(policy, request)
('max_epsilon_per_data_set',)
"""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

from sottovoce.errors import ConfigError, RefusedError

UNITS: Final = ("none", "example", "owner", "client")
"""From the weakest to the strongest: a client holds whole owners, an owner whole examples."""
SECURE_AGGREGATION: Final = ("secagg", "helpers", "he")
"""The ways of aggregation that hide single updates, as ``secure.aggregation`` names them."""
_show = partial(json.dumps, default=repr)  # TOML agrees, and control characters are escaped
_LIMITS: Final = ("max_epsilon_per_run", "max_epsilon_per_data_set", "max_delta")
_Epsilon = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Policy(BaseModel, frozen=True, extra="forbid", strict=True):
    """The rules of one site. Public.

    A switch is by default on its strict side. What has no such side has no default, so that nobody
    lives under a limit that no one chose; an empty list, which some read as "any", is an error.

    Args:
        weakest_unit: the weakest unit of privacy. With ``"none"`` the three limits below must be
            left out, else they are mandatory: a run that they refuse could come back without a
            unit, whose ε is infinite, and be let in.
        max_epsilon_per_run: the largest ε that one run may plan to spend here.
        max_epsilon_per_data_set: the largest ε of all runs on the data set, composed.
        max_delta: the largest δ at which either is stated.
        min_cohort: the least number of clients behind a sum that is released.
        secure_aggregation: whether updates must be hidden from the server.
        base_models: fingerprints of the base models that may be trained.
        tasks: the tasks that may be trained.
        trust: ``"server"`` lets the server add the noise.
        cryptographic_noise: whether noise must come from a cryptographic generator.
    """

    weakest_unit: Literal["none", "example", "owner", "client"]
    max_epsilon_per_run: _Epsilon | None = None
    max_epsilon_per_data_set: _Epsilon | None = None
    max_delta: float | None = Field(None, ge=0, lt=1)
    min_cohort: int = Field(ge=1)
    secure_aggregation: bool = True
    # TOML has arrays and no tuples, so here alone a type is converted.
    base_models: tuple[_Sha256, ...] = Field(strict=False, min_length=1)
    tasks: tuple[str, ...] = Field(strict=False, min_length=1)
    trust: Literal["none", "server"] = "none"
    cryptographic_noise: bool = True

    @model_validator(mode="after")
    def _agree(self) -> Policy:
        private = self.weakest_unit != "none"
        if wrong := [name for name in _LIMITS if (getattr(self, name) is not None) != private]:
            useless = "so that a run refused by a limit could come back without a unit; remove"
            why = "which needs limits; write down" if private else useless
            raise ValueError(f'weakest_unit is "{self.weakest_unit}", {why} {", ".join(wrong)}')
        return self


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a run asks of the site, as facts that the site itself found. Public.

    Args:
        unit: the unit that the run protects.
        epsilon: what this run plans to spend at this site; None without privacy.
        epsilon_of_data_set: all that was spent on the data set so far and this run together,
            composed; None if any of it was without privacy.
        delta: the δ at which both hold, the larger one where they differ; None without privacy.
        cohort: the least number of clients that must contribute before a sum is released.
        secure_aggregation: one of ``SECURE_AGGREGATION``, or ``"none"``.
        base_model_sha256: the fingerprint of the model that was loaded here.
        task: its name.
        trust: ``"server"`` if the server alone adds the noise, else ``"none"``; so "none", too,
            where each site hides its owners or examples by itself, whatever ``privacy.trust`` says.
        noise_is_private: whether no noise comes from any but a cryptographic generator.
    """

    unit: str
    epsilon: float | None
    epsilon_of_data_set: float | None
    delta: float | None
    cohort: int
    secure_aggregation: str
    base_model_sha256: str
    task: str
    trust: str
    noise_is_private: bool


_RULES: Final = {
    "weakest_unit": ("unit", "{} or stronger", "Plan for a stronger privacy.unit"),
    "max_epsilon_per_run": ("epsilon", "0 to {}", "Plan more noise or fewer rounds"),
    "max_epsilon_per_data_set": ("epsilon_of_data_set", "0 to {}", "Ask less, or of other data"),
    "max_delta": ("delta", "0 to {}", "Plan for a smaller privacy.delta"),
    "min_cohort": ("cohort", "{} or more", "Let more clients join every sum"),
    "secure_aggregation": ("secure_aggregation", ", ".join(SECURE_AGGREGATION), "Switch it on"),
    "base_models": ("base_model_sha256", "one of {}", "Start from an allowed base model"),
    "tasks": ("task", "one of {}", "Train an allowed task"),
    "trust": ("trust", "no more trust than {}", "Let the sites add the noise"),
    "cryptographic_noise": ("noise_is_private", "true", "Draw from the cryptographic generator"),
}
"""For each key of a policy: the fact of a request that it is about, what is allowed, what to do."""


def _kept(policy: Policy, request: Request) -> dict[str, bool]:
    """For each key of a policy: whether the request keeps it."""

    def within(figure: Any, most: float | None) -> bool:
        if policy.weakest_unit == "none":
            # Any spending is allowed, and None is one without end; but no unit, no figure.
            if figure is None or request.unit == "none":
                return figure is None
            most = sys.float_info.max
        number = isinstance(figure, (int, float)) and not isinstance(figure, bool)
        return number and most is not None and bool(0 <= figure <= most)

    cohort, noise, secure = request.cohort, request.noise_is_private, request.secure_aggregation
    spent = request.epsilon_of_data_set
    return {
        "weakest_unit": request.unit in UNITS[UNITS.index(policy.weakest_unit) :],
        "max_epsilon_per_run": within(request.epsilon, policy.max_epsilon_per_run),
        "max_epsilon_per_data_set": within(spent, policy.max_epsilon_per_data_set),
        "max_delta": within(request.delta, policy.max_delta),
        "min_cohort": type(cohort) is int and cohort >= policy.min_cohort,
        "secure_aggregation": secure in SECURE_AGGREGATION
        or (secure == "none" and not policy.secure_aggregation),
        "base_models": request.base_model_sha256 in policy.base_models,
        "tasks": request.task in policy.tasks,
        "trust": request.trust in ("none", policy.trust),
        "cryptographic_noise": noise is True or (noise is False and not policy.cryptographic_noise),
    }


def parse_policy(text: str, place: str) -> Policy:
    """Read a policy from the TOML of the site's own file; ``place`` names the file in errors.

    Raises:
        ConfigError: no TOML; an unknown, missing or repeated key; a wrong value; clashing limits.
    """
    try:
        return Policy.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise _explain(error, place) from None
    except ValueError as error:  # also what Python says of an integer with too many digits
        raise ConfigError(f"{place} is not TOML: {error}") from error


def refusals(policy: Policy, request: Request) -> tuple[str, ...]:
    """The keys of all rules that the request breaks, in the policy's order; empty: it may run.

    Guarantees:
        - a request that is weaker in any field breaks the same rules, and perhaps more. Weaker is
          an earlier unit (without figures if it is "none"), a larger figure, a smaller cohort, no
          secure aggregation, more trust, seeded noise, an unlisted model or task;
        - NaN, infinity, a negative number, an unknown name and a value of another type break their
          rule; so does None, save as a figure where ``weakest_unit = "none"``;
        - a key of a policy that nothing here reads is an error, never a permission.
    """
    kept = _kept(policy, request)
    return tuple(key for key in type(policy).model_fields if not kept[key])


def require(policy: Policy, request: Request) -> None:
    """Stop unless the site allows the request.

    Raises:
        RefusedError: what the first broken rule says, what was asked, what is allowed, what to do,
            and the names of all broken rules.
    """
    broken = refusals(policy, request)
    if broken:
        fact, allowed, remedy = _RULES[broken[0]]
        limit, seen = _show(getattr(policy, broken[0])), _show(getattr(request, fact))
        raise RefusedError(
            f"the site's policy has {broken[0]} = {limit}, and the run's {fact} is {seen}",
            allowed=allowed.format(limit) if limit != "null" else "null, or 0 or more with a unit",
            remedy=f"{remedy}. Rules broken: {', '.join(broken)}",
        )


def _explain(error: ValidationError, place: str) -> ConfigError:
    """Turn the first fault into a sentence; a misspelt key is told before the one then missing."""
    fault = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return ConfigError(f"{place}: no key {key}", allowed=", ".join(Policy.model_fields))
    if fault["type"] == "missing":
        return ConfigError(f"{place}: {key} is missing; it has no default")
    where = f"{key} is {_show(fault['input'])}: " if key else ""
    return ConfigError(f"{place}: {where}{fault['msg'].removeprefix('Value error, ')}")
