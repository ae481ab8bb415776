"""What a detector finds: a part of a text, and what kind of personal data it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

STRUCTURED: Final = (
    "EMAIL",
    "URL",
    "IP_ADDRESS",
    "MAC_ADDRESS",
    "CREDIT_CARD",
    "IBAN",
    "PHONE",
    "US_SSN",
    "DRIVER_LICENSE",
    "PASSPORT",
    "CN_ID",
    "CN_PERMIT",
    "CN_PLATE",
    "CN_CREDIT_CODE",
    "WECHAT",
    "QQ",
    "ORDER_NUMBER",
    "ACCOUNT_NUMBER",
    "POSTCODE",
    "DATE_OF_BIRTH",
)
"""Kinds that their form gives away, alone or beside a word that names them."""

NAMED: Final = ("PERSON", "ORGANIZATION", "ADDRESS", "PLACE")
"""Kinds that only reading can find. A place is a town, region or country that stands alone."""


@dataclass(frozen=True, order=True)
class Span:
    """Personal data in a text.

    Args:
        start: its first character, as Python counts those of the text that was given.
        end: the one behind its last.
        kind: one of ``STRUCTURED`` or ``NAMED``, or what a user's own recogniser names.
        score: from 0 to 1, how sure the recogniser is.
        source: the recogniser, for whoever asks why.
    """

    start: int
    end: int
    kind: str
    score: float
    source: str


class Detector(Protocol):
    """Finds personal data."""

    def spans(self, text: str) -> Sequence[Span]:
        """Spans of a text in order; no two overlap."""
