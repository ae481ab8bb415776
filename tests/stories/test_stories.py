"""Whole stories, as a newcomer lives them. Slow: run with ``make slow``."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sottovoce.run.ledger import verify

ROOT = Path(__file__).resolve().parents[2]
BITEXT = ROOT.parent / "shared" / "data" / "bitext-customer-support" / "bitext.csv"
MEDQUAD = ROOT.parent / "shared" / "data" / "medquad-sample" / "medquad.jsonl"
SHAKESPEARE = ROOT.parent / "shared" / "data" / "tinyshakespeare" / "input.txt"


def sotto(*arguments: str, cwd: Path) -> dict[str, object]:
    """Run a command with --json and return its object."""
    done = subprocess.run(
        [sys.executable, "-c", "from sottovoce.cli import main; main()", *arguments, "--json"],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """The demo, told once."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, sotto("demo", cwd=folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_tells_its_story(told: tuple[Path, dict[str, object]]) -> None:
    folder, facts = told
    loss = facts["loss"]
    assert isinstance(loss, dict)
    assert loss["federated"] < loss["local"] < loss["base"]
    assert loss["centralised"] <= 0.95 * loss["local"]
    assert (folder / "runs/demo/loss_curves.png").read_bytes()[:4] == b"\x89PNG"
    again = sotto("demo", cwd=folder)
    assert again["ledger_head"] == facts["ledger_head"], "the demo replaces its own run"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_closes_four_fifths_of_the_gap(told: tuple[Path, dict[str, object]]) -> None:
    assert told[1]["gap_closed"] >= 0.8  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not BITEXT.exists(), reason="the Bitext sample is not beside the project")
def test_real_conversations_gain_from_the_federation(tmp_path: Path) -> None:
    facts = sotto("run", str(ROOT / "examples/bitext.toml"), "--compare", cwd=tmp_path)
    loss = facts["loss"]
    assert isinstance(loss, dict)
    assert loss["federated"] < loss["local"] < loss["base"]
    assert sotto("chat", "runs/bitext", "--once", "How do I cancel my order?", cwd=tmp_path)[
        "answer"
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not MEDQUAD.exists(), reason="the MedQuAD sample is not beside the project")
def test_nine_institutes_gain_from_the_federation(tmp_path: Path) -> None:
    short = ["--set", "data.max_conversations=1000"]
    facts = sotto("run", str(ROOT / "examples/medquad.toml"), "--compare", *short, cwd=tmp_path)
    loss = facts["loss"]
    assert isinstance(loss, dict)
    assert loss["federated"] < loss["local"] < loss["base"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="tinyshakespeare is not beside the project")
def test_speaking_roles_train_all_parameters_together(tmp_path: Path) -> None:
    facts = sotto("run", str(ROOT / "examples/shakespeare.toml"), cwd=tmp_path)
    loss = facts["loss"]
    assert isinstance(loss, dict)
    assert loss["federated"] < loss["base"]
    assert (tmp_path / "runs/shakespeare/adapter/model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    settings = [
        str(ROOT / "examples/marketplace.toml"),
        *("--set", "data.max_conversations=160", "--set", "train.steps_per_round=2"),
        *("--set", "federation.rounds=6"),
    ]
    whole = sotto("run", *settings, "--set", "run.dir=whole", cwd=tmp_path)
    command = [sys.executable, "-c", "from sottovoce.cli import main; main()", "run", *settings]
    command += ["--set", "run.dir=broken", "--resume", "--json"]
    ledger = tmp_path / "broken" / "ledger.jsonl"
    for wanted in (1, 3, 6, 8):
        child = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while child.poll() is None:
            if ledger.exists() and ledger.read_bytes().count(b"\n") >= wanted:
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
                break
            time.sleep(0.002)
    resumed = sotto("run", *settings, "--set", "run.dir=broken", "--resume", cwd=tmp_path)
    assert resumed["adapter_sha256"] == whole["adapter_sha256"]
    kinds = [record.kind for record in verify(ledger)[0]]
    assert kinds == ["start", "evaluation", *("round", "evaluation") * 6, "end"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "kind",
    [
        ["federation.strategy=scaffold", "train.optimizer=sgd", "federation.clients_per_round=5"],
        ["federation.personal=ditto", "train.optimizer_state=keep"],
    ],
    ids=["scaffold", "ditto"],
)
def test_killed_at_random_moments_it_leaves_the_same_ledger(
    tmp_path: Path, kind: list[str]
) -> None:
    """Real processes, real kills, in one folder, so that every line can be the same."""
    changes = ["run.dir=run", "data.max_conversations=160", "data.validation_fraction=0.2"]
    changes += ["train.steps_per_round=1", "train.max_length=96", "federation.rounds=8", *kind]
    settings = [str(ROOT / "examples/marketplace.toml")]
    for change in changes:
        settings += ["--set", change]
    whole = sotto("run", *settings, cwd=tmp_path)
    ledger = tmp_path / "run" / "ledger.jsonl"
    lines, rows = ledger.read_bytes(), metrics(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "whole")
    command = [sys.executable, "-c", "from sottovoce.cli import main; main()", "run", *settings]
    moments = random.Random(0)
    kills = 0
    for _ in range(6):
        before = ledger.stat().st_size if ledger.exists() else 0
        with subprocess.Popen(
            [*command, "--resume", "--json"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as child:
            while child.poll() is None and (not ledger.exists() or ledger.stat().st_size == before):
                time.sleep(0.002)
            time.sleep(moments.uniform(0, float(str(whole["seconds"])) / 3))
            kills += child.poll() is None
            child.kill()
    assert kills > 1
    resumed = sotto("run", *settings, "--resume", cwd=tmp_path)
    assert resumed["adapter_sha256"] == whole["adapter_sha256"]
    assert resumed["ledger_head"] == whole["ledger_head"]
    assert ledger.read_bytes() == lines
    assert metrics(tmp_path / "run") == rows
    assert sotto("verify", "run", cwd=tmp_path)["complete"] is True


def metrics(run: Path) -> list[dict[str, object]]:
    """The rows of a run's metrics, but for how long they took."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    taken = {"seconds", "stages"}
    return [{key: value for key, value in row.items() if key not in taken} for row in rows]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_interrupted_run_says_how_it_goes_on_and_does(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a round."""
    settings = [
        str(ROOT / "examples/marketplace.toml"),
        *("--set", "data.max_conversations=160", "--set", "run.dir=run"),
        *("--set", "train.steps_per_round=2", "--set", "federation.rounds=6"),
    ]
    child = subprocess.Popen(
        [sys.executable, "-c", "from sottovoce.cli import main; main()", "run", *settings],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, what they start would be deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    ledger = tmp_path / "run" / "ledger.jsonl"
    while not ledger.exists() or ledger.read_bytes().count(b"\n") < 4:
        assert child.poll() is None
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert out == ""
    assert "--resume" in err
    assert "Traceback" not in err
    assert sotto("verify", "run", cwd=tmp_path)["complete"] is False
    assert sotto("run", *settings, "--resume", cwd=tmp_path)["rounds"] == 6
    assert sotto("verify", "run", cwd=tmp_path)["complete"] is True
