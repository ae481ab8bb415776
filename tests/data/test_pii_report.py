"""The report: masked examples alone, figures that add up, a page that holds still."""

from __future__ import annotations

import json
import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from regex_detector import RegexDetector

from sottovoce.data.conversation import Conversation, Message
from sottovoce.data.pii.replace import Mask
from sottovoce.data.pii.report import (
    SAMPLED,
    Report,
    flag_counts,
    masked_decisions,
    report_json,
    report_page,
    sample,
    texts_of,
)

DETECTOR = RegexDetector()
PIECES = (
    "Maria Lopez",
    "ada@uni.edu",
    "13812345678",
    "王丽华",
    " ",
    ", ",
    "and so on ",
    "好的",
    "x" * 50,
)


@given(st.lists(st.sampled_from(PIECES), max_size=20).map(" ".join))
def test_an_example_shows_tags_alone_and_whole_ones(text):
    decisions, _ = masked_decisions(text, "a.jsonl:1", DETECTOR, Mask())
    assert len(decisions) == len(DETECTOR.spans(text))
    for one in decisions:
        assert one.shown == f"[{one.kind}]"
        around = one.before + one.after
        assert DETECTOR.spans(around) == []
        assert set(re.findall(r"[\[\]]", re.sub(r"\[[A-Z_]+\]", "", around))) == set()
        assert len(one.before) <= 60
        assert len(one.after) <= 60


def test_a_decision_by_hand():
    decisions, flags = masked_decisions(
        "Ask Maria Lopez (ada@uni.edu) about her diabetes.", "a.jsonl:7, text 1", DETECTOR, Mask()
    )
    first, second = decisions
    assert (first.before, first.shown, first.after) == (
        "Ask ",
        "[PERSON]",
        " ([EMAIL]) about her diabetes.",
    )
    assert (second.kind, second.source, second.score) == ("EMAIL", "test", 0.9)
    (flag,) = flags
    assert (flag.before, flag.shown, flag.kind) == (
        "Ask [PERSON] ([EMAIL]) about her ",
        "diabetes",
        "HEALTH",
    )


def test_flags_count_conversations_and_not_words():
    talks = [("I have diabetes, and my diabetes is bad.", "cancer"), ("hello",), ("I am Muslim.",)]
    assert flag_counts(talks) == Counter({"HEALTH": 1, "RELIGION": 1})


def test_what_the_system_says_is_no_part():
    talk = Conversation((Message("system", "a"), Message("user", "b"), Message("tool", "c")))
    assert texts_of(talk) == ("b", "c")


def test_a_sample_is_bounded_drawn_from_everywhere_and_always_the_same():
    talks = [(f"a.jsonl:{n}", (f"{n} Maria Lopez and diabetes",)) for n in range(1000)]
    decisions, flagged = sample(talks, DETECTOR, Mask())
    assert len(decisions) == len(flagged) == SAMPLED
    places = [int(one.where.partition(":")[2].partition(",")[0]) for one in decisions]
    assert len(set(places)) == SAMPLED
    assert max(places) > 800 > 200 > min(places)
    assert sample(talks, DETECTOR, Mask()) == (decisions, flagged)
    assert sample(talks, DETECTOR, Mask(), seed=1)[0] != decisions


def report(**changes) -> Report:
    decisions, flagged = sample(
        [("<b>.jsonl:1", ("<script>Maria Lopez</script> & diabetes",))], DETECTOR, Mask()
    )
    counts = {"documents": 3, "touched": 1, "duplicates": 1, "dropped": 0}
    found = {"entities": Counter(PERSON=2, EMAIL=1), "flags": Counter(HEALTH=1)}
    return Report(**{**counts, **found, "decisions": decisions, "flagged": flagged, **changes})


def test_json_says_all_of_it():
    tree = json.loads(json.dumps(report_json(report())))
    assert tree["entities"] == {"EMAIL": 1, "PERSON": 2}
    assert list(tree["entities"]) == ["EMAIL", "PERSON"]
    assert (tree["documents"], tree["flags"], len(tree["decisions"])) == (3, {"HEALTH": 1}, 1)


def test_text_never_becomes_a_part_of_the_page():
    page = report_page(report())
    assert "<script>[PERSON]" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<script") == page.count("</script>") == 2
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert data
    assert json.loads(data[1]) == json.loads(json.dumps(report_json(report())))


def test_a_page_without_any_find_says_so():
    page = report_page(report(entities={}, flags={}, decisions=(), flagged=()))
    assert "Nothing was found." in page
