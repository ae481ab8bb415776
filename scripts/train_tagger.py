"""Train the tagger of names, places and addresses: ``python scripts/train_tagger.py --dictionary FILE``.

All texts are made up from patterns and lists of names, anew for each step. The same seed gives the
same weights on the same machine with the same library versions.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tagger_corpus import Corpus, Marked
from tagger_dictionary import load_dictionary
from tagger_lexicon import build_lexicon
from tagger_names import load_names
from torch import Tensor, nn

from sottovoce.data.pii.span import NAMED
from sottovoce.data.pii.tagger import load_tagger
from sottovoce.data.pii.tagger_decode import TAGS
from sottovoce.data.pii.tagger_input import (
    BIT,
    FIXED_ROWS,
    FLAGS,
    HAN,
    LETTER,
    SMALL,
    UNKNOWN_HAN,
    UNKNOWN_WORD,
    Lexicon,
    Tokens,
    read,
)
from sottovoce.data.pii.tagger_network import FORMAT, HIGHEST
from sottovoce.rng import stream

SEED: Final = 20301121
REACHES: Final = (1, 2, 4, 8, 1)
STEPS_OF_ONE: Final = 32
"""A value of 1 is written as this between two layers."""
LARGEST: Final = 2.0
"""No embedding is larger, so that all share one scale."""
TARGET: Final = Path("src/sottovoce/data/pii/tagger.safetensors")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the tagger is trained.

    Args:
        steps: how many steps; the learning rate falls over them.
        seconds: time after which to end instead, if it is not 0.
        texts: texts in one step.
        width: values per token and layer.
        peak: the highest learning rate.
    """

    steps: int
    seconds: float = 0.0
    texts: int = 220
    width: int = 80
    peak: float = 4e-3


class Rounded(torch.autograd.Function):
    """Rounding that lets the gradient through."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        """Round."""
        return torch.round(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        """Pass on."""
        return gradient


def rounded(values: Tensor) -> Tensor:
    """Whole numbers, with the gradient of the values."""
    result: Tensor = Rounded.apply(values)  # type: ignore[no-untyped-call]
    return result


def shrunk(weights: Tensor) -> Tensor:
    """Weights as they will be stored: whole numbers from -127 to 127 times one scale."""
    scale = weights.detach().abs().max() / 127
    return rounded(weights / scale) * scale


def between_layers(values: Tensor) -> Tensor:
    """Values as they travel from layer to layer."""
    return rounded(torch.clamp(values * STEPS_OF_ONE, 0, HIGHEST)) / STEPS_OF_ONE


class Net(nn.Module):
    """The network of ``tagger_network``, so that it can learn."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(rows, width) * 0.25)
        self.flags = nn.Parameter(torch.randn(len(FLAGS), width) * 0.25)
        self.bias = nn.Parameter(torch.full((width,), 0.5))
        size = (len(REACHES), 3, width, width)
        self.layers = nn.Parameter(torch.randn(size) * (0.6 / math.sqrt(3 * width)))
        self.layer_bias = nn.Parameter(torch.zeros(len(REACHES), width))
        self.head = nn.Parameter(torch.randn(width, len(TAGS)) * (1 / math.sqrt(width)))
        self.head_bias = nn.Parameter(torch.zeros(len(TAGS)))

    def forward(self, rows: Tensor, flags: Tensor, place: Tensor, length: int) -> Tensor:
        """Score the tags of each token."""
        scale = LARGEST / 127
        limited = nn.functional.embedding_bag(rows, self.table, mode="sum")
        limited = limited + flags @ (rounded(self.flags.clamp(-LARGEST, LARGEST) / scale) * scale)
        real = torch.zeros(length, 1)
        real[place] = 1
        values = torch.zeros(length, self.table.shape[1])
        embedded = nn.functional.dropout(between_layers(limited + self.bias), 0.1, self.training)
        values = values.index_copy(0, place, embedded)
        for weights, bias, reach in zip(self.layers, self.layer_bias, REACHES, strict=True):
            stored = shrunk(weights)
            total = values @ stored[1] + bias + values
            before = nn.functional.pad(values[:-reach] @ stored[0], (0, 0, reach, 0))
            behind = nn.functional.pad(values[reach:] @ stored[2], (0, 0, 0, reach))
            values = between_layers(total + before + behind) * real
        scores: Tensor = values[place] @ shrunk(self.head) + self.head_bias
        return scores

    @torch.no_grad()
    def settle(self) -> None:
        """Bring embeddings to what can be stored; done after each step, gradients stay as they are."""
        self.table.clamp_(-LARGEST, LARGEST)


def labels(texts: list[Marked], tokens: Tokens) -> NDArray[np.int64]:
    """The right tag of each token."""
    tags = np.zeros(len(tokens.text), np.int64)
    first = np.searchsorted(tokens.text, np.arange(len(texts) + 1))
    for number, marked in enumerate(texts):
        low, high = first[number], first[number + 1]
        starts, ends = tokens.start[low:high], tokens.end[low:high]
        for start, end, kind in marked.spans:
            begin = low + int(np.searchsorted(ends, start, side="right"))
            behind = low + int(np.searchsorted(starts, end, side="left"))
            if behind - begin == 1:
                tags[begin] = TAGS.index(f"S-{NAMED[kind]}")
            elif behind > begin:
                tags[begin:behind] = TAGS.index(f"I-{NAMED[kind]}")
                tags[begin] = TAGS.index(f"B-{NAMED[kind]}")
                tags[behind - 1] = TAGS.index(f"E-{NAMED[kind]}")
    return tags


def forget(tokens: Tokens, tags: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Hide some of what is known of words, so that the tagger learns to do without.

    Most names of the world are in no list, and many words of a new text were in no pattern.
    """
    count, named = len(tags), tags > 0
    letters, han = tokens.kinds == LETTER, tokens.kinds == HAN
    lost = rng.random(count) < np.where(named, 0.35, 0.2)
    tokens.rows[lost & letters, 0] = UNKNOWN_WORD
    mix(tokens, letters & ~named & (rng.random(count) < 0.12), 4, rng)
    mix(tokens, han & ~named & (rng.random(count) < 0.08), 2, rng)
    small = letters & ~named & (tokens.rows[:, 4] < SMALL + 3)
    tokens.rows[small & (rng.random(count) < 0.05), 4] += 3
    strange = lost & ~named & (rng.random(count) < 0.45)
    tokens.flags[strange] &= np.uint32(~BIT["common word"] & 0xFFFFFFFF)
    tokens.rows[(rng.random(count) < 0.06) & han, 0] = UNKNOWN_HAN
    tokens.rows[(rng.random(count) < 0.2) & han, 1] = 0
    # Two to five characters in a row of which nothing is known but each for itself.
    begins = rng.random(count) < 0.05
    unseen = begins.copy()
    for further in range(1, 5):
        unseen[further:] |= begins[:-further] & (rng.random(count - further) < 0.8)
    tokens.rows[unseen & han, 1] = 0
    words = BIT["word begins"] | BIT["word goes on"]
    tokens.flags[unseen & han] &= np.uint32(~words & 0xFFFFFFFF)
    for slot in (1, 2, 3):
        tokens.rows[(rng.random(count) < 0.06) & letters, slot] = 0
    for name, bit in BIT.items():
        share = 0.06 if name in ("common word", "title", "street word", "accent") else 0.18
        tokens.flags[rng.random(count) < share] &= np.uint32(~bit & 0xFFFFFFFF)
    tokens.flags[rng.random(count) < 0.03] = 0


def mix(tokens: Tokens, chosen: NDArray[np.bool_], slots: int, rng: np.random.Generator) -> None:
    """Let some tokens change places, so that no pattern's words are learnt by heart."""
    here = np.flatnonzero(chosen)
    there = rng.permutation(here)
    tokens.rows[here, :slots] = tokens.rows[there, :slots]
    tokens.flags[here] = tokens.flags[there]


def tensors(tokens: Tokens) -> tuple[Tensor, Tensor, Tensor, int]:
    """Tokens as the network reads them."""
    gap = max(REACHES)
    place = np.arange(len(tokens.text)) + (tokens.text + 1) * gap
    bits = (tokens.flags[:, None] >> np.arange(len(FLAGS), dtype=np.uint32)) & np.uint32(1)
    return (
        torch.from_numpy(tokens.rows),
        torch.from_numpy(bits.astype(np.float32)),
        torch.from_numpy(place),
        int(place[-1]) + 1 + gap,
    )


def train(corpus: Corpus, lexicon: Lexicon, recipe: Recipe, seed: int) -> Net:
    """Train a network from nothing."""
    torch.manual_seed(seed)
    rng = stream(seed, "forget")
    net = Net(FIXED_ROWS + int(lexicon.rows.max()) + 1, recipe.width)
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=recipe.peak, betas=(0.9, 0.98), weight_decay=0.01
    )
    begin, step, running = time.monotonic(), 0, 0.0
    while True:
        passed = time.monotonic() - begin
        spent = passed / recipe.seconds if recipe.seconds else step / recipe.steps
        if spent >= 1:
            return net
        warm = min(1.0, (step + 1) / 60)
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * spent)) / 2)
        texts = [corpus.draw() for _ in range(recipe.texts)]
        tokens = read([marked.text for marked in texts], lexicon)
        tags = labels(texts, tokens)
        forget(tokens, tags, rng)
        loss = nn.functional.cross_entropy(net(*tensors(tokens)), torch.from_numpy(tags))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        net.settle()
        running = (
            float(loss.detach()) if step == 0 else 0.98 * running + 0.02 * float(loss.detach())
        )
        step += 1
        if step % 100 == 0:
            print(
                f"{step} steps, {time.monotonic() - begin:.0f} s, loss {running:.4f}",
                file=sys.stderr,
            )


@torch.no_grad()
def write(net: Net, lexicon: Lexicon, path: Path) -> None:
    """Write the weights as whole numbers."""
    scale = LARGEST / 127
    parts: dict[str, NDArray[Any]] = {
        "embedding.table": np.round(net.table.numpy() / scale).astype(np.int8),
        "embedding.flags": np.round(net.flags.clamp(-LARGEST, LARGEST).numpy() / scale).astype(
            np.int8
        ),
        "embedding.scale": np.array([scale * STEPS_OF_ONE], np.float32),
        "embedding.bias": net.bias.numpy() * STEPS_OF_ONE,
        "lexicon.keys": lexicon.keys,
        "lexicon.rows": lexicon.rows,
        "lexicon.flags": lexicon.flags.astype(np.uint16),
    }
    for index, (weights, bias) in enumerate(zip(net.layers, net.layer_bias, strict=True)):
        step = weights.abs().max() / 127
        parts[f"layer{index}.weights"] = torch.round(weights / step).numpy().astype(np.int8)
        parts[f"layer{index}.scale"] = np.array([float(step)], np.float32)
        parts[f"layer{index}.bias"] = bias.numpy() * STEPS_OF_ONE
    step = net.head.abs().max() / 127
    unit = float(step) / STEPS_OF_ONE
    parts["head.weights"] = torch.round(net.head / step).numpy().astype(np.int8)
    parts["head.bias"] = np.round(net.head_bias.numpy() / unit).astype(np.int32)
    head = {"format": FORMAT, "flags": list(FLAGS), "reaches": list(REACHES), "unit": unit}
    save_file(
        {name: np.ascontiguousarray(part) for name, part in parts.items()},
        path,
        {"tagger": json.dumps(head)},
    )


def judge(path: Path, texts: list[Marked]) -> dict[str, dict[str, float]]:
    """Precision and recall of whole spans, where half of the characters in common suffice."""
    counts: Counter[tuple[str, str]] = Counter()
    for marked, found in zip(texts, load_tagger(path).batch([m.text for m in texts]), strict=True):
        language = "zh" if any("\u4e00" <= letter <= "\u9fff" for letter in marked.text) else "en"
        truth = [(start, end, NAMED[kind]) for start, end, kind in marked.spans]
        guess = [(span.start, span.end, span.kind) for span in found]
        for one, other, name in ((truth, guess, "recall"), (guess, truth, "precision")):
            for start, end, kind in one:
                hit = any(
                    kind == k and 2 * (min(end, e) - max(start, s)) >= max(end, e) - min(start, s)
                    for s, e, k in other
                )
                counts[f"{language} {kind}", f"{name} of"] += 1
                counts[f"{language} {kind}", name] += hit
    return {
        kind: {
            name: round(counts[kind, name] / max(1, counts[kind, f"{name} of"]), 4)
            for name in ("recall", "precision")
        }
        for kind in sorted({kind for kind, _ in counts})
    }


def main() -> None:
    """Train, write, judge on patterns that were held out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--steps", type=int, default=2300)
    parser.add_argument("--seconds", type=float, default=0.0, help="end by the clock instead")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dictionary", type=Path, required=True, help="see tagger_dictionary.py")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    names = load_names(load_dictionary(chosen.dictionary))
    corpus = Corpus(names, stream(chosen.seed, "corpus"), heldout=False)
    lexicon = build_lexicon(names, corpus)
    print(f"{len(lexicon.keys)} keys, {int(lexicon.rows.max())} rows", file=sys.stderr)
    recipe = Recipe(seconds=chosen.seconds, steps=chosen.steps)
    net = train(corpus, lexicon, recipe, chosen.seed).eval()
    write(net, lexicon, chosen.out)
    heldout = Corpus(names, stream(chosen.seed, "heldout"), heldout=True)
    scores = judge(chosen.out, [heldout.draw() for _ in range(4000)])
    print(json.dumps({"bytes": chosen.out.stat().st_size, "heldout": scores}))


if __name__ == "__main__":
    main()
