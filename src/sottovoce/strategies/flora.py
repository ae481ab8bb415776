"""FLoRA: all clients' adapters are stacked, merged into the base, and begun anew.

Wang et al. 2024, "FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank
Adaptations". Stacking A = [p_1·A_1; …; p_K·A_K] and B = [B_1, …, B_K] makes B·A the exact mean of
the products, whatever each client's rank:

    W ← W + s·Σ p_k·B_k·A_k        A ← drawn afresh        B ← 0

Only the stack's product is ever used, so that is what the server adds up, one client at a time. It
must see each client's factors, so it cannot work on masked sums; and everybody's base model changes.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from sottovoce.rng import stream
from sottovoce.strategies import Algorithm, Mean, ServerState
from sottovoce.strategies.factors import pairs, product, product_changes, zero_residual
from sottovoce.update import Tensors


class FLoRA(BaseModel, frozen=True, extra="forbid"):
    """Exact stacking of adapters, merged into the base model after every round.

    Guarantees:
        - the residual grows by the mean of the clients' B_k·A_k, to rounding;
        - after every round B is zero, and A is a new draw that server and clients know.
    """

    name: Literal["flora"] = "flora"

    @property
    def algorithm(self) -> Algorithm:
        """Clients send both factors; the server reads each product, merges, and draws anew."""

        def init(state: ServerState) -> ServerState:
            return replace(state, residual=zero_residual(state.weights))

        def expand(state: ServerState, sent: Tensors) -> Tensors:
            return product_changes(state.weights, sent)

        def step(state: ServerState, mean: Mean) -> ServerState:
            fresh: dict[str, NDArray[np.float32]] = {}
            residual: dict[str, NDArray[np.float32]] = {}
            for a, b, name in pairs(state.weights):
                merged = product(state.weights[a], state.weights[b]) + mean.tensors[name]
                residual[name] = np.asarray(state.residual[name] + merged, np.float32)
                shape = state.weights[a].shape
                bound = 1 / sqrt(shape[1])
                # Named by the factor that it replaces, the draw is another in a run with another
                # seed, and everyone who holds the old factor can make the new one.
                old = sha256(state.weights[a].tobytes()).hexdigest()
                draw = stream(0, "flora", a, state.round, old).uniform(-bound, bound, shape)
                fresh[a] = draw.astype(np.float32)
                fresh[b] = np.zeros_like(state.weights[b])
            return replace(state, weights=fresh, residual=residual, round=state.round + 1)

        return Algorithm(
            init=init,
            expand=expand,
            step=step,
            needs_lora=True,
            joins_late=False,
            renews_factors=True,
        )
