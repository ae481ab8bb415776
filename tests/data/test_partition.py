"""Partitions are disjoint, cover all and repeat; owners never stand on both sides."""

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sottovoce.data.conversation import Conversation, Message
from sottovoce.data.documents import Document
from sottovoce.data.load import load, load_text
from sottovoce.data.partition import (
    ClientData,
    make_clients,
    partition_by_column,
    partition_dirichlet,
    partition_iid,
    split_validation,
    with_system,
)
from sottovoce.data.settings import DataSettings
from sottovoce.errors import ConfigError, DataError
from sottovoce.rng import stream

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
seeds = st.integers(0, 2**32)


def need(*parts: str) -> Path:
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared data folder has no {'/'.join(parts)}")
    return path


def check_partition(parts: Sequence[np.ndarray], n: int) -> None:
    """Disjoint, covering, sorted: the parts joined are 0..n-1, each once."""
    assert sorted(int(index) for part in parts for index in part) == list(range(n))
    for part in parts:
        assert part.dtype == np.intp
        assert list(part) == sorted(part)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), seeds)
def test_iid(n: int, clients: int, seed: int) -> None:
    if clients > n:
        with pytest.raises(ConfigError, match=f"1 to {n} clients"):
            partition_iid(n, clients, stream(seed))
        return
    parts = partition_iid(n, clients, stream(seed))
    assert len(parts) == clients
    check_partition(parts, n)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    again = partition_iid(n, clients, stream(seed))
    assert all(map(np.array_equal, parts, again))


def test_iid_is_random() -> None:
    first, other = partition_iid(1000, 2, stream(0))[0], partition_iid(1000, 2, stream(1))[0]
    assert not np.array_equal(first, other)
    # The mean of 500 of 0..999 has a standard deviation of 9.1; six of them are allowed.
    assert abs(first.mean() - 499.5) < 55


@pytest.mark.parametrize("clients", [0, -1])
def test_no_client_is_no_partition(clients: int) -> None:
    with pytest.raises(ConfigError):
        partition_iid(5, clients, stream(0))
    with pytest.raises(ConfigError):
        partition_dirichlet(["a"] * 5, clients, 1.0, stream(0), 1)


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=60),
    st.integers(1, 6),
    st.sampled_from([0.01, 0.5, 100.0]),
    st.integers(0, 3),
    seeds,
)
@settings(max_examples=60, deadline=None)
def test_dirichlet(labels: list[str], clients: int, alpha: float, least: int, seed: int) -> None:
    try:
        parts = partition_dirichlet(labels, clients, alpha, stream(seed), least)
    except ConfigError as error:
        assert len(labels) < clients * least or "100 draws" in str(error)
        return
    assert len(parts) == clients
    check_partition(parts, len(labels))
    assert min(map(len, parts)) >= least
    again = partition_dirichlet(labels, clients, alpha, stream(seed), least)
    assert all(map(np.array_equal, parts, again))


@pytest.mark.parametrize("alpha", [0.1, 0.5, 5.0])
def test_dirichlet_shares_have_the_variance_of_their_alpha(alpha: float) -> None:
    labels, size, clients = 3000, 40, 4
    names = [str(label) for label in range(labels) for _ in range(size)]
    parts = partition_dirichlet(names, clients, alpha, stream(3), 1)
    shares = np.stack([np.bincount(part // size, minlength=labels) / size for part in parts])

    def variance(concentration: float) -> float:
        """The variance of one share of a symmetric Dirichlet distribution."""
        return (1 - 1 / clients) / clients / (clients * concentration + 1)

    # Over all clients together the sampling error is about one percent, and rounding to whole
    # examples adds less than one in a thousand.
    measured = shares.var(axis=1).mean()
    assert measured == pytest.approx(variance(alpha), rel=0.05)
    assert measured != pytest.approx(variance(2 * alpha), rel=0.05)
    assert measured != pytest.approx(variance(alpha / 2), rel=0.05)
    assert shares.mean(axis=1) == pytest.approx([1 / clients] * clients, abs=0.04)


def test_dirichlet_deals_within_a_label_at_random() -> None:
    first, second = partition_dirichlet(["a"] * 1000, 2, 1e6, stream(0), 1)
    assert abs(len(first) - len(second)) < 20
    assert abs(first.mean() - second.mean()) < 110, "not the first half and the second half"


def test_dirichlet_draws_again_until_each_client_has_enough() -> None:
    labels = [str(n % 5) for n in range(100)]
    first_draw_fails = 0
    for seed in range(30):
        parts = partition_dirichlet(labels, 4, 0.3, stream(seed), 8)
        assert min(map(len, parts)) >= 8
        first_draw_fails += min(map(len, partition_dirichlet(labels, 4, 0.3, stream(seed), 0))) < 8
    assert first_draw_fails >= 3, "the test would pass without drawing again"


@pytest.mark.parametrize(
    ("alpha", "least", "shown"),
    [
        (0.001, 5, "100 draws with dirichlet_alpha = 0.001"),
        (0.5, 26, "1 to 3 clients"),
        (0.0, 1, "dirichlet_alpha is 0"),
        (-1.0, 1, "dirichlet_alpha is -1"),
        (float("nan"), 1, "dirichlet_alpha is nan"),
        (float("inf"), 1, "dirichlet_alpha is inf"),
    ],
)
def test_dirichlet_that_cannot_be_drawn(alpha: float, least: int, shown: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(shown)):
        partition_dirichlet(["a"] * 100, 4, alpha, stream(0), least)


@pytest.mark.parametrize("alpha", [1e-300, 1e-8, 1e8, 1e300])
def test_extreme_alphas_still_make_a_partition(alpha: float) -> None:
    labels = [str(n % 7) for n in range(70)]
    check_partition(partition_dirichlet(labels, 3, alpha, stream(0), 0), 70)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["b", "a", "ç", ""]), max_size=30))
def test_by_column(values: list[str]) -> None:
    parts = partition_by_column(values)
    assert list(parts) == sorted(set(values))
    check_partition(list(parts.values()), len(values))
    for value, part in parts.items():
        assert {values[index] for index in part} == {value}


owners = st.lists(st.none() | st.sampled_from("abcdef"), max_size=40)


@settings(deadline=None)
@given(owners, st.sampled_from([0.0, 0.001, 0.1, 0.5, 0.999]), seeds)
def test_validation(whose: list[str | None], fraction: float, seed: int) -> None:
    train, validation = split_validation(whose, fraction, stream(seed))
    assert sorted([*train, *validation]) == list(range(len(whose)))
    assert list(train) == sorted(train)
    assert list(validation) == sorted(validation)
    both = {whose[i] for i in train} & {whose[i] for i in validation}
    assert both <= {None}
    units = Counter(index if owner is None else owner for index, owner in enumerate(whose))
    if fraction == 0 or len(units) < 2:
        assert len(validation) == 0
        return
    assert len(train) >= 1
    assert len(validation) >= 1
    smallest = min(units.values())
    assert len(validation) <= max(1, round(fraction * len(whose)), smallest)
    again = split_validation(whose, fraction, stream(seed))
    assert np.array_equal(again[0], train)
    assert np.array_equal(again[1], validation)


def test_validation_without_owners_has_the_very_fraction() -> None:
    for n in (2, 3, 10, 101):
        for fraction in (0.1, 0.25, 0.9):
            _, validation = split_validation([None] * n, fraction, stream(n))
            assert len(validation) == min(max(1, round(fraction * n)), n - 1)


def test_validation_is_drawn_at_random() -> None:
    drawn = Counter(int(split_validation([None] * 5, 0.2, stream(s))[1][0]) for s in range(1000))
    # Each of five is drawn 200 times with a standard deviation of 12.6.
    assert all(130 < drawn[index] < 270 for index in range(5))


def test_an_owner_with_too_much_is_held_out_only_where_all_have_too_much() -> None:
    _, validation = split_validation(["a"] * 9 + ["b"], 0.1, stream(0))
    assert list(validation) == [9]
    _, validation = split_validation(["a"] * 6 + ["b"] * 4, 0.1, stream(0))
    assert list(validation) == [6, 7, 8, 9]


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fractions_that_cannot_be(fraction: float) -> None:
    with pytest.raises(ConfigError, match="validation_fraction"):
        split_validation([None] * 3, fraction, stream(0))


TURNS = (Message("user", "q"), Message("assistant", "a"))


def conversation(n: int, **facts: str | None) -> Conversation:
    return Conversation(TURNS, source=f"f:{n}", **facts)


def held(clients: Sequence[ClientData[Conversation]]) -> list[str]:
    return sorted(one.source for client in clients for one in (*client.train, *client.validation))


DATASETS = st.lists(
    st.builds(
        lambda n, owner, client, label: conversation(n, owner=owner, client=client, label=label),
        st.integers(),
        st.none() | st.sampled_from("uvwxyz"),
        st.sampled_from(["ada", "bob"]),
        st.sampled_from(["l", "m"]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=50, deadline=None)
@given(DATASETS, st.sampled_from(["column", "iid", "dirichlet"]), seeds)
def test_each_example_is_held_once(examples: list[Conversation], rule: str, seed: int) -> None:
    examples = [replace(one, source=f"f:{n}") for n, one in enumerate(examples)]
    number = None if rule == "column" else 2
    chosen = DataSettings(path="x", clients=rule, min_examples=1)
    try:
        clients = make_clients(examples, chosen, seed, number)
    except (ConfigError, DataError) as error:
        assert "single owner" in str(error) or "examples" in str(error)
        return
    assert held(clients) == sorted(one.source for one in examples)
    assert [client.name for client in clients] == sorted({client.name for client in clients})
    for client in clients:
        whose = [{one.owner for one in side} - {None} for side in (client.train, client.validation)]
        assert not whose[0] & whose[1]
        places = [
            [int(one.source[2:]) for one in side] for side in (client.train, client.validation)
        ]
        assert places == [sorted(side) for side in places]
        if rule == "column":
            assert {one.client for one in client.train} == {client.name}
    assert make_clients(examples, chosen, seed, number) == clients


def test_a_clients_split_depends_on_its_examples_alone() -> None:
    ada = [conversation(n, client="ada") for n in range(20)]
    bob = [conversation(n, client="bob") for n in range(100, 130)]
    column = DataSettings(path="x", validation_fraction=0.3)
    alone = make_clients(ada, column, 5)
    assert make_clients([*bob[:7], *ada, *bob[7:]], column, 5)[0] == alone[0]
    assert make_clients(ada, column, 6)[0] != alone[0], "the seed matters"
    same = [replace(one, client="bob") for one in ada]
    renamed = make_clients(same, column, 5)[0]
    assert [one.source for one in renamed.train] != [one.source for one in alone[0].train]


def test_partitions_name_their_clients_in_order() -> None:
    examples = [conversation(n) for n in range(40)]
    iid = DataSettings(path="x", clients="iid")
    names = [client.name for client in make_clients(examples, iid, 0, 12)]
    assert names == [f"client-{n:02}" for n in range(1, 13)]
    assert [len(c.train) + len(c.validation) for c in make_clients(examples, iid, 0, 8)] == [5] * 8


def test_a_partition_needs_a_number_of_clients() -> None:
    examples = [conversation(n) for n in range(40)]
    iid = DataSettings(path="x", clients="iid")
    with pytest.raises(ConfigError, match=r"number of clients is not given.*federation\.clients"):
        make_clients(examples, iid, 0)


def test_small_clients_are_listed() -> None:
    examples = [conversation(n, client=f"c{n // 2}") for n in range(60)]
    examples += [conversation(60, client="lone")]
    with pytest.raises(DataError, match=r"1 of 31 clients .* 'lone' \(1\)\."):
        make_clients(examples, DataSettings(path="x"), 0)
    with pytest.raises(DataError, match=r"31 of 31 .* 'c0' \(2\), 'c1' \(2\).* and 11 more"):
        make_clients(examples, DataSettings(path="x", min_examples=3), 0)
    assert len(make_clients(examples, DataSettings(path="x", min_examples=1), 0)) == 31
    with pytest.raises(DataError, match="there are no examples"):
        make_clients([], DataSettings(path="x"), 0)


@pytest.mark.parametrize("field", ["client", "label"])
def test_an_example_without_what_decides_is_named(field: str) -> None:
    examples = [conversation(n, **{field: "x"}) for n in range(5)]
    examples[3] = conversation(3)
    rule = {"client": "column", "label": "dirichlet"}[field]
    with pytest.raises(DataError, match=f"f:3: empty {field}: 1 of 5") as caught:
        make_clients(
            examples, DataSettings(path="x", clients=rule), 0, 2 if field == "label" else None
        )
    assert f"{field}_column" in str(caught.value)
    with pytest.raises(DataError, match="an example: empty client"):
        make_clients([Conversation(TURNS)], DataSettings(path="x"), 0)


def test_a_client_with_one_owner_cannot_hold_out_by_owner() -> None:
    examples = [conversation(n, client="phone", owner="eve") for n in range(10)]
    with pytest.raises(DataError, match="'phone' has a single owner"):
        make_clients(examples, DataSettings(path="x"), 0)
    by_example = DataSettings(path="x", validation_by="example", validation_fraction=0.2)
    (client,) = make_clients(examples, by_example, 0)
    assert (len(client.train), len(client.validation)) == (8, 2)
    (client,) = make_clients(examples, DataSettings(path="x", validation_fraction=0), 0)
    assert (len(client.train), len(client.validation)) == (10, 0)


def test_the_system_prompt_names_the_client_that_holds_the_conversation() -> None:
    own = replace(conversation(0, client="ada"), messages=(Message("system", "mine"), *TURNS))
    late = replace(conversation(1, client="ada"), messages=(*TURNS, Message("system", "late")))
    plain = [conversation(n, client="ada") for n in range(2, 6)]
    prompt = DataSettings(path="x", system='You are {client}; say {"x": {client}}.')
    (client,) = make_clients([own, late, *plain], prompt, 0)
    got = {one.source: one for one in (*client.train, *client.validation)}
    assert got["f:0"] == own
    assert got["f:1"] == late
    first = Message("system", 'You are ada; say {"x": ada}.')
    assert all(
        got[f"f:{n}"] == replace(plain[n - 2], messages=(first, *TURNS)) for n in range(2, 6)
    )
    drawn = DataSettings(path="x", clients="iid", system="{client}")
    for client in make_clients(plain, drawn, 0, 2):
        assert client.name.startswith("client-")
        for one in (*client.train, *client.validation):
            assert one.messages[0].content == client.name
    assert with_system(own, "s", "c") is own


def test_documents_are_dealt_too() -> None:
    documents = [Document(str(n), "ann" if n % 3 else "bob", source=f"f:{n}") for n in range(30)]
    clients = make_clients(documents, DataSettings(path="x", format="text"), 0)
    assert [(c.name, len(c.train), len(c.validation)) for c in clients] == [
        ("ann", 18, 2),
        ("bob", 9, 1),
    ]
    iid = DataSettings(path="x", format="text", clients="iid")
    assert len(make_clients(documents, iid, 0, 4)) == 4
    prompt = DataSettings(path="x", system="only conversations have turns")
    got = make_clients(documents, prompt, 0)
    assert {one for client in got for one in (*client.train, *client.validation)} == {*documents}


def test_bitext_over_eight_clients_by_intent() -> None:
    path = need("bitext-customer-support", "bitext.csv")
    chosen = DataSettings(path=str(path), clients="dirichlet")
    clients = make_clients(load(chosen, path.parent).conversations, chosen, 0, 8)
    assert [client.name for client in clients] == [f"client-{n}" for n in range(1, 9)]
    dealt = Counter[tuple[str, str, str]]()
    for client in clients:
        n = len(client.train) + len(client.validation)
        assert len(client.validation) == round(0.1 * n)
        for one in (*client.train, *client.validation):
            dealt[one.messages[0].content, one.messages[1].content, str(one.label)] += 1
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert dealt == Counter((row["instruction"], row["response"], row["intent"]) for row in rows)
    # Uneven: with alpha 0.5 one client holds more than a quarter of a typical intent.
    largest = [
        max(Counter(c.name for c in clients for one in c.train if one.label == intent).values())
        / sum(one.label == intent for c in clients for one in c.train)
        for intent in {row["intent"] for row in rows}
    ]
    assert np.median(largest) > 0.25


def test_medquad_has_nine_institutes() -> None:
    path = need("medquad-sample", "medquad.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    chosen = DataSettings(path=str(path), system="{client}")
    clients = make_clients(load(chosen, path.parent).conversations, chosen, 0, 8)
    assert [client.name for client in clients] == sorted({row["institute"] for row in rows})
    assert len(clients) == 9
    for client in clients:
        assert (len(client.train), len(client.validation)) == (198, 22)
        expected = Counter(row["question"] for row in rows if row["institute"] == client.name)
        both = (*client.train, *client.validation)
        assert Counter(one.messages[1].content for one in both) == expected
        assert {one.messages[0].content for one in both} == {client.name}


def test_tinyshakespeare_has_its_speakers() -> None:
    path = need("tinyshakespeare", "input.txt")
    chosen = DataSettings(path=str(path), format="text", clients="speaker", min_characters=5000)
    clients = make_clients(load_text(chosen, path.parent).documents, chosen, 0)
    blocks = re.split(r"\n\n+", path.read_text(encoding="utf-8").strip())
    size = Counter[str]()
    for block in blocks:
        if ":\n" in block:
            size[block.split(":")[0]] += len(block)
    assert [client.name for client in clients] == sorted(s for s in size if size[s] >= 5000)
    (romeo,) = (client for client in clients if client.name == "ROMEO")
    assert len(romeo.train) + len(romeo.validation) == sum(b.startswith("ROMEO:\n") for b in blocks)
    assert all(one.text.startswith("ROMEO:\n") for one in romeo.train)
