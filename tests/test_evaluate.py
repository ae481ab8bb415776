"""Figures and intervals: against a slow loop, for coverage, and where there is little to go by."""

import json
import math
import time
from dataclasses import asdict

import numpy as np
import pytest

from sottovoce.data.conversation import ToolCall
from sottovoce.errors import ConfigError, SottovoceError, VerificationError
from sottovoce.evaluate import Answer, Estimate, TokenScores, answer_report, loss_report
from sottovoce.rng import stream
from sottovoce.tasks.scoring import rouge_l

FIND = ToolCall("find", '{"id":"7"}')


def token_scores(nll, count, correct=None, units=None):
    count = np.array(count, np.int64)
    return TokenScores(
        np.array(nll, np.float64),
        count // 2 if correct is None else np.array(correct, np.int64),
        count,
        [None] * len(count) if units is None else units,
    )


def drawn_scores(rng, size, owners):
    count = rng.integers(0, 30, size)
    units = [None if rng.random() < 0.3 else f"owner {rng.integers(owners)}" for _ in range(size)]
    return token_scores(count * rng.gamma(2.0, 1.0, size), count, rng.integers(0, count + 1), units)


def slow_totals(scored, of, seed, client, resamples):
    """Numerator and denominator of every resample, unit by unit and example by example."""
    members = {}
    for at, unit in enumerate(scored.units):
        members.setdefault(f"alone {at}" if unit is None else f"of {unit}", []).append(at)
    units = [m for m in members.values() if sum(scored.count[at] for at in m) > 0]
    rng = stream(seed, "bootstrap", client)
    totals = []
    for _ in range(resamples):
        top = bottom = 0.0
        for pick in rng.integers(len(units), size=len(units) - 1):
            for at in units[pick]:
                top += of[at]
                bottom += scored.count[at]
        totals.append((top, bottom))
    return totals


def near(estimate, value, resampled):
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert estimate.value == pytest.approx(value, rel=1e-12)
    assert estimate.low == pytest.approx(low, rel=1e-12)
    assert estimate.high == pytest.approx(high, rel=1e-12)


def test_report_equals_a_slow_loop():
    rng = np.random.default_rng(1)
    clients = {name: drawn_scores(rng, size, 6) for name, size in (("a", 25), ("b", 40))}
    report = loss_report(clients, seed=5, resamples=200)
    for figure, field in ((report.loss, "nll"), (report.token_accuracy, "correct")):
        tops = {name: getattr(scored, field) for name, scored in clients.items()}
        totals = {n: slow_totals(clients[n], tops[n], 5, n, 200) for n in clients}
        values = {name: tops[name].sum() / clients[name].count.sum() for name in clients}
        for name in clients:
            near(figure.clients[name], values[name], [t / b for t, b in totals[name]])
        pairs = list(zip(totals["a"], totals["b"], strict=True))
        near(
            figure.average,
            (values["a"] + values["b"]) / 2,
            [(a[0] / a[1] + b[0] / b[1]) / 2 for a, b in pairs],
        )
        near(
            figure.pooled,
            sum(tops[n].sum() for n in clients) / sum(clients[n].count.sum() for n in clients),
            [(a[0] + b[0]) / (a[1] + b[1]) for a, b in pairs],
        )
    assert report.examples == 65
    assert report.tokens == sum(scored.count.sum() for scored in clients.values())


def owners_market(rng, owners, per_owner, mean, spread):
    """Examples whose loss per token shares an owner's habit; the true loss is ``mean``."""
    habits = np.repeat(rng.normal(0, spread, owners), per_owner)
    count = rng.integers(1, 20, owners * per_owner)
    nll = count * (mean + habits + rng.normal(0, 0.3, len(count)))
    names = [f"owner {at // per_owner}" for at in range(len(count))]
    return nll, count, names


def coverage(estimates, truth):
    return np.mean([e.low <= truth <= e.high for e in estimates])


def test_intervals_cover_and_ignoring_owners_would_not():
    rng = np.random.default_rng(2)
    right, wrong = {}, {}
    for at in range(300):
        nll, count, names = owners_market(rng, 40, 5, mean=2.0, spread=0.5)
        right[str(at)] = token_scores(nll, count, units=names)
        wrong[str(at)] = token_scores(nll, count)
    clustered = loss_report(right, seed=0, resamples=300)
    ignorant = loss_report(wrong, seed=0, resamples=300)
    assert 0.90 <= coverage(clustered.loss.clients.values(), 2.0) <= 0.98
    assert coverage(ignorant.loss.clients.values(), 2.0) < 0.80
    assert 0.90 <= coverage(clustered.perplexity.clients.values(), math.exp(2.0)) <= 0.98


def test_intervals_of_the_average_and_the_pool_cover():
    rng = np.random.default_rng(3)
    average, pooled = [], []
    for at in range(200):
        clients = {}
        for name, owners, mean in (("a", 15, 1.0), ("b", 30, 2.0), ("c", 60, 3.0)):
            nll, count, names = owners_market(rng, owners, 2, mean, 0.5)
            clients[name] = token_scores(nll, count, units=names)
        report = loss_report(clients, seed=at, resamples=400)
        average.append(report.loss.average)
        pooled.append(report.loss.pooled)
    assert 0.90 <= coverage(average, 2.0) <= 0.98
    assert 0.90 <= coverage(pooled, (15 * 1 + 30 * 2 + 60 * 3) / 105) <= 0.98
    assert coverage(pooled, 2.0) < 0.5


def test_a_thousand_resamples_of_five_thousand_examples_take_less_than_a_second():
    rng = np.random.default_rng(4)
    scored = token_scores(rng.random(5000), rng.integers(1, 50, 5000))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        report = loss_report({"a": scored}, seed=0)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1
    picks = stream(0, "bootstrap", "a").integers(5000, size=(1000, 4999))
    resampled = scored.nll[picks].sum(axis=1) / scored.count[picks].sum(axis=1)
    near(report.loss.pooled, scored.nll.sum() / scored.count.sum(), resampled)


def test_intervals_of_few_units_are_as_wide_as_their_spread_demands():
    rng = np.random.default_rng(9)
    drawn = rng.normal(5.0, 1.0, (400, 8))
    report = loss_report(
        {str(at): token_scores(row, np.ones(8)) for at, row in enumerate(drawn)},
        seed=0,
        resamples=400,
    )
    widths = [estimate.high - estimate.low for estimate in report.loss.clients.values()]
    textbook = 2 * 1.96 * drawn.std(axis=1, ddof=1).mean() / math.sqrt(8)
    # Eight draws of eight units would give sqrt(7/8) = 0.94 of it.
    assert np.mean(widths) / textbook == pytest.approx(1.0, abs=0.03)


def test_perplexity_is_the_exponential_of_the_loss():
    rng = np.random.default_rng(5)
    report = loss_report({n: drawn_scores(rng, 20, 4) for n in "ab"}, seed=0)
    pairs = [
        (report.loss.average, report.perplexity.average),
        (report.loss.pooled, report.perplexity.pooled),
        (report.loss.clients["a"], report.perplexity.clients["a"]),
    ]
    for loss, perplexity in pairs:
        assert perplexity.value == math.exp(loss.value)
        assert perplexity.low == math.exp(loss.low)
        assert perplexity.high == math.exp(loss.high)


def test_the_same_seed_gives_the_same_report_and_clients_do_not_meet():
    rng = np.random.default_rng(6)
    one, other = drawn_scores(rng, 30, 5), drawn_scores(rng, 30, 5)
    together = loss_report({"one": one, "other": other}, seed=1)
    assert together == loss_report({"one": one, "other": other}, seed=1)
    alone = loss_report({"one": one}, seed=1)
    assert alone.loss.clients["one"] == together.loss.clients["one"]
    assert alone.loss.clients["one"] == alone.loss.average == alone.loss.pooled
    assert loss_report({"one": one}, seed=2).loss.average != alone.loss.average


def test_one_example_has_a_value_and_no_interval():
    report = loss_report({"a": token_scores([6.0], [3], [1])}, seed=0)
    assert report.loss.clients["a"] == Estimate(2.0, None, None)
    assert report.perplexity.pooled == Estimate(math.exp(2.0), None, None)
    assert report.token_accuracy.average == Estimate(1 / 3, None, None)


def test_one_owner_of_many_examples_is_one_unit():
    report = loss_report({"a": token_scores([6.0, 1.0], [3, 1], units=["ada", "ada"])}, seed=0)
    assert report.loss.clients["a"] == Estimate(7 / 4, None, None)


def test_an_owner_named_like_a_place_in_the_list_stays_apart():
    report = loss_report({"a": token_scores([6.0, 1.0], [3, 1], units=[None, "0"])}, seed=0)
    assert report.loss.clients["a"].low is not None


def test_a_client_of_one_unit_takes_the_overall_interval_away():
    clients = {"a": token_scores([6.0], [3]), "b": token_scores([2.0, 5.0], [2, 2])}
    report = loss_report(clients, seed=0)
    assert report.loss.clients["b"].low is not None
    assert report.loss.average == Estimate((2 + 7 / 4) / 2, None, None)
    assert report.loss.pooled == Estimate(13 / 7, None, None)


def test_no_targets_give_none_and_are_left_out_of_the_average():
    clients = {"a": token_scores([0.0, 0.0], [0, 0]), "b": token_scores([2.0, 5.0, 0.0], [2, 2, 0])}
    report = loss_report(clients, seed=0)
    assert report.loss.clients["a"] is None
    assert report.perplexity.clients["a"] is None
    assert report.token_accuracy.clients["a"] is None
    assert report.loss.average == report.loss.pooled == report.loss.clients["b"]


def test_nobody_and_nothing_give_none():
    empty = token_scores([], [])
    for clients in ({}, {"a": empty}):
        report = loss_report(clients, seed=0)
        assert report.loss.average is report.loss.pooled is None
        assert report.perplexity.average is report.token_accuracy.pooled is None
        assert dict(report.loss.clients) == dict.fromkeys(clients)
        answers = answer_report({name: [] for name in clients}, seed=0)
        assert answers.rouge_l.average is answers.exact_match.pooled is None
        assert answers.answers == 0


def test_a_perplexity_beyond_floats_is_none():
    report = loss_report({"a": token_scores([800.0, 900.0], [1, 1])}, seed=0)
    assert report.loss.pooled.value == 850
    assert report.perplexity.pooled is None
    json.dumps(asdict(report), allow_nan=False)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops(bad):
    with pytest.raises(SottovoceError, match="not finite"):
        token_scores([1.0, bad], [1, 1])


def test_scores_that_cannot_be_are_refused():
    with pytest.raises(VerificationError, match=r"lengths \[1, 1, 1, 2\]"):
        token_scores([1.0], [1], units=["a", "b"])
    with pytest.raises(VerificationError, match="more right targets than targets"):
        token_scores([1.0], [1], [2])
    with pytest.raises(VerificationError, match="0 <= correct <= count"):
        token_scores([1.0], [1], [-1])
    with pytest.raises(ConfigError, match="resamples is 0"):
        loss_report({"a": token_scores([1.0], [1])}, seed=0, resamples=0)


def test_answers_are_scored_where_each_figure_applies():
    said = [
        Answer("It left today.", "It left  today.", unit="ada"),
        Answer("It left", "It left today", unit="bob"),
        Answer("", "", (FIND,), (FIND,), unit="ada"),
        Answer("Hm", "", (), (FIND,), unit="cy"),
        Answer("Yes", "Yes", (FIND,), ()),
    ]
    report = answer_report({"shop": said}, seed=0)
    rouge = (1 + rouge_l("It left", "It left today") + 1) / 3
    assert report.rouge_l.pooled.value == pytest.approx(rouge)
    assert report.tool_call_accuracy.pooled.value == 1 / 2
    assert report.exact_match.pooled.value == 2 / 5
    assert report.answers == 5
    assert report.exact_match.pooled.low <= 2 / 5 <= report.exact_match.pooled.high


def test_without_reference_calls_there_is_no_tool_call_accuracy():
    clients = {"a": [Answer("x", "x"), Answer("y", "z")], "b": [Answer("", "", (), (FIND,))]}
    report = answer_report(clients, seed=0)
    assert report.tool_call_accuracy.clients["a"] is None
    assert report.tool_call_accuracy.average == Estimate(0.0, None, None)
    assert report.rouge_l.clients["b"] is None
    assert answer_report({"a": clients["a"]}, seed=0).tool_call_accuracy.pooled is None


def test_answer_intervals_cover():
    rng = np.random.default_rng(7)
    clients = {}
    for at in range(200):
        rates = np.clip(rng.normal(0.6, 0.2, 60), 0, 1)
        clients[str(at)] = [
            Answer("x" if rng.random() < rate else "y", "x", unit=f"owner {owner}")
            for owner, rate in enumerate(rates)
            for _ in range(3)
        ]
    truth = float(np.mean(np.clip(np.random.default_rng(8).normal(0.6, 0.2, 10**6), 0, 1)))
    report = answer_report(clients, seed=0, resamples=300)
    assert 0.90 <= coverage(report.exact_match.clients.values(), truth) <= 0.98
