"""FedSA-LoRA: A is shared, B stays at home.

Guo et al. 2025, "Selective Aggregation for Low-Rank Adaptation in Federated Learning". Every client
trains both factors and sends only A, which is found to hold what is common; B_k holds what is the
client's own. The result is one adapter per client, (A, B_k), which any server of adapters can load.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from sottovoce.strategies import Algorithm
from sottovoce.strategies.factors import is_b
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer, optimized


class FedSA(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging of A, with a personal B.

    Args:
        server: what the server does with the mean update of A.

    Guarantees:
        - no entry of B leaves a client.

    Edge cases: the shared weights alone hold B as it began, which is zero, so without a client's
    own part the model is the base model.
    """

    name: Literal["fedsa"] = "fedsa"
    server: ServerOptimizer = SGD(lr=1.0)

    @property
    def algorithm(self) -> Algorithm:
        """Clients train both and keep B; the server half is that of federated averaging."""
        return Algorithm(private=is_b, step=optimized(self.server), needs_lora=True)
