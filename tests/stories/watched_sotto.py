"""``sotto``, with what a server's processes keep secret written to a file that the test reads.

Where a file of the same name with ``.bundle`` behind it lies there, the server offers its content as
the app bundle of its run, as a hostile one would.

The secret of the guard and the token of Flower's task live in memory alone, so a test that searches
for them has to be told what they are.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sottovoce.cli import main
from sottovoce.run.flower import carrier


def run(told: Path) -> None:
    """Run the command of ``sys.argv``."""

    def write_down(secret: str) -> None:
        with told.open("a") as file:
            file.write(secret + "\n")

    def start(
        module: str, settings: Mapping[str, object], log: Path | None = None
    ) -> subprocess.Popen[bytes]:
        # Flower is loaded by now, and was kept silent before that.
        from sottovoce.run.flower import link

        def begin(self: Any) -> None:
            link.Link.begin = begin_as_ever  # type: ignore[method-assign]
            self.begin()
            write_down(self._headers[link.TASK_TOKEN_HEADER])

        begin_as_ever, link.Link.begin = link.Link.begin, begin  # type: ignore[method-assign]
        write_down(str(settings["secret"]))
        if bundle.exists():
            link._bundle = bundle.read_bytes
        return start_as_ever(module, settings, log)

    bundle = told.with_suffix(".bundle")
    start_as_ever, carrier.start = carrier.start, start
    main()


if __name__ == "__main__":
    place = Path(sys.argv.pop(1))
    sys.argv[0] = "sotto"
    run(place)
