"""A filter on a reply while it is being said: nothing personal leaves before it is decided.

A reply arrives in pieces that cut words and numbers anywhere. The filter holds text back until a
sentence has ended, or, in a long sentence, until so much has followed that whatever begins before
can be told; then it replaces what is found and lets it go. Plain words at the beginning of a sentence
go at once. Where it cuts depends on the reply alone, never on the pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Final

from sottovoce.data.pii.replace import Replacement, normalised
from sottovoce.data.pii.span import Detector
from sottovoce.data.scrub import scrub

WINDOW: Final = 200
"""Characters that are held back at most; what is longer than half of it may be cut."""
_BEHIND: Final = 200
_END: Final = re.compile(r"[。！？][”’」』）]*|[.!?]['\")\]]*(?=\s)|\n")
_ENDED: Final = re.compile(r"(?:^|[.!?。！？][”’」』）'\")\]]*)\s*$")
# A full stop behind an initial, "Dr", "St" or a number may stand inside a name or an address.
_NO_END: Final = re.compile(r"(?:(?<![A-Za-z])[A-Z][A-Za-z]{0,3}|[0-9])[.]['\")\]]*$")


class ReplyFilter:
    """Personal data out of a reply that arrives in pieces.

    Args:
        detector: what finds personal data.
        replacement: what stands in their place.
        said: what the user has said so far; personal data that stand in there may be said back.
        nothing_until: how many characters at the beginning of a sentence nothing can begin in,
            whatever follows: they are not held back. None holds all back.

    Guarantees:
        - what ``feed`` and ``end`` have returned, joined, is the same however the reply is cut
          into pieces;
        - it is what ``scrub`` makes of the whole reply, wherever the detector needs no more than
          the sentence and the 200 characters before it to find something, and no entity goes on
          behind the end of a sentence or for more than 100 characters;
        - but for plain words at the beginning of a sentence, nothing of a text is returned before
          its sentence has ended or 100 more characters have arrived;
        - at most 200 characters are held back.
    """

    def __init__(
        self,
        detector: Detector,
        replacement: Replacement,
        said: Iterable[str] = (),
        nothing_until: Callable[[str], int] | None = None,
    ) -> None:
        self._detector = detector
        self._replacement = replacement
        self._said = tuple(said)
        self._nothing_until = nothing_until
        self._held = ""
        self._before = ""
        self._plain = nothing_until is not None

    def feed(self, piece: str) -> str:
        """Take the next piece of a reply.

        Returns:
            What may be shown now; often nothing.
        """
        self._held += piece
        out = self._begin()
        while cut := _sentence(self._held[:WINDOW]) or self._inside():
            out += self._release(cut) + self._begin()
        return out

    def end(self) -> str:
        """Say that the reply is over; what was held back comes out."""
        return self._release(len(self._held))

    def _begin(self) -> str:
        """The plain words at the beginning of a sentence."""
        if not self._plain or self._nothing_until is None:
            return ""
        bare = self._held.lstrip()
        cut = self._nothing_until(bare)
        cut += len(self._held) - len(bare) if cut else 0
        words, self._held = self._held[:cut], self._held[cut:]
        self._before = (self._before + words)[-_BEHIND:]
        return words

    def _inside(self) -> int:
        """Where a sentence longer than the window is cut, beside all that is found; 0 if shorter."""
        if len(self._held) < WINDOW:
            return 0
        held, half = self._held[:WINDOW], WINDOW // 2
        cut = held.rfind(" ", 0, half) + 1 or half
        lead = len(self._before)
        for span in reversed(self._detector.spans(self._before + held)):
            start, end = span.start - lead, span.end - lead
            if start < cut < end:
                cut = start if start > 0 else end
        return cut

    def _release(self, cut: int) -> str:
        text, after = self._held[:cut], self._held[cut:WINDOW]
        self._held = self._held[cut:]
        # A sentence is judged without what follows, because that may not have arrived.
        done = scrub(
            text,
            self._detector,
            self._replacement,
            before=self._before,
            after="" if _sentence(text + after[:1]) == cut else after,
            keep=self._may_stay,
        )
        self._before = (self._before + text)[-_BEHIND:]
        self._plain = _ENDED.search(self._before) is not None
        return done.text

    def _may_stay(self, kind: str, value: str) -> bool:
        return any(_holds(said, value, kind) for said in self._heard)

    @cached_property
    def _heard(self) -> Sequence[tuple[str, str]]:
        """What the user has said as it is compared, and the same with numbers in one."""
        plain = [normalised(said) for said in self._said]
        return [(said, re.sub(r"(?<=\d)[\s().-]+(?=\d)", "", said)) for said in plain]


def _sentence(text: str) -> int:
    """The length of the first sentence; 0 if no end of one, and something behind it, is there."""
    for found in _END.finditer(text):
        if found.end() < len(text) and not _NO_END.search(text, 0, found.end()):
            return found.end()
    return 0


def _holds(said: tuple[str, str], value: str, kind: str) -> bool:
    """Whether somebody has said a value himself, as words of their own."""
    for text, wanted in zip(said, (normalised(value), normalised(value, kind)), strict=True):
        at = text.find(wanted) if wanted else -1
        while at >= 0:
            around = text[at - 1 : at] + text[at + len(wanted) : at + len(wanted) + 1]
            if not any(sign.isalnum() and sign < "\u0250" for sign in around):
                return True
            at = text.find(wanted, at + 1)
    return False
