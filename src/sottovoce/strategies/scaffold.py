"""SCAFFOLD: control variates take the clients' drift out of their local steps.

Karimireddy et al. 2020, Algorithm 1 with option II. The server holds c, client k holds c_k, both
zero at first. Every local step goes along

    g - c_k + c

and after K steps with the rates η_1 … η_K, from w to y,

    c_k⁺ = c_k - c + (w - y) / Σ η_i        sent: y - w and c_k⁺ - c_k
    w ← w + ServerOptimizer(mean of y - w)
    c ← c + |S|/N · mean of c_k⁺ - c_k

With one rate for all steps, Σ η_i is the paper's K·η. (w - y) / Σ η_i is the mean gradient along
the way only where each step is a plain one, so AdamW and momentum are refused.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from sottovoce.strategies import Algorithm, Mean, Own, ServerState, Work
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer, server_step
from sottovoce.update import Tensors

PREFIX = "control/"
"""Before the names of the second half of what is sent."""


class Scaffold(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging with corrected local steps. Twice the traffic, and a memory per client.

    Args:
        server: what the server does with the mean update; the paper's global rate is SGD's lr.

    Guarantees:
        - in the first round, federated averaging bit for bit;
        - with uniform weights and all clients taking part, c stays the mean of all c_k;
        - with one step per round, c_k is the gradient of that step.
    """

    name: Literal["scaffold"] = "scaffold"
    server: ServerOptimizer = SGD(lr=1.0)

    @property
    def algorithm(self) -> Algorithm:
        """Both halves; the letters are those of the module's docstring."""

        def init(state: ServerState) -> ServerState:
            zeros = {name: np.zeros_like(value) for name, value in state.weights.items()}
            return ServerState(state.weights, {"control": zeros}, state.round)

        def own_control(state: ServerState, own: Own) -> Tensors:
            zeros = {name: np.zeros_like(value) for name, value in state.weights.items()}
            return own.get("control", zeros)

        def correction(state: ServerState, own: Own) -> Tensors:
            c_k = own_control(state, own)
            return {name: c - c_k[name] for name, c in state.moments["control"].items()}

        def correct(gradient: Any, weights: Any, anchor: Any) -> Any:  # noqa: ARG001
            return gradient + anchor

        def finish(
            state: ServerState, own: Own, change: Tensors, work: Work
        ) -> tuple[Tensors, Own]:
            c, c_k = state.moments["control"], own_control(state, own)
            path = np.float32(sum(work.rates))
            after = {
                name: c_k[name] - c[name] - value / path if work.rates else c_k[name]
                for name, value in change.items()
            }
            sent = {PREFIX + name: value - c_k[name] for name, value in after.items()}
            return {**change, **sent}, {**own, "control": after}

        def step(state: ServerState, mean: Mean) -> ServerState:
            change = {name: mean.tensors[name] for name in state.weights}
            moments = {kind: t for kind, t in state.moments.items() if kind != "control"}
            plain = ServerState(state.weights, moments, state.round)
            moved = server_step(self.server, plain, change)
            control = {
                name: c + np.float32(mean.share) * mean.tensors[PREFIX + name]
                for name, c in state.moments["control"].items()
            }
            return ServerState(moved.weights, {**moved.moments, "control": control}, moved.round)

        return Algorithm(
            init=init,
            anchor=correction,
            adjust=correct,
            finish=finish,
            shows=("control",),
            adds=lambda weights: {PREFIX + name: v.shape for name, v in weights.items()},
            step=step,
            weighting="uniform",
            needs_sgd=True,
            any_rank=False,
            joins_late=False,
        )
