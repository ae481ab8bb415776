"""``sotto verify``: whatever is changed in a run folder, the first record it breaks is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from test_spending import at, build_world, kill_in_round

from sottovoce import cli
from sottovoce.config import make_config
from sottovoce.errors import ConfigError, UsageError, VerificationError
from sottovoce.model.base import LoraSettings, model_folder
from sottovoce.model.tokenizer import load_tokenizer
from sottovoce.run import ledger as ledgers
from sottovoce.run.arms import Watch
from sottovoce.run.check import check_run
from sottovoce.run.ledger import Ledger
from sottovoce.run.local import federate
from sottovoce.run.prepare import Party, Prepared

KINDS: dict[str, dict[str, Any]] = {
    "scaffold": {"strategy": "scaffold", "clients_per_round": 2},
    "ditto": {"personal": "ditto"},
    "merged": {"strategy": "fedex"},
}


class Killed(BaseException):
    """Stands for a kill."""


def stop_in(round_index: int) -> Watch:
    def kill(_arm: str, index: int, _progress: object) -> None:
        if index == round_index:
            raise Killed

    return Watch(on_step=kill)


@pytest.fixture(scope="module")
def runs(
    attach: Any, make_client: Any, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """One finished run of each kind, and one that was killed in its third round."""
    lora = LoraSettings(rank=2, alpha=4, targets=("q_proj",))
    model = attach("llama", lora, hidden_size=16, intermediate_size=16, num_hidden_layers=1)
    parties = []
    for name in ("ada", "ben", "cyd"):
        train, held_out = make_client(name, [5, 6, 7]), make_client(name, [6], seed=1)
        parties.append(Party(name, train.examples, held_out.examples, (None,)))
    made: dict[str, Path] = {}
    for kind, federation in KINDS.items():
        for name in (kind, f"{kind} killed"):
            root = made[name] = tmp_path_factory.mktemp("runs") / name
            tree = {
                "run": {"dir": str(root), "threads": 1, "evaluate_clients": 1},
                "data": {"path": "marketplace"},
                "train": {
                    "optimizer": "sgd",
                    "steps_per_round": 1,
                    "batch_size": 2,
                    "max_length": 48,
                    "learning_rate": 0.1,
                },
                "federation": {"rounds": 3, **federation},
                "privacy": {"unit": "none"},
            }
            config = make_config(tree, place="test")
            tokenizer = load_tokenizer(model_folder("tiny"))
            prepared = Prepared(config, tuple(parties), model, tokenizer, ())
            if name == kind:
                federate(prepared)
            else:
                with pytest.raises(Killed):
                    federate(prepared, watch=stop_in(2))
    return made


@pytest.fixture(params=[*KINDS, *(f"{kind} killed" for kind in KINDS)])
def run(request: pytest.FixtureRequest, runs: Mapping[str, Path], tmp_path: Path) -> Path:
    """A copy of a run, to be altered."""
    return shutil.copytree(runs[request.param], tmp_path / "run")


def records(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (root / "ledger.jsonl").read_text().splitlines()]


def vouching(root: Path, path: Path) -> str:
    """The record that a file breaks, by where it lies."""
    kind, _, *_ = (*path.relative_to(root).parts, "")
    lines = records(root)
    finished = int(path.stem) if path.stem.isdigit() else 0
    if kind in ("state", "clients") or (kind == "rounds" and finished):
        wanted = [r for r in lines if r["payload"].get("round") == finished - 1]
        index = next(record["index"] for record in wanted if record["kind"] == "round")
        return f"record {index} (round {finished - 1})"
    name = {"personal": "personal", "adapter": "end"}.get(kind, "start")
    index = next(record["index"] for record in lines if record["kind"] == name)
    return f"record {index} ({name})"


def vouched_files(root: Path) -> list[Path]:
    """Every file but the ledger, which vouches, and the metrics, which repeat it for display."""
    plain = ("ledger.jsonl", "metrics.jsonl")
    return [p for p in sorted(root.rglob("*")) if p.is_file() and p.name not in plain]


def refusal(root: Path) -> str:
    with pytest.raises(VerificationError) as seen:
        check_run(root)
    return str(seen.value)


def flip(path: Path, place: int, mask: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= mask
    path.write_bytes(data)


def swap(one: Path, two: Path) -> None:
    first, second = one.read_bytes(), two.read_bytes()
    assert first != second
    one.write_bytes(second)
    two.write_bytes(first)


# What is as it was


def test_a_run_that_nobody_touched_passes(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    checked = check_run(run)
    lines = (run / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    assert checked.records == len(lines)
    assert checked.head == hashlib.sha256(lines[-1]).hexdigest()
    kinds = [record["kind"] for record in records(run)]
    assert (checked.rounds, checked.complete) == (kinds.count("round"), "end" in kinds)
    assert checked.rounds == (3 if checked.complete else 2)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_the_runs_hold_every_kind_of_file(runs: Mapping[str, Path]) -> None:
    found = {path.relative_to(root).parts[0] for root in runs.values() for path in root.rglob("*")}
    assert found == {
        "ledger.jsonl",
        "config.toml",
        "metrics.jsonl",
        *("rounds", "state", "clients", "personal", "adapter"),
    }


def test_a_run_that_was_moved_or_copied_is_still_itself(
    runs: Mapping[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(runs["ditto"], tmp_path / "elsewhere")
    assert check_run(copy) == check_run(runs["ditto"])


# What is not


def change_first(path: Path) -> None:
    flip(path, 0)


def change_middle(path: Path) -> None:
    flip(path, path.stat().st_size // 2)


def change_last(path: Path) -> None:
    flip(path, -1, 0x80)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def delete(path: Path) -> None:
    path.unlink()


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "alter",
    [
        change_first,
        change_middle,
        change_last,
        cut,
        halve,
        empty,
        lengthen,
        delete,
        make_folder,
    ],
)
def test_every_file_that_is_altered_breaks_the_record_that_vouches_for_it(
    run: Path, alter: Callable[[Path], None]
) -> None:
    files = vouched_files(run)
    assert len(files) > 4
    for path in files:
        named, original = vouching(run, path), path.read_bytes()
        alter(path)
        said = refusal(run)
        assert said.startswith(named), (path, said)
        assert str(path) in said, "the file is named as well"
        if path.is_dir():
            path.rmdir()
        path.write_bytes(original)
    check_run(run)


def test_no_byte_of_a_checkpoint_can_change(runs: Mapping[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(runs["scaffold killed"], tmp_path / "run")
    path = root / "rounds" / "00001.safetensors"
    for place in range(path.stat().st_size):
        flip(path, place)
        assert refusal(root).startswith("record 2 (round 0)"), place
        flip(path, place)
    check_run(root)


def test_the_first_broken_record_is_the_one_that_is_named(run: Path) -> None:
    for finished in (2, 1, 0):
        flip(run / "rounds" / f"{finished:05d}.safetensors", -1)
        named = vouching(run, run / "rounds" / f"{finished:05d}.safetensors")
        assert refusal(run).startswith(named)


@pytest.mark.parametrize("folder", ["rounds", "personal", "clients"])
def test_files_that_changed_places_are_seen(
    runs: Mapping[str, Path], tmp_path: Path, folder: str
) -> None:
    kind = {"rounds": "merged", "personal": "ditto", "clients": "ditto"}[folder]
    root = shutil.copytree(runs[kind], tmp_path / "run")
    files = sorted((root / folder).rglob("*.safetensors"))
    for one, two in pairwise(files):
        swap(one, two)
        assert refusal(root).startswith(vouching(root, one))
        swap(one, two)
    check_run(root)


def test_files_of_another_run_are_seen(run: Path, runs: Mapping[str, Path]) -> None:
    """Sound files all of them, and of the same shapes."""
    for other in (runs["merged"], runs["scaffold"]):
        for place in ("rounds/00001.safetensors", "config.toml"):
            mine, original = run / place, (run / place).read_bytes()
            if original != (foreign := (other / place).read_bytes()):
                mine.write_bytes(foreign)
                assert refusal(run).startswith(vouching(run, mine))
                mine.write_bytes(original)
    check_run(run)


# The ledger itself


def test_lines_that_are_altered_are_named(run: Path) -> None:
    path = run / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    count = len(lines)

    def says(changed: list[bytes], line: int) -> None:
        path.write_bytes(b"".join(changed))
        assert refusal(run).startswith(f"line {line} of the ledger")

    for place in range(count):
        before, line, after = lines[:place], lines[place], lines[place + 1 :]
        says([*before, line.replace(b'"kind":"', b'"kind":"x', 1), *after], place + 1)
        says([*before, line, line, *after], place + 2)
        if after:
            says([*before, *after], place + 1)
            says([*before, after[0], line, *after[1:]], place + 1)
    says([*lines, b"{}\n"], count + 1)
    says([*lines, b"\n"], count + 1)
    says([*lines, lines[-1][: len(lines[-1]) // 2]], count + 1)
    says([*lines[:-1], lines[-1][:-1]], count)
    path.write_bytes(b"".join(lines))
    check_run(run)


def test_a_ledger_that_lost_its_last_lines_is_never_a_finished_run(run: Path) -> None:
    """A chain cannot show that something followed; that it has no end, it can."""
    path = run / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        path.write_bytes(b"".join(lines[:kept]))
        try:
            assert not check_run(run).complete
        except VerificationError as error:
            assert "record" in str(error)


def rewritten(run: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Write a whole other chain, sound in itself, as somebody could who can write the file."""
    lines = records(run)
    change(lines)
    (run / "ledger.jsonl").unlink()
    with Ledger.open(run / "ledger.jsonl") as ledger:
        for line in lines:
            ledger.append(line["kind"], line["payload"])
    ledgers.verify(run / "ledger.jsonl")


FORGERIES: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "no start": (lambda lines: lines.pop(0), "record 0 (evaluation 0)"),
    "two starts": (lambda lines: lines.insert(1, lines[0]), "record 1 (start)"),
    "a round twice": (lambda lines: lines.insert(3, lines[2]), "record 3 (round 0)"),
    "a round missing": (lambda lines: lines.pop(2), "record 3 (round 1)"),
    "something after the end": (lambda lines: lines.append(lines[1]), "record 9 (evaluation 0)"),
    "no hash": (lambda lines: lines[2]["payload"].pop("weights_sha256"), "record 2 (round 0)"),
    "a number for a list": (
        lambda lines: lines[2]["payload"].update(clients_sha256=5),
        "record 2 (round 0)",
    ),
    "a list too short": (
        lambda lines: lines[2]["payload"].update(clients_sha256=[]),
        "record 2 (round 0)",
    ),
    "a text for a number": (
        lambda lines: lines[2]["payload"].update(round="zero"),
        "record 2 (round zero)",
    ),
    "an unknown client": (
        lambda lines: [line["payload"].update(clients=["x", "y"]) for line in lines[2:7:4]],
        "record",
    ),
}


@pytest.mark.parametrize("forgery", sorted(FORGERIES))
def test_a_sound_chain_must_still_tell_the_story_of_a_run(
    runs: Mapping[str, Path], tmp_path: Path, forgery: str
) -> None:
    change, named = FORGERIES[forgery]
    root = shutil.copytree(runs["scaffold"], tmp_path / "run")
    assert len(records(root)) == 9
    rewritten(root, lambda lines: None)
    check_run(root)
    rewritten(root, change)  # type: ignore[arg-type]
    assert refusal(root).startswith(named)


@pytest.fixture(scope="module")
def private(
    attach: Any, make_client: Any, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """A finished private run of each unit, in whose second round a client was killed once."""
    world = build_world(attach, make_client)
    made: dict[str, Path] = {}
    for unit in ("client", "owner"):
        made[unit] = tmp_path_factory.mktemp("private") / unit
        run = at(world, made[unit], unit, train={"steps_per_round": 2, "batch_size": 6})
        kill_in_round(run, 1)
        federate(run, resume=True)
    return made


def charges(lines: list[dict[str, Any]], index: int) -> list[dict[str, Any]]:
    """What the ledger charges for a round."""
    found = [line for line in lines if line["kind"] == "charge"]
    return [line["payload"] for line in found if line["payload"]["round"] == index]


def unpaid(lines: list[dict[str, Any]]) -> None:
    lines[:] = [line for line in lines if line["kind"] != "charge"]


def unpaid_at_last(lines: list[dict[str, Any]]) -> None:
    lines[:] = [line for line in lines if line["payload"] not in charges(lines, 1)]


def paid_afterwards(lines: list[dict[str, Any]]) -> None:
    place = next(i for i, line in enumerate(lines) if line["kind"] == "round")
    lines[place - 1], lines[place] = lines[place], lines[place - 1]


def paid_for_another(lines: list[dict[str, Any]]) -> None:
    charges(lines, 0)[0]["round"] = 7


def paid_too_little(lines: list[dict[str, Any]]) -> None:
    name = max(charges(lines, 0)[0]["releases"])
    charges(lines, 0)[0]["releases"][name] -= 1


def paid_for_nobody(lines: list[dict[str, Any]]) -> None:
    charges(lines, 0)[0]["releases"].popitem()


@pytest.mark.parametrize(
    ("forge", "named"),
    [
        (unpaid, 0),
        (unpaid_at_last, 1),
        (paid_afterwards, 0),
        (paid_for_another, 0),
        (paid_too_little, 0),
        (paid_for_nobody, 0),
    ],
)
@pytest.mark.parametrize("unit", ["client", "owner"])
def test_a_round_of_a_private_run_that_nobody_paid_for_is_named(
    private: Mapping[str, Path],
    tmp_path: Path,
    unit: str,
    forge: Callable[[list[dict[str, Any]]], None],
    named: int,
) -> None:
    root = shutil.copytree(private[unit], tmp_path / "run")
    assert check_run(root).complete
    rewritten(root, lambda lines: None)
    check_run(root)
    rewritten(root, forge)
    said = refusal(root)
    assert f"(round {named}) has no charge before it that covers" in said


def test_at_a_server_whose_clients_add_the_noise_they_pay_and_else_it_pays(
    private: Mapping[str, Path], tmp_path: Path
) -> None:
    """Its ledger has no plans of single clients; that of whole clients is its own to charge."""
    for unit in ("owner", "client"):
        root = shutil.copytree(private[unit], tmp_path / unit)

        def serve(lines: list[dict[str, Any]]) -> None:
            del lines[0]["payload"]["plans"]
            unpaid(lines)

        rewritten(root, serve)
        if unit == "owner":
            assert check_run(root).complete
        else:
            assert "covers the federation" in refusal(root)


def test_a_folder_that_lost_its_ledger_fails_and_one_without_a_run_is_refused(
    run: Path, tmp_path: Path
) -> None:
    (run / "ledger.jsonl").unlink()
    assert "ledger.jsonl is missing" in refusal(run)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("no folder")
    for place in ("empty", "file", "nowhere"):
        with pytest.raises(ConfigError, match=f"{place} holds no run"):
            check_run(tmp_path / place)
    (tmp_path / "empty" / "ledger.jsonl").touch()
    assert "--resume" in refusal(tmp_path / "empty")


# The command


def sotto(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["sotto", "verify", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    caught = capsys.readouterr()
    return (ended.value.code or 0), caught.out, caught.err  # type: ignore[return-value]


def test_the_command_ends_with_four_and_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = sotto(monkeypatch, capsys, str(run), "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    facts = json.loads(out)
    assert facts["ok"] is True
    assert (facts["records"], facts["ledger_head"]) == (
        len(records(run)),
        check_run(run).head,
    )
    code, out, _ = sotto(monkeypatch, capsys, str(run))
    assert code == 0
    assert ("--resume" in out) != facts["complete"]
    for path in vouched_files(run):
        named, original = vouching(run, path), path.read_bytes()
        change_middle(path)
        code, out, err = sotto(monkeypatch, capsys, str(run), "--json")
        assert (code, out.count("\n")) == (4, 1)
        told = json.loads(out)
        assert told["ok"] is False
        assert told["error"].startswith(named)
        assert err == f"error: {told['error']}\n"
        path.write_bytes(original)
    flip(run / "ledger.jsonl", 40)
    code, out, err = sotto(monkeypatch, capsys, str(run))
    assert (code, out) == (4, "")
    assert err.startswith("error: line 1 of the ledger")


def test_the_command_says_what_is_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file", tmp_path / "nowhere"):
        code, out, err = sotto(monkeypatch, capsys, str(place))
        assert (code, out) == (2, "")
        assert "holds no run" in err


def test_a_run_under_way_is_not_judged(runs: Mapping[str, Path]) -> None:
    """Between a file and its record the folder would look damaged; a second reader is welcome."""
    ledger = runs["ditto"] / "ledger.jsonl"
    with (
        Ledger.open(ledger),
        pytest.raises(UsageError, match=r"under way.*Wait until it has ended") as caught,
    ):
        check_run(runs["ditto"])
    assert caught.value.exit_code == 2
    with ledgers.unchanging(ledger):
        assert check_run(runs["ditto"]).complete
