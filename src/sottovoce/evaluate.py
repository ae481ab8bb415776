"""From scores of single conversations to figures per client and overall, with intervals.

Every figure is a ratio of sums (loss: nats over tokens; exact match: matches over answers). Its
interval is the 95 % percentile bootstrap over whole units: the owner of a conversation where one is
known, else the conversation, because what one person writes is not independent.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.conversation import ToolCall
from sottovoce.errors import ConfigError, SottovoceError, VerificationError
from sottovoce.rng import stream
from sottovoce.tasks.scoring import exact_match, rouge_l, rouge_tokens, tool_call_score

Floats = NDArray[np.float64]

_DRAWS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % bootstrap interval.

    Args:
        value: the figure on all data.
        low: lower end; None where some client has a single unit, which cannot show any spread.
        high: upper end; None together with ``low``.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Scores:
    """One figure per client and over all of them; None where there is nothing to divide by.

    Args:
        clients: client to estimate.
        average: mean over the clients that have an estimate, each counting the same.
        pooled: the ratio of the sums over all clients.
    """

    clients: Mapping[str, Estimate | None]
    average: Estimate | None
    pooled: Estimate | None


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What a model did on one client's held-out examples. Private.

    Args:
        nll: summed negative log-likelihood of each example's targets in nats, ``[n]``.
        correct: how many targets were the most likely token, ``[n]``.
        count: how many targets there are, ``[n]``.
        units: whose each example is (owner, else conversation), ``[n]``; None stands alone.

    Raises:
        VerificationError: the lengths differ, or not 0 <= correct <= count.
        SottovoceError: a likelihood is not finite.
    """

    nll: NDArray[np.floating]
    correct: NDArray[np.integer]
    count: NDArray[np.integer]
    units: Sequence[str | None]

    def __post_init__(self) -> None:
        lengths = [len(self.nll), len(self.correct), len(self.count), len(self.units)]
        if len(set(lengths)) > 1:
            raise VerificationError(
                f"nll, correct, count and units have lengths {lengths}", allowed="equal lengths"
            )
        if not np.all((self.correct >= 0) & (self.correct <= self.count)):
            raise VerificationError(
                "an example has more right targets than targets", allowed="0 <= correct <= count"
            )
        if not np.all(np.isfinite(self.nll)):
            raise SottovoceError(
                "the loss of an evaluated example is not finite",
                remedy="The model has diverged: lower train.learning_rate",
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer beside its reference. Private.

    Args:
        content: the generated text.
        reference: the right text.
        tool_calls: the generated calls.
        reference_calls: the right calls.
        unit: whose it is (owner, else conversation); None stands alone.
    """

    content: str
    reference: str
    tool_calls: tuple[ToolCall, ...] = ()
    reference_calls: tuple[ToolCall, ...] = ()
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class LossReport:
    """How well a model predicts held-out answers token by token.

    Args:
        loss: mean negative log-likelihood of a target token, in nats.
        perplexity: exp of the loss; that of the average is exp of the average loss.
        token_accuracy: share of targets that were the most likely token.
        examples: examples evaluated.
        tokens: targets among their tokens.
    """

    loss: Scores
    perplexity: Scores
    token_accuracy: Scores
    examples: int
    tokens: int


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """How near generated answers come to their references.

    Args:
        rouge_l: mean ROUGE-L over the answers whose reference has words.
        tool_call_accuracy: share of the answers with reference calls that make exactly those.
        exact_match: share of the answers with the reference's text and calls.
        answers: answers scored.
    """

    rouge_l: Scores
    tool_call_accuracy: Scores
    exact_match: Scores
    answers: int


class _Ratio(NamedTuple):
    """A figure's numerators and denominators, summed per unit, of units that have any, ``[U]``."""

    top: Floats
    bottom: Floats


def loss_report(
    clients: Mapping[str, TokenScores], *, seed: int, resamples: int = 1000
) -> LossReport:
    """Sum up token scores per client and overall.

    Args:
        clients: client to its scores. Private.
        seed: the run's seed.
        resamples: bootstrap resamples.

    Guarantees:
        - a client's figures do not depend on the other clients;
        - the same arguments give the same report.
    """

    def scores(top: Callable[[TokenScores], NDArray[np.generic]]) -> Scores:
        ratios = {
            name: _by_unit(top(scored), scored.count, scored.units)
            for name, scored in clients.items()
        }
        return _scores(ratios, seed, resamples)

    loss = scores(lambda scored: scored.nll)
    return LossReport(
        loss=loss,
        perplexity=Scores(
            clients={name: _exp(estimate) for name, estimate in loss.clients.items()},
            average=_exp(loss.average),
            pooled=_exp(loss.pooled),
        ),
        token_accuracy=scores(lambda scored: scored.correct),
        examples=sum(len(scored.count) for scored in clients.values()),
        tokens=sum(int(scored.count.sum()) for scored in clients.values()),
    )


def answer_report(
    clients: Mapping[str, Sequence[Answer]], *, seed: int, resamples: int = 1000
) -> AnswerReport:
    """Score generated answers per client and overall.

    Args:
        clients: client to its answers. Private.
        seed: the run's seed.
        resamples: bootstrap resamples.

    Guarantees: those of ``loss_report``.
    """

    def scores(judge: Callable[[Answer], tuple[float, bool]]) -> Scores:
        ratios = {}
        for name, answers in clients.items():
            judged = np.array([judge(answer) for answer in answers], np.float64).reshape(-1, 2)
            units = [answer.unit for answer in answers]
            ratios[name] = _by_unit(judged[:, 0], judged[:, 1], units)
        return _scores(ratios, seed, resamples)

    return AnswerReport(
        rouge_l=scores(_judge_text),
        tool_call_accuracy=scores(_judge_calls),
        exact_match=scores(_judge_whole),
        answers=sum(len(answers) for answers in clients.values()),
    )


def _judge_text(answer: Answer) -> tuple[float, bool]:
    """ROUGE-L, and whether it counts: a reference without words, a bare call say, has none."""
    counts = bool(rouge_tokens(answer.reference))
    return rouge_l(answer.content, answer.reference) if counts else 0.0, counts


def _judge_calls(answer: Answer) -> tuple[float, bool]:
    """Whether the calls are right, and whether there are any to make."""
    counts = bool(answer.reference_calls)
    return tool_call_score(answer.tool_calls, answer.reference_calls) if counts else 0.0, counts


def _judge_whole(answer: Answer) -> tuple[float, bool]:
    """Whether text and calls are both right; every answer counts."""
    same_calls = tool_call_score(answer.tool_calls, answer.reference_calls)
    return same_calls * exact_match(answer.content, answer.reference), True


def _by_unit(
    top: NDArray[np.generic], bottom: NDArray[np.generic], units: Sequence[str | None]
) -> _Ratio:
    """Add up numerators and denominators over each unit; leave out units without a denominator."""
    keys = [("alone", str(at)) if unit is None else ("unit", unit) for at, unit in enumerate(units)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    of = np.array([numbers[key] for key in keys], np.intp)
    bottoms = np.bincount(of, weights=bottom).astype(np.float64)
    tops = np.bincount(of, weights=top).astype(np.float64)
    return _Ratio(tops[bottoms > 0], bottoms[bottoms > 0])


def _scores(ratios: Mapping[str, _Ratio], seed: int, resamples: int) -> Scores:
    """Estimate one figure per client and overall.

    Units are drawn with replacement inside each client, so the overall intervals speak of these
    clients with new conversations, not of new clients.
    """
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}", allowed="1 or more")
    filled = {name: ratio for name, ratio in ratios.items() if len(ratio.top)}
    if not filled:
        return Scores(dict.fromkeys(ratios), None, None)
    drawn = {
        name: _resample(ratio, stream(seed, "bootstrap", name), resamples)
        for name, ratio in filled.items()
    }
    clients = {
        name: _estimate(float(ratio.top.sum() / ratio.bottom.sum()), tops / bottoms, [ratio])
        for name, ratio in filled.items()
        for tops, bottoms in [drawn[name]]
    }
    everything = list(filled.values())
    average = _estimate(
        float(np.mean([clients[name].value for name in filled])),
        np.mean([tops / bottoms for tops, bottoms in drawn.values()], axis=0),
        everything,
    )
    pooled = _estimate(
        float(sum(r.top.sum() for r in everything) / sum(r.bottom.sum() for r in everything)),
        np.sum([tops for tops, _ in drawn.values()], axis=0)
        / np.sum([bottoms for _, bottoms in drawn.values()], axis=0),
        everything,
    )
    return Scores({name: clients.get(name) for name in ratios}, average, pooled)


def _resample(ratio: _Ratio, rng: np.random.Generator, resamples: int) -> _Ratio:
    """Sum numerators and denominators over ``resamples`` draws of the units, ``[R]`` each.

    Each draw holds one unit fewer than there are: with U of them the variance of the resampled mean
    would fall short by the factor (U - 1) / U, which shows where clients are small (Rao and Wu
    1988, "Resampling inference with complex survey data").
    """
    units = len(ratio.top)
    size = max(1, units - 1)
    at_once = max(1, _DRAWS_AT_ONCE // units)
    parts = []
    for start in range(0, resamples, at_once):
        drawn = rng.integers(units, size=(min(at_once, resamples - start), size))
        parts.append((ratio.top[drawn].sum(axis=1), ratio.bottom[drawn].sum(axis=1)))
    tops, bottoms = zip(*parts, strict=True)
    return _Ratio(np.concatenate(tops), np.concatenate(bottoms))


def _estimate(value: float, resampled: Floats, over: Sequence[_Ratio]) -> Estimate:
    """Join a figure with the 2.5th and 97.5th percentile of its resamples."""
    if any(len(ratio.top) < 2 for ratio in over):
        return Estimate(value, None, None)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def _exp(estimate: Estimate | None) -> Estimate | None:
    """The perplexity of a loss; None also where it passes the range of a float."""
    if estimate is None or max(estimate.value, estimate.high or 0.0) > math.log(sys.float_info.max):
        return None
    return Estimate(
        math.exp(estimate.value),
        None if estimate.low is None else math.exp(estimate.low),
        None if estimate.high is None else math.exp(estimate.high),
    )
