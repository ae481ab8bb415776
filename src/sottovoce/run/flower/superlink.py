"""The SuperLink of a server: Flower's own, behind the guard, as ``python -m`` of this module.

It is started by the carrier, with its settings on standard input, and ends with it. Node
authentication is always on; without TLS it serves this machine alone.
"""

from __future__ import annotations

import logging
import os
import socket
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

from sottovoce.errors import ConfigError
from sottovoce.run.flower.child import log_as_lines, quieten, read_settings, require_loopback
from sottovoce.run.flower.guard import Guard

_LOG_BYTES: Final = 5 << 20
_OLD_LOGS: Final = 3
_GRACE_SECONDS: Final = 2
_BACKLOG: Final = 2048

_log: Final = logging.getLogger(__name__)


def main() -> None:
    """Serve until the parent ends.

    Settings: ``host``, ``port``, ``database``, ``certificate``, ``key``, ``insecure``, ``secret``,
    ``log`` and ``level``.
    """
    settings = read_settings()
    # The database holds messages, and SQLite makes files beside it.
    os.umask(0o077)
    keep = RotatingFileHandler(settings["log"], maxBytes=_LOG_BYTES, backupCount=_OLD_LOGS)
    log_as_lines(settings["level"], keep)
    try:
        serve(settings)
    except (ConfigError, OSError) as error:
        _log.critical("the SuperLink cannot serve", extra={"fields": {"why": str(error)}})
        raise SystemExit(1) from error


def serve(settings: dict[str, Any]) -> None:
    """Serve Flower's application behind the guard. Flower is loaded here, and not before.

    Raises:
        ConfigError: plain HTTP is asked for off loopback.
        OSError: the port is taken, or the certificate and its key cannot be used.
    """
    host, port = settings["host"], settings["port"]
    if settings["insecure"]:
        require_loopback(host)
    # A port that is taken is found out before the seconds that the rest takes.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=_BACKLOG) as listening:
        quieten(Path(settings["database"]).parent)
        import uvicorn
        from flwr.superlink.main import create_app

        _take_over_flowers_log(settings["level"])
        config, lifespan = _lifespan(settings)
        guarded = Guard(create_app(config, lifespan), settings["secret"])
        served = uvicorn.Config(
            guarded,
            ssl_certfile=settings["certificate"],
            ssl_keyfile=settings["key"],
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        uvicorn.Server(served).run([listening])


def _lifespan(settings: dict[str, Any]) -> tuple[Any, Any]:
    """Flower's own settings, every one of them said, and the class that takes them."""
    from flwr.common.constant import ISOLATION_MODE_PROCESS, TRANSPORT_TYPE_GRPC_RERE
    from flwr.superlink.auth_plugin import NoOpControlAuthnPlugin
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan
    from flwr.superlink.config_loader import SuperLinkLifespanConfig

    config = SuperLinkLifespanConfig(
        control_address="",
        health_server_address=None,
        host=settings["host"],
        port=settings["port"],
        insecure=settings["insecure"],
        certificates=None,
        # The guard's secret stands before everything that this one would guard.
        superexec_auth_secret=None,
        authn_plugin=NoOpControlAuthnPlugin(),
        event_log_plugin=None,
        fleet_event_log_plugin=None,
        enable_event_log=False,
        artifact_provider=None,
        enable_supernode_auth=True,
        fleet_api_type=TRANSPORT_TYPE_GRPC_RERE,
        fleet_api_address=None,
        simulation=False,
        ssl_ca_certfile=None,
        ssl_certfile=settings["certificate"],
        ssl_keyfile=settings["key"],
        database=settings["database"],
        # Nothing is started to run an app.
        isolation=ISOLATION_MODE_PROCESS,
        runtime_dependency_install=False,
    )
    return config, SuperLinkLifespan


def _take_over_flowers_log(level: str) -> None:
    from flwr.supercore.logger import FLOWER_LOGGER, console_handler

    FLOWER_LOGGER.removeHandler(console_handler)
    FLOWER_LOGGER.setLevel(level.upper())
    FLOWER_LOGGER.propagate = True


if __name__ == "__main__":
    main()
