"""What a request gets in place of an answer: the OpenAI shape of errors, each with its status."""

from __future__ import annotations

from typing import Any

from sottovoce.errors import SottovoceError, UsageError


class Problem(Exception):  # noqa: N818 - it is what is answered, and no fault of ours
    """An answer that says why there is none.

    Args:
        status: of HTTP.
        message: for whoever asked; it repeats nothing that was asked.
        code: for programs; the same words as OpenAI's where there are some.
        param: which part of the request is meant.
        wait: seconds after which asking again makes sense.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        wait: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.wait = status, message, wait
        self.code, self.param = code, param

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object that is answered."""
        told = {"message": self.message, "type": _kind(self.status)}
        return {"error": told | {"param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says beside its body."""
        found = {} if self.wait is None else {"Retry-After": str(self.wait)}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def of_error(error: SottovoceError, param: str | None = None) -> Problem:
    """The problem of one of our own errors: the request is wrong, or the server is."""
    if isinstance(error, UsageError):
        return Problem(400, str(error), code="invalid_value", param=param)
    return Problem(500, "the model cannot be read; the server's log says why", code="server_error")


def _kind(status: int) -> str:
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    return kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
