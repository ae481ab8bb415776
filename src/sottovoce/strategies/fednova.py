"""FedNova: clients that take more steps do not count for more.

Wang et al. 2020, "Tackling the Objective Inconsistency Problem", equation 8. Federated averaging
with unequal numbers of local steps minimises another objective than the clients' own: whoever steps
more is heard more. Here each client sends its mean step and how far it went,

    d_k = Δ_k / a_k        a_k = Σ_i η_i·(1 - ρ^i) / (1 - ρ)

and the server goes the mean distance along the mean direction:

    w ← w + ServerOptimizer(ā · Σ p_k·d_k)        ā = Σ p_k·a_k

With one rate η and no momentum (ρ = 0), a_k is η times the steps. a_k is the sum of the weights
with which the gradients of plain SGD enter Δ_k; AdamW has no such weights and is refused.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import BaseModel

from sottovoce.strategies import Algorithm, Mean, Own, ServerState, Work
from sottovoce.strategies.server_optimizer import SGD, ServerOptimizer, server_step
from sottovoce.update import Tensors

PATH = "path"
"""The name of a_k among what is sent."""


def path_length(work: Work) -> float:
    """a_k: how much all gradients together count in what local SGD changed.

    >>> path_length(Work((0.5, 0.5)))
    1.0
    >>> path_length(Work((1.0, 1.0), momentum=0.5))
    2.5
    """
    total, memory = 0.0, 0.0
    for rate in work.rates:
        memory = work.momentum * memory + 1.0
        total += rate * memory
    return total


class FedNova(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging with normalised updates.

    Args:
        server: what the server does with the rescaled mean.

    Guarantees:
        - where all clients take equally many steps, federated averaging to rounding;
        - the direction does not depend on how many steps each client took.

    Edge cases: momentum that is kept between rounds (``train.optimizer_state``) carries gradients
    of earlier rounds along, which a_k does not count.
    """

    name: Literal["fednova"] = "fednova"
    server: ServerOptimizer = SGD(lr=1.0)

    @property
    def algorithm(self) -> Algorithm:
        """Both halves; the letters are those of the module's docstring."""

        def finish(
            state: ServerState,  # noqa: ARG001
            own: Own,
            change: Tensors,
            work: Work,
        ) -> tuple[Tensors, Own]:
            a = np.float32(path_length(work))
            mean_step = {name: v / a if a else np.zeros_like(v) for name, v in change.items()}
            return {**mean_step, PATH: np.full(1, a, np.float32)}, own

        def step(state: ServerState, mean: Mean) -> ServerState:
            distance = mean.tensors[PATH][0]
            along = {name: distance * v for name, v in mean.tensors.items() if name != PATH}
            return server_step(self.server, state, along)

        return Algorithm(finish=finish, adds=lambda _: {PATH: (1,)}, step=step, needs_sgd=True)
