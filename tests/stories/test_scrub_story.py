"""``sotto scrub`` and ``[data] scrub`` as people meet them at the command line."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sottovoce.config import load_config
from sottovoce.run import cleaning
from sottovoce.run.prepare import load_parties

Sotto = Callable[..., tuple[int, str, str]]

SECRETS = ("ada.love@uni.example.edu", "13812345678", "4111 1111 1111 1111", "omar@firm.example.cn")
OPEN = "When does the shop in the old street open on a holiday, please?"


def record(question: str, answer: str = "Thank you, that is noted.", **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **more}


RECORDS = [
    record(f"Write to {SECRETS[0]} please.", owner=SECRETS[0], client="north"),
    record(f"我的电话是{SECRETS[1]}，谢谢。", owner="bo", client="north"),
    record(OPEN, owner=SECRETS[0], client="north"),
    record(OPEN.upper(), owner="bo", client="north"),
    record(OPEN, owner="cleo", client="south"),
    record("I have diabetes; is this sugar-free?", owner="dan", client="south"),
    record("Card?", f"It is {SECRETS[2]}.", owner="dan", client="south"),
    record("And now?", "Nothing.", owner="eva", client="south"),
]


def write(path: Path, records: list[dict[str, Any]] | str = RECORDS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(records, str):
        path.write_text(records, encoding="utf-8")
    else:
        lines = [json.dumps(one, ensure_ascii=False) for one in records]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def said(path: Path) -> list[str]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [turn["content"] for row in rows for turn in row["messages"]]


def test_a_file_is_masked_and_counted(sotto: Sotto) -> None:
    write(Path("talks.jsonl"))
    before = Path("talks.jsonl").read_bytes()
    code, out, err = sotto("scrub", "talks.jsonl", "clean.jsonl", "--json")
    assert code == 0, err
    assert out.count("\n") == 1
    facts = json.loads(out)
    assert facts["documents"] == 8
    assert facts["entities"] == sum(facts["by_kind"].values()) >= 3
    assert {"EMAIL", "PHONE", "CREDIT_CARD"} <= set(facts["by_kind"])
    assert facts["seconds"] > 0
    assert facts["mb_per_second"] > 0
    assert facts["flags"] == {"HEALTH": 1}
    assert (facts["duplicates"], facts["dropped"], facts["replace"]) == (0, 0, "mask")
    text = Path("clean.jsonl").read_text(encoding="utf-8")
    assert not [secret for secret in SECRETS if secret in text]
    assert "Write to [EMAIL] please." in text
    assert "diabetes" in text, "flags take nothing out"
    assert Path("talks.jsonl").read_bytes() == before

    code, out, err = sotto("scrub", "clean.jsonl", "again.jsonl", "--json")
    assert code == 0, err
    assert json.loads(out)["entities"] == 0
    assert Path("again.jsonl").read_bytes() == Path("clean.jsonl").read_bytes()


def test_owners_are_hidden_and_stay_apart(sotto: Sotto) -> None:
    write(Path("talks.jsonl"))
    assert sotto("scrub", "talks.jsonl", "clean.jsonl")[0] == 0
    rows = [json.loads(line) for line in Path("clean.jsonl").read_text().splitlines()]
    owners = [row["owner"] for row in rows]
    assert owners[0] == owners[2]
    assert len(set(owners)) == 5
    assert [row["client"] for row in rows] == [one["client"] for one in RECORDS]


def test_surrogates_need_a_key_which_is_made_once_for_its_owner_alone(sotto: Sotto) -> None:
    write(Path("talks.jsonl"))
    asked = ["scrub", "talks.jsonl", "a.jsonl", "--replace", "pseudonym"]
    code, _, err = sotto(*asked)
    assert (code, "--key FILE" in err, Path("a.jsonl").exists()) == (2, True, False)
    code, _, err = sotto(*asked, "--key", "keys/scrub.key")
    assert code == 0, err
    key = Path("keys/scrub.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(bytes.fromhex(key.read_text())) == 32
    assert sotto(*asked[:2], "b.jsonl", *asked[3:], "--key", str(key))[0] == 0
    first, second = Path("a.jsonl").read_text(), Path("b.jsonl").read_text()
    assert first == second
    assert not [secret for secret in SECRETS if secret in first]
    assert "@example.com" in first
    assert sotto(*asked[:2], "c.jsonl", *asked[3:], "--key", "other.key")[0] == 0
    assert Path("c.jsonl").read_text() != first
    code, out, _ = sotto("scrub", "a.jsonl", "d.jsonl", *asked[3:], "--key", str(key), "--json")
    assert (code, Path("d.jsonl").read_text()) == (0, first), out
    key.chmod(0o644)
    code, _, err = sotto(*asked[:2], "e.jsonl", *asked[3:], "--key", str(key))
    assert (code, "others can read it" in err) == (2, True)


def test_drop_leaves_out_whole_conversations(sotto: Sotto) -> None:
    write(Path("talks.jsonl"))
    code, out, err = sotto("scrub", "talks.jsonl", "clean.jsonl", "--replace", "drop", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["dropped"] >= 3
    texts = said(Path("clean.jsonl"))
    assert len(texts) == 2 * (8 - facts["dropped"])
    assert OPEN in texts


def test_a_folder_keeps_its_shape_and_forms_become_lines(sotto: Sotto) -> None:
    write(Path("in/a/talks.jsonl"), RECORDS[:2])
    write(Path("in/b.csv"), f"question,answer\nwho,{SECRETS[3]}\n")
    write(Path("in/note.txt"), f"Call {SECRETS[1]}.\n\nThen stop.\n")
    write(Path("in/list.json"), json.dumps([RECORDS[2]]))
    code, out, err = sotto("scrub", "in", "out", "--json", "--report", "told")
    assert code == 0, err
    names = sorted(p.relative_to("out").as_posix() for p in Path("out").rglob("*") if p.is_file())
    assert names == ["a/talks.jsonl", "b.csv.jsonl", "list.json.jsonl", "note.txt"]
    assert Path("out/note.txt").read_text() == "Call [PHONE].\n\nThen stop.\n"
    assert said(Path("out/b.csv.jsonl")) == ["who", "[EMAIL]"]
    assert json.loads(out)["files"] == 4
    for path in [*Path("out").rglob("*"), *Path("told").rglob("*")]:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not [secret for secret in SECRETS if secret in text], path
    assert sorted(p.name for p in Path().iterdir()) == ["in", "out", "told"], "nothing is left over"


def test_the_report_is_one_page_without_anything_from_outside(sotto: Sotto) -> None:
    evil = record("</script><img src=x onerror=alert(1)> mail me: " + SECRETS[0])
    write(Path("talks.jsonl"), [*RECORDS, evil])
    assert sotto("scrub", "talks.jsonl", "clean.jsonl", "--report", "told")[0] == 0
    report = json.loads(Path("told/report.json").read_text())
    assert report["documents"] == 9
    assert report["flags"] == {"HEALTH": 1}
    shown = [one["before"] + one["shown"] + one["after"] for one in report["decisions"]]
    assert any("[EMAIL]" in one for one in shown)
    assert [one["shown"] for one in report["flagged"]] == ["diabetes"]
    page = Path("told/report.html").read_text()
    assert "prefers-color-scheme: dark" in page
    assert "keydown" in page
    assert page.count("</script>") == 2
    assert "<img" not in page
    for outside in ("http://", "https://", "src=", "@import", "url("):
        assert outside not in page.replace("img src=x", ""), outside
    assert not [secret for secret in SECRETS if secret in page]


def test_what_is_there_is_not_written_over(sotto: Sotto) -> None:
    write(Path("talks.jsonl"))
    write(Path("clean.jsonl"), "mine")
    code, _, err = sotto("scrub", "talks.jsonl", "clean.jsonl")
    assert (code, "--overwrite" in err, Path("clean.jsonl").read_text()) == (2, True, "mine")
    assert sotto("scrub", "talks.jsonl", "clean.jsonl", "--overwrite")[0] == 0
    assert "[EMAIL]" in Path("clean.jsonl").read_text()
    write(Path("in/a.jsonl"))
    write(Path("out/old.txt"), "old")
    assert sotto("scrub", "in", "out")[0] == 2
    assert sotto("scrub", "in", "out", "--overwrite")[0] == 0
    assert [path.name for path in Path("out").iterdir()] == ["a.jsonl"]
    for source, target in (("talks.jsonl", "talks.jsonl"), ("in", "in/x"), ("in/a.jsonl", "in")):
        code, _, err = sotto("scrub", source, target, "--overwrite")
        assert (code, "one lies in the other" in err) == (2, True)


def test_a_broken_file_leaves_nothing_behind(sotto: Sotto) -> None:
    write(Path("in/a.jsonl"))
    write(Path("in/b.jsonl"), "{broken")
    code, _, err = sotto("scrub", "in", "out")
    assert (code, "b.jsonl:1" in err) == (2, True)
    assert sorted(path.name for path in Path().iterdir()) == ["in"]


def test_explain_says_what_is_found_and_why(sotto: Sotto) -> None:
    code, out, _ = sotto("scrub", "--explain", f"Mail {SECRETS[0]} now", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["text"] == "Mail [EMAIL] now"
    span = told["spans"][0]
    assert (span["kind"], span["start"], span["value"]) == ("EMAIL", 5, SECRETS[0])
    assert (span["recogniser"], span["rests_on"]) == ("internet.email", "has the form")
    code, out, _ = sotto("scrub", "--explain", "order no. A1234567")
    assert (code, "beside a word that says so; the word 'order'" in out) == (0, True), out
    code, out, _ = sotto("scrub", "--explain", "nothing here")
    assert (code, "nothing was found" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "IN OUT"),
        (("talks.jsonl",), "IN OUT"),
        (("missing.jsonl", "out.jsonl"), "missing.jsonl"),
        (("talks.jsonl", "out.jsonl", "--replace", "hash"), "mask, pseudonym, drop"),
    ],
)
def test_wrong_usage_is_one_clear_error(
    sotto: Sotto, arguments: tuple[str, ...], told: str
) -> None:
    write(Path("talks.jsonl"))
    code, _, err = sotto("scrub", *arguments)
    assert (code, told in err) == (2, True), err
    assert not Path("out.jsonl").exists()


# --- before training -------------------------------------------------------------------------------

CONFIG = """
[data]
path = "talks.jsonl"
validation_fraction = 0.4
{}
[privacy]
unit = "none"
"""


def config(said: str) -> Path:
    write(Path("talks.jsonl"))
    Path("c.toml").write_text(CONFIG.format(said))
    return Path("c.toml")


def test_what_becomes_of_personal_data_has_to_be_written_out(sotto: Sotto) -> None:
    config("")
    code, _, err = sotto("run", "c.toml")
    assert code == 2
    for choice in ('"mask"', '"pseudonym"', '"drop"', '"off"'):
        assert choice in err
    assert "data.scrub is missing" in err


def trained_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, tuple[Any, ...]]:
    """All text that would be trained on or held out, and the table of what was loaded."""
    from sottovoce.run import prepare

    seen: list[str] = []

    def all_of(talks: Any, *_: Any) -> tuple[list[Any], Any]:
        seen.extend(repr(talk.messages) for talk in talks)
        return [object()], prepare.EncodeSummary()

    monkeypatch.setattr(prepare, "encode_all", all_of)
    monkeypatch.setattr(prepare, "encode_chat", lambda talk, *rest: all_of([talk]))
    _, table = load_parties(load_config(path), None)  # type: ignore[arg-type]
    return "\n".join(seen), table


@pytest.mark.parametrize("way", ["mask", "pseudonym", "drop"])
def test_no_personal_data_reach_training(
    sotto: Sotto, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    text, table = trained_on(config(f'scrub = "{way}"'), monkeypatch)
    assert not [secret for secret in SECRETS if secret in text]
    (row,) = [row for row in table if row[1] == way]
    assert "EMAIL" in row[4]
    assert Path("scrub.key").exists() == (way == "pseudonym")


def test_off_leaves_everything_and_says_nothing(
    sotto: Sotto, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, table = trained_on(config('scrub = "off"'), monkeypatch)
    assert all(secret in text for secret in SECRETS[:3])
    assert not [row for row in table if row[1] in ("off", "mask")]


def test_duplicates_go_where_that_is_asked_for(
    sotto: Sotto, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, table = trained_on(config('scrub = "off"\ndeduplicate = true'), monkeypatch)
    assert text.lower().count(OPEN.lower()) == 2, "one of each client"
    assert ("all", "unique", "7", "1 duplicates", "") in table


def test_the_key_lies_beside_the_configuration_unless_it_is_named(
    sotto: Sotto, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config('scrub = "pseudonym"\nscrub_key = "keys/own.key"')
    assert load_config(path).data.scrub_key == str(Path("keys/own.key").absolute())
    trained_on(path, monkeypatch)
    first = Path("keys/own.key").read_text()
    assert trained_on(path, monkeypatch)[0] == trained_on(path, monkeypatch)[0]
    assert Path("keys/own.key").read_text() == first
    Path("keys/own.key").write_text("zz")
    with pytest.raises(cleaning.ConfigError, match="64 hexadecimal digits"):
        trained_on(path, monkeypatch)


def test_a_configuration_says_how_files_are_scrubbed(sotto: Sotto) -> None:
    config('scrub = "drop"\ndeduplicate = true\nclient_column = "client"')
    code, out, err = sotto("scrub", "talks.jsonl", "clean.jsonl", "--config", "c.toml", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["replace"], facts["duplicates"]) == ("drop", 1)
    assert facts["dropped"] >= 3


@pytest.mark.slow
def test_chat_begins_with_a_scrubbed_message(sotto: Sotto) -> None:
    said = {"role": "system", "content": f"You help {SECRETS[0]}."}
    rows = [
        {"client": "north", "owner": name, "messages": [said, *record("Hm?")["messages"]]}
        for name in ("ada", "bo", "cleo", "dan")
    ]
    write(Path("talks.jsonl"), rows)
    small = "[train]\nsteps_per_round = 1\nmax_length = 64\n[federation]\nrounds = 1\n"
    Path("c.toml").write_text(CONFIG.format('scrub = "mask"') + small)
    assert sotto("run", "c.toml", "--json")[0] == 0
    asked = ["chat", "runs/c", "--once", "Hm?", "--max-new-tokens", "2", "--json"]
    code, out, err = sotto(*asked)
    assert code == 0, err
    assert json.loads(out)["system"] == "You help [EMAIL]."
