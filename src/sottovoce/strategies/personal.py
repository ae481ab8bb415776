"""Personal models beside or after the shared one; they go with every federated algorithm.

Fine-tuning: each client continues from the shared weights on its own examples, by descent,
v_k ← v_k - η·∇F_k(v_k), and nothing of it is sent.

Ditto: Li et al. 2021, "Ditto: Fair and Robust Federated Learning Through Personalization",
Algorithm 1. Whenever a client takes part, it also trains a model of its own, held near the shared
weights w_t that it received:

    v_k ← v_k - η·(∇F_k(v_k) + λ·(v_k - w_t))
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from sottovoce.strategies import Adjust
from sottovoce.strategies.fedprox import pull


class FineTune(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """After the last round every client continues alone.

    Args:
        epochs: how often it goes through its examples.
        learning_rate: the peak of its schedule, η; None takes ``train.learning_rate``.
    """

    name: Literal["finetune"] = "finetune"
    epochs: float = Field(1.0, gt=0)
    learning_rate: float | None = Field(None, gt=0)


class Ditto(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """In each of its rounds a client also trains a model of its own, pulled to the shared one.

    Args:
        pull: strength of the pull, λ; 0 trains the personal model alone.

    Guarantees:
        - the shared weights are those of the same run without it, bit for bit;
        - the personal gradient is that of loss + (λ/2)·‖v - w_t‖².
    """

    name: Literal["ditto"] = "ditto"
    pull: float = Field(0.1, ge=0)

    @property
    def adjust(self) -> Adjust | None:
        """The rule of a personal step: the pull of FedProx, to the shared weights."""
        return pull(self.pull)


Personal = Annotated[FineTune | Ditto, Field(discriminator="name")]
