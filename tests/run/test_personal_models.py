"""Personal models: every client's gain, its file, its export; and rules that change the base."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from sottovoce.config import Config, make_config
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.model.generate import Sampling
from sottovoce.model.peft_format import read_peft
from sottovoce.run.arms import Watch, evaluate_parties
from sottovoce.run.check import check_run
from sottovoce.run.finished import converse, export_run, open_run, score_run
from sottovoce.run.folder import RunFolder, read_tensors
from sottovoce.run.local import federate
from sottovoce.run.prepare import Prepared, prepare
from sottovoce.update import flatten


def settings(folder: Path, **federation: object) -> Config:
    return make_config(
        {
            "run": {"dir": str(folder), "threads": 1, "evaluate_every": 2},
            "data": {"path": "marketplace", "max_conversations": 120, "validation_fraction": 0.3},
            "train": {"batch_size": 2, "max_length": 96, "steps_per_round": 3},
            "federation": {"rounds": 2, **federation},
            "privacy": {"unit": "none"},
            "evaluate": {"answers_per_client": 0, "resamples": 20},
        },
        place="test",
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    whole = prepare(settings(tmp_path_factory.mktemp("run")))
    return replace(whole, parties=whole.parties[:2])


def within(prepared: Prepared, folder: Path, **federation: object) -> Prepared:
    return replace(prepared, config=settings(folder, **federation))


@pytest.mark.parametrize(
    "federation",
    [
        {"personal": {"name": "finetune", "epochs": 2.0, "learning_rate": 0.005}},
        {"personal": {"name": "ditto", "pull": 0.01}},
        {"strategy": "fedsa"},
        {"strategy": {"name": "fedper", "private": ["*.layers.3.*"]}},
    ],
    ids=["finetune", "ditto", "fedsa", "fedper"],
)
def test_every_client_ends_with_a_model_of_its_own(
    prepared: Prepared, tmp_path: Path, federation: dict[str, object]
) -> None:
    run = within(prepared, tmp_path / "run", **federation)
    outcome = federate(run)
    gains = outcome.gains
    assert gains is not None
    assert list(gains) == [party.name for party in run.parties]
    shared = evaluate_parties(run, lambda _: outcome.weights, run.parties, 2)
    finished = open_run(tmp_path / "run")
    seen = set()
    for place, party in enumerate(run.parties):
        tensors = read_tensors(outcome.folder.personal(place))
        row = flatten(tensors, run.model.layout)
        own = evaluate_parties(run, lambda _, row=row: row, [party], 2).mean
        gain = gains[party.name]
        assert (gain.shared, gain.personal) == (shared.loss[party.name], own)
        assert gain.gain == gain.shared - gain.personal
        # Ditto's own model sees as little as the shared one, and nobody else's text.
        assert gain.gain > 0 or federation.get("personal", {}).get("name") == "ditto"
        written = export_run(finished.of_client(party.name), "peft", tmp_path / str(place))
        assert "adapter_model.safetensors" in written
        exported, _ = read_peft(tmp_path / str(place))
        assert flatten(exported, run.model.layout).tobytes() == row.tobytes()
        seen.add(row.tobytes())
    assert len(seen) == len(run.parties)
    assert check_run(tmp_path / "run").complete


def test_what_is_private_differs_and_what_is_shared_does_not(
    prepared: Prepared, tmp_path: Path
) -> None:
    outcome = federate(within(prepared, tmp_path / "run", strategy="fedsa"), wire=tmp_path / "w")
    one, other = (read_tensors(outcome.folder.personal(place)) for place in (0, 1))
    for name, value in one.items():
        assert (value.tobytes() == other[name].tobytes()) == (".lora_A." in name)
    for path in (tmp_path / "w").rglob("*.safetensors"):
        assert all(".lora_A." in name for name in load_file(path))


def test_a_client_that_never_took_part_has_the_shared_model(
    prepared: Prepared, tmp_path: Path
) -> None:
    run = within(prepared, tmp_path / "run", rounds=1, clients_per_round=1, personal="ditto")
    outcome = federate(run)
    gains = outcome.gains
    assert gains is not None
    assert sorted(gain.gain != 0 for gain in gains.values()) == [False, True]


def test_asking_for_a_personal_model_that_is_not_there(prepared: Prepared, tmp_path: Path) -> None:
    federate(within(prepared, tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"no personal models.*finetune"):
        open_run(tmp_path / "run").of_client(prepared.parties[0].name)
    federate(within(prepared, tmp_path / "own", strategy="fedsa"))
    with pytest.raises(ConfigError, match=prepared.parties[0].name):
        open_run(tmp_path / "own").of_client("nobody")
    path = RunFolder(tmp_path / "own").personal(1)
    path.write_bytes(RunFolder(tmp_path / "own").personal(0).read_bytes())
    with pytest.raises(VerificationError, match="not what the ledger says"):
        open_run(tmp_path / "own").of_client(prepared.parties[1].name)


@pytest.mark.parametrize("rule", ["fedex", "flora"])
def test_a_rule_that_changes_the_base_is_whole_in_chat_score_and_export(
    prepared: Prepared, tmp_path: Path, rule: str
) -> None:
    run = within(prepared, tmp_path / "run", strategy=rule)
    outcome = federate(run)
    finished = open_run(tmp_path / "run")
    assert finished.residual
    # The score of the reopened run is that of the run itself, and so is the merged model's.
    judged = outcome.evaluations[-1].loss
    losses, _ = score_run(finished)
    scored = {name: estimate.value for name, estimate in losses.loss.clients.items()}
    for name, loss in judged.items():
        assert scored[name] == pytest.approx(loss, rel=1e-5)
    assert isinstance(converse(finished, None, Sampling(max_new_tokens=2))("Hello"), str)
    with pytest.raises(ConfigError, match=rf"{rule} changed the base model.*--to merged"):
        export_run(finished, "peft", tmp_path / "peft")
    assert not (tmp_path / "peft").exists()
    export_run(finished, "merged", tmp_path / "merged")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    written = load_file(outcome.folder.adapter / "model.safetensors")
    assert merged.keys() == written.keys()
    for name, value in merged.items():
        np.testing.assert_array_equal(value, written[name])
    # The merged model has no adapter; as a base of its own it must give the same loss.
    config = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert config["model_type"]
    again = run.config.model.model_copy(update={"path": str(tmp_path / "merged")})
    base = prepare(run.config.model_copy(update={"model": again}))
    idle = replace(base, parties=run.parties)
    found = evaluate_parties(idle, lambda _: idle.model.initial(run.config.seed), run.parties, 2)
    for name, loss in judged.items():
        assert found.loss[name] == pytest.approx(loss, rel=1e-4)


def test_training_leaves_the_base_model_of_the_caller_alone(
    prepared: Prepared, tmp_path: Path
) -> None:
    first = federate(within(prepared, tmp_path / "one", strategy="fedex"))
    again = federate(within(prepared, tmp_path / "two", strategy="fedex"))
    assert first.adapter_sha256 == again.adapter_sha256
    evaluated = federate(within(prepared, tmp_path / "avg"), watch=Watch())
    assert evaluated.evaluations[0].loss == first.evaluations[0].loss


@pytest.mark.parametrize(
    ("private", "message"),
    [
        (["*.lora_C.*"], r"'\*.lora_C.\*', which fits no tensor.*base_model"),
        (["*.layers.3.*", "*.layer.2.*"], r"'\*.layer.2.\*', which fits no tensor"),
        (["*"], "fits every tensor, so nothing would be shared"),
    ],
)
def test_a_pattern_that_keeps_nothing_or_everything_is_refused(
    tmp_path: Path, private: list[str], message: str
) -> None:
    """A slip in a pattern would send what was meant to stay at home."""
    with pytest.raises(ConfigError, match=message):
        prepare(settings(tmp_path, strategy={"name": "fedper", "private": private}))
