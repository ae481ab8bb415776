"""Answers: prompts in, generated text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from sottovoce.model.base import Base
from sottovoce.model.decode import Together
from sottovoce.rng import stream


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen.

    Args:
        max_new_tokens: the longest answer.
        temperature: 0 takes the likeliest token.
        top_p: the smallest set of tokens with this much probability is drawn from.
        seed: for the draws.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 0.95
    seed: int = 0


class Draws:
    """The tokens of one answer, drawn in turn.

    Args:
        sampling: how.
        name: of the answer, which has draws of its own.
    """

    def __init__(self, sampling: Sampling, *name: str | int) -> None:
        self._sampling = sampling
        self._source = stream(sampling.seed, "answer", *name)

    def token(self, logits: Tensor) -> int:
        """Choose the next token.

        Args:
            logits: ``[V]``; minus infinity forbids a token.

        Guarantees:
            - with temperature 0 the likeliest token; else one from the smallest set that holds
              ``top_p`` of the probability, by its share of it.
        """
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        likely = (logits.double() / self._sampling.temperature).softmax(0)
        if self._sampling.top_p >= 1:
            # All are in, so their order does not matter, and sorting is most of the work.
            reached = likely.cumsum(0)
            drawn = self._source.random() * float(reached[-1])
            return int(torch.searchsorted(reached, drawn, right=True))
        likely, order = likely.sort(descending=True)
        reached = likely.cumsum(0)
        # The token that carries the sum over the line is in; all of equal rank before it are, too.
        inside = int((reached - likely < self._sampling.top_p).sum())
        drawn = self._source.random() * float(reached[inside - 1])
        return int(order[int(torch.searchsorted(reached[:inside], drawn, right=True))])


@torch.no_grad()
def generate(
    base: Base, prompts: Sequence[Sequence[int]], sampling: Sampling, *, stop_ids: Sequence[int]
) -> list[list[int]]:
    """Continue every prompt until a stop token or the limit, all together.

    Args:
        base: the model; adapters apply where the caller is inside ``applied``.
        prompts: token ids.
        sampling: how tokens are chosen.
        stop_ids: an answer ends before the first of these.

    Guarantees: greedy answers do not depend on who shares the batch, to rounding.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    if not prompts or sampling.max_new_tokens < 1:
        return answers
    draws = [Draws(sampling, place) for place in range(len(prompts))]
    with evaluating(base):
        # An adapter is bound by the caller, if there is one; rows of no weights say so.
        batch = Together(base, lambda _: nullcontext())
        logits = batch.join(prompts, [torch.empty(0)] * len(prompts))
        order = list(range(len(prompts)))
        while order:
            going: list[int] = []
            for row, place in enumerate(order):
                token = draws[place].token(logits[row])
                if token in stop_ids:
                    continue
                answers[place].append(token)
                if len(answers[place]) < sampling.max_new_tokens:
                    going.append(row)
            if len(going) < len(order):
                batch.keep(going)
                order = [order[row] for row in going]
            if order:
                logits = batch.step([answers[place][-1] for place in order])
    return answers


@contextmanager
def evaluating(base: Base) -> Iterator[None]:
    """A context in which the model keeps what it has read, as it does not while it is trained."""
    training = base.model.training
    base.model.eval()
    try:
        yield
    finally:
        base.model.train(training)
