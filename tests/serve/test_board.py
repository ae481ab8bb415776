"""What the dashboard asks: runs as their folders tell, whatever state these are in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sottovoce.run import overview
from sottovoce.run.ledger import Ledger
from sottovoce.serve.answer import Answers
from sottovoce.serve.api import make_app
from sottovoce.serve.board import Board
from sottovoce.serve.gate import Gate
from sottovoce.serve.keys import KeyFile
from sottovoce.serve.problems import Problem


@pytest.fixture
def beside(shops: Path, tmp_path: Path) -> Path:
    """A copy of the shops, alone in a folder of runs."""
    shutil.copytree(shops, tmp_path / "runs" / "shops")
    return tmp_path / "runs" / "shops"


def without_end(run: Path) -> None:
    """Take the last line off a ledger, as if the run had not come to its end."""
    lines = (run / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (run / "ledger.jsonl").write_bytes(b"".join(lines[:-1]))


def test_a_finished_run_is_told_in_short_and_in_full(beside: Path) -> None:
    board = Board([beside.parent])
    [row] = board.every()
    assert (row["name"], row["state"], row["rounds"], row["of"]) == ("shops", "finished", 1, 1)
    assert (row["strategy"], row["unit"], row["epsilon"], row["budget"]) == (
        "fedavg",
        "none",
        None,
        None,
    )
    assert row["last_loss"] < row["first_loss"]
    full = board.one("shops")
    assert row.items() <= full.items()
    assert [one["round"] for one in full["losses"]] == [0, 1]
    assert set(full["losses"][1]["by_client"]) == {"north", "south"}
    [played] = full["history"]
    assert (played["clients"], played["failed"], played["taking_part"]) == (
        ["north", "south"],
        [],
        2,
    )
    assert played["bytes_up"] > 0
    assert played["tokens"] > 0
    assert set(played["stages"]) == {"train", "sum", "save", "evaluate"}
    assert all(seconds >= 0 for seconds in played["stages"].values())
    assert full["participation"] == [
        {"client": name, "rounds": 1, "failed": 0} for name in ("north", "south")
    ]
    assert full["ledger"]["verified"] is True
    assert "every file" in full["ledger"]["how"]
    assert "unbounded" in full["privacy"]["statement"][0]
    assert full["data"]["note"] == '[data] scrub = "mask"'
    assert full["data"]["rows"][0]["loaded"] == 8
    assert any("PERSON" in one["what"] for one in full["data"]["rows"])
    json.dumps(full, allow_nan=False)


def test_a_private_run_tells_what_it_spent_and_nothing_of_its_data(
    train_run: Callable[..., Path],
) -> None:
    settings = (
        "privacy={unit='example', epsilon=40.0, delta=1e-3, clip_norm=1.0, max_participations=1}"
    )
    full = Board([train_run("guarded", settings).parent]).one("guarded")
    assert 0 < full["epsilon"] <= 40
    assert full["budget"] == 40
    assert full["privacy"]["delta"] == 1e-3
    assert len(full["privacy"]["statement"]) > 1
    assert full["data"] is None


def test_a_run_under_way_is_told_as_far_as_it_has_come(beside: Path) -> None:
    without_end(beside)
    board = Board([beside.parent])
    with Ledger.open(beside / "ledger.jsonl"):
        with (beside / "ledger.jsonl").open("ab") as file:
            file.write(b'{"index":9,"ki')
        running = board.one("shops")
    assert running["state"] == "running"
    assert running["ledger"]["verified"] is True
    assert "stands still" in running["ledger"]["how"]
    assert running["rounds"] == 1
    assert board.every()[0]["state"] == "unfinished"


def test_once_a_run_has_ended_its_files_are_checked_though_its_ledger_did_not_change(
    beside: Path,
) -> None:
    board = Board([beside.parent])
    without_end(beside)
    with Ledger.open(beside / "ledger.jsonl"):
        assert "stands still" in board.one("shops")["ledger"]["how"]
    assert "every file" in board.one("shops")["ledger"]["how"]


def test_what_was_altered_is_seen(beside: Path) -> None:
    board = Board([beside.parent])
    weights = beside / "rounds" / "00001.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    found = board.one("shops")["ledger"]
    assert found["verified"] is False
    assert "00001.safetensors" in found["how"]
    ledger = beside / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace('"round":0', '"round":7', 1))
    row = board.one("shops")
    assert (row["state"], row["ledger"]["verified"]) == ("broken", False)
    assert row["error"]
    (beside / "config.toml").write_text("no toml")
    ledger.touch()
    assert "configuration" in board.one("shops")["error"]


def test_only_what_has_changed_is_read_again(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many runs there are."""
    for number in range(8):
        shutil.copytree(beside, beside.parent / f"other-{number}")
    board, reads = Board([beside.parent]), list[str]()
    monkeypatch.setattr(
        "sottovoce.serve.board.look", lambda root: reads.append(root.name) or overview.look(root)
    )
    for _ in range(3):
        assert len(board.every()) == 9
        board.one("shops")
    assert sorted(reads) == sorted(["shops", "shops", *(f"other-{n}" for n in range(8))])
    (beside / "ledger.jsonl").touch()
    board.every()
    assert len(reads) == 11


def test_files_are_checked_again_once_one_has_changed(beside: Path) -> None:
    board = Board([beside.parent])
    assert board.one("shops")["ledger"]["verified"] is True
    weights = beside / "rounds" / "00001.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert board.one("shops")["ledger"]["verified"] is False


def test_a_folder_that_goes_away_is_no_trouble(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = beside.parent / "gone"
    found = {"shops": beside, "gone": gone}
    monkeypatch.setattr("sottovoce.serve.board.found_in", lambda runs: found)
    assert [row["name"] for row in Board([beside.parent]).every()] == ["shops"]
    with pytest.raises(Problem) as refused:
        Board([beside.parent]).one("gone")
    assert refused.value.status == 404


def test_many_clients_are_counted_and_not_named(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "NAMED", 1)
    full = Board([beside.parent]).one("shops")
    assert "north" not in json.dumps({key: full[key] for key in ("losses", "history")})
    assert len(full["participation"]) == 2
    monkeypatch.setattr(overview, "LISTED", 1)
    assert Board([beside.parent]).one("shops")["participation"] == []
    assert (full["clients"], full["history"][0]["taking_part"]) == (2, 2)


def test_of_many_rounds_some_are_told_and_the_last_always(
    beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview, "POINTS", 1)
    assert [one["round"] for one in Board([beside.parent]).one("shops")["losses"]] == [1]


def test_the_dashboard_is_for_keys_that_name_it(
    shelf: Any, answers: Answers, beside: Path, tmp_path: Path, listen: Any
) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    with listen(
        make_app(answers, Gate(keys, open_without=True), Board([beside.parent]))
    ) as address:

        def ask(path: str, key: str = "-") -> httpx.Response:
            return httpx.get(f"{address}/v1/{path}", headers={"Authorization": f"Bearer {key}"})

        assert [one["name"] for one in ask("runs").json()["runs"]] == ["shops"]
        usual, ops = keys.add("usual"), keys.add("ops", dashboard=True)
        assert [ask("runs", key).status_code for key in ("-", usual, ops)] == [401, 403, 200]
        assert [ask("runs/shops", key).status_code for key in ("-", usual, ops)] == [401, 403, 200]
        for other in ("runs/other", "runs/..%2Fshops", "runs/%2Fetc"):
            assert ask(other, ops).status_code == 404
