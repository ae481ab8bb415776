"""Private runs as people meet them at the command line: what is printed, refused and left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sottovoce import cli
from sottovoce.privacy import gaussian
from sottovoce.privacy.statement import number

Sotto = Callable[..., tuple[int, str, str]]

CONFIG = """
[run]
threads = 1
evaluate_every = 9
evaluate_clients = 1
[model.lora]
rank = 1
targets = ["q_proj"]
[data]
path = "talks.jsonl"
scrub = "off"
owner_column = "who"
client_column = "shop"
instruction_column = "question"
response_column = "answer"
validation_fraction = 0.25
[train]
steps_per_round = 1
batch_size = 4
max_length = 64
learning_rate = 0.01
[federation]
rounds = 2
[privacy]
"""
UNITS = {
    "client": 'unit = "client"\nnoise_multiplier = 1.0\ndelta = 1e-3\nclip_norm = 1.0\n',
    "owner": 'unit = "owner"\nepsilon = 8.0\ndelta = 1e-3\nclip_norm = 1.0\n',
    "example": 'unit = "example"\nepsilon = 8.0\ndelta = 1e-3\nclip_norm = 1.0\n',
    "none": 'unit = "none"\n',
}
ALL = ["--set", "train.batch_size=64"]
"""Everyone is in every step: the accountant is quick without sampling."""


def write_talks(folder: Path, *, owners: bool = True, shift: int = 0) -> None:
    """Three shops with four people each, two conversations a person."""
    rows = []
    for shop in ("north", "south", "west"):
        for place in range(8):
            row = {
                "shop": shop,
                "question": f"When does the {shop} shop open on day {place + shift}?",
                "answer": f"At {place + 1} o'clock.",
            }
            rows.append(row | ({"who": f"{shop} {place // 2}"} if owners else {}))
    text = "\n".join(json.dumps(row) for row in rows)
    (folder / "talks.jsonl").write_text(text + "\n")


@pytest.fixture
def sotto(sotto: Sotto, tmp_path: Path) -> Sotto:
    """Run a command in a folder with data and a configuration for every unit."""
    write_talks(tmp_path)
    for unit, privacy in UNITS.items():
        (tmp_path / f"{unit}.toml").write_text(CONFIG + privacy)
    return sotto


def one_object(out: str) -> dict[str, Any]:
    """The last line of standard output, which must be one JSON object without NaN."""

    def refuse(constant: str) -> object:
        raise AssertionError(f"{constant} is no JSON")

    loaded = json.loads(out.splitlines()[-1], parse_constant=refuse)
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("unit", ["client", "owner", "example"])
def test_a_private_run_says_what_it_costs_before_and_after(
    sotto: Sotto, tmp_path: Path, unit: str
) -> None:
    code, out, err = sotto("run", f"{unit}.toml", "--json", *ALL)
    assert code == 0, err
    assert out.count("\n") == 1
    facts = one_object(out)
    told = facts["privacy"]
    assert {
        *("unit", "epsilon", "delta", "accountant", "noise_multiplier", "noise_std"),
    } <= set(told)
    assert told["unit"] == unit
    assert 0 < told["epsilon"] <= (8.0 if unit != "client" else 1e3)
    assert "differential privacy for" in err
    assert ("All 3 clients take part in all 2 rounds" in err) == (unit == "client")
    if unit == "client":
        assert '"owner"' in err
        assert '"example"' in err
    else:
        assert set(told["clients"]) == {"north", "south", "west"}
        # Two conversations a person: for single conversations that is more than three of them.
        assert told["units_of_person"] == (1 if unit == "owner" else 2)
        assert (
            told["epsilon_of_a_person_at_all"] > (1.5 if unit == "owner" else 3) * told["epsilon"]
        )
    code, out, err = sotto("verify", str(facts["run_dir"]), "--json")
    assert (code, one_object(out)["ok"]) == (0, True), err
    code, out, err = sotto("chat", str(facts["run_dir"]), "--once", "Hi", "--max-new-tokens", "2")
    assert code == 0, err
    code, out, err = sotto("run", f"{unit}.toml", "--json", "--resume", *ALL)
    assert code == 0, err
    assert one_object(out)["ledger_head"] == facts["ledger_head"]


def test_without_owners_nothing_is_claimed_for_a_person(sotto: Sotto, tmp_path: Path) -> None:
    write_talks(tmp_path, owners=False)
    text = (tmp_path / "example.toml").read_text().replace('owner_column = "who"\n', "")
    (tmp_path / "example.toml").write_text(text)
    code, out, err = sotto("run", "example.toml", "--json", *ALL)
    assert code == 0, err
    assert one_object(out)["privacy"]["epsilon_of_a_person_at_all"] is None
    assert "No bound for a person" in err


def test_a_run_without_privacy_ends_the_count_of_its_text(sotto: Sotto, tmp_path: Path) -> None:
    code, out, err = sotto("run", "none.toml", "--json")
    assert code == 0, err
    assert one_object(out)["privacy"]["epsilon_of_data"] is None
    code, out, err = sotto("run", "client.toml", "--json")
    assert code == 0, err
    told = one_object(out)["privacy"]
    assert told["epsilon_of_data"] is None
    assert "without privacy" in told["epsilon_of_data_reason"]
    assert told["epsilon"] > 0
    code, out, err = sotto("run", "client.toml", "--resume")
    assert code == 0, err
    assert "on the same text, together: no bound, since a run without privacy" in out


def test_the_seeded_generator_is_called_no_privacy(sotto: Sotto) -> None:
    seeded = ["--set", "privacy.generator=seeded_for_tests"]
    code, out, err = sotto("run", "client.toml", "--json", *seeded)
    assert code == 0, err
    assert one_object(out)["privacy"]["epsilon"] is None
    assert "Privacy: none. The noise was seeded" in err
    assert "differential privacy for" not in err


def test_a_target_that_was_used_up_ends_with_three_and_a_model(
    sotto: Sotto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = ["--set", "privacy.epsilon=8.0"]
    text = (tmp_path / "client.toml").read_text().replace("noise_multiplier = 1.0", "epsilon = 8.0")
    (tmp_path / "client.toml").write_text(text)

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(gaussian, "add_noise", die)
        patch.setattr("sys.argv", ["sotto", "run", "client.toml", *target])
        with pytest.raises(Killed):
            cli.main()
    code, out, err = sotto("run", "client.toml", "--resume", "--json", *target)
    assert code == 3, err
    assert out == ""
    assert "the privacy budget ended after 1 of 2 rounds" in err
    assert "Traceback" not in err
    code, out, err = sotto("verify", "runs/client", "--json")
    assert (code, one_object(out)["complete"], one_object(out)["rounds"]) == (0, True, 1), err
    code, out, err = sotto("chat", "runs/client", "--once", "Hello", "--max-new-tokens", "2")
    assert code == 0, err


def test_a_policy_refuses_with_its_rule_and_fails_closed(sotto: Sotto, tmp_path: Path) -> None:
    policy = ["--set", "privacy.policy=site.toml"]
    code, out, err = sotto("run", "client.toml", "--json", *policy)
    assert (code, out) == (2, ""), err
    assert "site.toml cannot be read" in err
    (tmp_path / "site.toml").write_text('weakest_unit = "owner"\n')
    code, out, err = sotto("run", "client.toml", "--json", "--set", "run.dir=other", *policy)
    assert (code, out) == (2, ""), err
    assert "is missing" in err
    (tmp_path / "site.toml").write_text(
        'weakest_unit = "client"\nmax_epsilon_per_run = 1.0\nmax_epsilon_per_data_set = 2.0\n'
        'max_delta = 1e-3\nmin_cohort = 3\nsecure_aggregation = false\ntrust = "server"\n'
        f'tasks = ["chat"]\nbase_models = ["{"0" * 64}"]\n'
    )
    code, out, err = sotto("run", "client.toml", "--json", "--set", "run.dir=third", *policy)
    assert (code, out) == (3, ""), err
    assert "the site's policy has max_epsilon_per_run = 1.0" in err
    assert "base_models" in err
    assert not list(tmp_path.rglob("privacy-budget.jsonl"))


# The same data under other settings


def test_the_same_file_is_the_same_data_whatever_the_recipe(sotto: Sotto, tmp_path: Path) -> None:
    """Else a budget per data set is reset by any other seed."""
    for place, change in enumerate(("seed=0", "seed=1", "train.max_length=24")):
        more = ("--set", f"run.dir=runs/{place}", "--set", change)
        code, _, err = sotto("run", "client.toml", *more)
        assert code == 0, err
    lines = (tmp_path / "runs" / "privacy-budget.jsonl").read_text().splitlines()
    payloads = [json.loads(line)["payload"] for line in lines]
    found = [{row[0] for row in one["rows"]} for one in payloads if "rows" in one]
    assert len(found) == 3
    assert found[0] == found[1] == found[2]


def test_a_file_that_was_moved_is_the_same_text_and_the_result_says_what_it_cost(
    sotto: Sotto, tmp_path: Path
) -> None:
    """Else a copy of the data under another name starts a new budget."""
    (tmp_path / "moved.jsonl").write_bytes((tmp_path / "talks.jsonl").read_bytes())
    costs = []
    for place, more in enumerate(([], ["--set", "data.path=moved.jsonl"])):
        settings = ["--set", f"run.dir=runs/{place}", *more]
        code, out, err = sotto("run", "client.toml", "--json", *settings)
        assert code == 0, err
        costs.append(one_object(out)["privacy"])
    assert costs[0]["epsilon_of_data"] == pytest.approx(costs[0]["epsilon"])
    assert costs[0]["epsilon_of_data_reason"] == ""
    code, out, err = sotto("run", "client.toml", "--resume", "--set", "run.dir=runs/0")
    assert code == 0, err
    assert f"on the same text, together: ε = {number(costs[1]['epsilon_of_data'])}." in out
    assert costs[1]["epsilon_of_data"] > 1.2 * costs[1]["epsilon"]


# Wrong input


def sets(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


WRONG = {
    "no owners": ("owner", [], "has no owner"),
    "delta too large": ("client", ["privacy.delta=0.5"], "privacy.delta is 0.5 with 3 clients"),
    "delta one": ("client", ["privacy.delta=1.0"], "privacy.delta"),
    "delta zero": ("client", ["privacy.delta=0"], "privacy.delta"),
    "clip zero": ("client", ["privacy.clip_norm=0"], "privacy.clip_norm"),
    "clip negative": ("client", ["privacy.clip_norm=-1.0"], "privacy.clip_norm"),
    "clip nan": ("client", ["privacy.clip_norm=nan"], "privacy.clip_norm"),
    "clip infinite": ("client", ["privacy.clip_norm=inf"], "privacy.clip_norm"),
    "clip table": ("client", ["privacy.clip_norm.initial=nan"], "privacy.clip_norm"),
    "both": ("client", ["privacy.epsilon=1.0"], "and not both"),
    "epsilon zero": ("owner", ["privacy.epsilon=0"], "privacy.epsilon"),
    "epsilon nan": ("owner", ["privacy.epsilon=nan"], "privacy.epsilon"),
    "no noise": ("client", ["privacy.noise_multiplier=0.001"], "hides nothing"),
    "unknown key": ("client", ["privacy.clipnorm=1"], "Did you mean clip_norm?"),
    "unknown unit": ("client", ["privacy.unit=person"], "privacy.unit"),
    "none with noise": (
        "none",
        ["privacy.noise_multiplier=1.0"],
        "privacy.noise_multiplier is set",
    ),
    "none with trust": ("none", ["privacy.trust=none"], "privacy.trust is set"),
    "weights": ("client", ["federation.weights=examples"], "federation.weights"),
    "flora": ("client", ["federation.strategy=flora"], "reads every client's update by itself"),
    "trust none": (
        "client",
        ["privacy.trust=none", "privacy.mechanism=skellam"],
        "secure.aggregation",
    ),
    "trust without noise": ("client", ["privacy.trust=none"], "privacy.mechanism"),
    "fixed": ("client", ["privacy.sampling=fixed"], "Poisson"),
    "shuffled": ("client", ["privacy.sampling=shuffled"], "Poisson"),
    "minimum": ("client", ["federation.minimum_clients=2"], "federation.minimum_clients is 2"),
    "asynchronous": (
        "client",
        ["federation.asynchronous.buffer=1", "federation.asynchronous.concurrency=2"],
        "no Poisson sample",
    ),
    "personal": ("owner", ["federation.personal=ditto"], "federation.personal"),
    "drop": ("client", ["federation.on_divergence=drop"], "federation.on_divergence"),
    "tuning": ("client", ["compare.learning_rates=[0.1]"], "compare.learning_rates"),
    "owner cap": ("client", ["privacy.examples_per_owner=3"], "privacy.examples_per_owner is set"),
    "pretrain": ("owner", ["task=pretrain", "data.format=text"], 'task is "pretrain"'),
    "losses": ("client", ["privacy.loss_noise_multiplier=0.5"], "privacy.loss_noise_multiplier"),
    "count noise": (
        "client",
        ["privacy.clip_norm.initial=1.0", "privacy.clip_norm.count_noise_std=0.1"],
        "count_noise_std",
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_input_is_one_sentence_and_leaves_nothing(
    sotto: Sotto, tmp_path: Path, name: str
) -> None:
    unit, changes, said = WRONG[name]
    if name == "no owners":
        write_talks(tmp_path, owners=False)
        text = (tmp_path / "owner.toml").read_text().replace('owner_column = "who"\n', "")
        (tmp_path / "owner.toml").write_text(text)
    if name == "pretrain":
        text = re.sub(r"\w+_column = .*\n", "", (tmp_path / "owner.toml").read_text())
        (tmp_path / "owner.toml").write_text(text)
    if any(change.startswith("privacy.clip_norm.") for change in changes):
        text = (tmp_path / f"{unit}.toml").read_text().replace("clip_norm = 1.0\n", "")
        (tmp_path / f"{unit}.toml").write_text(text)
    code, out, err = sotto("run", f"{unit}.toml", "--json", *sets(*changes))
    assert (code, out) == (2, ""), err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert last.endswith((".", "?"))
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_an_owner_at_more_clients_than_declared_is_found(sotto: Sotto, tmp_path: Path) -> None:
    text = (tmp_path / "talks.jsonl").read_text().replace('"who": "west', '"who": "south')
    (tmp_path / "talks.jsonl").write_text(text)
    cap = ["--set", "privacy.max_sites_per_owner=1", "--set", "data.validation_fraction=0.1"]
    code, out, err = sotto("run", "owner.toml", "--json", *ALL, *cap)
    assert (code, out) == (2, ""), err
    assert "one owner is at 2 clients" in err
    assert not (tmp_path / "runs").exists()


# Real kills


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("unit", ["client", "owner"])
def test_killed_again_and_again_it_never_says_less_than_it_spent(tmp_path: Path, unit: str) -> None:
    write_talks(tmp_path)
    text = CONFIG.replace("rounds = 2", "rounds = 6") + UNITS["client"].replace("client", unit)
    (tmp_path / "run.toml").write_text(text + 'generator = "seeded_for_tests"\n')
    main = [sys.executable, "-c", "from sottovoce.cli import main; main()"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(folder: str) -> list[str]:
        return [*main, "run", "run.toml", "--resume", "--json", "--set", f"run.dir={folder}"]

    def whole(folder: str) -> dict[str, Any]:
        done = subprocess.run(
            run(folder), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return one_object(done.stdout)

    undisturbed = whole("whole")
    ledger = tmp_path / "broken" / "ledger.jsonl"
    kills = 0
    for wanted in (3, 6, 9, 12, 15):
        with subprocess.Popen(
            run("broken"),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as child:
            while child.poll() is None:
                if ledger.exists() and ledger.read_bytes().count(b"\n") >= wanted:
                    kills += 1
                    child.send_signal(signal.SIGKILL)
                    child.wait()
                time.sleep(0.002)
    resumed = whole("broken")
    assert kills > 2
    assert resumed["adapter_sha256"] == undisturbed["adapter_sha256"]
    assert resumed["privacy"]["releases"] >= undisturbed["privacy"]["releases"]
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    charges = [row["payload"]["round"] for row in rows if row["kind"] == "charge"]
    rounds = [row["payload"]["round"] for row in rows if row["kind"] == "round"]
    assert rounds == list(range(6))
    assert all(charges.count(index) >= 1 for index in rounds)
