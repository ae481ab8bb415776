"""A SuperLink without its guard, which writes down what is asked of it; for a hostile server.

Its one argument is the file that takes the path of every request.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from sottovoce.run.flower import guard, superlink


class Open(guard.Guard):
    """Lets everything through."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            with Path(sys.argv[1]).open("a") as file:
                file.write(scope["path"] + "\n")
        await self._app(scope, receive, send)


if __name__ == "__main__":
    superlink.Guard = Open  # type: ignore
    superlink.main()
