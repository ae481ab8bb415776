"""Who shares masks with whom: a graph that nobody chooses and everybody can recompute.

Bell et al. 2020 (ePrint 2020/704): each client masks against k neighbours instead of against all,
so that a round costs O(n·k) instead of O(n²). Their graph is a random Harary graph: the clients in
a random circle, each joined to the k/2 next ones on either side. What is random in it comes from a
beacon, to which every client of the run has contributed and which none has chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, comb, inf, log2
from typing import Final, Literal

from sottovoce.codec.roster import hashed, require_name
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.rng import Source

NONCE_BYTES: Final = 32
BEACON_BYTES: Final = 32
COMPLETE_UP_TO: Final = 100
"""Cohorts of up to this many clients have the complete graph."""

PRIVACY_BITS: Final = 40
LIVENESS_BITS: Final = 20
TWO_THIRDS: Final = Fraction(2, 3)

_WORD: Final = 2**64
_WORDS_AT_ONCE: Final = 256

Server = Literal["malicious", "semi-honest"]


def commit(nonce: bytes, *, client: str, run: bytes) -> bytes:
    """Commit to a nonce without showing it: SHA-256 over run, client and nonce.

    Args:
        nonce: 32 bytes from the operating system. Private until everybody's commitment is known.
        client: who commits. Public.
        run: what the beacon is for. Public.

    Returns:
        32 bytes. Public.

    Guarantees:
        - another nonce, client or run gives another commitment.

    Raises:
        VerificationError: the nonce does not have 32 bytes, or the name is no name.
    """
    require_name(client)
    if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES:
        raise VerificationError(
            f"the nonce of client {client!r} is no string of {NONCE_BYTES} bytes"
        )
    return hashed("sottovoce beacon commitment v1", run, client.encode(), nonce)


def open_beacon(
    commitments: Mapping[str, bytes], nonces: Mapping[str, bytes], *, run: bytes
) -> bytes:
    """Open all commitments and make the beacon: SHA-256 over every (client, nonce), by name.

    Each client sends its nonce only after it has seen all commitments. A nonce that nobody knew
    when the last commitment was made decides the beacon, so a single honest client suffices.

    Args:
        commitments: client to what ``commit`` returned, two or more. Public.
        nonces: client to nonce, of the same clients. Public from now on.
        run: as it was for ``commit``. Public.

    Returns:
        The beacon, 32 bytes. Public.

    Guarantees:
        - nobody, and no group without all clients in it, can choose the beacon;
        - the order of the mappings does not matter;
        - who does not open, opens to something else, or opens without a commitment is named.

    Edge cases: who opens last knows the beacon before the others and can only stop it. To begin
    again gives a group of clients that stops at will another draw each time, so whoever stopped
    it stays outside when it is begun again.

    Raises:
        VerificationError: fewer than two commitments, or as guaranteed.
    """
    if len(commitments) < 2:
        raise VerificationError(
            f"a beacon from {len(commitments)} commitments", allowed="2 or more"
        )
    strangers = sorted(set(nonces) - set(commitments))
    silent = sorted(set(commitments) - set(nonces))
    both = sorted(set(commitments) & set(nonces))
    liars = [
        name for name in both if commit(nonces[name], client=name, run=run) != commitments[name]
    ]
    for names, fault in (
        (silent, "did not open their commitments"),
        (liars, "opened their commitments to something else"),
        (strangers, "opened what they had not committed to"),
    ):
        if names:
            raise VerificationError(
                f"{', '.join(map(repr, names))} {fault}",
                remedy="Begin the run again without them",
            )
    fields = [part for name in both for part in (name.encode(), nonces[name])]
    return hashed("sottovoce beacon v1", run, *fields)


# --- the graph -----------------------------------------------------------------------------------


def neighbour_count(cohort: int, degree: int) -> int:
    """How many neighbours each of ``cohort`` clients has when ``degree`` are asked for.

    Up to ``COMPLETE_UP_TO`` clients that is everybody else, whatever was asked for, and a threshold
    has to be chosen for this number.

    >>> neighbour_count(100, 30), neighbour_count(101, 30)
    (99, 30)
    """
    return cohort - 1 if cohort <= COMPLETE_UP_TO else min(degree, cohort - 1)


def neighbours(
    beacon: bytes, round: int, cohort: Sequence[str], degree: int
) -> dict[str, tuple[str, ...]]:
    """Say for each client of a round with whom it shares masks.

    A random circle, each client joined to the degree/2 next ones on either side; everybody to
    everybody where ``neighbour_count`` says so. Bell et al. 2020.

    Args:
        beacon: 32 bytes of ``open_beacon``. Public.
        round: the round's number, 0 or more. Public.
        cohort: the clients of this round, all different, in any order. Public.
        degree: k, even where the graph is not complete. Public.

    Returns:
        Client to its neighbours, both in the order of names.

    Guarantees:
        - every client has ``neighbour_count`` neighbours, itself not among them;
        - a neighbour's neighbour is oneself;
        - every circle is equally likely, and independent for each round, beacon and cohort;
        - the order of the cohort does not matter.

    Edge cases: whoever can choose among many cohorts once the beacon is known can look for one
    whose graph it likes; ``Degree`` counts a single try.

    Raises:
        VerificationError: fewer than two clients, one twice or without a name; a beacon or round
            that is none; a degree below 1, or an odd one where the graph is not complete.
    """
    _require_cohort(beacon, round, cohort)
    ordered = sorted(cohort)
    count = neighbour_count(len(ordered), degree)
    if degree < 1 or (count < len(ordered) - 1 and count % 2):
        raise VerificationError(
            f"a degree of {degree} among {len(ordered)} clients", allowed="an even number from 2"
        )
    if count == len(ordered) - 1:
        return {name: (*ordered[:i], *ordered[i + 1 :]) for i, name in enumerate(ordered)}
    fields = (round.to_bytes(8, "big"), *(name.encode() for name in ordered))
    circle = shuffled(ordered, Source(hashed("sottovoce graph v1", beacon, *fields)))
    reach = count // 2
    # Continued by a piece of itself at both ends, the circle can be cut like a line.
    line = [*circle[-reach:], *circle, *circle[:reach]]
    joined = {
        name: tuple(sorted((*line[i : i + reach], *line[i + reach + 1 : i + count + 1])))
        for i, name in enumerate(circle)
    }
    return {name: joined[name] for name in ordered}


def shuffled(names: Sequence[str], source: Source) -> list[str]:
    """Shuffle names so that each order is equally likely. Fisher and Yates 1938; Durstenfeld 1964.

    Place i changes with a uniform one of the places 0 to i, from the last place down. A word of
    the source gives that place as its rest modulo i + 1, and is thrown away where the rests would
    not be equally frequent.

    Args:
        names: any.
        source: of uniform 64-bit words.

    Returns:
        The names in another order; ``names`` is as it was.
    """
    words = _words(source)
    order = list(names)
    for i in reversed(range(1, len(order))):
        limit = _WORD - _WORD % (i + 1)
        place = next(word for word in words if word < limit) % (i + 1)
        order[i], order[place] = order[place], order[i]
    return order


def _words(source: Source) -> Iterator[int]:
    while True:
        yield from source.words(_WORDS_AT_ONCE).tolist()


def _require_cohort(beacon: bytes, round: int, cohort: Sequence[str]) -> None:
    if not isinstance(beacon, bytes) or len(beacon) != BEACON_BYTES:
        raise VerificationError("a beacon that is none", allowed=f"{BEACON_BYTES} bytes")
    if not isinstance(round, int) or not 0 <= round < _WORD:
        raise VerificationError(f"round {round!r}", allowed="an integer from 0 to 2^64 - 1")
    for name in cohort:
        require_name(name)
    if len(cohort) < 2 or len(set(cohort)) < len(cohort):
        raise VerificationError(
            f"a cohort of {len(cohort)} clients, of which {len(set(cohort))} differ",
            allowed="2 or more different clients",
        )


# --- how many neighbours it takes ----------------------------------------------------------------


@dataclass(frozen=True)
class Degree:
    """How many neighbours a client has, how many it takes to reveal, and how sure that is.

    Each number of bits b stands for a chance of at most 2^-b that things go wrong for ANY client of
    the cohort, over the beacon: at most the number of clients times the chance for one.

    Args:
        neighbours: k.
        threshold: t, the shares that give a secret back.
        privacy_bits: against corrupt neighbours. Semi-honest server: t or more of one client's
            neighbours are corrupt. Malicious server: 2t <= k + corrupt neighbours, so that two
            different survivor sets can both find t answers.
        liveness_bits: against fewer than t neighbours that stay.
        connectivity_bits: against k/2 clients in a row of the circle that are corrupt or gone;
            without that, the sum cannot come apart into the sums of two parts.

    Edge cases: infinite bits mean that it cannot happen. Who drops out is taken to be independent
    of the graph, which a malicious server need not respect: it can drop whom it likes, up to the
    round's minimum of survivors, and then only the threshold keeps a client among at least
    t - (corrupt neighbours) others.
    """

    neighbours: int
    threshold: int
    privacy_bits: float
    liveness_bits: float
    connectivity_bits: float


def degree_for(
    cohort: int,
    corrupt: float,
    dropped: float,
    *,
    server: Server,
    above: Fraction = Fraction(0),
    fewest: int = 1,
) -> Degree:
    """Find the fewest neighbours and the lowest threshold that keep the chances below the bars.

    Bars: 2^-40 for privacy and for connectivity, 2^-20 for liveness. Of n clients, C are corrupt
    and D drop out. The corrupt ones among k of a client's n - 1 peers are hypergeometric, and so
    are those that drop out; each tail is taken n times, for every client. The chance of a gap in
    the circle is at most n·((C + D)/n)^(k/2). Bell et al. 2020 ask for the same three things, with
    bounds of their own.

    Args:
        cohort: n, the clients of a round. Public.
        corrupt: the share of corrupt clients; C = ceil(n·corrupt). Public.
        dropped: the share of clients that drop out; D = ceil(n·dropped). Public.
        server: whether it keeps to the protocol. Public.
        above: the threshold lies above this part of the neighbours; often ``TWO_THIRDS``. Public.
        fewest: no fewer neighbours than this; ``cohort - 1`` asks for the complete graph, which
            up to ``COMPLETE_UP_TO`` clients is the one in use.

    Returns:
        The fewest neighbours that meet all three bars, an even number or all peers, with the
        lowest threshold that does for that number.

    Guarantees:
        - arithmetic is exact, and rounding happens only in the bits that are reported;
        - no smaller number of neighbours meets the bars, nor does a lower threshold;
        - the threshold is 2 or more, except between two clients.

    Raises:
        ConfigError: fewer than two clients, shares that are none, an unknown kind of server, a part
            outside [0, 1), or bars that not even all peers can meet.

    >>> found = degree_for(1000, 0.05, 0.05, server="malicious")
    >>> found.neighbours, found.threshold
    (52, 37)
    """
    bad, gone = _require_shares(cohort, corrupt, dropped, server)
    if not 0 <= above < 1:
        raise ConfigError(
            f"a threshold above {above} of the neighbours", allowed="0 or more, below 1"
        )
    first = max(1, fewest) + max(1, fewest) % 2
    for degree in (*range(first, cohort - 1, 2), cohort - 1):
        gaps, circles = _gap(cohort, bad + gone, degree)
        if gaps << PRIVACY_BITS > circles:
            continue
        threshold = _lowest_threshold(cohort, bad, degree, server, above)
        leaving = _tails(cohort - 1, gone, degree)
        lost = degree - threshold + 1
        if cohort * leaving[lost] << LIVENESS_BITS <= leaving[0]:
            return strength(
                cohort, corrupt, dropped, server=server, neighbours=degree, threshold=threshold
            )
    raise ConfigError(
        f"{cohort} clients of which {corrupt:.0%} are corrupt and {dropped:.0%} drop out, under a "
        f"{server} server",
        allowed=f"what leaves {PRIVACY_BITS} bits of privacy and {LIVENESS_BITS} of liveness",
        remedy="Ask for fewer corrupt or dropped clients, or draw a larger cohort",
    )


def strength(
    cohort: int,
    corrupt: float,
    dropped: float,
    *,
    server: Server,
    neighbours: int,
    threshold: int,
) -> Degree:
    """Say how sure a given number of neighbours and a given threshold are.

    Args:
        cohort: n, as for ``degree_for``, like the next three. Public.
        corrupt: a share of the clients.
        dropped: a share of the clients.
        server: whether it keeps to the protocol.
        neighbours: k, even, or all peers. Public.
        threshold: t, from 1 to k. Public.

    Raises:
        ConfigError: as ``degree_for``, or k or t is not in range.

    >>> strength(
    ...     100, 0.05, 0.05, server="malicious", neighbours=99, threshold=67
    ... ).privacy_bits
    inf
    """
    bad, gone = _require_shares(cohort, corrupt, dropped, server)
    complete = neighbours == cohort - 1
    if not (1 <= threshold <= neighbours < cohort and (complete or neighbours % 2 == 0)):
        raise ConfigError(
            f"{neighbours} neighbours and a threshold of {threshold} in a cohort of {cohort}",
            allowed="an even number of neighbours or all peers, and a threshold up to that",
        )
    meeting = _tails(cohort - 1, bad, neighbours)
    leaving = _tails(cohort - 1, gone, neighbours)
    enough = threshold if server == "semi-honest" else max(0, 2 * threshold - neighbours)
    return Degree(
        neighbours,
        threshold,
        privacy_bits=_bits(cohort * meeting[enough], meeting[0]),
        liveness_bits=_bits(cohort * leaving[neighbours - threshold + 1], leaving[0]),
        connectivity_bits=_bits(*_gap(cohort, bad + gone, neighbours)),
    )


def _lowest_threshold(cohort: int, bad: int, degree: int, server: Server, above: Fraction) -> int:
    meeting = _tails(cohort - 1, bad, degree)
    # The fewest corrupt neighbours that are too unlikely to be counted with.
    rare = next(x for x, ways in enumerate(meeting) if cohort * ways << PRIVACY_BITS <= meeting[0])
    lowest = rare if server == "semi-honest" else (degree + rare + 1) // 2
    # With a threshold of 1 each neighbour would hold the secret itself.
    return max(lowest, int(above * degree) + 1, min(2, degree))


def _tails(peers: int, marked: int, drawn: int) -> list[int]:
    """Count the ways to draw x or more marked ones among ``drawn`` peers, for x = 0 to drawn + 1.

    Hypergeometric tails, all over the first one, which is the number of all ways.
    """
    others = peers - marked
    least, most = max(0, drawn - others), min(marked, drawn)
    ways = [0] * (drawn + 2)
    ways[least] = comb(marked, least) * comb(others, drawn - least)
    for x in range(least, most):
        rise = (marked - x) * (drawn - x)
        ways[x + 1] = ways[x] * rise // ((x + 1) * (others - drawn + x + 1))
    for x in reversed(range(drawn + 1)):
        ways[x] += ways[x + 1]
    return ways


def _gap(cohort: int, missing: int, degree: int) -> tuple[int, int]:
    """Bound the chance of a gap in the circle, n·(m/n)^(k/2), as numerator and denominator."""
    reach = degree // 2
    # The complete graph has no circle to cut.
    ways = 0 if degree == cohort - 1 else cohort * missing**reach
    return ways, int(cohort**reach)


def _bits(ways: int, total: int) -> float:
    return inf if not ways else max(0.0, log2(total) - log2(ways))


def _require_shares(cohort: int, corrupt: float, dropped: float, server: Server) -> tuple[int, int]:
    if cohort < 2:
        raise ConfigError(f"a cohort of {cohort}", allowed="2 clients or more")
    if server not in ("malicious", "semi-honest"):
        raise ConfigError(f"a server that is {server!r}", allowed="malicious or semi-honest")
    if not (corrupt >= 0 and dropped >= 0 and corrupt + dropped < 1):
        raise ConfigError(
            f"a share of {corrupt} corrupt and of {dropped} dropped clients",
            allowed="0 or more each, and less than 1 together",
        )
    # Read as it is written, so that 0.07 of 100 clients are 7 and not 8.
    bad, gone = (ceil(Fraction(repr(float(share))) * cohort) for share in (corrupt, dropped))
    # The client that looks at its peers is itself honest and there.
    return min(bad, cohort - 1), min(gone, cohort - 1)
