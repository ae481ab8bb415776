"""Letters: one binary form, signed by one, for one; whatever else arrives is one kind of error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.codec.roster import Identity, Roster, hashed, identity_from
from sottovoce.errors import UsageError, VerificationError
from sottovoce.run import letter as letters
from sottovoce.run.ledger import canonical
from sottovoce.run.letter import Letter

ADA, BEN = identity_from(b"a" * 32), identity_from(b"b" * 32)
EVE = identity_from(b"e" * 32)
ROSTER = Roster({"ada": ADA.public, "ben": BEN.public})
PLAIN = Letter(
    "update", "r" * 64, "ada", "ben", {"round": 3, "loss": 0.5}, {"a": b"\0\1", "b": b""}
)
LIMIT = 2**20

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


def letter_with(facts: Any, parts: Any) -> Letter:
    return replace(PLAIN, facts=facts, parts=parts)


written_letters = st.builds(
    letter_with,
    st.dictionaries(words, plain, max_size=5),
    st.dictionaries(words, st.binary(max_size=200), max_size=5),
)


def read(data: bytes, to: str = "ben", limit: int = LIMIT) -> Letter:
    return letters.read(data, ROSTER, to=to, limit=limit)


def signed(head: bytes, rest: bytes = b"", who: Identity = ADA) -> bytes:
    """Any head and whatever follows it, under a signature that is right."""
    body = b"SVLT\x01" + len(head).to_bytes(4, "big") + head + rest
    return body + who.sign(hashed("sottovoce letter v1", sha256(body).digest()))


def head_of(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "update",
        "run": "r" * 64,
        "from": "ada",
        "to": "ben",
        "facts": {},
        "parts": [],
    } | changes


@given(written_letters)
@settings(max_examples=80, deadline=None)
def test_what_was_written_is_read(letter: Letter) -> None:
    data = letters.write(letter, ADA)
    assert read(data) == letter
    assert letters.write(read(data), ADA) == data
    assert letters.write(letter, ADA) == data


@given(written_letters, written_letters)
@settings(max_examples=60, deadline=None)
def test_letters_that_differ_have_other_bytes(one: Letter, other: Letter) -> None:
    first, second = letters.write(one, ADA), letters.write(other, ADA)
    assert (first == second) == (canonical(_value(one)) == canonical(_value(other)))
    assert (first == second) == (letters.name_of(first) == letters.name_of(second))


def _value(letter: Letter) -> dict[str, Any]:
    parts = {name: data.hex() for name, data in letter.parts.items()}
    return {"facts": letter.facts, "parts": parts}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "joined"},
        {"run": "s" * 64},
        {"to": "ada"},
        {"sender": "ben"},
        {"facts": {"round": 3, "loss": 0.5, "more": None}},
        {"facts": {"round": 3.0, "loss": 0.5}},
        {"parts": {"a": b"\0", "b": b"\1"}},
        {"parts": {"a": b"", "b": b"\0\1"}},
        {"parts": {"c": b"\0\1", "b": b""}},
    ],
)
def test_every_field_is_in_the_bytes(change: dict[str, Any]) -> None:
    assert letters.write(replace(PLAIN, **change), ADA) != letters.write(PLAIN, ADA)


def test_any_one_byte_changed_cut_or_added_is_refused() -> None:
    data = letters.write(PLAIN, ADA)
    wrong = [data[:place] for place in range(len(data))]
    wrong += [data + b"\0", b"\0" + data, data + data]
    for place in range(len(data)):
        for flip in (1, 0x80, 0xFF):
            altered = bytearray(data)
            altered[place] ^= flip
            wrong.append(bytes(altered))
        wrong.append(data[:place] + data[place + 1 :])
        wrong.append(data[:place] + b"\0" + data[place:])
    for altered_data in wrong:
        with pytest.raises(VerificationError):
            read(altered_data)


@given(st.binary(max_size=400))
@settings(max_examples=80, deadline=None)
def test_any_bytes_are_refused_with_one_kind_of_error(data: bytes) -> None:
    for given_bytes in (data, b"SVLT\x01" + data, signed(data)):
        try:
            found = read(given_bytes)
        except VerificationError:
            continue
        assert letters.write(found, ADA) == given_bytes


@given(plain, st.binary(max_size=40))
@settings(max_examples=80, deadline=None)
def test_a_signature_that_is_right_makes_no_wrong_head_a_letter(head: Any, rest: bytes) -> None:
    with pytest.raises(VerificationError):
        read(signed(canonical(head), rest))


@pytest.mark.parametrize("member", ["kind", "run", "from", "to", "facts", "parts"])
@pytest.mark.parametrize("value", [None, True, 1, 0.5, "ada", [], {}, [["a", 1]], {"a": [1]}])
def test_a_member_of_another_type_is_refused(member: str, value: Any) -> None:
    head = canonical(head_of(**{member: value}))
    try:
        found = read(signed(head))
    except VerificationError:
        return
    assert letters.write(found, ADA) == signed(head)
    assert isinstance(found.facts, dict)


def test_somebody_else_reads_nothing() -> None:
    data = letters.write(PLAIN, ADA)
    for to in ("ada", "the server", "", "Ben"):
        with pytest.raises(VerificationError, match="for somebody else"):
            read(data, to)


def test_who_signs_for_somebody_else_is_refused() -> None:
    for forged in (
        letters.write(PLAIN, BEN),
        letters.write(PLAIN, EVE),
        letters.write(replace(PLAIN, sender="eve"), EVE),
        letters.write(replace(PLAIN, sender=""), ADA),
    ):
        with pytest.raises(VerificationError):
            read(forged)


def test_the_size_is_looked_at_before_anything_else() -> None:
    class Untouchable(bytes):
        def __getitem__(self, key: Any) -> Any:
            raise AssertionError("it was looked into")

    data = letters.write(PLAIN, ADA)
    with pytest.raises(VerificationError, match=f"a letter of {len(data)} bytes"):
        read(Untouchable(data), limit=len(data) - 1)
    assert read(data, limit=len(data)) == PLAIN


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        canonical(head_of()) + b" ",
        b" " + canonical(head_of()),
        canonical(head_of()).replace(b'"facts":{}', b'"facts": {}'),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":1,"a":1}'),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":1e0}'),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":NaN}'),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":1e999}'),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":-0}'),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":' + b"9" * 5000 + b"}"),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"b":1,"a":1}'),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":"\\u00fc"}'),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":"\\ud800"}'),
        canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":"\xff"}'),
        canonical(head_of(more=1)),
        canonical({name: value for name, value in head_of().items() if name != "facts"}),
    ],
)
def test_a_head_in_any_other_form_is_refused(head: bytes) -> None:
    with pytest.raises(VerificationError):
        read(signed(head))


@pytest.mark.parametrize("depth", [100, 500, 900, 1_500, 20_000, 400_000])
@pytest.mark.parametrize("bracket", ["[]", "{}"])
def test_nesting_is_read_or_refused_however_deep(depth: int, bracket: str) -> None:
    begin, end = (b"[", b"]") if bracket == "[]" else (b'{"a":', b"}")
    deep = begin * depth + b"0" + end * depth
    head = canonical(head_of()).replace(b'"facts":{}', b'"facts":{"a":' + deep + b"}")
    try:
        found = letters.read(signed(head), ROSTER, to="ben", limit=2**23)
    except VerificationError:
        return
    assert depth <= 900
    assert letters.write(found, ADA) == signed(head)


@pytest.mark.parametrize(
    "parts",
    [
        [["a", 1], ["a", 1]],
        [["b", 1], ["a", 1]],
        [["a", 2**62]],
        [["a", 3]],
        [["a", 1]],
        [["a", -1], ["b", 3]],
        [["a", True], ["b", 1]],
        [["a", 2.0]],
        [["a", "2"]],
        [["a"]],
        [["a", 1, 1]],
        [[1, 2]],
        [{"a": 2}],
        ["ab"],
        [None],
        [[f"{place:03d}", 0] for place in range(65)],
    ],
)
def test_parts_that_are_no_list_of_names_and_sizes_are_refused(parts: Any) -> None:
    """Two bytes follow; each of the listed parts says something else of them."""
    with pytest.raises(VerificationError):
        read(signed(canonical(head_of(parts=parts)), b"\0\1"))


@pytest.mark.parametrize("size", [2**22 + 1, 2**31, 2**32 - 1])
def test_a_head_that_says_that_it_is_huge_is_refused(size: int) -> None:
    with pytest.raises(VerificationError):
        read(b"SVLT\x01" + size.to_bytes(4, "big") + b"{}" + bytes(64))


def test_no_part_is_copied_before_the_signature_has_been_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []
    real = letters.require_signature

    def check(*given_: Any) -> None:
        checked.append("signature")
        real(*given_)

    class Watched(Letter):
        def __init__(self, *given_: Any) -> None:
            checked.append("letter")
            super().__init__(*given_)

    monkeypatch.setattr(letters, "require_signature", check)
    monkeypatch.setattr(letters, "Letter", Watched)
    read(letters.write(PLAIN, ADA))
    assert checked == ["signature", "letter"]


def test_what_json_cannot_hold_is_never_written() -> None:
    for value in (float("nan"), float("inf"), 2**63, b"bytes", {1: 2}, "\ud800"):
        with pytest.raises(UsageError):
            letters.write(letter_with({"a": value}, {}), ADA)


# Facts


@pytest.mark.parametrize(
    ("ask", "good", "bad"),
    [
        (letters.text, ["", "a"], [None, 1, [], {}, True]),
        (letters.table, [{}, {"a": 1}], [None, 1, [], "a"]),
        (letters.count, [0, 1, 2**62], [None, -1, 2**62 + 1, True, False, 1.0, "1", [], {}]),
        (letters.figure, [None, 0, 1.5, -2], [True, False, "1", [], {}]),
    ],
)
def test_facts_have_their_types(
    ask: Callable[[Any, str], Any], good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert ask({"it": value}, "it") == value
    for value in bad:
        with pytest.raises(VerificationError):
            ask({"it": value}, "it")


def test_numbers_that_are_not_finite_are_no_figures() -> None:
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(VerificationError):
            letters.figure({"it": value}, "it")
    for value in (2**63 - 1, -(2**63)):
        assert letters.figure({"it": value}, "it") == float(value)


def test_a_part_that_is_missing_is_named() -> None:
    with pytest.raises(VerificationError, match="'words'"):
        letters.part(PLAIN, "words")
