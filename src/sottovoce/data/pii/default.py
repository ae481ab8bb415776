"""The detector that is used where nobody hands in another: the one place that makes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel

from sottovoce.data.pii.span import Detector, Span


class PiiSettings(BaseModel, frozen=True, extra="forbid"):
    """What is looked for; the section ``[data.pii]``. Everything that this detector knows."""


_FORMS: Final = (
    ("EMAIL", r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", 0.9),
    ("URL", r"https?://[A-Za-z0-9./?=&%_#~:-]*[A-Za-z0-9/]", 0.8),
    ("CN_ID", r"(?<![0-9A-Za-z])[1-9][0-9]{16}[0-9Xx](?![0-9A-Za-z])", 0.9),
    ("CREDIT_CARD", r"(?<![0-9])[3-6][0-9]{3}(?:[ -]?[0-9]{4}){2}[ -]?[0-9]{4}(?![0-9])", 0.8),
    ("IP_ADDRESS", r"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])", 0.7),
    ("US_SSN", r"(?<![0-9-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![0-9-])", 0.8),
    (
        "PHONE",
        r"(?<![0-9])(?:1[3-9][0-9]{9}|(?:\+1[ -]?)?\(?[2-9][0-9]{2}\)?[ -][0-9]{3}-[0-9]{4})(?![0-9])",
        0.7,
    ),
)


class _Forms:
    """Knows personal data by a few well-known forms alone."""

    def __init__(self) -> None:
        self._forms = [(kind, re.compile(form), score) for kind, form, score in _FORMS]

    def spans(self, text: str) -> Sequence[Span]:
        """Spans in order; of two that overlap the one of the earlier form."""
        found: list[Span] = []
        for kind, form, score in self._forms:
            for match in form.finditer(text):
                if not any(match.start() < one.end and one.start < match.end() for one in found):
                    found.append(Span(*match.span(), kind, score, "form"))
        return sorted(found)


def default_detector(settings: PiiSettings) -> Detector:  # noqa: ARG001
    """The detector of a configuration."""
    return _Forms()


def own_kinds(settings: PiiSettings) -> tuple[str, ...]:  # noqa: ARG001
    """Kinds that a user's own recognisers name, so that their tags are known again."""
    return ()
