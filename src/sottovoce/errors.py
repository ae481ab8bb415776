"""The exceptions that users meet, and the exit code that each one ends a command with.

    SottovoceError                 1   anything this package raises on purpose
    ├── UsageError                 2   the request itself is wrong
    │   ├── ConfigError                a key, a value or a contradiction in the configuration
    │   ├── DataError                  a file, line, column or conversation that cannot be used
    │   ├── ModelError                 a model folder or architecture that cannot be used
    │   └── MissingExtraError          an optional dependency that is not installed
    ├── RefusedError               3   a site policy or a privacy budget says no
    └── VerificationError          4   a sum, hash, ledger or audit is not what it claims to be
        └── AbortedError               a secure sum that too few are left for; nothing was released

Every error says what was seen, what is allowed and how to mend it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar


class SottovoceError(Exception):
    """Anything that Sottovoce raises on purpose.

    Args:
        seen: what was found, with its value and place. One sentence without a full stop.
        allowed: what would have been accepted, or empty where nothing sensible can be listed.
        remedy: what the reader can do now, or empty where ``allowed`` already says it.

    >>> str(ConfigError("train.rank is 0", allowed="1 or more", remedy="Write rank = 8"))
    'train.rank is 0. Allowed: 1 or more. Write rank = 8.'
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, seen: str, *, allowed: str = "", remedy: str = "") -> None:
        self.seen = seen
        self.allowed = allowed
        self.remedy = remedy
        parts = [seen, f"Allowed: {allowed}" if allowed else "", remedy]
        super().__init__(" ".join(f"{part.rstrip('.')}." for part in parts if part))


class UsageError(SottovoceError):
    """The request itself is wrong; nothing was changed."""

    exit_code: ClassVar[int] = 2


class ConfigError(UsageError):
    """A configuration key, value or combination that cannot be used."""


class DataError(UsageError):
    """A file, line, column or conversation that cannot be used."""


class ModelError(UsageError):
    """A model folder or an architecture that cannot be used."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed.

    >>> str(MissingExtraError("datasets", extra="hub"))
    "the package datasets is not installed. pip install 'sottovoce[hub]'."
    """

    def __init__(self, package: str, *, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"the package {package} is not installed",
            remedy=f"pip install 'sottovoce[{extra}]'",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), extra=self.extra), (self.package,)


class RefusedError(SottovoceError):
    """A site policy or a privacy budget refuses the request."""

    exit_code: ClassVar[int] = 3


class VerificationError(SottovoceError):
    """A sum, a hash, a ledger or an audit is not what it claims to be; nothing was released.

    Args:
        seen: as for every error.
        allowed: as for every error.
        remedy: as for every error.
        culprit: who made what does not verify, where that is certain to whoever raises this.
    """

    exit_code: ClassVar[int] = 4

    def __init__(
        self, seen: str, *, allowed: str = "", remedy: str = "", culprit: str = ""
    ) -> None:
        self.culprit = culprit
        super().__init__(seen, allowed=allowed, remedy=remedy)


class AbortedError(VerificationError):
    """A secure sum stops because too few are left. Nothing was released.

    Args:
        title: which sum.
        stage: at what it stops.
        round: the number of its round.
        reason: what there is too little of.
        missing: who did not deliver, in order.

    >>> stopped = AbortedError("round 3", "uploads", 3, "1 client, and 2 are needed", ("ben",))
    >>> stopped.stage, stopped.missing, str(stopped)[:66]
    ('uploads', ('ben',), 'round 3 stops at uploads with 1 client, and 2 are needed; missing:')
    """

    shown: ClassVar[int] = 10

    def __init__(
        self, title: str, stage: str, round: int, reason: str, missing: Sequence[str]
    ) -> None:
        self.title, self.stage, self.round = title, stage, round
        self.reason, self.missing = reason, tuple(missing)
        names = ", ".join(map(repr, self.missing[: self.shown]))
        more = len(self.missing) - self.shown
        others = f" and {more} more" if more > 0 else ""
        super().__init__(
            f"{title} stops at {stage} with {reason}; missing: {names}{others}",
            remedy="Nothing was released; begin the round again with who is there",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.title, self.stage, self.round, self.reason, self.missing)
