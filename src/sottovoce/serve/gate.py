"""Who is let in: keys, models, and how much each key may still use."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from ipaddress import ip_address
from typing import Final

from sottovoce.errors import SottovoceError
from sottovoce.serve.keys import Key, KeyFile
from sottovoce.serve.problems import Problem
from sottovoce.serve.shelf import Entry

_log = logging.getLogger(__name__)

_MINUTE: Final = 60.0


@dataclass(frozen=True)
class Guest:
    """Somebody who was let in.

    Args:
        key: theirs; None where none is needed.
    """

    key: Key | None

    @property
    def filtered(self) -> bool:
        """Whether personal data are taken out of what they are told."""
        return self.key is None or self.key.filtered


@dataclass
class _Used:
    """What a key has used so far."""

    asked: deque[float] = field(default_factory=deque)
    day: date = date.min
    tokens: int = 0


class Gate:
    """Lets requests in, or says why not.

    Args:
        keys: of the server.
        open_without: whether everybody may ask as long as there is no key, as on loopback.
        now: the clock.

    Guarantees:
        - once there is a key, a client's own model is for keys that name it;
        - what is refused is logged by the name of the key at most, never with the key.

    Edge cases: what keys have used is counted in memory, so it begins anew with the server.
    """

    def __init__(
        self,
        keys: KeyFile,
        *,
        open_without: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys, self._open_without, self._now = keys, open_without, now
        self._used: dict[str, _Used] = {}
        self._needed = False

    def warning(self) -> str | None:
        """What whoever starts the server should know."""
        if self._keys.every():
            return None
        if self.is_open():
            return "there is no key yet, so every program on this machine may ask; sotto key --add"
        return "there is no key yet, so nobody is let in; make one with sotto key --add NAME"

    def is_open(self) -> bool:
        """Whether no key is needed now; once one was, that stays so."""
        self._needed = self._needed or not self._open_without or self._keys.path.exists()
        return not self._needed

    def enter(self, authorization: str | None) -> Guest:
        """Let somebody in by the header of a request.

        Raises:
            Problem: 401 without a key that is taken, 429 for one that asks too often.
        """
        if self.is_open():
            return Guest(None)
        kind, _, presented = (authorization or "").partition(" ")
        self._every()
        key = self._keys.find(presented.strip() if kind.lower() == "bearer" else "")
        if key is None:
            _log.warning("a request without a key that is known was refused")
            raise Problem(
                401, "An API key is needed, and this is none that is known.", code="invalid_api_key"
            )
        if key.expired(self._now()):
            _log.warning("the key %r has expired", key.name)
            raise Problem(401, "This API key has expired.", code="invalid_api_key")
        self._count(key)
        return Guest(key)

    def require_dashboard(self, guest: Guest) -> None:
        """Let somebody see how runs go, which tells the names of their clients.

        Raises:
            Problem: 403 where the key is not for it.
        """
        if guest.key is not None and not guest.key.dashboard:
            raise Problem(
                403,
                "This key is not for the dashboard; sotto key --dashboard makes one that is.",
                code="dashboard_not_allowed",
            )

    def model(self, guest: Guest, entries: Mapping[str, Entry], name: str) -> Entry:
        """The model that somebody asks for.

        Raises:
            Problem: 404 where there is none of this name, 403 where it is not for them.
        """
        entry = entries.get(name)
        if entry is None:
            raise Problem(
                404, "There is no model of this name.", code="model_not_found", param="model"
            )
        if not self._may(guest, entry):
            _log.warning("the key %r asked for a model that is not for it", _name(guest))
            raise Problem(
                403, "This API key may not use this model.", code="model_not_allowed", param="model"
            )
        return entry

    def models(self, guest: Guest, entries: Mapping[str, Entry]) -> Sequence[Entry]:
        """All models that somebody may ask for."""
        return [entry for entry in entries.values() if self._may(guest, entry)]

    def left(self, guest: Guest) -> int | None:
        """Tokens that somebody has left today; None without a limit."""
        if guest.key is None or guest.key.tokens_per_day is None:
            return None
        return max(0, guest.key.tokens_per_day - self._today(guest.key).tokens)

    def hold(self, guest: Guest, tokens: int) -> None:
        """Count tokens before they are used, so that requests at once keep to the limit, too.

        Raises:
            Problem: 429 where so many are not left.
        """
        left = self.left(guest)
        if left is not None and tokens > left:
            _log.warning("the key %r has too few tokens left today", _name(guest))
            raise Problem(
                429,
                f"This request may take {tokens} tokens, and {left} are left for this key today.",
                code="insufficient_quota",
                wait=_seconds_to_midnight(self._now()),
            )
        if guest.key is not None:
            self._today(guest.key).tokens += tokens

    def release(self, guest: Guest, tokens: int) -> None:
        """Give back tokens that were held and not used."""
        if guest.key is not None:
            used = self._today(guest.key)
            used.tokens = max(0, used.tokens - tokens)

    def _every(self) -> Sequence[Key]:
        try:
            return self._keys.every()
        except SottovoceError as error:
            _log.error("the keys cannot be read, so nobody is let in: %s", error)
            raise Problem(503, "The server cannot read its keys.", code="server_error") from error

    def _may(self, guest: Guest, entry: Entry) -> bool:
        return guest.key is None or guest.key.may_ask(entry.name, personal=entry.personal)

    def _count(self, key: Key) -> None:
        asked, now = self._of(key).asked, self._now().timestamp()
        while asked and asked[0] <= now - _MINUTE:
            asked.popleft()
        if key.requests_per_minute is not None and len(asked) >= key.requests_per_minute:
            _log.warning("the key %r asks too often", key.name)
            wait = max(1, round(asked[0] + _MINUTE - now))
            raise Problem(
                429,
                f"This key may ask {key.requests_per_minute} times a minute.",
                code="rate_limit_exceeded",
                wait=wait,
            )
        if key.requests_per_minute is not None:
            asked.append(now)

    def _today(self, key: Key) -> _Used:
        used, today = self._of(key), self._now().astimezone(UTC).date()
        if used.day != today:
            used.day, used.tokens = today, 0
        return used

    def _of(self, key: Key) -> _Used:
        # By the hash: who removes a key and makes another of its name begins anew.
        return self._used.setdefault(key.sha256, _Used())


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach an address.

    >>> [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "shop.example")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _name(guest: Guest) -> str:
    return "" if guest.key is None else guest.key.name


def _seconds_to_midnight(now: datetime) -> int:
    time = now.astimezone(UTC).time()
    return 24 * 3600 - (time.hour * 3600 + time.minute * 60 + time.second)
