"""Federated averaging: every client trains by itself, the server averages what they changed.

McMahan et al. 2017, Algorithm 1, in the form of Reddi et al. 2021, Algorithm 1: the mean of the
updates, Δ = Σ n_k·Δ_k / Σ n_k, is handed to a server optimizer. With SGD at lr = 1, the default,
the new weights are w + Δ, which is the weighted mean of the clients' weights. FedAvgM, FedAdam,
FedYogi and FedAdagrad are this file with another ``server``.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel

from sottovoce.errors import VerificationError
from sottovoce.strategies import ServerState
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer, server_step
from sottovoce.update import Tensors


class FedAvg(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging with a server optimizer.

    Args:
        server: what the server does with the mean update.

    >>> state = FedAvg().init({"a": np.array([1.0], np.float32)})
    >>> FedAvg().step(state, {"a": np.array([0.5], np.float32)}).weights["a"].tolist()
    [1.5]
    """

    name: Literal["fedavg"] = "fedavg"
    server: ServerOptimizer = SGD(lr=1.0)

    needs_only_sums: ClassVar[bool] = True
    """The server half reads the weighted sum alone, so it may be summed under masks."""

    adjust: ClassVar[None] = None
    """The client half: local training uses its gradients as they are."""

    def init(self, weights: Tensors) -> ServerState:
        """The state before the first round.

        Args:
            weights: what every client starts from, float32 and finite.

        Raises:
            VerificationError: a tensor is not float32 or not finite.
        """
        for name, value in weights.items():
            if value.dtype != np.float32 or not np.isfinite(value).all():
                raise VerificationError(
                    f"the first weights of tensor {name!r} are {value.dtype} or not finite",
                    allowed="finite float32",
                )
        return ServerState(dict(weights), {}, round=0)

    def step(self, state: ServerState, mean_update: Tensors) -> ServerState:
        """The server half: w ← w + ServerOptimizer(Δ).

        Args:
            state: from ``init`` or the last ``step``; it stays as it was.
            mean_update: Δ, with the weights' names and shapes.

        Guarantees:
            - with SGD at lr = 1 and no momentum, exactly weights + Δ in float32.

        Raises:
            VerificationError: other names or shapes, or a result that is not finite.
        """
        return server_step(self.server, state, mean_update)
