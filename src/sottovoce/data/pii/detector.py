"""A detector of personal data, put together from settings."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Final, Protocol

from sottovoce.data.pii.in_context import CONTEXT
from sottovoce.data.pii.merge import Found, Rank, Verdict, judge
from sottovoce.data.pii.own_patterns import own, words_in
from sottovoce.data.pii.page import Page, read
from sottovoce.data.pii.patterns import INTERNET, NUMBERS
from sottovoce.data.pii.patterns_zh import CHINESE
from sottovoce.data.pii.phones import phones
from sottovoce.data.pii.plain import PlainWords
from sottovoce.data.pii.settings import PiiSettings
from sottovoce.data.pii.shape import Family
from sottovoce.data.pii.span import NAMED, Span

Ask = Callable[[Page], Iterable[Found]]


class Tagger(Protocol):
    """Finds names, organisations, addresses and places by reading."""

    def batch(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        """Spans of each text in order; no two overlap, and no text changes another's."""


@dataclass(frozen=True)
class RuleDetector:
    """Finds personal data by rules, and by a tagger where one is handed in.

    Args:
        settings: what is looked for.
        ask: gets everything that the recognisers find on a page.
        tagger: reads names.
        plain: tells words with which no name begins.
    """

    settings: PiiSettings
    ask: Ask
    tagger: Tagger | None = None
    plain: PlainWords | None = None

    def spans(self, text: str) -> list[Span]:
        """Personal data in a text.

        Guarantees:
            - spans are in order, do not overlap, and refer to the text as it was given;
            - none that the tagger read begins with a plain word, or in the middle of those with which
              its sentence begins;
            - the frame makes no difference.
        """
        return self.batch([text])[0]

    def nothing_until(self, text: str) -> int:
        """How many characters at the beginning of a sentence nothing can begin in, whatever follows.

        Edge cases: 0 where it cannot be told, as with recognisers of a user's own.
        """
        if self.plain is None or self.settings.recognisers:
            return 0
        return self.plain.leading(text)

    def batch(self, texts: Sequence[str]) -> list[list[Span]]:
        """The same of several texts, faster than one by one; no text changes another's spans."""
        return [
            sorted(span for verdict in self._judged(text, tagged) for span in verdict.kept)
            for text, tagged in zip(texts, self._tagged(texts), strict=True)
        ]

    def verdicts(self, text: str) -> list[Verdict]:
        """Every find that is sure enough and not allowed, with what became of it."""
        return self._judged(text, self._tagged([text])[0])

    def _judged(self, text: str, tagged: Sequence[Span]) -> list[Verdict]:
        page = read(text)
        inside = self._allowed(page)
        kinds = {*self.settings.kinds, *(own.kind for own in self.settings.recognisers)}
        finds = (
            found
            for found in (*self.ask(page), *self._read(text, tagged))
            if found.span.score >= self.settings.threshold
            and found.span.kind in kinds
            and not inside(found.span)
        )
        return judge(text, finds)

    def _read(self, text: str, tagged: Sequence[Span]) -> Iterable[Found]:
        """What the tagger read, without the plain words at its front."""
        for span in tagged:
            start = span.start if self.plain is None else self.plain.behind(text, span.start)
            if start < span.end:
                yield Found(replace(span, start=start), Rank.TAGGER, "tagged")

    def _allowed(self, page: Page) -> Callable[[Span], bool]:
        """Whether a span lies inside a text that is allowed."""
        words = tuple(read(word).lowered for word in self.settings.allow)
        places = sorted((place.start, place.end) for place in words_in(page, words))
        starts = [start for start, _ in places]
        # The furthest end of all that begin no later.
        ends = list(accumulate((end for _, end in places), max))

        def inside(span: Span) -> bool:
            at = bisect_right(starts, span.start) - 1
            return at >= 0 and ends[at] >= span.end

        return inside

    def _tagged(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        if self.tagger is None or not any(kind in self.settings.kinds for kind in NAMED):
            return [[] for _ in texts]
        return self.tagger.batch(texts)


def families(settings: PiiSettings) -> tuple[Family, ...]:
    """The recognisers that these settings ask for, grouped.

    Raises:
        MissingExtraError: telephone numbers of regions are wanted, and phonenumbers is missing.
    """
    regions = settings.regions if "PHONE" in settings.kinds else ()
    built_in = (INTERNET, NUMBERS, CHINESE, phones(regions), CONTEXT)
    wanted = tuple(f for f in built_in if any(kind in settings.kinds for kind in f.kinds))
    return (*wanted, *(own(recogniser) for recogniser in settings.recognisers))


def make_detector(
    settings: PiiSettings, tagger: Tagger | None = None, plain: PlainWords | None = None
) -> RuleDetector:
    """Put a detector together.

    Args:
        settings: what is looked for, and whether Presidio is the frame.
        tagger: reads names, organisations, addresses and places; without one these are not found.
        plain: tells words with which none of these begins.

    Raises:
        MissingExtraError: the settings need a package that is not installed.
    """
    asked = families(settings)
    if settings.frame == "presidio":
        from sottovoce.data.pii.presidio import in_frame

        return RuleDetector(settings, in_frame(asked), tagger, plain)
    return RuleDetector(settings, _Direct(asked), tagger, plain)


@dataclass(frozen=True)
class _Direct:
    """Asks one family after another."""

    asked: tuple[Family, ...]

    def __call__(self, page: Page) -> list[Found]:
        return [found for family in self.asked for found in family.find(page)]


_GROUNDS: Final = {
    Rank.TAGGER: "read as such by the tagger",
    Rank.CONTEXT: "beside a word that says so",
    Rank.PATTERN: "has the form",
    Rank.CHECKSUM: "keeps the rule",
    Rank.OWN: "asked for by the user",
}


def explain(text: str, detector: RuleDetector) -> list[dict[str, Any]]:
    """Say for each find what it rests on, and what became of it.

    Args:
        text: is not repeated in the answer. Private.
        detector: made by ``make_detector``.

    Returns:
        One value per find, in order, ready for JSON: ``start``, ``end``, ``kind``, ``score``;
        ``recogniser``, ``pattern``, ``word`` (beside it), ``check`` (rule that it keeps), each empty
        where there is none; ``rests_on`` in words; ``kept``, the parts that hold as pairs of places;
        ``lost_to``, what holds instead as pairs of kind and recogniser.
    """
    return [
        {
            "start": verdict.found.span.start,
            "end": verdict.found.span.end,
            "kind": verdict.found.span.kind,
            "score": verdict.found.span.score,
            "recogniser": verdict.found.span.source,
            "pattern": verdict.found.pattern,
            "word": verdict.found.word,
            "check": verdict.found.check,
            "rests_on": _GROUNDS[verdict.found.rank],
            "kept": [[span.start, span.end] for span in verdict.kept],
            "lost_to": [[span.kind, span.source] for span in verdict.lost_to],
        }
        for verdict in detector.verdicts(text)
    ]
