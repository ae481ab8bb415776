"""FedEx-LoRA: the factors are averaged, and what the average misses goes into the base.

Singhal et al. 2025, arXiv 2410.09432. The mean of the products is not the product of the means; the
difference is added to the frozen weight:

    A ← Σ p_k·A_k        B ← Σ p_k·B_k        W ← W + s·(Σ p_k·B_k·A_k - B·A)

The server must see each client's factors to form their product, so it cannot work on masked sums;
and everybody's base model changes, so each round sends one dense matrix per layer down.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import BaseModel

from sottovoce.strategies import Algorithm, Mean, ServerState
from sottovoce.strategies.factors import pairs, product, product_changes, zero_residual
from sottovoce.strategies.server_optimizer import SGD, server_step
from sottovoce.update import Tensors


class FedEx(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging of both factors, made exact by a residual in the base model.

    Guarantees:
        - residual + B·A after a round is residual + mean of the clients' B_k·A_k before it, to
          rounding;
        - A and B are those of federated averaging, bit for bit.
    """

    name: Literal["fedex"] = "fedex"

    @property
    def algorithm(self) -> Algorithm:
        """Clients send both factors; the server reads each product and folds in the difference."""

        def init(state: ServerState) -> ServerState:
            return replace(state, residual=zero_residual(state.weights))

        def expand(state: ServerState, sent: Tensors) -> Tensors:
            return {**sent, **product_changes(state.weights, sent)}

        def step(state: ServerState, mean: Mean) -> ServerState:
            change = {name: mean.tensors[name] for name in state.weights}
            after = server_step(SGD(), state, change)
            before = state.weights
            residual = {
                name: np.asarray(
                    state.residual[name]
                    + product(before[a], before[b])
                    + mean.tensors[name]
                    - product(after.weights[a], after.weights[b]),
                    np.float32,
                )
                for a, b, name in pairs(before)
            }
            return replace(after, residual=residual)

        return Algorithm(
            init=init, expand=expand, step=step, needs_lora=True, any_rank=False, joins_late=False
        )
