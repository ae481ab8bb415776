"""FedProx: a proximal term holds each client near the weights that it received.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks", Algorithm 2. The client
minimises its own loss plus (μ/2)·‖w - w_t‖², so every local step goes along

    g + μ·(w - w_t)

which is the gradient of that square: no root is taken of it, and nothing happens on the server
that federated averaging does not do.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from sottovoce.strategies import Adjust, Algorithm
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer, optimized


def pull(mu: float) -> Adjust | None:
    """The gradient of loss + (μ/2)·‖w - anchor‖²; None where μ is 0.

    >>> pull(0.5)(1.0, 3.0, 2.0)
    1.5
    """
    if mu == 0:
        return None

    def adjust(gradient: Any, weights: Any, anchor: Any) -> Any:
        return gradient + mu * (weights - anchor)

    return adjust


class FedProx(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Federated averaging whose clients are pulled back to where they began.

    Args:
        mu: strength of the pull, μ.
        server: what the server does with the mean update.

    Guarantees:
        - μ = 0 is federated averaging, bit for bit;
        - the local gradient is that of loss + (μ/2)·‖w - w_t‖².

    Edge cases: under AdamW the pull is scaled by the optimizer like the rest of the gradient;
    the line above is the paper's with SGD. ``train.max_gradient_norm`` bounds the loss's gradient
    alone, before the pull is added.
    """

    name: Literal["fedprox"] = "fedprox"
    mu: float = Field(0.01, ge=0)
    server: ServerOptimizer = SGD(lr=1.0)

    @property
    def algorithm(self) -> Algorithm:
        """Clients step along g + μ·(w - w_t); the server half is that of federated averaging."""
        return Algorithm(adjust=pull(self.mu), step=optimized(self.server))
