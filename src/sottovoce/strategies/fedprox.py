"""FedProx: a proximal term holds each client near the weights that it received.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks", Algorithm 2. The client
minimises its own loss plus (μ/2)·‖w - w_t‖², so every local step goes along

    g + μ·(w - w_t)

which is the gradient of that square: no root is taken of it, and nothing happens on the server
that federated averaging does not do.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from sottovoce.strategies import Adjust, ServerState
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer
from sottovoce.update import Tensors


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

    >>> FedProx(mu=0.5).adjust(1.0, 3.0, 2.0)
    1.5
    """

    name: Literal["fedprox"] = "fedprox"
    mu: float = Field(0.01, ge=0)
    server: ServerOptimizer = SGD(lr=1.0)

    needs_only_sums: ClassVar[bool] = True
    """The server half is that of federated averaging."""

    @property
    def adjust(self) -> Adjust | None:
        """The client half: g + μ·(w - w_t)."""
        if self.mu == 0:
            return None

        def pull(gradient: Any, weights: Any, received: Any) -> Any:
            return gradient + self.mu * (weights - received)

        return pull

    def init(self, weights: Tensors) -> ServerState:
        """The state before the first round, as for ``FedAvg``."""
        return FedAvg(server=self.server).init(weights)

    def step(self, state: ServerState, mean_update: Tensors) -> ServerState:
        """The server half, as for ``FedAvg``."""
        return FedAvg(server=self.server).step(state, mean_update)
