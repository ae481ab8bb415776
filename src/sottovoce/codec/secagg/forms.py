"""Forms that depend on whether the terms say ``post_quantum``; the others are in ``codec.forms``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sottovoce.codec.forms import Data, Form, Reader, fixed
from sottovoce.codec.secagg.terms import Terms
from sottovoce.errors import VerificationError


def either(plain: Form, post_quantum: Form) -> Form:
    """One form in plain terms, another where they say ``post_quantum``."""

    def write(value: Any, terms: Terms) -> Data:
        return (post_quantum if terms.post_quantum else plain).write(value, terms)

    def read(reader: Reader, terms: Terms) -> Any:
        return (post_quantum if terms.post_quantum else plain).read(reader, terms)

    return Form(write, read)


def fixed_either(plain: int, post_quantum: int, what: str) -> Form:
    """A byte string of one size in plain terms, of another where they say ``post_quantum``."""
    return either(fixed(plain, what), fixed(post_quantum, what))


def _write_nothing(items: Sequence[Any], _: Terms) -> bytes:
    if items:
        raise VerificationError("a list that plain terms do not have is not empty")
    return b""


NOTHING: Final = Form(_write_nothing, lambda _, __: ())
"""A list that has no place in the terms, and takes no byte."""
