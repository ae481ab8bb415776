"""The tagger's network: a few dilated convolutions over tokens, in whole numbers.

Weights are whole numbers from -127 to 127 and values between layers from 0 to 255. Every sum of
their products stays below 2^24, where float32 counts exactly. So the order in which a
processor adds does not matter: a text's scores are the same in any batch and on any machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from sottovoce.data.pii.tagger_input import FIXED_ROWS, FLAGS, SLOTS, Lexicon, Tokens
from sottovoce.errors import ModelError

FORMAT: Final = "sottovoce tagger 1"
HIGHEST: Final = 255
"""The largest value between two layers."""
EXACT: Final = 1 << 24
"""Below it float32 holds every whole number."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Layer:
    """One convolution over three tokens.

    Args:
        weights: whole numbers, [3, width, width]: for the token before, the token, the one behind.
        scale: what a sum is multiplied by.
        bias: what is added then, [width].
        reach: how many tokens away the two neighbours are.
    """

    weights: Floats
    scale: np.float32
    bias: Floats
    reach: int


@dataclass(frozen=True, eq=False)
class Network:
    """Weights of the tagger.

    Args:
        table: embeddings, [rows, width].
        flags: what each flag adds, [flags, width].
        scale: what a sum of embeddings is multiplied by.
        bias: what is added then, [width].
        layers: convolutions, the first one first.
        head: weights of the tags, [width, tags].
        head_bias: what is added to the score of each tag.
        unit: a score times this is a log-odds.
        lexicon: known words.
    """

    table: NDArray[np.int8]
    flags: Floats
    scale: np.float32
    bias: Floats
    layers: tuple[Layer, ...]
    head: Floats
    head_bias: NDArray[np.int32]
    unit: float
    lexicon: Lexicon

    def __post_init__(self) -> None:
        """Refuse weights that would not be added up exactly, or do not fit each other."""
        width = self.table.shape[1]
        shapes = [(self.flags, (len(FLAGS), width)), (self.bias, (width,))]
        shapes += [(layer.weights, (3, width, width)) for layer in self.layers]
        shapes += [(self.head, (width, len(self.head_bias)))]
        wrong = [
            f"{part.shape} instead of {shape}" for part, shape in shapes if part.shape != shape
        ]
        if wrong or len(self.table) < FIXED_ROWS + int(self.lexicon.rows.max()) + 1:
            raise ModelError(f"the tagger's weights do not fit each other: {', '.join(wrong)}")
        if 3 * width * 127 * HIGHEST >= EXACT:
            raise ModelError(
                f"the tagger is {width} values wide, too wide to be added up exactly",
                allowed=f"at most {EXACT // (3 * 127 * HIGHEST)}",
            )

    @property
    def reach(self) -> int:
        """How many tokens to each side a score depends on."""
        return sum(layer.reach for layer in self.layers)

    def scores(self, tokens: Tokens) -> NDArray[np.int32]:
        """Score each tag for each token.

        Guarantees: a token's scores depend on the tokens of its own text within ``reach`` alone,
        bit for bit.

        Args:
            tokens: what was read.

        Returns:
            Whole numbers, [tokens, tags].
        """
        if len(tokens.text) == 0:
            return np.zeros((0, len(self.head_bias)), np.int32)
        gap = max((layer.reach for layer in self.layers), default=0)
        place = np.arange(len(tokens.text)) + (tokens.text + 1) * gap
        real = np.zeros((int(place[-1]) + 1 + gap, 1), np.float32)
        real[place] = 1
        values = np.zeros((len(real), self.table.shape[1]), np.float32)
        values[place] = self._embedded(tokens)
        for layer in self.layers:
            values = _convolved(values, layer)
            # Nothing stands between two texts, before every layer alike.
            values *= real
        total = values[place] @ self.head
        scores: NDArray[np.int32] = total.astype(np.int32) + self.head_bias
        return scores

    def _embedded(self, tokens: Tokens) -> Floats:
        total = self.table[tokens.rows[:, 0]].astype(np.int16)
        for slot in range(1, SLOTS):
            total += self.table[tokens.rows[:, slot]]
        bits = tokens.flags[:, None] >> np.arange(len(FLAGS), dtype=np.uint32)
        added = total + (bits & np.uint32(1)).astype(np.float32) @ self.flags
        return _rounded(added * self.scale + self.bias)


def _convolved(values: Floats, layer: Layer) -> Floats:
    """Add to each value what it and two neighbours make of it."""
    total = values @ layer.weights[1]
    total[layer.reach :] += values[: -layer.reach] @ layer.weights[0]
    total[: -layer.reach] += values[layer.reach :] @ layer.weights[2]
    total *= layer.scale
    total += layer.bias
    total += values
    return _rounded(total)


def _rounded(values: Floats) -> Floats:
    np.rint(values, out=values)
    np.clip(values, 0, HIGHEST, out=values)
    return values


def load_network(path: Path) -> Network:
    """Read the weights from a file.

    Args:
        path: a safetensors file that ``scripts/train_tagger.py`` wrote.

    Returns:
        The network.

    Raises:
        ModelError: the file is missing, is no such file or holds what does not fit.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            head = json.loads((file.metadata() or {}).get("tagger", "{}"))
            parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(
            f"the tagger cannot be read from {path}: {error}",
            remedy="Write it anew with scripts/train_tagger.py, or install the package again",
        ) from error
    if head.get("format") != FORMAT or head.get("flags") != list(FLAGS):
        raise ModelError(
            f"{path} is in the format {head.get('format')!r}, or made for other flags",
            allowed=FORMAT,
            remedy="Write it anew with scripts/train_tagger.py",
        )
    try:
        return _assembled(parts, head)
    except KeyError as error:
        raise ModelError(f"{path} lacks {error}") from error


def _assembled(parts: dict[str, NDArray[Any]], head: dict[str, Any]) -> Network:
    layers = tuple(
        Layer(
            weights=parts[f"layer{index}.weights"].astype(np.float32),
            scale=np.float32(parts[f"layer{index}.scale"][0]),
            bias=parts[f"layer{index}.bias"].astype(np.float32),
            reach=int(reach),
        )
        for index, reach in enumerate(head["reaches"])
    )
    lexicon = Lexicon(
        parts["lexicon.keys"], parts["lexicon.rows"], parts["lexicon.flags"].astype(np.uint32)
    )
    return Network(
        table=parts["embedding.table"].astype(np.int8),
        flags=parts["embedding.flags"].astype(np.float32),
        scale=np.float32(parts["embedding.scale"][0]),
        bias=parts["embedding.bias"].astype(np.float32),
        layers=layers,
        head=parts["head.weights"].astype(np.float32),
        head_bias=parts["head.bias"].astype(np.int32),
        unit=float(head["unit"]),
        lexicon=lexicon,
    )
