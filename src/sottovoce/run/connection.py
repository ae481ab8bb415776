"""What a site's and a helper's own file say alike: whose requests are answered, and at what cost."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator

from sottovoce.codec.roster import KEY_BYTES, require_name
from sottovoce.errors import ConfigError, VerificationError

Own = TypeVar("Own", bound=BaseModel)


def _named(value: str) -> str:
    try:
        require_name(value)
    except VerificationError as error:
        raise ValueError(str(error)) from error
    return value


Name = Annotated[str, AfterValidator(_named)]
"""What a site or a helper is called: as a roster can hold it."""


class ServerOf(BaseModel, frozen=True, extra="forbid"):
    """The server that a site or a helper works for; the section ``[server]``.

    Args:
        address: host and port.
        identity: the public half of the key that the server signs with, 64 hexadecimal digits.
        ca: who signed its certificate, where that is no authority that everybody knows.
        insecure: plain HTTP; on the loopback alone.
    """

    address: str
    identity: str
    ca: str | None = None
    insecure: bool = False

    @field_validator("identity")
    @classmethod
    def _is_a_key(cls, value: str) -> str:
        try:
            known = len(bytes.fromhex(value)) == KEY_BYTES
        except ValueError:
            known = False
        if not known:
            raise ValueError("the server's identity is 64 hexadecimal digits; ask who runs it")
        return value


class Limits(BaseModel, frozen=True, extra="forbid"):
    """What a site or a helper spends on others; the section ``[limits]``.

    Args:
        letter_bytes: the largest letter that is read.
        user: the operating-system user that talks to the network in this one's place, where
            it runs as root; None keeps the own one.
    """

    letter_bytes: int = Field(2**30, ge=2**16)
    user: str | None = None


def read_own_file(path: Path, kind: type[Own], what: str, made_by: str) -> Own:
    """Read the file of a site or a helper.

    Args:
        path: where it lies.
        kind: what it holds.
        what: names it in errors.
        made_by: the command that makes one.

    Raises:
        ConfigError: there is none, it cannot be read, or a key or value cannot be used.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {what} {path}", remedy=f"Make one with: {made_by}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise ConfigError(f"{path}: {key}: {fault['msg']}") from None
