"""A helper as a long-lived process: its vault here, and its door beside it. Loads no model."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from pathlib import Path

from sottovoce.run.doorkeeper import Way, keep_door, require_safe
from sottovoce.run.enrol import open_identity, open_store_key
from sottovoce.run.folder import make_folder
from sottovoce.run.helper_settings import HelperSettings
from sottovoce.run.helper_vault import HelperVault
from sottovoce.run.seen import Seen


def run_helper(settings: HelperSettings, *, quiet: bool = False) -> None:
    """Run a helper until it is told to end.

    Raises:
        ConfigError: a key, a line or a setting cannot be used.
    """
    os.umask(0o077)
    require_safe(settings.server)
    keys, folder = Path(settings.keys), Path(settings.folder)
    make_folder(folder)
    seen = Seen(folder, None if quiet else sys.stderr)
    vault = HelperVault(settings, open_identity(keys), open_store_key(keys), seen.log)
    with closing(vault):
        seen.log("started", {"helper": settings.name, "server": settings.server.address})
        keep_door(Way(settings.server, settings.limits, keys, folder), vault.answer, seen.log)
