"""Chinese kinds whose form alone gives them away. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sottovoce.data.pii import checks
from sottovoce.data.pii.merge import Found, Rank
from sottovoce.data.pii.page import Page
from sottovoce.data.pii.shape import Family, Shape, bounded, find_shapes, solid

_PROVINCES: Final = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使"
_SIGN: Final = "[A-HJ-NP-Za-hj-np-z0-9]"
# "全新A12345" names a product, and no car of Xinjiang; likewise for the others.
_NO_PLATE: Final = frozenset(
    ("全新", "最新", "崭新", "更新", "创新", "里云", "讯云", "为云", "度云", "上云", "吉祥", "年青")
)


def _is_plate(page: Page, start: int, end: int) -> bool:
    """Three digits at least, and no word that only ends like a province."""
    body = page.folded[start + 2 : end]
    digits = sum(sign.isdigit() for sign in body)
    return digits >= 3 and page.folded[max(0, start - 1) : start + 1] not in _NO_PLATE


def _id_here(page: Page, start: int, end: int) -> bool:
    return checks.cn_id(solid(page, start, end))


def _code_here(page: Page, start: int, end: int) -> bool:
    return checks.cn_credit_code(page.folded[start:end])


_SHAPES: Final = (
    Shape(
        "CN_ID",
        "id of 18",
        re.compile(
            r"[1-9](?<![0-9][1-9])[0-9]{5}[ -]?(?:18|19|20)[0-9]{2}[ -]?(?:0[1-9]|1[0-2])[ -]?"
            r"(?:0[1-9]|[12][0-9]|3[01])[ -]?[0-9]{3}[0-9Xx](?![0-9])"
        ),
        0.99,
        Rank.CHECKSUM,
        _id_here,
        "MOD 11-2 and birthday",
    ),
    Shape(
        "CN_ID",
        "id of 15",
        re.compile(bounded("[1-9]", "[0-9]{14}")),
        0.65,
        holds=lambda page, start, end: checks.cn_id_15(page.folded[start:end]),
        check="province and birthday",
    ),
    Shape(
        "CN_ID",
        "id of Taiwan",
        re.compile(bounded("[A-Za-z]", "[1289][0-9]{8}")),
        0.8,
        Rank.CHECKSUM,
        lambda page, start, end: checks.taiwan_id(page.folded[start:end]),
        "check digit",
    ),
    Shape(
        "CN_ID",
        "id of Hong Kong",
        re.compile(bounded("[A-Za-z]", r"[A-Za-z]?[0-9]{6}\([0-9Aa]\)")),
        0.9,
        Rank.CHECKSUM,
        lambda page, start, end: checks.hong_kong_id(solid(page, start, end)),
        "check sign",
    ),
    Shape(
        "CN_CREDIT_CODE",
        "unified code",
        re.compile(bounded("[1-9AGNYagny]", "[1-9A-Za-z][0-9]{6}[0-9A-Za-z]{10}")),
        0.97,
        Rank.CHECKSUM,
        _code_here,
        "modulo 31",
    ),
    Shape(
        "CN_PLATE",
        "plate",
        re.compile(
            rf"[{_PROVINCES}][A-HJ-Za-hj-z][ ·•・.-]?(?:"
            rf"[DFdf]{_SIGN}[0-9]{{4}}|[0-9]{{5}}[DFdf]|{_SIGN}{{4}}(?:{_SIGN}|[挂学警港澳试超]))"
            r"(?![0-9A-Za-z])"
        ),
        0.9,
        holds=_is_plate,
    ),
)


def _chinese(page: Page) -> Iterator[Found]:
    return find_shapes(page, "chinese", _SHAPES if page.digits else ())


CHINESE: Final = Family("chinese", ("CN_ID", "CN_CREDIT_CODE", "CN_PLATE"), _chinese)
