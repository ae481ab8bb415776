"""RoLoRA: rounds take turns, one trains every B, the next every A.

Chen et al. 2025, "Robust Federated Finetuning of LLMs via Alternating Optimization of LoRA". While
one factor is trained the other is frozen and equal for all, so each round's mean is exact,
as with FFA-LoRA, and yet both factors are learnt. The first round trains B: it begins at zero, and
while it is zero A has no gradient.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from sottovoce.strategies import Algorithm
from sottovoce.strategies.factors import is_a, is_b
from sottovoce.strategies.server_optimizer import SGD, optimized


def takes_its_turn(name: str, round_index: int) -> bool:
    """Whether it is the tensor's turn: B in even rounds, A in odd ones, counted from 0."""
    return is_a(name) if round_index % 2 else is_b(name)


class RoLoRA(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging of one factor at a time.

    Guarantees:
        - in every round one factor stays, for all clients and the server alike;
        - with equal ranks, the new product is the mean of the clients' products, to rounding.
    """

    name: Literal["rolora"] = "rolora"

    @property
    def algorithm(self) -> Algorithm:
        """Clients train and send the factor whose turn it is; the server adds the mean."""
        return Algorithm(
            trains=takes_its_turn, step=optimized(SGD()), needs_lora=True, joins_late=False
        )
