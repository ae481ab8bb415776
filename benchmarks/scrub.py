"""Personal data found and missed, in English and Chinese, and how fast.

    python benchmarks/scrub.py --json      one JSON object on one line

English sentences are those of presidio-research's synthetic set, in the shared data folder; the
tagger has seen none of its templates, and those whose number can be divided by three were looked at
while it was made, so that names and the whole are judged on the others. Chinese sentences are those
of ``tests/vectors/scrub_zh.jsonl``, whose templates were written apart from the tagger's.

Counted kinds of the English set: people, organisations, locations, cards, telephone numbers, e-mails,
domains, IBANs, IP addresses, social security numbers and driver's licences. Street addresses, towns,
countries and ZIP codes are one kind there, location, and where only blanks and punctuation stand between
two of them they are one: some templates of the set mark an address as a whole, others its parts. Not
counted: titles, dates, ages, and nationalities or creeds, which are flagged and not removed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from measuring import Figure, environment, summary, table
from scrub_scores import Mark, Score, Sentence, score

from sottovoce.data.pii.default import default_detector
from sottovoce.data.pii.detector import RuleDetector
from sottovoce.data.pii.settings import PiiSettings
from sottovoce.data.pii.span import NAMED, STRUCTURED, Detector

ROOT: Final = Path(__file__).resolve().parents[1]
ENGLISH: Final = ROOT.parent / "shared/data/presidio-synthetic-pii/synthetic_pii.jsonl"
MEDICAL: Final = ROOT.parent / "shared/data/medquad-sample/medquad.jsonl"
CHINESE: Final = ROOT / "tests/vectors/scrub_zh.jsonl"
KIND_OF: Final[Mapping[str, str]] = {
    "PERSON": "PERSON",
    "STREET_ADDRESS": "LOCATION",
    "GPE": "LOCATION",
    "ORGANIZATION": "ORGANIZATION",
    "CREDIT_CARD": "CREDIT_CARD",
    "PHONE_NUMBER": "PHONE",
    "EMAIL_ADDRESS": "EMAIL",
    "DOMAIN_NAME": "URL",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP_ADDRESS",
    "US_SSN": "US_SSN",
    "US_DRIVER_LICENSE": "DRIVER_LICENSE",
    "ZIP_CODE": "LOCATION",
}
"""Our kinds for those of the English set; the others are not counted."""
LOCATIONS: Final = frozenset({"ADDRESS", "PLACE", "POSTCODE"})
"""Our kinds that are one kind in the English set."""
LOOKED_AT: Final = 3
"""Templates whose number this divides were looked at while the tagger was made."""
REPEATS: Final = 5
TOGETHER: Final = 128
"""Texts that are read together, as while data are loaded."""
MEGABYTE: Final = 10**6


def english() -> list[Sentence]:
    """The English set."""
    found = []
    for line in ENGLISH.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        every = [
            (one["start_position"], one["end_position"], one["entity_type"]) for one in row["spans"]
        ]
        marks = [(a, b, KIND_OF[kind]) for a, b, kind in every if kind in KIND_OF]
        others = [mark for mark in every if mark[2] not in KIND_OF]
        text = row["full_text"]
        found.append(Sentence(text, joined(text, marks), others, int(row["template_id"])))
    return found


def joined(text: str, marks: Sequence[Mark]) -> list[Mark]:
    """Marks in which locations are one where only blanks and punctuation are between them.

    >>> joined("12 Main St, Ulm", [(0, 10, "LOCATION"), (12, 15, "LOCATION")])
    [(0, 15, 'LOCATION')]
    """
    found: list[Mark] = []
    for mark in sorted(marks):
        last = found[-1] if found else None
        if (
            last is not None
            and (last[2], mark[2]) == ("LOCATION", "LOCATION")
            and not any(sign.isalnum() for sign in text[last[1] : mark[0]])
        ):
            found[-1] = (last[0], max(last[1], mark[1]), "LOCATION")
        else:
            found.append(mark)
    return found


def chinese() -> list[Sentence]:
    """The Chinese set."""
    rows = map(json.loads, CHINESE.read_text(encoding="utf-8").splitlines())
    return [
        Sentence(row["text"], [(a, b, kind) for a, b, kind in row["spans"]], (), row["template"])
        for row in rows
    ]


def finder(detector: Detector) -> Any:
    """What the scores ask."""

    def find(text: str) -> Sequence[Mark]:
        return [(span.start, span.end, span.kind) for span in detector.spans(text)]

    return find


def accuracy(detector: Detector) -> Iterator[Figure]:
    """Recall, precision and leaks."""
    if not ENGLISH.exists():
        raise SystemExit(f"the shared data folder has no {ENGLISH.name}; see its SOURCE.md")
    find, kinds = finder(detector), frozenset(KIND_OF.values())
    unseen = [one for one in english() if one.template % LOOKED_AT]

    def find_english(text: str) -> Sequence[Mark]:
        found = find(text)
        as_theirs = [(a, b, "LOCATION" if kind in LOCATIONS else kind) for a, b, kind in found]
        return joined(text, as_theirs)

    in_english = score(unseen, find_english, kinds)
    in_chinese = score(chinese(), find, frozenset((*STRUCTURED, *NAMED)))
    both = _together([in_english, in_chinese])
    rows = {"English": in_english.rows(), "Chinese": in_chinese.rows()}
    setting, forms = "both sets", STRUCTURED
    yield Figure("structured_recall", setting, both.recall(forms), at_least=0.99, facts=rows)
    yield Figure("structured_precision", setting, both.precision(forms), at_least=0.97)
    for language, found, recall, precision in (
        ("en", in_english, 0.90, 0.87),
        ("zh", in_chinese, 0.95, 0.85),
    ):
        name, setting = ["PERSON"], "unseen templates"
        yield Figure(f"names_{language}_recall", setting, found.recall(name), at_least=recall)
        key = f"names_{language}_precision"
        yield Figure(key, setting, found.precision(name), at_least=precision)
    setting = "English, unseen templates"
    yield Figure("overall_f2", setting, in_english.f_beta(kinds), at_least=0.85)
    leaks = {
        "leak_rate_characters_structured": (STRUCTURED, 0.03),
        "leak_rate_characters": ((*STRUCTURED, *NAMED, "LOCATION"), 0.12),
    }
    for key, (counted, bar) in leaks.items():
        yield Figure(key, setting, in_english.leak_rate(counted), at_most=bar)
        yield Figure(f"{key}_zh", "Chinese", in_chinese.leak_rate(counted))


def _together(scores: Iterable[Score]) -> Score:
    whole = Score()
    for one in scores:
        for name in ("right", "missed", "wrong", "characters", "leaked"):
            getattr(whole, name).update(getattr(one, name))
    return whole


def medicine(detector: RuleDetector) -> Iterator[Figure]:
    """What is found in answers about illnesses, of which hardly any names anybody but its discoverer."""
    if not MEDICAL.exists():
        raise SystemExit(f"the shared data folder has no {MEDICAL.name}; see its SOURCE.md")
    lines = MEDICAL.read_text(encoding="utf-8").splitlines()
    texts = [str(json.loads(line)["answer"]) for line in lines]
    size = sum(map(len, texts))
    found: Counter[str] = Counter()
    for place in range(0, len(texts), TOGETHER):
        for spans in detector.batch(texts[place : place + TOGETHER]):
            found.update(span.kind for span in spans)
    rates = {kind: count * 10**6 / size for kind, count in sorted(found.items())}
    setting = "answers of MedQuAD"
    people = rates.pop("PERSON", 0.0)
    yield Figure("people_per_million_characters_medical", setting, people, facts=rates)


def speed(detector: RuleDetector) -> Iterator[Figure]:
    """Megabytes of UTF-8 a second, English and Chinese in turns, in texts as long as a conversation."""
    lines = [one.text for pair in zip(english(), chinese(), strict=False) for one in pair]
    texts = ["\n".join(lines[place : place + 10]) for place in range(0, len(lines), 10)]
    size = sum(len(text.encode()) for text in texts)
    rates = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        for place in range(0, len(texts), TOGETHER):
            detector.batch(texts[place : place + TOGETHER])
        rates.append(size / MEGABYTE / (time.perf_counter() - begun))
    facts = {"lowest": min(rates), "highest": max(rates), "bytes": size, "texts": len(texts)}
    setting = f"{torch.get_num_threads()} threads, one process"
    yield Figure("mb_per_second", setting, statistics.median(rates), at_least=0.3, facts=facts)


PARTS: Final = {"accuracy": accuracy, "medicine": medicine, "speed": speed}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    options = parser.parse_args()
    about = environment(torch.device("cpu"))
    detector = default_detector(PiiSettings())
    detector.spans("Ada Lovelace, 12 Main St; 王小明")
    figures = [figure for name in options.only for figure in PARTS[name](detector)]
    print(json.dumps(summary(figures, about)) if options.json else table(figures, about))


if __name__ == "__main__":
    main()
