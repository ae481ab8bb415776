"""Server damping: the server goes only part of the way that the clients point.

    w ← (1 - μ)·mean_k(w_k) + μ·w  =  w + (1 - μ)·Δ

It looks like FedProx and is sometimes sold as it, but the clients' steps are those of federated
averaging: nothing holds them back while they train. It is the server's SGD at lr = 1 - μ under
the name by which people look for it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from sottovoce.strategies import Algorithm
from sottovoce.strategies.server_optimizer import SGD, optimized


class ServerDamping(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Federated averaging mixed with the weights of the round before.

    Args:
        mu: share of the old weights in the new, μ; 0 is federated averaging, bit for bit.

    >>> import numpy as np
    >>> from sottovoce.strategies import Mean
    >>> damping = ServerDamping(mu=0.75).algorithm
    >>> state = damping.first({"a": np.array([1.0], np.float32)})
    >>> damping.step(state, Mean({"a": np.array([2.0], np.float32)})).weights["a"].tolist()
    [1.5]
    """

    name: Literal["server_damping"] = "server_damping"
    mu: float = Field(0.1, ge=0, lt=1)

    @property
    def algorithm(self) -> Algorithm:
        """Clients use their gradients as they are; the server goes w ← w + (1 - μ)·Δ."""
        return Algorithm(step=optimized(SGD(lr=1 - self.mu)))
