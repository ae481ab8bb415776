"""A federation across machines as real processes over TLS: killed, spied upon, offered hostile code."""

from __future__ import annotations

import io
import json
import sqlite3
import stat
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psutil
import pytest
from network_world import Consortium, by_one_process, command, consortium, stricter, wait_for

from sottovoce.run.check import check_run
from sottovoce.run.ledger import read

PATIENCE = 120.0
"""Seconds; on a quiet machine everything takes a few."""


def hostile_bundle(mark: Path) -> bytes:
    """A Flower app that leaves a mark wherever it is loaded."""
    about = """\
[project]
name = "carrier"
version = "1.0.0"

[tool.flwr.app]
publisher = "sottovoce"

[tool.flwr.app.components]
serverapp = "hostile:server"
clientapp = "hostile:client"
"""
    code = f"""\
from pathlib import Path
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
with Path({str(mark)!r}).open("a") as file:
    file.write("it ran")
client, server = ClientApp(), ServerApp()
"""
    files = {"hostile.py": code, "pyproject.toml": about}
    listed = [f"{name},{sha256(t.encode()).hexdigest()},{8 * len(t)}" for name, t in files.items()]
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, text in {**files, ".info/CONTENT": "\n".join(listed)}.items():
            archive.writestr(name, text)
    return whole.getvalue()


@dataclass
class Story:
    """What was seen while it was told."""

    one: Consortium
    mark: Path
    strict: str = ""
    names: list[str] = field(default_factory=list)
    alone: str = ""
    told: dict[str, Any] = field(default_factory=dict)
    during: dict[str, Any] = field(default_factory=dict)
    commands: list[bytes] = field(default_factory=list)

    def look(self) -> None:
        """Take down what a list of processes shows of ours, their environment included."""
        for process in self.one.processes():
            with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                for kind in ("cmdline", "environ"):
                    self.commands.append(Path(f"/proc/{process.pid}/{kind}").read_bytes())


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Three sites and one with a stricter policy, while everything is killed once."""
    folder = tmp_path_factory.mktemp("network")
    with consortium(folder / "world", shops=4) as one:
        seen = Story(one, folder / "mark")
        one.bundle.write_bytes(hostile_bundle(seen.mark))
        seen.strict, *seen.names = one.names
        limits = {"max_epsilon_per_run": 8.0, "max_epsilon_per_data_set": 8.0, "max_delta": 1e-5}
        stricter(one, seen.strict, weakest_unit="owner", **limits)
        for name in one.names:
            one.start_site(name)
        one.begin()
        seen.alone = by_one_process(one, seen.names, folder / "alone")
        first, second, _ = seen.names

        one.until_asked(first, "shares", 0)
        one.kill("superlink")
        one.until_asked(first, "round", 1)
        seen.look()
        seen.during = json.loads(command("status", str(one.run), "--json").stdout)
        one.kill("vault", first)
        one.kill("door", second)
        one.start_site(first)
        one.until_asked(first, "survivors", 2)
        one.kill("server")
        one.start_server()
        wait_for(lambda: one.events()[-1]["event"] == "answered", PATIENCE, "it goes on")
        seen.look()
        seen.told = one.finish(PATIENCE)
        yield seen


def test_killed_everywhere_it_ends_as_in_one_process(story: Story) -> None:
    assert story.told["adapter_sha256"] == story.alone
    assert story.told["rounds"] == 3
    assert story.told["sites"] == story.names


def test_the_servers_ledger_is_verified_by_the_command(story: Story) -> None:
    done = command("verify", str(story.one.run), "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["ok"]
    assert told["complete"]
    assert told["ledger_head"] == story.told["ledger_head"]


def test_nothing_was_trained_twice(story: Story) -> None:
    """A repeated question is answered from the ledger, which holds each round once."""
    for name in story.names:
        [ledger] = (story.one.folder / name / "runs").glob("*/ledger.jsonl")
        rounds = [
            record.payload["round"]
            for record in read(ledger)
            if record.kind == "answer" and record.payload["kind"] == "round"
        ]
        assert rounds == [0, 1, 2]


def test_a_stricter_policy_refuses_by_name_and_the_others_go_on(story: Story) -> None:
    refused = [event for event in story.one.events() if event["event"] == "refused"]
    assert {event["site"] for event in refused} == {story.strict}
    assert "weakest_unit" in refused[0]["error"]
    start = next(iter(read(story.one.run / "ledger.jsonl")))
    assert list(start.payload["refused"]) == [story.strict]
    assert "weakest_unit" in start.payload["refused"][story.strict]
    [ledger] = (story.one.folder / story.strict / "runs").glob("*/ledger.jsonl")
    assert {record.kind for record in read(ledger)} == {"start"}


def test_a_bundle_that_the_superlink_offers_is_not_even_fetched(story: Story) -> None:
    with closing(sqlite3.connect(story.one.run / "superlink" / "superlink.db")) as base:
        rows = base.execute("select fab.content from run join fab using (fab_hash)").fetchall()
    assert rows
    assert all(b"hostile.py" in content for (content,) in rows)
    assert not story.mark.exists()
    # Whatever else is asked for than a site needs, such as a bundle, the guard answers with 404 and
    # notes. What comes too late for a SuperLink that was started anew is refused by that itself.
    lines = (story.one.run / "superlink" / "superlink.log").read_text().splitlines()
    refused = [
        event for event in map(json.loads, lines) if event["event"] == "a request was refused"
    ]
    assert all(event["status"] == HTTPStatus.FORBIDDEN for event in refused)


def test_the_status_says_where_a_run_is(story: Story) -> None:
    assert story.during["state"] == "training"
    assert story.during["round"] == 1
    assert set(story.during["waiting_for"]) <= set(story.names)
    assert set(story.during["present"]) <= set(story.one.names)
    assert sum(story.during["bytes_up"].values()) > 0
    ended = json.loads(command("status", str(story.one.run), "--json").stdout)
    assert ended["state"] == "ended"
    assert ended["rounds"] == 3
    assert ended["waiting_for"] == {}


def secrets_of(one: Consortium) -> dict[str, bytes]:
    """Everything that nobody but its owner may see, in each form in which it could turn up."""
    found: dict[str, bytes] = {}
    for place in one.folder.glob("*/*.key"):
        text = place.read_text()
        if "BEGIN" in text:
            found |= {
                f"{place} {n}": line.encode() for n, line in enumerate(text.split("\n")[1:-2])
            }
        else:
            found[str(place)] = text.strip().encode()
            found[f"{place}, as bytes"] = bytes.fromhex(text)
    for number, line in enumerate(one.secrets_file.read_text().split()):
        found[f"secret {number} of the server's processes"] = line.encode()
    return found


def test_secrets_are_in_no_file_and_no_list_of_processes(story: Story) -> None:
    one = story.one
    secrets = secrets_of(one)
    assert len(secrets) >= 4 * 6 + 2
    own = {*one.folder.glob("*/*.key"), one.secrets_file}
    files = [path for path in one.folder.rglob("*") if path.is_file() and path not in own]
    places = {str(path): path.read_bytes() for path in files}
    places |= {f"process {number}": data for number, data in enumerate(story.commands)}
    assert any(name.endswith("superlink.db") for name in places)
    found = {
        (what, place)
        for what, secret in secrets.items()
        for place, data in places.items()
        if secret in data
    }
    # Flower's SuperLink keeps the token of the task that runs in its database, which is its owner's
    # alone; it opens nothing without the secret of the guard.
    allowed = {(what, place) for what, place in found if "superlink.db" in place}
    assert found == allowed
    assert len({what for what, _ in allowed}) <= 1
    assert all(len(secrets[what]) > 64 for what, _ in allowed)


def test_the_server_holds_no_text(story: Story) -> None:
    one = story.one
    said = [
        turn["content"].encode()
        for name in one.names
        for line in (one.folder / name / "conversations.jsonl").read_text().splitlines()
        for turn in json.loads(line)["messages"]
        if len(turn["content"]) > 40
    ]
    assert len(said) > 20
    files = [path for path in one.run.rglob("*") if path.is_file()]
    files += [one.folder / "server.log", *one.folder.glob("*/site.log")]
    for path in files:
        data = path.read_bytes()
        assert not any(text in data for text in said), path


def test_what_a_run_writes_is_its_owners_alone(story: Story) -> None:
    folders = [story.one.run, *(story.one.folder / name / "runs" for name in story.one.names)]
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            mode = stat.S_IMODE(path.lstat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))


def test_what_processes_log_is_json_line_by_line(story: Story) -> None:
    for name in ("", *story.one.names):
        assert all("event" in event for event in story.one.events(name))


def test_the_folder_is_checked_file_by_file(story: Story) -> None:
    assert check_run(story.one.run).complete
