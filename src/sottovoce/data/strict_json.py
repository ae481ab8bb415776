"""JSON without its loose ends: no NaN, no name twice, no text that is not UTF-8."""

from __future__ import annotations

import json
import reprlib
from collections import Counter

from sottovoce.errors import DataError


def decode_json(text: str) -> object:
    """Decode one JSON value, strictly.

    Guarantees:
        - a name that stands twice in one object, NaN, Infinity and endless nesting are refused.

    Raises:
        DataError: the text is not one JSON value.
    """
    try:
        start = len(text) - len(text.lstrip(" \t\r\n"))
        value, end = decode_json_at(text, start)
        if rest := text[end:].lstrip(" \t\r\n"):
            raise json.JSONDecodeError("a second value follows", text, len(text) - len(rest))
    except json.JSONDecodeError as error:
        raise DataError(f"broken JSON: {error.msg} at column {error.colno}") from error
    return value


def decode_json_at(text: str, start: int) -> tuple[object, int]:
    """Decode the JSON value that begins at ``start``; return it and where it ends.

    Raises:
        json.JSONDecodeError: with the position of the fault; callers turn it into a place.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", text, start) from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # NaN, a number with thousands of digits, a name given twice
        raise json.JSONDecodeError(str(error).split(";")[0], text, start) from error


def shorten(value: object) -> str:
    """Show a name in an error, cut short so that a hostile one cannot fill the screen.

    >>> len(shorten("x" * 10**6)) < 100
    True
    """
    return _SHORT.repr(value)


def _unique_names(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object, refusing two values for one name instead of keeping the last."""
    value = dict(pairs)
    if len(value) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {shorten(twice)} stands twice in one object")
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_names, parse_constant=_refuse_constant)


_SHORT = reprlib.Repr()


_SHORT.maxstring = _SHORT.maxother = 80
