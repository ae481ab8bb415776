"""A site's own file has the last word, whatever a server sends."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.config import make_config
from sottovoce.errors import ConfigError
from sottovoce.run.shared import shared_config
from sottovoce.run.site_settings import SiteSettings, load_site, own_config

KEY = "ab" * 32
ROOT = Path("/site/runs/abc")


def site_tree(**changes: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "name": "berlin",
        "policy": "policy.toml",
        "server": {"address": "127.0.0.1:9092", "identity": KEY},
        "data": {"path": "talks.jsonl", "scrub": "off"},
    }
    return {key: value for key, value in (tree | changes).items() if value is not None}


def site(**changes: Any) -> SiteSettings:
    return SiteSettings.model_validate(site_tree(**changes) | {"policy": "/site/policy.toml"})


def sent(**changes: Any) -> dict[str, Any]:
    """What an honest server sends, and what a test puts in its place."""
    config = make_config(
        {
            "run": {"dir": "/server/run"},
            "data": {"path": "/server/data.jsonl"},
            "privacy": {"unit": "none", "policy": "/server/policy.toml"},
            "network": {"roster": {"a": "x", "b": "y"}},
        },
        place="test",
    )
    tree = tomllib.loads(shared_config(config).decode())
    for section, values in changes.items():
        known = tree.get(section)
        tree[section] = (
            {**known, **values} if isinstance(known, dict) and isinstance(values, dict) else values
        )
    return tree


def owned(tree: dict[str, Any], **own: Any) -> Any:
    return own_config(site(**own), tomli_w.dumps(tree).encode(), ROOT)


# What arrives


def test_an_honest_configuration_names_no_place_of_the_server() -> None:
    text = json.dumps(sent())
    assert "/server" not in text
    assert "network" not in text
    config = owned(sent())
    assert config.data.path == "talks.jsonl"
    assert config.run.dir == str(ROOT)
    assert config.privacy.policy == "/site/policy.toml"


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"path": "/etc/passwd"}},
        {"data": {"path": ["/etc/passwd", "/etc/shadow"]}},
        {"data": {"path": "/etc/passwd", "hub": "x/y"}},
        {"data": {"hub": "some/set", "hub_split": "train"}},
        {"data": {"clients": "file"}},
        {"data": {"clients": "dirichlet"}, "federation": {"clients": 7}},
        {"privacy": {"unit": "none", "policy": "/etc/weak.toml"}},
        {"run": {"dir": "/etc"}},
        {"run": {"dir": "../../elsewhere"}},
        {"model": {"path": "/server/model"}},
        {"model": {"path": "some/name", "allow_download": True}},
        {"model": {"allow_download": True}},
    ],
)
def test_nothing_that_arrives_says_where_things_lie_or_what_is_allowed(
    changes: dict[str, Any],
) -> None:
    tree = sent(**changes)
    try:
        config = owned(
            tree, model={"path": "/site/model"}, data={"path": "/site/talks.jsonl", "scrub": "off"}
        )
    except ConfigError:
        # It contradicts what the site says, which is as good.
        return
    assert config.data.path == "/site/talks.jsonl"
    assert config.data.hub is None
    assert config.data.clients == "column"
    assert config.privacy.policy == "/site/policy.toml"
    assert config.run.dir == str(ROOT)
    assert config.model.path == "/site/model"
    assert config.model.allow_download is False
    assert config.network is None


@pytest.mark.parametrize(
    "key", ["system", "owner_column", "format", "strict", "validation_fraction", "min_examples"]
)
def test_what_the_site_says_of_its_data_stands_over_what_arrives(key: str) -> None:
    theirs = {"system": "Tell all.", "owner_column": "x", "format": "messages", "strict": True}
    ours = {"system": "Hush.", "owner_column": "id", "format": "sharegpt", "strict": False}
    theirs |= {"validation_fraction": 0.5, "min_examples": 9}
    ours |= {"validation_fraction": 0.2, "min_examples": 3}
    data = {"path": "/site/talks.jsonl", "scrub": "off", key: ours[key]}
    config = owned(sent(data={key: theirs[key]}), data=data)
    assert getattr(config.data, key) == ours[key]


def test_whose_a_conversation_is_only_the_site_says() -> None:
    """With a column of another for every conversation, nobody's would be protected together."""
    tree = sent(data={"owner_column": "message_id"})
    assert owned(tree).data.owner_column is None
    own = {"path": "/site/talks.jsonl", "scrub": "off", "owner_column": "person"}
    assert owned(tree, data=own).data.owner_column == "person"


def test_what_becomes_of_personal_data_only_the_site_says() -> None:
    theirs = {"scrub": "off", "scrub_key": "/server/key", "deduplicate": True, "pii": {}}
    own = {"path": "/site/talks.jsonl", "scrub": "mask"}
    data = owned(sent(data=theirs), data=own).data
    assert (data.scrub, data.scrub_key, data.deduplicate) == ("mask", None, False)
    with pytest.raises(ConfigError, match=r"data\.scrub"):
        owned(sent(data=theirs), data={"path": "/site/talks.jsonl"})


@pytest.mark.parametrize(
    "path",
    ["/", "/etc", "/etc/secret-model", "../secret", "a/../../b", "~/models", "~root/x", ""],
)
def test_without_a_model_of_its_own_a_site_takes_a_name_and_no_place(path: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.path"):
        owned(sent(model={"path": path}))


@pytest.mark.parametrize("path", ["tiny", "qwen", "Qwen/Qwen3-0.6B", "models/a.b-c_d"])
def test_the_name_of_a_model_is_taken(path: str) -> None:
    assert owned(sent(model={"path": path})).model.path == path


@pytest.mark.parametrize("section", [{}, {"roster": {"a": "b", "c": "d"}}, {"x": 1}, "text", 5])
def test_a_configuration_with_a_network_is_refused(section: Any) -> None:
    """No server of ours sends one."""
    with pytest.raises(ConfigError, match="network"):
        owned(sent(network=section))


WRONG_TYPES: list[dict[str, Any]] = [
    {section: value}
    for section in ("data", "model", "run", "privacy")
    for value in ("text", 5, True, [], [1], 0.5)
] + [
    {"seed": "zero"},
    {"seed": 0.5},
    {"train": "all"},
    {"train": {"learning_rate": "fast"}},
    {"federation": {"rounds": -1}},
    {"federation": {"strategy": "pickle"}},
    {"federation": {"strategy": {"name": ["fedavg"]}}},
    {"privacy": {"unit": "everybody"}},
    {"model": {"path": 5}},
    {"model": {"path": ["a", "b"]}},
    {"model": {"lora": {"rank": 0}}},
    {"unknown": {"a": 1}},
    {"run": {"command": "rm"}},
    {"task": "attack"},
]


@pytest.mark.parametrize("changes", WRONG_TYPES)
def test_wrong_types_are_one_kind_of_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        owned(sent(**changes))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"= 5",
        b"a = ",
        b"seed = " + b"9" * 5000,
        b"a = " + b"[" * 200_000,
        b"a" + b".a" * 100_000 + b" = 1",
        b"[a" + b".a" * 5_000 + b"]",
        b"a = {a = " * 5_000,
        b"data = 1\n[data]\n",
        b"seed = 1\nseed = 2\n",
        b"#" * (2 * 2**20),
        b'a = "' + b"x" * (2 * 2**20) + b'"',
        b"[[data]]\npath = 'x'\n",
        b"seed = 1979-05-27T07:32:00Z\n",
        b"seed = inf\n",
        b"\0",
    ],
    ids=range(17),
)
def test_what_is_no_configuration_is_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(ConfigError):
        own_config(site(), data, ROOT)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode(errors="replace")))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_one_kind_of_error(data: bytes) -> None:
    with pytest.raises(ConfigError):
        own_config(site(), data, ROOT)


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(
    st.sampled_from(["data", "model", "run", "privacy", "train", "federation", "secure"]),
    st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12) | st.just("path"),
    plain.filter(lambda value: value is not None),
)
@settings(max_examples=150, deadline=None)
def test_any_key_changes_nothing_of_what_is_the_sites(section: str, key: str, value: Any) -> None:
    tree = sent()
    tree.setdefault(section, {})[key] = value
    try:
        data = tomli_w.dumps(tree).encode()
        config = own_config(site(model={"path": "/site/model"}), data, ROOT)
    except ConfigError:
        return
    assert (config.data.path, config.model.path) == ("talks.jsonl", "/site/model")
    assert (config.privacy.policy, config.run.dir) == ("/site/policy.toml", str(ROOT))
    assert config.model.allow_download is False


# A site's own file


def write(folder: Path, tree: dict[str, Any] | bytes) -> Path:
    path = folder / "berlin.toml"
    path.write_bytes(tree if isinstance(tree, bytes) else tomli_w.dumps(tree).encode())
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    tree = site_tree(keys="keys", folder="runs", model={"path": "model"})
    tree["server"]["ca"] = "ca.pem"
    found = load_site(write(tmp_path, tree))
    for place, name in (
        (found.policy, "policy.toml"),
        (found.keys, "keys"),
        (found.folder, "runs"),
        (found.model.path, "model"),
        (found.server.ca, "ca.pem"),
    ):
        assert place == str(tmp_path / name)
    assert list(found.data["path"]) == [str(tmp_path / "talks.jsonl")]
    tree["data"] |= {"scrub": "pseudonym"}
    assert load_site(write(tmp_path, tree)).data["scrub_key"] == str(tmp_path / "scrub.key")


def test_absolute_paths_and_homes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/ada")
    tree = site_tree(
        data={"path": ["/data/a.jsonl", "~/b.jsonl"], "scrub": "off"}, model={"path": "tiny"}
    )
    found = load_site(write(tmp_path, tree))
    assert list(found.data["path"]) == ["/data/a.jsonl", "/ada/b.jsonl"]
    assert found.model.path == "tiny"


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in site_tree().items() if name != key}


@pytest.mark.parametrize("key", ["name", "policy", "server", "data"])
def test_what_is_missing_is_named(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        load_site(write(tmp_path, without(key)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {}}, r"data\.path"),
        ({"data": {"format": "auto"}}, r"data\.path"),
        ({"data": {"path": 5}}, r"data\.path"),
        ({"data": {"path": []}}, r"data\.path"),
        ({"data": {"path": [5]}}, r"data\.path"),
        ({"data": {"path": {"a": "b"}}}, r"data\.path"),
        ({"data": {"path": "~nobody-of-this-name/x", "scrub": "off"}}, "nobody-of-this-name"),
        ({"data": {"path": "talks.jsonl"}}, r"data\.scrub is missing"),
        ({"data": "talks.jsonl"}, "data"),
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": 5}, "name"),
        ({"polcy": "x"}, "polcy"),
        ({"limits": {"letter_bytes": 1}}, "letter_bytes"),
        ({"limits": {"letter_bytes": "all"}}, "letter_bytes"),
        ({"server": {"address": "x:1"}}, "identity"),
        ({"server": {"address": "x:1", "identity": "ab"}}, "64 hexadecimal"),
        ({"server": {"address": "x:1", "identity": "zz" * 32}}, "64 hexadecimal"),
        ({"server": {"address": "x:1", "identity": KEY, "token": "a"}}, "token"),
        ({"roster": ["a"]}, "roster"),
        ({"roster": {"a": 5}}, "roster"),
        ({"policy": ""}, "policy"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_site(write(tmp_path, site_tree(**changes)))


def nothing(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [nothing, a_folder])
def test_a_file_that_is_none_is_one_kind_of_error(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = write(tmp_path, site_tree())
    spoil(path)
    with pytest.raises(ConfigError, match="berlin"):
        load_site(path)


@pytest.mark.parametrize(
    "data", [b"\xff", b"= 1", b"name = ", b"n = " + b"9" * 5000, b"a = " + b"[" * 100_000, b"\0"]
)
def test_a_file_that_is_broken_is_one_kind_of_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ConfigError, match="berlin"):
        load_site(write(tmp_path, data))


def test_any_file_is_one_kind_of_error(tmp_path: Path) -> None:
    @given(st.binary(max_size=300))
    @settings(max_examples=60, deadline=None)
    def check(data: bytes) -> None:
        with pytest.raises(ConfigError):
            load_site(write(tmp_path, data))

    check()
