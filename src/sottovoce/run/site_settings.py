"""A site's own file: where its text lies, what it allows, and whose requests it answers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field

from sottovoce.config import Config, make_config
from sottovoce.data.settings import KEYS_OF_SITE
from sottovoce.errors import ConfigError
from sottovoce.run.connection import Limits, Name, ServerOf, read_own_file

LARGEST_CONFIG: Final = 2**20
_MODEL_NAME: Final = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*")
# The time to read keys within keys grows with the square of their depth, or worse.
_DEEP: Final = re.compile(rb"(?<![^\s.=#,{}[\]])(?:[^\s.=#,{}[\]]+\s*\.\s*){16}")


class ModelOf(BaseModel, frozen=True, extra="forbid"):
    """Where the base model lies at a site; the section ``[model]``.

    Args:
        path: the folder; None takes what the run names, which has to be here under that name, and
            can be no other place of this machine.
    """

    path: str | None = None


class SiteSettings(BaseModel, frozen=True, extra="forbid"):
    """One site. It is read by the site's own process, and nothing that arrives changes it.

    Args:
        name: of the site, as in the roster.
        keys: the folder that ``sotto enrol`` made.
        folder: where the site keeps runs, ledgers and budget.
        policy: the file of what the site allows. There is no site without one.
        server: whose requests are answered.
        data: as the section ``[data]`` of a configuration; it takes the place of what a run says.
            What becomes of personal data is said here alone: ``scrub``.
        model: where the base model lies.
        limits: what the site spends on others.
        roster: every site's name with its line, pinned by this site; needed where updates are to
            be hidden from the server.
        helpers: every helper's name with its line, pinned by this site; needed where helpers open
            the sums.
    """

    name: Name
    keys: str = "."
    folder: str = "runs"
    policy: str = Field(min_length=1)
    server: ServerOf
    data: dict[str, Any]
    model: ModelOf = ModelOf()
    limits: Limits = Limits()
    roster: dict[str, str] = {}
    helpers: dict[str, str] = {}


def load_site(path: Path) -> SiteSettings:
    """Read a site's file; paths in it are meant relative to its folder.

    Raises:
        ConfigError: the file, a key or a value cannot be used.
    """
    site = read_own_file(path, SiteSettings, "site file", "sotto enrol --name NAME")
    paths = site.data.get("path")
    several = [paths] if isinstance(paths, str) else paths
    if not isinstance(several, list) or not several or not all(isinstance(p, str) for p in several):
        raise ConfigError(
            f"{path}: data.path is {paths!r}",
            allowed="where this site's text lies, as text or list",
        )
    if site.data.get("scrub") is None:
        raise ConfigError(
            f"{path}: data.scrub is missing",
            allowed='"mask", "pseudonym", "drop" or, to train on personal data, "off"',
            remedy="Say in [data] what becomes of personal data; nobody else may",
        )
    try:
        return _resolved(site, several, path.absolute().parent)
    except RuntimeError as error:  # "~" of a user that is not there
        raise ConfigError(f"{path} names a home that cannot be found: {several}") from error


def _resolved(site: SiteSettings, paths: list[str], folder: Path) -> SiteSettings:
    def place(name: str) -> str:
        return str(folder / Path(name).expanduser())

    data = {**site.data, "path": [place(one) for one in paths]}
    if data.get("scrub") == "pseudonym":
        data["scrub_key"] = place(str(data.get("scrub_key", "scrub.key")))
    model = site.model
    if model.path is not None and model.path != "tiny":
        model = ModelOf(path=place(model.path))
    server = site.server
    if server.ca is not None:
        server = server.model_copy(update={"ca": place(server.ca)})
    return site.model_copy(
        update={
            "keys": place(site.keys),
            "folder": place(site.folder),
            "policy": place(site.policy),
            "data": data,
            "model": model,
            "server": server,
        }
    )


def own_config(site: SiteSettings, shared: bytes, root: Path) -> Config:
    """The configuration of a run as this site runs it: what arrived, and the site's own word last.

    Where text and model lie, what is allowed and where files go is never taken from what arrived.

    Args:
        site: the site's file.
        shared: the configuration that all clients share, in TOML.
        root: the run folder at the site.

    Raises:
        ConfigError: what arrived is no configuration, or does not go with the site's data.
    """
    if len(shared) > LARGEST_CONFIG:
        raise ConfigError(f"a configuration of {len(shared)} bytes", allowed=f"{LARGEST_CONFIG}")
    if _DEEP.search(shared):
        raise ConfigError("the configuration that the server sent is nested too deeply")
    try:
        tree = tomllib.loads(shared.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError("the configuration that the server sent is not TOML") from error
    if "network" in tree:
        raise ConfigError("the configuration that the server sent has a section network")
    for section in ("data", "model", "run", "privacy"):
        if not isinstance(tree.setdefault(section, {}), dict):
            raise ConfigError(f"{section} of the server's configuration is no section")
    tree["data"].pop("hub", None)
    for own in KEYS_OF_SITE:
        tree["data"].pop(own, None)
    # Whose a conversation is decides who is protected, so nobody else may name that column.
    tree["data"].pop("owner_column", None)
    tree["data"] = {**tree["data"], **site.data, "clients": "column"}
    named = tree["model"].get("path", "tiny")
    if site.model.path is not None:
        tree["model"]["path"] = site.model.path
    elif not isinstance(named, str) or not _MODEL_NAME.fullmatch(named):
        raise ConfigError(
            f"model.path of the server's configuration is {named!r}",
            allowed="a name, and no place on this machine",
            remedy="Write model.path into the site's file",
        )
    tree["model"]["allow_download"] = False
    tree["run"]["dir"] = str(root)
    tree["privacy"]["policy"] = site.policy
    return make_config(tree, place="the run that the server offers")
