"""Resolve every dependency of the project afresh and pin it in constraints.txt.

Run by ``make constraints``. Nothing is installed: pip only reports what it would install into an
empty environment with all extras.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Figures that the benchmarks and the documents state were taken with this version, and the bits of
# a run depend on it. It moves on purpose, never because a resolver found a newer one.
HELD = {"torch": "2.13.0"}

HEADER = """\
# Every package that the project, its extras, its tests and its benchmarks need, at the one version
# that they are tested with. Made by `make constraints`, which asks pip for a fresh resolve of all
# extras; do not edit by hand. A version held on purpose stands in scripts/pin_dependencies.py.
# Local versions (the part after +) are left out, so that any build of a version will do.
"""


def resolve(extras: list[str]) -> dict[str, str]:
    """Ask pip which versions it would install into an empty environment.

    Args:
        extras: names of the optional dependency groups.

    Returns:
        Version by normalised package name, the project itself left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "held.txt"
        held.write_text("".join(f"{name}=={version}\n" for name, version in HELD.items()))
        report = Path(folder) / "report.json"
        options = ["--dry-run", "--ignore-installed", "--quiet", "--report", str(report)]
        wanted = ["setuptools", f"{ROOT}[{','.join(extras)}]"]
        command = [sys.executable, "-m", "pip", "install", *options, "-c", str(held), *wanted]
        subprocess.run(command, check=True)
        installs = json.loads(report.read_text())["install"]
    found = {entry["metadata"]["name"]: entry["metadata"]["version"] for entry in installs}
    return {
        name.lower().replace("_", "-"): version.partition("+")[0]
        for name, version in found.items()
        if name != "sottovoce"
    }


def main() -> None:
    """Write constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = resolve(sorted(project["optional-dependencies"]))
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
    (ROOT / "constraints.txt").write_text(HEADER + "".join(lines))
    print(f"constraints.txt: {len(lines)} packages")


if __name__ == "__main__":
    main()
