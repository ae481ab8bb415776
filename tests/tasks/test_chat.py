"""From conversations to sequences: golden text and mask, cuts, templates that rewrite, answers."""

import re
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import example as case
from hypothesis import strategies as st

from sottovoce import model
from sottovoce.data.conversation import Conversation, Message, ToolCall
from sottovoce.errors import ConfigError, ModelError
from sottovoce.model.tokenizer import load_tokenizer
from sottovoce.tasks.chat import (
    EncodeSummary,
    encode_all,
    encode_chat,
    messages_of,
    parse_answer,
    prompts,
)

FIND = ToolCall("find", '{"id":"7"}')
LOOKUP = Conversation(
    (
        Message("system", "Be brief."),
        Message("user", "Where is 7? 在哪里？"),
        Message("assistant", "", (FIND,)),
        Message("tool", '{"status":"sent"}'),
        Message("assistant", "It left. 已发货📦"),
        Message("user", "Thanks"),
    ),
    owner="ada",
)
HEADED = "{% for m in messages %}<|{{ m.role }}|>\n"
PROMPTED = "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
WITH_LINE_BREAKS = HEADED + "{{ m.content }}<|end|>\n{% endfor %}" + PROMPTED
STRIPS_EARLIER_THOUGHT = (
    HEADED
    + "{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
ENDS_WITH_A_MARK = (
    HEADED + "{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}<|text|>{% endif %}"
)
ANSWERS_ELSEWHERE = (
    HEADED + "{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|tool|>{% endif %}"
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def dialogue(*turns, system=None, **facts):
    """A conversation from alternating user and assistant texts."""
    head = (Message("system", system),) if system is not None else ()
    roles = ("user", "assistant") * len(turns)
    return Conversation(
        head + tuple(Message(r, t) for r, t in zip(roles, turns, strict=False)), **facts
    )


def runs(example, tokenizer):
    """The text of each run of tokens with one mask value."""
    pairs = zip(example.supervised.tolist(), example.tokens.tolist(), strict=True)
    return [
        (flag, tokenizer.decode([token for _, token in run], keep_special=True))
        for flag, run in groupby(pairs, key=lambda pair: pair[0])
    ]


def targets(examples, tokenizer):
    return [text for example in examples for flag, text in runs(example, tokenizer) if flag]


def whole(example, tokenizer):
    return tokenizer.decode(example.tokens.tolist(), keep_special=True)


def length(conversation, tokenizer):
    return len(tokenizer.encode(tokenizer.render(messages_of(conversation))))


def test_golden_text_and_mask(tokenizer):
    (example,), summary = encode_chat(LOOKUP, tokenizer, 512)
    assert runs(example, tokenizer) == [
        (False, "<|system|>Be brief.<|end|><|user|>Where is 7? 在哪里？<|end|><|assistant|>"),
        (True, '<|call|>{"name":"find","arguments":{"id":"7"}}<|end|>'),
        (False, '<|tool|>{"status":"sent"}<|end|><|assistant|>'),
        (True, "It left. 已发货📦<|end|>"),
    ]
    assert example.owner == "ada"
    assert example.tokens.dtype == np.int32
    assert example.supervised.dtype == np.bool_
    assert summary == EncodeSummary(
        kept=1, tokens=len(example.tokens), supervised_tokens=int(example.supervised.sum())
    )


def test_golden_text_and_mask_of_the_bundled_tokenizer():
    folder = Path(model.__file__).parent / "tiny"
    if not (folder / "tokenizer.json").is_file():
        pytest.skip("the bundled model has not been made: src/sottovoce/model/tiny")
    test_golden_text_and_mask(load_tokenizer(str(folder)))


def test_bytes_of_one_character_share_its_mask(byte_fallback):
    conversation = dialogue("在📦", "发货é📦", "好", "📦")
    (example,), _ = encode_chat(conversation, byte_fallback, 512)
    assert targets([example], byte_fallback) == ["发货é📦<|end|>", "📦<|end|>"]
    # Every character is unknown, so its UTF-8 bytes are its tokens.
    assert example.supervised.sum() == len("发货é📦".encode()) + len("📦".encode()) + 2


def test_mask_equals_that_of_transformers(tokenizer):
    (example,), _ = encode_chat(LOOKUP, tokenizer, 512)
    messages = messages_of(LOOKUP)[:-1]
    messages[2]["tool_calls"][0]["function"]["arguments"] = {"id": "7"}
    judged = tokenizer.vendor.apply_chat_template(
        messages, return_assistant_tokens_mask=True, return_dict=True
    )
    assert example.tokens.tolist() == judged["input_ids"]
    assert example.supervised.tolist() == [bool(flag) for flag in judged["assistant_masks"]]


def spoken(text):
    """What a text reads as: a special token that somebody wrote gets a space inside."""
    names = ["pad", "end", "system", "user", "assistant", "tool", "call", "text"]
    return re.sub(rf"<\|({'|'.join(names)})\|>", r"< |\1|>", text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(words, min_size=2, max_size=6))
@case(["", "<|user|>"])
def test_any_text_is_supervised_to_the_byte(tokenizer, turns):
    conversation = dialogue(*turns)
    (example,), _ = encode_chat(conversation, tokenizer, 4096)
    answers = [spoken(text) + "<|end|>" for text in turns[1::2]]
    assert targets([example], tokenizer) == answers
    assert not example.supervised[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(words, min_size=2, max_size=12), st.integers(2, 120))
@case(["", "<|user|>"], 18)
def test_cuts_keep_their_promises(tokenizer, turns, max_length):
    turns = [f"{at}:{text}" for at, text in enumerate(turns)]
    conversation = dialogue(*turns, system="S")
    examples, summary = encode_chat(conversation, tokenizer, max_length)
    found = targets(examples, tokenizer)
    expected = [spoken(text) + "<|end|>" for text in turns[1::2]]
    for example in examples:
        assert len(example.tokens) <= max_length
        assert example.supervised.any()
        assert not example.supervised[0]
        assert whole(example, tokenizer).startswith("<|system|>S<|end|><|user|>")
    assert len(set(found)) == len(found)
    untouched = [text for text in expected if text in found]
    assert len(untouched) >= len(expected) - summary.truncated - summary.dropped
    assert summary.kept == bool(examples)
    assert summary.cut == (len(examples) + summary.dropped > 1)
    assert summary.tokens == sum(len(example.tokens) for example in examples)
    assert summary.supervised_tokens == sum(example.supervised.sum() for example in examples)


def test_a_long_conversation_is_cut_before_user_turns(tokenizer):
    first, second = ("Where?", "Here."), ("And when?", "Now.")
    limit = length(dialogue(*first, *second, system="S"), tokenizer)
    examples, summary = encode_chat(dialogue(*first, *second, *first, system="S"), tokenizer, limit)
    head = "<|system|>S<|end|>"
    one = "<|user|>Where?<|end|><|assistant|>Here.<|end|>"
    two = "<|user|>And when?<|end|><|assistant|>Now.<|end|>"
    assert [whole(example, tokenizer) for example in examples] == [head + one + two, head + one]
    assert (summary.kept, summary.cut, summary.truncated, summary.dropped) == (1, 1, 0, 0)


@pytest.mark.parametrize("short", [0, 1])
def test_an_exchange_that_just_fits_stays_and_one_token_less_cuts(tokenizer, short):
    turns = ("Where?", "Here.", "And when?", "Now.", "Why though?", "Rain.")
    limit = length(dialogue(*turns[:4]), tokenizer) - short
    examples, summary = encode_chat(dialogue(*turns), tokenizer, limit)
    assert len(targets(examples[:1], tokenizer)) == 2 - short
    assert summary.truncated == summary.dropped == 0


def test_a_call_its_result_and_the_answer_stay_together(tokenizer):
    limit = length(LOOKUP, tokenizer)
    twice = Conversation(LOOKUP.messages + LOOKUP.messages[1:5])
    examples, summary = encode_chat(twice, tokenizer, limit)
    assert len(examples) == 2
    assert all("<|call|>" in whole(e, tokenizer) for e in examples)
    assert all(len(targets([e], tokenizer)) == 2 for e in examples)
    assert summary.cut == 1


def test_an_exchange_too_long_alone_loses_its_end(tokenizer):
    conversation = dialogue("Where?", "It left our shop today")
    full, _ = encode_chat(conversation, tokenizer, 512)
    (example,), summary = encode_chat(conversation, tokenizer, len(full[0].tokens) - 3)
    assert example.tokens.tolist() == full[0].tokens.tolist()[:-3]
    assert example.supervised.tolist() == full[0].supervised.tolist()[:-3]
    assert (summary.kept, summary.cut, summary.truncated, summary.dropped) == (1, 0, 1, 0)


def test_an_exchange_whose_question_fills_the_length_is_dropped(tokenizer):
    long = dialogue("Where is my order? " * 9, "Here.", "And now?", "Gone.")
    examples, summary = encode_chat(long, tokenizer, 24)
    assert targets(examples, tokenizer) == ["Gone.<|end|>"]
    assert (summary.kept, summary.truncated, summary.dropped) == (1, 0, 1)
    examples, summary = encode_chat(dialogue("Where is my order? " * 9, "Here."), tokenizer, 24)
    assert examples == []
    assert summary == EncodeSummary(dropped=1)


def test_a_conversation_without_an_answer_gives_nothing(tokenizer):
    assert encode_chat(dialogue("Anyone?", system="S"), tokenizer, 64) == ([], EncodeSummary())
    assert encode_chat(Conversation(()), tokenizer, 64) == ([], EncodeSummary())


def test_a_greeting_may_come_first(tokenizer):
    conversation = Conversation((Message("assistant", "Hello"), Message("user", "Hi")))
    (example,), _ = encode_chat(conversation, tokenizer, 64)
    assert runs(example, tokenizer) == [(False, "<|assistant|>"), (True, "Hello<|end|>")]


def test_a_system_turn_in_the_middle_opens_an_exchange(tokenizer):
    late = Conversation(
        (*dialogue("a", "b").messages, Message("system", "S"), *dialogue("c", "d").messages)
    )
    limit = length(Conversation(late.messages[2:]), tokenizer)
    examples, _ = encode_chat(late, tokenizer, limit)
    assert whole(examples[1], tokenizer).startswith("<|system|>S<|end|><|user|>c")


def test_what_follows_the_end_of_a_turn_is_no_target(with_template):
    tokenizer = with_template(WITH_LINE_BREAKS)
    (example,), _ = encode_chat(dialogue("a", "b", "c", "d"), tokenizer, 64)
    assert runs(example, tokenizer) == [
        (False, "<|user|>\na<|end|>\n<|assistant|>\n"),
        (True, "b<|end|>"),
        (False, "\n<|user|>\nc<|end|>\n<|assistant|>\n"),
        (True, "d<|end|>"),
        (False, "\n"),
    ]


def test_without_a_mark_the_target_ends_where_the_turn_does(with_template):
    plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    tokenizer = with_template(plain + "{% if add_generation_prompt %}assistant:{% endif %}")
    (example,), _ = encode_chat(dialogue("a", "b", "c", "d"), tokenizer, 64)
    assert runs(example, tokenizer) == [
        (False, "user: a\nassistant:"),
        (True, " b\n"),
        (False, "user: c\nassistant:"),
        (True, " d\n"),
    ]


def test_the_first_token_is_never_a_target(with_template):
    tokenizer = with_template("{% for m in messages %}{{ m.content }}<|end|>{% endfor %}")
    (example,), _ = encode_chat(Conversation((Message("assistant", "7!"),)), tokenizer, 64)
    assert runs(example, tokenizer) == [(False, "7"), (True, "!<|end|>")]


def test_a_template_that_strips_earlier_thought_is_encoded_turn_by_turn(with_template):
    tokenizer = with_template(STRIPS_EARLIER_THOUGHT)
    conversation = dialogue("a", "x</think>b", "c", "y</think>d", owner="ada")
    examples, summary = encode_chat(conversation, tokenizer, 512)
    assert [runs(example, tokenizer) for example in examples] == [
        [
            (False, "<|user|>\na<|end|>\n<|assistant|>\n"),
            (True, "x</think>b<|end|>"),
            (False, "\n"),
        ],
        [
            (
                False,
                "<|user|>\na<|end|>\n<|assistant|>\nb<|end|>\n<|user|>\nc<|end|>\n<|assistant|>\n",
            ),
            (True, "y</think>d<|end|>"),
            (False, "\n"),
        ],
    ]
    assert [example.owner for example in examples] == ["ada", "ada"]
    assert (summary.kept, summary.cut) == (1, 0)


def test_turn_by_turn_leaves_out_the_earliest_exchanges_that_do_not_fit(with_template):
    tokenizer = with_template(STRIPS_EARLIER_THOUGHT)
    turns = [text for at in range(4) for text in (f"Where is {at}?", f"It left {at}.")]
    limit = length(dialogue(*turns[:4], system="S"), tokenizer) + 1
    thoughtful = [text if at % 2 == 0 else "</think>" + text for at, text in enumerate(turns)]
    examples, summary = encode_chat(dialogue(*thoughtful, system="S"), tokenizer, limit + 12)
    assert targets(examples, tokenizer) == [text + "<|end|>" for text in thoughtful[1::2]]
    last = whole(examples[-1], tokenizer)
    assert last.startswith("<|system|>\nS<|end|>\n<|user|>\nWhere is")
    assert "Where is 2?" in last
    assert "Where is 0?" not in last
    assert all(len(example.tokens) <= limit + 12 for example in examples)
    assert (summary.kept, summary.cut, summary.truncated, summary.dropped) == (1, 1, 0, 0)


def test_a_mark_after_the_last_turn_is_no_target(with_template):
    tokenizer = with_template(ENDS_WITH_A_MARK)
    examples, _ = encode_chat(dialogue("a", "b", "c", "d"), tokenizer, 64)
    assert targets(examples, tokenizer) == ["b<|end|>", "d<|end|>"]
    assert len(examples) == 2


def test_a_template_that_answers_elsewhere_is_refused(with_template):
    conversation = dialogue("a", "b", source="shop.jsonl:7")
    with pytest.raises(ModelError, match=r"shop\.jsonl:7: .*after the generation prompt") as caught:
        encode_chat(conversation, with_template(ANSWERS_ELSEWHERE), 64)
    assert caught.value.remedy


def test_a_refusal_of_the_template_names_the_place(with_template):
    tokenizer = with_template("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(ModelError, match=r"shop\.csv:3: .*roles must alternate"):
        encode_chat(dialogue("a", "b", source="shop.csv:3"), tokenizer, 64)


def test_max_length_below_two_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="max_length is 1"):
        encode_chat(LOOKUP, tokenizer, 1)


def test_encode_all_adds_up(tokenizer):
    some = [LOOKUP, dialogue("Anyone?"), dialogue("a" * 90, "b"), dialogue("a", "b" * 90)]
    parts = [encode_chat(conversation, tokenizer, 64) for conversation in some]
    examples, summary = encode_all(some, tokenizer, 64)
    assert targets(examples, tokenizer) == [
        t for part, _ in parts for t in targets(part, tokenizer)
    ]
    for field in ("kept", "cut", "truncated", "dropped", "tokens", "supervised_tokens"):
        assert getattr(summary, field) == sum(getattr(counts, field) for _, counts in parts)
    assert summary.kept < len(some)
    assert summary.dropped
    assert summary.truncated


def test_messages_are_openai_messages():
    assert messages_of(LOOKUP)[2:4] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call00000",
                    "type": "function",
                    "function": {"name": "find", "arguments": '{"id":"7"}'},
                }
            ],
        },
        {"role": "tool", "content": '{"status":"sent"}', "tool_call_id": "call00000"},
    ]


def test_tool_turns_answer_the_calls_in_order():
    two = Conversation(
        (
            Message("user", "Both?"),
            Message("assistant", "", (FIND, FIND)),
            Message("tool", "1"),
            Message("tool", "2"),
            Message("assistant", "", (FIND,)),
            Message("tool", "3"),
            Message("tool", "of nobody's call"),
        )
    )
    messages = messages_of(two)
    assert [call["id"] for m in messages for call in m.get("tool_calls", [])] == [
        "call00000",
        "call00001",
        "call00002",
    ]
    assert [m.get("tool_call_id") for m in messages if m["role"] == "tool"] == [
        "call00000",
        "call00001",
        "call00002",
        None,
    ]


def test_prompts_hold_what_comes_before_each_answer():
    first, second = prompts(LOOKUP)
    assert list(first.messages) == messages_of(LOOKUP)[:2]
    assert (first.content, first.tool_calls, first.owner) == ("", (FIND,), "ada")
    assert list(second.messages) == messages_of(LOOKUP)[:4]
    assert (second.content, second.tool_calls) == ("It left. 已发货📦", ())


@pytest.mark.parametrize("template", ["bundled", "default"])
def test_a_rendered_answer_is_read_back(tokenizer, with_template, template):
    used = tokenizer if template == "bundled" else with_template(None)
    calls = (FIND, ToolCall("pay", '{"note":"a \\"b\\" é","sum":[1.5,null,true]}'))
    conversation = Conversation((Message("user", "?"), Message("assistant", "One moment.", calls)))
    (example,), _ = encode_chat(conversation, used, 512)
    (written,) = targets([example], used)
    assert parse_answer(written.removesuffix("<|end|>")) == ("One moment.", calls)


@pytest.mark.parametrize(
    "text",
    [
        "<|call|>{",
        "<|call|>",
        '<|call|>{"name": "f", "arguments": NaN}',
        '<|call|>{"name": "f", "arguments": [1]}',
        '<|call|>{"name": 7, "arguments": {}}',
        '<|call|>{"name": "\\ud800", "arguments": {}}',
        '<|call|>{"arguments": {}}',
        "<|call|>[]",
        '<|call|>{"name": "f", "arguments": "no json"}',
        '<|call|>{"name": "f", "arguments": {"a": "\\ud800"}}',
        "<|call|>" + "[" * 5000,
        '<tool_call>{"name": "f"',
        "<tool_call>not json</tool_call>",
        "</tool_call>",
    ],
)
def test_malformed_calls_are_content(text):
    assert parse_answer("Well. " + text) == ("Well. " + text, ())


@given(st.text() | st.text("<|cal>{}[]\"':,tool_/ name"))
def test_parse_answer_never_raises(text):
    content, calls = parse_answer(text)
    assert content in text.strip() or calls


def test_calls_of_both_forms_are_read():
    text = (
        'Sure.<|call|>{"name":"f","arguments":{"b":1,"a":2}}<|call|>{"name":"g"}\n'
        '<tool_call>\n{"name": "h", "arguments": "{\\"c\\": 3}"}\n</tool_call> Done.'
    )
    content, calls = parse_answer(text)
    assert content == "Sure. Done."
    assert calls == (
        ToolCall("f", '{"a":2,"b":1}'),
        ToolCall("g", "{}"),
        ToolCall("h", '{"c":3}'),
    )
