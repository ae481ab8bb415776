"""The server's end: questions to sites go out, answers come in, whatever happens in between.

A question is kept until it is answered or forgotten. It goes out when its site is there, and goes
out again when the site has come anew, when the SuperLink has lost it, and after the SuperLink was
started again. So a site may be asked twice, which the engine's numbers make harmless, and is never
left unasked.
"""

from __future__ import annotations

import logging
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from sottovoce.errors import ConfigError, MissingExtraError, SottovoceError
from sottovoce.run.flower.child import quieten, require_loopback, start, stop
from sottovoce.run.flower.guard import HEALTH

if TYPE_CHECKING:
    from sottovoce.run.flower.link import Link, Presence

_START_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.5
_TRIES: Final = 3
_PAUSE_SECONDS: Final = 1.0
_PAUSE_IN_ANSWER_SECONDS: Final = 60.0
_ENOUGH_BYTES: Final = 16 << 20

_T = TypeVar("_T")
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinkSettings:
    """Where the sites reach the server.

    Args:
        host: the address to listen at; ``0.0.0.0`` and ``::`` mean every one of this machine.
        port: the one port that the sites need.
        folder: where the SuperLink keeps its database and its log; for its owner alone.
        certificate: the server's certificate, PEM, with those that lead to its authority.
        key: its private key.
        insecure: plain HTTP, which is refused off loopback.
        limit_bytes: the largest answer that is fetched.
        log_level: what the SuperLink's log holds.

    Raises:
        ConfigError: neither a certificate with its key nor plain HTTP on loopback.
    """

    host: str
    port: int
    folder: Path
    certificate: Path | None
    key: Path | None
    insecure: bool = False
    limit_bytes: int = 1 << 30
    log_level: str = "warning"

    def __post_init__(self) -> None:
        if self.insecure:
            require_loopback(self.host)
            if self.certificate or self.key:
                raise ConfigError(
                    "plain HTTP and a certificate",
                    allowed="one of them",
                    remedy="Leave out insecure",
                )
        elif not (self.certificate and self.key):
            raise ConfigError(
                "a server without a certificate",
                allowed="a certificate and its key",
                remedy="Make them with sotto certs, or bring your organisation's",
            )


@dataclass
class _Question:
    """One question to one site, until it is answered."""

    site: str
    make: Callable[[], bytes]
    name: str = ""
    since: str = ""
    reply: str = ""
    forgotten: bool = False

    def again(self) -> None:
        """Have it go out once more."""
        self.name = self.since = self.reply = ""


@dataclass
class _SuperLink:
    """A running SuperLink and this process's conversation with it."""

    process: subprocess.Popen[bytes]
    link: Link
    nodes: Mapping[str, int]
    present: dict[int, Presence] = field(default_factory=dict)
    looked: float = float("-inf")


class FlowerCarrier:
    """Carries bytes between the engine and the sites. One thread uses it.

    Args:
        settings: where the sites reach the server.
        members: node key by site, a point of P-384 of 49 bytes. Who is not among them is refused.

    Guarantees:
        - while it is open, a question is asked until it is answered or forgotten, through any end
          of the SuperLink, of a door or of a connection;
        - an answer is returned once for each question.

    Raises:
        MissingExtraError: Flower is not installed.
        ConfigError: the SuperLink cannot be started.
        SottovoceError: it was started, and cannot be reached again and again.
    """

    def __init__(self, settings: LinkSettings, members: Mapping[str, bytes]) -> None:
        self._settings, self._members = settings, dict(members)
        self._questions: list[_Question] = []
        self._running: _SuperLink | None = None
        self._more = False

    def __enter__(self) -> Self:
        self._settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        quieten(self._settings.folder)
        try:
            import flwr  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("flwr", extra="network") from error
        self._running = self._started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def ask(self, site: str, make: Callable[[], bytes]) -> None:
        """Ask a site something. It goes out at once if the site is there, or when it comes.

        Args:
            site: who is asked.
            make: what makes the engine's own bytes, the same each time; called whenever they go
                out, so that nothing is held for sites that are slow or away.

        Raises:
            ConfigError: the site is no member.
            SottovoceError: as the class says.
        """
        if site not in self._members:
            raise ConfigError(f"site {site!r} is asked", allowed="the members of the roster")
        question = _Question(site, make)
        self._questions.append(question)
        self._with(lambda running: self._send(running, [question]))

    def answers(self, wait_seconds: float = 0.0) -> list[tuple[str, bytes]]:
        """Take the answers that have come since.

        Args:
            wait_seconds: for how long to be held while nothing comes; up to 10. It may return
                earlier, with nothing, when part of an answer or a site has come.

        Returns:
            Site and bytes of each. Large answers come in several calls, so that the memory they
            take is bounded.

        Raises:
            SottovoceError: as the class says.
        """
        return self._with(lambda running: self._collect(running, wait_seconds))

    def present(self) -> frozenset[str]:
        """The sites that have been heard of in the last 20 seconds.

        Raises:
            SottovoceError: as the class says.
        """
        return self._with(
            lambda running: frozenset(
                site for site in self._members if self._presence(running, site) is not None
            )
        )

    def forget(self, site: str) -> None:
        """Expect no answer of a site to what it was asked so far."""
        for question in self._questions:
            if question.site == site:
                question.forgotten, question.make = True, bytes
        self._questions = [entry for entry in self._questions if entry.name or not entry.forgotten]

    # --- questions and answers -------------------------------------------------------------------

    def _send(self, running: _SuperLink, questions: list[_Question]) -> None:
        """Send what has not gone out, or went to a node that has come anew since."""
        for question in questions:
            presence = self._presence(running, question.site)
            if presence is None or question.forgotten:
                continue
            if question.name and not question.reply and question.since != presence.since:
                _log.info("a site has come anew and is asked again: %s", question.site)
                question.again()
            if not question.name:
                question.since = presence.since
                question.name = running.link.push(running.nodes[question.site], question.make())

    def _collect(self, running: _SuperLink, wait_seconds: float) -> list[tuple[str, bytes]]:
        self._send(running, self._questions)
        asked = {entry.name: entry for entry in self._questions if entry.name and not entry.reply}
        hold = 0.0 if self._more else wait_seconds
        for reply in running.link.replies(list(asked), hold):
            self._note(running, asked[reply.to], reply)
        found: list[tuple[str, bytes]] = []
        size, self._more = 0, False
        for question in [entry for entry in self._questions if entry.reply]:
            if size >= _ENOUGH_BYTES:
                self._more = True
                break
            body = self._fetched(running, question)
            if body is not None:
                found.append((question.site, body))
                size += len(body)
        return found

    def _note(self, running: _SuperLink, question: _Question, reply: Any) -> None:
        """Remember that something came for a question; what it is, is looked at later."""
        if question.forgotten:
            running.link.confirm(reply.name)
            self._questions.remove(question)
            _log.info("a late answer was dropped: %s", question.site)
        elif not reply.wrong:
            question.reply = reply.name
        elif reply.by_site:
            running.link.confirm(reply.name)
            self._questions.remove(question)
            _log.warning("a site gives no answer: %s", question.site)
        else:
            running.link.confirm(reply.name)
            question.again()
            _log.info("a question is sent again to %s: %s", question.site, reply.wrong)

    def _fetched(self, running: _SuperLink, question: _Question) -> bytes | None:
        """The answer to a question, if all of it is there."""
        if question.forgotten:
            running.link.confirm(question.reply)
            self._questions.remove(question)
            return None
        try:
            body = running.link.body(question.reply, self._settings.limit_bytes)
        except LookupError:
            question.again()
            return None
        except SottovoceError as error:
            if _is_call(error):
                raise
            running.link.confirm(question.reply)
            self._questions.remove(question)
            _log.warning("an answer of %s was refused: %s", question.site, error)
            return None
        if body is not None:
            running.link.confirm(question.reply)
            self._questions.remove(question)
        return body

    def _presence(self, running: _SuperLink, site: str) -> Presence | None:
        """Where a site's node stands, if it is there."""
        now = time.monotonic()
        if now - running.looked >= _LOOK_SECONDS:
            running.present, running.looked = running.link.presence(), now
        found = running.present.get(running.nodes[site])
        return found if found is not None and found.online else None

    # --- the SuperLink ---------------------------------------------------------------------------

    def _with(self, act: Callable[[_SuperLink], _T]) -> _T:
        """Do something with the SuperLink; if it is gone, start it again and do it once more."""
        for attempt in range(_TRIES):
            if self._running is None:
                self._running = self._started_again()
            try:
                return act(self._running)
            except SottovoceError as error:
                if not _is_call(error):
                    raise
                if attempt == 0 and self._running.process.poll() is None:
                    _log.info("a call to the SuperLink is tried again: %s", error)
                    continue
                _log.warning("the SuperLink is started again: %s", error)
                self._leave()
        raise SottovoceError(
            f"the SuperLink at port {self._settings.port} was started again and again, and is gone",
            remedy=f"See {self._log_file}",
        )

    def _leave(self) -> None:
        """Let the SuperLink go, and have every question go out again."""
        if self._running is not None:
            self._running.link.end()
            stop(self._running.process)
            self._running = None
        self._questions = [entry for entry in self._questions if not entry.forgotten]
        for question in self._questions:
            question.again()

    def _started_again(self) -> _SuperLink:
        """Start it as often as it may take; what is killed once may be killed twice."""
        for _ in range(_TRIES - 1):
            try:
                return self._started()
            except ConfigError as error:
                _log.warning("the SuperLink does not start: %s", error)
                time.sleep(_PAUSE_SECONDS)
        return self._started()

    def _started(self) -> _SuperLink:
        from sottovoce.run.flower.link import SpentKeyError

        try:
            return self._start()
        except SpentKeyError:
            # Whoever was revoked once can come back only to a list that never knew it. Nothing is
            # lost with the old one: what was under way is asked again.
            for path in self._settings.folder.glob("superlink.db*"):
                path.unlink()
            return self._start()

    def _start(self) -> _SuperLink:
        from sottovoce.run.flower.calls import Caller, CallError, tls_of_certificate
        from sottovoce.run.flower.link import Link

        here, secret = self._settings, secrets.token_hex(32)
        tls = None if here.certificate is None else tls_of_certificate(here.certificate)
        process = start(
            "sottovoce.run.flower.superlink", self._for_child(secret), log=self._log_file
        )
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(here.host, here.host)  # noqa: S104
        address = f"[{host}]:{here.port}" if ":" in host else f"{host}:{here.port}"
        caller = Caller(address, tls, proxies=False, pause_seconds=_PAUSE_IN_ANSWER_SECONDS)
        link = Link(caller, secret)
        try:
            self._wait_for(process, lambda: caller.healthy(HEALTH))
            nodes = link.register(self._members)
            link.begin()
        except BaseException as error:
            link.end()
            stop(process)
            if isinstance(error, CallError):
                # Another service at this port may say that it is healthy.
                raise self._cannot_serve() from error
            raise
        return _SuperLink(process, link, nodes)

    def _wait_for(self, process: subprocess.Popen[bytes], healthy: Callable[[], bool]) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and process.poll() is None:
            if healthy():
                return
            time.sleep(_LOOK_SECONDS / 10)
        raise self._cannot_serve()

    def _cannot_serve(self) -> ConfigError:
        return ConfigError(
            f"the SuperLink cannot serve at {self._settings.host}:{self._settings.port}",
            remedy=f"See {self._log_file}; the port may be taken, or the certificate not its key's",
        )

    @property
    def _log_file(self) -> Path:
        return self._settings.folder / "superlink.log"

    def _for_child(self, secret: str) -> dict[str, object]:
        here = self._settings
        return {
            "host": here.host,
            "port": here.port,
            "database": str(here.folder / "superlink.db"),
            "certificate": here.certificate and str(here.certificate),
            "key": here.key and str(here.key),
            "insecure": here.insecure,
            "secret": secret,
            "log": str(self._log_file),
            "level": here.log_level,
        }


def _is_call(error: SottovoceError) -> bool:
    from sottovoce.run.flower.calls import CallError

    return isinstance(error, CallError)
