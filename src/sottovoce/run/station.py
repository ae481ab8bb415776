"""The long-lived processes of a federation across machines: the server, and a site's vault.

Each starts one process beside it, which alone speaks to the network: the SuperLink beside the
server, the door beside the vault.
"""

from __future__ import annotations

import os
import pwd
import signal
import sys
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from sottovoce.config import Config
from sottovoce.errors import ConfigError, SottovoceError
from sottovoce.run.desk import Host
from sottovoce.run.enrol import (
    open_identity,
    open_node_key,
    open_store_key,
    roster_of,
    server_identity,
)
from sottovoce.run.flower.carrier import FlowerCarrier, LinkSettings
from sottovoce.run.flower.child import require_loopback, start, stop
from sottovoce.run.folder import make_folder
from sottovoce.run.host import host, require_networked
from sottovoce.run.seen import Seen, serve_metrics
from sottovoce.run.site_settings import SiteSettings
from sottovoce.run.vault import Vault
from sottovoce.run.vault_socket import VaultSocket

DOOR: Final = "sottovoce.run.flower.door"
_POLL_S: Final = 0.2
_LOOK_S: Final = 1.0


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
    os.umask(0o077)
    make_folder(root)
    seen = Seen(root, None if quiet else sys.stderr, network.name_sites)
    with ExitStack() as stack:
        if network.metrics_port is not None:
            stack.callback(serve_metrics(seen, network.metrics_port).shutdown)
        keys = {name: member.node_key for name, member in members.items()}
        carrier = stack.enter_context(FlowerCarrier(_link(config, root), keys))
        seen.log("started", {"state": "beginning"})
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


def split_address(address: str) -> tuple[str, int]:
    """Host and port.

    Raises:
        ConfigError: it is not written so.

    >>> split_address("[::1]:9092")
    ('::1', 9092)
    """
    name, colon, port = address.rpartition(":")
    if not colon or not name or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"the address {address!r}", allowed="HOST:PORT, such as 10.0.0.2:9092")
    return name.removeprefix("[").removesuffix("]"), int(port)


def run_site(site: SiteSettings, *, quiet: bool = False) -> None:
    """Run a site until it is told to end: the vault in this process, its door beside it.

    Raises:
        ConfigError: a key or a setting cannot be used.
    """
    os.umask(0o077)
    address, _ = split_address(site.server.address)
    if site.server.insecure:
        require_loopback(address)
    keys = Path(site.keys)
    folder = Path(site.folder)
    make_folder(folder)
    seen = Seen(folder, None if quiet else sys.stderr)
    vault = Vault(site, open_identity(keys), open_store_key(keys), seen.log)
    user = _user(site)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    path = folder / "vault.sock"
    with closing(vault), VaultSocket(path, site.limits.letter_bytes, user) as listening:
        threading.Thread(
            target=listening.serve, args=(vault.answer,), name="vault", daemon=True
        ).start()
        seen.log("started", {"site": site.name, "server": site.server.address})
        _keep_door(site, path, user, open_node_key(keys), ended, seen)


def _keep_door(
    site: SiteSettings,
    path: Path,
    user: int | None,
    node_key: str,
    ended: threading.Event,
    seen: Seen,
) -> None:
    """Have a door until the site ends; one that died is replaced."""
    settings: dict[str, Any] = {
        "address": site.server.address,
        "ca": site.server.ca,
        "insecure": site.server.insecure,
        "node_key": node_key,
        "socket": str(path),
        "poll_seconds": _POLL_S,
        "limit_bytes": site.limits.letter_bytes,
        "user": user,
    }
    while not ended.is_set():
        door = start(DOOR, settings)
        try:
            while door.poll() is None and not ended.wait(_LOOK_S):
                pass
        finally:
            stop(door)
        if not ended.is_set():
            seen.log("door ended", {"code": door.returncode})
            ended.wait(_LOOK_S)


def _user(site: SiteSettings) -> int | None:
    """The number of the user that the door runs as, where it is another."""
    name = site.limits.user
    if name is None:
        return None
    if os.geteuid() != 0:
        raise ConfigError(
            f"limits.user is {name!r}, and only root can start a process as another user",
            remedy="Start the site as root, or remove limits.user",
        )
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigError(f"limits.user is {name!r}, who is no user of this machine") from None
