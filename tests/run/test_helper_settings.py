"""A helper's own file: made by the command, read once, and refused where it says too little."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from sottovoce.errors import ConfigError
from sottovoce.run.enrol import make_keys, open_identity, open_store_key
from sottovoce.run.founding import enrol_helper
from sottovoce.run.helper_settings import load_helper
from sottovoce.run.helper_vault import HelperVault


@pytest.fixture
def enrolled(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """What the command has written, with the lines of all others filled in."""
    made = enrol_helper("geneva", tmp_path / "geneva")
    file = Path(made["helper_file"])
    tree = tomllib.loads(file.read_text())
    assert f'"{tree["helpers"]["geneva"]}"' == made["line"]
    for section, name in (("helpers", "turin"), ("roster", "berlin"), ("roster", "oslo")):
        tree[section][name] = make_keys(tmp_path / name, name)
    tree["server"]["identity"] = "ab" * 32
    file.write_text(tomli_w.dumps(tree))
    return file, tree


def test_what_the_command_wrote_is_read_with_places_beside_it(
    enrolled: tuple[Path, dict[str, Any]],
) -> None:
    file, tree = enrolled
    tree["server"]["ca"] = "ca.pem"
    file.write_text(tomli_w.dumps(tree))
    found = load_helper(file)
    assert found.name == "geneva"
    assert Path(found.folder) == file.parent / "runs"
    assert Path(found.keys) == file.parent
    assert found.server.ca == str(file.parent / "ca.pem")
    assert found.least == 2
    assert list(found.helpers) == ["geneva", "turin"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda tree: tree.update(least=1), "least"),
        (lambda tree: tree.update(policy="policy.toml"), "policy"),
        (lambda tree: tree["helpers"].pop("turin"), "helpers"),
        (lambda tree: tree["roster"].pop("oslo"), "roster"),
        (lambda tree: tree["server"].update(identity="9f2c"), "64 hexadecimal digits"),
        (lambda tree: tree.update(name=""), "name"),
        (lambda tree: tree.update(keys="~nobody-of-this-name/keys"), "a home that cannot be found"),
    ],
)
def test_a_file_that_says_too_little_or_too_much_is_refused(
    enrolled: tuple[Path, dict[str, Any]], change: Any, why: str
) -> None:
    file, tree = enrolled
    change(tree)
    file.write_text(tomli_w.dumps(tree))
    with pytest.raises(ConfigError, match=why):
        load_helper(file)


def test_a_file_that_is_missing_or_no_toml_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sotto enrol --helper"):
        load_helper(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_helper(tmp_path / "bad.toml")


def test_lines_that_are_not_this_helpers_or_stand_twice_are_refused(
    enrolled: tuple[Path, dict[str, Any]],
) -> None:
    file, tree = enrolled

    def vault() -> HelperVault:
        file.write_text(tomli_w.dumps(tree))
        own = load_helper(file)
        return HelperVault(own, open_identity(file.parent), open_store_key(file.parent))

    vault().close()
    tree["roster"]["geneva"] = tree["helpers"]["geneva"]
    with pytest.raises(ConfigError, match="'geneva' is a site and a helper"):
        vault()
    del tree["roster"]["geneva"]
    tree["helpers"]["geneva"] = make_keys(file.parent.parent / "other", "geneva")
    with pytest.raises(ConfigError, match="another key for 'geneva'"):
        vault()
