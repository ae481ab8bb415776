"""Who trains together, by which algorithm, and on what devices: the section ``[federation]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from sottovoce.strategies import Weighting
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.fedex import FedEx
from sottovoce.strategies.fednova import FedNova
from sottovoce.strategies.fedper import FedPer
from sottovoce.strategies.fedprox import FedProx
from sottovoce.strategies.fedsa import FedSA
from sottovoce.strategies.fedsgd import FedSGD
from sottovoce.strategies.fedsvd import FedSVD
from sottovoce.strategies.ffa import FFA
from sottovoce.strategies.flora import FLoRA
from sottovoce.strategies.personal import Personal
from sottovoce.strategies.rolora import RoLoRA
from sottovoce.strategies.scaffold import Scaffold
from sottovoce.strategies.server_damping import ServerDamping

Strategy = Annotated[
    FedAvg
    | FedSGD
    | FedProx
    | ServerDamping
    | Scaffold
    | FedNova
    | FFA
    | RoLoRA
    | FedSA
    | FedSVD
    | FLoRA
    | FedEx
    | FedPer,
    Field(discriminator="name"),
]


class Device(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """A kind of device that some clients run on; a table ``[federation.devices.NAME]``.

    Args:
        clients: which clients, by name. Either these or ``share``.
        share: which part of all clients, drawn from the seed.
        rank: the rank of their adapters, at most ``model.lora.rank``; None takes all of it. The
            client trains the first so many rows of A and columns of B; each is averaged over the
            clients that hold it.
        steps_per_round: optimizer steps in a round; None takes the recipe's.
        speed: steps in a unit of simulated time.
    """

    clients: tuple[str, ...] = ()
    share: float | None = Field(None, gt=0, le=1)
    rank: int | None = Field(None, ge=1)
    steps_per_round: int | None = Field(None, ge=1)
    speed: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _either(self) -> Device:
        if bool(self.clients) == (self.share is not None):
            raise ValueError("a kind of device needs either clients, by name, or share, not both")
        return self


class Stragglers(BaseModel, frozen=True, extra="forbid"):
    """Clients of a round that do not get done; the table ``[federation.stragglers]``.

    Args:
        share: which part of a cohort, drawn anew for every round.
        work: ``"partial"`` joins what they have done, between 1 step and all but one;
            ``"dropped"`` leaves them out.
    """

    share: float = Field(ge=0, le=1)
    work: Literal["partial", "dropped"] = "partial"


class Asynchronous(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Rounds that wait for nobody; the table ``[federation.asynchronous]``.

    FedBuff, Nguyen et al. 2022, Algorithm 1: ``concurrency`` clients train at any time, each from
    the weights that were newest when it began; as soon as ``buffer`` of them have delivered, the
    server takes a step. An update to weights that are τ steps old is scaled by (1 + τ)^-exponent.
    Who delivers when follows from the clients' simulated speeds.

    Args:
        buffer: updates in a step.
        concurrency: clients that train at the same time.
        staleness_exponent: 0.5 in the paper; 0 takes old updates as they are.
        jitter: standard deviation of the logarithm of a client's time for a round.
    """

    buffer: int = Field(ge=1)
    concurrency: int = Field(ge=1)
    staleness_exponent: float = Field(0.5, ge=0)
    jitter: float = Field(0.3, ge=0)

    @model_validator(mode="after")
    def _fills(self) -> Asynchronous:
        if self.buffer > self.concurrency:
            raise ValueError(
                f"buffer is {self.buffer} and concurrency {self.concurrency}, so the buffer would "
                "never fill; lower buffer, or raise concurrency"
            )
        return self


class FederationSettings(BaseModel, frozen=True, extra="forbid"):
    """Who trains together and how; the section ``[federation]``.

    Args:
        rounds: how often the clients' changes are joined.
        clients: how many clients a partition of the data makes; only where the data name none.
        clients_per_round: how many are drawn for each round; None takes all.
        minimum_clients: how many must deliver for a round to count.
        strategy: the algorithm; its name alone, or a table with its parameters.
        weights: what a client counts in the mean; None takes the algorithm's own.
        personal: a model of its own for every client, beside or after the shared one; a name
            alone, or a table.
        devices: kinds of devices, by a name of your own.
        stragglers: clients that do not get done in time.
        failures: the part of each cohort, in the mean, that is simulated to deliver nothing.
        on_divergence: ``"stop"`` ends the run where a client's training is no longer finite;
            ``"drop"`` goes on without that client's update and records its name.
        asynchronous: rounds that wait for nobody; None waits for the whole cohort.
    """

    rounds: int = Field(4, ge=1)
    clients: int | None = Field(None, ge=1)
    clients_per_round: int | None = Field(None, ge=1)
    minimum_clients: int = Field(1, ge=1)
    strategy: Strategy = FedAvg()
    weights: Weighting | None = None
    personal: Personal | None = None
    devices: Mapping[str, Device] = {}
    stragglers: Stragglers | None = None
    failures: float = Field(0.0, ge=0, lt=1)
    on_divergence: Literal["stop", "drop"] = "stop"
    asynchronous: Asynchronous | None = None

    @property
    def weighting(self) -> Weighting:
        """What a client counts in the mean."""
        return self.weights or self.strategy.algorithm.weighting

    @field_validator("personal", mode="before")
    @classmethod
    def _personal_by_name(cls, value: object) -> object:
        """A name alone is a table with that name."""
        return {"name": value} if isinstance(value, str) else value

    @field_validator("strategy", mode="before")
    @classmethod
    def _by_name(cls, value: object) -> object:
        """A name alone is a table with that name; a table without one changes the default."""
        if isinstance(value, str):
            return {"name": value}
        return {"name": FedAvg().name, **value} if isinstance(value, dict) else value


def with_fixed_settings(tree: dict[str, Any]) -> dict[str, Any]:
    """A configuration tree in which the recipe holds what the algorithm fixes of it.

    Raises:
        ValueError: the tree asks for something else.
    """
    federation, train = tree.get("federation"), tree.get("train", {})
    if isinstance(federation, FederationSettings):
        federation = {"strategy": federation.strategy}
    if isinstance(train, BaseModel):
        train = train.model_dump(exclude_unset=True)
    if not isinstance(federation, dict) or not isinstance(train, dict):
        return tree
    try:
        strategy = FederationSettings.model_validate(
            {"strategy": federation.get("strategy", FedAvg())}
        ).strategy
    except ValidationError:
        return tree  # The tree's own validation names the fault with its place.
    for key, value in strategy.algorithm.fixes.items():
        if train.get(key, value) != value:
            raise ValueError(
                f"train.{key} is {train[key]!r}, but {strategy.name} fixes it at {value!r}; "
                "leave it out"
            )
    return tree | {"train": train | dict(strategy.algorithm.fixes)}
