"""Numbers with a telling shape and a word for it in the same sentence, before or behind. Pure.

People write "加过了，搜happy_88，微信那个": no word stands right before, but the shape and the sentence
together say enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sottovoce.data.pii.merge import Found, Rank
from sottovoce.data.pii.page import Page
from sottovoce.data.pii.span import Span

_BEFORE: Final = 24
_BEHIND: Final = 14
_SENTENCE: Final = re.compile(r"[。！？!?；;\n]|\.\s")


@dataclass(frozen=True)
class _Near:
    kind: str
    shape: re.Pattern[str]
    words: re.Pattern[str]


def _near(kind: str, shape: str, words: str) -> _Near:
    return _Near(kind, re.compile(shape), re.compile(words))


_KINDS: Final = (
    _near("PASSPORT", r"[EeGgDdSsPpHhKk][0-9A-Za-z][0-9]{7}", r"护照|证件号|passport"),
    _near("CN_PERMIT", r"[CcHhMmTtLlWw][0-9A-Za-z]?[0-9]{7,10}", r"通行证|回乡证|台胞证"),
    _near(
        "WECHAT",
        r"(?=[A-Za-z_-]*[0-9])[A-Za-z][A-Za-z0-9_-]{5,19}",
        r"微信|薇信|(?<![a-z])(?:wechat|weixin|vx)(?![a-z])",
    ),
    _near("QQ", r"[1-9][0-9]{5,10}", r"(?<![a-z])qq|扣扣|企鹅|q[裙群]"),
    _near(
        "ORDER_NUMBER",
        r"[A-Za-z]{1,4}-?[0-9]{6,20}|[0-9]{10,20}",
        r"订单|运单|快递|物流|查件|单号|[这那][个一]?单|交易|流水"
        r"|(?<![a-z])(?:orders?|parcel|track(?:ing)?|shipment|package)(?![a-z])",
    ),
    _near(
        "ACCOUNT_NUMBER",
        r"[A-Za-z]{0,3}[0-9]{7,20}[A-Za-z]?",
        r"户号|账户|帐户|账号|帐号|会员|学号|工号|登记号|编号|社保|公积金|病历"
        r"|(?<![a-z])(?:accounts?|member|patient)(?![a-z])",
    ),
)


def nearby(page: Page, start: int, end: int) -> Iterator[Found]:
    """What a token is by its shape and by the words of its sentence; nothing if they don't say."""
    token = page.folded[start:end]
    fitting = [near for near in _KINDS if near.shape.fullmatch(token)]
    if not fitting:
        return
    before = _SENTENCE.split(page.lowered[max(0, start - _BEFORE) : start])[-1]
    behind = _SENTENCE.split(page.lowered[end : end + _BEHIND])[0]
    told = []
    for place, near in enumerate(fitting):
        for side, window in ((1, before), (0, behind)):
            words = list(near.words.finditer(window))
            if words:
                word = words[-1] if side else words[0]
                distance = len(window) - word.end() if side else word.start()
                told.append((distance, place, near.kind, word[0]))
    if told:
        # The nearest word decides.
        _, _, kind, said = min(told)
        yield Found(Span(start, end, kind, 0.6, "context.nearby"), Rank.CONTEXT, "nearby", said)
