"""Files to conversations and documents: every kind of file, every place of an error, real data."""

import csv
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sottovoce.data.conversation import Conversation, Message
from sottovoce.data.load import load, load_text
from sottovoce.data.settings import DataSettings
from sottovoce.errors import ConfigError, DataError, MissingExtraError

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
GOOD = '{"question": "q", "answer": "a", "shop": "s"}'


@pytest.fixture(scope="module")
def one_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give one folder to all draws of a property test."""
    return tmp_path_factory.mktemp("drawn")


def need(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared data folder has no {'/'.join(parts)}")
    return path


def put(folder: Path, name: str, content: str | bytes = GOOD) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder: Path, path: str | tuple[str, ...], **rest: object) -> tuple[Conversation, ...]:
    return load(DataSettings(path=path, **{"clients": "file", **rest}), folder).conversations


def said(conversations: tuple[Conversation, ...]) -> list[str]:
    return [conversation.messages[0].content for conversation in conversations]


def sources(conversations: tuple[Conversation, ...]) -> list[str]:
    return [conversation.source for conversation in conversations]


def fault(folder: Path, path: str | tuple[str, ...], **rest: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, path, **rest)
    return str(caught.value)


# JSON Lines


def test_json_lines_with_mark_windows_line_ends_and_blank_lines(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", b"\xef\xbb\xbf" + f"{GOOD}\r\n\r\n  \n{GOOD}".encode())
    put(tmp_path, "b.NDJSON", b"\xef\xbb\xbf\n" + GOOD.encode())
    assert sources(read(tmp_path, "a.jsonl")) == ["a.jsonl:1", "a.jsonl:4"]
    assert sources(read(tmp_path, "b.NDJSON")) == ["b.NDJSON:2"]


def test_a_line_is_what_a_newline_ends_whatever_else_unicode_calls_one(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", GOOD.replace('"q"', '"a\u2028b\x85c"') + f"\n{GOOD}\n")
    got = read(tmp_path, "a.jsonl")
    assert got[0].messages[0].content == "a\u2028b\x85c"
    assert sources(got) == ["a.jsonl:1", "a.jsonl:2"]


def test_a_line_of_ten_megabytes(tmp_path: Path) -> None:
    long = "é" * 5_000_000
    put(tmp_path, "a.jsonl", json.dumps({"question": long, "answer": "a"}, ensure_ascii=False))
    assert said(read(tmp_path, "a.jsonl")) == [long]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b'{"a": ', "broken JSON"),
        (b'{"question": "q", "answer": "a",}', "broken JSON"),
        pytest.param(b"[" * 10**6, "nested too deeply", id="deep"),
        (b'{"question": "q", "question": "r", "answer": "a"}', "'question' stands twice"),
        (b'{"question": "\\ud800", "answer": "a"}', "lone surrogate"),
        (b'{"question": "\\u0000", "answer": "a"}', "NUL character"),
        (b'{"question": 3, "answer": "a"}', "content is not text"),
        (b'{"question": NaN, "answer": "a"}', "NaN"),
        (b"[]", "not an object"),
        (b'{"question": "q", "anwser": "a"}', 'response_column = "anwser"'),
        (b'{"messages": [{"role": "bot", "content": ""}]}', "unknown role"),
        (b'{"messages": [{"role": "user", "content": ""}]}', "no assistant turn"),
        (b'{"question": "caf\xe9", "answer": "a"}', "wrong encoding: byte 0xe9 at offset 63"),
        (b'{"question": "\x00", "answer": "a"}', "wrong encoding: a NUL byte at offset 60"),
    ],
)
def test_a_wrong_line_stops_with_its_place_or_is_counted(
    tmp_path: Path, line: bytes, shown: str
) -> None:
    put(tmp_path, "a.jsonl", GOOD.encode() + b"\n" + line + b"\n" + GOOD.encode())
    message = fault(tmp_path, "a.jsonl")
    assert message.startswith("a.jsonl:2: ")
    assert shown in message
    loaded = load(DataSettings(path="a.jsonl", clients="file", strict=False), tmp_path)
    assert sources(loaded.conversations) == ["a.jsonl:1", "a.jsonl:3"]
    kind = message.removeprefix("a.jsonl:2: ").partition(":")[0]
    assert loaded.summary.files[0].skipped == ((kind, 1),)


def test_utf16_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", GOOD.encode("utf-16"))
    assert "a.jsonl:1: wrong encoding: byte 0xff at offset 0" in fault(tmp_path, "a.jsonl")
    assert "iconv -f UTF-16" in fault(tmp_path, "a.jsonl")
    put(tmp_path, "a.csv", "question,answer\n".encode("utf-16-le"))
    assert "a.csv:1: wrong encoding: a NUL byte at offset 1" in fault(tmp_path, "a.csv")


# JSON


def test_json_arrays_know_their_lines(tmp_path: Path) -> None:
    put(tmp_path, "a.json", f"\n[\n  {GOOD},\n\n {GOOD}\n , {GOOD} ]\n")
    assert sources(read(tmp_path, "a.json")) == ["a.json:3", "a.json:5", "a.json:6"]


def test_json_may_hold_records_one_after_another(tmp_path: Path) -> None:
    put(tmp_path, "a.json", json.dumps(json.loads(GOOD), indent=2) + f"\n{GOOD}\n{GOOD}")
    assert sources(read(tmp_path, "a.json")) == ["a.json:1", "a.json:6", "a.json:7"]


@pytest.mark.parametrize(
    ("content", "place", "shown"),
    [
        (f"[\n{GOOD},\n]", "a.json:3: ", "a record must follow the comma"),
        (f"[\n{GOOD}\n{GOOD}]", "a.json:3: ", "a comma or a closing bracket"),
        (f"[\n{GOOD}\n", "a.json:3: ", "a comma or a closing bracket"),
        ("[\n", "a.json:2: ", "not closed"),
        (f"{GOOD}\n,{GOOD}", "a.json:2: ", "broken JSON"),
        (f"[{GOOD}]\n{GOOD}", "a.json:2: ", "a second value follows"),
        ('[\n{"question":\n "q" "answer"}]', "a.json:3: ", "broken JSON"),
        (f'[{GOOD},\n{{"a": 1, "a": 2}}]', "a.json:2: ", "'a' stands twice"),
        pytest.param("[" * 10**6, "a.json:1: ", "nested too deeply", id="deep"),
        (f'[{GOOD},\n\n{{"a": 1}}]', "a.json:3: ", "missing column"),
        ('\n\n"text"', "a.json:3: ", "not an object"),
        (b'["a",\n\n"\xff"]', "a.json:3: ", "wrong encoding: byte 0xff at offset 8"),
        (b'["a",\n\n"\x00"]', "a.json:3: ", "a NUL byte at offset 8"),
    ],
)
def test_wrong_json_stops_with_its_place(
    tmp_path: Path, content: str | bytes, place: str, shown: str
) -> None:
    put(tmp_path, "a.json", content)
    message = fault(tmp_path, "a.json")
    assert message.startswith(place)
    assert shown in message


def test_what_cannot_be_resumed_stops_even_where_faults_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.json", f"[{GOOD},\n")
    assert "a.json:2: broken JSON" in fault(tmp_path, "a.json", strict=False)
    put(tmp_path, "a.csv", b"question,answer\nq,a\nq,\xff\n")
    assert "a.csv:3: wrong encoding" in fault(tmp_path, "a.csv", strict=False)


@given(st.lists(st.sampled_from([GOOD, " ", "\n", "\r\n", ",", "[", "]", "{"]), max_size=12))
@settings(max_examples=60, deadline=None)
def test_json_agrees_with_the_standard_library(one_folder: Path, parts: list[str]) -> None:
    content = "[" + "".join(parts)
    put(one_folder, "a.json", content)
    try:
        expected = json.loads(content)
    except json.JSONDecodeError:
        assert "a.json:" in fault(one_folder, "a.json")
        return
    if not expected:
        assert "empty file" in fault(one_folder, "a.json")
    elif all(isinstance(record, dict) for record in expected):
        assert len(read(one_folder, "a.json")) == len(expected)


# CSV


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_csv_with_any_delimiter_mark_and_line_end(tmp_path: Path, sign: str) -> None:
    rows = [["instruction", "answer", "shop"], ["a,b;c\td", 'say "x"\r\n\ny', "s"], ["q", "r", "t"]]
    with (tmp_path / "a.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=sign).writerows(rows)
    got = read(tmp_path, "a.csv", clients="column")
    assert [[message.content for message in one.messages] for one in got] == [
        rows[1][:2],
        rows[2][:2],
    ]
    assert [one.client for one in got] == ["s", "t"]
    # The first record spans three lines, so the second begins on the fifth.
    assert sources(got) == ["a.csv:2", "a.csv:5"]


def test_tsv_is_split_at_tabs_only(tmp_path: Path) -> None:
    put(tmp_path, "a.tsv", "answer\tquestion, or so, or\tquestion\na\tx\tq\n")
    assert said(read(tmp_path, "a.tsv")) == ["q"]


def test_csv_blank_lines_are_passed_over_and_counted_as_lines(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "\nquestion,answer\n\nq,a\n\n\nr,b")
    assert sources(read(tmp_path, "a.csv")) == ["a.csv:4", "a.csv:7"]


def test_a_large_csv_field_leaves_the_global_bound_alone(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    put(tmp_path, "a.csv", f"question,answer\n{'x' * (before + 1)},a\n")
    assert len(said(read(tmp_path, "a.csv"))[0]) == before + 1
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "place", "shown"),
    [
        ('question,answer\nq,a\n"q,a\nb', "a.csv:3: ", "broken CSV: unexpected end"),
        ('question,answer\n"q"x,a\n', "a.csv:2: ", "broken CSV"),
        ("question,answer\nq\n", "a.csv:2: ", "broken CSV: the row has 1 fields, the header 2"),
        ("question,answer\nq,a,b\n", "a.csv:2: ", "broken CSV: the row has 3 fields"),
        ("question,question\nq,a\n", "a.csv:1: ", "one name"),
        ("question,anwser\nq,a\n", "a.csv:2: ", "the columns are 'question', 'anwser'"),
        ('question,answer\n"a\nb",\n', "a.csv:2: ", "empty assistant turn"),
        (b'question,answer\n"a\n\xe9",x\n', "a.csv:3: ", "wrong encoding: byte 0xe9 at offset 19"),
        (b"question,answer\nq,\x00\n", "a.csv:2: ", "NUL byte at offset 18"),
        ("question,answer\nq\rr,a\n", "a.csv:2: ", "broken CSV"),
    ],
)
def test_wrong_csv_stops_with_its_place(
    tmp_path: Path, content: str | bytes, place: str, shown: str
) -> None:
    put(tmp_path, "a.csv", content)
    message = fault(tmp_path, "a.csv")
    assert message.startswith(place)
    assert shown in message


def test_named_columns(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", "said,reply,who,where,why,more,sys,answer\nq,a,w,c,l,m,s,no\n")
    names = {"instruction": "said", "response": "reply", "owner": "who", "client": "where"}
    names |= {"label": "why", "context": "more", "system": "sys"}
    named = {f"{field}_column": column for field, column in names.items()}
    (got,) = read(tmp_path, "a.csv", clients="column", **named)
    assert (got.owner, got.client, got.label) == ("w", "c", "l")
    assert [one.content for one in got.messages] == ["s", "q\n\nm", "a"]
    assert "'wer' (owner_column)" in fault(tmp_path, "a.csv", owner_column="wer")
    put(tmp_path, "b.jsonl", json.dumps({"talk": [{"from": "gpt", "value": "a"}]}))
    assert said(read(tmp_path, "b.jsonl", messages_column="talk")) == ["a"]


# Parquet and hub


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra parquet)")
    from pyarrow import parquet

    call = {"function": {"name": "f", "arguments": "{}"}}
    turns = [
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        [{"role": "assistant", "content": None, "tool_calls": [call]}],
    ]
    table = pa.table({"messages": turns * 1000, "user_id": list(range(2000))})
    parquet.write_table(table, tmp_path / "a.parquet")
    got = read(tmp_path, "a.parquet")
    assert len(got) == 2000
    assert [one.owner for one in got] == [str(n) for n in range(2000)]
    assert got[-1].source == "a.parquet:row 2000"
    assert got[0].messages == (Message("user", "q"), Message("assistant", "a"))
    assert got[1].messages[0].tool_calls[0].name == "f"
    parquet.write_table(
        pa.table({"question": ["q", "q"], "answer": ["a", None]}), tmp_path / "b.parquet"
    )
    assert fault(tmp_path, "b.parquet").startswith("b.parquet:row 2: content is not text")
    put(tmp_path, "c.parquet", "PAR1 no")
    assert fault(tmp_path, "c.parquet").startswith("c.parquet:row 1: broken Parquet")


@pytest.mark.parametrize(
    ("module", "settings", "extra"),
    [("pyarrow", {"path": "a.parquet"}, "parquet"), ("datasets", {"hub": "x/y"}, "hub")],
)
def test_a_missing_extra_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    settings: dict[str, str],
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    put(tmp_path, "a.parquet")
    with pytest.raises(MissingExtraError, match=re.escape(f"sottovoce[{extra}]")):
        load(DataSettings(**settings), tmp_path)


# The package and what it imports may warn; that is not ours to mend.
@pytest.mark.filterwarnings("default")
def test_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (extra hub)")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    put(tmp_path, "set/train.jsonl", f"{GOOD}\n{GOOD}\n")
    # A folder stands in the place of a hub name, so that no network is needed.
    name = str(tmp_path / "set")
    got = load(DataSettings(hub=name, max_conversations=5), tmp_path).conversations
    assert sources(got) == [f"{name}:row 1", f"{name}:row 2"]
    assert [one.client for one in got] == ["s", "s"]
    with pytest.raises(DataError, match="hub data set"):
        load(DataSettings(hub=name, hub_split="absent"), tmp_path)


# Paths


def test_folders_globs_and_lists_are_sorted_and_read_once(tmp_path: Path) -> None:
    for name in ("d/b.jsonl", "d/a/z.json", "d/a/y.csv", "d/.hidden.jsonl", "d/.git/x.jsonl"):
        put(tmp_path, name, "question,answer\nq,a" if name.endswith("csv") else GOOD)
    put(tmp_path, "d/readme.md", "text")
    every = ["d/a/y.csv:2", "d/a/z.json:1", "d/b.jsonl:1"]
    assert sources(read(tmp_path, "d")) == every
    assert sources(read(tmp_path, str(tmp_path / "d"))) == every
    assert sources(read(tmp_path, "d/**/*.json*")) == every[1:]
    assert sources(read(tmp_path, ("d/b.jsonl", "d", "d/*.jsonl", "d/a/../b.jsonl"))) == [
        every[2],
        *every[:2],
    ]
    assert sources(read(tmp_path, "d/.*.jsonl")) == ["d/.hidden.jsonl:1"]
    assert sources(read(tmp_path, "[d]")) == every
    assert sources(read(tmp_path, "d/**")) == every
    assert sources(read(tmp_path, "?/**/a/*.*")) == every[:2]
    assert sources(read(tmp_path, "d/*")) == every
    table = load(DataSettings(path="d", clients="file"), tmp_path).summary.table()
    assert table[-2:] == (("d/readme.md", "ignored", "0", "", ""), ("all", "", "3", "", ""))


def test_names_with_signs_of_globs_are_taken_as_they_stand(tmp_path: Path) -> None:
    put(tmp_path, "a[1]/b*.jsonl")
    put(tmp_path, "a[1]/bc.jsonl", f"{GOOD}\n{GOOD}")
    assert len(read(tmp_path, "a[1]/b*.jsonl")) == 1
    assert len(read(tmp_path, "a[1]/b?.jsonl")) == 3


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path, "a.jsonl")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert len(read(elsewhere, "~/a.jsonl")) == 1
    assert "no_such_user_here" in fault(tmp_path, "~no_such_user_here/a.jsonl")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("b.jsonl", ("there is no 'b.jsonl'", "Write 'a.jsonl'")),
        ("nowhere/x/b.jsonl", ("there is no 'nowhere'",)),
        ("*.parquet", ("there is no data", "under this glob")),
        ("em*", ("there is no data", "under this glob")),
        ("*.txt", ("there is no data", "under this glob")),
        ("nowhere/*.jsonl", ("there is no data", "under this glob")),
        ("a.jsonl/*.jsonl", ("cannot be read", "Not a directory")),
        ("empty", ("there is no data in this folder", ".jsonl")),
        ("a.txt", ("'.txt' cannot be read here", 'format = "text"')),
        ("a.xlsx", ("'.xlsx' cannot be read here",)),
        ("pipe.jsonl", ("not a regular file",)),
        ("loop.jsonl", ("cannot be read", "symbolic link")),
        ("broken.jsonl", ("cannot be read", "No such file")),
        ("blank.jsonl", ("blank.jsonl: empty file",)),
        ("header.csv", ("header.csv: empty file",)),
        ("nothing.csv", ("nothing.csv: empty file",)),
        ("array.json", ("array.json: empty file",)),
        ("x" * 300 + ".jsonl", ("cannot be read", "too long")),
        ("a\0.jsonl", ("there is no",)),
        ("a.jsonl/b.jsonl", ("there is no 'b.jsonl' in a.jsonl",)),
    ],
)
def test_paths_that_cannot_be_used(tmp_path: Path, path: str, shown: tuple[str, ...]) -> None:
    for name in ("a.jsonl", "a.txt", "a.xlsx", "empty/readme.md"):
        put(tmp_path, name)
    put(tmp_path, "blank.jsonl", "\n \n")
    put(tmp_path, "header.csv", "question,answer\n")
    put(tmp_path, "nothing.csv", "")
    put(tmp_path, "array.json", "[ ]")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    (tmp_path / "broken.jsonl").symlink_to("absent.jsonl")
    message = fault(tmp_path, path)
    for part in shown:
        assert part in message


def test_a_loop_of_links_does_not_trap_the_walk(tmp_path: Path) -> None:
    put(tmp_path, "d/e/a.jsonl")
    for name in ("one", "two", "three"):
        (tmp_path / "d" / name).symlink_to(tmp_path / "d")
        (tmp_path / "d" / "e" / name).symlink_to(tmp_path)
    loaded = load(DataSettings(path="d", clients="file"), tmp_path)
    assert sources(loaded.conversations) == ["d/e/a.jsonl:1"]
    assert Counter(file.form for file in loaded.summary.files) == {"jsonl": 1, "ignored": 6}
    assert sources(read(tmp_path, "d/**/*.jsonl")) == ["d/e/a.jsonl:1"]


@pytest.fixture
def stranger() -> Iterator[Path]:
    """Give a folder, and make this process a user without rights in what is closed to others."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield folder
        if root:
            os.seteuid(0)
        for path in folder.iterdir():
            path.chmod(0o700)


def test_what_may_not_be_read_is_an_error(stranger: Path) -> None:
    put(stranger, "a.jsonl").chmod(0)
    put(stranger, "a.json").chmod(0)
    put(stranger, "d/a.jsonl")
    put(stranger, "b/c/a.jsonl")
    put(stranger, "b/d/a.jsonl")
    (stranger / "d").chmod(0)
    (stranger / "b" / "c").chmod(0)
    for path in ("a.jsonl", "a.json", "d", "d/a.jsonl", "b", "b/**/*.jsonl", "b/*/*.jsonl"):
        assert "cannot be read: Permission denied" in fault(stranger, path)
    (stranger / "b" / "c").chmod(0o700)


def test_a_name_that_is_not_unicode_can_be_printed(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"a\xff.jsonl")).write_text(GOOD)
    except OSError:
        pytest.skip("this file system refuses names that are not Unicode")
    assert sources(read(tmp_path, "*.jsonl")) == ["a\\udcff.jsonl:1"]


# Clients, summary, subsample


def test_the_file_as_client(tmp_path: Path) -> None:
    put(tmp_path, "x/a.jsonl")
    put(tmp_path, "x/b.jsonl")
    assert [one.client for one in read(tmp_path, "x")] == ["a", "b"]
    put(tmp_path, "y/a.jsonl")
    assert [one.client for one in read(tmp_path, ("x", "y"))] == [
        "x/a.jsonl",
        "x/b.jsonl",
        "y/a.jsonl",
    ]
    assert [one.client for one in read(tmp_path, "x", clients="column")] == ["s", "s"]


def test_what_the_clients_need_must_be_there(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", f'{GOOD}\n{{"question": "q", "answer": "a", "shop": null}}')
    assert fault(tmp_path, "a.jsonl", clients="column").startswith("a.jsonl:2: empty client")
    put(tmp_path, "b.jsonl", '{"question": "q", "answer": "a"}')
    assert "b.jsonl:1: missing column: the client" in fault(tmp_path, "b.jsonl", clients="column")
    message = fault(tmp_path, "b.jsonl", clients="dirichlet")
    assert "b.jsonl:1: missing column: the label" in message
    assert len(read(tmp_path, "b.jsonl", clients="iid")) == 1


def test_the_summary_says_what_came_and_what_was_skipped_and_why(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", f"{GOOD}\n{{}}\n{GOOD}\n{{\n{{}}\n")
    put(tmp_path, "b.csv", "Question,answer,institute\nq,a,i\nq,,i\n")
    loaded = load(DataSettings(path=("a.jsonl", "b.csv"), strict=False), tmp_path)
    assert loaded.summary.table() == (
        ("file", "kind", "loaded", "skipped", "columns"),
        (
            "a.jsonl",
            "jsonl",
            "2",
            "1 broken JSON, 2 missing column",
            "instruction=question response=answer client=shop",
        ),
        (
            "b.csv",
            "csv",
            "1",
            "1 empty assistant turn",
            "instruction=Question response=answer client=institute",
        ),
        ("all", "", "3", "1 broken JSON, 1 empty assistant turn, 2 missing column", ""),
    )


def test_nothing_kept_is_an_error_that_says_why(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", "{}\n{")
    message = fault(tmp_path, "a.jsonl", strict=False)
    assert "nothing was loaded" in message
    assert "1 broken JSON, 1 missing column" in message


def test_a_draw_is_the_same_each_time_and_keeps_the_order(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines = (json.dumps({"question": f"{name}{n:03}", "answer": "a"}) for n in range(200))
        put(tmp_path, f"{name}.jsonl", "\n".join(lines))
    full = DataSettings(path="*.jsonl", clients="file")
    few = full.model_copy(update={"max_conversations": 100})
    first, second = load(few, tmp_path), load(few, tmp_path)
    assert first == second
    drawn = said(first.conversations)
    assert len(drawn) == 100
    assert drawn == sorted(drawn)
    assert set(drawn) < set(said(load(full, tmp_path).conversations))
    # A hundred of four hundred by chance: the first file gives 50 with a standard deviation of 4.3.
    assert 28 < sum(name.startswith("a") for name in drawn) < 72
    assert [file.loaded + dict(file.skipped)["not drawn"] for file in first.summary.files] == [
        200,
        200,
    ]
    assert sum(file.loaded for file in first.summary.files) == 100
    many = full.model_copy(update={"max_conversations": 400})
    assert load(many, tmp_path) == load(full, tmp_path)


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({}, "either path or hub"),
        ({"path": "a", "hub": "b"}, "either path or hub"),
        ({"path": ()}, "either path or hub"),
        ({"path": ""}, "blank"),
        ({"path": ["a", " "]}, "blank"),
        ({"hub": " "}, "blank"),
        ({"path": "a", "messages_column": "m", "response_column": "r"}, "excludes"),
        ({"path": "a", "format": "sharegpt", "response_column": "r"}, "no such columns"),
        ({"path": "a", "format": "instruction", "messages_column": "m"}, "no messages_column"),
        ({"path": "a", "format": "text", "owner_column": "o"}, "plain text has no columns"),
        ({"path": "a", "format": "text", "system": "s"}, "plain text has no columns or system"),
        ({"hub": "a", "format": "text"}, "path only"),
        ({"hub": "a", "clients": "file"}, "no files"),
        ({"path": "a", "format": "text", "clients": "dirichlet"}, "no label"),
        ({"path": "a", "clients": "speaker"}, 'needs format = "text"'),
        ({"path": "a", "dirichlet_alpha": 0}, "greater than 0"),
        ({"path": "a", "dirichlet_alpha": float("inf")}, "finite"),
        ({"path": "a", "validation_fraction": 1}, "less than 1"),
        ({"path": "a", "validation_fraction": -0.1}, "greater than or equal to 0"),
        ({"path": "a", "colour": "red"}, "Extra inputs"),
        ({"path": "a", "clients": "columns"}, "Input should be"),
    ],
)
def test_settings_that_cannot_be(values: dict[str, object], shown: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(shown)):
        DataSettings(**values)


def test_settings_are_frozen_and_take_a_list() -> None:
    made = DataSettings(path=["a", "b"])
    assert made.paths == ("a", "b")
    assert DataSettings(path="a").paths == ("a",)
    assert hash(made) == hash(DataSettings(path=("a", "b")))
    with pytest.raises(ValidationError):
        made.strict = False


@given(
    st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt"]),
    st.lists(
        st.binary(max_size=6)
        | st.sampled_from([GOOD.encode(), b"question,answer\n", b"q,a\n", b'"', b"\n", b"[", b","]),
        max_size=10,
    ),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_whatever_bytes_come_nothing_but_a_data_error_is_raised(
    one_folder: Path, name: str, parts: list[bytes], strict: bool
) -> None:
    put(one_folder, name, b"".join(parts))
    try:
        if name == "a.txt":
            load_text(DataSettings(path=name, format="text", strict=strict), one_folder)
        else:
            read(one_folder, name, strict=strict)
    except DataError as error:
        assert name in str(error)


# Plain text


def text_settings(path: str, **rest: object) -> DataSettings:
    return DataSettings(path=path, format="text", **rest)


def test_files_of_text_are_cut_at_blank_lines_and_lose_nothing(tmp_path: Path) -> None:
    put(tmp_path, "d/a.txt", "one\r\n\r\ntwo\r\n")
    put(tmp_path, "d/b.txt", b"\xef\xbb\xbfthree")
    put(tmp_path, "d/c.jsonl")
    loaded = load_text(text_settings("d", document_characters=1), tmp_path)
    assert [(one.text, one.client, one.source) for one in loaded.documents] == [
        ("one\n\n", "a", "d/a.txt:1"),
        ("two\n", "a", "d/a.txt:3"),
        ("three", "b", "d/b.txt:1"),
    ]
    assert all(one.owner is None for one in loaded.documents)
    assert loaded.summary.table()[1:] == (
        ("d/a.txt", "txt", "2", "", ""),
        ("d/b.txt", "txt", "1", "", ""),
        ("d/c.jsonl", "ignored", "0", "", ""),
        ("all", "", "3", "", ""),
    )


def test_speakers_of_plays(tmp_path: Path) -> None:
    put(tmp_path, "d/a.txt", "ANN:\nlong words\n\nBOB:\nno\n\nEVE:\n\nBOB:\nno\n")
    put(tmp_path, "d/b.txt", "ANN:\nmore\n")
    loaded = load_text(text_settings("d", clients="speaker", min_characters=16), tmp_path)
    assert [(one.text, one.client, one.source) for one in loaded.documents] == [
        ("ANN:\nlong words", "ANN", "d/a.txt:1"),
        ("ANN:\nmore", "ANN", "d/b.txt:1"),
    ]
    small = "speeches by 1 speakers with fewer than 16 characters"
    assert loaded.summary.files[0].skipped == ((small, 2), ("speeches without words", 1))
    assert loaded.summary.files[1].skipped == ()
    # BOB says 14 characters in all, his name included.
    kept = load_text(text_settings("d", clients="speaker", min_characters=14), tmp_path)
    assert len(kept.documents) == 4
    with pytest.raises(DataError, match="nothing was loaded"):
        load_text(text_settings("d", clients="speaker", min_characters=100), tmp_path)


def test_text_that_is_no_play(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "ANN:\nwords\n\nStage direction\n\nANN:\nmore words\n")
    speaker = text_settings("a.txt", clients="speaker", min_characters=0)
    with pytest.raises(DataError, match=r"a\.txt:4: not a speech"):
        load_text(speaker, tmp_path)
    loaded = load_text(speaker.model_copy(update={"strict": False}), tmp_path)
    assert len(loaded.documents) == 2
    assert loaded.summary.files[0].skipped == (("not a speech", 1),)


def test_text_that_cannot_be_used(tmp_path: Path) -> None:
    for name, content, shown in (
        ("a.txt", b" \n", "a.txt: empty file"),
        ("b.txt", b"a\n\nb\xff", "b.txt:3: wrong encoding: byte 0xff at offset 4"),
        ("c.txt", b"a\n\x00", "c.txt:2: wrong encoding: a NUL byte at offset 2"),
        ("d.jsonl", b"{}", "'.jsonl' cannot be read here"),
    ):
        put(tmp_path, name, content)
        with pytest.raises(DataError, match=re.escape(shown)):
            load_text(text_settings(name), tmp_path)


def test_a_draw_of_documents(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "\n\n".join("abcdefgh"))
    few = text_settings("a.txt", document_characters=0, max_conversations=3)
    loaded = load_text(few, tmp_path)
    assert len(loaded.documents) == 3
    assert loaded.summary.files[0].skipped == (("not drawn", 5),)


def test_text_and_conversations_are_not_taken_for_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="load_text"):
        load(text_settings("a.txt"), tmp_path)
    with pytest.raises(ConfigError, match="plain text"):
        load_text(DataSettings(path="a.txt"), tmp_path)


# Real data


def test_bitext() -> None:
    path = need("bitext-customer-support", "bitext.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    settings = DataSettings(path="bitext.csv", clients="dirichlet")
    loaded = load(settings, path.parent)
    assert len(loaded.conversations) == len(rows) == 4047
    for got, row in zip(loaded.conversations, rows, strict=True):
        assert [message.content for message in got.messages] == [
            row["instruction"],
            row["response"],
        ]
        assert (got.label, got.owner, got.client) == (row["intent"], None, None)
    lines = path.read_text(encoding="utf-8").split("\n")
    for got in loaded.conversations[:: len(rows) // 50]:
        place = int(got.source.removeprefix("bitext.csv:"))
        assert lines[place - 1].lstrip('"').startswith(got.messages[0].content[:20].split('"')[0])
    assert loaded.summary.table()[1] == (
        "bitext.csv",
        "csv",
        "4047",
        "",
        "instruction=instruction response=response label=intent",
    )


def test_medquad() -> None:
    path = need("medquad-sample", "medquad.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    loaded = load(DataSettings(path=str(path)), Path("elsewhere"))
    assert len(loaded.conversations) == len(rows) == 1980
    for number, (got, row) in enumerate(zip(loaded.conversations, rows, strict=True), start=1):
        assert [message.content for message in got.messages] == [row["question"], row["answer"]]
        assert (got.client, got.source) == (row["institute"], f"{path}:{number}")
    assert set(Counter(got.client for got in loaded.conversations).values()) == {220}


def test_tinyshakespeare() -> None:
    path = need("tinyshakespeare", "input.txt")
    blocks = re.split(r"\n\n+", path.read_text(encoding="utf-8").strip("\n"))
    speeches = [block.split(":\n", 1) for block in blocks if ":\n" in block]
    size = Counter[str]()
    for speaker, words in speeches:
        size[speaker] += len(f"{speaker}:\n{words}")
    loaded = load_text(text_settings("input.txt", clients="speaker"), path.parent)
    kept = [(speaker, words) for speaker, words in speeches if size[speaker] >= 1000]
    assert [(one.client, one.text) for one in loaded.documents] == [
        (speaker, f"{speaker}:\n{words}") for speaker, words in kept
    ]
    assert len(blocks) == 7222
    assert len({speaker for speaker, _ in kept}) == 147
    skipped = dict(loaded.summary.files[0].skipped)
    assert skipped.pop("speeches without words") == len(blocks) - len(speeches)
    ((reason, number),) = skipped.items()
    assert number == len(speeches) - len(kept)
    assert f"{len(size) - 147} speakers" in reason
    every = load_text(text_settings("input.txt", document_characters=10_000), path.parent)
    assert "".join(one.text for one in every.documents) == path.read_text(encoding="utf-8")
    assert {one.client for one in every.documents} == {"input"}


@pytest.mark.slow
def test_a_hundred_megabytes_are_read_quickly(tmp_path: Path) -> None:
    import time

    line = json.dumps(
        {
            "messages": [
                {"role": "user", "content": "x" * 100},
                {"role": "assistant", "content": "é" * 100},
            ]
        }
    )
    put(tmp_path, "a.jsonl", f"{line}\n" * (100_000_000 // (len(line) + 1)))
    start = time.process_time()
    read(tmp_path, "a.jsonl")
    assert time.process_time() - start < 30
