"""The negative log-likelihood of supervised positions, in chunks, without storing all logits.

At a vocabulary of 150,000 the logits, not the adapters, decide memory: they are computed at
supervised positions only, a few rows at a time, and their gradient is folded back into the hidden
states before the next rows are touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 32 * 2**20
"""The largest block of float32 logits held at once."""


@dataclass(frozen=True)
class Head:
    """How hidden states become logits.

    Args:
        weight: ``[V, d]``, in the base model's precision.
        bias: ``[V]`` or None.
        softcap: logits are softcap · tanh(logits / softcap) where it is given (Gemma 2).
    """

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits ``[n, V]`` of hidden states ``[n, d]``."""
        logits = torch.nn.functional.linear(hidden, self.weight, self.bias).float()
        if self.softcap is not None:
            logits = logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits


def objective(hidden: Tensor, targets: Tensor, scale: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Weigh and sum the negative log-likelihood of all supervised positions.

        objective = Σ_n scale[n] Σ_l -log softmax(logits[n, l])[targets[n, l]]

    Args:
        hidden: last hidden states, ``[N, L, d]``.
        targets: ids, negative where a position is not supervised, ``[N, L]``.
        scale: the weight of each sequence's positions, ``[N]``.
        head: how hidden states become logits.

    Returns:
        The objective, which can be differentiated with respect to ``hidden`` and, where it needs a
        gradient, ``head.weight``; and the unweighted sums per sequence, ``[N]``.

    Edge cases: a sequence without supervised positions has sum 0 and gradient 0.
    """
    total, sums = _Objective.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, targets, scale, head
    )
    return total, sums


class _Objective(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        scale: Tensor,
        head: Head,
    ) -> tuple[Tensor, Tensor]:
        places = (targets >= 0).nonzero(as_tuple=True)
        rows = hidden.detach()[places]
        wanted = targets[places]
        weights = scale[places[0]]
        nll = torch.empty(len(rows), dtype=torch.float32, device=rows.device)
        grad_rows = torch.empty_like(rows)
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] and bias is not None else None
        for part in _chunks(len(rows), weight.shape[0]):
            probabilities = head.logits(rows[part])
            slope = None if head.softcap is None else 1 - (probabilities / head.softcap).square()
            normaliser = torch.logsumexp(probabilities, 1)
            index = wanted[part, None]
            nll[part] = normaliser - probabilities.gather(1, index)[:, 0]
            probabilities.sub_(normaliser[:, None]).exp_()
            probabilities.scatter_add_(1, index, probabilities.new_full(index.shape, -1.0))
            probabilities.mul_(weights[part, None])
            if slope is not None:
                probabilities.mul_(slope)
            narrow = probabilities.to(weight.dtype)
            torch.mm(narrow, weight, out=grad_rows[part])
            if grad_weight is not None:
                grad_weight.addmm_(narrow.t(), rows[part])
            if grad_bias is not None:
                grad_bias.add_(narrow.sum(0))
        sums = torch.zeros(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        sums.index_add_(0, places[0], nll)
        ctx.save_for_backward(grad_rows, grad_weight, grad_bias, *places)
        ctx.shape = hidden.shape
        ctx.mark_non_differentiable(sums)
        return torch.dot(nll, weights), sums

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad_rows, grad_weight, grad_bias, *places = ctx.saved_tensors
        factor = grad_outputs[0]
        grad_hidden = grad_rows.new_zeros(ctx.shape)
        grad_hidden[tuple(places)] = grad_rows * factor
        if grad_weight is not None:
            grad_weight = grad_weight * factor
        if grad_bias is not None:
            grad_bias = grad_bias * factor
        return grad_hidden, grad_weight, grad_bias, None, None, None


def score(hidden: Tensor, targets: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Sum negative log-likelihood and count right predictions per sequence, ``[N]`` each."""
    places = (targets >= 0).nonzero(as_tuple=True)
    rows, wanted = hidden[places], targets[places]
    sums = torch.zeros(hidden.shape[0], dtype=torch.float32, device=hidden.device)
    right = torch.zeros(hidden.shape[0], dtype=torch.int64, device=hidden.device)
    for part in _chunks(len(rows), head.weight.shape[0]):
        logits = head.logits(rows[part])
        nll = torch.nn.functional.cross_entropy(logits, wanted[part], reduction="none")
        sums.index_add_(0, places[0][part], nll)
        right.index_add_(0, places[0][part], (logits.argmax(1) == wanted[part]).long())
    return sums, right


def _chunks(rows: int, vocabulary: int) -> list[slice]:
    size = max(1, CHUNK_BYTES // (4 * vocabulary))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
