"""The README promises only commands, files and steps that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from sottovoce.config import make_config
from sottovoce.data.parse import Layout, parse_record

ROOT = Path(__file__).resolve().parents[1]
READMES = ["README.md", "README.zh.md"]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def shown_by_help(*command: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).parent / "sotto", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "PATH": "", "LANG": "C.UTF-8"},
    )
    return done.stdout


def commands_of_the_tool() -> set[str]:
    """The first word of each line below the heading "Commands"."""
    rows = shown_by_help().partition("Commands")[2].splitlines()
    found = {match.group(1) for row in rows if (match := re.match(r"[│|\s]+([a-z]+)\s{2,}\S", row))}
    assert found, "the help text lists no command"
    return found


def commands_named_in(name: str) -> set[str]:
    """Words after ``sotto`` where it stands as code: at a line's start or after a backtick."""
    return set(re.findall(r"(?:^\s*\$?\s*|`)sotto ([a-z]+)", read(name), flags=re.MULTILINE))


def code_blocks(name: str, *languages: str) -> list[str]:
    fence = f"^```(?:{'|'.join(languages)})\\n(.*?)^```"
    return re.findall(fence, read(name), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", READMES)
def test_every_command_named_exists_and_every_command_is_named(name: str) -> None:
    assert commands_named_in(name) == commands_of_the_tool()


@pytest.mark.parametrize("name", READMES)
def test_every_option_shown_exists(name: str) -> None:
    shown = re.findall(r"(?:^\s*|`)sotto ([a-z]+)([^\n`#]*)", read(name), flags=re.MULTILINE)
    missing = [
        f"sotto {command} {option}"
        for command, rest in shown
        for option in re.findall(r"(?<!\S)\[?(--[a-z-]+)", rest)
        if option not in shown_by_help(command)
    ]
    assert missing == []


@pytest.mark.parametrize("name", READMES)
def test_every_make_target_named_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", read(name), flags=re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_both_languages_show_the_same_steps() -> None:
    def steps(name: str) -> list[str]:
        return [re.sub(r"\s*#.*", "", block) for block in code_blocks(name, "bash", "toml")]

    assert steps(READMES[0]) == steps(READMES[1])
    assert commands_named_in(READMES[0]) == commands_named_in(READMES[1])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_relative_link_leads_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", read(name))
    local = [target for target in targets if "://" not in target]
    assert [t for t in local if not ((ROOT / name).parent / t).exists()] == []


@pytest.mark.parametrize("name", READMES)
def test_the_configuration_shown_is_accepted(name: str) -> None:
    blocks = code_blocks(name, "toml")
    assert blocks
    for block in blocks:
        make_config(tomllib.loads(block), place=name)


@pytest.mark.parametrize("name", READMES)
def test_the_record_shown_is_a_conversation(name: str) -> None:
    (block,) = code_blocks(name, "json")
    conversation = parse_record(json.loads(block), Layout())
    assert [message.role for message in conversation.messages] == ["user", "assistant"]
    assert (conversation.client, conversation.owner) == ("north", "customer-17")


@pytest.mark.parametrize("name", READMES)
def test_every_key_that_is_set_exists(name: str) -> None:
    assignments = re.findall(r"--set ([\w.]+=[\w.+-]+)", read(name))
    assert assignments
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        section, _, inner = key.partition(".")
        tree = {
            "data": {"path": "x", "scrub": "off"},
            "privacy": {"unit": "none"},
            section: {inner: float(value)},
        }
        make_config(tree, place=name)


def test_every_pitfall_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (?!mistake|---)(.+) \|$", read("docs/pitfalls.md"), re.MULTILINE)
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    defined = set(re.findall(r"^\s*def (test_\w+)\(", "\n".join(texts), re.MULTILINE))
    assert rows
    for row in rows:
        mistake, *_, tests = row.split(" | ")
        named = re.findall(r"`(test_\w+)`", tests)
        assert named, f"no test stands beside: {mistake}"
        assert set(named) <= defined, f"beside {mistake}: {set(named) - defined} do not exist"


@pytest.mark.parametrize("name", READMES)
@pytest.mark.parametrize("script", ["lora_rules", "privacy_utility"])
def test_a_table_is_what_the_benchmark_measured(name: str, script: str) -> None:
    place = f"benchmarks/{script}.py"
    assert f"<!-- made by {place} --table -->\n{table_of(place)}<!-- end -->" in read(name)


@cache
def table_of(place: str) -> str:
    """What a script prints, once for all languages."""
    command = [sys.executable, ROOT / place, "--table"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
