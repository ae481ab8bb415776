"""One text becomes documents for pre-training. Pure: no file, no randomness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """A piece of plain text for pre-training.

    Args:
        text: the text itself.
        client: which party holds it: a file's name, or a speaker's.
        owner: whose text it is (a person), where known.
        source: file and line where it starts, for error messages.
    """

    text: str
    client: str | None = None
    owner: str | None = None
    source: str = ""


def split_documents(text: str, characters: int) -> Iterator[tuple[int, str]]:
    r"""Cut a text at blank lines into documents of at least so many characters.

    Args:
        text: the whole text.
        characters: a document ends at the first blank line after this many; 0 cuts at each.

    Returns:
        The first line (from 1) and the text of each document.

    Guarantees:
        - joined together the documents are the text, letter for letter, unless it is all blank:
          then there is none.

    >>> list(split_documents("a\n\nb\nc\n", 1))
    [(1, 'a\n\n'), (3, 'b\nc\n')]
    """
    if not text.strip():
        return
    start, size, gap = 1, 0, False
    gathered: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        blank = not line.strip()
        if gap and not blank and size >= characters:
            yield start, "\n".join([*gathered, ""])
            start, size, gathered = number, 0, []
        # Blank lines before the first words belong to the first document.
        gap = blank and size > 0
        size += len(line.strip())
        gathered.append(line)
    yield start, "\n".join(gathered)


def split_speeches(text: str) -> Iterator[tuple[int, str, str]]:
    r"""Cut a play script into speeches: ``NAME:``, the lines said, a blank line.

    Returns:
        The first line (from 1), the speaker and the lines said of each speech; the speaker is
        empty where a block does not begin with a name and a colon on a line of their own.

    >>> list(split_speeches("ROMEO:\nIs the day\nso young?\n\nAll:\nAy.\n"))
    [(1, 'ROMEO', 'Is the day\nso young?'), (5, 'All', 'Ay.')]
    """
    block: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip():
            block.append(line)
        elif block:
            speaker, colon, rest = block[0].strip().partition(":")
            named = bool(colon) and not rest
            yield number - len(block), speaker if named else "", "\n".join(block[1:])
            block = []
