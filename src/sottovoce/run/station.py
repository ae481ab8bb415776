"""The long-lived processes of a federation across machines: the server, and a site's vault.

Each starts one process beside it, which alone speaks to the network: the SuperLink beside the
server, the door beside the vault. A helper is in ``helper_station``, which loads no model.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from sottovoce.config import Config
from sottovoce.errors import ConfigError, SottovoceError
from sottovoce.run.desk import Host, helped
from sottovoce.run.doorkeeper import keep_vault, split_address
from sottovoce.run.enrol import (
    roster_of,
    server_identity,
)
from sottovoce.run.flower.carrier import FlowerCarrier, LinkSettings
from sottovoce.run.folder import make_folder
from sottovoce.run.host import host, require_networked
from sottovoce.run.seen import Seen, serve_metrics
from sottovoce.run.site_settings import SiteSettings
from sottovoce.run.vault import Vault


def run_server(config: Config, *, quiet: bool = False) -> tuple[Host, Seen]:
    """Run a federation as its server, to the end; or go on with one that was interrupted.

    Args:
        config: with the section ``[network]``.
        quiet: says nothing on standard error.

    Raises:
        ConfigError: a key, certificate or line of the roster cannot be used.
    """
    require_networked(config)
    network = config.network
    if network is None:
        raise ConfigError("there is no section [network]")
    root = Path(config.run.dir)
    identity = server_identity(Path(network.identity))
    roster, members = roster_of(network.roster)
    helpers = roster_of(network.helpers)[1] if helped(config) else {}
    os.umask(0o077)
    make_folder(root)
    seen = Seen(root, None if quiet else sys.stderr, network.name_sites)
    with ExitStack() as stack:
        if network.metrics_port is not None:
            stack.callback(serve_metrics(seen, network.metrics_port).shutdown)
        members |= helpers
        keys = {name: member.node_key for name, member in members.items()}
        carrier = stack.enter_context(FlowerCarrier(_link(config, root), keys))
        seen.log("started", {"state": "beginning", "helpers": sorted(helpers)})
        try:
            done = host(config, identity, roster, carrier, seen.log)
        except SottovoceError as error:
            seen.log("ended", {"state": "failed", "error": str(error)})
            raise
        seen.log("ended", {"state": "ended"})
        return done, seen


def _link(config: Config, root: Path) -> LinkSettings:
    network = config.network
    if network is None:
        raise ConfigError("there is no section [network]")
    address, port = split_address(network.address)
    return LinkSettings(
        address,
        port,
        root / "superlink",
        None if network.certificate is None else Path(network.certificate),
        None if network.key is None else Path(network.key),
        network.insecure,
        network.limit_bytes,
    )


def run_site(site: SiteSettings, *, quiet: bool = False) -> None:
    """Run a site until it is told to end: the vault in this process, its door beside it.

    Raises:
        ConfigError: a key or a setting cannot be used.
    """
    keep_vault(site, "site", partial(Vault, site), quiet=quiet)
