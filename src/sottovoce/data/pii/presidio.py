"""Our recognisers inside Presidio's AnalyzerEngine; the only place for presidio-analyzer.

Presidio is loaded when a frame is made, never before. It runs without a language model, opens no
connection and fetches nothing: its engine "no_op" reads no language, and of its own recognisers
none is used, because its one for e-mail looks for a list on the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sottovoce.data.pii.merge import Found, Rank
from sottovoce.data.pii.page import Page, read
from sottovoce.data.pii.shape import Family
from sottovoce.data.pii.span import Span
from sottovoce.errors import MissingExtraError

LANGUAGES: Final = ("en", "zh")
_FOUND: Final = "sottovoce"


def analyzer(
    families: Sequence[Family], more: Sequence[Any] = (), pages: _LastPage | None = None
) -> Any:
    """An AnalyzerEngine that asks our recognisers.

    Args:
        families: ours; each becomes one EntityRecognizer per language.
        more: other EntityRecognizers of Presidio, for the language that they say.
        pages: where the text is prepared, so that it is prepared once.

    Returns:
        An engine for "en" and "zh".

    Raises:
        MissingExtraError: presidio-analyzer is not installed.
    """
    try:
        import presidio_analyzer as presidio
        from presidio_analyzer.context_aware_enhancers import ContextAwareEnhancer
        from presidio_analyzer.nlp_engine import NoOpNlpEngine
    except ImportError as error:
        raise MissingExtraError("presidio-analyzer", extra="pii") from error

    class Ours(presidio.EntityRecognizer):  # type: ignore[misc]
        """One family as Presidio asks it."""

        def __init__(self, family: Family, language: str, pages: _LastPage) -> None:
            self.family, self.pages = family, pages
            super().__init__(list(family.kinds), f"{_FOUND}.{family.name}", language)

        def load(self) -> None:
            """Nothing has to be loaded."""

        def analyze(self, text: str, entities: list[str], nlp_artifacts: Any) -> list[Any]:
            """What the family finds, with each find at hand for whoever reads the result."""
            del nlp_artifacts
            return [
                presidio.RecognizerResult(
                    found.span.kind,
                    found.span.start,
                    found.span.end,
                    found.span.score,
                    recognition_metadata={
                        presidio.RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                        presidio.RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                        _FOUND: found,
                    },
                )
                for found in self.family.find(self.pages(text))
                if found.span.kind in entities
            ]

    class AsFound(ContextAwareEnhancer):  # type: ignore[misc]
        """Leaves scores alone: our recognisers have read what stands around."""

        def __init__(self) -> None:
            super().__init__(0.0, 0.0, 0, 0)

        def enhance_using_context(
            self, text: str, raw_results: list[Any], *_: Any, **__: Any
        ) -> list[Any]:
            del text
            return raw_results

    shared = pages or _LastPage()
    ours = [Ours(family, language, shared) for language in LANGUAGES for family in families]
    registry = presidio.RecognizerRegistry([*ours, *more], supported_languages=list(LANGUAGES))
    models = [{"lang_code": language, "model_name": "no_op"} for language in LANGUAGES]
    return presidio.AnalyzerEngine(
        registry=registry,
        nlp_engine=NoOpNlpEngine(models),
        supported_languages=list(LANGUAGES),
        context_aware_enhancer=AsFound(),
    )


class _LastPage:
    """Prepares a text once for all families that are asked about it in a row."""

    def __init__(self) -> None:
        self.page = read("")

    def __call__(self, text: str) -> Page:
        if self.page.text != text:
            self.page = read(text)
        return self.page


def in_frame(
    families: Sequence[Family], more: Sequence[Any] = ()
) -> Callable[[Page], Iterable[Found]]:
    """A way to ask recognisers through Presidio; see ``analyzer``."""
    pages = _LastPage()
    engine = analyzer(families, more, pages)

    def ask(page: Page) -> list[Found]:
        pages.page = page
        language = "zh" if page.han else "en"
        results = engine.analyze(page.text, language, score_threshold=0.0)
        pages.page = read("")  # so that nobody's text is kept
        return [_read_result(result) for result in results]

    return ask


def _read_result(result: Any) -> Found:
    """Our find as it was, or what a recogniser of Presidio found."""
    metadata = result.recognition_metadata or {}
    if isinstance(metadata.get(_FOUND), Found):
        found: Found = metadata[_FOUND]
        return found
    source = f"presidio.{metadata.get('recognizer_name', 'unknown')}"
    span = Span(result.start, result.end, result.entity_type, result.score, source)
    return Found(span, Rank.PATTERN, "presidio")
