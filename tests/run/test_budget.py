"""What all runs beside one another spent on the same data: counted once, never forgotten."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_faults import HOLDER, Killed
from test_spending import (
    at,
    budget_rows,
    build_world,
    charged,
    kill_in_round,
    payloads,
    reserved,
    write_policy,
)

from sottovoce.errors import SottovoceError, UsageError, VerificationError
from sottovoce.privacy.accounting import SampledGaussian
from sottovoce.privacy.costs import of_vectors
from sottovoce.privacy.gaussian import GridCost
from sottovoce.privacy.plan import PrivacyPlan, epsilon_of
from sottovoce.privacy.shares import Lattice, Shares
from sottovoce.run import budget as budgets
from sottovoce.run.budget import NAME, Budget, Row, shares_row, total
from sottovoce.run.ledger import Ledger, verify
from sottovoce.run.local import federate
from sottovoce.run.prepare import Prepared
from sottovoce.run.protect import FEDERATION, claim, facts


@pytest.fixture(scope="module")
def world(attach: Any, make_client: Any) -> Prepared:
    return build_world(attach, make_client)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing loses its power here, so nobody waits for the disk or for another process."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(budgets, "PATIENCE_S", 0.2)


def composed(run: Prepared, releases: int) -> float:
    """ε of so many releases at the run's own noise, as the accountant says."""
    plan = next(iter(run.plans.plans.values()))
    return epsilon_of(
        [(SampledGaussian(plan.noise_multiplier, plan.sampling_probability), releases)], plan
    ).epsilon


# What adds up


@pytest.mark.parametrize("unit", ["client", "owner"])
def test_a_repeated_run_adds_up_and_a_deleted_folder_forgets_nothing(
    world: Prepared, tmp_path: Path, unit: str
) -> None:
    for place in range(3):
        run = at(world, tmp_path / f"run {place}", unit)
        outcome = federate(run)
        assert outcome.epsilon_of_data == pytest.approx(composed(run, 2 * (place + 1)))
        assert facts(run.plans, outcome.spent)["epsilon"] == pytest.approx(composed(run, 2))
        shutil.rmtree(tmp_path / f"run {place}")
    assert (tmp_path / NAME).is_file()


def test_other_noise_composes_at_its_own_price(world: Prepared, tmp_path: Path) -> None:
    federate(at(world, tmp_path / "one", noise_multiplier=0.8))
    run = at(world, tmp_path / "two", noise_multiplier=2.0)
    found = epsilon_of([(SampledGaussian(0.8), 2), (SampledGaussian(2.0), 2)], run.plans.plans[""])
    assert federate(run).epsilon_of_data == pytest.approx(found.epsilon)


def test_other_data_do_not_count(
    world: Prepared, tmp_path: Path, attach: Any, make_client: Any
) -> None:
    run = at(world, tmp_path / "run")
    strangers = build_world(attach, make_client, ("dov", "eli", "fay"))
    federate(at(strangers, tmp_path / "other"))
    federate(at(strangers, tmp_path / "given away", "none"))
    assert federate(run).epsilon_of_data == pytest.approx(composed(run, 2))


@pytest.mark.parametrize("before", [{"unit": "none"}, {"generator": "seeded_for_tests"}])
def test_nothing_bounds_a_text_that_was_once_read_without_noise(
    world: Prepared, tmp_path: Path, before: dict[str, Any]
) -> None:
    for place in range(2):
        outcome = federate(at(world, tmp_path / f"before {place}", **before))
        assert outcome.epsilon_of_data is None
        assert outcome.epsilon_of_data_reason
    assert len(verify(tmp_path / NAME)[0]) == 1, "once is enough"
    shutil.rmtree(tmp_path / "before 0")
    for place in range(2):
        outcome = federate(at(world, tmp_path / f"run {place}"))
        assert outcome.epsilon_of_data is None
        assert outcome.epsilon_of_data_reason.startswith("a run without privacy, or whose noise")
    # What was private is still counted, for whoever takes the other line out.
    assert reserved(tmp_path) == 3 + 2 * 2


def test_one_conversation_more_is_another_text(world: Prepared, tmp_path: Path) -> None:
    """Said in the statement: a text that was changed begins a new count."""
    federate(at(world, tmp_path / "one", "none"))
    grown = tuple(replace(party, train=(*party.train, party.train[0])) for party in world.parties)
    run = at(replace(world, parties=grown), tmp_path / "two")
    assert federate(run).epsilon_of_data == pytest.approx(composed(run, 2))
    assert any("begins a new count" in line for line in claim(run.plans))


def test_rows_are_charged_for_the_grid_at_their_own_noise() -> None:
    """The cost is tiny, so it is looked at itself: a quiet run's row is not charged a loud one's."""
    quiet, loud = Row("d", "client", 0.05, 1.0, 1000), Row("d", "client", 50.0, 1.0, 1)
    plan = PrivacyPlan("client", 3, 3.0, 1, 50.0, 1e-3, size=9)
    for size in (1, 9, 4000, 2**24):
        wanted = of_vectors(0.05, size, 1000)
        assert quiet.cost.ratio >= wanted.ratio > 1e4 * loud.cost.ratio
        assert quiet.cost.outside >= wanted.outside
    rows = {"one": [Row("d", "client", 1.0, 1.0, 10)], "two": [loud]}
    spent = [(SampledGaussian(1.0), 10), (SampledGaussian(50.0), 1)]
    both = rows["one"][0].cost + loud.cost
    found = total(rows, "d", plan)
    assert found == epsilon_of(spent, plan, cost=both).epsilon
    assert found > epsilon_of(spent, plan, cost=loud.cost).epsilon
    shares = Shares("skellam", 10, 8, 1.0, Lattice(5, 64.0, 66.0))
    shared = Row("d", "client", 1.0, 1.0, 7, shares_row(shares))
    assert shared.cost == GridCost(0.0, shares.outside(7))


def test_only_what_was_not_spent_is_given_back(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the unit owner a client that is seldom drawn spends less than was planned for it."""
    run = at(world, tmp_path / "run", "owner", federation={"rounds": 3, "clients_per_round": 1})
    seen: list[int] = []
    real = Budget.settle

    def settle(*arguments: Any) -> None:
        seen.append(reserved(tmp_path))
        real(*arguments)

    monkeypatch.setattr(Budget, "settle", settle)
    federate(run)
    assert seen == [9]
    assert reserved(tmp_path) == charged(tmp_path / "run") == 3
    federate(run, resume=True)
    assert reserved(tmp_path) == 3


def test_a_run_that_was_killed_stands_with_all_that_it_reserved(
    world: Prepared, tmp_path: Path
) -> None:
    run = at(world, tmp_path / "run", federation={"rounds": 4})
    kill_in_round(run, 1)
    shutil.rmtree(tmp_path / "run")
    again = at(world, tmp_path / "again", federation={"rounds": 4})
    assert federate(again).epsilon_of_data == pytest.approx(composed(run, 8))


def test_a_kill_between_the_reservation_and_the_runs_own_record_overstates(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = at(world, tmp_path / "run")
    real = Ledger.append

    def die(self: Ledger, kind: str, payload: Any) -> Any:
        if kind == "budget":
            raise Killed
        return real(self, kind, payload)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", die)
        with pytest.raises(Killed):
            federate(run)
    assert reserved(tmp_path) == 2
    outcome = federate(run, resume=True)
    assert len(budget_rows(tmp_path)) == 2, "the first reservation stands for ever"
    assert outcome.epsilon_of_data == pytest.approx(composed(run, 4))


# The same data


def test_a_run_for_clients_counts_for_their_owners(world: Prepared, tmp_path: Path) -> None:
    """All of a client hides each person in it, at a price; a second run comes on top."""
    federate(at(world, tmp_path / "one", "client"))
    run = at(world, tmp_path / "two", "owner")
    assert federate(run).epsilon_of_data > 1.05 * composed(run, 2)


def test_a_run_for_examples_is_no_bargain_for_owners(world: Prepared, tmp_path: Path) -> None:
    """What hid one conversation did not hide a person with two of them at the same noise."""
    federate(at(world, tmp_path / "one", "example", train={"batch_size": 6}))
    outcome = federate(at(world, tmp_path / "two", "owner"))
    assert outcome.epsilon_of_data is None
    assert "hid single conversations" in outcome.epsilon_of_data_reason


def test_a_client_that_joins_does_not_make_the_others_new(
    world: Prepared, tmp_path: Path, attach: Any, make_client: Any
) -> None:
    federate(at(world, tmp_path / "one"))
    more = build_world(attach, make_client, ("ada", "ben", "cyd", "dov"))
    run = at(replace(more, model=world.model), tmp_path / "two")
    assert federate(run).epsilon_of_data == pytest.approx(composed(run, 4))


# The file


def test_an_altered_line_stops_the_next_run(world: Prepared, tmp_path: Path) -> None:
    federate(at(world, tmp_path / "one"))
    path = tmp_path / NAME
    good = path.read_bytes()
    for wrong in (
        good.replace(b"1.0,2]", b"1.0,1]", 1),
        good[: good.rindex(b'"releases"')] + good[good.rindex(b'"releases"') :].replace(b"2", b"0"),
        good[len(good.splitlines(keepends=True)[0]) :],
        b"{}\n" + good,
        good[:-1] + b" ",
        b"\x00" + good[1:],
    ):
        assert wrong != good
        path.write_bytes(wrong)
        for place in range(2):
            with pytest.raises(VerificationError):
                federate(at(world, tmp_path / "two"), resume=bool(place))
        assert path.read_bytes() == wrong
        assert not charged(tmp_path / "two")
        shutil.rmtree(tmp_path / "two", ignore_errors=True)
    path.write_bytes(good)
    assert federate(at(world, tmp_path / "two")).rounds == 2


def test_a_line_that_a_crash_cut_short_is_dropped(world: Prepared, tmp_path: Path) -> None:
    federate(at(world, tmp_path / "one"))
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"index":2,"kind":"res')
    run = at(world, tmp_path / "two")
    assert federate(run).epsilon_of_data == pytest.approx(composed(run, 4))
    verify(tmp_path / NAME)


def test_a_line_cut_short_is_mended_under_a_policy_too(world: Prepared, tmp_path: Path) -> None:
    """Else no run ever starts again: what the error tells to do ends in the same error."""
    policy = write_policy(tmp_path / "site.toml", world)
    federate(at(world, tmp_path / "one", policy=policy, noise_multiplier=2.0))
    with (tmp_path / NAME).open("ab") as file:
        file.write(b'{"index":2,"kind":"res')
    run = at(world, tmp_path / "two", policy=policy, noise_multiplier=2.0)
    assert federate(run).rounds == 2


def test_a_run_whose_reservation_is_gone_does_not_go_on(world: Prepared, tmp_path: Path) -> None:
    run = at(world, tmp_path / "run")
    kill_in_round(run, 0)
    (tmp_path / NAME).unlink()
    with pytest.raises(SottovoceError, match=NAME):
        federate(run, resume=True)
    assert charged(tmp_path / "run") == 1, "nothing was drawn"


def test_a_budget_that_cannot_be_written_stops_the_run_before_its_first_charge(
    world: Prepared, tmp_path: Path
) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(UsageError, match=NAME):
        federate(at(world, tmp_path / "run"))
    assert not charged(tmp_path / "run")
    (tmp_path / NAME).rmdir()
    assert federate(at(world, tmp_path / "run"), resume=True).rounds == 2


def refused_at(place: Path) -> Callable[..., int]:
    """``os.open`` on a disk that takes nothing new in one folder."""
    real = os.open

    def refuse(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if Path(path) == place and flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *more, **named)

    return refuse


def test_a_run_without_privacy_needs_no_folder_beside_its_own(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No private run can begin there either; where a file stands, others count on it."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused_at(tmp_path / NAME))
        assert federate(at(world, tmp_path / "plain", "none")).rounds == 2
        with pytest.raises(UsageError, match=NAME):
            federate(at(world, tmp_path / "run"))
    assert federate(at(world, tmp_path / "run"), resume=True).rounds == 2
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused_at(tmp_path / NAME))
        with pytest.raises(UsageError, match=NAME):
            federate(at(world, tmp_path / "another", "none"))


# Two at once


def test_a_run_waits_for_another_ones_line_and_gives_up_with_a_reason(
    world: Prepared, tmp_path: Path
) -> None:
    path = tmp_path / NAME
    path.touch()
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="held by another process"):
            federate(at(world, tmp_path / "run"))
        assert not charged(tmp_path / "run")
        other.stdin.close()
    assert federate(at(world, tmp_path / "run"), resume=True).rounds == 2


WRITER = """
import sys
from pathlib import Path
from sottovoce.run.budget import Budget
from sottovoce.privacy.plan import PrivacyPlan
from sottovoce.run.budget import Row, total
plan = PrivacyPlan("client", 3, 3.0, 2, 1.0, 1e-3)
budget = Budget(Path(sys.argv[1]))
row = Row("d", "client", 1.0, 1.0, 2)
sys.stdin.readline()
for _ in range(25):
    budget.settle(budget.reserve([row], lambda rows: None), [1])
    total(budget.rows(), "d", plan)
"""


def test_two_threads_lose_no_line_of_each_other(
    world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is of the open file, so threads meet it as processes do."""
    monkeypatch.setattr(budgets, "PATIENCE_S", 60.0)
    row = Row("d", "client", 1.0, 1.0, 2)

    def write(_: int) -> None:
        budget = Budget(tmp_path / NAME)
        for _ in range(5):
            budget.settle(budget.reserve([row], lambda rows: None), [1])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(2)))
    assert len(verify(tmp_path / NAME)[0]) == 20
    assert reserved(tmp_path) == 10


@pytest.mark.slow
def test_two_processes_lose_no_line_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / NAME
    command = [sys.executable, "-c", WRITER, str(path)]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for child in both:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    for child in both:
        _, error = child.communicate(timeout=120)
        assert child.returncode == 0, error
    records, _ = verify(path)
    assert len(records) == 100
    assert reserved(tmp_path) == 50


def test_who_reads_while_another_one_writes_sees_no_damage(world: Prepared, tmp_path: Path) -> None:
    run = at(world, tmp_path / "run")
    federate(run)
    path = tmp_path / NAME
    budget = Budget(path)
    with path.open("ab") as file:
        file.write(b'{"index":2,"kind":"reserve"')
        file.flush()
        plan, text = run.plans.plans[FEDERATION], run.parties[0].fingerprint
        assert total(budget.rows(), text, plan) > 0


def payloads_of(path: Path) -> list[dict[str, Any]]:
    """What the lines of a ledger hold."""
    return [json.loads(line)["payload"] for line in path.read_bytes().splitlines()]


def test_the_file_holds_no_text_no_names_and_no_counts(world: Prepared, tmp_path: Path) -> None:
    """A fingerprint, the noise, the sampling and the releases: what the accountant needs."""
    federate(at(world, tmp_path / "run", "owner"))
    for payload in payloads_of(tmp_path / NAME):
        assert set(payload) <= {"run", "rows", "releases"}
        for row in payload.get("rows", []):
            kinds = [type(value) for value in row]
            assert kinds == [str, str, float, float, int], "text, unit, noise, sampling, releases"
    assert payloads(tmp_path / "run", "budget") == [{"run": next(iter(budget_rows(tmp_path)))}]
