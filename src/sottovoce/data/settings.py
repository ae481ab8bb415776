"""What to load and how to deal it: the section [data] of a configuration."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sottovoce.data.parse import (
    Layout,
)
from sottovoce.data.pii.settings import PiiSettings
from sottovoce.errors import ConfigError

_COLUMN_FIELDS = (
    *("messages", "instruction", "context", "response"),
    *("system", "owner", "client", "label"),
)

KEYS_OF_SITE: Final = ("scrub", "scrub_key", "pii", "deduplicate")
"""Keys by which a site alone says what is done to its text; no server's word counts for them."""


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
        dirichlet_alpha: how evenly labels are spread; small is uneven.
        validation_fraction: the share of each client's examples that is held out; 0 holds out none.
        validation_by: hold out whole owners where they are known, or single examples.
        min_examples: a client with fewer is an error.
        max_conversations: draw so many conversations or documents at random, the same ones each
            time, for a quick run.
        min_characters: speakers who say less than this in all are left out.
        document_characters: plain files are cut at the first blank line after so many characters.
        deduplicate: leave out conversations and documents that repeat an earlier one, word for word
            or nearly.
        scrub: what becomes of personal data: ``off`` keeps them, ``mask`` puts a tag such as
            [PERSON] there, ``pseudonym`` a surrogate, ``drop`` leaves out what holds any. A
            configuration with files has to say so.
        scrub_key: the file of the site's key, for surrogates; it is made where it is missing.
        pii: what counts as personal data.
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
    dirichlet_alpha: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    validation_by: Literal["owner", "example"] = "owner"
    min_examples: int = Field(default=2, ge=1)
    max_conversations: int | None = Field(default=None, ge=1)
    min_characters: int = Field(default=1000, ge=0)
    document_characters: int = Field(default=2000, ge=0)
    deduplicate: bool = False
    scrub: Literal["off", "mask", "pseudonym", "drop"] | None = None
    scrub_key: str | None = None
    pii: PiiSettings = PiiSettings()

    @model_validator(mode="after")
    def _agree(self) -> DataSettings:
        """Refuse settings that contradict each other."""
        named = [field for field in _COLUMN_FIELDS if getattr(self, f"{field}_column") is not None]
        pair = [field for field in named if field in ("instruction", "context", "response")]
        text = self.format == "text"
        rules = (
            (bool(self.paths) == bool(self.hub), "name either path or hub"),
            (not all(p.strip() for p in (*self.paths, self.hub or "hub")), "a path is blank"),
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
            (
                self.scrub_key is not None and self.scrub != "pseudonym",
                'scrub_key is for scrub = "pseudonym" alone',
            ),
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
    def scrubs(self) -> bool:
        """Whether personal data are taken out."""
        return self.scrub not in (None, "off")

    @property
    def layout(self) -> Layout:
        """Where records keep what, and which fields the kind of clients makes necessary."""
        if self.format == "text":
            raise ConfigError('data.format is "text"', allowed="load_text for plain text")
        named = ((field, getattr(self, f"{field}_column")) for field in _COLUMN_FIELDS)
        columns = tuple((field, column) for field, column in named if column is not None)
        required = {"column": ("client",), "dirichlet": ("label",)}.get(self.clients, ())
        return Layout(self.format, columns, required)


def require_scrub(data: DataSettings) -> None:
    """Refuse settings that leave open what becomes of personal data.

    Raises:
        ValueError: the four things that can be written.
    """
    if data.scrub is None:
        raise ValueError(
            "data.scrub is missing: say what becomes of personal data in the text; write "
            'scrub = "mask", "pseudonym", "drop" or, to train on them as they are, "off" in [data]'
        )
