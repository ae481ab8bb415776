"""Conversations and documents from files, folders, globs or a hub, with a summary of what came.

Files are read line by line or row by row. A fault in a record names its file and line; a fault that
makes the rest of a file unreadable always stops.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from sottovoce.data.clean import Removed, Scrubber, clean
from sottovoce.data.conversation import Conversation
from sottovoce.data.documents import Document, split_documents, split_speeches
from sottovoce.data.find import client_names, find_files, shown_path
from sottovoce.data.parse import (
    Layout,
    find_columns,
    parse_record,
)
from sottovoce.data.read import READERS, Records, no_records, placed, read_hub, read_whole
from sottovoce.data.settings import DataSettings
from sottovoce.errors import ConfigError, DataError
from sottovoce.rng import stream

Item = TypeVar("Item", Conversation, Document)


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
    """What each file gave, in the order of reading, and what was taken out of it all.

    Args:
        files: one for each file.
        removed: duplicates and personal data; None where nobody looked.
        way: what became of personal data.
    """

    files: tuple[FileSummary, ...]
    removed: Removed | None = None
    way: str = "off"

    def table(self) -> tuple[tuple[str, ...], ...]:
        """Return the summary as rows of text: a header, a row per file, the sum, what was removed."""
        reasons = Counter[str]()
        rows: list[tuple[str, ...]] = [("file", "kind", "loaded", "skipped", "columns")]
        for file in self.files:
            reasons.update(dict(file.skipped))
            skipped = _written(file.skipped)
            rows.append((file.path, file.form, str(file.loaded), skipped, file.columns))
        loaded = sum(file.loaded for file in self.files)
        rows.append(("all", "", str(loaded), _written(sorted(reasons.items())), ""))
        if self.removed is not None:
            rows += self.removed.rows(self.way)
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


def load(settings: DataSettings, base_folder: Path, scrubber: Scrubber | None = None) -> Loaded:
    """Read every conversation that the settings name.

    Args:
        settings: where the data lie and how they are written.
        base_folder: what relative paths are relative to.
        scrubber: what takes personal data out, where the settings say that they go.

    Guarantees:
        - each record of each file is loaded once, or counted as skipped with the reason, or stops
          the reading with its file and line;
        - a file that several paths reach is read once; the order is that of the paths, and by name
          within a folder or glob;
        - the same files and settings give the same conversations;
        - duplicates and personal data are gone where the settings say so.

    Raises:
        DataError: a path, file or record that cannot be used, with file and line (for Parquet and
            a hub the row).
        ConfigError: the settings speak of plain text, or of scrubbing without a scrubber.
        MissingExtraError: Parquet without pyarrow, or a hub name without datasets.
    """
    layout = settings.layout
    groups: list[tuple[Conversation, ...]] = []
    rows: list[FileSummary] = []
    if settings.hub:
        records = read_hub(settings.hub, settings.hub_split)
        group, row = _gather(records, settings.hub, "hub", layout, settings.strict)
        groups, rows = [group], [row]
    files, ignored = find_files(settings.paths, base_folder, tuple(READERS))
    for path, name in zip(files, client_names(files), strict=True):
        shown, suffix = shown_path(path, base_folder), path.suffix.lower()
        records = READERS[suffix](path, shown)
        group, row = _gather(records, shown, suffix[1:], layout, settings.strict)
        if settings.clients == "file":
            group = tuple(replace(conversation, client=name) for conversation in group)
        groups.append(group)
        rows.append(row)
    kept, rows = _draw(groups, rows, settings.max_conversations)
    rows += [FileSummary(shown_path(path, base_folder), "ignored") for path in ignored]
    return Loaded(*_cleaned(_some(kept, rows), rows, settings, scrubber))


def load_text(
    settings: DataSettings, base_folder: Path, scrubber: Scrubber | None = None
) -> LoadedText:
    """Read plain text for pre-training, as pieces of files or as the speeches of plays.

    Args:
        settings: ``format`` is "text"; ``clients = "speaker"`` reads play scripts.
        base_folder: what relative paths are relative to.
        scrubber: what takes personal data out, where the settings say that they go.

    Guarantees:
        - the pieces of a file, joined together, are the file, with line ends written as newlines,
          unless duplicates or personal data are to go;
        - a speech keeps its "NAME:" line and belongs to the speaker, across all files;
        - speeches without words, and those of speakers with fewer than ``min_characters``
          characters in all, are left out and counted.

    Raises:
        DataError: a path or file that cannot be used, or a block of a play that is no speech.
        ConfigError: the settings do not speak of plain text, or of scrubbing without a scrubber.
    """
    if settings.format != "text":
        raise ConfigError(f'data.format is "{settings.format}"', allowed='"text" for plain text')
    files, ignored = find_files(settings.paths, base_folder, (".txt",))
    groups, rows = [], []
    for path, name in zip(files, client_names(files), strict=True):
        shown = shown_path(path, base_folder)
        text = read_whole(path, shown).replace("\r\n", "\n")
        if not text.strip():
            raise no_records(shown)
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
    rows += [FileSummary(shown_path(path, base_folder), "ignored") for path in ignored]
    return LoadedText(*_cleaned(_some(kept, rows), rows, settings, scrubber))


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
                raise placed(place, error) from error
            skipped[_reason(error)] += 1
        else:
            if not columns and isinstance(record, Mapping):
                found = find_columns(tuple(record), layout)
                columns = " ".join(f"{field}={column}" for field, column in found.items())
    if not group and not skipped:
        raise no_records(shown)
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
                raise placed(place, error)
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


def _cleaned(
    items: tuple[Item, ...],
    rows: Sequence[FileSummary],
    settings: DataSettings,
    scrubber: Scrubber | None,
) -> tuple[tuple[Item, ...], LoadSummary]:
    """Take duplicates and personal data out, and say how much that was."""
    if not settings.scrubs and not settings.deduplicate:
        return items, LoadSummary(tuple(rows))
    if settings.scrubs and scrubber is None:
        raise ConfigError(
            f'data.scrub is "{settings.scrub}", and there is nothing to scrub with',
            remedy="Hand in a scrubber",
        )
    way = settings.scrub or "off"
    kept, removed = clean(
        items, scrubber if settings.scrubs else None, deduplicate=settings.deduplicate
    )
    if not kept:
        raise DataError(
            f"all {len(items)} conversations or documents hold personal data",
            allowed="at least one without",
            remedy='Write scrub = "mask" in [data]',
        )
    return kept, LoadSummary(tuple(rows), removed, way)


def _less(row: FileSummary, reason: str, number: int) -> FileSummary:
    """Move a number of a file's items from loaded to skipped."""
    if not number:
        return row
    skipped = tuple(sorted([*row.skipped, (reason, number)]))
    return replace(row, loaded=row.loaded - number, skipped=skipped)


def _reason(error: DataError) -> str:
    """Return the kind of a fault, by which faults are counted."""
    return error.seen.partition(":")[0]


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
