"""The filter on replies: what a model says of people does not leave, what it was told may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.data.conversation import ToolCall
from sottovoce.data.pii.settings import PiiSettings, Recogniser
from sottovoce.serve.answer import Answers, Leave
from sottovoce.serve.api import make_app
from sottovoce.serve.filters import ReplyFilters, filtered, filtered_json
from sottovoce.serve.gate import Gate
from sottovoce.serve.keys import KeyFile
from sottovoce.serve.problems import Problem
from sottovoce.serve.reading import Over, Piece, Said
from sottovoce.serve.shapes import ChatRequest, CompletionRequest
from sottovoce.serve.shelf import Shelf

OWN = Recogniser(name="projects", kind="PROJECT", deny_list=("Blue Heron",))


@pytest.fixture(scope="module")
def filters() -> ReplyFilters:
    made = ReplyFilters([PiiSettings(), PiiSettings(recognisers=(OWN,))])
    made.wait()
    return made


def told(
    filter_said: Sequence[str], pieces: Sequence[str], filters: ReplyFilters, run: int = 0
) -> list[str]:
    async def source() -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    async def all_of() -> list[str]:
        return [text async for text in filters(run, filter_said)(source())]

    return asyncio.run(all_of())


def test_people_are_taken_out_and_plain_words_do_not_wait(filters: ReplyFilters) -> None:
    pieces = ["Your", " order", " went", " to", " Maria", " Garcia", "."]
    shown = told([], pieces, filters)
    assert shown[0] == "Your "
    assert "".join(shown) == "Your order went to [PERSON]."


def test_what_whoever_asks_has_said_may_be_said_back(filters: ReplyFilters) -> None:
    assert "".join(told(["I am Maria Garcia"], ["It went to Maria Garcia."], filters)) == (
        "It went to Maria Garcia."
    )


def test_each_run_has_its_own_recognisers(filters: ReplyFilters) -> None:
    said = ["We call it Blue Heron."]
    assert "".join(told([], said, filters, run=1)) == "We call it [PROJECT]."
    assert "PROJECT" not in "".join(told([], said, filters, run=0))


def of_json(text: str, filters: ReplyFilters, said: Sequence[str] = ()) -> str:
    return asyncio.run(filtered_json(text, filters(0, said)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"to": "Maria Garcia", "n": 3}', '{"to": "[PERSON]", "n": 3}'),
        ('{"Maria Garcia": [1.50, -2e3, true, null]}', '{"[PERSON]": [1.50, -2e3, true, null]}'),
        ('{"card": 4111111111111111}', '{"card": 0}'),
        ('["write to maria\\u0040uni.edu"]', '["write to [EMAIL]"]'),
        ('{"a": "\\"Maria Garcia\\""}', '{"a": "\\"[PERSON]\\""}'),
        ('{"cut": "call Maria Garcia', '{"cut": "call [PERSON]'),
        ('  {"a" : "x"}  ', '  {"a" : "x"}  '),
    ],
)
def test_json_stays_json(filters: ReplyFilters, text: str, wanted: str) -> None:
    assert of_json(text, filters) == wanted


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


async def _same(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    async for text in texts:
        yield text


async def _louder(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    async for text in texts:
        yield f'{text}"\\'


@given(JSON, st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_json_passes_as_it_stands_and_stays_json_when_it_is_changed(
    value: object, ascii_only: bool
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert asyncio.run(filtered_json(text, _same)) == text
    json.loads(asyncio.run(filtered_json(text, _louder)))


def test_an_answer_in_json_is_told_whole_and_calls_come_after_the_text(
    filters: ReplyFilters,
) -> None:
    async def said() -> AsyncIterator[Said]:
        for one in (
            Piece('{"to": "Maria '),
            Piece('Garcia"}'),
            ToolCall("t", '{"a":"Maria Garcia"}'),
        ):
            yield one
        yield Over("stop", 1, 2)

    async def all_of(*, json_text: bool) -> list[Said]:
        return [one async for one in filtered(said(), filters(0, ()), json_text=json_text)]

    call, over = ToolCall("t", '{"a":"[PERSON]"}'), Over("stop", 1, 2)
    assert asyncio.run(all_of(json_text=True)) == [Piece('{"to": "[PERSON]"}'), call, over]
    *texts, last, end = asyncio.run(all_of(json_text=False))
    assert all(isinstance(one, Piece) for one in texts)
    assert (last, end) == (call, over)


def test_every_reply_is_filtered_but_for_keys_that_say_otherwise(
    shelf: Shelf,
    answers: Answers,
    filters: ReplyFilters,
    listen: Any,
    connect: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """A form lets even a model that babbles say a number that stands nowhere in the request."""
    keys = KeyFile(tmp_path / "keys.json")
    form = {"type": "object", "properties": {"call": {"pattern": "^13812[0-9]{6}$"}}}
    form |= {"required": ["call"], "additionalProperties": False}
    asked: Any = {
        "model": "shops",
        "messages": [{"role": "user", "content": "whom?"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": form}},
    }
    guarded = Answers(shelf, answers.engine, filter_of=filters)
    with listen(make_app(guarded, Gate(keys, open_without=True))) as address:
        said = list[str]()
        for key in (
            lambda: "-",
            lambda: keys.add("usual"),
            lambda: keys.add("trusted", filtered=False),
        ):
            answer = connect(address, key()).chat.completions.create(**asked)
            said.append(json.loads(answer.choices[0].message.content)["call"])
    assert said[:2] == ["[PHONE]", "[PHONE]"]
    assert said[2].startswith("13812")


def test_what_has_been_said_is_all_but_the_models_own_turns(shelf: Shelf, answers: Answers) -> None:
    heard = list[tuple[int, Sequence[str]]]()

    def filter_of(run: int, said: Sequence[str]) -> object:
        heard.append((run, said))
        return _same

    watching = Answers(shelf, answers.engine, filter_of=filter_of)  # type: ignore[arg-type]
    turns = [
        ("system", "You are Otto"),
        ("user", "I am Ada"),
        ("assistant", "Hello Ben"),
        ("user", "So?"),
    ]
    messages = [{"role": role, "content": text} for role, text in turns]
    watching.of_chat(ChatRequest.model_validate({"model": "shops:base", "messages": messages}))
    watching.of_completion(CompletionRequest(model="shops", prompt="I am Ada"))
    assert heard == [(0, ["You are Otto", "I am Ada", "So?"]), (0, ["I am Ada"])]
    free = watching.of_completion(
        CompletionRequest(model="shops", prompt="x"), Leave(filtered=False)
    )
    assert (free.filter, len(heard)) == (None, 2)
    with pytest.raises(Problem, match="--unfiltered"):
        watching.of_completion(CompletionRequest(model="shops", prompt="x", logprobs=1))
