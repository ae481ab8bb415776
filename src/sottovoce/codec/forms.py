"""How the parts of a message or of a state are written as bytes: one way each.

A client is its place in the cohort, a set of clients one bit for each place, a list its length and
its items in the order of the cohort, and all else has a size that the terms fix. So a value has one
binary form, and a byte string reads as at most one value. Integers are big-endian.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from sottovoce.codec.roster import HASH_BYTES, SIGNATURE_BYTES
from sottovoce.codec.terms import Agreed
from sottovoce.errors import VerificationError

_COUNT_BYTES: Final = 4

Data = bytes | memoryview


class Reader:
    """A place in bytes that came from outside. Whatever they hold, errors name the title."""

    def __init__(self, data: Data, title: str) -> None:
        self._data = memoryview(data)
        self._title = title

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        return bytes(self.view(count))

    def view(self, count: int) -> memoryview:
        """Return the next bytes without copying them."""
        if count > len(self._data):
            raise self.refused(f"ends {count - len(self._data)} bytes too early")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def require_end(self) -> None:
        """Refuse what goes on after its end."""
        if len(self._data):
            raise self.refused(f"goes on for {len(self._data)} bytes after its end")

    def refused(self, why: str) -> VerificationError:
        """Make the error that says why these bytes are refused."""
        return VerificationError(f"the {self._title} {why}")


@dataclass(frozen=True)
class Form:
    """How the value of one field is written and read, under terms that have what it asks for."""

    write: Callable[[Any, Any], Data]
    read: Callable[[Reader, Any], Any]


Fields = tuple[tuple[str, Form], ...]


def write_fields(
    value: object, fields: Iterable[tuple[str, Form]], terms: Agreed
) -> Iterator[Data]:
    """Write the named fields of a value, one after the other."""
    for name, form in fields:
        yield form.write(getattr(value, name), terms)


def read_fields(reader: Reader, fields: Fields, terms: Agreed) -> dict[str, Any]:
    """Read what ``write_fields`` wrote."""
    return {name: form.read(reader, terms) for name, form in fields}


def fixed(size: int, what: str) -> Form:
    """A byte string of one size."""

    def write(value: Data, _: Agreed) -> Data:
        if not isinstance(value, (bytes, memoryview)) or len(value) != size:
            raise VerificationError(f"{what} is not a string of {size} bytes")
        return value

    return Form(write, lambda reader, _: reader.take(size))


def listed(item: Callable[..., Any], /, **forms: Form) -> Form:
    """Items of one kind, each about another client, in the order of the cohort."""

    def write(items: Sequence[Any], terms: Agreed) -> bytes:
        _require_listed([item.client for item in items], terms)
        written = [part for item in items for part in write_fields(item, fields, terms)]
        return b"".join([len(items).to_bytes(_COUNT_BYTES, "big"), *written])

    def read(reader: Reader, terms: Agreed) -> tuple[Any, ...]:
        count = int.from_bytes(reader.take(_COUNT_BYTES), "big")
        if count > len(terms.cohort):
            raise reader.refused(f"lists {count} items for a cohort of {len(terms.cohort)}")
        items = [item(**read_fields(reader, fields, terms)) for _ in range(count)]
        if any(left.client >= right.client for left, right in pairwise(items)):
            raise reader.refused("has a list that is not sorted, or names somebody twice")
        return tuple(items)

    fields = (("client", CLIENT), *forms.items())
    return Form(write, read)


def _require_listed(clients: Sequence[str], terms: Agreed) -> None:
    if list(clients) != sorted(set(clients)):
        raise VerificationError("a list of clients is not sorted, or names somebody twice")
    stranger = next((client for client in clients if client not in terms.position), None)
    if stranger is not None:
        raise VerificationError(f"client {stranger!r} is not in the cohort of {terms.title}")


def _write_client(client: str, terms: Agreed) -> bytes:
    _require_listed((client,), terms)
    return terms.position[client].to_bytes(_COUNT_BYTES, "big")


def _read_client(reader: Reader, terms: Agreed) -> str:
    place = int.from_bytes(reader.take(_COUNT_BYTES), "big")
    if place >= len(terms.cohort):
        raise reader.refused(f"names place {place} of a cohort of {len(terms.cohort)}")
    return terms.cohort[place]


def _write_clients(clients: Sequence[str], terms: Agreed) -> bytes:
    _require_listed(clients, terms)
    marks = np.zeros(len(terms.cohort), np.uint8)
    marks[[terms.position[client] for client in clients]] = 1
    return np.packbits(marks).tobytes()


def _read_clients(reader: Reader, terms: Agreed) -> tuple[str, ...]:
    taken = reader.take((len(terms.cohort) + 7) // 8)
    marks = np.unpackbits(np.frombuffer(taken, np.uint8))
    places = np.flatnonzero(marks).tolist()
    if places and places[-1] >= len(terms.cohort):
        raise reader.refused("names clients beyond the cohort")
    return tuple(terms.cohort[place] for place in places)


CLIENT: Final = Form(_write_client, _read_client)
CLIENTS: Final = Form(_write_clients, _read_clients)
HASH: Final = fixed(HASH_BYTES, "a hash")
SIGNATURE: Final = fixed(SIGNATURE_BYTES, "a signature")
