"""The files that set the project up agree with one another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements() -> list[str]:
    extras = PROJECT["optional-dependencies"].values()
    return [*PROJECT["dependencies"], *(entry for extra in extras for entry in extra)]


@pytest.mark.parametrize("requirement", requirements())
def test_every_dependency_is_pinned(requirement: str) -> None:
    name = re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0]
    assert name.lower().replace("_", "-") in PINS


def test_pins_are_exact_public_versions() -> None:
    assert PINS["torch"] == "2.13.0"
    assert [name for name, pin in PINS.items() if not re.fullmatch(r"\d+(\.\w+)*", pin)] == []
    assert list(PINS) == sorted(PINS)


def test_no_pin_drags_in_an_accelerator_stack() -> None:
    assert [n for n in PINS if n.startswith(("nvidia", "cuda", "triton"))] == []


def test_the_environment_of_the_tests_is_the_pinned_one() -> None:
    script = "from importlib.metadata import version; import sys; print(version(sys.argv[1]))"
    for name in ("torch", "transformers", "numpy", "peft", "pytest", "ruff", "mypy"):
        command = [sys.executable, "-c", script, name]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        assert found.partition("+")[0] == PINS[name], name


def test_make_installs_every_extra() -> None:
    makefile = (ROOT / "Makefile").read_text()
    listed = re.search(r"^EXTRAS := (.*)$", makefile, flags=re.MULTILINE)
    assert listed
    assert set(listed.group(1).split(",")) == set(PROJECT["optional-dependencies"])


def test_ci_runs_the_two_commands_and_stops_at_the_first_failure() -> None:
    script = ROOT / ".ci" / "run"
    lines = script.read_text().splitlines()
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in lines
    assert [line for line in lines if line.startswith("make ")] == ["make check", "make test"]


def test_make_without_a_target_lists_the_targets() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = set(re.findall(r"make ([a-z-]+)", done.stdout))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named == targets


def test_make_says_what_to_do_without_a_new_enough_python(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    for needed in ("pyproject.toml", "constraints.txt"):
        (tmp_path / needed).touch()
    command = ["make", "test", f"PYTHON={old}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is not Python 3.11 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()
