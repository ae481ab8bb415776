"""A helper's own file: who it is, whose requests it answers, and whom it has pinned."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from sottovoce.errors import ConfigError
from sottovoce.run.connection import Limits, Name, ServerOf, read_own_file


class HelperSettings(BaseModel, frozen=True, extra="forbid"):
    """One helper. It is read by the helper's own process, and nothing that arrives changes it.

    Args:
        name: of the helper, as in the lines of the helpers.
        keys: the folder that ``sotto enrol`` made.
        folder: where the helper keeps its ledgers and what it remembers of sums.
        server: whose requests are answered.
        limits: what the helper spends on others.
        least: the fewest sites of whose sum it tells anything, whatever a run says.
        helpers: every helper's name with its line, this one's too.
        roster: every site's name with its line.
    """

    name: Name
    keys: str = "."
    folder: str = "runs"
    server: ServerOf
    limits: Limits = Limits()
    least: int = Field(2, ge=2)
    helpers: dict[str, str] = Field(min_length=2)
    roster: dict[str, str] = Field(min_length=2)


def load_helper(path: Path) -> HelperSettings:
    """Read a helper's file; paths in it are meant relative to its folder.

    Raises:
        ConfigError: the file, a key or a value cannot be used.
    """
    found = read_own_file(path, HelperSettings, "helper file", "sotto enrol --helper --name NAME")
    try:
        return _resolved(found, path.absolute().parent)
    except RuntimeError as error:  # "~" of a user that is not there
        raise ConfigError(f"{path} names a home that cannot be found") from error


def _resolved(found: HelperSettings, folder: Path) -> HelperSettings:
    def place(name: str) -> str:
        return str(folder / Path(name).expanduser())

    server = found.server
    if server.ca is not None:
        server = server.model_copy(update={"ca": place(server.ca)})
    places = {"keys": place(found.keys), "folder": place(found.folder)}
    return found.model_copy(update={**places, "server": server})
