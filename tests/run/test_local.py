"""The engine in one process: durable, repeatable, honest about what it was given."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sottovoce.config import Config, make_config
from sottovoce.errors import ConfigError, SottovoceError, VerificationError
from sottovoce.model.generate import Sampling
from sottovoce.run.arms import Watch
from sottovoce.run.compare import compare, federation_only, gap_closed
from sottovoce.run.finished import converse, export_run, open_run, score_run, system_message
from sottovoce.run.folder import RunFolder, read_tensors
from sottovoce.run.ledger import verify
from sottovoce.run.local import federate
from sottovoce.run.prepare import Prepared, prepare
from sottovoce.run.rounds import digest
from sottovoce.train import Progress


def settings(folder: Path, **changes: object) -> Config:
    tree: dict[str, object] = {
        "run": {"dir": str(folder), "threads": 1},
        "data": {"path": "marketplace", "max_conversations": 80, "validation_fraction": 0.2},
        "train": {"steps_per_round": 2, "batch_size": 2, "max_length": 64, "learning_rate": 0.01},
        "federation": {"rounds": 3},
        "privacy": {"unit": "none"},
        "evaluate": {"answers_per_client": 1, "max_new_tokens": 8, "resamples": 50},
    }
    for key, value in changes.items():
        section = tree.setdefault(key, {})
        assert isinstance(section, dict) and isinstance(value, dict)
        section.update(value)
    return make_config(tree, place="test")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(settings(tmp_path_factory.mktemp("run")))


def within(prepared: Prepared, folder: Path, **changes: object) -> Prepared:
    """The same data and model under a changed configuration."""
    return replace(prepared, config=settings(folder, **changes))


class Killed(BaseException):
    """Stands for a kill: no handler of the package may catch it."""


def test_a_run_leaves_all_that_the_design_names(prepared: Prepared, tmp_path: Path) -> None:
    outcome = federate(within(prepared, tmp_path / "run"))
    folder = outcome.folder
    assert folder.config.is_file()
    assert (folder.adapter / "adapter_model.safetensors").is_file()
    assert sorted(path.name for path in (folder.root / "rounds").iterdir()) == [
        f"{index:05d}.safetensors" for index in range(4)
    ]
    records, head = verify(folder.ledger)
    assert head == outcome.ledger_head
    assert [record.kind for record in records] == [
        "start",
        "evaluation",
        *("round", "evaluation") * 3,
        "end",
    ]
    assert digest(read_tensors(folder.adapter / "adapter_model.safetensors")) == (
        outcome.adapter_sha256
    )
    rows = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [row["round"] for row in rows] == [0, 1, 2, 3]
    assert outcome.evaluations[-1].mean < outcome.evaluations[0].mean


@pytest.mark.parametrize(
    ("moment", "keep"),
    [
        pytest.param(0, "keep", marks=pytest.mark.slow),
        (3, "reset"),
        (5, "keep"),
    ],
)
def test_killed_and_resumed_ends_with_the_same_bits(
    prepared: Prepared, tmp_path: Path, moment: int, keep: str
) -> None:
    changes = {
        "train": {"optimizer_state": keep},
        "federation": {"strategy": {"name": "fedavg", "server": {"name": "sgd", "momentum": 0.5}}},
    }
    whole = federate(within(prepared, tmp_path / "whole", **changes))
    steps = []

    def kill(_arm: str, _round: int, _progress: object) -> None:
        steps.append(1)
        if len(steps) > moment:
            raise Killed

    broken = within(prepared, tmp_path / "broken", **changes)
    with pytest.raises(Killed):
        federate(broken, watch=Watch(on_step=kill))
    resumed = federate(broken, resume=True)
    assert resumed.adapter_sha256 == whole.adapter_sha256
    assert resumed.weights.tobytes() == whole.weights.tobytes()
    assert [e.loss for e in resumed.evaluations] == [e.loss for e in whole.evaluations]
    # Only the configuration's own path differs between the two ledgers.
    tail = [record.payload for record in verify(resumed.folder.ledger)[0][1:]]
    assert tail == [record.payload for record in verify(whole.folder.ledger)[0][1:]]


def test_resuming_a_finished_run_changes_nothing(prepared: Prepared, tmp_path: Path) -> None:
    run = within(prepared, tmp_path / "run")
    first = federate(run)
    again = federate(run, resume=True)
    assert (again.ledger_head, again.adapter_sha256) == (first.ledger_head, first.adapter_sha256)
    assert again.tokens == 0


def test_a_run_folder_is_never_overwritten(prepared: Prepared, tmp_path: Path) -> None:
    run = within(prepared, tmp_path / "run")
    head = federate(run).ledger_head
    with pytest.raises(ConfigError, match="holds a run already"):
        federate(run)
    assert verify(RunFolder(tmp_path / "run").ledger)[1] == head


def test_resuming_with_another_configuration_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    federate(within(prepared, tmp_path / "run"))
    other = within(prepared, tmp_path / "run", federation={"rounds": 4})
    with pytest.raises(ConfigError, match="configuration differs"):
        federate(other, resume=True)


def test_altered_files_are_noticed(prepared: Prepared, tmp_path: Path) -> None:
    run = within(prepared, tmp_path / "run")
    folder = federate(run).folder
    weights = folder.weights(3)
    original = weights.read_bytes()
    for place in (len(original) - 1, len(original) // 2):
        damaged = bytearray(original)
        damaged[place] ^= 1
        weights.write_bytes(damaged)
        with pytest.raises(VerificationError):
            federate(run, resume=True)
        with pytest.raises(VerificationError):
            open_run(folder.root)
    weights.write_bytes(original)
    state = folder.state(3)
    state.write_bytes(state.read_bytes()[:-1] + b"\x01")
    with pytest.raises(VerificationError):
        federate(run, resume=True)


def test_the_wire_holds_exactly_what_the_sum_was_made_of(
    prepared: Prepared, tmp_path: Path
) -> None:
    run = within(prepared, tmp_path / "run", federation={"rounds": 1})
    outcome = federate(run, wire=tmp_path / "wire")
    payloads = [read_tensors(p) for p in sorted((tmp_path / "wire/round-00001").iterdir())]
    assert len(payloads) == len(prepared.parties)
    weight = sum(len(party.train) for party in prepared.parties)
    start, end = (read_tensors(outcome.folder.weights(index)) for index in (0, 1))
    for name in start:
        total = sum(1 * payload[name] for payload in payloads)
        mean = (total.astype(np.float64) / (weight * 2.0**32)).astype(np.float32)
        np.testing.assert_array_equal(end[name], start[name] + mean)
    assert outcome.bytes_up_per_client == sum(value.nbytes for value in payloads[0].values())


def test_a_cohort_is_drawn_without_replacement_and_stands_in_the_ledger(
    prepared: Prepared, tmp_path: Path
) -> None:
    run = within(prepared, tmp_path / "run", federation={"clients_per_round": 3})
    records, _ = verify(federate(run).folder.ledger)
    cohorts = [record.payload["clients"] for record in records if record.kind == "round"]
    assert all(len(set(cohort)) == len(cohort) == 3 for cohort in cohorts)
    assert len({tuple(cohort) for cohort in cohorts}) > 1


def test_one_client_alone_is_the_federation_of_one(prepared: Prepared, tmp_path: Path) -> None:
    lonely = replace(prepared, parties=prepared.parties[:1])
    done = compare(
        replace(lonely, config=settings(tmp_path / "run", train={"optimizer_state": "keep"})),
        watch=Watch,
    )
    # The centralised arm has a stream of batches of its own, so only these two can be equal.
    assert done.loss["federated"] == pytest.approx(done.loss["local"], abs=1e-6)


def test_comparison_tunes_every_arm_on_the_same_grid(prepared: Prepared, tmp_path: Path) -> None:
    run = within(
        prepared,
        tmp_path / "run",
        federation={"rounds": 1},
        compare={"learning_rates": [1e-6, 0.01]},
    )
    done = compare(run, watch=Watch)
    assert dict(done.learning_rates) == {"local": 0.01, "federated": 0.01, "centralised": 0.01}
    assert all(value is not None for value in done.loss.values())


@pytest.mark.parametrize(
    ("train", "drawn"),
    [
        ({"steps_per_round": 2, "batch_size": 2}, None),
        ({"steps_per_round": 1, "batch_size": 8}, 4),
        ({"steps_per_round": None, "epochs_per_round": 1.0, "batch_size": 2}, 4),
    ],
    ids=["steps", "batches larger than a client", "epochs"],
)
def test_all_arms_read_the_same_conversations_equally_often(
    prepared: Prepared, tmp_path: Path, train: dict[str, object], drawn: int | None
) -> None:
    """Of eight clients with four conversations of one length, in two rounds."""
    one = prepared.parties[0].train[0]
    parties = tuple(replace(party, train=(one,) * 4) for party in prepared.parties)
    federation = {"rounds": 2} | ({} if drawn is None else {"clients_per_round": drawn})
    few = {"evaluate_every": 2, "evaluate_clients": 8}
    run = within(prepared, tmp_path / "run", federation=federation, train=train, run=few)
    read = dict.fromkeys(("federated", "local", "centralised"), 0)

    def count(arm: str, _round: int, progress: Progress) -> None:
        read[arm] += progress.tokens

    compare(replace(run, parties=parties), watch=lambda arm: Watch(arm, on_step=count))
    assert read["local"] == read["federated"] == read["centralised"] > 0


def test_a_client_that_nobody_judges_does_not_train_alone(
    prepared: Prepared, tmp_path: Path
) -> None:
    done = compare(
        within(prepared, tmp_path / "run", run={"evaluate_clients": 2, "evaluate_every": 3}),
        watch=Watch,
    )
    assert [len(curve[-1].loss) for curve in done.curves.values()] == [2, 2, 2]


def test_the_other_arms_may_have_a_recipe_of_their_own(prepared: Prepared, tmp_path: Path) -> None:
    own = settings(tmp_path).train.model_copy(update={"optimizer": "sgd", "learning_rate": 1e-9})
    run = within(
        prepared, tmp_path / "run", run={"evaluate_every": 3}, compare={"train": own.model_dump()}
    )
    done = compare(run, watch=Watch)
    assert dict(done.learning_rates) == {"local": 1e-9, "federated": 0.01, "centralised": 1e-9}
    assert done.loss["local"] == pytest.approx(done.loss["base"], abs=1e-6)
    assert open_run(done.outcome.folder.root).config.compare.train == own


def test_a_recipe_that_reads_otherwise_is_refused(tmp_path: Path) -> None:
    own = settings(tmp_path).train.model_copy(update={"batch_size": 3})
    with pytest.raises(ConfigError, match=r"compare\.train\.batch_size is 3 and train"):
        settings(tmp_path, compare={"train": own.model_dump()})


def test_without_comparison_the_other_arms_are_null(prepared: Prepared, tmp_path: Path) -> None:
    done = federation_only(within(prepared, tmp_path / "run"), watch=Watch)
    assert done.loss["local"] is None
    assert done.gap[0] is None
    assert "--compare" in done.gap[1]


@pytest.mark.parametrize(
    ("base", "local", "centralised", "share"),
    [(4.0, 2.0, 1.0, 0.5), (2.0, 2.0, 1.0, None), (4.0, 2.0, 1.91, None), (4.0, 2.0, 1.9, 5.0)],
)
def test_gap_closed_is_null_where_it_means_nothing(
    base: float, local: float, centralised: float, share: float | None
) -> None:
    loss = {"base": base, "local": local, "federated": 1.5, "centralised": centralised}
    found, reason = gap_closed(loss)
    assert found == (None if share is None else pytest.approx(share))
    assert (reason == "") == (share is not None)


def test_a_finished_run_chats_scores_and_exports(prepared: Prepared, tmp_path: Path) -> None:
    federate(within(prepared, tmp_path / "run"))
    run = open_run(tmp_path / "run")
    talk = converse(run, "You are the assistant of Lumora Home.", Sampling(max_new_tokens=6))
    first, second = talk("Hello"), talk("And then?")
    assert isinstance(first, str)
    assert isinstance(second, str)
    assert system_message(run, prepared.parties[-1].name) == (
        prepared.parties[-1].held_out[0].messages[0].content
    )
    losses, answers = score_run(run)
    records, _ = verify(run.stored.folder.ledger)
    last = [record for record in records if record.kind == "evaluation"][-1].payload["loss"]
    for name, loss in last.items():
        assert losses.loss.clients[name].value == pytest.approx(loss, rel=1e-5)
    assert answers is not None
    assert answers.answers == len(prepared.parties)
    assert "adapter_config.json" in export_run(run, "peft", tmp_path / "peft")
    assert "model.safetensors" in export_run(run, "merged", tmp_path / "merged")
    with pytest.raises(ConfigError, match="peft or merged"):
        export_run(run, "gguf", tmp_path / "other")


def test_tool_calls_stay_calls_in_a_conversation() -> None:
    """As text they would be disarmed, and the model would read its own call as prose."""
    heard: list[list[dict[str, object]]] = []

    class Scripted:
        def answer(self, conversations: list[list[dict[str, object]]], _: Sampling) -> list[str]:
            heard.append(conversations[0])
            return ['Let me see.<|call|>{"name":"find","arguments":{"id":"7"}}']

    talk = converse(Scripted(), "Be brief.", Sampling())  # type: ignore[arg-type]
    assert talk("Where is 7?") == 'Let me see. [calls find {"id":"7"}]'
    talk("And?")
    system, question, answer, again = heard[1]
    assert [turn["role"] for turn in (system, question, again)] == ["system", "user", "user"]
    assert answer["content"] == "Let me see."
    (call,) = answer["tool_calls"]  # type: ignore[misc]
    assert call["function"] == {"name": "find", "arguments": '{"id":"7"}'}


def test_a_long_conversation_is_refused_with_its_length(prepared: Prepared, tmp_path: Path) -> None:
    federate(within(prepared, tmp_path / "run", federation={"rounds": 1}))
    talk = converse(open_run(tmp_path / "run"), None, Sampling(max_new_tokens=6))
    with pytest.raises(ConfigError, match="Allowed: 1024 together"):
        talk("word " * 2000)


def test_a_disk_that_fills_up_leaves_a_run_that_can_go_on(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = federate(within(prepared, tmp_path / "whole"))
    run = within(prepared, tmp_path / "run")
    real = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == "00002.safetensors" and "rounds" in str(target):
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SottovoceError, match="No space left"):
        federate(run)
    monkeypatch.undo()
    assert not list((tmp_path / "run").rglob("*.part"))
    assert federate(run, resume=True).adapter_sha256 == whole.adapter_sha256
    shutil.rmtree(tmp_path / "run")


def test_fedprox_holds_clients_near_what_they_received(prepared: Prepared, tmp_path: Path) -> None:
    """Through the whole run: nothing at zero, and the stronger the pull, the shorter the way."""
    norms, bits = [], []
    for place, strategy in enumerate(
        [{"name": "fedavg"}, *({"name": "fedprox", "mu": mu} for mu in (0.0, 1.0, 30.0))]
    ):
        run = within(
            prepared,
            tmp_path / str(place),
            federation={"rounds": 1, "strategy": strategy},
            train={"optimizer": "sgd", "learning_rate": 0.02, "steps_per_round": 6},
        )
        outcome = federate(run)
        bits.append(outcome.adapter_sha256)
        start = run.model.initial(run.config.seed)
        norms.append(float(np.linalg.norm(outcome.weights - start)))
    assert bits[0] == bits[1]
    assert norms[1] > 1.02 * norms[2] > 1.1 * norms[3]
