"""Whatever bytes arrive, every parser reads them as what is written so, or raises a typed error.

The last test takes ten minutes for each parser:

    pytest tests/fuzz -m fuzz                            all of them
    SOTTO_FUZZ_SECONDS=60 pytest tests/fuzz -m fuzz      a minute each
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import fuzz_targets
import pytest
from fuzz_targets import NEED_TENSEAL, TARGETS, Target
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.errors import ConfigError, MissingExtraError

HERE = Path(__file__).resolve().parent
SECONDS = int(os.environ.get("SOTTO_FUZZ_SECONDS", "600"))


@cache
def target_named(name: str) -> Target:
    if name in NEED_TENSEAL:
        pytest.importorskip("tenseal")
    try:
        return TARGETS[name]()
    except (ConfigError, MissingExtraError) as missing:
        if name.endswith("hybrid"):
            pytest.skip(f"no ML-KEM here: {missing}")
        raise


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_are_read(name: str) -> None:
    target = target_named(name)
    assert target.seeds
    assert all(target.check(seed) for seed in target.seeds)
    assert not any(target.check(data) for data in (b"\xff", *target.almost))


@st.composite
def damaged(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Valid bytes with bits flipped, parts cut out or put in, or two of them put together."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for step in draw(st.lists(st.sampled_from(["flip", "cut", "insert", "splice"]), max_size=4)):
        # Half of the places are near the beginning, where the headers are.
        at = draw(st.integers(0, min(len(data), 120)) | st.integers(0, len(data)))
        if step == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif step == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif step == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=40))
        elif step == "splice":
            other = draw(st.sampled_from(seeds))
            data[at:] = other[draw(st.integers(0, len(other))) :]
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_read_as_they_are_written_or_refused_with_a_typed_error(name: str) -> None:
    target = target_named(name)

    @given(damaged((*target.seeds, *target.almost)) | st.binary(max_size=300))
    @settings(max_examples=40, deadline=None)
    def check(data: bytes) -> None:
        target.check(data)

    check()


@pytest.mark.parametrize(
    "problem", [KeyError("a"), IndexError(), ValueError("b"), struct.error(), ConfigError("c")]
)
def test_an_error_of_another_type_is_noticed(
    problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr(fuzz_targets.wire, "unpack", fail)
    target = TARGETS["wire"]()
    with pytest.raises(type(problem)):
        target.check(target.seeds[-1])


def test_bytes_that_are_read_as_something_else_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, unpack = TARGETS["wire"](), fuzz_targets.wire.unpack
    monkeypatch.setattr(fuzz_targets.wire, "unpack", lambda *given_: unpack(*given_) >> 1)
    with pytest.raises(AssertionError, match="written as other bytes"):
        target.check(target.seeds[-1])


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_seek_out_new_code_find_no_error_of_another_type(
    name: str, tmp_path: Path
) -> None:
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed; it has wheels for Linux only. make venv installs it")
    target_named(name)
    command = [sys.executable, str(HERE / "explore.py"), name, str(tmp_path)]
    done = subprocess.run(
        [*command, f"-max_total_time={SECONDS}", "-print_final_stats=1"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    runs = re.search(r"^stat::number_of_executed_units: (\d+)", done.stderr, re.MULTILINE)
    assert runs
    assert int(runs.group(1)) > 100
