"""Calls to a SuperLink: protobuf messages over HTTP, with limits on time and size."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx

from sottovoce.errors import ConfigError, SottovoceError
from sottovoce.run.flower.guard import LIMIT_BYTES

_PROTOBUF: Final = "application/protobuf"
_CONNECT_SECONDS: Final = 10.0
_END: Final = "-----END CERTIFICATE-----"
_LONGEST_DETAIL: Final = 500


class CallError(SottovoceError):
    """A call that brought no answer.

    Args:
        call: what was called.
        status: the HTTP status, or 0 where nothing came back.
        detail: what the other side said, or what went wrong.
        clock_ahead: seconds by which this machine's clock is ahead of the other's, if it said.
    """

    def __init__(
        self, call: str, status: int, detail: str, clock_ahead: float | None = None
    ) -> None:
        self.call, self.status, self.detail = call, status, detail
        self.clock_ahead = clock_ahead
        super().__init__(f"{call} failed: {status or 'no answer'}, {detail}")

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.status == 0 or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class Caller:
    """One end of a connection to a SuperLink. Threads may share it.

    Args:
        address: ``host:port``.
        tls: how the server's certificate is checked; nothing means plain HTTP.
        proxies: whether proxies that the environment names are used.
        pause_seconds: how long the other side may pause in the middle of an answer.
    """

    def __init__(
        self, address: str, tls: ssl.SSLContext | None, *, proxies: bool, pause_seconds: float
    ) -> None:
        self._client = httpx.Client(
            base_url=f"{'http' if tls is None else 'https'}://{address}",
            verify=tls or False,
            trust_env=proxies,
            timeout=httpx.Timeout(pause_seconds, connect=_CONNECT_SECONDS),
            headers={"content-type": _PROTOBUF, "accept": _PROTOBUF, "accept-encoding": "identity"},
        )

    def call(
        self, path: str, request: Any, answer: type[Any], headers: Mapping[str, str]
    ) -> tuple[Any, Mapping[str, str]]:
        """Send one protobuf message, and read the one that comes back.

        Returns:
            The answer, and the headers it came with.

        Raises:
            CallError: none came that can be read.
        """
        status, content, came_with = self._post(path, request.SerializeToString(), headers)
        if status != HTTPStatus.OK:
            raise CallError(path, status, _printable(content), _clock_ahead(came_with))
        found = answer()
        try:
            found.ParseFromString(content)
        except Exception as error:
            raise CallError(path, status, "an answer that cannot be read") from error
        return found, came_with

    def healthy(self, path: str) -> bool:
        """Whether a service answers there."""
        try:
            return self._client.get(path).status_code == HTTPStatus.OK
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _post(
        self, path: str, content: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes, Mapping[str, str]]:
        found = bytearray()
        try:
            with self._client.stream("POST", path, content=content, headers=headers) as response:
                for piece in response.iter_raw():
                    found += piece
                    if len(found) > LIMIT_BYTES:
                        raise CallError(path, response.status_code, "an answer over the limit")
                return response.status_code, bytes(found), response.headers
        except httpx.HTTPError as error:
            raise CallError(path, 0, f"{type(error).__name__}: {error}") from error


def tls_of_ca(ca: Path | None) -> ssl.SSLContext:
    """Check a server by an authority: the one given, or those that this machine trusts.

    Raises:
        ConfigError: the file is missing or holds no certificate.
    """
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise _no_certificate(ca, error) from error


def tls_of_certificate(certificate: Path) -> ssl.SSLContext:
    """Check that a server has exactly this certificate, under whatever name it is reached.

    Raises:
        ConfigError: the file is missing or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        # The authorities that follow it in the file are not trusted here.
        first, end, _ = certificate.read_text(encoding="ascii").partition(_END)
        context.load_verify_locations(cadata=first + end)
    except (OSError, ValueError) as error:
        raise _no_certificate(certificate, error) from error
    return context


def _no_certificate(path: Path | None, error: Exception) -> ConfigError:
    return ConfigError(
        f"the certificate {path} cannot be used: {error}",
        allowed="a file of certificates in PEM, as sotto certs makes them",
    )


def _clock_ahead(headers: Mapping[str, str]) -> float | None:
    try:
        there = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    return round((datetime.now(UTC) - there).total_seconds(), 1)


def _printable(content: bytes) -> str:
    text = content[:_LONGEST_DETAIL].decode(errors="replace")
    return "".join(letter if letter.isprintable() else " " for letter in text)
