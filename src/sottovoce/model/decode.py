"""Several sequences decoded together, one token of each at a step, each with an adapter of its own.

Sequences are aligned at their right ends, so that one step appends one column to the keys and values
of all of them; what lies left of a shorter one is masked. A sequence may join or leave at any step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from sottovoce.errors import ModelError
from sottovoce.model.base import Base

Apply = Callable[[Tensor], AbstractContextManager[Any]]
"""From rows of adapter weights ``[n, D]`` to a context in which row i of a batch has the i-th; a
single row is for all."""

_WORTH_WAKING: Final = 10**8
"""Products of a pass from which on several threads are faster than one. Below, a thread other than the
main one waits longer for its helpers in every layer than they save."""


class Together:
    """Sequences under way.

    Args:
        base: the model, in evaluation mode.
        apply: binds adapters to the rows of a batch.

    Guarantees:
        - the logits of a sequence are those that it has alone, to rounding, whoever joins or leaves;
        - memory is that of the longest sequence times their number, at most twice over.

    Raises:
        ModelError: from ``join``: a model that has other layers than attention.
    """

    def __init__(self, base: Base, apply: Apply) -> None:
        self._base, self._apply = base, apply
        self._layers: list[_Layer] = []
        self._adapters: list[Tensor] = []
        self._rows = torch.empty(0)
        self._lengths: list[int] = []
        self._size = sum(parameter.numel() for parameter in base.model.parameters())

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each sequence, in the order in which they joined."""
        return tuple(self._lengths)

    @torch.inference_mode()
    def join(self, prompts: Sequence[Sequence[int]], adapters: Sequence[Tensor]) -> Tensor:
        """Read prompts, which go on together with the others.

        Args:
            prompts: token ids, one or more in each.
            adapters: the weights of each, ``[D]``. Where all in the batch are the same tensor it is
                not copied.

        Returns:
            Logits of the token after each prompt, ``[n, V]`` in float32.
        """
        lengths = [len(prompt) for prompt in prompts]
        width = max(lengths)
        ids = torch.zeros((len(prompts), width), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
        layers = [_Layer() for _ in range(self._base.model.config.num_hidden_layers)]  # type: ignore[union-attr, arg-type]
        logits = self._pass(ids, lengths, layers, _rows(adapters))
        for mine, new in zip(self._layers, layers, strict=True) if self._layers else ():
            mine.join(new)
        self._layers = self._layers or layers
        self._lengths += lengths
        self._adapters += adapters
        self._rows = _rows(self._adapters)
        return logits

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> Tensor:
        """Append one token to every sequence.

        Returns:
            Logits of the token after it, ``[n, V]`` in float32.
        """
        self._lengths = [length + 1 for length in self._lengths]
        return self._pass(torch.tensor(tokens)[:, None], self._lengths, self._layers, self._rows)

    def keep(self, rows: Sequence[int]) -> None:
        """Let all sequences leave but these, whose order stays as it is given."""
        self._lengths = [self._lengths[row] for row in rows]
        self._adapters = [self._adapters[row] for row in rows]
        self._rows = _rows(self._adapters)
        if not rows:
            self._layers = []
            return
        for layer in self._layers:
            layer.keep(list(rows), max(self._lengths))

    def _pass(
        self, ids: Tensor, lengths: Sequence[int], layers: list[_Layer], rows: Tensor
    ) -> Tensor:
        device, count = self._base.device, ids.shape[1]
        held = layers[0].width + count
        behind = torch.tensor([held - length for length in lengths])[:, None]
        places = torch.arange(held)[None] - behind
        with self._apply(rows), _threads_for(self._size * ids.numel()):
            states: Tensor = self._base.backbone(
                input_ids=ids.to(device),
                attention_mask=(places >= 0).long().to(device),
                position_ids=places[:, -count:].clamp(min=0).to(device),
                past_key_values=Cache(layers=layers),
                use_cache=True,
            ).last_hidden_state
            if any(layer.width != held for layer in layers):
                raise ModelError(
                    f"{self._base.path} keeps something else of what it has read than keys and values",
                    allowed="models that attend in every layer",
                )
            return self._base.head.logits(states[:, -1])


@contextmanager
def _threads_for(products: int) -> Iterator[None]:
    """As many threads as a pass of so many products is worth: waking the others takes a while."""
    before = torch.get_num_threads()
    if before == 1 or products >= _WORTH_WAKING:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _rows(adapters: Sequence[Tensor]) -> Tensor:
    """One row for each sequence, or a single one where all have the same."""
    if all(adapter is adapters[0] for adapter in adapters):
        return adapters[0][None] if adapters else torch.empty(0)
    return torch.stack(list(adapters))


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer, ``[n, heads, width, d]``, with room on the right.

    What transformers asks of a layer of its cache.
    """

    is_sliding = False

    def __init__(self) -> None:
        super().__init__()
        self.width = 0
        self._held: tuple[Tensor, Tensor] | None = None

    @property
    def _filled(self) -> tuple[Tensor, Tensor]:
        if self._held is None:
            raise RuntimeError("a layer that has read nothing")
        keys, values = self._held
        return keys[:, :, : self.width], values[:, :, : self.width]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is laid out before the first columns come."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append columns; everything so far, without a copy."""
        new = (key_states, value_states)
        begin, end = self.width, self.width + key_states.shape[2]
        if self._held is None:
            self._held = new
        elif end > self._held[0].shape[2]:
            self._held = _moved(self._filled, room=2 * end, shift=0)
        self.width = end
        for held, part in zip(self._held, new, strict=True) if begin else ():
            held[:, :, begin:end] = part
        return self._filled

    def join(self, other: _Layer) -> None:
        """Put the rows of another layer below these, both aligned at the right."""
        width = max(self.width, other.width)
        mine = _moved(self._filled, room=width, shift=width - self.width)
        theirs = _moved(other._filled, room=width, shift=width - other.width)
        keys, values = (torch.cat(pair) for pair in zip(mine, theirs, strict=True))
        self._held, self.width = (keys, values), width

    def keep(self, rows: Sequence[int], width: int) -> None:
        """Keep some rows, and of all of them the last columns."""
        begin = self.width - width
        keys, values = (part[list(rows), :, begin:] for part in self._filled)
        self._held, self.width = (keys, values), width

    def get_seq_length(self) -> int:
        """How many columns there are."""
        return self.width

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that a query of so many will see, and where they begin."""
        return self.width + query_length, 0

    def get_max_length(self) -> int:
        """No limit."""
        return -1


def _moved(parts: tuple[Tensor, Tensor], *, room: int, shift: int) -> tuple[Tensor, Tensor]:
    """Copies with room for so many columns, begun at ``shift``; what is free is zero."""
    found = []
    for part in parts:
        count, heads, width, size = part.shape
        held = part.new_zeros((count, heads, room, size))
        held[:, :, shift : shift + width] = part
        found.append(held)
    return found[0], found[1]
