"""What is seen of a federation from outside: status, log lines, counters."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from sottovoce.errors import ConfigError
from sottovoce.run.seen import Seen, read_status, serve_metrics, status_rows


def told(seen: Seen) -> Seen:
    """A server in its second round."""
    seen.log("started", {"state": "beginning"})
    seen.log("answered", {"site": "Köln", "stage": "round-0", "bytes": 100})
    seen.log("answered", {"site": "上海", "stage": "round-0", "bytes": 20})
    seen.log("late", {"site": "oslo", "stage": "round-0"})
    seen.log("exchange", {"stage": "round-0", "sites": 2, "seconds": 1.5})
    seen.log("exchange", {"stage": "round-1", "sites": 2, "seconds": 0.5})
    seen.log("finished", {"rounds": 1, "epsilon": 0.75})
    seen.log("round", {"round": 1, "sites": 3})
    seen.log("waiting", {"sites": {"oslo": "round"}, "present": {"上海", "Köln"}})
    return seen


def test_the_status_holds_what_an_operator_asks_for(tmp_path: Path) -> None:
    told(Seen(tmp_path, None)).log("evaluated", {"round": 1, "loss": 2.5})
    found = read_status(tmp_path)
    assert found["state"] == "training"
    assert (found["rounds"], found["round"], found["epsilon"], found["loss"]) == (1, 1, 0.75, 2.5)
    assert found["waiting_for"] == {"oslo": "round"}
    assert found["present"] == ["Köln", "上海"]
    assert found["bytes_up"] == {"Köln": 100, "上海": 20}
    assert found["stage_seconds"] == {"round": 2.0}
    assert found["events"] == {"answered": 2, "late": 1}
    rows = dict(map(tuple, status_rows(found)[1:]))  # type: ignore[arg-type]
    assert rows["waiting for"] == "oslo (round)"
    assert rows["bytes received"] == "120"


def test_helpers_stand_apart_and_are_there_or_not(tmp_path: Path) -> None:
    seen = told(Seen(tmp_path, None))
    assert "helpers" not in dict(map(tuple, status_rows(read_status(tmp_path))[1:]))  # type: ignore[arg-type]
    seen.log("started", {"state": "beginning", "helpers": ["turin", "wien"]})
    seen.log("waiting", {"sites": {}, "present": {"Köln", "wien"}})
    seen.log("evaluated", {"round": 1, "loss": 2.5})
    rows = dict(map(tuple, status_rows(read_status(tmp_path))[1:]))  # type: ignore[arg-type]
    assert rows["present"] == "Köln"
    assert rows["helpers"] == "turin (away), wien (here)"
    assert "sottovoce_sites_present 1\n" in seen.metrics()
    assert "sottovoce_helpers_present 1\n" in seen.metrics()


def test_a_run_that_failed_says_why(tmp_path: Path) -> None:
    told(Seen(tmp_path, None)).log("ended", {"state": "failed", "error": "too few"})
    found = read_status(tmp_path)
    assert (found["state"], found["error"]) == ("failed", "too few")


def test_every_event_is_one_line_of_json_and_waiting_is_none() -> None:
    lines = io.StringIO()
    told(Seen(None, lines))
    events = [json.loads(line)["event"] for line in lines.getvalue().splitlines()]
    assert events[:2] == ["started", "answered"]
    assert "waiting" not in events


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_full_disk_stops_nothing_that_is_only_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    seen = told(Seen(tmp_path, Full()))
    assert seen.counts["answered"] == 2
    assert not (tmp_path / "status.json").exists()


def test_without_a_status_there_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no status"):
        read_status(tmp_path)
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_status(tmp_path)


def test_counters_name_no_site_unless_asked() -> None:
    plain, named = told(Seen(None, None)).metrics(), told(Seen(None, None, True)).metrics()
    assert "sottovoce_received_bytes_total 120\n" in plain
    assert "Köln" not in plain
    assert 'sottovoce_received_bytes_total{site="Köln"} 100\n' in named
    # The format knows no escapes but of quotes, backslashes and ends of lines.
    assert 'sottovoce_received_bytes_total{site="上海"} 20\n' in named
    for text in (plain, named):
        assert "sottovoce_rounds_total 1\n" in text
        assert "sottovoce_sites_present 2\n" in text
        assert "sottovoce_epsilon 0.75\n" in text
        assert 'sottovoce_events_total{event="late"} 1\n' in text
        assert 'sottovoce_stage_seconds_total{stage="round"} 2.0\n' in text


def test_counters_are_served_on_the_loopback_and_nothing_else_is() -> None:
    server = serve_metrics(told(Seen(None, None)), 0)
    try:
        host, port = server.server_address[:2]
        assert host == "127.0.0.1"
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert b"sottovoce_rounds_total 1" in answer.read()
        with pytest.raises(HTTPError) as caught:
            urlopen(f"http://127.0.0.1:{port}/etc", timeout=5)
        assert caught.value.code == 404
        assert caught.value.read() == b""
        caught.value.close()
        with pytest.raises(ConfigError, match="metrics_port"):
            serve_metrics(told(Seen(None, None)), int(port))
    finally:
        server.shutdown()
        server.server_close()


def test_the_status_file_is_whole_whenever_it_is_read(tmp_path: Path) -> None:
    """It takes the place of the one before in one step, and leaves nothing beside it."""
    told(Seen(tmp_path, None))
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
    assert stat.S_ISREG((tmp_path / "status.json").lstat().st_mode)
