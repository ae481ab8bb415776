"""ROUGE-L against an outside package and a slow table; calls and matches."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.data.conversation import ToolCall
from sottovoce.tasks.scoring import (
    common_subsequence,
    exact_match,
    rouge_l,
    rouge_tokens,
    tool_call_score,
)

VECTORS = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "rouge_l.json").read_text("utf-8")
)
words = st.lists(st.sampled_from("abc"), max_size=40)


def table_length(left, right):
    """The textbook recurrence, one cell at a time."""
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


@pytest.mark.parametrize("case", VECTORS["cases"])
def test_rouge_l_equals_the_outside_package(case):
    assert rouge_l(case["candidate"], case["reference"]) == pytest.approx(case["rouge_l"])


@given(words, words)
def test_common_subsequence_equals_the_quadratic_table(left, right):
    assert common_subsequence(left, right) == table_length(left, right)


def test_common_subsequence_of_long_texts():
    left = [str(i % 97) for i in range(700)]
    right = [str(i % 89) for i in range(650)]
    assert common_subsequence(left, right) == table_length(left, right)


@given(words, words)
def test_rouge_l_is_symmetric_and_one_only_for_equal_tokens(left, right):
    score = rouge_l(" ".join(left), " ".join(right))
    assert score == rouge_l(" ".join(right), " ".join(left))
    assert 0 <= score <= 1
    assert (score == 1) == (left == right)


def test_rouge_l_of_nothing():
    assert rouge_l("", "...") == 1
    assert rouge_l("", "word") == 0
    assert rouge_l("word", "") == 0


def test_rouge_tokens_are_words_and_chinese_characters():
    assert rouge_tokens("Café Straße, order_7") == ["café", "straße", "order", "7"]
    assert rouge_tokens("我要退ABC订单。") == ["我", "要", "退", "abc", "订", "单"]
    assert rouge_tokens("カタ・かな") == ["カ", "タ", "か", "な"]
    assert rouge_tokens("안녕 하세요") == ["안녕", "하세요"]
    assert rouge_tokens("Привет, мир") == ["привет", "мир"]


def test_full_width_forms_are_the_same_tokens():
    assert rouge_tokens("订单ＡＢ１２") == rouge_tokens("订单ab12")


def test_calls_match_by_name_and_arguments():
    call = ToolCall("find", '{"a":1,"b":"é"}')
    same = ToolCall("find", '{ "b": "\\u00e9", "a": 1 }')
    assert tool_call_score([same], [call]) == 1
    assert tool_call_score([ToolCall("seek", call.arguments)], [call]) == 0
    assert tool_call_score([ToolCall("find", '{"a":2,"b":"é"}')], [call]) == 0
    assert tool_call_score([], [call]) == 0
    assert tool_call_score([call, call], [call]) == 0
    assert tool_call_score([], []) == 1


def test_the_order_of_calls_is_free():
    first, second = ToolCall("find", '{"id":"1"}'), ToolCall("find", '{"id":"2"}')
    assert tool_call_score([second, first], [first, second]) == 1


def test_arguments_that_are_no_json_object_are_compared_as_they_stand():
    assert tool_call_score([ToolCall("f", "{oops")], [ToolCall("f", "{oops")]) == 1
    assert tool_call_score([ToolCall("f", "{oops")], [ToolCall("f", "{}")]) == 0


def test_exact_match_forgives_white_space_alone():
    assert exact_match("a  b\n", "a b")
    assert not exact_match("a b", "A b")
    assert not exact_match("ab", "a b")
