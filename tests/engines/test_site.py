"""A site's vault against a network, a server and a disk that do what they like."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick_world import EXAMPLE, QuickWorld, Server, quick

from sottovoce.codec.roster import new_identity
from sottovoce.errors import RefusedError, VerificationError
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run import vault as vaults
from sottovoce.run.budget import Budget
from sottovoce.run.letter import SERVER, Letter
from sottovoce.run.reception import Reception


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
    shared.close()
    shared.log.clear()
    shared.opened.clear()
    for name in shared.names:
        shutil.rmtree(shared.site(name).folder, ignore_errors=True)
        shared.allow(name)


@pytest.fixture
def name(world: QuickWorld) -> str:
    return world.names[0]


@pytest.fixture
def steps(world: QuickWorld, name: str) -> Callable[[], int]:
    """How many training steps the site has taken."""
    vault = world.vault(name)
    return lambda: vault.steps


def everything_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Whose letters count


def test_a_letter_of_anybody_else_changes_nothing(world: QuickWorld, name: str) -> None:
    server = Server(world, name)
    join = server.letter("join", {"members": world.names}, {"config": server.shared})
    own = world.identities[name]
    forged = [
        letters.write(join, new_identity()),
        letters.write(replace(join, sender=name), own),
        letters.write(replace(join, sender=world.names[1]), world.identities[world.names[1]]),
        letters.write(join, world.identities[world.names[1]]),
        letters.write(replace(join, to=world.names[1]), world.server),
        letters.write(replace(join, to=SERVER), world.server),
        letters.write(replace(join, run="../" * 21 + "x"), world.server),
        letters.write(replace(join, run=server.run.upper()), world.server),
        letters.write(replace(join, run=server.run[:-1]), world.server),
        letters.write(replace(join, run=server.run + "\n"), world.server),
        letters.write(join, world.server)[:-1],
        b"",
    ]
    for data in forged:
        with pytest.raises(VerificationError):
            world.vault(name).answer(data)
    assert not Path(world.site(name).folder).exists()
    assert not world.opened


def test_a_letter_that_is_too_large_is_not_read(world: QuickWorld, name: str) -> None:
    site = world.site(name, limits={"letter_bytes": 2**16})
    vault = vaults.Vault(site, world.identities[name], bytes(32))
    server = Server(world, name)
    large = server.letter("join", {"members": []}, {"config": bytes(2**16)})
    with pytest.raises(VerificationError, match="at most 65536"):
        vault.answer(letters.write(large, world.server))


def test_two_runs_never_share_a_folder(world: QuickWorld, name: str) -> None:
    """A run whose name begins as another's is another run."""
    one, two = Server(world, name), Server(world, name)
    two.run = one.run[:48] + two.run[48:]
    one.begin()
    assert one.round(0).kind == "update"
    answer = two.round(0)
    assert answer.kind == "refused"
    assert "knows nothing" in answer.facts["error"] or "ConfigError" in answer.facts["error"]


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("first", {}),
        ("begin", {"unit_counts": {}, "heaviest_client": 1}),
        ("offer", {"unit_counts": {}, "heaviest_client": 1}),
        ("round", {"round": 0}),
        ("finish", {"round": 0}),
        ("keys", {"round": 0}),
        ("unmask", {"round": 0}),
        ("something", {}),
        ("", {}),
    ],
)
def test_a_run_that_the_site_did_not_join_is_refused(
    world: QuickWorld, name: str, kind: str, facts: dict[str, Any]
) -> None:
    answer = Server(world, name).ask(kind, facts)
    assert answer.kind == "refused"
    assert not world.opened


# What is asked twice


def test_a_repeated_letter_is_answered_byte_for_byte_and_costs_nothing(
    world: QuickWorld, name: str, steps: Callable[[], int]
) -> None:
    server = Server(world, name, privacy=EXAMPLE)
    assert server.begin().kind == "begun"
    data = letters.write(server.letter("round", server.facts(0), server.parts()), world.server)
    first = world.vault(name).answer(data)
    trained = steps()
    charges = server.ledger("charge")
    assert trained > 0
    assert len(charges) == 1
    assert world.vault(name).answer(data) == first
    assert steps() == trained
    world.restart(name)
    assert world.vault(name).answer(data) == first
    assert world.vault(name).steps == 0
    assert server.ledger("charge") == charges
    assert len(server.ledger("answer")) == 1


@pytest.mark.parametrize("restarted", [False, True])
def test_a_second_letter_for_the_same_round_is_refused(
    world: QuickWorld, name: str, steps: Callable[[], int], restarted: bool
) -> None:
    server = Server(world, name, privacy=EXAMPLE)
    server.begin()
    assert server.round(0).kind == "update"
    assert server.round(1).kind == "update"
    before = steps()
    if restarted:
        world.restart(name)
        before = 0
    for wrong in (
        server.round(1, evaluate=True),
        server.round(0, stop_after=1),
        server.round(0, more=1),
    ):
        assert wrong.kind == "refused"
        assert "is over" in wrong.facts["error"]
    assert world.vault(name).steps == before
    assert len(server.ledger("charge")) == 2


def test_more_rounds_than_the_run_has_are_refused(
    world: QuickWorld, name: str, steps: Callable[[], int]
) -> None:
    server = Server(world, name)
    server.begin()
    before = steps()
    for index in (2, 3, 10**6, 2**62):
        answer = server.round(index)
        assert answer.kind == "refused", index
        assert "rounds" in answer.facts["error"]
    assert steps() == before


@pytest.mark.parametrize("restarted", [False, True])
def test_nothing_is_trained_after_the_end(world: QuickWorld, name: str, restarted: bool) -> None:
    """What was reserved and not spent has been given back by then."""
    server = Server(world, name, privacy=EXAMPLE | {"generator": "cryptographic"})
    server.begin()
    assert server.ask("finish", {"round": 0}, server.parts()).kind in ("finished", "refused")
    if restarted:
        world.restart(name)
    answers = [server.round(0), server.round(1)]
    budget = Budget(Path(world.site(name).folder) / "privacy-budget.jsonl")
    [[row]] = budget.rows().values()
    assert row.releases >= sum(answer.kind == "update" for answer in answers)
    spent = sum(sum(one["releases"].values()) for one in server.ledger("charge"))
    assert row.releases >= spent


def test_a_stored_answer_that_was_altered_is_never_sent(world: QuickWorld, name: str) -> None:
    server = Server(world, name)
    server.begin()
    server.round(0)
    [kept] = (server.folder / "letters").glob("*.bin")
    data = bytearray(kept.read_bytes())
    data[-70] ^= 1
    kept.write_bytes(data)
    world.restart(name)
    events: list[str] = []
    world.vault(name).log = lambda event, fields: events.append(f"{event} {fields.get('error')}")
    answer = server.round(0)
    assert answer.kind == "refused"
    assert "update" not in answer.parts
    assert any("is not the one in the ledger" in event for event in events)


def test_an_answer_whose_file_is_gone_is_refused(world: QuickWorld, name: str) -> None:
    server = Server(world, name)
    server.begin()
    server.round(0)
    shutil.rmtree(server.folder / "letters")
    for _ in range(2):
        assert server.round(0).kind == "refused"
        world.restart(name)


def test_a_ledger_that_was_altered_silences_the_run(world: QuickWorld, name: str) -> None:
    server = Server(world, name, privacy=EXAMPLE)
    server.begin()
    server.round(0)
    world.restart(name)
    place = server.folder / "ledger.jsonl"
    text = place.read_text()
    place.write_text(text.replace('"kind":"charge"', '"kind":"charme"'))
    assert server.round(1).kind == "refused"
    place.write_text(text)
    assert server.round(1).kind == "update"


# What a server may send


def model_with(server: Server, change: Callable[[dict[str, Any]], Any]) -> dict[str, bytes]:
    tensors = folders.parse_tensors(server.parts()["model"], Path("model"))
    changed = change(dict(tensors))
    return {"model": changed if isinstance(changed, bytes) else folders.pack_tensors(changed)}


def first_of(tensors: dict[str, Any]) -> str:
    return next(iter(sorted(tensors)))


def with_value(value: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        one = tensors[first_of(tensors)].copy()
        one.flat[-1] = value
        return {**tensors, first_of(tensors): one}

    return change


WRONG_MODELS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "NaN": with_value(np.nan),
    "infinite": with_value(np.inf),
    "minus infinity": with_value(-np.inf),
    "float64": lambda t: {n: v.astype(np.float64) for n, v in t.items()},
    "float16": lambda t: {n: v.astype(np.float16) for n, v in t.items()},
    "integers": lambda t: {n: v.astype(np.int32) for n, v in t.items()},
    "other shapes": lambda t: {n: v[..., :1].copy() for n, v in t.items()},
    "flat": lambda t: {n: v.ravel() for n, v in t.items()},
    "other names": lambda t: {f"x.{n}": v for n, v in t.items()},
    "one too few": lambda t: {n: t[n] for n in sorted(t)[1:]},
    "one too many": lambda t: {**t, "more": np.zeros(1, np.float32)},
    "a residual": lambda t: {**t, "a.residual.weight": np.zeros((2, 2), np.float32)},
    "nothing": lambda t: {},
    "garbage": lambda t: b"\x80\x04garbage",
    "empty": lambda t: b"",
    "huge header": lambda t: (2**40).to_bytes(8, "little") + b"{}",
}


@pytest.mark.parametrize("wrong", WRONG_MODELS)
def test_a_model_that_is_not_the_runs_is_refused_before_training(
    world: QuickWorld, name: str, steps: Callable[[], int], wrong: str
) -> None:
    server = Server(world, name, privacy=EXAMPLE)
    server.begin()
    before = steps()
    parts = model_with(server, WRONG_MODELS[wrong])
    for kind, facts in (("round", server.facts(0, evaluate=True)), ("finish", {"round": 2})):
        answer = server.ask(kind, facts, parts)
        assert answer.kind == "refused", kind
        assert answer.facts["code"] == 4, answer.facts["error"]
    assert steps() == before
    assert not server.ledger("charge", "evaluation", "answer")
    assert server.round(0).kind == "update"


def test_a_round_without_a_model_is_refused(world: QuickWorld, name: str) -> None:
    server = Server(world, name)
    server.begin()
    answer = server.ask("round", server.facts(0), {})
    assert answer.kind == "refused"
    assert "'model'" in answer.facts["error"]


@pytest.mark.parametrize("kind", ["adds", "lacks", "NaN"])
def test_memory_of_the_server_that_is_not_the_runs_is_refused(
    world: QuickWorld, name: str, kind: str
) -> None:
    changes: dict[str, Any] = {
        "federation": {"strategy": "scaffold"},
        "train": {"optimizer": "sgd", "learning_rate": 0.05},
    }
    server = Server(world, name, **({} if kind == "adds" else changes))
    server.begin()
    parts = server.parts()
    if kind == "adds":
        parts["memory"] = folders.pack_tensors({"control/a": np.zeros(2, np.float32)})
    elif kind == "lacks":
        del parts["memory"]
    else:
        memory = folders.parse_tensors(parts["memory"], Path("memory"))
        parts["memory"] = folders.pack_tensors(with_value(np.nan)(memory))
    answer = server.ask("round", server.facts(0), parts)
    assert answer.kind == "refused"
    assert server.round(0).kind == "update"


@pytest.mark.parametrize("wrong", [-1, -(2**40), True, False, 1.0, "1", [], {}, 2**63 - 1])
def test_facts_of_another_type_are_refused(
    world: QuickWorld, name: str, steps: Callable[[], int], wrong: Any
) -> None:
    server = Server(world, name)
    server.begin()
    before = steps()
    for facts in (
        {"round": wrong, "stop_after": None},
        *([] if wrong == 2**63 - 1 else [{"round": 0, "stop_after": wrong}]),
    ):
        answer = server.ask("round", facts, server.parts())
        assert answer.kind == "refused", facts
    assert steps() == before


def test_nobody_makes_a_site_train_longer_than_its_recipe(
    world: QuickWorld, name: str, steps: Callable[[], int]
) -> None:
    server = Server(world, name)
    server.begin()
    before = steps()
    assert server.round(0, stop_after=10**9).kind in ("update", "refused")
    assert steps() - before <= 1


@pytest.mark.parametrize("privacy", [{"unit": "none"}, EXAMPLE])
def test_a_round_of_no_steps_trains_nothing(
    world: QuickWorld, name: str, steps: Callable[[], int], privacy: dict[str, Any]
) -> None:
    server = Server(world, name, privacy=privacy)
    server.begin()
    before = steps()
    answer = server.round(0, stop_after=0)
    assert answer.kind == "update"
    assert answer.facts["steps"] == 0
    update = folders.parse_tensors(answer.parts["update"], Path("update"))
    assert not any(value.any() for value in update.values())
    assert steps() == before


@pytest.mark.parametrize(
    "counts",
    [{"more": 1}, {}, None, [], "all", {"own": 999}, {"own": -1}, {"own": 3.5}, {"own": True}],
)
def test_who_takes_part_has_to_fit_what_the_site_knows_of_itself(
    world: QuickWorld, name: str, steps: Callable[[], int], counts: Any
) -> None:
    server = Server(world, name, privacy=EXAMPLE)
    server.join()
    facts = server.fellows()
    if isinstance(counts, dict) and "own" in counts:
        counts = {**facts["unit_counts"], name: counts["own"]}
    answer = server.ask("begin", {**facts, "unit_counts": counts})
    assert answer.kind == "refused"
    assert server.round(0).kind == "refused"
    assert steps() == 0
    assert not server.ledger("fellows", "budget", "charge")


@pytest.mark.parametrize("restarted", [False, True])
def test_who_takes_part_does_not_change_once_a_run_has_begun(
    world: QuickWorld, name: str, restarted: bool
) -> None:
    server = Server(world, name, privacy=EXAMPLE)
    assert server.begin().kind == "begun"
    if restarted:
        world.restart(name)
    for facts in (
        server.fellows(more=7),
        {**server.fellows(), "unit_counts": {name: len(world.parties[name].train)}},
        {**server.fellows(), "heaviest_client": 999},
    ):
        answer = server.ask("begin", facts)
        assert answer.kind == "refused"
        assert "otherwise" in answer.facts["error"] or "before" in answer.facts["error"]
    assert server.ask("begin", server.fellows()).kind == "begun"
    assert len(server.ledger("fellows")) == 1


def test_another_configuration_of_the_same_run_is_refused(world: QuickWorld, name: str) -> None:
    server = Server(world, name)
    server.join()
    changed = server.shared.replace(b"rounds = 2", b"rounds = 3")
    assert changed != server.shared
    for _ in range(2):
        answer = server.ask("join", {"members": world.names}, {"config": changed})
        assert answer.kind == "refused"
        assert "another configuration" in answer.facts["error"]
        world.restart(name)
    assert server.begin().kind == "begun"
    assert server.round(0).kind == "update"


# Policy


STRICTER: dict[str, Any] = {
    "weakest_unit": '"owner"\nmax_epsilon_per_run = 1.0\nmax_epsilon_per_data_set = 1.0\n'
    "max_delta = 1e-5",
    "min_cohort": 4,
    "secure_aggregation": "true",
    "base_models": f'["{"0" * 64}"]',
    "tasks": '["pretrain"]',
    "cryptographic_noise": "true",
}


@pytest.mark.parametrize("rule", STRICTER)
@pytest.mark.parametrize("asked", [1, 2])
def test_a_stricter_policy_refuses_by_the_name_of_its_rule(
    world: QuickWorld, name: str, steps: Callable[[], int], rule: str, asked: int
) -> None:
    """However often it is asked, and whatever is asked for after it has refused."""
    world.allow(name, **{rule: STRICTER[rule]})
    privacy = {"unit": "none"} if rule != "cryptographic_noise" else EXAMPLE
    server = Server(world, name, privacy=privacy)
    assert server.join().kind == "joined"
    for kind in ["offer"] * asked + ["begin"] * asked:
        answer = server.ask(kind, server.fellows())
        assert answer.kind == "refused", kind
        assert rule in answer.facts["error"]
        assert answer.facts["code"] == 3
    assert server.round(0).kind == "refused"
    assert server.ask("finish", {"round": 2}, server.parts()).kind == "refused"
    world.restart(name)
    assert server.round(0).kind == "refused"
    assert steps() == 0
    assert not server.ledger("charge", "budget", "fellows", "answer")
    assert not (Path(world.site(name).folder) / "privacy-budget.jsonl").exists()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("gone", [False, True])
def test_a_policy_that_becomes_stricter_ends_the_sites_part(
    world: QuickWorld, name: str, restarted: bool, gone: bool
) -> None:
    server = Server(world, name)
    server.begin()
    assert server.round(0).kind == "update"
    if gone:
        (world.root / f"{name}-policy.toml").unlink()
    else:
        world.allow(name, min_cohort=9)
    if restarted:
        world.restart(name)
    answer = server.round(1)
    assert answer.kind == "refused"
    assert ("ConfigError" if gone else "min_cohort") in answer.facts["error"]


def test_a_policy_is_read_when_a_site_has_none_left(world: QuickWorld, name: str) -> None:
    world.vault(name)
    (world.root / f"{name}-policy.toml").unlink()
    server = Server(world, name)
    server.join()
    for _ in range(2):
        assert server.ask("begin", server.fellows()).kind == "refused"
    assert server.round(0).kind == "refused"


# What is spent


def test_a_client_level_run_stands_in_the_sites_budget_when_it_has_ended(
    world: QuickWorld, name: str
) -> None:
    """The server adds the noise and counts the rounds; the site's text was used all the same."""
    unit = {"unit": "client", "noise_multiplier": 1.0, "delta": 1e-3, "clip_norm": 0.5}
    config = world.config("whole", privacy=unit, federation={"strategy": "fedavg"})
    world.host(config)
    budget = Budget(Path(world.site(name).folder) / "privacy-budget.jsonl")
    [[row]] = budget.rows().values()
    assert row.releases == config.federation.rounds


def test_what_was_not_spent_is_given_back(world: QuickWorld, name: str) -> None:
    unit = EXAMPLE | {"generator": "cryptographic"}
    carrier = world.carrier()
    config = world.config("back", privacy=unit, federation={"minimum_clients": 1})

    def absent(site: str, body: bytes) -> None:
        (carrier.absent.add if b'"kind":"round"' in body[:4000] else carrier.absent.discard)(name)

    carrier.before = absent
    config = config.model_copy(
        update={"network": config.network.model_copy(update={"round_deadline_s": 0.05})}  # type: ignore[union-attr]
    )
    world.host(config, carrier)
    budget = Budget(Path(world.site(name).folder) / "privacy-budget.jsonl")
    [[row]] = budget.rows().values()
    assert row.releases == 0


# What leaves


def refusals_of(world: QuickWorld, name: str) -> list[str]:
    """The texts of many refusals, of which the site knows places and text."""
    found: list[Letter] = []
    server = Server(world, name, privacy=EXAMPLE | {"generator": "cryptographic"})
    found.append(server.ask("round", {"round": 0}))
    server.begin()
    server.round(0)
    shutil.rmtree(server.folder / "letters")
    found.append(server.round(0))
    budget = Path(world.site(name).folder) / "privacy-budget.jsonl"
    kept = budget.read_bytes()
    budget.write_bytes(b"")
    world.restart(name)
    found.append(server.ask("begin", server.fellows()))
    budget.write_bytes(kept[:-20] + b"x" + kept[-19:])
    world.restart(name)
    found.append(server.ask("begin", server.fellows()))
    budget.write_bytes(kept)
    for file in ("config.toml", "shared.toml"):
        place = server.folder / file
        before = place.read_bytes()
        place.unlink()
        world.restart(name)
        found.append(server.round(1))
        place.write_bytes(before)
    ledger = server.folder / "ledger.jsonl"
    before = ledger.read_bytes()
    ledger.write_bytes(before.replace(b"budget", b"gadget"))
    world.restart(name)
    found.append(server.round(1))
    ledger.write_bytes(before)
    world.restart(name)
    return [answer.facts["error"] for answer in found if answer.kind == "refused"]


def test_refusals_say_nothing_of_places_or_text(world: QuickWorld, name: str) -> None:
    said = refusals_of(world, name)
    assert len(said) > 5
    site = world.site(name)
    for place in (site.folder, site.keys, site.policy, site.data["path"], "/etc/x.jsonl"):
        for kind in (RefusedError, VerificationError):
            error = kind(f"the model in {place}/rounds", remedy=f"See '{place}', or ask")
            said.append(vaults._told(error, site)["error"])
            assert "the model in (a file of the site)" in said[-1]
            assert said[-1].endswith("or ask.")
    for text in said:
        for secret in (str(world.root), str(world.root.parent), "/", "letters", ".jsonl"):
            assert secret not in text.replace("and/or", ""), text


def test_secrets_are_nowhere(world: QuickWorld, name: str) -> None:
    seen: list[bytes] = []
    carrier = world.carrier()
    carrier.before = lambda site, body: seen.append(body)
    carrier.change = lambda site, body: (seen.append(body), body)[1]
    for one in world.names:
        vault = world.vault(one)
        vault.log = lambda event, fields: seen.append(f"{event} {dict(fields)}".encode())
    world.host(world.config("secret", privacy=EXAMPLE), carrier)
    seen.append(repr(world.vault(name)).encode())
    kept = everything_in(world.root)
    for one in world.names:
        seen += [data for path, data in kept.items() if path.startswith((f"{one}-runs", "secret"))]
        for file in ("identity.key", "store.key", "node.key"):
            key = (world.keys[one] / file).read_bytes().strip()
            forms = [key, key.splitlines()[1]] if key.startswith(b"-----") else [key]
            forms += [bytes.fromhex(key.decode())] if not key.startswith(b"-----") else []
            for form in forms:
                assert not any(form in data for data in seen), (one, file)


def test_what_a_run_leaves_at_a_site_is_for_its_owner_alone(world: QuickWorld, name: str) -> None:
    server = Server(world, name)
    server.begin()
    server.round(0)
    assert server.folder.stat().st_mode & 0o077 == 0


# While it works


def test_progress_is_told_while_it_trains(
    world: QuickWorld, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = Reception.stepped

    def stepped(self: Any, *given: object) -> None:
        real(self, *given)
        begun.set()
        assert go_on.wait(20)

    monkeypatch.setattr(Reception, "stepped", stepped)
    server = Server(world, name)
    server.begin()
    vault = world.vault(name)
    data = letters.write(server.letter("round", server.facts(0), server.parts()), world.server)
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.append(vault.answer(data))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert begun.wait(20)
    # No copy of the question waits in the way of a question how far it is.
    told = server.ask("progress", {})
    assert told.kind == "progress"
    assert told.facts["busy"] == letters.name_of(data)
    assert told.facts["steps"] == 1
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert vault.steps == 1
    idle = server.ask("progress", {})
    assert (idle.facts["busy"], idle.facts["steps"]) == ("", 1)


def test_an_error_that_nobody_thought_of_ends_nothing(
    world: QuickWorld, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a library raises: the run is as it was, and the next letter is answered."""
    server = Server(world, name, privacy=EXAMPLE)
    server.begin()
    with monkeypatch.context() as patch:
        patch.setattr(
            "sottovoce.run.visit.contribute", lambda *_, **__: (_ for _ in ()).throw(MemoryError)
        )
        answer = server.round(0)
    assert answer.kind == "refused"
    assert answer.facts["error"] == "MemoryError; the site's own log says more"
    assert world.vault(name)._reception._busy == ""
    assert server.round(0).kind == "update"
    assert len(server.ledger("charge")) == 2


def test_the_oldest_answers_are_forgotten_and_stay_answered(world: QuickWorld, name: str) -> None:
    server = Server(world, name, federation={"rounds": 12})
    server.begin()
    for index in range(12):
        assert server.round(index).kind == "update"
    assert len(list((server.folder / "letters").glob("*.bin"))) == 8
    for restart in (False, True):
        if restart:
            world.restart(name)
        for index in range(4):
            assert server.round(index).kind == "refused"
        for index in range(4, 12):
            assert server.round(index).kind == "update"
    assert len(server.ledger("answer")) == 12


def test_runs_one_after_the_other_and_in_turns(world: QuickWorld, name: str) -> None:
    one, two = Server(world, name), Server(world, name, train={"learning_rate": 0.01})
    one.begin()
    two.begin()
    answers = [server.round(index) for index in (0, 1) for server in (one, two)]
    assert [answer.kind for answer in answers] == ["update"] * 4
    assert {answer.run for answer in answers} == {one.run, two.run}
