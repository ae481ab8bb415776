"""The filter on a reply: the same however it is cut, and nothing personal before it is decided."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regex_detector import RegexDetector

from sottovoce.data.pii.replace import Mask, Pseudonym
from sottovoce.data.pii.stream import WINDOW, ReplyFilter
from sottovoce.data.scrub import scrub

DETECTOR = RegexDetector()
PRIVATE = (
    *("Maria Lopez", "Dr. Ada Love", "ada@uni.edu", "王丽华", "李先生", "13812345678"),
    *("212-555-7788", "4111 1111 1111 1111"),
)
FILLING = (
    *(". ", "! ", "?\n", "。", "！", "\n\n", ", ", " ", " ", " and your order ", " is on its way"),
    *(
        "你好，",
        "我们已经发货",
        "the parcel ",
        "3.5 kg ",
        "St. John",
        "e.g. ",
        " x" * 60,
        "字" * 70,
    ),
    "z" * 150,
)
REPLIES = st.lists(st.sampled_from(PRIVATE + FILLING * 2), max_size=14).map("".join)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in (0, len(text), *cuts)})
    return [text[a:b] for a, b in pairwise(places)]


def filtered(text: str, parts: list[str], replacement=None, said=()) -> str:
    reply = ReplyFilter(DETECTOR, replacement or Mask(), said)
    return "".join([*(reply.feed(part) for part in parts), reply.end()])


@given(REPLIES, CUTS, st.booleans())
@settings(max_examples=150)
def test_every_cutting_gives_what_scrubbing_the_whole_gives(text, cuts, masked):
    replacement = Mask() if masked else Pseudonym(bytes(32))
    whole = scrub(text, DETECTOR, replacement).text
    assert filtered(text, pieces(text, cuts), replacement) == whole
    assert filtered(text, list(text), replacement) == whole
    assert filtered(text, [text], replacement) == whole


@given(REPLIES, CUTS)
def test_nothing_of_an_entity_is_ever_out_early(text, cuts):
    """Whatever has come out is a beginning of the whole scrubbed text, and never runs ahead."""
    done = scrub(text, DETECTOR, Mask())
    whole = done.text
    reply = ReplyFilter(DETECTOR, Mask())
    out = fed = ""
    for part in pieces(text, cuts):
        out += reply.feed(part)
        fed += part
        assert whole.startswith(out)
        stands_for = _inverse(done, len(out))
        assert len(fed) - WINDOW <= stands_for
        assert all(stands_for <= s.start for s in done.spans if s.end > len(fed))


def _inverse(done, length: int) -> int:
    """How many characters of a text the first ones of its scrubbed form stand for."""
    at = shown = 0
    for span, put in zip(done.spans, done.replaced, strict=True):
        plain = span.start - at
        if shown + plain >= length:
            return at + length - shown
        shown += plain + len(put)
        at = span.end
        if shown >= length:
            return at
    return at + length - shown


def test_a_name_across_pieces_by_hand():
    reply = ReplyFilter(DETECTOR, Mask())
    assert reply.feed("Your contact is Mar") == ""
    assert reply.feed("ia Lo") == ""
    assert reply.feed("pez. She") == "Your contact is [PERSON]."
    assert reply.feed(" calls 138123") == ""
    assert reply.feed("45678 today") == ""
    assert reply.end() == " She calls [PHONE] today"
    assert reply.end() == ""


def test_a_stop_inside_a_name_or_a_number_ends_no_sentence():
    reply = ReplyFilter(DETECTOR, Mask())
    assert reply.feed("Ask Dr. Ada Love") == ""
    assert reply.feed(" for 3. 5 of them. Now") == "Ask [PERSON] for 3. 5 of them."


def test_chinese_sentences_come_out_one_by_one():
    reply = ReplyFilter(DETECTOR, Mask())
    assert reply.feed("您好，王丽华。订单") == "您好，[PERSON]。"
    assert reply.feed("已发货！") == ""
    assert reply.end() == "订单已发货！"


def test_at_most_a_window_is_held_back():
    reply = ReplyFilter(DETECTOR, Mask())
    out = "".join(reply.feed(sign) for sign in "word " * 100)
    assert len(out) >= 500 - WINDOW
    endless = ReplyFilter(DETECTOR, Mask())
    out = "".join(endless.feed("z") for _ in range(1000))
    assert len(out) >= 1000 - WINDOW


def test_in_a_long_sentence_nothing_is_cut_through():
    for many in (85, 90, 95):  # so that blanks of the number are the last ones to cut at
        text = "x" * many + " 4111 1111 1111 1111 " + "y" * 200
        assert filtered(text, list(text)) == "x" * many + " [CREDIT_CARD] " + "y" * 200


def test_in_a_long_sentence_what_follows_the_cut_is_read_along():
    detector = RegexDetector(("ORDER_NUMBER", r"\d{5}(?= yyy)"))
    text = "x" * 93 + " 12345 " + "y" * 200
    reply = ReplyFilter(detector, Mask())
    assert "[ORDER_NUMBER]" in reply.feed(text) + reply.end()


def test_what_follows_a_sentence_is_not_read_whether_it_has_arrived_or_not():
    detector = RegexDetector(("ORDER_NUMBER", r"\d{5}(?=\? Now)"))
    text = "Is it 12345? Now go."
    outs = set()
    for parts in ([text], list(text)):
        reply = ReplyFilter(detector, Mask())
        outs.add("".join([*map(reply.feed, parts), reply.end()]))
    assert outs == {text}


def test_the_words_before_are_read_along():
    detector = RegexDetector(("ORDER_NUMBER", r"(?<=Your order\. It is )\d+"))
    reply = ReplyFilter(detector, Mask())
    out = reply.feed("Here: Your order. It is 12345 indeed. ok") + reply.end()
    assert out == "Here: Your order. It is [ORDER_NUMBER] indeed. ok"


@pytest.mark.parametrize(
    ("said", "reply", "shown"),
    [
        ("I'm maria lopez", "Hello Maria Lopez.", "Hello Maria Lopez."),
        ("I'm Maria", "Hello Maria Lopez.", "Hello [PERSON]."),
        ("I am Mariana", "Hello Maria.", "Hello [PERSON]."),
        ("call 138 1234 5678", "Calling 13812345678.", "Calling 13812345678."),
        ("call 113812345678", "Calling 13812345678.", "Calling [PHONE]."),
        ("我叫王丽华", "您好王丽华。", "您好王丽华。"),
        ("ADA@UNI.EDU", "To ada@uni.edu.", "To ada@uni.edu."),
        ("nothing", "To ada@uni.edu.", "To [EMAIL]."),
        ("", "Hello Omar.", "Hello [PERSON]."),
    ],
)
def test_what_the_user_said_may_be_said_back(said, reply, shown):
    assert filtered(reply, list(reply), said=[said]) == shown
