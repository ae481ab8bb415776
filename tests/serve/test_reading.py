"""What a reader sees of an answer: whole characters, no stop string, and calls that are calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.data.conversation import ToolCall
from sottovoce.model.base import model_folder
from sottovoce.model.tokenizer import Tokenizer, load_tokenizer
from sottovoce.serve.engine import Token
from sottovoce.serve.reading import Over, Piece, Reader, Stops, Text
from sottovoce.serve.tools import Marks, marks_of


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(model_folder("tiny"))


@pytest.fixture(scope="module")
def marks(tokenizer: Tokenizer) -> Marks:
    found = marks_of(tokenizer)
    assert found is not None
    return found


def test_pieces_are_the_text_and_no_character_is_cut(tokenizer: Tokenizer) -> None:
    texts = ["Order 7 — 已经发货 🚚, danke schön!", "", "🚚", "日本 ok"]
    source = np.random.default_rng(0)
    every = [tokenizer.encode(text) for text in texts]
    every += [source.integers(8, tokenizer.vocabulary_size, 40).tolist() for _ in range(20)]
    for ids in every:
        reader = Text(tokenizer.decode)
        pieces = [reader.push(token) for token in ids]
        assert "".join([*pieces, reader.end()]) == tokenizer.decode(ids)
    rocket = Text(tokenizer.decode)
    ids = tokenizer.encode("🚚")
    assert len(ids) > 1
    assert [rocket.push(token) for token in ids] == [*[""] * (len(ids) - 1), "🚚"]


def test_a_tokenizer_that_writes_spaces_before_words_keeps_them() -> None:
    words = {1: " one", 2: " two", 3: "s"}
    reader = Text(lambda ids: "".join(words[one] for one in ids).removeprefix(" "))
    assert [reader.push(token) for token in (1, 2, 3, 2)] == ["one", " two", "s", " two"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text("abc", max_size=4), max_size=8),
    st.lists(st.text("abc", min_size=1, max_size=3), max_size=3),
)
def test_stop_strings_end_the_text_and_never_show(texts: list[str], stops: list[str]) -> None:
    reader = Stops(stops)
    told, whole = "", "".join(texts)
    for text in texts:
        if not reader.hit:
            told += reader.push(text)
    told += reader.end()
    places = [(place + len(stop), place) for stop in stops if (place := whole.find(stop)) >= 0]
    assert told == whole[: min(places, default=(0, len(whole)))[1]]
    assert reader.hit == bool(places)
    assert not any(stop in told for stop in stops)


def test_text_that_may_become_a_stop_string_waits_and_no_more() -> None:
    reader = Stops(["user:", "用户"])
    pieces = [reader.push(text) for text in ("a us", "e", "d ", "用", "来 use", "r", ":x")]
    assert pieces == ["a ", "", "used ", "", "用来 ", "", ""]
    assert reader.hit
    assert reader.end() == ""


def read(reader: Reader, ids: Sequence[int], reason: Any = "stop") -> list[Any]:
    found = [one for token in ids for one in reader.take(Token(token))]
    return [*found, *reader.end(reason)]


def told(found: list[Any]) -> tuple[str, list[ToolCall], Over]:
    text = "".join(one.text for one in found if isinstance(one, Piece))
    [over] = [one for one in found if isinstance(one, Over)]
    assert found[-1] is over
    return text, [one for one in found if isinstance(one, ToolCall)], over


def test_calls_are_read_apart_from_the_text(tokenizer: Tokenizer, marks: Marks) -> None:
    call = '<|call|>{"name":"track","arguments":{"order":"7"}}'
    ids = tokenizer.encode(f"One moment.{call}{call}")
    found = read(Reader(tokenizer, 5, marks=marks), ids)
    text, calls, over = told(found)
    assert text == "One moment."
    assert calls == [ToolCall("track", '{"order":"7"}')] * 2
    assert over == Over("tool_calls", 5, len(ids))
    shown = next(place for place, one in enumerate(found) if isinstance(one, ToolCall))
    assert all(isinstance(one, Piece) for one in found[:shown])


def test_what_is_no_call_stays_text(tokenizer: Tokenizer, marks: Marks) -> None:
    ids = tokenizer.encode('Well<|call|>{"name":')
    text, calls, over = told(read(Reader(tokenizer, 1, marks=marks), ids, "length"))
    assert (text, calls, over.finish) == ('Well{"name":', [], "length")
    text, calls, _ = told(
        read(Reader(tokenizer, 1), tokenizer.encode('<|call|>{"name":"x","arguments":{}}'))
    )
    assert (text, calls) == ('{"name":"x","arguments":{}}', [])


def test_tags_close_a_call(tokenizer: Tokenizer) -> None:
    opening, closing = tokenizer.encode("<|user|><|tool|>")
    marks = Marks(opening, closing, ("<tool_call>", "</tool_call>"))
    inner = tokenizer.encode('{"name":"track","arguments":{}}')
    found = read(
        Reader(tokenizer, 1, marks=marks), [opening, *inner, closing, opening, *inner, closing]
    )
    assert told(found)[:2] == ("", [ToolCall("track", "{}")] * 2)


def test_a_stop_string_ends_the_answer(tokenizer: Tokenizer, marks: Marks) -> None:
    ids = tokenizer.encode("Ask the manager, please. Bye")
    reader = Reader(tokenizer, 3, stops=["manager"], marks=marks)
    found = read(reader, ids, "cancelled")
    text, _, over = told(found)
    assert (text, reader.stopped, over.finish) == ("Ask the ", True, "stop")
    assert over.completion_tokens < len(ids)
    # What was held back is told when nothing follows, and before a call.
    ids = tokenizer.encode('Ask the man<|call|>{"name":"x","arguments":{}}')
    found = read(Reader(tokenizer, 3, stops=["manager"], marks=marks), ids)
    kinds = [type(one) for one in found]
    assert told(found)[0] == "Ask the man"
    assert kinds.index(ToolCall) > max(p for p, one in enumerate(kinds) if one is Piece)


def test_tokens_are_told_with_the_text_they_made(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("On its way 🚚")
    found = read(Reader(tokenizer, 1, with_tokens=True), ids)
    pieces = [one for one in found if isinstance(one, Piece)]
    assert [token.id for piece in pieces for token in piece.tokens] == ids
    for piece in pieces:
        assert tokenizer.decode([token.id for token in piece.tokens]) == piece.text
    assert not any(
        piece.tokens for piece in read(Reader(tokenizer, 1), ids) if isinstance(piece, Piece)
    )


@pytest.mark.parametrize(("reason", "finish"), [("stop", "stop"), ("length", "length")])
def test_why_it_ended(tokenizer: Tokenizer, reason: str, finish: str) -> None:
    assert told(read(Reader(tokenizer, 2), [20, 30], reason))[2] == Over(finish, 2, 2)  # type: ignore[arg-type]
