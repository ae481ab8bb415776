"""Conversations and documents from files, folders, globs or a hub, with a summary of what came.

Files are read line by line or row by row. A fault in a record names its file and line; a fault that
makes the rest of a file unreadable always stops.
"""

from __future__ import annotations

import csv
import fnmatch
import itertools
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sottovoce.data.conversation import Conversation
from sottovoce.data.parse import (
    Document,
    Layout,
    decode_json,
    decode_json_at,
    find_columns,
    nearest,
    parse_record,
    split_documents,
    split_speeches,
)
from sottovoce.errors import ConfigError, DataError, MissingExtraError
from sottovoce.rng import stream

Item = TypeVar("Item", Conversation, Document)
# A reader gives the place of each record and the record; a record that it could not even decode is
# given as the error that says why, so that reading can go on after it.
Records = Iterator[tuple[str, object]]

_LARGEST_FIELD = 2**31 - 1
_COLUMN_FIELDS = (
    *("messages", "instruction", "context", "response"),
    *("system", "owner", "client", "label"),
)


class DataSettings(BaseModel):
    """The section [data] of a configuration.

    Args:
        path: files, folders and globs, "~" allowed, relative to the configuration's folder.
        hub: the name of a hub data set, which is fetched; instead of ``path``.
        hub_split: the part of the hub data set to read.
        format: how conversations are written; ``text`` is plain text for pre-training.
        messages_column: the column that holds all turns. Unnamed columns are found by common names.
        instruction_column: the column with what the user says.
        context_column: the column that is appended to the instruction.
        response_column: the column with what the assistant says.
        system_column: the column with a conversation's own system prompt.
        owner_column: the column that says whose conversation it is.
        client_column: the column that says which party holds it.
        label_column: the column that Dirichlet partitioning splits by.
        system: a system prompt for conversations that have none; "{client}" becomes the name of
            the client.
        strict: stop at the first wrong record; otherwise skip and count such records.
        clients: what makes a client: its ``column`` (for plain text the file), the ``file``, the
            ``speaker`` of a play, or an ``iid`` or ``dirichlet`` partition of everything.
        number_of_clients: how many clients a partition makes, where the caller does not say it.
        dirichlet_alpha: how evenly labels are spread; small is uneven.
        validation_fraction: the share of each client's examples that is held out; 0 holds out none.
        validation_by: hold out whole owners where they are known, or single examples.
        min_examples: a client with fewer is an error.
        max_conversations: draw so many conversations or documents at random, the same ones each
            time, for a quick run.
        min_characters: speakers who say less than this in all are left out.
        document_characters: plain files are cut at the first blank line after so many characters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str | tuple[str, ...] | None = None
    hub: str | None = None
    hub_split: str = "train"
    format: Literal["auto", "messages", "sharegpt", "instruction", "text"] = "auto"
    messages_column: str | None = None
    instruction_column: str | None = None
    context_column: str | None = None
    response_column: str | None = None
    system_column: str | None = None
    owner_column: str | None = None
    client_column: str | None = None
    label_column: str | None = None
    system: str | None = None
    strict: bool = True
    clients: Literal["column", "file", "speaker", "iid", "dirichlet"] = "column"
    number_of_clients: int | None = Field(default=None, ge=1)
    dirichlet_alpha: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    validation_by: Literal["owner", "example"] = "owner"
    min_examples: int = Field(default=2, ge=1)
    max_conversations: int | None = Field(default=None, ge=1)
    min_characters: int = Field(default=1000, ge=0)
    document_characters: int = Field(default=2000, ge=0)

    @model_validator(mode="after")
    def _agree(self) -> DataSettings:
        """Refuse settings that contradict each other."""
        named = [field for field in _COLUMN_FIELDS if getattr(self, f"{field}_column") is not None]
        pair = [field for field in named if field in ("instruction", "context", "response")]
        drawn = self.clients in ("iid", "dirichlet")
        text = self.format == "text"
        rules = (
            (bool(self.paths) == bool(self.hub), "name either path or hub"),
            (not all(p.strip() for p in (*self.paths, self.hub or "hub")), "a path is blank"),
            (
                not drawn and self.number_of_clients is not None,
                "number_of_clients needs a partition",
            ),
            (bool(pair) and "messages" in named, "messages_column excludes instruction columns"),
            (
                bool(pair) and self.format in ("messages", "sharegpt"),
                "this format has no such columns",
            ),
            (
                "messages" in named and self.format == "instruction",
                "this format has no messages_column",
            ),
            (
                text and (bool(named) or self.system is not None),
                "plain text has no columns or system",
            ),
            (text and self.hub is not None, "plain text is read from path only"),
            (self.clients == "file" and self.hub is not None, "a hub data set has no files"),
            (text and self.clients == "dirichlet", "plain text has no label for dirichlet"),
            (not text and self.clients == "speaker", 'clients = "speaker" needs format = "text"'),
        )
        for broken, message in rules:
            if broken:
                raise ValueError(message)
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths as a tuple, also where one was written alone."""
        return (self.path,) if isinstance(self.path, str) else self.path or ()

    @property
    def layout(self) -> Layout:
        """Where records keep what, and which fields the kind of clients makes necessary."""
        if self.format == "text":
            raise ConfigError('data.format is "text"', allowed="load_text for plain text")
        named = ((field, getattr(self, f"{field}_column")) for field in _COLUMN_FIELDS)
        columns = tuple((field, column) for field, column in named if column is not None)
        required = {"column": ("client",), "dirichlet": ("label",)}.get(self.clients, ())
        return Layout(self.format, columns, required)


@dataclass(frozen=True, slots=True)
class FileSummary:
    """What one file gave.

    Args:
        path: the file, relative to the configuration's folder where it lies inside.
        form: its kind, or "ignored" for what a folder holds beside data.
        loaded: the number of conversations or documents kept.
        skipped: (reason, number) in alphabetic order.
        columns: "field=column" for each field that the first good record fills.
    """

    path: str
    form: str
    loaded: int = 0
    skipped: tuple[tuple[str, int], ...] = ()
    columns: str = ""


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """What each file gave, in the order of reading."""

    files: tuple[FileSummary, ...]

    def table(self) -> tuple[tuple[str, ...], ...]:
        """Return the summary as rows of text: a header, a row per file, and the sum."""
        reasons = Counter[str]()
        rows = [("file", "kind", "loaded", "skipped", "columns")]
        for file in self.files:
            reasons.update(dict(file.skipped))
            skipped = _written(file.skipped)
            rows.append((file.path, file.form, str(file.loaded), skipped, file.columns))
        loaded = sum(file.loaded for file in self.files)
        rows.append(("all", "", str(loaded), _written(sorted(reasons.items())), ""))
        return tuple(rows)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Conversations in the order of reading, and where they came from."""

    conversations: tuple[Conversation, ...]
    summary: LoadSummary


@dataclass(frozen=True, slots=True)
class LoadedText:
    """Documents in the order of reading, and where they came from."""

    documents: tuple[Document, ...]
    summary: LoadSummary


def load(settings: DataSettings, base_folder: Path) -> Loaded:
    """Read every conversation that the settings name.

    Args:
        settings: where the data lie and how they are written.
        base_folder: what relative paths are relative to.

    Guarantees:
        - each record of each file is loaded once, or counted as skipped with the reason, or stops
          the reading with its file and line;
        - a file that several paths reach is read once; the order is that of the paths, and by name
          within a folder or glob;
        - the same files and settings give the same conversations.

    Raises:
        DataError: a path, file or record that cannot be used, with file and line (for Parquet and
            a hub the row).
        ConfigError: the settings speak of plain text.
        MissingExtraError: Parquet without pyarrow, or a hub name without datasets.
    """
    layout = settings.layout
    groups: list[tuple[Conversation, ...]] = []
    rows: list[FileSummary] = []
    if settings.hub:
        records = _read_hub(settings.hub, settings.hub_split)
        group, row = _gather(records, settings.hub, "hub", layout, settings.strict)
        groups, rows = [group], [row]
    files, ignored = _find_files(settings.paths, base_folder, tuple(_READERS))
    for path, name in zip(files, _client_names(files), strict=True):
        shown, suffix = _shown_path(path, base_folder), path.suffix.lower()
        records = _READERS[suffix](path, shown)
        group, row = _gather(records, shown, suffix[1:], layout, settings.strict)
        if settings.clients == "file":
            group = tuple(replace(conversation, client=name) for conversation in group)
        groups.append(group)
        rows.append(row)
    kept, rows = _draw(groups, rows, settings.max_conversations)
    rows += [FileSummary(_shown_path(path, base_folder), "ignored") for path in ignored]
    return Loaded(_some(kept, rows), LoadSummary(tuple(rows)))


def load_text(settings: DataSettings, base_folder: Path) -> LoadedText:
    """Read plain text for pre-training, as pieces of files or as the speeches of plays.

    Args:
        settings: ``format`` is "text"; ``clients = "speaker"`` reads play scripts.
        base_folder: what relative paths are relative to.

    Guarantees:
        - the pieces of a file, joined together, are the file, with line ends written as newlines;
        - a speech keeps its "NAME:" line and belongs to the speaker, across all files;
        - speeches without words, and those of speakers with fewer than ``min_characters``
          characters in all, are left out and counted.

    Raises:
        DataError: a path or file that cannot be used, or a block of a play that is no speech.
        ConfigError: the settings do not speak of plain text.
    """
    if settings.format != "text":
        raise ConfigError(f'data.format is "{settings.format}"', allowed='"text" for plain text')
    files, ignored = _find_files(settings.paths, base_folder, (".txt",))
    groups, rows = [], []
    for path, name in zip(files, _client_names(files), strict=True):
        shown = _shown_path(path, base_folder)
        text = _read_whole(path, shown).replace("\r\n", "\n")
        if not text.strip():
            raise _no_records(shown)
        if settings.clients == "speaker":
            group, skipped = _speeches(text, shown, settings.strict)
        else:
            pieces = split_documents(text, settings.document_characters)
            group = tuple(Document(piece, name, None, f"{shown}:{n}") for n, piece in pieces)
            skipped = Counter()
        groups.append(group)
        rows.append(FileSummary(shown, "txt", len(group), tuple(sorted(skipped.items()))))
    if settings.clients == "speaker":
        groups, rows = _drop_small_speakers(groups, rows, settings.min_characters)
    kept, rows = _draw(groups, rows, settings.max_conversations)
    rows += [FileSummary(_shown_path(path, base_folder), "ignored") for path in ignored]
    return LoadedText(_some(kept, rows), LoadSummary(tuple(rows)))


def _gather(
    records: Records, shown: str, form: str, layout: Layout, strict: bool
) -> tuple[tuple[Conversation, ...], FileSummary]:
    """Turn the records of one file into conversations and count what was skipped."""
    group: list[Conversation] = []
    skipped = Counter[str]()
    columns = ""
    for place, record in records:
        try:
            if isinstance(record, DataError):
                raise record
            group.append(parse_record(record, layout, place))
        except DataError as error:
            if strict:
                raise _placed(place, error) from error
            skipped[_reason(error)] += 1
        else:
            if not columns and isinstance(record, Mapping):
                found = find_columns(tuple(record), layout)
                columns = " ".join(f"{field}={column}" for field, column in found.items())
    if not group and not skipped:
        raise _no_records(shown)
    counted = tuple(sorted(skipped.items()))
    return tuple(group), FileSummary(shown, form, len(group), counted, columns)


def _speeches(text: str, shown: str, strict: bool) -> tuple[tuple[Document, ...], Counter[str]]:
    """Turn one play into speeches and count what was skipped."""
    group: list[Document] = []
    skipped = Counter[str]()
    for line, speaker, said in split_speeches(text):
        place = f"{shown}:{line}"
        if not speaker:
            error = DataError(
                "not a speech: the block does not begin with a name and a colon on their own line",
                allowed="NAME:, the lines said, a blank line",
                remedy='Write clients = "file" for text that is no play',
            )
            if strict:
                raise _placed(place, error)
            skipped[_reason(error)] += 1
        elif not said:
            skipped["speeches without words"] += 1
        else:
            group.append(Document(f"{speaker}:\n{said}", speaker, None, place))
    return tuple(group), skipped


def _drop_small_speakers(
    groups: list[tuple[Document, ...]], rows: list[FileSummary], least: int
) -> tuple[list[tuple[Document, ...]], list[FileSummary]]:
    """Leave out the speakers who say too little to train on, counted over all files."""
    said = Counter[str | None]()
    for group in groups:
        for speech in group:
            said[speech.client] += len(speech.text)
    for index, group in enumerate(groups):
        kept = tuple(speech for speech in group if said[speech.client] >= least)
        small = len({speech.client for speech in group if said[speech.client] < least})
        reason = f"speeches by {small} speakers with fewer than {least} characters"
        groups[index] = kept
        rows[index] = _less(rows[index], reason, len(group) - len(kept))
    return groups, rows


def _draw(
    groups: Sequence[tuple[Item, ...]], rows: list[FileSummary], most: int | None
) -> tuple[tuple[Item, ...], list[FileSummary]]:
    """Join the groups, or draw ``most`` of their items, in order, and count the others."""
    total = sum(map(len, groups))
    if most is None or total <= most:
        return tuple(item for group in groups for item in group), rows
    chosen = set(stream(0, "max_conversations").permutation(total)[:most].tolist())
    kept: list[Item] = []
    first = 0
    for index, group in enumerate(groups):
        part = [item for place, item in enumerate(group, start=first) if place in chosen]
        first += len(group)
        kept += part
        rows[index] = _less(rows[index], "not drawn", len(group) - len(part))
    return tuple(kept), rows


def _less(row: FileSummary, reason: str, number: int) -> FileSummary:
    """Move a number of a file's items from loaded to skipped."""
    if not number:
        return row
    skipped = tuple(sorted([*row.skipped, (reason, number)]))
    return replace(row, loaded=row.loaded - number, skipped=skipped)


def _find_files(
    patterns: Iterable[str], base_folder: Path, suffixes: tuple[str, ...]
) -> tuple[list[Path], list[Path]]:
    """Resolve files, folders and globs to files, and list what lies beside data."""
    files: dict[Path, Path] = {}
    ignored: set[Path] = set()
    for pattern in patterns:
        try:
            within, beside = _expand(pattern, base_folder, suffixes)
            for file in within:
                _check_file(file, _shown_path(file, base_folder), suffixes)
                files.setdefault(file.resolve(), file)
        except OSError as error:
            raise _unreadable(str(error.filename or pattern), error) from error
        if not within:
            raise DataError(
                f"{pattern}: there is no data in this folder or under this glob",
                allowed=f"files that end in {', '.join(suffixes)}",
            )
        ignored.update(beside)
    return list(files.values()), sorted(ignored)


def _expand(
    pattern: str, base_folder: Path, suffixes: tuple[str, ...]
) -> tuple[list[Path], list[Path]]:
    """Resolve one path of the settings; a name that exists is never taken for a glob."""
    try:
        path = base_folder / Path(pattern).expanduser()
    except RuntimeError as error:  # the home of a user that does not exist
        raise DataError(f"{pattern}: {error}", remedy="Write the folder out") from error
    if path.is_dir():
        return _walk(path, suffixes)
    if path.exists() or path.is_symlink():
        return [path], []
    root = Path(path.anchor)
    rest = path.parts[len(root.parts) :]
    while (root / rest[0]).exists():
        root, rest = root / rest[0], rest[1:]
    if not any(sign in part for part in rest for sign in "*?["):
        there = sorted(p.name for p in root.iterdir()) if root.is_dir() else []
        near = nearest(rest[0], there)
        raise DataError(
            f"{pattern}: there is no {rest[0]!r} in {_shown_path(root, base_folder)}",
            allowed="files, folders and globs, relative to the configuration's folder",
            remedy=f"Write {near!r}" if near else "",
        )
    data: list[Path] = []
    other: list[Path] = []
    for match in sorted(_glob(root, rest)):
        if match.is_dir():
            within, beside = _walk(match, suffixes)
            data += within
            other += beside
        else:
            (data if match.suffix.lower() in suffixes else other).append(match)
    return data, other


def _glob(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Match parts of a path as a shell does, where ``**`` follows no links.

    The standard library's glob passes over folders that may not be read; this one raises.
    """
    if not parts or parts == ("**",):
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _glob(folder, rest)
    for path in folder.iterdir():
        if path.name.startswith(".") and not first.startswith("."):
            continue
        if first == "**":
            if path.is_dir() and not path.is_symlink():
                yield from _glob(path, parts)
        elif fnmatch.fnmatchcase(path.name, first) and (not rest or path.is_dir()):
            yield from _glob(path, rest)


def _walk(folder: Path, suffixes: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """List a folder's data files and the rest, without what is hidden.

    Links to folders are listed with the rest and not followed, so that a loop cannot trap the walk.
    """

    def stop(error: OSError) -> None:
        raise error

    data: list[Path] = []
    other: list[Path] = []
    for here, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not name.startswith(".")]
        other += [path for name in folders if (path := Path(here, name)).is_symlink()]
        for name in names:
            if not name.startswith("."):
                path = Path(here, name)
                (data if path.suffix.lower() in suffixes else other).append(path)
    return sorted(data), other


def _check_file(path: Path, shown: str, suffixes: tuple[str, ...]) -> None:
    """Refuse what is no regular file of a known kind."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{shown}: not a regular file", allowed="files, folders and globs")
    if path.suffix.lower() not in suffixes:
        plain = path.suffix.lower() == ".txt"
        raise DataError(
            f"{shown}: a file that ends in {path.suffix!r} cannot be read here",
            allowed=", ".join(suffixes),
            remedy='Write format = "text" in [data] to train on plain text' if plain else "",
        )


def _client_names(files: Sequence[Path]) -> list[str]:
    """Name a client after each file: its stem, or its path where two stems are the same."""
    stems = [_printable(file.stem) for file in files]
    if len(set(stems)) == len(stems):
        return stems
    root = os.path.commonpath([file.parent for file in files])
    return [_printable(file.relative_to(root).as_posix()) for file in files]


def _shown_path(path: Path, base_folder: Path) -> str:
    """Write a path for summaries and errors, relative to the configuration where it lies there."""
    inside = path.is_relative_to(base_folder)
    return _printable(str(path.relative_to(base_folder) if inside else path))


def _printable(name: str) -> str:
    """Escape the bytes of a file's name that are not UTF-8."""
    return name.encode(errors="backslashreplace").decode()


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
    text = _read_whole(path, shown)
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
                raise _placed(f"{shown}:{number}", error) from error

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


def _read_hub(name: str, split: str) -> Records:
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


_READERS: Mapping[str, Callable[[Path, str], Records]] = {
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
        raise _unreadable(shown, error) from error


def _read_whole(path: Path, shown: str) -> str:
    """Read a whole file as UTF-8 text."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(shown, error) from error
    try:
        return _decode(raw, 0)
    except DataError as error:
        fault = error.__cause__
        end = fault.start if isinstance(fault, UnicodeDecodeError) else raw.find(b"\0")
        line = raw.count(b"\n", 0, end) + 1
        raise _placed(f"{shown}:{line}", error) from error


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


def _placed(place: str, error: DataError) -> DataError:
    """Put the place in front of a fault."""
    return DataError(f"{place}: {error.seen}", allowed=error.allowed, remedy=error.remedy)


def _reason(error: DataError) -> str:
    """Return the kind of a fault, by which faults are counted."""
    return error.seen.partition(":")[0]


def _unreadable(shown: str, error: OSError) -> DataError:
    """Say why the operating system refuses a file."""
    return DataError(f"{_printable(shown)}: cannot be read: {error.strerror or error}")


def _no_records(shown: str) -> DataError:
    """Refuse a file that holds nothing."""
    return DataError(f"{shown}: empty file: it holds no records", remedy="Remove it, or fill it")


def _some(items: tuple[Item, ...], rows: Sequence[FileSummary]) -> tuple[Item, ...]:
    """Refuse a load that kept nothing."""
    if not items:
        raise DataError(
            f"nothing was loaded from {len(rows)} files",
            allowed="at least one record that can be used",
            remedy="; ".join(f"{row.path}: {_written(row.skipped)}" for row in rows[:5]),
        )
    return items


def _written(skipped: Iterable[tuple[str, int]]) -> str:
    """Write reasons and numbers as one text."""
    return ", ".join(f"{number} {reason}" for reason, number in skipped)
