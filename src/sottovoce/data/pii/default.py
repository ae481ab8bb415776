"""The detector that is used where nobody hands in another: the one place that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from sottovoce.data.pii.detector import RuleDetector, make_detector
from sottovoce.data.pii.settings import PiiSettings
from sottovoce.data.pii.span import NAMED, Span

if TYPE_CHECKING:
    from sottovoce.data.pii.plain import PlainWords
    from sottovoce.data.pii.tagger import Tagger


@dataclass(frozen=True)
class _Names:
    """Names that the tagger reads, and where they come again."""

    tagger: Tagger

    def batch(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        from sottovoce.data.pii.context_names import named_batch

        return named_batch(texts, self.tagger)


@cache
def _names() -> tuple[_Names, PlainWords]:
    """The bundled tagger and its plain words, read once."""
    from sottovoce.data.pii.plain import PlainWords
    from sottovoce.data.pii.tagger import load_tagger

    tagger = load_tagger()
    return _Names(tagger), PlainWords(tagger.network.lexicon)


def default_detector(settings: PiiSettings) -> RuleDetector:
    """The detector of a configuration: all recognisers, and the tagger where names are wanted.

    Raises:
        MissingExtraError: telephone numbers of regions are wanted, and phonenumbers is missing.
    """
    named = any(kind in settings.kinds for kind in NAMED)
    return make_detector(settings, *_names()) if named else make_detector(settings)


def own_kinds(settings: PiiSettings) -> tuple[str, ...]:
    """Kinds that a user's own recognisers name, so that their tags are known again."""
    return tuple(recogniser.kind for recogniser in settings.recognisers)
