"""FedPer: some tensors are shared, the others stay at home.

Arivazhagan et al. 2019, "Federated Learning with Personalization Layers". Every client trains all
tensors jointly; those that a pattern names are never sent, so each client has its own.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Literal

from pydantic import BaseModel, Field

from sottovoce.strategies import Algorithm
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer, optimized


class FedPer(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging of the tensors that no pattern names.

    Args:
        private: patterns as in a shell (``*``, ``?``, ``[...]``) over the names of the adapter's
            tensors; ``"*.layers.3.*"`` keeps the adapter of the fourth layer personal.
        server: what the server does with the mean update.

    Guarantees:
        - no entry of a tensor that a pattern names leaves a client.
    """

    name: Literal["fedper"] = "fedper"
    private: tuple[str, ...] = Field(min_length=1)
    server: ServerOptimizer = SGD(lr=1.0)

    @property
    def algorithm(self) -> Algorithm:
        """Clients train all and keep what a pattern names; the server averages the rest."""

        def private(name: str) -> bool:
            return any(fnmatchcase(name, pattern) for pattern in self.private)

        return Algorithm(private=private, step=optimized(self.server))
