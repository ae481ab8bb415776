"""A small detector of a few forms and names, for tests of what is done with its spans."""

from __future__ import annotations

import re

from sottovoce.data.pii.span import Span

FORMS = (
    ("EMAIL", r"(?<![\w.+-])[a-z0-9.]{1,30}@[a-z]+\.(?:com|org|edu|cn)(?![a-z])"),
    ("CREDIT_CARD", r"(?<!\d)[34]\d{3}(?:[ -]?\d{4}){3}(?!\d)"),
    ("PHONE", r"(?<!\d)(?:1[3-9]\d{9}|[2-9]\d\d-\d{3}-\d{4})(?!\d)"),
    (
        "PERSON",
        r"(?:(?<![A-Za-z])(?:Mr|Ms|Dr)\.? )?(?<![A-Za-z])(?:Maria|Ada|Omar)(?: (?:Lopez|Love))?(?![A-Za-z])"
        r"|(?<![A-Za-z])(?:Mr|Ms|Dr)\.? Lopez(?![A-Za-z])"
        r"|[王张李](?:丽华|伟|芳)?(?:先生|女士)|[王张李](?:丽华|伟|芳)",
    ),
)


class RegexDetector:
    """Finds ``FORMS``, and whatever else it is given, by form alone."""

    def __init__(self, *more: tuple[str, str]) -> None:
        self.forms = [(kind, re.compile(form)) for kind, form in (*more, *FORMS)]

    def spans(self, text: str) -> list[Span]:
        found: list[Span] = []
        for kind, form in self.forms:
            for match in form.finditer(text):
                if not any(match.start() < one.end and one.start < match.end() for one in found):
                    found.append(Span(*match.span(), kind, 0.9, "test"))
        return sorted(found)


class Fixed:
    """Finds given words wherever they stand."""

    def __init__(self, **words: str) -> None:
        self.words = words

    def spans(self, text: str) -> list[Span]:
        return sorted(
            Span(found.start(), found.end(), kind, 1.0, "fixed")
            for kind, word in self.words.items()
            for found in re.finditer(re.escape(word), text)
        )
