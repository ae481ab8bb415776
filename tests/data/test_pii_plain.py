"""Plain words: counted once whatever follows, no name begins with them, and replies begin with them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.data.pii.default import default_detector
from sottovoce.data.pii.replace import Mask
from sottovoce.data.pii.settings import PiiSettings, Recogniser
from sottovoce.data.pii.stream import ReplyFilter
from sottovoce.data.scrub import scrub

CHINESE = Path(__file__).parents[1] / "vectors" / "scrub_zh.jsonl"
PARTS = (
    *(
        "Your order ",
        "has been shipped to ",
        "Maria Garcia ",
        "Thank you, ",
        "Hello, ",
        "Dr. ",
        "may ",
    ),
    *(
        "the bank of ",
        "London ",
        "by tomorrow. ",
        "rose ",
        "We sent it? ",
        "my wechat is ",
        "sunshine ",
    ),
    *(
        "您好，",
        "感谢您的",
        "非常",
        "谢敏",
        "。”",
        "订单",
        "王丽华",
        "已经",
        "发货。",
        "138 1234 5678",
        "微信号：\n",
        "\n",
        "x" * 90,
    ),
)
REPLIES = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)


@pytest.fixture(scope="module")
def detector():
    return default_detector(PiiSettings())


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("your order has been ", "your order has been "),
        ("your order", "your "),
        ("Your order, and these, is", "Your order, and these, "),
        ("Hello Maria", "Hello "),
        ("Bank of America", ""),
        ("rose and thorn ", ""),
        ("may I ", ""),
        ("your@", ""),
        ("sunshine-88 ", ""),
        ("您好，王丽华", "您好，"),
        ("感谢您的订单", "感谢您的订单"),
        ("您", ""),
        ("", ""),
    ],
)
def test_which_words_are_plain(detector, text, plain):
    assert text[: detector.nothing_until(text)] == plain


@given(REPLIES, st.integers(0, 200))
def test_what_has_been_counted_stays_counted(detector, text, cut):
    early = detector.nothing_until(text[:cut])
    assert detector.nothing_until(text) >= early
    assert text[early:cut] == "" or detector.nothing_until(text[early:]) == (
        detector.nothing_until(text) - early
    )


def test_nothing_that_is_found_begins_with_a_plain_word(detector):
    lines = CHINESE.read_text(encoding="utf-8").splitlines()[::8]
    texts = [json.loads(line)["text"] for line in lines]
    texts += [
        "The old professional orchestra plays.",
        "He works at general electronic systems ltd.",
    ]
    found = [
        (text, span)
        for text, spans in zip(texts, detector.batch(texts), strict=True)
        for span in spans
    ]
    assert len(found) > 300
    assert not [text for text, span in found if detector.nothing_until(text[span.start :])]


def test_a_name_keeps_what_is_behind_its_plain_words():
    class Reads:
        def batch(self, texts):
            from sottovoce.data.pii.span import Span

            return [[Span(0, len(text), "PERSON", 0.9, "tagger")] for text in texts]

    from dataclasses import replace

    found = replace(default_detector(PiiSettings()), tagger=Reads())
    assert [(s.start, s.end) for s in found.spans("our order Maria")] == [(10, 15)]
    assert found.spans("is here ") == []


def test_nothing_begins_in_the_middle_of_the_plain_words_of_its_sentence(detector):
    assert [(s.start, s.end) for s in detector.spans("订单Dr. Dr. ")] == [(2, 9)]
    plain = detector.plain
    assert plain.behind("谢谢。订单X", 4) == 5
    assert plain.behind("感谢谢敏", 2) == 2, "here a name begins with the end of a word"
    assert plain.behind("X订单X", 2) == 2, "behind what is not plain all waits"
    assert plain.behind("x" * 300 + "订单X", 301) == 301


def test_with_own_recognisers_nothing_can_be_told():
    own = Recogniser(name="project", kind="PROJECT", deny_list=("order falcon",))
    assert default_detector(PiiSettings(recognisers=(own,))).nothing_until("your order ") == 0
    assert default_detector(PiiSettings(kinds=("EMAIL",))).nothing_until("your order ") == 0


def filtered(detector, text, cuts, nothing_until="its own"):
    places = sorted({min(cut, len(text)) for cut in (0, len(text), *cuts)})
    early = detector.nothing_until if nothing_until == "its own" else nothing_until
    reply = ReplyFilter(detector, Mask(), (), early)
    return [*(reply.feed(text[a:b]) for a, b in pairwise(places)), reply.end()]


@given(REPLIES, st.lists(st.integers(0, 300), max_size=8))
@settings(max_examples=60, deadline=None)
def test_a_reply_is_the_same_however_it_is_cut(detector, text, cuts):
    whole = "".join(filtered(detector, text, []))
    assert "".join(filtered(detector, text, cuts)) == whole
    assert "".join(filtered(detector, text, range(len(text)))) == whole


@given(st.lists(st.sampled_from([part for part in PARTS if len(part) < 90]), max_size=8))
@settings(max_examples=60, deadline=None)
def test_that_words_do_not_wait_changes_nothing_that_is_told(detector, parts):
    """In sentences that fit into the window; longer ones are cut at other places."""
    text = "".join(parts)
    waited = "".join(filtered(detector, text, [], nothing_until=None))
    assert "".join(filtered(detector, text, range(len(text)))) == waited


def test_plain_words_do_not_wait(detector):
    pieces = [
        "Your",
        " order",
        " for",
        " Maria",
        " Garcia",
        " has",
        " left",
        ".",
        " It",
        " is",
        " on",
    ]
    reply = ReplyFilter(detector, Mask(), (), detector.nothing_until)
    shown = [reply.feed(piece) for piece in pieces]
    assert shown[:4] == ["", "Your ", "order ", "for "]
    assert shown[4:8] == ["", "", "", ""]
    assert "".join(shown) == "Your order for [PERSON] has left. It is "


def test_behind_a_word_that_waits_for_a_name_all_waits(detector):
    reply = ReplyFilter(detector, Mask(), (), detector.nothing_until)
    assert reply.feed("My wechat: sunshine is what you want ") == "My "
    assert reply.end() == "wechat: [WECHAT] is what you want "
    reply = ReplyFilter(detector, Mask(), (), detector.nothing_until)
    assert reply.feed("微信号：\nsunshine is ") == "微信号：\n"
    assert reply.end() == "[WECHAT] is "


def test_in_the_middle_of_a_long_sentence_nothing_is_plain(detector):
    text = "Wechat " + "and more " * 12 + "wechat id " + "sunshine " * 30
    assert "".join(filtered(detector, text, range(len(text)))) == scrub(text, detector, Mask()).text
