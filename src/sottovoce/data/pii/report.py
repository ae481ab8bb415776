"""What was found in a data set, for whoever has to answer for it: figures, and masked examples.

The page shows the surroundings of a decision with everything that was found replaced by tags, so
that it can be read by a reviewer who may not read the text. It needs nothing from outside, and what
the reviewer says of a decision stays in the page until he saves it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sottovoce.data.conversation import Conversation
from sottovoce.data.pii.replace import Replacement
from sottovoce.data.pii.review import PAGE
from sottovoce.data.pii.span import Detector, Span
from sottovoce.data.pii.special import special_spans
from sottovoce.data.scrub import scrub
from sottovoce.rng import stream

SAMPLED: Final = 200
"""Decisions, and flags, that a report shows at most."""
_AROUND: Final = 60


@dataclass(frozen=True)
class Decision:
    """One decision, in surroundings that are masked.

    Args:
        kind: of personal data, or the special category.
        source: the recogniser, or the class of word.
        score: how sure it was.
        where: file and line of the conversation, and the turn.
        before: what stands before it.
        shown: the tag, or the word that raised a flag.
        after: what stands behind it.
    """

    kind: str
    source: str
    score: float
    where: str
    before: str
    shown: str
    after: str


@dataclass(frozen=True)
class Report:
    """What a data set holds.

    Args:
        documents: conversations and documents in it.
        touched: how many of them hold personal data.
        duplicates: how many repeat an earlier one.
        dropped: how many were left out for the personal data in them.
        entities: pieces of personal data by kind.
        flags: conversations and documents by special category.
        decisions: a sample of what was found.
        flagged: a sample of flags.
    """

    documents: int
    touched: int
    duplicates: int
    dropped: int
    entities: Mapping[str, int]
    flags: Mapping[str, int]
    decisions: tuple[Decision, ...] = ()
    flagged: tuple[Decision, ...] = ()


def masked_decisions(
    text: str, where: str, detector: Detector, mask: Replacement
) -> tuple[list[Decision], list[Decision]]:
    """The decisions on one text, and its flags, each in masked surroundings.

    Args:
        text: one turn or document; private.
        where: what a reviewer can find it by.
        detector: what finds personal data.
        mask: a replacement by tags.

    Guarantees:
        - nothing that the detector finds stands in any of them.
    """
    done = scrub(text, detector, mask)
    decisions = []
    shift = 0
    for span, put in zip(done.spans, done.replaced, strict=True):
        start = span.start + shift
        shift += len(put) - (span.end - span.start)
        decisions.append(_decision(done.text, span, start, start + len(put), where))
    flags = [
        _decision(done.text, span, span.start, span.end, where) for span in special_spans(done.text)
    ]
    return decisions, flags


def _decision(text: str, span: Span, start: int, end: int, where: str) -> Decision:
    before = text[max(0, start - _AROUND) : start]
    after = text[end : end + _AROUND]
    # A tag that the edge cuts through is no tag any more, so it is left out whole.
    before = before.partition("]")[2] if _cut(before, "]", "[") else before
    after = after.rpartition("[")[0] if _cut(after[::-1], "[", "]") else after
    return Decision(span.kind, span.source, span.score, where, before, text[start:end], after)


def _cut(text: str, closing: str, opening: str) -> bool:
    first, other = text.find(closing), text.find(opening)
    return first >= 0 and (other < 0 or first < other)


def flag_counts(talks: Iterable[Sequence[str]]) -> Counter[str]:
    """How many conversations raise a flag of each special category.

    Args:
        talks: the texts of each conversation.
    """
    counts = Counter[str]()
    for texts in talks:
        counts.update({span.kind for text in texts for span in special_spans(text)})
    return counts


def texts_of(talk: Conversation) -> tuple[str, ...]:
    """What people, the assistant and tools say in a conversation; not what the system says."""
    return tuple(message.content for message in talk.messages if message.role != "system")


def sample(
    talks: Sequence[tuple[str, Sequence[str]]], detector: Detector, mask: Replacement, seed: int = 0
) -> tuple[tuple[Decision, ...], tuple[Decision, ...]]:
    """Decisions and flags of conversations drawn at random, up to ``SAMPLED`` of each.

    Args:
        talks: where each conversation is found, and its texts.
        detector: what finds personal data.
        mask: a replacement by tags.
        seed: of the draw.
    """
    decisions: list[Decision] = []
    flagged: list[Decision] = []
    for place in stream(seed, "pii-report").permutation(len(talks)):
        where, texts = talks[place]
        for turn, text in enumerate(texts, start=1):
            found, flags = masked_decisions(text, f"{where}, text {turn}", detector, mask)
            decisions += found
            flagged += flags
        if len(decisions) >= SAMPLED and len(flagged) >= SAMPLED:
            break
    return tuple(decisions[:SAMPLED]), tuple(flagged[:SAMPLED])


def report_json(report: Report) -> dict[str, Any]:
    """A report as JSON."""
    entities, flags = (dict(sorted(counts.items())) for counts in (report.entities, report.flags))
    return asdict(replace(report, entities=entities, flags=flags))


def report_page(report: Report) -> str:
    """A report as one page that needs nothing else.

    Keys: J and K go on and back, R says that a decision is right, W that it is wrong, U takes that
    back, S saves what was said as a file.
    """
    from jinja2 import Environment

    # What stands in a text must never become a tag of the page.
    page = Environment(autoescape=True).from_string(PAGE)
    data = json.dumps(report_json(report), ensure_ascii=True)
    for sign in "<>&":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    return page.render(report=report, data=data)
