"""FedSGD: one gradient of all of a client's examples, one step of the server.

McMahan et al. 2017, section 2: the baseline that federated averaging is compared with. Each client
takes the gradient g_k of its mean loss over all supervised tokens that it holds, and the server goes

    w ← w - η·Σ m_k·g_k / Σ m_k

with m_k the supervised tokens of client k. Where all clients take part, that is gradient descent on
the union of their examples.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from sottovoce.strategies import Algorithm
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer, optimized

ALL_EXAMPLES = 2**31 - 1
"""A batch size that no client's examples reach."""


class FedSGD(BaseModel, frozen=True, extra="forbid"):
    """Distributed gradient descent; η is ``train.learning_rate`` with its schedule.

    Args:
        server: what the server does with the mean of -η·g_k.

    Guarantees:
        - with the default server and weights, and all clients taking part, a round is one step of
          gradient descent on the union of their examples, to rounding.
    """

    name: Literal["fedsgd"] = "fedsgd"
    server: ServerOptimizer = SGD(lr=1.0)

    @property
    def algorithm(self) -> Algorithm:
        """Each client takes one plain step on everything it holds; the server averages them."""
        return Algorithm(
            step=optimized(self.server),
            weighting="targets",
            fixes={
                "optimizer": "sgd",
                "momentum": 0.0,
                "weight_decay": 0.0,
                "max_gradient_norm": "off",
                "batch_size": ALL_EXAMPLES,
                "steps_per_round": 1,
            },
        )
