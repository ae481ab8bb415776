"""Server optimizers: what the server does with the mean update Δ.

Reddi et al. 2021, "Adaptive Federated Optimization", Algorithm 2. The mean update acts as the
negative gradient:

    m ← β1·m + (1 - β1)·Δ
    v ← v + Δ²                               Adagrad
    v ← v - (1 - β2)·Δ²·sign(v - Δ²)         Yogi
    v ← β2·v + (1 - β2)·Δ²                   Adam
    w ← w + lr·m / (√v + τ)

As in the paper, no moment is corrected for its bias. m starts at 0, and v at τ², the smallest
start that the paper's algorithm allows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from sottovoce.errors import VerificationError
from sottovoce.strategies import Mean, Moments, ServerState
from sottovoce.update import Layout, Tensors


class SGD(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Gradient descent: m ← momentum·m + Δ, w ← w + lr·m.

    With lr = 1 and no momentum this is federated averaging; with momentum it is FedAvgM (Hsu et
    al. 2019) and the rule of ``torch.optim.SGD``.
    """

    name: Literal["sgd"] = "sgd"
    lr: float = Field(1.0, gt=0)
    momentum: float = Field(0.0, ge=0, lt=1)


class Adam(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """FedAdam: a decaying average of squared updates scales each entry's step."""

    name: Literal["adam"] = "adam"
    lr: float = Field(0.01, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    tau: float = Field(1e-3, gt=0)


class Yogi(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """FedYogi: as FedAdam, but the average of squares moves by at most (1 - β2)·Δ²."""

    name: Literal["yogi"] = "yogi"
    lr: float = Field(0.01, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    tau: float = Field(1e-3, gt=0)


class Adagrad(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """FedAdagrad: the sum of all squared updates scales each entry's step."""

    name: Literal["adagrad"] = "adagrad"
    lr: float = Field(0.01, gt=0)
    beta1: float = Field(0.0, ge=0, lt=1)
    tau: float = Field(1e-3, gt=0)


ServerOptimizer = Annotated[SGD | Adam | Yogi | Adagrad, Field(discriminator="name")]


def apply(
    settings: SGD | Adam | Yogi | Adagrad, moments: Moments, mean_update: Tensors
) -> tuple[dict[str, NDArray[np.float32]], dict[str, dict[str, NDArray[np.float32]]]]:
    """Turn the mean update into the change of the weights.

    Args:
        settings: which optimizer, with its numbers. Public.
        moments: what the last call returned; empty before the first.
        mean_update: Δ, float32.

    Returns:
        The change to add to the weights, and the moments for the next call.

    Guarantees:
        - entries never meet: each follows the lines above by itself;
        - SGD with lr = 1 and no momentum returns Δ bit for bit, and keeps no moments;
        - everything stays float32, and the arguments stay as they were.

    Raises:
        VerificationError: the moments are those of another optimizer or of other tensors.
    """
    kept = _kept(settings)
    _check_moments(settings, kept, moments, mean_update)
    change: dict[str, NDArray[np.float32]] = {}
    after: dict[str, dict[str, NDArray[np.float32]]] = {which: {} for which in kept}
    for name, delta in mean_update.items():
        before = {which: tensors[name] for which, tensors in moments.items()}
        change[name], new = _entrywise(settings, before, delta)
        for which in kept:
            after[which][name] = new[which]
    return change, after


def optimized(settings: SGD | Adam | Yogi | Adagrad) -> Callable[[ServerState, Mean], ServerState]:
    """The server half of most algorithms: one step of a server optimizer along the mean."""

    def step(state: ServerState, mean: Mean) -> ServerState:
        return server_step(settings, state, mean.tensors)

    return step


def server_step(
    settings: SGD | Adam | Yogi | Adagrad, state: ServerState, mean_update: Tensors
) -> ServerState:
    """Move the weights by one step of a server optimizer.

    Tensors that the mean lacks were not trained in this round; they stay as they are.

    Guarantees:
        - SGD with lr = 1 and no momentum gives exactly weights + mean update in float32;
        - the state that was handed in stays as it was.

    Raises:
        VerificationError: a name or shape is not that of a weight, the moments are missing or
            another optimizer's, or a weight or moment is no longer finite.
    """
    moving = {name: value for name, value in state.weights.items() if name in mean_update}
    Layout({name: tuple(value.shape) for name, value in moving.items()}).check(mean_update)
    if state.round and _kept(settings) and not state.moments:
        raise VerificationError(
            f"the server's state after {state.round} rounds holds no moments",
            allowed=f"{sorted(_kept(settings))} for {settings.name}",
            remedy="Continue with the server optimizer that the run began with",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        change, moments = apply(settings, state.moments, mean_update)
        moved = {
            name: np.asarray(value + change[name], np.float32) for name, value in moving.items()
        }
    weights = {**state.weights, **moved}
    for what, tensors in {"weight": moved, **moments}.items():
        for name, value in tensors.items():
            if not np.isfinite(value).all():
                raise VerificationError(
                    f"the {what} of tensor {name!r} is not finite after round {state.round}",
                    allowed="finite numbers",
                    remedy="Lower the server optimizer's lr or the clients' train.learning_rate",
                )
    return replace(state, weights=weights, moments=moments, round=state.round + 1)


def _kept(settings: SGD | Adam | Yogi | Adagrad) -> tuple[str, ...]:
    """The moments that a later step reads; the first is Δ itself where nothing decays it."""
    if isinstance(settings, SGD):
        return ("first",) if settings.momentum else ()
    return ("first", "second") if settings.beta1 else ("second",)


def _check_moments(
    settings: SGD | Adam | Yogi | Adagrad,
    kept: tuple[str, ...],
    moments: Moments,
    mean_update: Tensors,
) -> None:
    if not moments:
        return
    if set(moments) != set(kept):
        raise VerificationError(
            f"the server's state holds the moments {sorted(moments)}",
            allowed=f"{sorted(kept)} for {settings.name}",
            remedy="Continue with the server optimizer that the run began with",
        )
    layout = Layout({name: tuple(value.shape) for name, value in mean_update.items()})
    for tensors in moments.values():
        layout.check(tensors)


def _entrywise(
    settings: SGD | Adam | Yogi | Adagrad,
    before: Tensors,
    delta: NDArray[np.float32],
) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]:
    """One tensor through the lines of the paper: its change, and its moments after."""
    first = before.get("first", 0.0)
    if isinstance(settings, SGD):
        m = settings.momentum * first + delta if settings.momentum else delta
        m = np.asarray(m, np.float32)
        return np.asarray(settings.lr * m, np.float32), {"first": m}
    m = np.asarray(settings.beta1 * first + (1 - settings.beta1) * delta, np.float32)
    v = before.get("second", settings.tau**2)
    square = delta * delta
    match settings:
        case Adagrad():
            v = v + square
        case Yogi():
            v = v - (1 - settings.beta2) * square * np.sign(v - square)
        case Adam():
            v = settings.beta2 * v + (1 - settings.beta2) * square
    change = settings.lr * m / (np.sqrt(v) + settings.tau)
    return np.asarray(change, np.float32), {"first": m, "second": np.asarray(v, np.float32)}
