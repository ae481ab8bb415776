"""Plain words: where nothing personal begins. Pure.

A span that begins with "your order" is a mistake, so plain words are taken off its front. A filter
on a reply relies on that: as long as only plain words have come, it need not wait for the rest.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from sottovoce.data.pii.tagger_input import BIT, Lexicon, keys_of

_WORD: Final = re.compile(r"([A-Za-z]+),? ")
_CAPITALISED: Final = re.compile(
    "Yes|No|Hello|Hi|Dear|Sorry|Sure|Please|Thank|Thanks|Welcome|You|Your|Yours|We|Our|I|My|"
    "It|Its|They|Their|He|She|His|Her|This|That|These|Those|There|Here|Is|Are|Was|Were|Do|"
    "Does|Did|Have|Has|Had|Can|Could|Should|Would|If|When|What|How|Why|Where|Which|Once|As|"
    "For|From|With|To|In|On|At|And|But|Or|So|Not|Of|Unfortunately|However|Certainly|Great|"
    "Good"
)
"""Words that are plain although they begin with a capital: hardly any name begins with them."""
_HAN: Final = re.compile(
    "您好|你好|您的|你的|我们|咱们|他们|她们|它们|请您|请问|请在|感谢|谢谢|抱歉|非常|可以|如果|如需|已经|正在|目前|没有"
    "|不是|不能|订单|包裹|商品|退款|退货|发货|快递|物流|[，、；]"
)
"""Chinese phrases, none of which is the beginning of another, so that no letter must follow."""

_HELD: Final = 4096
"""Words that are not looked up again."""

_SENTENCE: Final = 200
"""Characters in which the front of a sentence is looked for."""
_OPENING: Final = re.compile(r"[”’」』）'\")\]\s]*")


class PlainWords:
    """Tells plain words.

    Args:
        lexicon: knows which words in small letters are common and name nobody.
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._plain = lru_cache(_HELD)(self._look_up)

    def leading(self, text: str, start: int = 0) -> int:
        """Where the plain words end that stand at a place; the place itself where none does.

        An English word counts with the blank behind it, and only once that is there.

        Args:
            text: any text.
            start: where a word begins.

        Guarantees:
            - what has been counted stays counted, whatever follows.
        """
        while found := _WORD.match(text, start) or _HAN.match(text, start):
            if found.re is _WORD and not self._plain(found.group(1)):
                break
            start = found.end()
        return start

    def behind(self, text: str, start: int) -> int:
        """Where something begins that seems to begin at a place: behind plain words.

        Behind those at the place itself, and behind those at the front of its sentence where the
        place is in the middle of one of them, as it can be in Chinese.
        """
        behind = max(start, self.leading(text, _front(text, start)))
        return self.leading(text, behind)

    def _look_up(self, word: str) -> bool:
        if _CAPITALISED.fullmatch(word):
            return True
        _, flags = self._lexicon.find(keys_of([word]))
        return word.islower() and int(flags[0]) == BIT["common word"]


def _front(text: str, start: int) -> int:
    """Where the sentence begins in which a place is; the place itself where that is far."""
    least = max(0, start - _SENTENCE)
    ends = [text.rfind(sign, least, start) + 1 for sign in ".!?。！？\n"]
    front = max(ends) or (0 if least == 0 else start)
    opened = _OPENING.match(text, front, start)
    return front if opened is None else opened.end()
