"""The models that a server has: one base in memory, and an adapter for each name.

``"run"`` is the federated model of a run folder, ``"run:client"`` a client's own, ``"run:base"`` the
base model as it was before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.errors import ConfigError, VerificationError
from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import LoraSettings, ModelSettings, load_base, model_folder
from sottovoce.model.tokenizer import Tokenizer, load_tokenizer
from sottovoce.run.stored import Stored, read_run
from sottovoce.update import Layout, Tensors, flatten

BASE: Final = "base"
"""What stands behind a run's name for the model that it began with."""

_HELD: Final = 64
"""Personal adapters that are kept in memory; others are read again when they are asked for."""


@dataclass(frozen=True)
class Entry:
    """A model that can be asked for.

    Args:
        name: what requests call it.
        run: which of the runs it is of, by place.
        client: whose own it is; None where it is for all.
        base: whether it is the base model without an adapter.
    """

    name: str
    run: int
    client: str | None = None
    base: bool = False

    @property
    def personal(self) -> bool:
        """Whether it was made from one client's data alone."""
        return self.client is not None


class Shelf:
    """Runs that share one base model.

    Args:
        runs: what their folders hold.
        model: the base model with rows that any of their adapters fits into.
        tokenizer: of the base model.

    Guarantees:
        - whatever is handed out was checked against the ledger of its run;
        - memory does not grow with the number of clients.
    """

    def __init__(self, runs: Sequence[Stored], model: LoraModel, tokenizer: Tokenizer) -> None:
        self._runs, self.model, self.tokenizer = runs, model, tokenizer
        self.entries = _entries(runs)
        self._lock = Lock()
        self._shared = {
            entry.name: self._row(entry) for entry in self.entries.values() if not entry.personal
        }
        self._own: OrderedDict[str, Tensor] = OrderedDict()

    @cached_property
    def positions(self) -> int | None:
        """Tokens that a prompt and its answer may have together; None where the model says none."""
        limit = getattr(self.model.base.model.config, "max_position_embeddings", None)
        return limit if isinstance(limit, int) else None

    def adapter(self, name: str) -> Tensor:
        """The weights of a name in ``entries``, ``[D]``; the same tensor as long as it is kept.

        Raises:
            VerificationError: a personal file was altered since.
        """
        if (row := self._shared.get(name)) is not None:
            return row
        with self._lock:
            row = self._own.pop(name, None)
            if row is None:
                row = self._row(self.entries[name])
            self._own[name] = row
            while len(self._own) > _HELD:
                self._own.popitem(last=False)
        return row

    def _row(self, entry: Entry) -> Tensor:
        layout, run = self.model.layout, self._runs[entry.run]
        if entry.base:
            row = np.zeros(layout.size, np.float32)
        else:
            tensors = run.tensors if entry.client is None else run.of_client(entry.client)
            own, shared = run.config.model.lora, self.model.settings
            row = laid_out(tensors, layout, factor=own.scaling / shared.scaling)
        return torch.from_numpy(row).to(self.model.device)


def read_runs(roots: Sequence[Path]) -> Sequence[Stored]:
    """Read run folders that can be served together, and check them.

    Args:
        roots: one or more; their folder names become the names of their models.

    Raises:
        ConfigError: there is no run in one of them, two have other base models, or a run has no
            adapter that could be exchanged for another.
        VerificationError: a ledger, or weights that one vouches for, were altered.
    """
    runs = [read_run(root) for root in roots]
    for run in runs:
        _require_adapter(run)
    for other in runs[1:]:
        _require_same_base(runs[0], other)
    return runs


def open_shelf(runs: Sequence[Stored]) -> Shelf:
    """Load the base model that runs share, and lay their adapters out.

    Raises:
        ConfigError: two models would have one name.
        ModelError: the base model cannot be loaded.
    """
    first = runs[0].config
    torch.set_num_threads(max(run.config.run.threads for run in runs))
    base = load_base(first.model)
    model = LoraModel(base, joint_settings([run.config.model.lora for run in runs]))
    tokenizer = load_tokenizer(
        model_folder(first.model.path), offline=not first.model.allow_download
    )
    return Shelf(runs, model, tokenizer)


def joint_settings(every: Sequence[LoraSettings]) -> LoraSettings:
    """The smallest adapter that all of these fit into; their own where they are alike."""
    if all(one == every[0] for one in every):
        return every[0]
    rank = max(one.rank for one in every)
    # With s = 1 the scaling of each run goes into its B.
    if any(one.targets == "all-linear" for one in every):
        return LoraSettings(rank=rank, alpha=rank, targets="all-linear")
    targets = sorted({name for one in every for name in one.targets})
    return LoraSettings(rank=rank, alpha=rank, targets=tuple(targets))


def laid_out(tensors: Tensors, layout: Layout, factor: float) -> NDArray[np.float32]:
    """Lay the factors of an adapter into a row with room for larger ones, ``[D]``.

    Args:
        tensors: A ``[r, d_in]`` and B ``[d_out, r]`` by name.
        layout: of the row, whose rank is as large or larger; what is over stays zero.
        factor: multiplies every B.

    Guarantees:
        - the product s·B·A of every layer is the adapter's own.

    Raises:
        VerificationError: a tensor that has no place in the row.
    """
    wide = {name: np.zeros(shape, np.float32) for name, shape in layout.shapes.items()}
    for name, value in tensors.items():
        shape = layout.shapes.get(name)
        fits = shape is not None and len(shape) == value.ndim
        if not fits or any(a > b for a, b in zip(value.shape, shape or (), strict=True)):
            raise VerificationError(f"the run's adapter has {name} of shape {value.shape}")
        part = tuple(slice(size) for size in value.shape)
        wide[name][part] = value * np.float32(factor if ".lora_B." in name else 1.0)
    return flatten(wide, layout)


def _entries(runs: Sequence[Stored]) -> Mapping[str, Entry]:
    found: dict[str, Entry] = {}
    for place, run in enumerate(runs):
        title = run.folder.root.resolve().name
        named = [Entry(title, place), Entry(f"{title}:{BASE}", place, base=True)]
        named += [Entry(f"{title}:{client}", place, client) for client in run.clients]
        for entry in named:
            if entry.name in found:
                raise ConfigError(
                    f"two models would be called {entry.name!r}",
                    remedy="Rename a run folder, or serve its run by itself",
                )
            found[entry.name] = entry
    return found


def _require_adapter(run: Stored) -> None:
    root, config = run.folder.root, run.config
    folded = [name for name in run.tensors if ".lora_" not in name]
    if config.model.train == "full":
        why = "trained all parameters, so there is no adapter to serve"
    elif folded:
        why = f"changed the base model ({config.federation.strategy.name} does)"
    else:
        return
    raise ConfigError(
        f"{root} {why}",
        allowed="runs whose result is one adapter",
        remedy=f"Write the whole model with sotto export {root} --to merged DIR, and serve that "
        "folder with another server",
    )


def _require_same_base(first: Stored, other: Stored) -> None:
    mine, theirs = first.start.get("model_sha256"), other.start.get("model_sha256")
    held, wanted = _held(first.config.model), _held(other.config.model)
    if mine != theirs or held != wanted:
        raise ConfigError(
            f"{first.folder.root} and {other.folder.root} have other base models "
            f"({', '.join(held)} and {', '.join(wanted)})",
            allowed="runs of one base model, which is loaded once",
            remedy="Serve each by itself, on a port of its own",
        )


def _held(settings: ModelSettings) -> Sequence[str]:
    return model_folder(settings.path), settings.dtype, settings.device
