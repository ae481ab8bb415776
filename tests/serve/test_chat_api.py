"""The chat API as its real clients meet it: the official client of OpenAI, on a real port."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
import torch

from sottovoce.model.generate import Sampling
from sottovoce.run.finished import open_run
from sottovoce.serve.answer import Answers
from sottovoce.serve.shapes import ChatRequest

QUESTION = "When do you open?"
ASK: list[Any] = [{"role": "user", "content": QUESTION}]
TRACK: Mapping[str, Any] = {
    "type": "object",
    "properties": {"order": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["order", "days"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {"name": "track", "description": "Finds.", "parameters": TRACK},
    }
]
FLAT: list[Any] = [{"type": "function", "name": "track", "parameters": TRACK}]


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def finished(shops: Path) -> Callable[[str], str]:
    """What the models of a run say without a server."""
    run = open_run(shops)

    def say(name: str) -> str:
        client = name.partition(":")[2]
        one = (
            run.without_adapter() if client == "base" else run.of_client(client) if client else run
        )
        [ids] = [run.tokenizer.encode(text) for text in one.answer([ASK], Sampling(14))]
        return run.tokenizer.decode(ids)

    return say


def test_greedy_answers_are_those_of_the_run_though_asked_at_once(
    client: openai.OpenAI, finished: Callable[[str], str]
) -> None:
    names = ["shops", "shops:base", "shops:north", "shops:south"] * 3

    def ask(name: str) -> str | None:
        made = client.chat.completions.create(
            model=name, messages=ASK, temperature=0, max_tokens=14
        )
        return made.choices[0].message.content

    with ThreadPoolExecutor(len(names)) as pool:
        said = list(pool.map(ask, names))
    wanted = {name: finished(name) for name in set(names)}
    assert said == [wanted[name] for name in names]
    assert len(set(wanted.values())) > 1


def test_a_stream_is_the_same_answer_in_pieces(client: openai.OpenAI) -> None:
    asked: Any = {
        "model": "shops",
        "messages": ASK,
        "temperature": 0.8,
        "seed": 11,
        "max_tokens": 20,
    }
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    other = client.chat.completions.create(**{**asked, "seed": 12})
    assert other.choices[0].message.content != whole.choices[0].message.content


def test_stop_strings_and_limits_end_an_answer(client: openai.OpenAI) -> None:
    asked: Any = {"model": "shops:base", "messages": ASK, "temperature": 0}
    text = client.chat.completions.create(**asked).choices[0].message.content
    assert text is not None
    stop = text.split()[2]
    cut = client.chat.completions.create(**asked, stop=[stop, "never said"]).choices[0]
    assert (cut.message.content, cut.finish_reason) == (text.partition(stop)[0], "stop")
    short = client.chat.completions.create(**asked, max_completion_tokens=2)
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 2


def test_probabilities_stand_beside_their_tokens(client: openai.OpenAI) -> None:
    asked: Any = {"model": "shops", "messages": ASK, "temperature": 0, "max_tokens": 6}
    asked |= {"logprobs": True, "top_logprobs": 3}
    made = client.chat.completions.create(**asked).choices[0]
    assert made.logprobs is not None
    content = made.logprobs.content or []
    assert "".join(one.token for one in content) == made.message.content
    for one in content:
        assert one.logprob <= 0
        assert one.top_logprobs[0].logprob == one.logprob
        assert len(one.top_logprobs) == 3
    streamed = [
        one
        for chunk in client.chat.completions.create(**asked, stream=True)
        if (found := chunk.choices[0].logprobs) is not None
        for one in found.content or []
    ]
    assert streamed == content
    plain = client.chat.completions.create(model="shops", messages=ASK, max_tokens=2)
    assert plain.choices[0].logprobs is None


def called(message: Any) -> Mapping[str, Any]:
    [call] = message.tool_calls
    assert call.function.name == "track"
    assert len(call.id) == 9
    assert call.id.isalnum()
    arguments: Mapping[str, Any] = json.loads(call.function.arguments)
    jsonschema.validate(arguments, TRACK)
    return arguments


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "track"}}]
)
def test_a_call_that_is_asked_for_comes_and_is_of_its_schema(
    client: openai.OpenAI, choice: Any
) -> None:
    asked: Any = {"model": "shops", "messages": ASK, "tools": TOOLS, "tool_choice": choice}
    asked |= {"max_tokens": 40, "seed": 3, "parallel_tool_calls": False}
    made = client.chat.completions.create(**asked).choices[0]
    assert (made.finish_reason, made.message.content) == ("tool_calls", None)
    arguments = called(made.message)
    chunks = list(client.chat.completions.create(**asked, stream=True))
    [told] = [c.choices[0].delta.tool_calls for c in chunks if c.choices[0].delta.tool_calls]
    assert told[0].index == 0
    assert told[0].function is not None
    assert json.loads(told[0].function.arguments or "") == arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_what_came_of_a_call_can_be_told(client: openai.OpenAI) -> None:
    asked: Any = {"model": "shops", "tools": TOOLS, "max_tokens": 40}
    made = client.chat.completions.create(
        **asked, messages=ASK, tool_choice="required", parallel_tool_calls=False
    )
    message = made.choices[0].message
    assert message.tool_calls
    turns = [
        *ASK,
        message,
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "8"},
    ]
    again = client.chat.completions.create(**asked, messages=turns, tool_choice="none")
    assert again.choices[0].message.tool_calls is None
    assert again.choices[0].finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    ("more", "may"),
    [
        ({}, False),
        ({"tools": TOOLS, "tool_choice": "none"}, False),
        ({"tools": TOOLS}, True),
        # A model can have learned calls that no request describes.
        ({"tool_choice": "auto"}, True),
        ({"tools": TOOLS, "max_tokens": 3}, False),
    ],
    ids=["no tools", "none", "auto", "any", "no room"],
)
def test_a_call_is_made_only_where_one_is_expected(
    answers: Answers, more: dict[str, Any], may: bool
) -> None:
    request = ChatRequest.model_validate({"model": "shops", "messages": ASK} | more)
    ask = answers.of_chat(request).ask
    [opening] = answers.shelf.tokenizer.encode("<|call|>")
    eager = torch.zeros(4096)
    eager[opening] = 9.0
    assert ask.grammar is not None
    said = ask.grammar.choose(eager, ask.sampling.max_new_tokens, lambda one: int(one.argmax()))
    assert (said == opening) is may


def test_json_of_a_schema(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "track", "schema": TRACK}}
    for seed in range(3):
        made = client.chat.completions.create(
            model="shops", messages=ASK, response_format=form, max_tokens=24, seed=seed
        )
        assert made.choices[0].finish_reason == "stop"
        jsonschema.validate(json.loads(made.choices[0].message.content or ""), TRACK)
    made = client.chat.completions.create(
        model="shops", messages=ASK, response_format={"type": "json_object"}, max_tokens=24
    )
    assert isinstance(json.loads(made.choices[0].message.content or ""), dict)


def test_text_goes_on(client: openai.OpenAI, finished: Callable[[str], str]) -> None:
    prompt = f"<|user|>{QUESTION}<|end|><|assistant|>"
    asked: Any = {"model": "shops:north", "prompt": prompt, "temperature": 0, "max_tokens": 14}
    made = client.completions.create(**asked, logprobs=2)
    assert made.choices[0].text == finished("shops:north")
    logprobs = made.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert "".join(logprobs.tokens) == made.choices[0].text
    assert logprobs.text_offset is not None
    assert logprobs.text_offset[1] == len(logprobs.tokens[0])
    chunks = list(
        client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(chunk.choices[0].text for chunk in chunks[:-1])
    assert text == made.choices[0].text
    assert chunks[-1].usage == made.usage
    by_ids = client.completions.create(model="shops", prompt=[5, 9, 200])
    assert by_ids.usage is not None
    assert by_ids.usage.prompt_tokens == 3
    assert by_ids.usage.completion_tokens <= 16


def test_models_are_listed(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["shops", "shops:base", "shops:north", "shops:south"]
    assert client.models.retrieve("shops:north").owned_by == "sottovoce"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("shops:west")


def test_responses_are_the_same_answers(
    client: openai.OpenAI, finished: Callable[[str], str]
) -> None:
    asked: Any = {"model": "shops", "temperature": 0, "max_output_tokens": 14}
    made = client.responses.create(**asked, input=QUESTION)
    assert made.output_text == finished("shops")
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    with client.responses.stream(**asked, input=[{"role": "user", "content": QUESTION}]) as stream:
        events: list[Any] = list(stream)
    assert events[-1].type in ("response.completed", "response.incomplete")
    assert events[-1].response.output_text == made.output_text
    told = "".join(one.delta for one in events if one.type == "response.output_text.delta")
    assert told == made.output_text
    numbers = [one.sequence_number for one in events if hasattr(one, "sequence_number")]
    assert numbers == sorted(numbers)
    cut = client.responses.create(**{**asked, "max_output_tokens": 1}, input=QUESTION)
    assert cut.incomplete_details is not None
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_responses_call_tools_and_hear_what_came_of_it(client: openai.OpenAI) -> None:
    asked: Any = {"model": "shops", "tools": FLAT, "max_output_tokens": 40}
    made = client.responses.create(
        **asked, input=QUESTION, instructions="Be brief.", tool_choice="required",
        parallel_tool_calls=False,
    )  # fmt: skip
    [call] = made.output
    assert call.type == "function_call"
    jsonschema.validate(json.loads(call.arguments), TRACK)
    came = {"type": "function_call_output", "call_id": call.call_id, "output": "8 o'clock"}
    turns: Any = [{"role": "user", "content": QUESTION}, call, came]
    again = client.responses.create(**asked, input=turns, tool_choice="none")
    assert [item.type for item in again.output] in (["message"], [])
    stream = client.responses.create(**asked, input=QUESTION, tool_choice="required", stream=True)
    done = [one for one in stream if one.type == "response.function_call_arguments.done"]
    jsonschema.validate(json.loads(done[0].arguments), TRACK)
    form: Any = {"format": {"type": "json_schema", "name": "track", "schema": TRACK}}
    made = client.responses.create(model="shops", input=QUESTION, text=form, max_output_tokens=30)
    jsonschema.validate(json.loads(made.output_text), TRACK)


REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "too long": ({"messages": [{"role": "user", "content": "word " * 1100}]}, "context_length"),
    "too long an answer": ({"max_tokens": 1020}, "context_length_exceeded"),
    "no messages": ({"messages": []}, "messages"),
    "an image": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
            ]
        },
        "messages",
    ),
    "an unknown role": ({"messages": [{"role": "cook", "content": "x"}]}, "messages"),
    "two answers": ({"n": 2}, "n: "),
    "a penalty": ({"frequency_penalty": 0.5}, "frequency_penalty"),
    "too hot": ({"temperature": 3}, "temperature"),
    "a form that does not fit": (
        {
            "response_format": {"type": "json_schema", "json_schema": {"schema": TRACK}},
            "max_tokens": 4,
        },
        "max_tokens",
    ),
    "a schema that is none": (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
        "schema",
    ),
    "a call that does not fit": (
        {"tools": TOOLS, "tool_choice": "required", "max_tokens": 4},
        "max_tokens",
    ),
    "a tool that is none": (
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "none of the tools",
    ),
    "a call without tools": ({"tool_choice": "required"}, "no tools"),
    "arguments that are no JSON": (
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "a", "arguments": "{"}}
                    ],
                }
            ]
        },
        "template",
    ),
    "half a character": ({"messages": [{"role": "user", "content": "\ud83d"}]}, "Unicode"),
    "alternatives alone": ({"top_logprobs": 3}, "logprobs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_answered_is_refused_in_one_shape(client: openai.OpenAI, name: str) -> None:
    changes, said = REFUSED[name]
    body = {"model": "shops", "messages": ASK} | changes
    with pytest.raises(openai.BadRequestError) as refused:
        # As bytes, because the client itself refuses some of these.
        client.post(
            "/chat/completions",
            cast_to=object,
            content=json.dumps(body).encode(),
            options={"headers": {"Content-Type": "application/json"}},
        )
    error: Any = refused.value.body
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert said in error["message"] + str(error["code"])


def test_a_model_that_is_not_there(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="shops:west", messages=ASK)
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"


def test_fields_that_mean_nothing_here_are_ignored(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(
        model="shops", messages=ASK, max_tokens=1, user="ada", store=False, frequency_penalty=0,
        presence_penalty=0.0, logit_bias={}, n=1, service_tier="auto", extra_body={"min_p": 0.1},
    )  # fmt: skip
    assert made.object == "chat.completion"
