"""FedSVD: clients train B; the server turns the product so that A is orthonormal again.

Lee et al. 2025, "FedSVD: Adaptive Orthogonalization for Private Federated Learning with LoRA". As
with FFA-LoRA only B travels up and the mean is exact. Then, with B·A = U·S·Vᵀ,

    A ← Vᵀ        B ← U·S

so that A follows what has been learnt although no client trains it, and stays well conditioned.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from sottovoce.strategies import Algorithm, Mean, ServerState
from sottovoce.strategies.factors import is_b, pairs
from sottovoce.strategies.server_optimizer import SGD, server_step

Matrix = NDArray[np.float32]


def orthonormal(a: Matrix, b: Matrix) -> tuple[Matrix, Matrix]:
    """Write B·A with an A whose rows are orthonormal: (Vᵀ, U·S), the largest direction first.

    The product is never formed: with thin QR of B and of Aᵀ, an r x r matrix is decomposed.

    Args:
        a: ``[r, d_in]``.
        b: ``[d_out, r]``; where it is zero both are returned as they are.

    Edge cases: no more than d_in rows can be orthonormal; where r is larger, the others are zero.
    """
    if not b.any():
        return a, b
    left, inner_left = np.linalg.qr(b.astype(np.float64))
    right, inner_right = np.linalg.qr(a.T.astype(np.float64))
    u, s, vt = np.linalg.svd(inner_left @ inner_right.T)
    turned_a, turned_b = np.zeros_like(a), np.zeros_like(b)
    turned_a[: len(vt)] = vt @ right.T
    turned_b[:, : len(s)] = left @ (u[:, : len(s)] * s)
    return turned_a, turned_b


class FedSVD(BaseModel, frozen=True, extra="forbid"):
    """Federated averaging of B with an A that the server keeps orthonormal.

    Guarantees:
        - after every round A·Aᵀ is the identity, once B is not zero and where r is at most d_in;
        - the new product is the mean of the clients' products, to rounding.

    Raises:
        LinAlgError: the decomposition of a layer did not converge, which finite weights of this
            size have not been seen to cause.
    """

    name: Literal["fedsvd"] = "fedsvd"

    @property
    def algorithm(self) -> Algorithm:
        """Clients train and send B; the server adds the mean and turns the factors."""

        def step(state: ServerState, mean: Mean) -> ServerState:
            after = server_step(SGD(), state, mean.tensors)
            turned: dict[str, Matrix] = {}
            for a, b, _ in pairs(after.weights):
                turned[a], turned[b] = orthonormal(after.weights[a], after.weights[b])
            return replace(after, weights={**after.weights, **turned})

        return Algorithm(
            trains=is_b,
            step=step,
            needs_lora=True,
            any_rank=False,
            joins_late=False,
            renews_factors=True,
        )
