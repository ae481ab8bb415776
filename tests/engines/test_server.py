"""A server against sites that say what they like, or nothing, and against its own end."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick_world import (
    EXAMPLE,
    BrokenDisk,
    Killed,
    QuickWorld,
    Tampering,
    clear,
    killed,
    other,
    parsed,
    quick,
    watched,
)

from sottovoce.codec.roster import new_identity
from sottovoce.config import Config
from sottovoce.errors import ConfigError, RefusedError, SottovoceError, VerificationError
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run.check import check_run
from sottovoce.run.letter import Letter
from sottovoce.run.rounds import digest, model_tensors

Wrong = Callable[[Letter, Letter], Letter | bytes | None]


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, attach: Any, make_client: Any
) -> Iterator[QuickWorld]:
    made = QuickWorld(tmp_path_factory.mktemp("world"), attach, make_client)
    with quick(made):
        yield made
    made.close()


@pytest.fixture
def world(shared: QuickWorld) -> Iterator[QuickWorld]:
    yield shared
    clear(shared)
    for name in shared.names:
        shared.allow(name)


def impatient(world: QuickWorld, run: str = "run", **changes: Any) -> Config:
    return world.config(run, network={"round_deadline_s": 0.15}, **changes)


def rounds_of(world: QuickWorld) -> list[Mapping[str, Any]]:
    return world.records(world.root / "run" / "ledger.jsonl", "round")


class Heard(Tampering):
    """Remembers what the vaults themselves have answered to each question of a round."""

    def __init__(self, world: QuickWorld, wrong: Mapping[str, Wrong]) -> None:
        super().__init__(world, wrong)
        self.updates: dict[tuple[int, str], Letter] = {}

    def _changed(self, site: str, answer: bytes) -> bytes | None:
        found = parsed(answer)
        if found.kind == "update":
            self.updates.setdefault((found.facts["round"], site), found)
        return super()._changed(site, answer)


def exact_mean(answers: list[Letter]) -> dict[str, Any]:
    """The weighted mean of updates, in exact fractions, rounded where the ledger rounds it."""
    each = [
        (folders.parse_tensors(one.parts["update"], Path("x")), one.facts["weight"])
        for one in answers
    ]
    weight = sum(own for _, own in each)
    found = {}
    for name, value in each[0][0].items():
        flat = [
            sum(round(Fraction(float(t[name].flat[i])) * own * 2**32) for t, own in each)
            for i in range(value.size)
        ]
        mean = [np.float32(float(Fraction(entry, weight * 2**32))) for entry in flat]
        found[name] = np.array(mean, np.float32).reshape(value.shape)
    return found


def require_exact(world: QuickWorld, heard: Heard) -> None:
    """Every round moved the model by the exact mean of those that the ledger names."""
    for record in rounds_of(world):
        index = record["round"]
        before, after = (
            folders.read_tensors(world.root / "run" / "rounds" / f"{at:05d}.safetensors")
            for at in (index, index + 1)
        )
        mean = exact_mean([heard.updates[index, site] for site in record["clients"]])
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value + mean[name])


def test_a_round_is_the_exact_mean_of_all(world: QuickWorld) -> None:
    heard = Heard(world, {})
    world.host(world.config("run"), heard)
    assert [len(one["clients"]) for one in rounds_of(world)] == [3, 3]
    require_exact(world, heard)


# Sites that are not there


def test_a_site_absent_past_the_deadline_is_left_out_and_comes_back(world: QuickWorld) -> None:
    heard = Heard(world, {})
    gone = world.names[1]

    def absent(site: str, body: bytes) -> None:
        letter = parsed(body)
        if letter.kind == "round":
            (heard.absent.add if letter.facts["round"] == 1 else heard.absent.discard)(gone)

    heard.before = absent
    config = impatient(world, federation={"rounds": 4})
    world.host(config, heard)
    took = [gone in one["clients"] for one in rounds_of(world)]
    assert took[:2] == [True, False]
    assert took[3]
    assert [gone in one["failed"] for one in rounds_of(world)][:2] == [False, True]
    assert {"site": gone, "stage": "round"} in world.told("late")
    require_exact(world, heard)


def test_fewer_than_the_quorum_are_waited_for(world: QuickWorld) -> None:
    """Long after the deadline the round is still open, and it ends when the missing site is back."""
    heard = Heard(world, {})
    gone, looks = world.names[1], [0]

    def absent(site: str, body: bytes) -> None:
        letter = parsed(body)
        if letter.kind == "round" and letter.facts["round"] == 1 and not looks[0]:
            heard.absent.add(gone)

    heard.before = absent
    real = heard.answers

    def answers() -> list[tuple[str, bytes]]:
        if gone in heard.absent:
            looks[0] += 1
            if looks[0] > 300:
                heard.absent.discard(gone)
        return real()

    heard.answers = answers  # type: ignore[method-assign]
    world.host(impatient(world, federation={"minimum_clients": 3}), heard)
    assert looks[0] > 300
    assert [len(one["clients"]) for one in rounds_of(world)] == [3, 3]
    assert not world.told("late")
    require_exact(world, heard)


def test_an_answer_that_comes_too_late_is_dropped_and_logged(world: QuickWorld) -> None:
    late: list[tuple[str, bytes]] = []
    slow = world.names[2]

    def held(question: Letter, answer: Letter) -> Letter | None:
        if question.kind == "round" and question.facts["round"] == 0:
            late.append((slow, letters.write(answer, world.identities[slow])))
            return None
        if question.kind == "progress":
            return None
        return answer

    heard = Heard(world, {slow: held})
    real = heard.answers

    def answers() -> list[tuple[str, bytes]]:
        came = real()
        if any(parsed(body).facts.get("round") == 1 for _, body in came):
            came = [*late, *late, *came]
            late.clear()
        return came

    heard.answers = answers  # type: ignore[method-assign]
    world.host(impatient(world, federation={"rounds": 3}), heard)
    assert slow not in rounds_of(world)[0]["clients"]
    assert {"site": slow, "stage": "round"} in world.told("late")
    assert {"site": slow, "kind": "update"} in world.told("late answer")
    require_exact(world, heard)


def test_a_lost_answer_is_asked_for_again(world: QuickWorld) -> None:
    lost: set[str] = set()

    def lose(question: Letter, answer: Letter) -> Letter | None:
        name = letters.name_of(letters.write(question, world.server))
        if question.kind != "progress" and name not in lost:
            lost.add(name)
            return None
        return answer

    heard = Heard(world, dict.fromkeys(world.names, lose))
    world.host(world.config("run"), heard)
    assert [len(one["clients"]) for one in rounds_of(world)] == [3, 3]
    require_exact(world, heard)
    for name in world.names:
        answers = world.records(world.site_ledger(name, run_of(world)), "answer")
        assert [one["kind"] for one in answers] == ["round", "round", "finish"]


def run_of(world: QuickWorld) -> str:
    return (world.root / "run" / "run.id").read_text()


# Sites that answer nonsense


def tensors_in(answer: Letter) -> dict[str, Any]:
    return dict(folders.parse_tensors(answer.parts["update"], Path("update")))


def with_tensors(change: Callable[[dict[str, Any]], Any]) -> Wrong:
    def wrong(question: Letter, answer: Letter) -> Letter:
        made = change(tensors_in(answer))
        data = made if isinstance(made, bytes) else folders.pack_tensors(made)
        return replace(answer, parts={"update": data})

    return wrong


def valued(value: float) -> Wrong:
    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        name = sorted(tensors)[0]
        one = tensors[name].copy()
        one.flat[0] = value
        return {**tensors, name: one}

    return with_tensors(change)


def with_facts(**facts: Any) -> Wrong:
    return lambda question, answer: other(answer, **facts)


WRONG: dict[str, Wrong] = {
    "NaN": valued(np.nan),
    "infinite": valued(-np.inf),
    "too large for the sum": valued(3e38),
    "large enough to overflow with others": valued(-5.0e8),
    "other shapes": with_tensors(lambda t: {n: v[:1].copy() for n, v in t.items()}),
    "other names": with_tensors(lambda t: {f"{n}x": v for n, v in t.items()}),
    "one too few": with_tensors(lambda t: {n: t[n] for n in sorted(t)[1:]}),
    "one too many": with_tensors(lambda t: {**t, "more": np.zeros(3, np.float32)}),
    "float64": with_tensors(lambda t: {n: v.astype(np.float64) for n, v in t.items()}),
    "no tensors": with_tensors(lambda t: {}),
    "garbage": with_tensors(lambda t: b"garbage"),
    "a hundred times too much": with_tensors(
        lambda t: {**t, "more": np.zeros(100 * 160, np.float32)}
    ),
    "more parts": lambda q, a: replace(a, parts={**a.parts, "more": bytes(2**16)}),
    "no parts": lambda q, a: replace(a, parts={}),
    "another kind": lambda q, a: replace(a, kind="joined"),
    "no kind": lambda q, a: replace(a, kind=""),
    "no facts": lambda q, a: replace(a, facts={"answers": a.facts["answers"]}),
    "another round": with_facts(round=7),
    "a negative weight": with_facts(weight=-1),
    "a weight beyond all": with_facts(weight=2**40),
    "a weight that is text": with_facts(weight="1"),
    "a weight that is a truth": with_facts(weight=True),
    "a rank of its own": with_facts(rank=1),
    "a rank that is text": with_facts(rank="8"),
    "steps that are text": with_facts(steps="many"),
    "a loss that is text": with_facts(loss="low"),
    "a loss beyond all": with_facts(loss=1.7e308),
    "a held-out loss beyond all": with_facts(heldout_loss=-1.7e308),
    "a held-out loss that is text": with_facts(heldout_loss={"a": 1}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_is_left_out_by_name(world: QuickWorld, wrong: str) -> None:
    culprit = world.names[1]

    def lie(question: Letter, answer: Letter) -> Letter | bytes | None:
        if question.kind == "round" and question.facts["round"] == 0:
            return WRONG[wrong](question, answer)
        return answer

    heard = Heard(world, {culprit: lie})
    one = world.host(impatient(world), heard)
    assert one.ended
    others = sorted(set(world.names) - {culprit})
    assert [one["clients"] for one in rounds_of(world)] == [others, world.names]
    assert [one["failed"] for one in rounds_of(world)] == [[culprit], []]
    assert culprit in {told["site"] for told in world.told("rejected")}
    require_exact(world, heard)
    assert check_run(world.root / "run").complete


def test_a_letter_over_the_limit_is_left_out(world: QuickWorld) -> None:
    culprit = world.names[1]

    def lie(question: Letter, answer: Letter) -> Letter:
        if question.kind == "round" and question.facts["round"] == 0:
            return replace(answer, parts={**answer.parts, "more": bytes(2**17)})
        return answer

    heard = Heard(world, {culprit: lie})
    network = {"round_deadline_s": 0.15, "limit_bytes": 2**16}
    world.host(world.config("run", network=network), heard)
    assert culprit not in rounds_of(world)[0]["clients"]
    assert any("at most 65536" in told["error"] for told in world.told("rejected"))
    require_exact(world, heard)


FORGED: dict[str, Callable[[QuickWorld, str, Letter], bytes]] = {
    "by a stranger": lambda w, n, a: letters.write(a, new_identity()),
    "in another's name": lambda w, n, a: letters.write(
        replace(a, sender=w.names[0]), w.identities[w.names[0]]
    ),
    "to somebody else": lambda w, n, a: letters.write(replace(a, to=n), w.identities[n]),
    "of another run": lambda w, n, a: letters.write(replace(a, run="0" * 64), w.identities[n]),
    "to another question": lambda w, n, a: letters.write(
        other(a, answers="0" * 64), w.identities[n]
    ),
    "cut": lambda w, n, a: letters.write(a, w.identities[n])[:-1],
    "nothing": lambda w, n, a: b"",
    "noise": lambda w, n, a: bytes(range(256)),
}


@pytest.mark.parametrize("forgery", FORGED)
def test_what_is_no_letter_of_the_site_counts_for_nothing(world: QuickWorld, forgery: str) -> None:
    """And the honest answer, which comes when it is asked for again, counts."""
    culprit, lied = world.names[1], list[int]()

    def lie(question: Letter, answer: Letter) -> Letter | bytes:
        if answer.kind == "update" and len(lied) < 2:
            lied.append(1)
            return FORGED[forgery](world, culprit, answer)
        return answer

    heard = Heard(world, {culprit: lie})
    world.host(world.config("run"), heard)
    assert lied
    assert [len(one["clients"]) for one in rounds_of(world)] == [3, 3]
    assert culprit in {told["site"] for told in world.told("rejected", "late answer")}
    require_exact(world, heard)


def test_the_same_answer_twice_counts_once(world: QuickWorld) -> None:
    heard = Heard(world, {})
    real = heard.answers
    heard.answers = lambda: [one for one in real() for _ in range(3)]  # type: ignore[method-assign]
    world.host(world.config("run"), heard)
    assert [len(one["clients"]) for one in rounds_of(world)] == [3, 3]
    require_exact(world, heard)


def test_when_all_answer_nonsense_the_run_ends_with_their_reasons(world: QuickWorld) -> None:
    def lie(question: Letter, answer: Letter) -> Letter:
        return valued(np.nan)(question, answer) if answer.kind == "update" else answer  # type: ignore[return-value]

    with pytest.raises(VerificationError, match="not finite"):
        world.host(impatient(world), Heard(world, dict.fromkeys(world.names, lie)))
    # Their answers do not count, so the same folder goes on once they answer otherwise.
    world.close()
    for name in world.names:
        shutil.rmtree(world.site_ledger(name, run_of(world)).parent / "letters")
    with pytest.raises(SottovoceError):
        world.host(impatient(world))


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"secure": {"clip_norm": 2.0}}, "words"),
        ({"secure": {"compress": 8}}, "blocks"),
    ],
)
@pytest.mark.parametrize("kind", ["cut", "longer", "changed", "zeros", "none"])
def test_words_and_blocks_that_are_wrong_are_left_out(
    world: QuickWorld, changes: dict[str, Any], wrong: str, kind: str
) -> None:
    culprit = world.names[1]

    def lie(question: Letter, answer: Letter) -> Letter:
        if answer.kind != "update" or answer.facts["round"]:
            return answer
        data = answer.parts[wrong]
        altered = bytearray(data)
        altered[len(data) // 2] ^= 0x7F
        made = {
            "cut": {wrong: data[:-1]},
            "longer": {wrong: data + b"\0"},
            "changed": {wrong: bytes(altered)},
            "zeros": {wrong: bytes(len(data))},
            "none": {},
        }[kind]
        return replace(answer, parts=made)

    one = world.host(impatient(world, **changes), Heard(world, {culprit: lie}))
    assert one.ended
    others = sorted(set(world.names) - {culprit})
    first = rounds_of(world)[0]["clients"]
    if wrong == "words" or kind in ("cut", "longer", "none"):
        assert first == others
        assert culprit in {told["site"] for told in world.told("rejected")}


@pytest.mark.parametrize(
    "facts",
    [{"weight": "1"}, {"round": 7}, {"heldout_loss": []}, {"spent": "none"}],
)
def test_wrong_figures_beside_a_hidden_update_are_left_out(
    tmp_path: Path, attach: Any, make_client: Any, facts: dict[str, Any]
) -> None:
    bigger = QuickWorld(tmp_path, attach, make_client, shops=5)
    culprit = bigger.names[1]

    def lie(question: Letter, answer: Letter) -> Letter:
        return other(answer, **facts) if answer.kind == "update" else answer

    secure = {"aggregation": "secagg", "clip_norm": 2.0}
    with quick(bigger):
        one = bigger.host(impatient(bigger, secure=secure), Tampering(bigger, {culprit: lie}))
        bigger.close()
    assert one.ended
    assert all(culprit not in record["clients"] for record in rounds_of(bigger))
    assert culprit in {told["site"] for told in bigger.told("rejected")}


JOINED: dict[str, Any] = {
    "units": [-1, "3", 2**63 - 1],
    "heaviest": [None, 2**62],
    "steps": [True],
    "examples": [-1],
    "layout": [None, 5, [], {}, [["a", [0]]], [["a", [2**40]]], [["a"]], "abc"],
    "first_sha256": [None],
    "model_sha256": [5],
    "tokenizer_sha256": [5],
    "adapter_config": ["x"],
}


@pytest.mark.parametrize(
    ("fact", "value"), [(fact, value) for fact, values in JOINED.items() for value in values]
)
def test_a_site_that_joins_with_nonsense_is_left_out_by_name(
    world: QuickWorld, fact: str, value: Any
) -> None:
    culprit = world.names[0]

    def lie(question: Letter, answer: Letter) -> Letter:
        return other(answer, **{fact: value}) if answer.kind == "joined" else answer

    one = world.host(impatient(world, federation={"rounds": 1}), Heard(world, {culprit: lie}))
    assert one.known.clients == tuple(world.names[1:])
    assert culprit in {told["site"] for told in world.told("rejected")}


@pytest.mark.parametrize(
    "fact", ["layout", "first_sha256", "model_sha256", "tokenizer_sha256", "adapter_config"]
)
def test_sites_that_disagree_are_named(world: QuickWorld, fact: str) -> None:
    culprit = world.names[2]
    others: dict[str, Any] = {"layout": [["a", [2]]], "adapter_config": {"r": 1}}

    def lie(question: Letter, answer: Letter) -> Letter:
        if answer.kind != "joined":
            return answer
        return other(answer, **{fact: others.get(fact, "0" * 64)})

    with pytest.raises(VerificationError, match=f"{culprit!r} have another {fact}"):
        world.host(world.config("run"), Heard(world, {culprit: lie}))
    assert not (world.root / "run" / "ledger.jsonl").read_bytes()
    # The operator sees to it that they agree, and starts again in the same folder.
    world.close()
    one = world.host(world.config("run"))
    assert one.ended


@pytest.mark.parametrize("how", ["garbage", "other weights", "NaN", "refused", "silent"])
def test_first_weights_are_taken_from_a_site_that_has_them(world: QuickWorld, how: str) -> None:
    culprit = world.names[0]

    def lie(question: Letter, answer: Letter) -> Letter | None:
        if question.kind != "first":
            return answer
        tensors = folders.parse_tensors(answer.parts["model"], Path("x"))
        changed = {n: v + np.float32(np.nan if how == "NaN" else 1) for n, v in tensors.items()}
        data = b"garbage" if how == "garbage" else folders.pack_tensors(changed)
        if how == "refused":
            return replace(answer, kind="refused", parts={})
        return None if how == "silent" else replace(answer, parts={"model": data})

    one = world.host(impatient(world), Heard(world, {culprit: lie}))
    assert one.ended
    assert [len(one["clients"]) for one in rounds_of(world)] == [3, 3]


def test_without_first_weights_there_is_no_run_until_somebody_sends_them(
    world: QuickWorld,
) -> None:
    def lie(question: Letter, answer: Letter) -> Letter | None:
        return None if question.kind == "first" else answer

    heard = Heard(world, dict.fromkeys(world.names, lie))
    with pytest.raises(VerificationError, match="no site sent the weights"):
        world.host(impatient(world), heard)
    world.close()
    assert world.host(impatient(world)).ended


def test_an_end_that_is_nonsense_changes_nothing(world: QuickWorld) -> None:
    wrong = [
        {"gain": "much"},
        {"gain": [1, "x"]},
        {"heldout_loss": "low"},
    ]

    def lies(facts: dict[str, Any]) -> Wrong:
        return lambda q, a: other(a, **facts) if a.kind == "finished" else a

    heard = Heard(world, {n: lies(f) for n, f in zip(world.names, wrong, strict=True)})
    one = world.host(impatient(world), heard)
    assert one.ended
    assert not one.gains
    assert check_run(world.root / "run").complete


# Policy, and who is left


def test_a_site_whose_policy_says_no_is_left_out_with_the_rule(world: QuickWorld) -> None:
    strict = world.names[1]
    world.allow(strict, secure_aggregation="true")
    heard = Heard(world, {})
    one = world.host(world.config("run"), heard)
    assert one.known.clients == (world.names[0], world.names[2])
    [start] = world.records(world.root / "run" / "ledger.jsonl", "start")
    assert "secure_aggregation" in start["refused"][strict]
    assert world.vault(strict).steps == 0
    require_exact(world, heard)


def test_where_the_quorum_needs_it_the_run_ends_with_the_rule(world: QuickWorld) -> None:
    world.allow(world.names[1], secure_aggregation="true")
    with pytest.raises(RefusedError, match="secure_aggregation"):
        world.host(world.config("run", federation={"minimum_clients": 3}))
    # Once the policy allows it the same folder goes on.
    world.allow(world.names[1])
    assert world.host(world.config("run", federation={"minimum_clients": 3})).ended


def test_a_site_that_refuses_for_good_is_asked_again_and_the_run_goes_on(
    world: QuickWorld,
) -> None:
    strict = world.names[1]
    heard = Heard(world, {})

    def tighten(site: str, body: bytes) -> None:
        if parsed(body).facts.get("round") == 1:
            world.allow(strict, min_cohort=9)

    heard.before = tighten
    world.host(world.config("run", federation={"rounds": 4}), heard)
    assert [strict in one["clients"] for one in rounds_of(world)] == [True, False, False, False]
    said = world.records(world.root / "run" / "ledger.jsonl", "refused")
    assert [one["round"] for one in said] == [1, 2, 3]
    assert all("min_cohort" in one["error"] for one in said)
    require_exact(world, heard)


def test_when_nobody_is_left_the_run_ends_with_the_rule_and_can_go_on(world: QuickWorld) -> None:
    heard = Heard(world, {})

    def tighten(site: str, body: bytes) -> None:
        if parsed(body).facts.get("round") == 1:
            for name in world.names:
                world.allow(name, min_cohort=9)

    heard.before = tighten
    with pytest.raises(RefusedError, match="min_cohort"):
        world.host(world.config("run", federation={"minimum_clients": 2}), heard)
    for name in world.names:
        world.allow(name)
    world.host(world.config("run", federation={"minimum_clients": 2}))
    assert [len(one["clients"]) for one in rounds_of(world)] == [3, 3]


def test_it_does_not_wait_for_a_quorum_that_cannot_come(world: QuickWorld) -> None:
    """Two of three refuse, the third never answers, and two are needed."""
    heard = Heard(world, {})

    def tighten(site: str, body: bytes) -> None:
        if parsed(body).facts.get("round") == 1:
            heard.absent.add(world.names[0])
            for name in world.names[1:]:
                world.allow(name, min_cohort=9)

    heard.before = tighten
    with pytest.raises(RefusedError, match="2 are needed"):
        world.host(world.config("run", federation={"minimum_clients": 2}), heard)


# Killed, and started again


KINDS: Mapping[str, Mapping[str, Any]] = {
    "fedavg": {"federation": {"strategy": {"name": "fedavg", "server": {"name": "adam"}}}},
    "scaffold": {
        "federation": {"strategy": "scaffold", "clients_per_round": 2, "rounds": 2},
        "train": {"optimizer": "sgd"},
    },
    "words": {"secure": {"clip_norm": 2.0}},
    "client": {
        "privacy": EXAMPLE | {"unit": "client"},
        "federation": {"strategy": "fedavg", "clients_per_round": 2},
    },
}


def end_of(world: QuickWorld, config: Config) -> dict[str, Any]:
    one = world.host(config)
    assert one.ended
    assert check_run(one.folder.root).complete
    assert not list((one.folder.root / "mail").glob("*/*"))
    assert not list(one.folder.root.rglob(".*.part"))
    files = (path for path in one.folder.root.rglob("*") if path.is_file())
    return {
        "files": sorted(str(path.relative_to(one.folder.root)) for path in files),
        "adapter": digest(model_tensors(one.server)),
        "rounds": [(r["clients"], r["weights_sha256"]) for r in rounds_of(world)],
        "loss": dict(one.loss),
    }


def sweep(
    world: QuickWorld,
    changes: Mapping[str, Any],
    patch: pytest.MonkeyPatch,
    faults: Mapping[str, slice],
) -> int:
    config = world.config("run", **changes)
    whole = end_of(world, config)
    clear(world)
    disk = BrokenDisk(world.root / "run")
    with watched(disk, patch):
        world.host(config)
    tried = 0
    for fault, chosen in faults.items():
        for stop in range(1, len(disk.done) + 1)[chosen]:
            clear(world)
            assert killed(world, config, patch, fault, stop)
            assert end_of(world, config) == whole, (fault, disk.done[stop - 1])
            tried += 1
    return tried


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_killed_at_any_write_ends_with_the_same_model(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    start = list(KINDS).index(kind)
    faults = {
        "kill": slice(3 + 7 * start, None, 61),
        "half": slice(7 + 5 * start, None, 131),
        "power": slice(5 + 9 * start, None, 151),
    }
    assert sweep(world, KINDS[kind], monkeypatch, faults) > 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_killed_at_every_write_ends_with_the_same_model(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    faults = dict.fromkeys(("kill", "half", "power"), slice(None))
    assert sweep(world, KINDS[kind], monkeypatch, faults) > 100


def test_killed_again_and_again_it_gets_to_the_same_end(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = world.config("run", **KINDS["scaffold"])
    whole = end_of(world, config)
    clear(world)
    deaths = 0
    while killed(world, config, monkeypatch, "half", 37):
        deaths += 1
        assert deaths < 60
    assert deaths > 2
    assert end_of(world, config) == whole


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_server_whose_disk_refuses_says_so_and_goes_on_later(
    world: QuickWorld, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    config = world.config("run")
    whole = end_of(world, config)
    clear(world)
    disk = BrokenDisk(world.root / "run")
    with watched(disk, monkeypatch):
        world.host(config)
    for stop in range(1, len(disk.done) + 1)[2::53]:
        clear(world)
        with watched(BrokenDisk(world.root / "run", fault, stop), monkeypatch):
            try:
                world.host(config)
            except SottovoceError as error:
                assert error.remedy, error
        assert end_of(world, config) == whole, disk.done[stop - 1]


# What is not its own


def stopped_after(world: QuickWorld, kind: str, index: int, **changes: Any) -> Config:
    """A run whose server was killed as it asked the first site for something."""
    config = world.config("run", **changes)
    carrier = world.carrier()

    def kill(site: str, body: bytes) -> None:
        letter = parsed(body)
        if letter.kind == kind and letter.facts.get("round", 0) == index:
            raise Killed

    carrier.before = kill
    with pytest.raises(Killed):
        world.host(config, carrier)
    return config


@pytest.mark.parametrize(("kind", "index"), [("round", 0), ("round", 1), ("finish", 2)])
def test_another_configuration_is_refused_by_its_key(
    world: QuickWorld, kind: str, index: int
) -> None:
    stopped_after(world, kind, index)
    with pytest.raises(ConfigError, match=r"train\.learning_rate is 0\.5 and was 0\.05"):
        world.host(world.config("run", train={"learning_rate": 0.5}))


@pytest.mark.parametrize("kind", ["offer", "first", "begin"])
def test_another_configuration_is_refused_before_the_first_line_too(
    world: QuickWorld, kind: str
) -> None:
    """The sites have been told of one, and would train by it."""
    config = stopped_after(world, kind, 0)
    with pytest.raises(ConfigError, match=r"train\.learning_rate is 0\.5 and was 0\.05"):
        world.host(world.config("run", train={"learning_rate": 0.5}))
    assert world.host(config).ended


def test_a_ledger_that_was_edited_is_refused(world: QuickWorld) -> None:
    config = stopped_after(world, "round", 1)
    path = world.root / "run" / "ledger.jsonl"
    before = path.read_bytes()
    for change in (
        before.replace(b'"kind":"round"', b'"kind":"wound"'),
        before.replace(b'"weights":[', b'"weights":[1,'),
        before[:-2],
        b"".join(before.splitlines(keepends=True)[1:]),
    ):
        path.write_bytes(change)
        if change == before[:-2]:
            # A line that was cut short is what a crash leaves; the round is played again.
            continue
        with pytest.raises(VerificationError):
            world.host(config)
        path.write_bytes(before)
    path.write_bytes(before)
    assert world.host(config).ended


@pytest.mark.parametrize("file", ["rounds/00001.safetensors", "state/00001.safetensors"])
def test_a_swapped_file_is_refused(world: QuickWorld, file: str) -> None:
    config = stopped_after(
        world, "round", 1, federation={"strategy": {"name": "fedavg", "server": {"name": "adam"}}}
    )
    path = world.root / "run" / file
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80
    path.write_bytes(data)
    with pytest.raises(VerificationError):
        world.host(config)
    data[-1] ^= 0x80
    path.write_bytes(data)
    assert world.host(config).ended


def test_a_run_has_one_name(world: QuickWorld) -> None:
    """Under another the sites would know nothing of it."""
    config = stopped_after(world, "round", 1)
    place = world.root / "run" / "run.id"
    before = place.read_text()
    for change in (place.unlink, lambda: place.write_text("0" * 64)):
        change()
        with pytest.raises(VerificationError, match=r"run\.id"):
            world.host(config)
    place.write_text(before)
    assert world.host(config).ended


def test_another_roster_is_refused(world: QuickWorld) -> None:
    config = stopped_after(world, "round", 1)
    fewer = config.network.model_copy(  # type: ignore[union-attr]
        update={"roster": {name: world.lines[name] for name in world.names[:2]}}
    )
    whole, world.roster = (
        world.roster,
        type(world.roster)({name: world.identities[name].public for name in world.names[:2]}),
    )
    try:
        with pytest.raises(SottovoceError, match="roster"):
            world.host(config.model_copy(update={"network": fewer}))
    finally:
        world.roster = whole


def test_two_servers_never_share_a_folder(world: QuickWorld) -> None:
    carrier = world.carrier()
    config = world.config("run")
    met: list[str] = []

    def second(site: str, body: bytes) -> None:
        if parsed(body).kind == "round" and not met:
            met.append("second")
            with pytest.raises(SottovoceError, match="held by another process"):
                world.host(config)

    carrier.before = second
    assert world.host(config, carrier).ended
    assert met


def test_a_run_that_has_ended_is_left_as_it_is(world: QuickWorld) -> None:
    config = world.config("run")
    one = world.host(config)
    before = one.folder.ledger.read_bytes()
    carrier = world.carrier()
    again = world.host(config, carrier)
    assert again.ended
    assert not carrier.asked
    assert one.folder.ledger.read_bytes() == before


def test_what_a_site_says_of_itself_fills_no_log_and_moves_no_cursor(world: QuickWorld) -> None:
    culprit = world.names[1]

    def lie(question: Letter, answer: Letter) -> Letter:
        if question.kind != "round":
            return answer
        facts = {"answers": answer.facts["answers"], "error": "\x1b[2J\n" + "x" * 10**6, "code": []}
        return replace(answer, kind="refused", facts=facts, parts={})

    world.host(impatient(world), Heard(world, {culprit: lie}))
    said = [one["error"] for one in world.told("refused")]
    said += [one["error"] for one in world.records(world.root / "run/ledger.jsonl", "refused")]
    assert len(said) == 4
    assert all(len(text) <= 1000 and text.isprintable() for text in said)


def test_what_a_server_leaves_is_for_its_owner_alone(world: QuickWorld) -> None:
    one = world.host(world.config("run"))
    assert one.folder.root.stat().st_mode & 0o077 == 0
    for data in (path.read_bytes() for path in one.folder.root.rglob("*") if path.is_file()):
        assert b"PRIVATE KEY" not in data
