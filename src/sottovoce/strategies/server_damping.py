"""Server damping: the server goes only part of the way that the clients point.

    w ← (1 - μ)·mean_k(w_k) + μ·w  =  w + (1 - μ)·Δ

It looks like FedProx and is sometimes sold as it, but the clients' steps are those of federated
averaging: nothing holds them back while they train. It is the server's SGD at lr = 1 - μ under
the name by which people look for it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field

from sottovoce.strategies import ServerState
from sottovoce.strategies.fedavg import FedAvg
from sottovoce.strategies.server_optimizer import SGD
from sottovoce.update import Tensors


class ServerDamping(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Federated averaging mixed with the weights of the round before.

    Args:
        mu: share of the old weights in the new, μ; 0 is federated averaging.

    >>> import numpy as np
    >>> state = ServerDamping(mu=0.75).init({"a": np.array([1.0], np.float32)})
    >>> ServerDamping(mu=0.75).step(state, {"a": np.array([2.0], np.float32)}).weights["a"].tolist()
    [1.5]
    """

    name: Literal["server_damping"] = "server_damping"
    mu: float = Field(0.1, ge=0, lt=1)

    needs_only_sums: ClassVar[bool] = True
    """The server half reads the weighted sum alone."""

    adjust: ClassVar[None] = None
    """The client half: local training uses its gradients as they are."""

    def init(self, weights: Tensors) -> ServerState:
        """The state before the first round, as for ``FedAvg``."""
        return FedAvg().init(weights)

    def step(self, state: ServerState, mean_update: Tensors) -> ServerState:
        """The server half: w ← w + (1 - μ)·Δ.

        Guarantees:
            - μ = 0 is federated averaging, bit for bit.
        """
        return FedAvg(server=SGD(lr=1 - self.mu)).step(state, mean_update)
