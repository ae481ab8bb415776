"""Scrubbing texts and conversations: idempotent, nothing survives, offsets are those of the input."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from regex_detector import Fixed, RegexDetector

from sottovoce.data.clean import Scrubber, clean, with_owners_hidden
from sottovoce.data.conversation import Conversation, Message, ToolCall
from sottovoce.data.documents import Document
from sottovoce.data.load import load, load_text
from sottovoce.data.pii.replace import Mask, Pseudonym
from sottovoce.data.pii.span import Span
from sottovoce.data.scrub import scrub, scrub_conversation, scrub_document
from sottovoce.data.settings import DataSettings
from sottovoce.errors import ConfigError, DataError

KEY = bytes(range(32))
DETECTOR = RegexDetector()
PIECES = (
    *("Maria Lopez", "maria lopez", "Ms Lopez", "Dr. Ada Love", "Omar", "ada@uni.edu", "王丽华"),
    *("李先生", "13812345678", "212-555-7788", "4111 1111 1111 1111", "[PERSON]", "[CITY]", "示例"),
    *(
        "Ulvina",
        "Kettlemere",
        "elowyna0042@example.com",
        "15400001234",
        " ",
        "  ",
        ", ",
        "。",
        "的",
    ),
    *("a", "B", "7", "-", "@", ".", "\n", "hello", "order", "é", "İ", "ﬁ", "😀", "\u0301"),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
REPLACEMENTS = st.sampled_from([Mask(), Pseudonym(KEY)])


def outside(text: str, spans, own) -> list[str]:
    """What letters of spans lie outside of replacements, character by character."""
    covered = {at for start, end in own for at in range(start, end)}
    left = ["".join(text[at] for at in range(s.start, s.end) if at not in covered) for s in spans]
    return [part for part in left if any(sign.isalnum() for sign in part)]


@given(TEXTS, REPLACEMENTS)
def test_scrubbing_twice_changes_nothing_and_no_span_survives(text, replacement):
    once = scrub(text, DETECTOR, replacement)
    again = scrub(once.text, DETECTOR, replacement)
    assert (again.text, again.spans) == (once.text, ())
    left = outside(once.text, DETECTOR.spans(once.text), replacement.own(once.text))
    assert left == []


@given(TEXTS, REPLACEMENTS)
def test_offsets_are_those_of_the_input_and_the_result_can_be_rebuilt(text, replacement):
    done = scrub(text, DETECTOR, replacement)
    assert len(done.spans) == len(done.replaced)
    last, rebuilt = 0, []
    for span, put in zip(done.spans, done.replaced, strict=True):
        assert last <= span.start < span.end <= len(text)
        rebuilt += [text[last : span.start], put]
        last = span.end
    rebuilt.append(text[last:])
    # A surrogate beside a letter gets a blank, which is in neither.
    assert "".join(rebuilt).replace(" ", "") == done.text.replace(" ", "")
    assert done.counts() == Counter(span.kind for span in done.spans)


@given(TEXTS)
def test_a_text_in_which_nothing_is_found_comes_back(text):
    done = scrub(text, Fixed(), Mask())
    assert (done.text, done.spans, done.replaced) == (text, (), ())


def test_mask_by_hand():
    text = "Ask Ms Lopez (ada@uni.edu) or 王丽华,13812345678."
    done = scrub(text, DETECTOR, Mask())
    assert done.text == "Ask [PERSON] ([EMAIL]) or [PERSON],[PHONE]."
    assert [text[span.start : span.end] for span in done.spans] == [
        *("Ms Lopez", "ada@uni.edu", "王丽华", "13812345678")
    ]


def test_what_shows_only_once_its_neighbour_is_gone_goes_as_well():
    """The second word is no name beside the first, and is one beside a tag."""
    detector = RegexDetector(("CODE", r"zq\d+"), ("BADGE", r"(?<=\] )\d{3}\b"))
    text = "zq1 555 and 777"
    done = scrub(text, detector, Mask(["CODE", "BADGE"]))
    assert done.text == "[CODE] [BADGE] and 777"
    assert [(span.start, span.end) for span in done.spans] == [(0, 3), (4, 7)]


def test_a_tag_is_never_data_even_if_a_detector_says_so():
    text = "so [PERSON] and Dr. [PERSON] left [EMAIL]"
    greedy = Fixed(PERSON="[PERSON]", ORGANIZATION="PERSON] and Dr. [PERSON", EMAIL="EMAIL")
    done = scrub(text, greedy, Mask())
    # Of the longest span only the word between the tags is left.
    assert done.text == "so [PERSON] [ORGANIZATION] Dr. [PERSON] left [EMAIL]"


def test_a_tag_of_no_known_kind_is_text():
    assert scrub("[MARIA]", Fixed(PERSON="MARIA"), Mask()).text == "[[PERSON]]"


def test_a_span_that_overlaps_a_surrogate_loses_the_rest_of_it():
    own = Pseudonym(KEY).put("PERSON", "Maria Lopez")
    done = scrub(f"{own} Smith", Fixed(PERSON=f"{own} Smith"), Pseudonym(KEY))
    assert done.text.startswith(f"{own} ")
    assert "Smith" not in done.text


def test_a_surrogate_glued_to_a_word_gets_a_blank_so_that_it_is_known_again():
    detector = Fixed(PHONE="13812345678")
    done = scrub("no13812345678x", detector, Pseudonym(KEY))
    assert done.text == f"no {Pseudonym(KEY).put('PHONE', '13812345678')} x"


def test_a_form_of_address_beside_a_span_shows_a_surname():
    """A tagger marks the name alone."""
    made = Pseudonym(KEY)
    detector = Fixed(PERSON="Lopez")
    once = scrub("Ask Ms Lopez now.", detector, made)
    assert once.text == f"Ask {made.put('PERSON', 'Ms Lopez')} now."
    surname = once.replaced[0]
    assert scrub(once.text, Fixed(PERSON=surname), made).text == once.text


def test_context_is_read_along_and_not_changed():
    detector = RegexDetector(("ORDER_NUMBER", r"(?<=order: )\d+"))
    assert scrub("12345", detector, Mask()).text == "12345"
    done = scrub("12345", detector, Mask(), before="order: ")
    assert (done.text, done.spans[0].start) == ("[ORDER_NUMBER]", 0)
    assert scrub("Maria", DETECTOR, Mask(), after=" Lopez and Ada").text == "[PERSON]"
    assert scrub(" Lopez", DETECTOR, Mask(), before="Maria").text == " [PERSON]"


def test_what_may_stay_stays():
    done = scrub("Ada and Omar", DETECTOR, Mask(), keep=lambda kind, value: value == "Ada")
    assert done.text == "Ada and [PERSON]"


@pytest.mark.parametrize("place", [(3, 3), (2, 99), (5, 4)])
def test_a_span_outside_the_text_is_an_error(place):
    class Wrong:
        def spans(self, text):
            return [Span(*place, "PERSON", 1.0, "wrong")]

    with pytest.raises(DataError, match="wrong found PERSON"):
        scrub("hello world", Wrong(), Mask())


def talk(*messages: Message, **rest) -> Conversation:
    return Conversation(tuple(messages), **rest)


TALK = talk(
    Message("system", "You help Maria Lopez."),
    Message("user", "I'm 王丽华"),
    Message(
        "assistant",
        "",
        (
            ToolCall(
                "look_up", '{"card":4111111111111111,"who":{"name":["Ada Love"],"note":"x\\ny"}}'
            ),
        ),
    ),
    Message("tool", '{"email": "ada@uni.edu", "paid": true, "Omar": 3, "price": 12.5}'),
    Message("tool", "plain: ada@uni.edu"),
    owner="ada",
    client="shop",
    source="a.jsonl:1",
)


def test_every_part_of_a_conversation_is_scrubbed():
    done, counts = scrub_conversation(TALK, DETECTOR, Mask())
    system, user, call, answer, plain = done.messages
    assert system.content == "You help [PERSON]."
    assert user.content == "I'm [PERSON]"
    arguments = '{"card":"[CREDIT_CARD]","who":{"name":["[PERSON]"],"note":"x\\ny"}}'
    assert call.tool_calls == (ToolCall("look_up", arguments),)
    assert json.loads(answer.content) == {
        "email": "[EMAIL]",
        "paid": True,
        "[PERSON]": 3,
        "price": 12.5,
    }
    assert plain.content == "plain: [EMAIL]"
    assert (done.owner, done.client, done.source) == ("ada", "shop", "a.jsonl:1")
    assert counts == {"PERSON": 4, "CREDIT_CARD": 1, "EMAIL": 2}
    assert scrub_conversation(done, DETECTOR, Mask()) == (done, Counter())


def test_a_conversation_without_personal_data_is_unchanged_letter_for_letter():
    call = ToolCall("f", '{"a": 1}')
    clean_one = talk(
        Message("user", "hi"), Message("assistant", "", (call,)), Message("tool", '{ "a":1 }')
    )
    assert scrub_conversation(clean_one, DETECTOR, Mask()) == (clean_one, Counter())


def test_two_names_that_become_one_lose_no_value():
    """JSON cannot hold a name twice."""
    answer = Message("tool", '{"Ada": 1, "Omar": 2}')
    done, _ = scrub_conversation(talk(answer), DETECTOR, Mask())
    assert list(json.loads(done.messages[0].content).values()) == [1, 2]


def test_the_name_of_a_value_is_its_context():
    detector = RegexDetector(("ACCOUNT_NUMBER", r"(?<=account number: )\d+"))
    answer = Message("tool", '{"account_number": 12345, "size": 12345}')
    done, counts = scrub_conversation(talk(answer), detector, Mask())
    assert done.messages[0].content == '{"account_number": "[ACCOUNT_NUMBER]", "size": 12345}'
    assert counts == {"ACCOUNT_NUMBER": 1}


def test_a_document_is_scrubbed():
    done, counts = scrub_document(Document("Ada left", "f", None, "f:1"), DETECTOR, Mask())
    assert (done, counts) == (Document("[PERSON] left", "f", None, "f:1"), {"PERSON": 1})


# --- many of them --------------------------------------------------------------------------------


def said(*texts: str) -> list[Conversation]:
    return [talk(Message("user", text), Message("assistant", "Yes.")) for text in texts]


LONG = "When does the shop in the old street open on a holiday, and until when is it open? "


def test_drop_leaves_out_whole_conversations_and_changes_none():
    talks = said("hello", "I'm Ada", "bye")
    kept, removed = clean(talks, Scrubber("drop", DETECTOR, Mask()))
    assert kept == (talks[0], talks[2])
    assert (removed.kept, removed.dropped, removed.touched) == (2, 1, 1)
    assert removed.entities == {"PERSON": 1}
    assert removed.rows("drop") == [
        ("all", "drop", "2", "1 with personal data", "personal data in 1: 1 PERSON")
    ]


def test_duplicates_go_first_and_are_counted():
    talks = said(f"{LONG} Ada", f"{LONG}  ADA", f"{LONG} Omar?", "other")
    kept, removed = clean(talks, Scrubber("mask", DETECTOR, Mask()), deduplicate=True)
    assert [one.messages[0].content for one in kept] == [f"{LONG} [PERSON]", "other"]
    assert (removed.duplicates, removed.touched, removed.dropped) == (2, 1, 0)
    assert removed.rows("mask")[0] == ("all", "unique", "2", "2 duplicates", "")


def test_without_a_scrubber_nothing_is_scrubbed():
    talks = said("I'm Ada", "I'm Ada")
    assert clean(talks)[0] == tuple(talks)
    kept, removed = clean(talks, deduplicate=True)
    assert (kept, removed.rows("off")) == (
        (talks[0],),
        [("all", "unique", "1", "1 duplicates", "")],
    )


def test_documents_are_cleaned_too():
    documents = [Document("Ada left"), Document("ada  left"), Document("so be it")]
    kept, removed = clean(documents, Scrubber("mask", DETECTOR, Mask()), deduplicate=True)
    assert [one.text for one in kept] == ["[PERSON] left", "so be it"]
    assert removed.duplicates == 1


def test_owners_get_names_that_say_nothing_and_stay_apart():
    talks = [talk(owner=name) for name in ("ada@uni.edu", "bo", "ada@uni.edu")] + [talk()]
    for make in (Mask, lambda: Pseudonym(KEY)):
        hidden = with_owners_hidden(talks, make())
        names = [one.owner for one in hidden]
        assert names[0] == names[2] != names[1]
        assert names[3] is None
        assert "ada" not in str(names)
        assert with_owners_hidden(hidden, make()) == hidden
    assert with_owners_hidden(talks, Pseudonym(bytes(32)))[0].owner != names[0]


# --- while loading -------------------------------------------------------------------------------

MASKING = Scrubber("mask", DETECTOR, Mask())


def lines(folder: Path, *questions: str) -> Path:
    rows = [{"question": question, "answer": "Yes."} for question in questions]
    (folder / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return folder


def test_loaded_conversations_are_scrubbed_and_counted(tmp_path):
    asked = DataSettings(path="a.jsonl", clients="iid", scrub="mask", deduplicate=True)
    loaded = load(asked, lines(tmp_path, "I'm Ada", "hello", "I'm  ADA"), MASKING)
    assert [one.messages[0].content for one in loaded.conversations] == ["I'm [PERSON]", "hello"]
    assert loaded.summary.table()[-2:] == (
        ("all", "unique", "2", "1 duplicates", ""),
        ("all", "mask", "2", "", "personal data in 1: 1 PERSON"),
    )


def test_loaded_text_is_scrubbed_and_counted(tmp_path):
    (tmp_path / "a.txt").write_text("I'm Ada.\n\nSo be it.\n")
    asked = DataSettings(path="a.txt", format="text", clients="file", scrub="mask")
    loaded = load_text(asked, tmp_path, MASKING)
    assert "".join(one.text for one in loaded.documents) == "I'm [PERSON].\n\nSo be it.\n"
    assert loaded.summary.table()[-1][4] == "personal data in 1: 1 PERSON"


def test_nothing_is_loaded_unscrubbed_where_scrubbing_is_asked_for(tmp_path):
    asked = DataSettings(path="a.jsonl", clients="iid", scrub="mask")
    with pytest.raises(ConfigError, match="nothing to scrub with"):
        load(asked, lines(tmp_path, "I'm Ada"))


def test_off_is_off_even_with_a_scrubber_at_hand(tmp_path):
    asked = DataSettings(path="a.jsonl", clients="iid", scrub="off")
    loaded = load(asked, lines(tmp_path, "I'm Ada"), MASKING)
    assert loaded.conversations[0].messages[0].content == "I'm Ada"


def test_a_load_that_drops_everything_says_so(tmp_path):
    asked = DataSettings(path="a.jsonl", clients="iid", scrub="drop")
    with pytest.raises(DataError, match="all 1 conversations or documents hold personal data"):
        load(asked, lines(tmp_path, "I'm Ada"), Scrubber("drop", DETECTOR, Mask()))
