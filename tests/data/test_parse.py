"""One record to one conversation: every form, every fault, and the promises for any input."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.data.conversation import Conversation, Message, ToolCall
from sottovoce.data.documents import split_documents, split_speeches
from sottovoce.data.parse import (
    Layout,
    canonical_arguments,
    find_columns,
    nearest,
    parse_record,
)
from sottovoce.data.strict_json import decode_json
from sottovoce.errors import DataError

AUTO = Layout()
HI = {"role": "user", "content": "hi"}
HELLO = {"role": "assistant", "content": "hello"}
CALL = {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"b":2,"a":1}'}}


def turns(*messages: object, **rest: object) -> dict[str, object]:
    return {"messages": list(messages), **rest}


def test_openai_turns_with_calls_and_tools() -> None:
    record = turns(
        {"role": "system", "content": "s"},
        HI,
        {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]},
        {"role": "tool", "tool_call_id": "1", "content": "found"},
        HELLO,
    )
    call = ToolCall("look", '{"a":1,"b":2}')
    assert parse_record(record, AUTO, "f:1") == Conversation(
        (
            Message("system", "s"),
            Message("user", "hi"),
            Message("assistant", "", (call, call)),
            Message("tool", "found"),
            Message("assistant", "hello"),
        ),
        source="f:1",
    )


def test_openai_former_and_present_names() -> None:
    record = turns(
        {"role": "developer", "content": "s"},
        {"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": ""}},
        {"role": "function", "name": "f", "content": "y"},
    )
    messages = parse_record(record, AUTO).messages
    assert [message.role for message in messages] == ["system", "assistant", "tool"]
    assert messages[1] == Message("assistant", "x", (ToolCall("f", "{}"),))


def test_content_as_parts_is_joined() -> None:
    parts = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}, "!"]
    record = turns(HI, {"role": "assistant", "content": parts})
    assert parse_record(record, AUTO).messages[1].content == "hello!"


def test_parquet_fills_absent_fields_with_null() -> None:
    record = turns({**HI, "tool_calls": None, "function_call": None}, {**HELLO, "tool_calls": []})
    expected = (Message("user", "hi"), Message("assistant", "hello"))
    assert parse_record(record, AUTO).messages == expected


def test_call_without_function_level_and_with_object_arguments() -> None:
    call = {"name": "look", "arguments": {"z": [1.5, None], "a": "é"}}
    record = turns({"role": "assistant", "content": "", "tool_calls": [call]})
    assert parse_record(record, AUTO).messages[0].tool_calls == (
        ToolCall("look", '{"a":"é","z":[1.5,null]}'),
    )


@pytest.mark.parametrize("name", ["conversations", "conversation"])
def test_sharegpt(name: str) -> None:
    record = {
        name: [
            {"from": "system", "value": "s"},
            {"from": "human", "value": "q"},
            {"from": "function_call", "value": '{"name": "f", "arguments": {"b": 1, "a": 2}}'},
            {"from": "observation", "value": "o"},
            {"from": "function_call", "value": [{"name": "g"}, {"name": "h"}]},
            {"from": "tool", "value": "t"},
            {"from": "gpt", "value": "a"},
        ]
    }
    expected = (
        Message("system", "s"),
        Message("user", "q"),
        Message("assistant", "", (ToolCall("f", '{"a":2,"b":1}'),)),
        Message("tool", "o"),
        Message("assistant", "", (ToolCall("g", "{}"), ToolCall("h", "{}"))),
        Message("tool", "t"),
        Message("assistant", "a"),
    )
    for form in ("auto", "sharegpt"):
        assert parse_record(record, Layout(form)).messages == expected


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"instruction": "q", "output": "a"}, "q"),
        ({"instruction": "q", "input": "c", "output": "a"}, "q\n\nc"),
        ({"instruction": "q", "input": "", "output": "a"}, "q"),
        ({"instruction": "q", "input": None, "response": "a"}, "q"),
        ({"instruction": "", "input": "c", "output": "a"}, "c"),
        ({"instruction": "q", "context": "c", "response": "a"}, "q\n\nc"),
        ({"Question": "q", "ANSWER ": "a"}, "q"),
        ({"prompt": "q", "completion": "a"}, "q"),
        ({"input": "q", "output": "a"}, "q"),
    ],
)
def test_instruction_forms(record: dict[str, object], said: str) -> None:
    for form in ("auto", "instruction"):
        assert parse_record(record, Layout(form)).messages == (
            Message("user", said),
            Message("assistant", "a"),
        )


def test_the_format_decides_where_a_record_fits_two() -> None:
    record = turns(HI, HELLO, question="q", answer="a")
    assert parse_record(record, AUTO).messages[0].content == "hi"
    assert parse_record(record, Layout("messages")).messages[0].content == "hi"
    assert parse_record(record, Layout("instruction")).messages[0].content == "q"
    named = Layout(columns=(("instruction", "question"),))
    assert parse_record(record, named).messages[0].content == "q"


def test_turns_may_be_json_text_in_a_cell() -> None:
    record = {"messages": json.dumps([HI, HELLO])}
    assert len(parse_record(record, AUTO).messages) == 2


def test_a_records_own_system_prompt() -> None:
    record = {"system_prompt": "s", "question": "q", "answer": "a"}
    assert parse_record(record, AUTO).messages[0] == Message("system", "s")
    kept = parse_record(turns({"role": "system", "content": "t"}, HELLO, system="s"), AUTO).messages
    assert kept == (Message("system", "t"), Message("assistant", "hello"))
    assert len(parse_record(turns(HI, HELLO, system=None), AUTO).messages) == 2


def test_owner_client_and_label() -> None:
    got = parse_record(turns(HELLO, user_id=7, shop="ada", intent="refund"), AUTO)
    assert (got.owner, got.client, got.label) == ("7", "ada", "refund")
    got = parse_record(turns(HELLO, owner=None, client=" ", label=""), AUTO)
    assert (got.owner, got.client, got.label) == (None, None, None)
    assert parse_record(turns(HELLO, owner=" eve\t"), AUTO).owner == "eve"
    layout = Layout(columns=(("owner", "who"), ("client", "label"), ("label", "label")))
    got = parse_record(turns(HELLO, who="eve", label="x", owner="no"), layout)
    assert (got.owner, got.client, got.label) == ("eve", "x", "x")


def test_a_column_of_speech_is_never_taken_for_an_owner() -> None:
    record = {"user": "hello?", "customer": "it broke", "question": "q", "answer": "a"}
    assert parse_record(record, AUTO).owner is None


def test_common_names_go_by_order_and_not_by_position() -> None:
    found = find_columns(("category", "answer", "intent", "output", "question"), AUTO)
    assert found == {"instruction": "question", "response": "output", "label": "intent"}
    assert find_columns(("question", "answer", "messages"), AUTO) == {"messages": "messages"}
    talk = Layout(columns=(("messages", "talk"),))
    assert find_columns(("messages", "talk"), talk) == {"messages": "talk"}


def call(**fields: object) -> dict[str, object]:
    return turns({**HELLO, "tool_calls": [fields]})


def said(content: object) -> dict[str, object]:
    return turns({"role": "user", "content": content})


CLIENT, LABEL = Layout(required=("client",)), Layout(required=("label",))
NAMED = Layout(columns=(("owner", "user"),))
FAULTS = [
    ([HI], AUTO, "not an object", "list"),
    (turns("x"), AUTO, "turn is not an object", "turn 1 is text"),
    ({"messages": {"role": "user"}}, AUTO, "turns are not a list", "object"),
    ({"messages": None}, AUTO, "turns are not a list", "null"),
    ({"messages": "["}, AUTO, "broken JSON", "column"),
    (turns(HI, {"role": "asistant", "content": "x"}), AUTO, "unknown role", "'assistant'"),
    (turns({"content": "x"}), AUTO, "unknown role", "None in turn 1"),
    (turns({"role": 3, "content": "x"}), AUTO, "unknown role", "3 in turn 1"),
    (turns({"role": [], "content": "x"}), AUTO, "unknown role", "[]"),
    ({"conversations": [{"from": "humn", "value": ""}]}, AUTO, "unknown role", "'human'"),
    (turns({"from": "human", "value": ""}), Layout("messages"), "unknown role", "None"),
    ({"conversations": [HI]}, Layout("sharegpt"), "unknown role", "None"),
    (turns(HI), AUTO, "no assistant turn", "1 turns"),
    (turns(), AUTO, "no assistant turn", "0 turns"),
    (turns(HI, {"role": "assistant", "content": " \n"}), AUTO, "empty assistant turn", "turn 2"),
    (turns({"role": "assistant", "content": ""}, HELLO), AUTO, "empty assistant turn", "turn 1"),
    (turns({"role": "tool", "content": "x"}, HELLO), AUTO, "tool turn before any call", "turn 1"),
    (turns({"role": "assistant", "content": None}), AUTO, "content is not text", "null"),
    (turns({"role": "assistant"}), AUTO, "content is not text", "null"),
    (said(None), AUTO, "content is not text", "null"),
    (said(5), AUTO, "content is not text", "turn 1 is a number"),
    (said("\0"), AUTO, "NUL character", "turn 1"),
    (said(True), AUTO, "content is not text", "true"),
    (said({}), AUTO, "content is not text", "object"),
    (said([{"type": "image_url"}]), AUTO, "content is not text", "image_url"),
    (said([{"type": "text"}]), AUTO, "content is not text", "null"),
    (said([7]), AUTO, "content is not text", "number"),
    (said("\ud800"), AUTO, "lone surrogate", "turn 1"),
    (said("a\0b"), AUTO, "NUL character", "turn 1"),
    (turns({**HI, "tool_calls": [CALL]}), AUTO, "broken tool call", "user"),
    (turns({**HELLO, "tool_calls": {"a": 1}}), AUTO, "broken tool call", "turn 1 is an object"),
    (turns({**HELLO, "tool_calls": ["f"]}), AUTO, "broken tool call", "text"),
    (call(function=None), AUTO, "broken tool call", "null"),
    (call(name=" "), AUTO, "broken tool call", "name"),
    (call(name=5), AUTO, "broken tool call", "name"),
    (call(name="\udc00"), AUTO, "lone surrogate", "tool"),
    (call(name="f", arguments="[1]"), AUTO, "broken tool call", "list"),
    (call(name="f", arguments="{"), AUTO, "broken JSON", "column"),
    (call(name="f", arguments=5), AUTO, "broken tool call", "number"),
    (call(name="f", arguments={"a": "\ud800"}), AUTO, "lone surrogate", "arguments"),
    ({"conversations": [{"from": "function_call", "value": "f()"}]}, AUTO, "broken JSON", "column"),
    ({"conversations": [{"from": "function_call"}]}, AUTO, "broken tool call", "null"),
    ({"instruction": "", "output": "a"}, AUTO, "empty instruction", "instruction"),
    ({"instruction": "q", "output": " "}, AUTO, "empty assistant turn", "turn 2"),
    ({"instruction": "q", "output": None}, AUTO, "content is not text", "'output' is null"),
    ({"instruction": [HI], "output": "a"}, AUTO, "content is not text", "list"),
    ({"instruction": "q", "input": 3, "output": "a"}, AUTO, "content is not text", "'input'"),
    (turns(HELLO, system=4), AUTO, "content is not text", "'system'"),
    (turns(HELLO, owner=1.5), AUTO, "owner is not a name", "number"),
    (turns(HELLO, owner=True), AUTO, "owner is not a name", "true"),
    (turns(HELLO, client=["a"]), AUTO, "client is not a name", "list"),
    (turns(HELLO, label="\udfff"), AUTO, "lone surrogate", "'label'"),
    (turns(HELLO, client=None), CLIENT, "empty client", "'client'"),
    (turns(HELLO, intent=""), LABEL, "empty label", "'intent'"),
    (turns(HELLO), CLIENT, "missing column", 'client_column = "NAME"'),
    (turns(HELLO, shp="a"), CLIENT, "missing column", 'client_column = "shp"'),
    ({"a": 1}, AUTO, "missing column", "the columns are 'a'"),
    ({}, AUTO, "missing column", "the columns are none"),
    ({"question": "q", "anwser": "a"}, AUTO, "missing column", 'response_column = "anwser"'),
    ({"a": 1}, AUTO, "missing column", "the instruction, and no column holds all turns; the"),
    ({"messages": []}, Layout("instruction"), "missing column", "the instruction; the columns"),
    (
        {"conversations": []},
        Layout("messages"),
        "missing column",
        "the turns; the columns are 'con",
    ),
    (
        {"messages": []},
        Layout("sharegpt"),
        "missing column",
        "the turns; the columns are 'messages'",
    ),
    ({str(n): n for n in range(21)}, AUTO, "missing column", "'19' and 1 more"),
    (turns({"content": ""}), AUTO, "unknown role", "developer"),
    (turns(HELLO, uid=1), NAMED, "missing column", "'user' (owner_column)"),
]


@pytest.mark.parametrize(("record", "layout", "kind", "shown"), FAULTS)
def test_faults_begin_with_their_kind(
    record: object, layout: Layout, kind: str, shown: str
) -> None:
    with pytest.raises(DataError) as caught:
        parse_record(record, layout)
    assert caught.value.seen.partition(":")[0] == kind
    assert shown in str(caught.value)


def test_an_error_offers_only_what_there_is() -> None:
    for record, absent in (
        (turns({"role": "zzz", "content": ""}), "Write"),
        ({str(n): n for n in range(20)}, "more"),
    ):
        with pytest.raises(DataError) as caught:
            parse_record(record, AUTO)
        assert absent not in str(caught.value)


def test_what_others_say_may_be_empty() -> None:
    empty = {"role": "user", "content": ""}
    tool = {"role": "tool", "content": ""}
    record = turns(empty, {**HELLO, "tool_calls": [CALL]}, tool, HELLO)
    assert [message.content for message in parse_record(record, AUTO).messages] == [
        *("", "hello", "", "hello")
    ]


def test_a_turn_with_a_role_is_read_by_its_role() -> None:
    record = turns({"role": "assistant", "content": "a", "from": "human", "value": "h"})
    assert parse_record(record, AUTO).messages == (Message("assistant", "a"),)


def test_a_tool_may_answer_after_the_first_call_only() -> None:
    early = turns({"role": "tool", "content": "x"}, {**HELLO, "tool_calls": [CALL]})
    with pytest.raises(DataError, match="before any call: turn 1"):
        parse_record(early, AUTO)


def test_faults_never_quote_what_was_said() -> None:
    secret = "my number is 12345"
    records = [
        turns({"role": "user", "content": secret}),
        said({"t": secret}),
        call(name="f", arguments=secret),
        call(name="f", arguments=[secret]),
        said(secret + "\0"),
        said(secret + "\ud800"),
        {"messages": secret},
        {"instruction": secret, "output": ""},
    ]
    for record in records:
        with pytest.raises(DataError) as caught:
            parse_record(record, AUTO)
        assert "12345" not in str(caught.value)


def test_a_hostile_name_does_not_fill_the_screen() -> None:
    for record, layout in (
        (turns({"role": "x" * 10**6, "content": ""}), AUTO),
        ({"y" * 10**6: 1}, AUTO),
        ({f"column {n}": 1 for n in range(10**4)}, AUTO),
        (turns(HELLO, **{"client" + "y" * 10**6: 1}), CLIENT),
    ):
        with pytest.raises(DataError) as caught:
            parse_record(record, layout)
        assert len(str(caught.value)) < 2500


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "Expecting value"),
        ("{", "column 2"),
        ('{"a":1,}', "column"),
        ('{"a":1} {"a":2}', "a second value follows at column 9"),
        ('{"a":1,"a":1}', "'a' stands twice"),
        ('{"b":{"a":1,"a":1}}', "'a' stands twice"),
        ("[NaN]", "NaN"),
        ("-Infinity", "Infinity"),
        pytest.param("[" * 10**6, "nested too deeply", id="deep lists"),
        pytest.param('{"a":' * 10**6, "nested too deeply", id="deep objects"),
        pytest.param("1" * 5000, "digits", id="digits"),
        ('"a\tb"', "control character"),
        ("{'a': 1}", "double quotes"),
    ],
)
def test_json_is_strict(text: str, shown: str) -> None:
    with pytest.raises(DataError, match="broken JSON") as caught:
        decode_json(text)
    assert shown in str(caught.value)


def test_json_may_stand_between_blanks() -> None:
    assert decode_json(' \t{"a": "\u2028"}\r\n') == {"a": "\u2028"}


# No lone surrogate and no NUL: those are refused, which other tests show.
names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(names, json_values, max_size=4), st.randoms())
def test_arguments_have_one_form_only(value: dict[str, object], random: object) -> None:
    text = canonical_arguments(value)
    assert json.loads(text) == value
    assert canonical_arguments(text) == text
    shuffled = list(value)
    random.shuffle(shuffled)
    spaced = json.dumps({name: value[name] for name in shuffled}, indent=3)
    assert canonical_arguments(spaced) == text
    assert list(json.loads(text)) == sorted(value)
    assert len(text) <= len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def test_arguments_that_have_no_json_form() -> None:
    for value in ({"a": float("nan")}, {"a": float("inf")}, {"a": object()}, '{"a": 1e999}'):
        with pytest.raises(DataError, match="broken tool call"):
            canonical_arguments(value)
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(DataError, match="broken tool call"):
        canonical_arguments(deep)


VOCABULARY = (
    "messages conversations role from content value user assistant human gpt tool tool_calls "
    "function_call function name arguments type text instruction output input system owner client"
)
words = st.sampled_from([*re.findall(r"\w+", VOCABULARY), "", "{}", "é", "\ud800", "\0"])
hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
    max_leaves=12,
)
hostile_calls = st.lists(st.fixed_dictionaries({"name": words, "arguments": hostile}), max_size=2)
hostile_turns = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool", "x"]), "content": hostile},
    optional={"tool_calls": hostile_calls},
)
hostile_records = hostile | st.fixed_dictionaries({"messages": st.lists(hostile_turns, max_size=4)})


@settings(max_examples=100, deadline=None)
@given(hostile_records, st.sampled_from(["auto", "messages", "sharegpt", "instruction"]))
def test_whatever_comes_is_a_sound_conversation_or_a_data_error(record: object, form: str) -> None:
    try:
        got = parse_record(record, Layout(form))
    except DataError as error:
        assert ":" in error.seen
        return
    assert any(message.role == "assistant" for message in got.messages)
    called = False
    for message in got.messages:
        called = called or bool(message.tool_calls)
        assert message.role != "tool" or called
        assert message.role != "assistant" or message.content.strip() or message.tool_calls
        texts = [message.content]
        for one in message.tool_calls:
            assert canonical_arguments(one.arguments) == one.arguments
            texts += [one.name, one.arguments]
        assert b"\0" not in "".join(texts).encode()


@settings(deadline=None)
@given(st.text(alphabet="ab \n\t", max_size=60), st.integers(0, 12))
def test_documents_join_to_the_text(text: str, characters: int) -> None:
    pieces = list(split_documents(text, characters))
    if not text.strip():
        assert pieces == []
        return
    assert "".join(piece for _, piece in pieces) == text
    before = ""
    for number, (line, piece) in enumerate(pieces):
        assert line == before.count("\n") + 1
        assert piece.strip()
        if number:
            assert piece.split("\n")[0].strip(), "a later document begins with words"
            assert before.endswith("\n")
            assert not before.split("\n")[-2].strip(), "a document ends with a blank line"
        before += piece
        paragraphs = re.split(r"\n[ \t]*\n\s*", piece.strip())
        sizes = [sum(len(one.strip()) for one in part.split("\n")) for part in paragraphs]
        assert sum(sizes) >= characters or number == len(pieces) - 1
        assert len(sizes) == 1 or sum(sizes[:-1]) < characters, "cut at the first chance"


def test_speeches() -> None:
    text = (
        "\n\nROMEO:\nO,\nspeak\n\n\n  \nAll the lords:\nAy.\n\nEMPTY:\n\nno name\nhere\n\nA: b\nc"
    )
    assert list(split_speeches(text)) == [
        (3, "ROMEO", "O,\nspeak"),
        (9, "All the lords", "Ay."),
        (12, "EMPTY", ""),
        (14, "", "here"),
        (17, "", "c"),
    ]
    assert list(split_speeches("")) == []


def test_nearest() -> None:
    assert nearest("Assistent", ("user", "assistant")) == "assistant"
    assert nearest("zzz", ("user", "assistant")) == ""
    assert nearest("answer", ("Question", "Answers")) == "Answers"
