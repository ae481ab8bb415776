"""An engine that many ask at once: everybody's answer is their own, and nobody's trouble is shared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from sottovoce.errors import RefusedError
from sottovoce.model.adapters import LoraModel
from sottovoce.model.generate import Sampling, generate
from sottovoce.serve.engine import Ask, Ended, Engine, Limits, Token

PROMPTS = [[3, 7, 9, 11, 2, 5, 8], list(range(2, 32)), [9, 4, 3], [5] * 18]
LENGTH = 12
NEVER = frozenset[int]()


class Heard:
    """What one request was told."""

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.reason = ""
        self.over = threading.Event()
        self.first = threading.Event()

    def __call__(self, told: Token | Ended) -> None:
        assert not self.reason, "an end is the last thing that is told"
        if isinstance(told, Token):
            self.tokens.append(told)
            self.first.set()
        else:
            self.reason = told.reason
            self.over.set()

    def wait(self) -> list[int]:
        assert self.over.wait(60)
        return [token.id for token in self.tokens]


@pytest.fixture(scope="module")
def model(attach: Any) -> LoraModel:
    made: LoraModel = attach("llama")
    return made


@pytest.fixture(scope="module")
def rows(model: LoraModel, random_row: Callable[..., Any]) -> list[Tensor]:
    return [torch.from_numpy(random_row(model, seed)) for seed in range(len(PROMPTS))]


@pytest.fixture
def engine(model: LoraModel) -> Iterator[Engine]:
    with Engine(model.base, model.applied_to_rows) as made:
        yield made


@pytest.fixture(scope="module")
def alone(model: LoraModel, rows: list[Tensor]) -> list[list[int]]:
    found = []
    for row, prompt in zip(rows, PROMPTS, strict=True):
        with model.applied(row.numpy()):
            found += generate(model.base, [prompt], Sampling(LENGTH), stop_ids=[])
    return found


def asked(prompt: Sequence[int], row: Tensor, length: int = LENGTH, **more: Any) -> Ask:
    return Ask(prompt, row, Sampling(length), NEVER, **more)


def submitted(engine: Engine, *asks: Ask) -> list[Heard]:
    heard = [Heard() for _ in asks]
    for ask, one in zip(asks, heard, strict=True):
        engine.submit(ask, one)
    return heard


def test_many_at_once_get_what_each_gets_alone(
    engine: Engine, rows: list[Tensor], alone: list[list[int]]
) -> None:
    every = [asked(prompt, row) for prompt, row in zip(PROMPTS, rows, strict=True)]
    first = submitted(engine, *every[:2])
    assert first[0].first.wait(60)
    second = submitted(engine, *every[2:], *every)
    assert [one.wait() for one in [*first, *second]] == [*alone, *alone]
    assert {one.reason for one in [*first, *second]} == {"length"}


def test_an_answer_ends_before_a_stop_token(
    engine: Engine, rows: list[Tensor], alone: list[list[int]]
) -> None:
    stop = alone[0][3]
    heard = Heard()
    engine.submit(Ask(PROMPTS[0], rows[0], Sampling(LENGTH), frozenset({stop})), heard)
    assert heard.wait() == alone[0][: alone[0].index(stop)]
    assert heard.reason == "stop"


def test_who_hangs_up_leaves_and_the_others_go_on(
    engine: Engine, rows: list[Tensor], alone: list[list[int]]
) -> None:
    gone, stays = Heard(), Heard()
    request = engine.submit(asked(PROMPTS[1], rows[1], 10_000), gone)
    engine.submit(asked(PROMPTS[0], rows[0]), stays)
    assert gone.first.wait(60)
    request.cancel()
    assert len(gone.wait()) < 10_000
    assert gone.reason == "cancelled"
    assert stays.wait() == alone[0]
    settle(lambda: engine.running == 0)


def settle(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_who_comes_first_is_read_first_and_rows_are_bounded(
    model: LoraModel, rows: list[Tensor]
) -> None:
    order: list[int] = []

    class Ordered(Heard):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def __call__(self, told: Token | Ended) -> None:
            if not self.tokens:
                order.append(self.number)
                most.append(engine.running)
            super().__call__(told)

    most: list[int] = []
    with Engine(model.base, model.applied_to_rows, Limits(rows=3)) as engine:
        heard = [Ordered(number) for number in range(8)]
        for one in heard:
            engine.submit(asked(PROMPTS[2], rows[0], 5), one)
        for one in heard:
            one.wait()
    assert order == list(range(8))
    assert max(most) <= 3


def test_more_than_may_wait_are_refused_and_the_others_answered(
    model: LoraModel, rows: list[Tensor], alone: list[list[int]]
) -> None:
    with Engine(model.base, model.applied_to_rows, Limits(rows=1, waiting=2)) as engine:
        long = Heard()
        request = engine.submit(asked(PROMPTS[1], rows[1], 10_000), long)
        assert long.first.wait(60)
        heard = submitted(engine, *[asked(PROMPTS[0], rows[0])] * 2)
        with pytest.raises(RefusedError, match=r"2 requests are waiting.*moment"):
            engine.submit(asked(PROMPTS[0], rows[0]), Heard())
        request.cancel()
        assert [one.wait() for one in heard] == [alone[0]] * 2


def test_who_hangs_up_while_waiting_keeps_no_place_in_the_queue(
    model: LoraModel, rows: list[Tensor], alone: list[list[int]]
) -> None:
    with Engine(model.base, model.applied_to_rows, Limits(rows=1, waiting=2)) as engine:
        long, gone = Heard(), Heard()
        request = engine.submit(asked(PROMPTS[1], rows[1], 10_000), long)
        assert long.first.wait(60)
        engine.submit(asked(PROMPTS[0], rows[0]), gone).cancel()
        # It is told of its end at once, though nobody who waits can be read yet.
        assert gone.wait() == []
        assert not long.reason
        for _ in range(100):
            engine.submit(asked(PROMPTS[0], rows[0]), Heard()).cancel()
        [heard] = submitted(engine, asked(PROMPTS[0], rows[0]))
        request.cancel()
        assert heard.wait() == alone[0]


class Broken:
    """A grammar with a fault."""

    whole = False

    def choose(self, logits: Tensor, left: int, draw: Callable[[Tensor], int]) -> int:
        raise KeyError(left)


def test_who_fails_fails_alone(
    engine: Engine, rows: list[Tensor], alone: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    before = Heard()
    engine.submit(asked(PROMPTS[3], rows[3]), before)
    broken, strange = Heard(), Heard()
    engine.submit(asked(PROMPTS[0], rows[0], grammar=Broken()), broken)
    settle(lambda: broken.over.is_set())
    engine.submit(asked([10**6], rows[0]), strange)
    settle(lambda: strange.over.is_set())
    after = Heard()
    engine.submit(asked(PROMPTS[1], rows[1]), after)
    assert (broken.wait(), broken.reason) == ([], "failed")
    assert (strange.wait(), strange.reason) == ([], "failed")
    assert [before.wait(), after.wait()] == [alone[3], alone[1]]
    assert "KeyError" in caplog.text


class Only:
    """Allows one token, so many times."""

    def __init__(self, token: int, times: int) -> None:
        self.token, self.times = token, times
        self.left: list[int] = []

    @property
    def whole(self) -> bool:
        return self.times == 0

    def choose(self, logits: Tensor, left: int, draw: Callable[[Tensor], int]) -> int:
        self.left.append(left)
        self.times -= 1
        return self.token


def test_a_grammar_decides_what_may_come_and_when_it_is_whole(
    engine: Engine, rows: list[Tensor]
) -> None:
    only = Only(42, 3)
    [heard] = submitted(engine, asked(PROMPTS[0], rows[0], grammar=only))
    assert heard.wait() == [42] * 3
    assert heard.reason == "stop"
    assert only.left == [LENGTH, LENGTH - 1, LENGTH - 2]


def test_probabilities_are_those_of_the_model_before_temperature(
    engine: Engine, model: LoraModel, rows: list[Tensor]
) -> None:
    heard = Heard()
    hot = Sampling(1, temperature=2.0, seed=3)
    engine.submit(Ask(PROMPTS[0], rows[0], hot, NEVER, logprobs=4), heard)
    heard.wait()
    with torch.no_grad(), model.applied(rows[0].numpy()):
        logits = model.base.model(input_ids=torch.tensor([PROMPTS[0]])).logits[0, -1]
    wanted = logits.log_softmax(0)
    [token] = heard.tokens
    assert token.logprob == pytest.approx(float(wanted[token.id]), abs=1e-4)
    assert [one for one, _ in token.top] == wanted.topk(4).indices.tolist()
    assert [value for _, value in token.top] == pytest.approx(wanted.topk(4).values.tolist())


def test_a_closed_engine_has_ended_everybody_and_takes_nobody(
    model: LoraModel, rows: list[Tensor]
) -> None:
    engine = Engine(model.base, model.applied_to_rows, Limits(rows=1))
    heard = submitted(engine, *[asked(PROMPTS[0], rows[0], 10_000)] * 3)
    assert heard[0].first.wait(60)
    engine.close()
    assert [one.reason for one in heard] == ["cancelled"] * 3
    assert not engine._thread.is_alive()
    with pytest.raises(RefusedError, match="stopping"):
        engine.submit(asked(PROMPTS[0], rows[0]), Heard())
