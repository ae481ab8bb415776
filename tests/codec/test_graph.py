"""The beacon, the graph and its degree: vectors, exact counting, scipy, and the anchors' table."""

import json
from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import combinations, permutations
from math import ceil, comb, inf, log2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sottovoce.codec.graph import (
    TWO_THIRDS,
    commit,
    degree_for,
    neighbour_count,
    neighbours,
    open_beacon,
    shuffled,
    strength,
)
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.rng import seeded_source

VECTORS = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "secagg_primitives.json").read_text("utf-8")
)
RUN = b"run"
NONCES = {name: bytes([i]) * 32 for i, name in enumerate(["rome", "oslo", "berlin"])}
COMMITMENTS = {name: commit(nonce, client=name, run=RUN) for name, nonce in NONCES.items()}
BEACON = open_beacon(COMMITMENTS, NONCES, run=RUN)
SERVERS = ["malicious", "semi-honest"]


def named(count):
    return [f"client {i}" for i in range(count)]


# --- the beacon ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["beacons"], ids=["beacon"])
def test_commitments_and_beacon_are_those_of_the_slow_reference(case):
    run = bytes.fromhex(case["run"])
    nonces = {name: bytes.fromhex(nonce) for name, nonce in case["nonces"].items()}
    commitments = {name: commit(nonce, client=name, run=run) for name, nonce in nonces.items()}
    assert {name: made.hex() for name, made in commitments.items()} == case["commitments"]
    assert open_beacon(commitments, nonces, run=run).hex() == case["beacon"]


def test_another_nonce_client_or_run_gives_another_commitment():
    made = [
        commit(bytes(32), client="oslo", run=RUN),
        commit(bytes(31) + b"\1", client="oslo", run=RUN),
        commit(bytes(32), client="rome", run=RUN),
        commit(bytes(32), client="oslo", run=b"other"),
        commit(bytes(32), client="nslo", run=b"ruo"),
    ]
    assert len(set(made)) == len(made)
    assert all(len(one) == 32 for one in made)


@pytest.mark.parametrize("nonce", [b"", bytes(31), bytes(33), "0" * 32, None])
def test_a_nonce_that_is_none_is_refused(nonce):
    with pytest.raises(VerificationError, match="nonce of client 'oslo' is no string of 32"):
        commit(nonce, client="oslo", run=RUN)
    with pytest.raises(VerificationError, match="nonce of client 'oslo' is no string of 32"):
        open_beacon(COMMITMENTS, {**NONCES, "oslo": nonce}, run=RUN)


def test_a_commitment_needs_a_name():
    with pytest.raises(VerificationError, match="printable"):
        commit(bytes(32), client="", run=RUN)


def test_the_order_of_the_mappings_does_not_matter():
    for order in permutations(NONCES):
        commitments = {name: COMMITMENTS[name] for name in order}
        nonces = {name: NONCES[name] for name in reversed(order)}
        assert open_beacon(commitments, nonces, run=RUN) == BEACON


def test_every_nonce_every_name_and_the_run_decide_the_beacon():
    def beacon(nonces, run=RUN):
        made = {name: commit(nonce, client=name, run=run) for name, nonce in nonces.items()}
        return open_beacon(made, nonces, run=run)

    swapped = {"rome": NONCES["oslo"], "oslo": NONCES["rome"], "berlin": NONCES["berlin"]}
    beacons = {beacon(NONCES), beacon(NONCES, b"other"), beacon(swapped)}
    beacons |= {beacon({**NONCES, name: b"\x77" * 32}) for name in NONCES}
    beacons.add(beacon({**NONCES, "paris": bytes(32)}))
    assert len(beacons) == 7


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda n: n.pop("oslo"), "'oslo' did not open"),
        (lambda n: n.clear(), "'berlin', 'oslo', 'rome' did not open"),
        (lambda n: n.update(oslo=b"\x09" * 32), "'oslo' opened their commitments to something"),
        (lambda n: n.update(oslo=n["rome"], rome=n["oslo"]), "'oslo', 'rome' opened their"),
        (lambda n: n.update(mallory=bytes(32)), "'mallory' opened what they had not committed"),
    ],
    ids=["silent", "all silent", "another nonce", "swapped", "stranger"],
)
def test_who_does_not_open_as_committed_is_named(change, fault):
    nonces = dict(NONCES)
    change(nonces)
    with pytest.raises(VerificationError, match=fault):
        open_beacon(COMMITMENTS, nonces, run=RUN)


def test_a_copied_commitment_cannot_be_opened():
    # Who copies somebody's commitment and then its nonce would cancel it in a beacon of sums.
    commitments = {**COMMITMENTS, "mallory": COMMITMENTS["oslo"]}
    with pytest.raises(VerificationError, match="'mallory' opened"):
        open_beacon(commitments, {**NONCES, "mallory": NONCES["oslo"]}, run=RUN)


def test_commitments_of_another_run_are_refused():
    with pytest.raises(VerificationError, match="'berlin', 'oslo', 'rome' opened"):
        open_beacon(COMMITMENTS, NONCES, run=b"other")


@pytest.mark.parametrize("count", [0, 1])
def test_a_beacon_of_fewer_than_two_is_refused(count):
    few = dict(list(NONCES.items())[:count])
    with pytest.raises(VerificationError, match=f"a beacon from {count} commitments"):
        open_beacon({name: COMMITMENTS[name] for name in few}, few, run=RUN)


# --- the graph -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["circles"], ids=lambda case: f"round {case['round']}")
@pytest.mark.parametrize("degree", [2, 4, 36])
def test_the_graph_is_the_circle_of_the_slow_reference(case, degree):
    circle, count = case["circle"], len(case["circle"])
    expected = {
        name: tuple(
            sorted(
                circle[(i + step) % count] for step in range(-degree // 2, degree // 2 + 1) if step
            )
        )
        for i, name in enumerate(circle)
    }
    cohort = sorted(circle, key=str.swapcase)
    graph = neighbours(bytes.fromhex(case["beacon"]), case["round"], cohort, degree)
    assert graph == expected
    assert list(graph) == sorted(circle)


@given(st.integers(101, 130), st.integers(1, 60), st.integers(0, 2**64 - 1), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_graph_is_regular_symmetric_sorted_and_blind_to_the_order(count, half, number, random):
    cohort = named(count)
    degree = min(2 * half, count - 2 - count % 2)
    graph = neighbours(BEACON, number, cohort, degree)
    assert list(graph) == sorted(cohort)
    for name, others in graph.items():
        assert len(others) == len(set(others)) == neighbour_count(count, degree) == degree
        assert list(others) == sorted(others)
        assert name not in others
        assert all(name in graph[other] for other in others)
    random.shuffle(cohort)
    assert neighbours(BEACON, number, cohort, degree) == graph


@pytest.mark.parametrize(
    ("count", "degree"),
    [(2, 1), (3, 1), (3, 2), (4, 3), (99, 4), (100, 30), (101, 100), (102, 400)],
)
def test_small_cohorts_and_large_degrees_have_the_complete_graph(count, degree):
    graph = neighbours(BEACON, 0, named(count), degree)
    assert neighbour_count(count, degree) == count - 1
    assert graph == {
        name: tuple(sorted(set(named(count)) - {name})) for name in sorted(named(count))
    }


def test_more_than_a_hundred_have_the_degree_that_was_asked_for():
    assert {len(others) for others in neighbours(BEACON, 0, named(101), 30).values()} == {30}
    assert neighbour_count(101, 30) == 30
    assert neighbour_count(101, 99) == 99
    assert neighbour_count(101, 100) == 100


def test_round_beacon_and_cohort_each_give_another_graph():
    def edges(beacon=BEACON, number=1, cohort=None):
        cohort = cohort or named(120)
        graph = neighbours(beacon, number, cohort, 2)
        return {frozenset((name, other)) for name in graph for other in graph[name]}

    start = edges()
    others = [edges(number=2), edges(beacon=bytes(32)), edges(cohort=(*named(119), "client x"))]
    for other in others:
        # Two random circles of 120 share 2 of their edges on average.
        assert len(start & other) < 15


def test_any_two_clients_meet_equally_often():
    """200 rounds among 101 clients with 4 neighbours each, against the chance of 4 in 100."""
    met = Counter(
        pair
        for number in range(200)
        for name, others in neighbours(BEACON, number, named(101), 4).items()
        for pair in ((name, other) for other in others if name < other)
    )
    counts = [met[pair] for pair in combinations(sorted(named(101)), 2)]
    assert sum(counts) == 200 * 202
    # The counts of one graph are tied to each other, which keeps chi-square a little below its law.
    pvalue = stats.chisquare(counts).pvalue
    assert pvalue > 1e-6


class Words:
    def __init__(self, words):
        self.given = words

    def words(self, count):
        given_words, self.given = self.given, [0] * count
        return np.array(given_words, np.uint64)


def test_words_that_would_favour_a_place_are_thrown_away():
    # 2^64 is 1 modulo 3, so that the largest word is one too many; below it all rests are equal.
    assert shuffled("abc", Words([2**64 - 1, 1, 1])) == ["a", "c", "b"]
    assert shuffled("abc", Words([2**64 - 2, 1, 0])) == ["a", "b", "c"]


def swapped_with_any(names, source):
    """The well-known wrong shuffle: n^n ways onto n! orders."""
    order = list(names)
    for i in range(len(order)):
        place = int(source.words(1)[0]) % len(order)
        order[i], order[place] = order[place], order[i]
    return order


def never_stays(names, source):
    """Sattolo's shuffle: circles only, because i itself is left out."""
    order = list(names)
    for i in reversed(range(1, len(order))):
        place = int(source.words(1)[0]) % i
        order[i], order[place] = order[place], order[i]
    return order


@pytest.mark.parametrize("shuffle", [shuffled, swapped_with_any, never_stays])
def test_every_order_is_equally_likely_and_a_wrong_shuffle_is_seen(shuffle):
    source = seeded_source(5, "orders")
    seen = Counter(tuple(shuffle("abcd", source)) for _ in range(12_000))
    counts = [seen[order] for order in permutations("abcd")]
    assert (stats.chisquare(counts).pvalue > 1e-6) == (shuffle is shuffled)


def test_shuffling_leaves_the_names_as_they_were():
    names = named(50)
    other = shuffled(names, seeded_source(0))
    assert names == named(50)
    assert other != names
    assert sorted(other) == sorted(names)
    assert shuffled([], seeded_source(0)) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"beacon": bytes(31)}, "a beacon that is none"),
        ({"beacon": "0" * 32}, "a beacon that is none"),
        ({"round": -1}, "round -1"),
        ({"round": 2**64}, "round 18446744073709551616"),
        ({"round": 1.0}, "round 1.0"),
        ({"cohort": ["oslo"]}, "a cohort of 1 clients"),
        ({"cohort": []}, "a cohort of 0 clients"),
        ({"cohort": [*named(120), "client 7"]}, "121 clients, of which 120 differ"),
        ({"cohort": [*named(120), ""]}, "printable"),
        ({"cohort": [*named(120), 7]}, "printable"),
        ({"degree": 0}, "a degree of 0 among 120"),
        ({"degree": -2}, "a degree of -2 among 120"),
        ({"degree": 5}, "a degree of 5 among 120"),
        ({"degree": 0, "cohort": named(3)}, "a degree of 0 among 3"),
    ],
    ids=str,
)
def test_what_makes_no_graph_is_refused(change, fault):
    right = {"beacon": BEACON, "round": 0, "cohort": named(120), "degree": 4}
    neighbours(**right)
    with pytest.raises(VerificationError, match=fault):
        neighbours(**(right | change))


# --- the degree ----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", VECTORS["degrees"], ids=str)
def test_degrees_are_those_of_the_anchors_table(row):
    cohort, corrupt, dropped, server, degree, threshold = row
    found = degree_for(cohort, corrupt, dropped, server=server)
    assert found.neighbours == degree
    assert found.threshold == (threshold or found.threshold)


@cache
def chance(peers, marked, drawn, least):
    """P[least or more marked ones among those drawn], by the textbook's formula."""
    ways = sum(
        comb(marked, x) * comb(peers - marked, drawn - x)
        for x in range(max(least, 0), drawn + 1)
        if x <= marked and drawn - x <= peers - marked
    )
    return Fraction(ways, comb(peers, drawn))


def chances(cohort, bad, gone, server, degree, threshold):
    """Privacy, liveness and connectivity: how likely each is to fail for some client."""
    privacy = sum(
        chance(cohort - 1, bad, degree, x) - chance(cohort - 1, bad, degree, x + 1)
        for x in range(degree + 1)
        if (x >= threshold if server == "semi-honest" else 2 * threshold <= degree + x)
    )
    liveness = chance(cohort - 1, gone, degree, degree - threshold + 1)
    gap = Fraction(bad + gone, cohort) ** (degree // 2) if degree < cohort - 1 else Fraction(0)
    return [cohort * value for value in (privacy, liveness, gap)]


def meets(cohort, bad, gone, server, degree, threshold):
    privacy, liveness, gap = chances(cohort, bad, gone, server, degree, threshold)
    return max(privacy, gap) <= Fraction(1, 2**40) and liveness <= Fraction(1, 2**20)


SHARES = st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.2, 1 / 3])


@given(st.integers(2, 70), SHARES, SHARES, st.sampled_from(SERVERS))
@settings(max_examples=30, deadline=None)
def test_no_fewer_neighbours_and_no_lower_threshold_would_do(cohort, corrupt, dropped, server):
    bad, gone = (min(ceil(cohort * Fraction(repr(s))), cohort - 1) for s in (corrupt, dropped))
    pairs = (
        (degree, threshold)
        for degree in (*range(2, cohort - 1, 2), cohort - 1)
        for threshold in range(min(2, degree), degree + 1)
        if meets(cohort, bad, gone, server, degree, threshold)
    )
    best = next(pairs, None)
    if best is None:
        with pytest.raises(ConfigError, match="40 bits of privacy"):
            degree_for(cohort, corrupt, dropped, server=server)
    else:
        found = degree_for(cohort, corrupt, dropped, server=server)
        assert (found.neighbours, found.threshold) == best


@given(st.data(), st.integers(2, 70), SHARES, SHARES, st.sampled_from(SERVERS))
@settings(max_examples=60, deadline=None)
def test_the_bits_are_the_exact_chances(data, cohort, corrupt, dropped, server):
    bad, gone = (min(ceil(cohort * Fraction(repr(s))), cohort - 1) for s in (corrupt, dropped))
    degree = data.draw(st.sampled_from([*range(2, cohort - 1, 2), cohort - 1]))
    threshold = data.draw(st.integers(1, degree))
    found = strength(
        cohort, corrupt, dropped, server=server, neighbours=degree, threshold=threshold
    )
    expected = chances(cohort, bad, gone, server, degree, threshold)
    bits = [found.privacy_bits, found.liveness_bits, found.connectivity_bits]
    for value, exact in zip(bits, expected, strict=True):
        wanted = inf if exact == 0 else max(0.0, log2(exact.denominator) - log2(exact.numerator))
        assert value == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_the_bits_agree_with_scipy():
    found = strength(10_000, 0.1, 0.1, server="semi-honest", neighbours=54, threshold=30)
    privacy = 10_000 * stats.hypergeom.sf(29, 9_999, 1_000, 54)
    liveness = 10_000 * stats.hypergeom.sf(24, 9_999, 1_000, 54)
    assert found.privacy_bits == pytest.approx(-log2(privacy), rel=1e-6)
    assert found.liveness_bits == pytest.approx(-log2(liveness), rel=1e-6)


def test_corrupt_neighbours_in_real_graphs_are_as_frequent_as_the_tail_says():
    """120 clients, 30 of them corrupt, 10 neighbours; 5 or more corrupt ones is the event."""
    cohort, corrupt = named(120), set(named(30))
    honest = [name for name in cohort if name not in corrupt]
    rounds = 400
    seen = sum(
        len(corrupt.intersection(graph[name])) >= 5
        for number in range(rounds)
        for graph in [neighbours(BEACON, number, cohort, 10)]
        for name in honest
    )
    share = seen / (rounds * len(honest))
    # Neighbours share neighbours, so that a round tells less than 90 clients: at most a tenth.
    error = 5 * (0.25 / (rounds * 9)) ** 0.5
    assert abs(share - float(chance(119, 30, 10, 5))) < error
    # The test can tell the event from its neighbours, and n - 1 peers from a smaller share.
    assert abs(share - float(chance(119, 30, 10, 4))) > error
    assert abs(share - float(chance(119, 30, 10, 6))) > error


def test_the_bound_on_gaps_holds_for_every_way_to_be_missing():
    count, missing, reach = 10, 5, 2
    gaps = [
        any(all((i + step) % count in gone for step in range(reach)) for i in range(count))
        for gone in map(set, combinations(range(count), missing))
    ]
    bound = count * Fraction(missing, count) ** reach
    assert Fraction(sum(gaps), len(gaps)) <= bound
    found = strength(count, 0.2, 0.3, server="semi-honest", neighbours=2 * reach, threshold=2)
    assert found.connectivity_bits == max(0.0, -log2(bound))


@pytest.mark.parametrize("cohort", [100, 1000])
@pytest.mark.parametrize("server", SERVERS)
def test_a_threshold_above_two_thirds_is_kept(cohort, server):
    least = degree_for(cohort, 0.05, 0.05, server=server)
    found = degree_for(cohort, 0.05, 0.05, server=server, above=TWO_THIRDS)
    assert 3 * found.threshold > 2 * found.neighbours
    assert found.threshold == max(2 * found.neighbours // 3 + 1, found.threshold)
    assert found.neighbours >= least.neighbours
    assert found.privacy_bits >= 40
    assert found.liveness_bits >= 20


@pytest.mark.parametrize("above", [-0.1, 1, TWO_THIRDS * 2, float("nan")])
def test_a_part_of_the_neighbours_that_is_none_is_refused(above):
    with pytest.raises(ConfigError, match=f"a threshold above {above} of the neighbours"):
        degree_for(100, 0.05, 0.05, server="malicious", above=above)


def test_the_complete_graph_of_a_hundred_has_its_own_threshold():
    found = degree_for(100, 0.05, 0.05, server="malicious", fewest=99)
    # Five corrupt peers are certain: 2t > 99 + 5.
    assert (found.neighbours, found.threshold) == (99, 53)
    assert found.connectivity_bits == inf
    assert degree_for(101, 0.05, 0.05, server="malicious", fewest=41).neighbours == 42
    # The table's threshold for 30 neighbours would be no protection at all among 99.
    assert (
        strength(100, 0.05, 0.05, server="malicious", neighbours=99, threshold=18).privacy_bits == 0
    )


def test_two_and_three_clients():
    for server in SERVERS:
        two, three = (degree_for(n, 0, 0, server=server) for n in (2, 3))
        assert (two.neighbours, two.threshold) == (1, 1)
        assert (three.neighbours, three.threshold) == (2, 2)


def test_shares_are_read_as_they_are_written_and_rounded_up():
    # 0.07·100 is 7.000000000000001 in floating point, and must not count an eighth client.
    seven = strength(100, 0.07, 0.0, server="semi-honest", neighbours=40, threshold=8)
    assert seven.privacy_bits == inf
    eight = strength(100, 0.071, 0.0, server="semi-honest", neighbours=40, threshold=8)
    assert eight.privacy_bits < inf


def test_no_more_peers_can_be_corrupt_or_gone_than_there_are():
    # Nine tenths of two clients are two, but the one that looks at its peers is honest and there.
    bad, gone = (
        strength(2, corrupt, dropped, server="semi-honest", neighbours=1, threshold=1)
        for corrupt, dropped in ((0.9, 0.0), (0.0, 0.9))
    )
    assert (bad.privacy_bits, bad.liveness_bits) == (0, inf)
    assert (gone.privacy_bits, gone.liveness_bits) == (inf, 0)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"cohort": 1}, "a cohort of 1"),
        ({"corrupt": -0.1}, "a share of -0.1 corrupt"),
        ({"dropped": -0.1}, "of -0.1 dropped"),
        ({"corrupt": 0.6, "dropped": 0.4}, "less than 1 together"),
        ({"corrupt": float("nan")}, "a share of nan corrupt"),
        ({"server": "honest"}, "a server that is 'honest'"),
    ],
    ids=str,
)
def test_what_makes_no_degree_is_refused(change, fault):
    right = {"cohort": 100, "corrupt": 0.1, "dropped": 0.1, "server": "malicious"}
    degree_for(**right)
    with pytest.raises(ConfigError, match=fault):
        degree_for(**(right | change))
    with pytest.raises(ConfigError, match=fault):
        strength(**(right | change), neighbours=42, threshold=27)


@pytest.mark.parametrize(
    ("degree", "threshold"), [(42, 0), (42, 43), (41, 20), (100, 20), (0, 0), (-2, 1)]
)
def test_a_degree_or_threshold_that_is_none_is_refused(degree, threshold):
    with pytest.raises(ConfigError, match=f"{degree} neighbours and a threshold of {threshold}"):
        strength(100, 0.1, 0.1, server="malicious", neighbours=degree, threshold=threshold)


def test_bars_that_nobody_can_meet_are_refused():
    with pytest.raises(ConfigError, match="10 clients of which 40% are corrupt and 40% drop out"):
        degree_for(10, 0.4, 0.4, server="malicious")
