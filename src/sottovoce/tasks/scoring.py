"""From an answer and its reference to a score between 0 and 1."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from sottovoce.data.conversation import ToolCall
from sottovoce.data.parse import canonical_arguments
from sottovoce.errors import DataError

# Ideographs and kana; Korean puts spaces between words, so Hangul counts as an alphabet.
_CJK = r"\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"(?=\w)[{_CJK}]|[^\W_{_CJK}]+")


def rouge_tokens(text: str) -> list[str]:
    """Split text into lower-cased words; Chinese and Japanese into single characters.

    Punctuation and underscores separate and are dropped.

    >>> rouge_tokens("It's order_7: 订单已发货!")
    ['it', 's', 'order', '7', '订', '单', '已', '发', '货']
    """
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower())


def rouge_l(candidate: str, reference: str) -> float:
    """ROUGE-L: F1 of the longest common subsequence of the two texts' tokens.

    F = 2·LCS / (m + n), with m and n the lengths of the two token sequences.

    Args:
        candidate: the generated answer.
        reference: the right one.

    Returns:
        A value in [0, 1].

    Guarantees:
        - symmetric;
        - 1 exactly where the token sequences are equal, two empty ones included;
        - 0 where nothing is shared.

    >>> round(rouge_l("your parcel left today", "your parcel left our shop today"), 3)
    0.8
    """
    left, right = rouge_tokens(candidate), rouge_tokens(reference)
    if not left and not right:
        return 1.0
    return 2 * common_subsequence(left, right) / (len(left) + len(right))


def common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest common subsequence.

    Hyyrö (2004), "Bit-parallel LCS-length computation revisited": bit j of ``row`` is 0 where the
    dynamic-programming row grows at column j, so one row of the table is one addition of integers.

    Guarantees:
        - equal to the quadratic table;
        - memory is linear in ``len(right)``.
    """
    places: dict[str, int] = {}
    for column, token in enumerate(right):
        places[token] = places.get(token, 0) | 1 << column
    full = (1 << len(right)) - 1
    row = full
    for token in left:
        matches = row & places.get(token, 0)
        row = (row + matches | row - matches) & full
    return len(right) - row.bit_count()


def tool_call_score(candidate: Sequence[ToolCall], reference: Sequence[ToolCall]) -> float:
    """1 where the same tools are called with the same arguments, in any order, else 0.

    Arguments are compared as canonical JSON; what is no JSON object is compared as it stands.

    >>> wrong, right = ToolCall("find", '{"id":"8"}'), ToolCall("find", '{"id": "7"}')
    >>> tool_call_score([wrong], [right]), tool_call_score([right], [right])
    (0.0, 1.0)
    """
    return float(Counter(map(_identity, candidate)) == Counter(map(_identity, reference)))


def exact_match(candidate: str, reference: str) -> bool:
    """Whether two texts are equal up to runs of white space.

    >>> exact_match(" It left  today.", "It left today."), exact_match("it left", "It left")
    (True, False)
    """
    return candidate.split() == reference.split()


def _identity(call: ToolCall) -> tuple[str, str]:
    """What two equal calls share."""
    try:
        return call.name, canonical_arguments(call.arguments)
    except DataError:
        return call.name, call.arguments
