"""How found personal data are scored: by hand on a few sentences, and the judge's own data."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ("scrub", "scrub_scores", "measuring")


@pytest.fixture(scope="module")
def scrub() -> Iterator[ModuleType]:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import scrub as found

        yield found
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in MODULES:
            sys.modules.pop(name, None)


def test_spans_count_by_half_of_their_union_and_characters_one_by_one(scrub: ModuleType) -> None:
    text = "Ada Lovelace of Ulm knows Bob, Dr Who and the Danes"
    truth = scrub.Sentence(
        text,
        [(0, 12, "PERSON"), (16, 19, "PLACE"), (26, 29, "PERSON")],
        [(46, 51, "NRP")],
    )
    found = [
        (0, 3, "PERSON"),  # a quarter of the name
        (16, 19, "PLACE"),
        (25, 29, "PERSON"),  # three of four
        (31, 37, "PERSON"),  # nobody
        (46, 51, "PLACE"),  # not counted
    ]
    score = scrub.score([truth], lambda _: found, ["PERSON", "PLACE"])
    assert score.recall(["PERSON"]) == 1 / 2
    assert score.precision(["PERSON"]) == 1 / 3
    assert score.precision(["PLACE"]) == 1.0
    assert score.recall(["PERSON", "PLACE"]) == 2 / 3
    assert score.precision(["PERSON", "PLACE"]) == 2 / 4
    assert score.leak_rate(["PERSON"]) == 9 / 15
    assert score.f_beta(["PERSON", "PLACE"]) == pytest.approx(5 * (1 / 2) * (2 / 3) / (2 + 2 / 3))
    assert score.rows()["PLACE"]["spans"] == 1


def test_one_found_span_answers_for_one_true_one(scrub: ModuleType) -> None:
    truth = scrub.Sentence("Ada Ada", [(0, 3, "PERSON"), (4, 7, "PERSON")])
    score = scrub.score([truth], lambda _: [(0, 3, "PERSON")] * 2, ["PERSON"])
    assert (score.recall(["PERSON"]), score.precision(["PERSON"])) == (0.5, 0.5)


def test_locations_are_one_where_nothing_but_signs_is_between(scrub: ModuleType) -> None:
    text = "12 Main St,\n Ulm and Bonn"
    marks = [(0, 10, "LOCATION"), (13, 16, "LOCATION"), (21, 25, "LOCATION")]
    assert scrub.joined(text, marks) == [(0, 16, "LOCATION"), (21, 25, "LOCATION")]
    people = [(0, 10, "PERSON"), (13, 16, "PERSON")]
    assert scrub.joined(text, people) == people


def test_the_judges_data_are_marked_as_the_scores_read_them(scrub: ModuleType) -> None:
    chinese = scrub.chinese()
    assert len(chinese) >= 1500
    assert len({one.template for one in chinese}) >= 60
    if not scrub.ENGLISH.exists():
        pytest.skip("the shared data folder has no presidio-synthetic-pii")
    english = scrub.english()
    assert len(english) == 754
    assert {kind for one in english for _, _, kind in one.marks} == set(scrub.KIND_OF.values())
    for one in (*english, *chinese):
        assert all(0 <= start < end <= len(one.text) for start, end, _ in one.marks)
