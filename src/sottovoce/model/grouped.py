"""A linear layer whose low-rank adapter carries a leading group axis.

    y[c] = W x[c] + b + s · B[c] A[c] x[c]

The frozen W multiplies all rows at once. Each of C clients has its own A[c], B[c]; each client's
rows may fall into E groups (owners or examples), and the backward pass adds the gradient of every
group apart, which costs no arithmetic: the batch gradient is their sum.

LoRA: Hu et al. 2021, section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Site:
    """Where one adapted layer's factors lie in a row of weights.

    Args:
        a: first entry of A, which is ``[r, d_in]``.
        b: first entry of B, which is ``[d_out, r]``.
    """

    a: int
    b: int
    rank: int
    d_in: int
    d_out: int

    def views(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Read A ``[n, r, d_in]`` and B ``[n, d_out, r]`` of ``rows`` ``[n, D]`` without a copy."""
        count = rows.shape[0]
        a = rows[:, self.a : self.a + self.rank * self.d_in]
        b = rows[:, self.b : self.b + self.d_out * self.rank]
        return a.view(count, self.rank, self.d_in), b.view(count, self.d_out, self.rank)


@dataclass
class Binding:
    """What the adapted layers of one model read while a pass is under way.

    Outside ``pass_over`` the layers are the base model's own.
    """

    weights: Tensor | None = None
    gradients: Tensor | None = None
    trigger: Tensor = field(default_factory=lambda: torch.zeros((), requires_grad=True))

    @contextmanager
    def pass_over(self, weights: Tensor, gradients: Tensor | None) -> Iterator[None]:
        """Bind rows ``[C, D]``, and where gradients are added ``[C, E, D]``, for one pass.

        A pass inside another, such as scoring while an adapter is applied, ends with the outer one
        bound again.
        """
        outer = self.weights, self.gradients
        self.weights = weights
        self.gradients = None if gradients is None else gradients.view(-1, gradients.shape[-1])
        try:
            yield
        finally:
            self.weights, self.gradients = outer


class GroupedLinear(nn.Module):
    """A frozen linear layer with one low-rank adapter per client."""

    def __init__(self, base: nn.Module, site: Site, scaling: float, binding: Binding) -> None:
        super().__init__()
        self.base = base
        self.site = site
        self.scaling = scaling
        self._binding = binding

    def forward(self, x: Tensor) -> Tensor:
        """Apply the base layer and, inside a pass, each client's adapter to its rows."""
        weights = self._binding.weights
        if weights is None:
            plain: Tensor = self.base(x)
            return plain
        # Read anew each time: a view kept from earlier would miss a base that was moved or loaded.
        dense = _dense_weight(self.base)
        if dense is None:
            quantised: Tensor = self.base(x)
            return quantised + self._low_rank(x, None, None)
        return self._low_rank(x, *dense)

    def _low_rank(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        binding = self._binding
        if binding.weights is None:
            raise RuntimeError("an adapted layer was used outside a pass")
        a, b = self.site.views(binding.weights)
        a, b = a.to(x.dtype), b.to(x.dtype)
        into = None if binding.gradients is None else self.site.views(binding.gradients)
        y: Tensor = _GroupedLinear.apply(  # type: ignore[no-untyped-call]
            x, binding.trigger, weight, bias, a, b, self.scaling, into
        )
        return y


def _dense_weight(base: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """The layer's weight as ``[d_out, d_in]`` and its bias, or None where it is quantised."""
    if type(base) is nn.Linear:
        return base.weight, base.bias
    if type(base).__name__ == "Conv1D":
        return base.weight.t(), base.bias  # type: ignore[operator, return-value]
    return None


class _GroupedLinear(torch.autograd.Function):
    """The arithmetic; ``weight`` is None where only the low-rank term is wanted.

    ``trigger`` is a leaf that needs a gradient, so that autograd enters the backward pass of the
    first layer too, where x needs none.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        trigger: Tensor,  # noqa: ARG004
        weight: Tensor | None,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scaling: float,
        into: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        clients, _, d_in = a.shape
        d_out = b.shape[1]
        rows = x.reshape(clients, -1, d_in)
        hidden = torch.bmm(rows, a.mT)
        if weight is None:
            y = torch.bmm(hidden, b.mT).mul_(scaling)
        else:
            y = functional.linear(rows, weight, bias)
            y.baddbmm_(hidden, b.mT, alpha=scaling)
        ctx.save_for_backward(x, hidden, weight, a, b)
        ctx.scaling = scaling
        ctx.into = into
        return y.view(*x.shape[:-1], d_out)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, weight, a, b = ctx.saved_tensors
        clients, rank, d_in = a.shape
        d_out = b.shape[1]
        grad_y = grad_outputs[0].reshape(clients, -1, d_out)
        grad_hidden = torch.bmm(grad_y, b).mul_(ctx.scaling)
        if ctx.into is not None:
            into_a, into_b = ctx.into
            groups = into_a.shape[0]
            _add_outer(
                into_b, grad_y.view(groups, -1, d_out), hidden.view(groups, -1, rank), ctx.scaling
            )
            _add_outer(into_a, grad_hidden.view(groups, -1, rank), x.reshape(groups, -1, d_in), 1.0)
        grad_x = None
        if ctx.needs_input_grad[0]:
            if weight is None:
                grad_x = torch.bmm(grad_hidden, a)
            else:
                grad_x = torch.matmul(grad_y, weight)
                grad_x.baddbmm_(grad_hidden, a)
            grad_x = grad_x.view(x.shape)
        return (grad_x, *(None,) * 7)


def _add_outer(into: Tensor, left: Tensor, right: Tensor, factor: float) -> None:
    """Add factor · leftᵀ right of each group to ``into``, in the precision of ``into``."""
    if into.dtype == left.dtype:
        into.baddbmm_(left.mT, right, alpha=factor)
    else:
        into.add_(torch.bmm(left.mT, right), alpha=factor)
