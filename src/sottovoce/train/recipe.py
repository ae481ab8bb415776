"""How every client trains: the recipe, its schedule, and how many steps a round has."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, Field


class TrainSettings(BaseModel, frozen=True, extra="forbid"):
    """How every client trains; the configuration section ``[train]``.

    All arms of a comparison use one value of it. The last block changes speed and memory only,
    never the result beyond rounding.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    momentum: float = Field(0.0, ge=0, lt=1)
    optimizer_state: Literal["reset", "keep"] = "reset"
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_fraction: float = Field(0.05, ge=0, lt=1)
    final_fraction: float = Field(0.1, ge=0, le=1)
    max_gradient_norm: Annotated[float, Field(gt=0)] | Literal["off"] = 1.0
    batch_size: int = Field(4, ge=1)
    epochs_per_round: float = Field(1.0, gt=0)
    steps_per_round: int | None = Field(None, ge=0)
    max_length: int = Field(512, ge=2)

    gradient_checkpointing: bool = False
    tokens_per_pass: int = Field(8192, ge=1)
    memory_budget_mib: int = Field(4096, ge=1)


def steps_in_round(examples: int, settings: TrainSettings) -> int:
    """How many optimizer steps a client with this many examples takes in a round.

    >>> steps_in_round(10, TrainSettings(batch_size=4))
    3
    """
    if settings.steps_per_round is not None:
        return settings.steps_per_round if examples else 0
    batches = math.ceil(examples / settings.batch_size)
    # Rounded first: 50 · 1.1 is 55.00000000000001 in floating point, and no 56th step is meant.
    return math.ceil(round(batches * settings.epochs_per_round, 6))


def learning_rate(settings: TrainSettings, position: int, total: int) -> float:
    """The learning rate at one step of the whole run.

    Linear warm-up over the first ``warmup_fraction`` of the run, then constant, linear or cosine
    decay to ``final_fraction`` of the peak.

    Args:
        settings: the recipe.
        position: steps taken before this one, counted over all rounds.
        total: steps of the whole run.

    >>> learning_rate(TrainSettings(learning_rate=1.0, warmup_fraction=0.0), 0, 10)
    1.0
    """
    warmup = math.ceil(settings.warmup_fraction * total)
    if position < warmup:
        return settings.learning_rate * (position + 1) / warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    progress = min(1.0, (position - warmup) / max(1, total - warmup))
    shape = (
        1 - progress if settings.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    )
    return settings.learning_rate * (
        settings.final_fraction + (1 - settings.final_fraction) * shape
    )
