"""The command line as a user meets it: one JSON line, exit codes, errors that say how to go on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from pathlib import Path

import pytest

from sottovoce import cli
from sottovoce.privacy.question import Question
from sottovoce.run.finished import Finished

Sotto = Callable[..., tuple[int, str, str]]

SMALL = [
    "--set", "data.max_conversations=96",
    "--set", "data.validation_fraction=0.2",
    "--set", "train.steps_per_round=1",
    "--set", "train.batch_size=2",
    "--set", "train.max_length=96",
    "--set", "federation.rounds=1",
    "--set", "evaluate.answers_per_client=1",
    "--set", "evaluate.max_new_tokens=4",
    "--set", "evaluate.resamples=20",
]  # fmt: skip
MARKETPLACE = Path(__file__).resolve().parents[1] / "examples" / "marketplace.toml"


def one_object(out: str) -> dict[str, object]:
    """The last line of standard output, which must be one JSON object without NaN."""

    def refuse(constant: str) -> object:
        raise AssertionError(f"{constant} is no JSON")

    loaded = json.loads(out.splitlines()[-1], parse_constant=refuse)
    assert isinstance(loaded, dict)
    return loaded


def test_run_eval_chat_and_export_tell_one_story(sotto: Sotto, tmp_path: Path) -> None:
    wire = tmp_path / "wire"
    told = ("--compare", "--json", "--wire", str(wire))
    code, out, err = sotto("run", str(MARKETPLACE), *told, *SMALL)
    assert code == 0, err
    assert out.count("\n") == 1, "standard output holds the object alone"
    facts = one_object(out)
    assert {
        "run_dir", "rounds", "loss", "adapter_sha256", "privacy", "seconds",
        "tokens_per_second", "bytes_up_per_client", "ledger_head",
    } <= set(facts)  # fmt: skip
    assert facts["privacy"] == {
        "unit": "none", "epsilon": None, "delta": None, "accountant": None,
        "noise_multiplier": None, "noise_std": None, "epsilon_rdp": None,
        "epsilon_of_data": None,
    }  # fmt: skip
    run = str(facts["run_dir"])
    assert run == "runs/marketplace"
    assert [path.name for path in sorted(wire.glob("*/*"))] == [
        f"{place:04d}.safetensors" for place in range(8)
    ]

    code, out, err = sotto("eval", run, "--json")
    assert code == 0, err
    scores = one_object(out)
    assert {"loss", "perplexity", "token_accuracy", "rouge_l", "tool_call_accuracy"} <= set(scores)
    assert len(scores["clients"]) == 8  # type: ignore[arg-type]
    code, out, _ = sotto("eval", run)
    assert code == 0
    assert "average" in out

    code, out, err = sotto("chat", run, "--once", "Where is my order?", "--json")
    assert code == 0, err
    assert isinstance(one_object(out)["answer"], str)
    shop = sorted(scores["clients"])[-1]  # type: ignore[call-overload]
    code, out, err = sotto("chat", run, "--client", shop, "--once", "Hello", "--json")
    assert (code, shop in str(one_object(out)["system"])) == (0, True), err
    code, _, err = sotto("chat", run, "--client", "nobody", "--once", "Hello")
    assert (code, f"{shop}." in err) == (2, True), err
    code, out, err = sotto("chat", run, "--base", "--once", "Hello", "--max-new-tokens", "3")
    assert code == 0, err

    code, out, err = sotto("export", run, str(tmp_path / "peft"), "--json")
    assert code == 0, err
    assert "adapter_model.safetensors" in one_object(out)["files"]  # type: ignore[operator]
    code, _, err = sotto("export", run, str(tmp_path / "x"), "--to", "gguf")
    assert (code, "peft or merged" in err) == (2, True)
    assert not (tmp_path / "x").exists()

    code, _, err = sotto("run", str(MARKETPLACE), *SMALL)
    assert code == 2
    assert "holds a run already" in err


def test_init_writes_a_configuration_that_runs(sotto: Sotto) -> None:
    code, out, err = sotto("init", "mine")
    assert code == 0, err
    assert "mine/federation.toml" in out
    code, out, err = sotto("run", "mine/federation.toml", "--json", "--set", "federation.rounds=1")
    assert code == 0, err
    assert one_object(out)["rounds"] == 1
    assert "\nmine/conversations.jsonl " in err, "files are shown from where the user stands"
    code, _, err = sotto("init", "mine")
    assert (code, "exists" in err) == (2, True)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.learning_rat=1", "Did you mean learning_rate?"),
        ("learning_rate=1", "Did you mean train.learning_rate?"),
        ("train.learning_rate=fast", "train.learning_rate is 'fast'"),
        ("train.batch_size=0", "greater than or equal to 1"),
        ("federation.strategy=fedsgdd", "Did you mean fedsgd?"),
        ("federation.strategy.server.lr=1", "federation.strategy.server.name is missing"),
        (
            "federation.strategy.server={name='sgd', rate=1}",
            "federation.strategy.server.rate. Allowed: lr, momentum, name",
        ),
        ("federation.strategy={name='fedprox', moo=1}", "strategy.moo. Allowed: mu, name, server"),
        ("federation.clients=4", "remove one of them"),
        ("privacy.unit=client", "either privacy.epsilon or"),
        ("train", "is no assignment"),
        ("seed.x=1", "is a value, not a section"),
        ("model.path=nowhere", "model.allow_download = true"),
        ("model.lora.targets=['q_prj']", "q_proj"),
        ("data.path=nothing.jsonl", "nothing.jsonl"),
        ("train.max_length=4096", "1024"),
        ("federation.clients_per_round=99", "at most 8"),
    ],
)
def test_wrong_input_gets_one_clear_error(sotto: Sotto, override: str, said: str) -> None:
    code, out, err = sotto("run", str(MARKETPLACE), *SMALL, "--set", override, "--json")
    assert code == 2, (out, err)
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert not Path("runs").exists(), "nothing half-written"


def test_privacy_must_be_written_out(sotto: Sotto, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[data]\npath = "marketplace"\n')
    code, _, err = sotto("run", "c.toml")
    assert code == 2
    assert "privacy.unit is missing; it has no default" in err


@pytest.mark.parametrize("command", ["eval", "chat", "export"])
def test_a_folder_without_a_run_is_named(sotto: Sotto, command: str) -> None:
    more = ["out"] if command == "export" else []
    code, _, err = sotto(command, "nowhere", *more)
    assert (code, "nowhere holds no run" in err) == (2, True)


def test_a_missing_configuration_names_the_way_out(sotto: Sotto) -> None:
    code, _, err = sotto("run", "missing.toml")
    assert (code, "sotto init" in err) == (2, True)


def test_wrong_usage_ends_with_two(sotto: Sotto) -> None:
    assert sotto("run")[0] == 2
    assert sotto("trian")[0] == 2
    assert sotto("--version")[1].startswith("sotto ")


def test_an_interruption_says_what_is_left(sotto: Sotto, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the data: no traceback, the shell's code, and how to go on."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sottovoce.run.prepare.prepare", interrupt)
    code, out, err = sotto("run", str(MARKETPLACE), "--json")
    assert (code, out) == (130, "")
    assert "--resume" in err
    assert "Traceback" not in err


def test_personal_models_are_shown_talked_to_exported_and_verified(
    sotto: Sotto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []
    real = Finished.of_client

    def of_client(self: Finished, client: str) -> Finished:
        used.append(client)
        return real(self, client)

    monkeypatch.setattr(Finished, "of_client", of_client)
    run = str(tmp_path / "run")
    few = ["--set", "federation.rounds=1", "--set", f"run.dir={run}"]
    code, out, err = sotto(
        "run", str(MARKETPLACE), *SMALL, *few, "--set", "federation.strategy=fedsa"
    )
    assert code == 0, err
    assert "each client's own model" in out
    assert "8 of 8 clients gain" in out
    name = re.search(rf"next: sotto chat {re.escape(run)} --client (.+)", out)
    assert name is not None
    client = name.group(1).strip("'")
    code, out, err = sotto("export", run, str(tmp_path / "own"), "--client", client, "--json")
    assert code == 0, err
    assert "adapter_model.safetensors" in json.loads(out)["files"]
    code, out, err = sotto("chat", run, "--client", client, "--once", "Hello", "--json")
    assert code == 0, err
    assert json.loads(out)["answer"]
    assert used == [client, client]
    code, out, err = sotto("export", run, str(tmp_path / "x"), "--client", "nobody")
    assert code == 2
    assert client in err
    code, out, err = sotto("verify", run, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["ok"] is True
    assert facts["records"] == 6
    assert facts["complete"] is True


def test_every_fact_of_a_question_can_be_asked_for_on_the_command_line() -> None:
    asked = {field.name for field in fields(Question)}
    assert set(signature(cli.epsilon).parameters) == asked | {"json"}
