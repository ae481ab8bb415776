"""What may be told of an answer: personal data out of its text, of its JSON, and of its calls."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

from sottovoce.data.conversation import ToolCall
from sottovoce.data.pii.default import default_detector, own_kinds
from sottovoce.data.pii.detector import RuleDetector
from sottovoce.data.pii.replace import Mask
from sottovoce.data.pii.settings import PiiSettings
from sottovoce.data.pii.stream import ReplyFilter
from sottovoce.serve.reading import Piece, Said

Filter = Callable[[AsyncIterator[str]], AsyncIterator[str]]
"""From a text in pieces to what may be told of it."""
FilterOf = Callable[[int, Sequence[str]], Filter]
"""From a run, by its place on the shelf, and what whoever asks has said, to the filter of an answer."""

_LITERAL: Final = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?', re.S)


class ReplyFilters:
    """Makes filters on replies, for each run with the recognisers that it names.

    Args:
        settings: ``[data.pii]`` of each run, in the order of the shelf.

    Guarantees:
        - detectors are loaded at once, beside other work, and no reply leaves before;
        - what whoever asks has said in the request may be said back.
    """

    def __init__(self, settings: Sequence[PiiSettings]) -> None:
        self._settings = settings
        with_one = ThreadPoolExecutor(1, thread_name_prefix="filter")
        self._loading = with_one.submit(self._load)
        with_one.shutdown(wait=False)

    def wait(self) -> None:
        """Until they are loaded.

        Raises:
            MissingExtraError: a run's recognisers need a package that is not installed.
        """
        self._loading.result()

    def __call__(self, run: int, said: Sequence[str]) -> Filter:
        """The filter of one answer."""
        self.wait()
        detector, mask = _tools(self._settings[run])

        async def filtered(texts: AsyncIterator[str]) -> AsyncIterator[str]:
            reply = ReplyFilter(detector, mask, said, detector.nothing_until)
            async for text in texts:
                if shown := reply.feed(text):
                    yield shown
            if shown := reply.end():
                yield shown

        return filtered

    def _load(self) -> None:
        for settings in self._settings:
            # The first text costs more than others do.
            _tools(settings)[0].spans("Maria")


@cache
def _tools(settings: PiiSettings) -> tuple[RuleDetector, Mask]:
    return default_detector(settings), Mask(own_kinds(settings))


async def filtered(
    said: AsyncIterator[Said], filter: Filter, *, json_text: bool
) -> AsyncIterator[Said]:
    """An answer with its text filtered; calls come after all text, as they do in every answer.

    Args:
        said: the answer.
        filter: what every text goes through.
        json_text: whether the text is JSON, which is told once it is whole, so that it stays JSON.
    """
    others: list[Said] = []

    async def texts() -> AsyncIterator[str]:
        async for one in said:
            if isinstance(one, Piece):
                yield one.text
            else:
                others.append(one)

    if json_text:
        whole = "".join([text async for text in texts()])
        yield Piece(await filtered_json(whole, filter))
    else:
        async for text in filter(texts()):
            yield Piece(text)
    for other in others:
        if isinstance(other, ToolCall):
            yield ToolCall(other.name, await filtered_json(other.arguments, filter))
        else:
            yield other


async def filtered_json(text: str, filter: Filter) -> str:
    """JSON with each of its texts and numbers filtered by itself; the names of fields are texts, too.

    A number that may not be told becomes 0. What is no JSON is filtered all the same.
    """
    parts, place = list[str](), 0
    for found in _LITERAL.finditer(text):
        parts.append(await _outside(text[place : found.start()], filter))
        parts.append(await _literal(found.group(), filter))
        place = found.end()
    return "".join([*parts, await _outside(text[place:], filter)])


async def _literal(literal: str, filter: Filter) -> str:
    if not literal.startswith('"'):
        return literal if await _through(literal, filter) == literal else "0"
    try:
        value = json.loads(literal, strict=False)
    except ValueError:
        return await _through(literal, filter)
    told = await _through(value, filter)
    return literal if told == value else json.dumps(told, ensure_ascii=False)


async def _outside(text: str, filter: Filter) -> str:
    """Signs between literals are JSON's own; anything else is there where an answer was cut off."""
    return await _through(text, filter) if '"' in text else text


async def _through(text: str, filter: Filter) -> str:
    return "".join([part async for part in filter(_one(text))])


async def _one(text: str) -> AsyncIterator[str]:
    yield text
