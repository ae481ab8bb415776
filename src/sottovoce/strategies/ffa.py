"""FFA-LoRA: A is frozen and shared, only B is trained and sent.

Sun et al. 2024, "Improving LoRA in Privacy-preserving Federated Learning". All clients hold the
same A, drawn from the run's seed, so the mean of the products is the product of the mean,
Σ p_k·B_k·A = (Σ p_k·B_k)·A, the traffic is halved, and noise enters the product once.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from sottovoce.strategies import Algorithm
from sottovoce.strategies.factors import is_b
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer, optimized


class FFA(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging of B with a frozen A.

    Args:
        server: what the server does with the mean update.

    Guarantees:
        - A never changes, and is never sent;
        - with equal ranks, the new product is the mean of the clients' products, to rounding.
    """

    name: Literal["ffa"] = "ffa"
    server: ServerOptimizer = SGD(lr=1.0)

    @property
    def algorithm(self) -> Algorithm:
        """Clients train and send B; the server half is that of federated averaging."""
        return Algorithm(trains=is_b, step=optimized(self.server), needs_lora=True)
