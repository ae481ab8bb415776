"""Federated averaging: every client trains by itself, the server averages what they changed.

McMahan et al. 2017, Algorithm 1, in the form of Reddi et al. 2021, Algorithm 1: the mean of the
updates, Δ = Σ n_k·Δ_k / Σ n_k, is handed to a server optimizer. With SGD at lr = 1, the default,
the new weights are w + Δ, which is the weighted mean of the clients' weights. FedAvgM, FedAdam,
FedYogi and FedAdagrad are this file with another ``server``.

On adapters it is what papers call FedIT: A and B are averaged apart, and the mean of the factors is
not the factor of the mean. ``fedit`` is its other name.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from sottovoce.strategies import Algorithm
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer, optimized


class FedAvg(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging with a server optimizer.

    Args:
        server: what the server does with the mean update.

    Guarantees:
        - with SGD at lr = 1 and no momentum, exactly weights + Δ in float32.

    >>> import numpy as np
    >>> from sottovoce.strategies import Mean
    >>> averaging = FedAvg().algorithm
    >>> state = averaging.first({"a": np.array([1.0], np.float32)})
    >>> averaging.step(state, Mean({"a": np.array([0.5], np.float32)})).weights["a"].tolist()
    [1.5]
    """

    name: Literal["fedavg", "fedit"] = "fedavg"
    server: ServerOptimizer = SGD(lr=1.0)

    @property
    def algorithm(self) -> Algorithm:
        """Clients use their gradients as they are; the server takes an optimizer step along Δ."""
        return Algorithm(step=optimized(self.server))
