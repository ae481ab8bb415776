"""From a file to its records, one at a time, each with its place."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sottovoce.data.find import unreadable
from sottovoce.data.strict_json import decode_json, decode_json_at
from sottovoce.errors import DataError, MissingExtraError

# A reader gives the place of each record and the record; a record that it could not even decode is
# given as the error that says why, so that reading can go on after it.
Records = Iterator[tuple[str, object]]


_LARGEST_FIELD = 2**31 - 1


def _read_jsonl(path: Path, shown: str) -> Records:
    """Read one record per line; blank lines are passed over."""
    for number, offset, raw in _lines(path, shown):
        record: object
        try:
            text = _decode(raw, offset)
            if not text.strip():
                continue
            record = decode_json(text)
        except DataError as error:
            record = error
        yield f"{shown}:{number}", record


def _read_json(path: Path, shown: str) -> Records:
    """Read an array of records, or records one after another, each with the line it begins on."""
    text = read_whole(path, shown)
    line, last = 1, 0
    try:
        for start, value in _json_values(text):
            line, last = line + text.count("\n", last, start), start
            yield f"{shown}:{line}", value
    except json.JSONDecodeError as error:
        raise DataError(
            f"{shown}:{error.lineno}: broken JSON: {error.msg} at column {error.colno}"
        ) from error


def _json_values(text: str) -> Iterator[tuple[int, object]]:
    """Give each record and the position where it begins, decoding one at a time."""
    space = re.compile(r"[ \t\r\n]*")

    def skip(position: int) -> int:
        match = space.match(text, position)
        return match.end() if match else position

    position = skip(0)
    array = text.startswith("[", position)
    position = skip(position + 1) if array else position
    while position < len(text) and not (array and text[position] == "]"):
        value, end = decode_json_at(text, position)
        yield position, value
        position = skip(end)
        if array and text.startswith(",", position):
            position = skip(position + 1)
            if text.startswith("]", position):
                raise json.JSONDecodeError("a record must follow the comma", text, position)
        elif array and not text.startswith("]", position):
            raise json.JSONDecodeError("a comma or a closing bracket must follow", text, position)
    if array and position >= len(text):
        raise json.JSONDecodeError("the array is not closed", text, position)
    if array and (after := skip(position + 1)) < len(text):
        raise json.JSONDecodeError("a second value follows the array", text, after)


def _read_csv(path: Path, shown: str) -> Records:
    """Read rows under a header; each has the line on which it begins."""

    def text_lines() -> Iterator[str]:
        for number, offset, raw in _lines(path, shown):
            try:
                yield _decode(raw, offset)
            except DataError as error:
                raise placed(f"{shown}:{number}", error) from error

    lines = text_lines()
    first = next(lines, "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(first)
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        place = f"{shown}:{reader.line_num + 1}"
        try:
            row = _next_row(reader)
        except csv.Error as error:
            raise DataError(f"{place}: broken CSV: {error}") from error
        if row is None:
            return
        if row and not header:
            header = row
            if len(set(header)) < len(header):
                raise DataError(f"{place}: broken CSV: two columns of the header have one name")
        elif row and len(row) != len(header):
            message = f"broken CSV: the row has {len(row)} fields, the header {len(header)}"
            yield place, DataError(message, remedy="Quote fields that hold the delimiter")
        elif row:
            yield place, dict(zip(header, row, strict=True))


def _delimiter(header: str) -> str:
    """Choose the delimiter that cuts the header into most fields; the comma at a tie."""
    return max(",;\t", key=lambda sign: len(next(csv.reader([header], delimiter=sign), [])))


def _next_row(reader: Iterator[list[str]]) -> list[str] | None:
    """Read one row with no bound on a field; the module's bound is global, so it is put back."""
    bound = csv.field_size_limit(_LARGEST_FIELD)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(bound)


def _read_parquet(path: Path, shown: str) -> Records:
    """Read rows in batches."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise MissingExtraError("pyarrow", extra="parquet") from error
    row = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for record in batch.to_pylist(maps_as_pydicts="strict"):
                    row += 1
                    yield f"{shown}:row {row}", record
    except (ArrowException, OSError, ValueError, KeyError) as error:
        cause = str(error).split("\n")[0]
        raise DataError(f"{shown}:row {row + 1}: broken Parquet: {cause}") from error


def read_hub(name: str, split: str) -> Records:
    """Read the rows of a hub data set, which is fetched if it is not in the cache."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError("datasets", extra="hub") from error
    try:
        rows = load_dataset(name, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"hub data set {name!r}, split {split!r}: {str(error).split(chr(10))[0]}",
            remedy="Check the name, the split and the network, or name a path",
        ) from error
    for row, record in enumerate(rows, start=1):
        yield f"{name}:row {row}", record


READERS: Mapping[str, Callable[[Path, str], Records]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}


def _lines(path: Path, shown: str) -> Iterator[tuple[int, int, bytes]]:
    """Give the number, the offset and the bytes of each line that a newline ends."""
    offset = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                yield number, offset, raw
                offset += len(raw)
    except OSError as error:
        raise unreadable(shown, error) from error


def read_whole(path: Path, shown: str) -> str:
    """Read a whole file as UTF-8 text."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise unreadable(shown, error) from error
    try:
        return _decode(raw, 0)
    except DataError as error:
        fault = error.__cause__
        end = fault.start if isinstance(fault, UnicodeDecodeError) else raw.find(b"\0")
        line = raw.count(b"\n", 0, end) + 1
        raise placed(f"{shown}:{line}", error) from error


def _decode(raw: bytes, offset: int) -> str:
    """Decode UTF-8 bytes that stand ``offset`` bytes into a file, without its mark at the start."""
    try:
        text = raw.decode("utf-8-sig" if offset == 0 else "utf-8")
    except UnicodeDecodeError as error:
        wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        remedy = f"Convert the file: iconv -f {'UTF-16' if wide else 'LATIN1'} -t UTF-8"
        seen = f"byte 0x{error.object[error.start]:02x} at offset {offset + error.start}"
        raise DataError(f"wrong encoding: {seen}", allowed="UTF-8", remedy=remedy) from error
    if "\0" in text:
        raise DataError(
            f"wrong encoding: a NUL byte at offset {offset + raw.find(0)}",
            allowed="UTF-8",
            remedy="Convert the file if it is UTF-16: iconv -f UTF-16 -t UTF-8",
        )
    return text


def placed(place: str, error: DataError) -> DataError:
    """Put the place in front of a fault."""
    return DataError(f"{place}: {error.seen}", allowed=error.allowed, remedy=error.remedy)


def no_records(shown: str) -> DataError:
    """Refuse a file that holds nothing."""
    return DataError(f"{shown}: empty file: it holds no records", remedy="Remove it, or fill it")
