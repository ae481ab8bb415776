"""A helper as a long-lived process: its vault here, and its door beside it. Loads no model."""

from __future__ import annotations

from functools import partial

from sottovoce.run.doorkeeper import keep_vault
from sottovoce.run.helper_settings import HelperSettings
from sottovoce.run.helper_vault import HelperVault


def run_helper(settings: HelperSettings, *, quiet: bool = False) -> None:
    """Run a helper until it is told to end.

    Raises:
        ConfigError: a key, a line or a setting cannot be used.
    """
    keep_vault(settings, "helper", partial(HelperVault, settings), quiet=quiet)
