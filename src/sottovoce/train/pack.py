"""Clients that train together: their weights, gradients and optimizer, one row each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.train.batches import Example, collate, cut_passes, supervised_tokens
from sottovoce.train.client import Client, Rule
from sottovoce.train.recipe import TrainSettings
from sottovoce.train.trainable import Trainable
from sottovoce.train.units import Guard, Units, collate_units, cut_unit_passes


class Pack:
    """Clients that train together: their weights, gradients and optimizer, one row each."""

    def __init__(
        self,
        model: Trainable,
        clients: Sequence[Client],
        received: Sequence[NDArray[np.float32]],
        settings: TrainSettings,
        rule: Rule,
        *,
        guarded: bool = False,
    ) -> None:
        self.model = model
        self.settings = settings
        self._guarded = guarded
        self._adjust = rule.adjust
        self.clients = clients
        self._trained = None if rule.trained is None else [rule.trained[c.name] for c in clients]
        anchors = received if rule.anchors is None else [rule.anchors[c.name] for c in clients]
        # Callers hand the same vector to many clients: it is not copied once for each of them.
        self._vectors = received
        self._anchor_vectors = anchors
        self._anchors: Tensor | None = None
        self._masks: Tensor | None = None
        self.weights = torch.from_numpy(np.stack(received)).to(model.device)
        self.gradients = torch.zeros_like(self.weights)
        self.rows = [torch.nn.Parameter(row) for row in self.weights]
        groups = [{"params": [row], "lr": 0.0} for row in self.rows]
        self.optimizer: torch.optim.Optimizer
        if settings.optimizer == "adamw":
            self.optimizer = torch.optim.AdamW(
                groups,
                betas=(settings.beta1, settings.beta2),
                weight_decay=settings.weight_decay,
                fused=True,
            )
        else:
            self.optimizer = torch.optim.SGD(
                groups, momentum=settings.momentum, weight_decay=settings.weight_decay
            )
        for row, client in zip(self.rows, clients, strict=True):
            if settings.optimizer_state == "keep" and client.state.moments:
                # The fused AdamW wants the step count beside the weights, as torch itself loads it.
                self.optimizer.state[row] = {
                    name: torch.tensor(value, device=row.device)
                    for name, value in client.state.moments.items()
                }

    def accumulate(
        self, batches: Sequence[list[Example]], rates: Sequence[float]
    ) -> NDArray[np.float64]:
        """Fill the gradients of the first ``len(batches)`` clients; return their nll sums."""
        active = len(batches)
        self._set_rates(rates)
        sums = torch.zeros(active, dtype=torch.float64)
        weights = [1.0 / max(1, supervised_tokens(batch)) for batch in batches]
        self.gradients[:active].zero_()
        for part in cut_passes(batches, self.settings.tokens_per_pass):
            batch = collate(part.groups, weights[part.first : part.last])
            rows = slice(part.first, part.last)
            nll = self.model.gradients(
                self.weights[rows], batch.to(self.model.device), self.gradients[rows, None]
            )
            sums[rows] += nll.sum((1, 2)).cpu().double()
        return sums.numpy()

    def accumulate_units(
        self, samples: Sequence[Units], rates: Sequence[float], guards: Sequence[Guard]
    ) -> NDArray[np.float64]:
        """Fill the gradients of the first ``len(samples)`` clients with what their guards release.

        Returns:
            The summed nll of each client's units, ``[C]``. Private.
        """
        active = len(samples)
        self._set_rates(rates)
        sums = torch.zeros(active, dtype=torch.float64)
        columns = [self._columns(place) for place in range(active)]
        size = max(1, self.model.layout.size)
        rows = max(1, self.settings.memory_budget_mib * 2**20 // (8 * size))
        budget = self.settings.tokens_per_pass
        if not self.model.shares_a_pass:
            rows = budget = 1
        for part in cut_unit_passes(samples, budget, rows):
            batch = collate_units(part.units)
            clients, units = batch.scale.shape[:2]
            out = torch.zeros(clients, units, size, device=self.model.device)
            weights = self.weights[part.first : part.last]
            nll = self.model.gradients(weights, batch.to(self.model.device), out)
            each = nll.double().cpu()
            for place, group in enumerate(part.units):
                client = part.first + place
                if not group:
                    continue
                own = out[place, : len(group)]
                chosen = columns[client]
                losses = (each[place] * batch.scale[place])[: len(group)].sum(1)
                guards[client].add(own if chosen is None else own[:, chosen], losses.numpy())
                sums[client] += each[place, : len(group)].sum()
        for client in range(active):
            released = guards[client].release().to(self.model.device)
            chosen = columns[client]
            if chosen is None:
                self.gradients[client] = released
            else:
                self.gradients[client].zero_()
                self.gradients[client, chosen] = released
        return sums.numpy()

    def _columns(self, place: int) -> Tensor | None:
        """Which entries a client trains; None is all of them."""
        if self._trained is None:
            return None
        return torch.from_numpy(np.flatnonzero(self._trained[place])).to(self.model.device)

    def _set_rates(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=False):
            group["lr"] = rate

    def apply(self, active: int) -> None:
        """Bound, adjust and apply the gradients of the first ``active`` clients, each by itself."""
        gradients = self.gradients[:active]
        frozen = self._frozen(active)
        if frozen is not None:
            gradients.masked_fill_(frozen, 0.0)
        bound = self.settings.max_gradient_norm
        if bound != "off" and not self._guarded:
            for row in gradients:
                norm = torch.linalg.vector_norm(row)
                row.mul_(torch.clamp(bound / (norm + 1e-6), max=1.0))
        if self._adjust is not None:
            gradients.copy_(self._adjust(gradients, self.weights[:active], self._anchor(active)))
        for place, row in enumerate(self.rows):
            row.grad = self.gradients[place] if place < active else None
        before = None if frozen is None else self.weights[:active].clone()
        self.optimizer.step()
        if frozen is not None and before is not None:
            self.weights[:active] = torch.where(frozen, before, self.weights[:active])

    def drop(self, place: int) -> None:
        """Leave a client that diverged where it is: its row no longer moves or matters."""
        self.weights[place].zero_()
        self.gradients[place].zero_()

    def _anchor(self, active: int) -> Tensor:
        if self._anchors is None:
            stacked = torch.from_numpy(np.stack(self._anchor_vectors))
            self._anchors = stacked.to(self.weights.device)
        return self._anchors[:active]

    def _frozen(self, active: int) -> Tensor | None:
        if self._trained is None:
            return None
        if self._masks is None:
            stacked = torch.from_numpy(np.stack(self._trained))
            self._masks = stacked.to(self.weights.device).logical_not_()
        return self._masks[:active]

    def changes(self) -> NDArray[np.float32]:
        """What training changed, one row per client; the weights are given up for it."""
        rows: NDArray[np.float32] = self.weights.cpu().numpy()
        for row, vector in zip(rows, self._vectors, strict=True):
            row -= vector
        return rows

    def moments(self, place: int) -> dict[str, NDArray[np.float32]] | None:
        """The optimizer state of one client, to be kept for its next round."""
        if self.settings.optimizer_state == "reset":
            return None
        state = self.optimizer.state.get(self.rows[place], {})
        after = {
            name: value.detach().cpu().numpy().copy()
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
        if self._trained is not None:
            before = self.clients[place].state.moments or {}
            for name, value in after.items():
                if value.ndim:
                    kept = before.get(name, np.zeros_like(value))
                    after[name] = np.where(self._trained[place], value, kept)
        return after
