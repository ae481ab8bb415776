"""What ``sotto scrub`` does: files in, the same files without personal data out, and figures."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from sottovoce.config import load_config
from sottovoce.data.clean import Removed, Scrubber, clean, with_owners_hidden
from sottovoce.data.conversation import Conversation
from sottovoce.data.documents import Document
from sottovoce.data.find import find_files
from sottovoce.data.load import load, load_text
from sottovoce.data.pii import detector
from sottovoce.data.pii.default import default_detector
from sottovoce.data.pii.replace import Mask, Pseudonym, Way
from sottovoce.data.pii.report import (
    Decision,
    Report,
    flag_counts,
    report_json,
    report_page,
    sample,
    texts_of,
)
from sottovoce.data.read import READERS
from sottovoce.data.scrub import scrub
from sottovoce.data.settings import DataSettings
from sottovoce.data.write import to_lines
from sottovoce.errors import ConfigError
from sottovoce.run.cleaning import make_scrubber
from sottovoce.run.folder import make_folder, on_disk, sync_folder, write_bytes

_WAYS: Final = get_args(Way)
_TEXT: Final = ".txt"


@dataclass(frozen=True)
class Asked:
    """What is asked of ``sotto scrub``.

    Args:
        source: a file, or a folder of files.
        target: where the result goes: a file for a file, a folder for a folder.
        replace: one of ``WAYS``; None takes the configuration's word, else tags.
        key: the file of the site's key, for surrogates; None takes the configuration's.
        config: a configuration, whose section ``[data]`` says how files are written, whether
            duplicates go, and what counts as personal data.
        report: a folder for a report.
        overwrite: whether what stands at ``target`` may go.
        explain: a text; what is found in it is told, and no file is read.
    """

    source: Path | None
    target: Path | None
    replace: str | None = None
    key: Path | None = None
    config: Path | None = None
    report: Path | None = None
    overwrite: bool = False
    explain: str | None = None


@dataclass(frozen=True)
class _File:
    """One file's conversations or documents, and its bytes."""

    path: Path
    items: tuple[Conversation, ...] | tuple[Document, ...]
    size: int


def explain_or_scrub(asked: Asked) -> tuple[dict[str, Any], list[str]]:
    """What ``sotto scrub`` does.

    Returns:
        What it prints: as JSON, and in words.

    Raises:
        UsageError: as ``scrub_files``; or neither files nor a text are named.
    """
    if asked.explain is not None:
        told = explain(asked.explain, asked.config)
        return told, explained_words(told)
    if asked.source is None or asked.target is None:
        raise ConfigError(
            "sotto scrub needs two places",
            allowed="sotto scrub IN OUT, or sotto scrub --explain TEXT",
        )
    facts = scrub_files(Places(asked.source, asked.target, asked.overwrite), asked)
    return facts, scrub_words(facts)


@dataclass(frozen=True)
class Places:
    """Where files come from and go to.

    Args:
        source: a file, or a folder of files.
        target: where the result goes: a file for a file, a folder for a folder.
        overwrite: whether what stands at ``target`` may go.
    """

    source: Path
    target: Path
    overwrite: bool = False


def scrub_files(places: Places, asked: Asked) -> dict[str, Any]:
    """Write every file of the source without personal data.

    Conversations are written as JSON Lines with the columns messages, owner, client and label,
    whatever they were read from; plain text stays plain text. Owners get names that say nothing of
    who they are. ``drop`` leaves out whole conversations, of plain text pieces of about 2,000
    characters.

    Returns:
        What ``sotto scrub --json`` prints.

    Guarantees:
        - the target is there whole, or as it was before;
        - the source is never changed.

    Raises:
        ConfigError: the target is there, lies in the source, or a key cannot be used.
        DataError: a file or record cannot be used.
    """
    settings, scrubber = _settled(places.source, asked)
    _require_apart(places)
    files = _read(places.source, settings)
    begin = time.monotonic()
    written: dict[Path, bytes] = {}
    parts: list[Removed] = []
    talks = tuple(one for file in files for one in _talks(file))
    if talks:
        kept, removed = clean(talks, scrubber, deduplicate=settings.deduplicate)
        parts.append(removed)
        by_file = _by_file(with_owners_hidden(kept, scrubber.replacement), files)
        written.update({path: to_lines(some).encode() for path, some in by_file.items()})
    for file in files:
        documents = tuple(one for one in file.items if isinstance(one, Document))
        if documents:
            left, removed = clean(documents, scrubber, deduplicate=settings.deduplicate)
            parts.append(removed)
            written[file.path] = "".join(one.text for one in left).encode()
    seconds = time.monotonic() - begin
    _write(places, written)
    report = _report(asked, files, parts, scrubber)
    size = sum(file.size for file in files)
    told = _facts(report, len(files), size, seconds)
    page = str(asked.report / "report.html") if asked.report is not None else None
    return told | {"replace": scrubber.way, "out": str(places.target), "report": page}


def explain(text: str, config: Path | None = None) -> dict[str, Any]:
    """What is found in one text, by whom and why, and what would be left of it.

    Returns:
        ``text`` with tags, and ``spans``: each find with its place, value, score, recogniser and
        grounds, those too that gave way to another.
    """
    settings = load_config(config).data if config is not None else DataSettings(path="-")
    scrubber = make_scrubber(settings, "mask", None)
    done = scrub(text, scrubber.detector, scrubber.replacement)
    finds = detector.explain(text, default_detector(settings.pii))
    spans = [one | {"value": text[one["start"] : one["end"]]} for one in finds]
    return {"text": done.text, "spans": spans}


def explained_words(told: Mapping[str, Any]) -> list[str]:
    """The same in words."""
    return [
        *(map(_explained, told["spans"]) if told["spans"] else ["nothing was found"]),
        told["text"],
    ]


def _explained(one: Mapping[str, Any]) -> str:
    grounds = [one["rests_on"], one["word"] and f"the word {one['word']!r}", one["check"]]
    line = (
        f"{one['start']}-{one['end']} {one['kind']} {one['value']!r}: {one['recogniser']}, "
        f"{'; '.join(filter(None, grounds))}, score {one['score']:.2f}"
    )
    lost = ", ".join(f"{kind} of {recogniser}" for kind, recogniser in one["lost_to"])
    return f"{line}; gave way to {lost}" if lost else line


def scrub_words(facts: Mapping[str, Any]) -> list[str]:
    """What ``sotto scrub`` says when it has ended."""
    found = ", ".join(f"{count} {kind}" for kind, count in facts["by_kind"].items())
    flags = ", ".join(f"{count} {kind}" for kind, count in facts["flags"].items())
    lines = [
        f"{facts['documents']} conversations or documents in {facts['seconds']:.1f} s, "
        f"{facts['mb_per_second'] or 0:.2f} MB/s",
        f"{facts['entities']} pieces of personal data in {facts['touched']} of them"
        + (f": {found}" if found else ""),
    ]
    if facts["duplicates"]:
        lines.append(f"{facts['duplicates']} duplicates left out")
    if facts["dropped"]:
        lines.append(f"{facts['dropped']} left out for the personal data in them")
    if flags:
        lines.append(f"special categories, in conversations: {flags}; they are still there")
    return [
        *lines,
        f"wrote {facts['out']}",
        *([f"report: {facts['report']}"] * bool(facts["report"])),
    ]


def _settled(source: Path, asked: Asked) -> tuple[DataSettings, Scrubber]:
    data = DataSettings(path=str(source), clients="iid")
    if asked.config is not None:
        own = load_config(asked.config).data
        fixed = {"path": str(source), "hub": None, "clients": "iid", "max_conversations": None}
        data = own.model_copy(update=fixed)
    told = data.scrub if data.scrubs else "mask"
    way = asked.replace or told
    if way not in _WAYS:
        raise ConfigError(f"--replace is {way!r}", allowed=", ".join(_WAYS))
    key = asked.key or (Path(data.scrub_key) if data.scrub_key else None)
    scrubber = make_scrubber(data, next(one for one in _WAYS if one == way), key)
    # What is read here is scrubbed here, and not by whoever reads it.
    return data.model_copy(update={"scrub": "off", "scrub_key": None}), scrubber


def _require_apart(places: Places) -> None:
    source, target = places.source.resolve(), places.target.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise ConfigError(
            f"{places.target} and {places.source} are one, or one lies in the other",
            remedy="Name a place of its own for the result",
        )
    if places.target.exists() and not places.overwrite:
        raise ConfigError(
            f"{places.target} is there already", remedy="Name another place, or write --overwrite"
        )


def _read(source: Path, settings: DataSettings) -> list[_File]:
    plain = settings.format == "text"
    suffixes = (_TEXT,) if plain else (*READERS, _TEXT)
    here = Path.cwd()
    paths, _ = find_files([str(source)], here, suffixes)
    files = []
    for path in paths:
        one = {"path": str(path), "deduplicate": False}
        if path.suffix.lower() == _TEXT:
            text = DataSettings(format="text", clients="file", **one)
            items: Any = load_text(text, here).documents
        else:
            items = load(settings.model_copy(update=one), here).conversations
        files.append(_File(path, items, path.stat().st_size))
    return files


def _talks(file: _File) -> tuple[Conversation, ...]:
    return tuple(one for one in file.items if isinstance(one, Conversation))


def _by_file(
    kept: Sequence[Conversation], files: Sequence[_File]
) -> dict[Path, list[Conversation]]:
    """What is left of each file, empty files among them."""
    place_of = {one.source: file.path for file in files for one in _talks(file)}
    by_file: dict[Path, list[Conversation]] = {f.path: [] for f in files if _talks(f)}
    for one in kept:
        by_file[place_of[one.source]].append(one)
    return by_file


def _write(places: Places, written: Mapping[Path, bytes]) -> None:
    with on_disk(places.target):
        if places.source.is_file():
            [data] = written.values()
            write_bytes(places.target, data)
            return
        part = places.target.with_name(f".{places.target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        make_folder(part)
        for path, data in written.items():
            inside = path.resolve().relative_to(places.source.resolve())
            suffix = (
                inside.suffix
                if inside.suffix.lower() in (_TEXT, ".jsonl")
                else (f"{inside.suffix}.jsonl")
            )
            write_bytes(part / inside.with_suffix(suffix), data)
        old = places.target.with_name(f".{places.target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if places.target.is_dir():
            places.target.rename(old)
        with suppress(FileNotFoundError):
            if places.target.is_file():
                places.target.unlink()
        part.rename(places.target)
        sync_folder(places.target.parent)
        shutil.rmtree(old, ignore_errors=True)


def _report(
    asked: Asked, files: Sequence[_File], parts: Sequence[Removed], scrubber: Scrubber
) -> Report:
    texts: list[tuple[str, Sequence[str]]] = [
        (one.source, texts_of(one) if isinstance(one, Conversation) else (one.text,))
        for file in files
        for one in file.items
    ]
    entities = sum((part.entities for part in parts), Counter[str]())
    decisions: tuple[Decision, ...] = ()
    flagged: tuple[Decision, ...] = ()
    if asked.report is not None:
        used = scrubber.replacement
        mask = Mask(used.kinds) if isinstance(used, Pseudonym) else used
        decisions, flagged = sample(texts, scrubber.detector, mask)
    report = Report(
        documents=len(texts),
        touched=sum(part.touched for part in parts),
        duplicates=sum(part.duplicates for part in parts),
        dropped=sum(part.dropped for part in parts),
        entities=entities,
        flags=flag_counts(said for _, said in texts),
        decisions=decisions,
        flagged=flagged,
    )
    if asked.report is not None:
        page, tree = report_page(report), json.dumps(report_json(report), ensure_ascii=False)
        write_bytes(asked.report / "report.html", page.encode())
        write_bytes(asked.report / "report.json", f"{tree}\n".encode())
    return report


def _facts(report: Report, files: int, size: int, seconds: float) -> dict[str, Any]:
    return {
        "documents": report.documents,
        "entities": sum(report.entities.values()),
        "seconds": round(seconds, 3),
        "mb_per_second": round(size / 1e6 / seconds, 3) if seconds else None,
        "by_kind": dict(sorted(report.entities.items())),
        "touched": report.touched,
        "duplicates": report.duplicates,
        "dropped": report.dropped,
        "flags": dict(sorted(report.flags.items())),
        "files": files,
    }
