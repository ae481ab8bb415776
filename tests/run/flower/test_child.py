"""Child processes: settings unseen, silence before anything is loaded, an end, and one-line logs."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
import subprocess
import sys
import time

import pytest

from sottovoce.errors import ConfigError
from sottovoce.run.flower import child, door

ECHO = """
import json, os, sys
from sottovoce.run.flower import child
settings = child.read_settings()
quiet = {name: os.environ.get(name) for name in child.QUIET}
print(json.dumps([settings, sys.argv, quiet]), flush=True)
import time; time.sleep(60)
"""


@pytest.fixture
def echo(tmp_path, monkeypatch):
    """A module of its own that tells what it was started with."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "echo_settings.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"), prepend=os.pathsep)
    return "echo_settings"


def told(log, seconds=10):
    end = time.monotonic() + seconds
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < end
        time.sleep(0.02)
    return json.loads(log.read_text())


def test_settings_come_by_the_pipe_alone_and_the_log_is_private(tmp_path, echo, monkeypatch):
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "1")
    process = child.start(echo, {"secret": "s3cr3t"}, tmp_path / "log")
    settings, arguments, quiet = told(tmp_path / "log")
    assert settings == {"secret": "s3cr3t"}
    assert "s3cr3t" not in str(arguments)
    assert quiet == child.QUIET
    assert os.getsid(process.pid) == process.pid, "an interrupt of the terminal is not for it"
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600
    start = time.monotonic()
    child.stop(process)
    assert time.monotonic() - start < 2
    assert process.returncode == 0, "it ends by itself when its pipe closes"


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path, echo, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    process = child.start(echo, {}, tmp_path / "log")
    assert told(tmp_path / "log")[0] == {}
    child.stop(process)


def test_a_child_that_does_not_end_is_ended(tmp_path, monkeypatch):
    (tmp_path / "deaf.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    process = child.start("deaf", {}, tmp_path / "log")
    child.stop(process, 0.2)
    assert process.returncode == -9


def test_a_child_that_cannot_begin_is_no_error_of_its_start(tmp_path):
    process = child.start("sottovoce.no_such_module", {"long": "x" * (1 << 20)}, tmp_path / "log")
    assert process.wait(10) == 1
    child.stop(process)
    assert "no_such_module" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("line", [b"", b"{\n", b"[]\n", b"\xff\n"])
def test_what_is_no_settings_is_refused(line):
    code = "from sottovoce.run.flower.child import read_settings; read_settings()"
    done = subprocess.run(
        [sys.executable, "-c", code], input=line, capture_output=True, check=False
    )
    assert b"ConfigError: no settings came" in done.stderr


def test_flower_is_told_before_it_is_loaded(tmp_path, monkeypatch):
    for name in (*child.QUIET, "FLWR_HOME"):
        monkeypatch.setenv(name, "before")
    child.quieten(tmp_path)
    assert {name: os.environ[name] for name in child.QUIET} == child.QUIET
    assert os.environ["FLWR_HOME"] == str(tmp_path)


def test_a_log_line_is_one_json_object():
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(child.JsonLines())
    log = logging.Logger("test")
    log.addHandler(handler)
    log.warning("two\nlines", extra={"fields": {"bytes": 7, "path": "a\nb"}})
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("broken")
    first, second = map(json.loads, written.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {"level": "warning", "event": "two\nlines", "bytes": 7, "path": "a\nb"}
    assert "ValueError: why" in second["trace"]


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x"])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(ConfigError, match="Allowed: host:port"):
        door.host_of(address)
