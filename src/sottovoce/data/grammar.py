"""A small phrase grammar: patterns with choices, optional parts, named rules and slots.

A pattern is text with

- ``[a|b|c]``: one of the alternatives, which may be patterns themselves; an empty alternative makes
  the part optional, and a repeated one makes it likelier;
- ``<rule>``: the pattern of that name among the rules;
- ``{slot}``: the value of that name among the slots, taken literally.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sottovoce.errors import DataError

_TOKENS = re.compile(r"\[|\]|\||<\w+>|\{\w+\}|[^\[\]|<>{}]+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str


@dataclass(frozen=True, slots=True)
class _Slot:
    name: str


@dataclass(frozen=True, slots=True)
class _Choice:
    options: tuple[_Sequence, ...]


_Sequence = tuple[str | _Rule | _Slot | _Choice, ...]


def expand(
    pattern: str, rng: np.random.Generator, rules: Mapping[str, str], slots: Mapping[str, str]
) -> str:
    """Write one text of those that a pattern allows.

    Args:
        pattern: text with choices, rules and slots.
        rng: draws the choices, each alternative equally likely.
        rules: patterns by name.
        slots: literal texts by name.

    Returns:
        The text, as the pattern has it; no blank is added or removed.

    Raises:
        DataError: a bracket is not closed, or a rule or slot has no entry.

    >>> rng = np.random.default_rng(0)
    >>> expand("<hi>, {name}[.|.]", rng, {"hi": "[Hello|Hello]"}, {"name": "A|B"})
    'Hello, A|B.'
    """
    out: list[str] = []
    _write(_parse(pattern), rng, rules, slots, out)
    return "".join(out)


def _write(
    sequence: _Sequence,
    rng: np.random.Generator,
    rules: Mapping[str, str],
    slots: Mapping[str, str],
    out: list[str],
) -> None:
    """Append the text of one sequence to ``out``."""
    for part in sequence:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, _Choice):
            _write(part.options[int(rng.random() * len(part.options))], rng, rules, slots, out)
        elif isinstance(part, _Rule):
            _write(_parse(_look_up(rules, part.name, "rule")), rng, rules, slots, out)
        else:
            out.append(_look_up(slots, part.name, "slot"))


def _look_up(table: Mapping[str, str], name: str, what: str) -> str:
    if name not in table:
        raise DataError(f"the pattern names the {what} {name}", allowed=", ".join(sorted(table)))
    return table[name]


@lru_cache(maxsize=4096)
def _parse(pattern: str) -> _Sequence:
    """Read a pattern into its parts."""
    # Each level holds the finished alternatives and the parts of the one being read.
    levels: list[tuple[list[_Sequence], list[str | _Rule | _Slot | _Choice]]] = [([], [])]
    for piece in _TOKENS.findall(pattern):
        done, parts = levels[-1]
        if piece == "[":
            levels.append(([], []))
        elif piece == "|" and len(levels) > 1:
            done.append(tuple(parts))
            parts.clear()
        elif piece == "]" and len(levels) > 1:
            levels.pop()
            levels[-1][1].append(_Choice((*done, tuple(parts))))
        elif piece[0] == "<" and len(piece) > 1:
            parts.append(_Rule(piece[1:-1]))
        elif piece[0] == "{" and len(piece) > 1:
            parts.append(_Slot(piece[1:-1]))
        elif piece in "[]|<>{}":
            raise DataError(f"the pattern {pattern!r} has a {piece!r} that belongs to nothing")
        else:
            parts.append(piece)
    if len(levels) > 1:
        raise DataError(f"the pattern {pattern!r} does not close a bracket")
    return tuple(levels[0][1])
