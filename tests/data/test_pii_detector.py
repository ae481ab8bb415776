"""A detector from settings: what it asks, what holds where finds overlap, why, and Presidio."""

import json
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sottovoce.data.pii.detector import RuleDetector, explain, families, make_detector
from sottovoce.data.pii.merge import Found, Rank, judge, settle
from sottovoce.data.pii.own_patterns import LONGEST_REPEAT, compile_own
from sottovoce.data.pii.settings import PiiSettings, Recogniser
from sottovoce.data.pii.span import STRUCTURED, Span
from sottovoce.errors import MissingExtraError

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
JUDGE = Path(__file__).resolve().parents[1] / "vectors" / "scrub_zh.jsonl"


class Names:
    """A tagger that knows a few names."""

    known: ClassVar = {
        "王小明": "PERSON",
        "Ada Lovelace": "PERSON",
        "12 Main St, Springfield, IL 62704": "ADDRESS",
    }

    def batch(self, texts: list[str]) -> list[list[Span]]:
        return [self.spans(text) for text in texts]

    def spans(self, text: str) -> list[Span]:
        places = ((text.find(name), name, kind) for name, kind in self.known.items())
        return sorted(Span(at, at + len(n), k, 0.8, "tagger") for at, n, k in places if at >= 0)


def detector(tagger: Names | None = None, **changes: object) -> RuleDetector:
    return make_detector(PiiSettings.model_validate(changes), tagger)


def found(text: str, by: RuleDetector) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in by.spans(text)]


# --- what holds ----------------------------------------------------------------------------------


def make(start: int, end: int, kind: str, rank: Rank, score: float = 0.8) -> Found:
    return Found(Span(start, end, kind, score, kind.lower()), rank)


TEXT = "0123456789abcdefghij"
finds = st.builds(
    lambda start, size, kind, rank, score: make(start, min(20, start + size), kind, rank, score),
    st.integers(0, 18),
    st.integers(1, 12),
    st.sampled_from(["PHONE", "CN_ID", "ADDRESS", "POSTCODE", "PERSON", "BADGE"]),
    st.sampled_from(Rank),
    st.sampled_from([0.6, 0.8, 0.9]),
)


@given(st.lists(finds, max_size=9), st.randoms(use_true_random=False))
def test_nothing_overlaps_nothing_is_lost_and_order_is_irrelevant(several, rng) -> None:
    spans = settle(TEXT, several)
    assert spans == sorted(spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    before = {place for f in several for place in range(f.span.start, f.span.end)}
    after = {place for span in spans for place in range(span.start, span.end)}
    assert after == before
    shuffled = rng.sample(several, len(several))
    assert settle(TEXT, shuffled) == spans
    assert settle(TEXT, several * 2) == spans


@pytest.mark.parametrize(
    ("several", "expected"),
    [
        # Rank before length, and what sticks out of the loser still holds.
        (
            [make(4, 12, "PERSON", Rank.TAGGER), make(8, 12, "PHONE", Rank.PATTERN)],
            [(4, 8, "PERSON"), (8, 12, "PHONE")],
        ),
        ([make(0, 9, "QQ", Rank.CONTEXT), make(0, 9, "PHONE", Rank.PATTERN)], [(0, 9, "PHONE")]),
        ([make(0, 9, "PHONE", Rank.PATTERN), make(0, 9, "IBAN", Rank.CHECKSUM)], [(0, 9, "IBAN")]),
        ([make(0, 9, "IBAN", Rank.CHECKSUM), make(0, 9, "BADGE", Rank.OWN)], [(0, 9, "BADGE")]),
        # Length before kind.
        ([make(0, 9, "IBAN", Rank.PATTERN), make(0, 12, "QQ", Rank.PATTERN)], [(0, 12, "QQ")]),
        # Kind, where all else is equal.
        (
            [make(0, 9, "CREDIT_CARD", Rank.CHECKSUM), make(0, 9, "CN_ID", Rank.CHECKSUM)],
            [(0, 9, "CN_ID")],
        ),
        # Of one kind the longer, whatever it rests on.
        ([make(0, 9, "PHONE", Rank.CONTEXT), make(2, 9, "PHONE", Rank.PATTERN)], [(0, 9, "PHONE")]),
        # A postcode in an address is a part of it.
        (
            [make(0, 15, "ADDRESS", Rank.TAGGER), make(10, 15, "POSTCODE", Rank.PATTERN)],
            [(0, 15, "ADDRESS")],
        ),
    ],
)
def test_which_of_two_holds(several: list[Found], expected: list[tuple[int, int, str]]) -> None:
    assert [(s.start, s.end, s.kind) for s in settle(TEXT, several)] == expected


def test_long_chains_of_finds_are_settled_in_time() -> None:
    chain = [make(n, n + 9, "ABCDE"[n % 5], Rank.PATTERN) for n in range(0, 3000, 3)]
    start = time.process_time()
    judge("x" * 3100, chain)
    assert time.process_time() - start < 5


# --- settings ------------------------------------------------------------------------------------


def test_kinds_threshold_and_allowed_texts() -> None:
    text = "mail a@b.example.com or call 13800138000"
    assert found(text, detector(kinds=("EMAIL",))) == [("EMAIL", "a@b.example.com")]
    assert found(text, detector(threshold=0.94)) == [("EMAIL", "a@b.example.com")]
    assert found(text, detector(allow=("A@B.EXAMPLE.COM",))) == [("PHONE", "13800138000")]


def test_regions_decide_what_is_a_number_at_home() -> None:
    text = "Ask 020 7946 0018 about it"
    assert found(text, detector(regions=("GB",))) == [("PHONE", "020 7946 0018")]
    assert found(text, detector(regions=("TW",))) == []


def test_without_phonenumbers_regions_are_an_error_and_none_is_not(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(MissingExtraError, match=r"sottovoce\[pii\]"):
        detector()
    for number in ("13800138000", "0755-88886666"):
        assert found(number, detector(regions=())) == [("PHONE", number)]
    assert found("a@b.example.com", detector(kinds=("EMAIL",)))


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"kinds": ("EMAIL", "SHOE_SIZE")}, "SHOE_SIZE"),
        ({"threshold": 1.5}, "threshold"),
        ({"regions": ("uk",)}, "regions"),
        ({"frames": "direct"}, "frames"),
        ({"recognisers": [{"name": "a", "kind": "A", "deny_list": ["x"]}] * 2}, "'a'"),
        ({"recognisers": [{"name": "a", "kind": "A"}]}, "neither patterns nor a deny_list"),
        ({"recognisers": [{"name": "a", "kind": "shoe size", "patterns": ["x"]}]}, "kind"),
        ({"recognisers": [{"name": "a", "kind": "A", "patterns": ["("]}]}, "no regular expression"),
        (
            {"recognisers": [{"name": "a", "kind": "A", "patterns": ["x"], "languages": []}]},
            "no languages",
        ),
    ],
)
def test_settings_that_cannot_be_used(changes: dict[str, object], shown: str) -> None:
    with pytest.raises(ValidationError, match=shown):
        detector(**changes)


# --- recognisers of users ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+$",
        r"(\w+\s?)*!",
        r"(a|aa)*b",
        r"(.*)(.*)(.*)x",
        r"(x+x+)+y",
        r"([a-z]+)*@",
        r"(?:a{1,60}){1,60}",
        r"(a|ab|b)*c",
        r"(?:ab|a.)*c",
        r"(?>(a+)+c)b",
        r"(?:(a+)+c)++b",
        r"(?=(a+)+c)b",
        r"(x)?(?(1)(a+)+|b)c",
        r"\d+\d+\d+x",
    ],
)
def test_patterns_that_could_take_hours_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="put no repeat inside another"):
        compile_own(pattern)


@pytest.mark.parametrize("pattern", ["a*", "", "(?=x)", r"\b", "x?"])
def test_patterns_that_match_nothing_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="matches nothing at all"):
        compile_own(pattern)


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "*a", "a**", "(?P<1>x)", "\\"])
def test_patterns_that_are_none_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        compile_own(pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"EMP-\d+", "emp-0042.", "emp-0042"),
        (r"[A-Z]{2}\d{6}", "see AB123456", "AB123456"),
        (r"合同[A-Z]*\d{4,}", "合同HT20240001号", "合同HT20240001"),
        (r"a+?b", "aaab", "aaab"),
        (r"a++b++c++d++", "aabccd", "aabccd"),
        (r"[+*]\d\+", "x+1+", "+1+"),
        (r"\*{2}\w{3}", "**abc", "**abc"),
        (r"(?P<x>ab)+c", "ababc", "ababc"),
        (r"[]+]x{,2}y", "+xxy", "+xxy"),
        (r"a{2,}", "aaaa", "aaaa"),
        (r"(a)?(?(1)b|c)d", "abd cd", "abd"),
        (r"(a)?(?(1)b)d", "abd", "abd"),
        (r"a(?=b)b+(?!c)", "abbb", "abbb"),
    ],
)
def test_patterns_keep_their_meaning(pattern: str, text: str, expected: str) -> None:
    match = compile_own(pattern).search(text)
    assert match is not None
    assert match[0] == expected


@pytest.mark.parametrize(("repeat", "least"), [("+", 1), ("*", 0), ("{,}", 0), ("{2,}", 2)])
def test_repeats_without_an_end_get_one(repeat: str, least: int) -> None:
    match = compile_own(rf"x\d{repeat}").search("x" + "1" * 500)
    assert match is not None
    assert len(match[0]) == 1 + LONGEST_REPEAT + (least if least == 2 else 0)


def test_time_stays_linear() -> None:
    pattern = compile_own(r"[a-z]+@[a-z]+!")
    start = time.process_time()
    assert pattern.search("a" * 20_000 + "@" + "a" * 20_000) is None
    assert time.process_time() - start < 2


BADGE = Recogniser(name="badge", kind="BADGE", patterns=(r"B-\d{5}",), context=("badge", "胸牌"))
PROJECT = Recogniser(name="project", kind="PROJECT", deny_list=("Blue Heron", "蓝鹭"))


def test_a_user_s_recognisers() -> None:
    by = detector(recognisers=(BADGE, PROJECT))
    assert found("my badge is b-12345", by) == [("BADGE", "b-12345")]
    assert found("胸牌Ｂ－１２３４５丢了", by) == [("BADGE", "Ｂ－１２３４５")]
    assert found("part B-12345", by) == []
    assert found("to Blue Heron", by) == [("PROJECT", "Blue Heron")]
    assert found("BLUE HERON, Blue Herons, xBlue Heron and 蓝鹭计划", by) == [
        ("PROJECT", "BLUE HERON"),
        ("PROJECT", "蓝鹭"),
    ]


def test_a_user_s_recogniser_is_asked_in_its_languages_and_holds_before_all_others() -> None:
    card = Recogniser(name="x", kind="LOYALTY", patterns=(r"4[0-9]{15}",), languages=("zh",))
    by = detector(recognisers=(card,))
    for text in ("card 4111111111111111", "é card 4111111111111111"):
        assert found(text, by) == [("CREDIT_CARD", "4111111111111111")]
    assert found("卡4111111111111111", by) == [("LOYALTY", "4111111111111111")]
    assert found("4111111111111111", by) == [("LOYALTY", "4111111111111111")], "no language"
    latin = Recogniser(name="x", kind="LOYALTY", patterns=(r"4[0-9]{15}",), languages=("en",))
    assert found("卡4111111111111111", detector(recognisers=(latin,)))[0][0] == "CREDIT_CARD"
    assert found("a 4111111111111111", detector(recognisers=(latin,)))[0][0] == "LOYALTY"


# --- the tagger ----------------------------------------------------------------------------------


def test_a_tagger_is_asked_and_rules_hold_before_it() -> None:
    text = "王小明13800138000, Ada Lovelace, 12 Main St, Springfield, IL 62704"
    by = detector(Names())
    assert found(text, by) == [
        ("PERSON", "王小明"),
        ("PHONE", "13800138000"),
        ("PERSON", "Ada Lovelace"),
        ("ADDRESS", "12 Main St, Springfield, IL 62704"),
    ]
    assert "PERSON" not in dict(found(text, detector(Names(), kinds=STRUCTURED)))
    assert "ADDRESS" not in dict(found(text, detector(Names(), kinds=("PERSON",))))


class Refusing:
    def batch(self, texts: list[str]) -> list[list[Span]]:
        return [self.spans(text) for text in texts]

    def spans(self, text: str) -> list[Span]:
        raise AssertionError("asked for nothing")


def test_nobody_is_asked_for_what_is_not_wanted() -> None:
    by = make_detector(PiiSettings(kinds=("EMAIL",)), Refusing())
    assert found("a@b.example.com", by) == [("EMAIL", "a@b.example.com")]
    assert [family.name for family in families(PiiSettings(kinds=("EMAIL",)))] == ["internet"]


# --- why -----------------------------------------------------------------------------------------


def test_explain_says_what_a_find_rests_on_and_what_it_lost_to() -> None:
    text = "身份证号11010519491231002X，订单号DD20240101, my badge b-12345"
    by = detector(recognisers=(BADGE,))
    lines = explain(text, by)
    json.dumps(lines, allow_nan=False)
    by_recogniser = {line["recogniser"]: line for line in lines}
    first = by_recogniser["chinese.id of 18"]
    assert (first["start"], first["end"], first["kind"]) == (4, 22, "CN_ID")
    assert first["check"] == "MOD 11-2 and birthday"
    assert first["score"] == 0.99
    assert first["kept"] == [[4, 22]]
    order = by_recogniser["context.named"]
    assert (order["kind"], order["word"], order["check"]) == ("ORDER_NUMBER", "订单号", "")
    own = by_recogniser["own.badge"]
    assert (own["pattern"], own["word"]) == (r"B-\d{5}", "badge")
    assert "DD2024" not in json.dumps(lines)


def test_explain_says_whether_form_or_word_decided() -> None:
    lines = explain("call 467 3395 or 13800138000", detector())
    grounds = {line["start"]: (line["rests_on"], line["word"]) for line in lines}
    assert grounds[5] == ("beside a word that says so", "call")
    assert grounds[17] == ("has the form", "")


def test_explain_names_the_winner() -> None:
    mine = Recogniser(name="mine", kind="MINE", patterns=("41111111",))
    lines = explain("card 4111111111111111.", detector(recognisers=(mine,)))
    card = next(line for line in lines if line["kind"] == "CREDIT_CARD")
    assert card["lost_to"] == [["MINE", "own.mine"]]
    assert card["kept"] == [[13, 21]], "what sticks out is not left in the text"
    assert [line["kept"] for line in lines if line["kind"] == "MINE"] == [[[5, 13]]]


# --- Presidio ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def framed() -> RuleDetector:
    pytest.importorskip("presidio_analyzer")
    return detector(Names(), frame="presidio", recognisers=(BADGE, PROJECT))


def texts() -> list[str]:
    rows = [json.loads(line)["text"] for line in JUDGE.read_text("utf-8").splitlines()[::6]]
    path = DATA / "presidio-synthetic-pii" / "synthetic_pii.jsonl"
    if path.exists():
        rows += [json.loads(line)["full_text"] for line in path.read_text("utf-8").splitlines()]
    own = "badge b-12345 蓝鹭 王小明13800138000"
    return [*rows, "", own, "\n".join(rows[:300])]


@pytest.mark.slow
def test_presidio_finds_the_same(framed: RuleDetector) -> None:
    direct = detector(Names(), recognisers=(BADGE, PROJECT))
    for text in texts():
        assert framed.spans(text) == direct.spans(text)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.text("0123456789-. ()+@:xX年月日生订单号QQvx微信卡abc.com", max_size=50))
def test_presidio_finds_the_same_in_any_text(framed: RuleDetector, text: str) -> None:
    direct = detector(Names(), recognisers=(BADGE, PROJECT))
    assert framed.spans(text) == direct.spans(text)


@pytest.mark.slow
def test_presidio_takes_other_recognisers() -> None:
    presidio = pytest.importorskip("presidio_analyzer")
    from sottovoce.data.pii.page import read
    from sottovoce.data.pii.presidio import in_frame

    theirs = presidio.PatternRecognizer(
        "ROOM", name="rooms", patterns=[presidio.Pattern("room", r"R-\d{3}", 0.7)]
    )
    (find,) = in_frame((), (theirs,))(read("see R-123"))
    assert (find.span.kind, find.span.source) == ("ROOM", "presidio.rooms")


def test_without_presidio_only_the_frame_is_an_error(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(MissingExtraError, match=r"presidio-analyzer .* 'sottovoce\[pii\]'"):
        detector(frame="presidio")
    assert found("a@b.example.com", detector()) == [("EMAIL", "a@b.example.com")]


OFFLINE = """
from sottovoce.data.pii.detector import make_detector
from sottovoce.data.pii.settings import PiiSettings
by = make_detector(PiiSettings(frame="presidio"))
print([span.kind for span in by.spans("a@b.example.com, 13800138000")])
"""


@pytest.mark.slow
def test_presidio_runs_where_there_is_no_network() -> None:
    pytest.importorskip("presidio_analyzer")
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rn", "true"], check=False).returncode:
        pytest.skip("this machine gives no namespace without a network")
    done = subprocess.run(
        [unshare, "-rn", sys.executable, "-c", OFFLINE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['EMAIL', 'PHONE']\n"
    assert done.stderr == ""


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = """
import sys
from sottovoce.data.pii import detector, presidio, settings
detector.make_detector(settings.PiiSettings(regions=())).spans("a@b.example.com")
assert not {"presidio_analyzer", "phonenumbers", "spacy", "torch"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
