"""What secure sums cost, in CPU seconds on one core: coding, masks, shares, unmasking, encryption.

    python benchmarks/secagg.py            a table
    python benchmarks/secagg.py --json     one JSON object on one line
    python benchmarks/secagg.py --only share_seconds_t51_n101

Every figure is the median of several repeats in one process, of CPU time and not of the clock, so
that what else the machine does matters less. ``client_mask_seconds_1m_n10`` is all that a client does
to its vector: clip, rotate, round, close, and add nine masks and its own.

Flower's SecAgg+ is driven beside ours, turn by turn on the same vector, where the environment of
``make bench-peers`` is there; where it is not, the keys that begin with ``flwr`` are null.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
from measuring import Figure, environment, summary, table
from secagg_flwr import Flower, available

from sottovoce.codec import he, masks, shamir
from sottovoce.codec.checks import Words
from sottovoce.codec.coding import Coding, close, open_sum, quantise
from sottovoce.codec.secagg.client import acknowledge, advertise, share, unmask, upload
from sottovoce.codec.secagg.messages import read, write
from sottovoce.codec.secagg.server import Server
from sottovoce.codec.secagg.states import State
from sottovoce.codec.secagg.terms import Terms
from sottovoce.codec.settings import SecureSettings
from sottovoce.rng import seeded_source
from sottovoce.run.by_secagg import degree
from sottovoce.run.circle import Circle, meet

MODEL = bytes(32)
SEED = bytes(32)
MILLION = 1_000_000


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """The median CPU time of some runs; one more before them does not count."""
    taken = []
    for _ in range(repeats + 1):
        begin = time.process_time()
        run()
        taken.append(time.process_time() - begin)
    return statistics.median(taken[1:])


def keys(count: int) -> list[bytes]:
    """Different keys for masks."""
    return [number.to_bytes(32, "big") for number in range(count)]


@cache
def example(size: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A vector of norm 1."""
    vector = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    return vector / np.float32(np.linalg.norm(vector))


def coded(coding: Coding) -> Words:
    """One client's words."""
    rounding = seeded_source(0, "rounding")
    written = quantise(
        example(coding.size), coding, weight=1, heaviest=1, rotation_seed=SEED, rounding=rounding
    )
    return close(written.steps, coding, weight=1)


def client_1m() -> Iterator[Figure]:
    """All that a client does to a million entries among ten clients."""
    coding = Coding(MILLION, 1.0, 10, 16)
    plus, minus = keys(10)[:5], keys(10)[5:]

    def one() -> None:
        masks.add_masks(coded(coding), plus, minus)

    facts = {"coding_seconds": seconds(lambda: coded(coding), 9)}
    yield Figure("client_mask_seconds_1m_n10", "16 bits", seconds(one, 9), 0.015, facts=facts)


def client_10m() -> Iterator[Figure]:
    """The same for ten million entries, a hundred neighbours and words of 20 bits."""
    coding = Coding(10 * MILLION, 1.0, 101, 20)
    plus, minus = keys(101)[:51], keys(101)[51:]
    masked = seconds(lambda: masks.add_masks(coded(coding), plus, minus), 3)
    facts = {"coding_seconds": seconds(lambda: coded(coding), 3)}
    yield Figure("client_mask_seconds_10m_k100", "20 bits", masked, 1.0, facts=facts)


def shares() -> Iterator[Figure]:
    """Both secrets of a client in shares for a hundred others."""
    source = seeded_source(0, "shares")
    secret = shamir.draw_secret(source)

    def both() -> None:
        for _ in range(2):
            shamir.split(secret, 51, 101, source)

    yield Figure("share_seconds_t51_n101", "two secrets", seconds(both, 9), 0.01)


class Played:
    """A whole sum among clients with one vector each, through the bytes of every message."""

    def __init__(
        self,
        clients: int,
        coding: Coding,
        *,
        neighbours: int | None = None,
        traced: bool = False,
    ) -> None:
        names = [f"client {place:04d}" for place in range(clients)]
        self.coding = coding
        self.circle: Circle = meet(names, bytes(32))
        found, threshold = degree(SecureSettings(), clients)
        if neighbours is not None:
            found, threshold = neighbours, 2 * neighbours // 3 + 1
        self.terms = Terms(
            run=self.circle.run,
            round=0,
            beacon=self.circle.beacon,
            config_sha256=bytes(32),
            roster=self.circle.roster,
            cohort=tuple(sorted(names)),
            length=coding.length,
            bits=coding.bits,
            neighbours=found,
            threshold=threshold,
            minimum_survivors=max(2, threshold),
        )
        self.bytes_up = 0
        self.traced = traced
        self.peak_bytes = 0
        self.upload_seconds: list[float] = []

    def whole(self, words: Words, *, dropped: int = 0) -> Server:
        """Play all stages but the last; the first clients drop out before their upload."""
        terms, circle = self.terms, self.circle
        server = Server(terms, MODEL)
        states: dict[str, State] = {}
        sources = {name: seeded_source(0, "benchmark", name) for name in terms.cohort}
        gone = set(terms.cohort[:dropped])

        def send(message: Any, take: Callable[[Any], None]) -> None:
            data = write(message, terms)
            self.bytes_up = max(self.bytes_up, len(data))
            if self.traced:
                tracemalloc.start()
            take(read(type(message), data, terms))
            if self.traced:
                most = tracemalloc.get_traced_memory()[1] + len(data)
                self.peak_bytes = max(self.peak_bytes, most)
                tracemalloc.stop()

        for name in terms.cohort:
            states[name], shown = advertise(circle.identities[name], name, terms, sources[name])
            send(shown, server.add_advertisement)
        for name, cohort in server.close_advertisements().items():
            identity = circle.identities[name]
            states[name], sealed = share(states[name], cohort, identity, sources[name])
            send(sealed, server.add_shares)
        for name, inbox in server.close_shares().items():
            if name not in gone:
                vector = words.copy()
                begin = time.process_time()
                states[name], sent = upload(
                    states[name], inbox, vector, MODEL, circle.identities[name]
                )
                self.upload_seconds.append(time.process_time() - begin)
                send(sent, server.add_upload)
        survivors = server.close_uploads()
        for name in survivors.survivors:
            states[name], signed = acknowledge(states[name], survivors, circle.identities[name])
            send(signed, server.add_acknowledgement)
        for name, request in server.close_acknowledgements().items():
            states[name], answer = unmask(states[name], request, circle.identities[name])
            send(answer, server.add_unmasking)
        return server


def whole_round() -> Iterator[Figure]:
    """Ten clients and the server, a million entries, coding included."""
    coding = Coding(MILLION, 1.0, 10, 16)
    played = Played(10, coding)
    words = coded(coding)

    def one() -> None:
        total = played.whole(words).recover()
        open_sum(total, coding, rotation_seed=SEED, heaviest=1)

    once = seconds(lambda: coded(coding), 5)
    taken = seconds(one, 5) + 10 * once
    yield Figure("round_cpu_seconds_1m_n10", "16 bits", taken, 0.20, facts={"coding_seconds": once})
    yield Figure("bytes_per_entry", "16 bits", played.bytes_up / MILLION, 2.05)


def unmasking() -> Iterator[Figure]:
    """What the server does when ten of a hundred clients dropped out after they had shared."""
    for clients, neighbours in ((101, 42), (100, None)):
        coding = Coding(MILLION, 1.0, clients, 16)
        played = Played(clients, coding, neighbours=neighbours)
        words = np.zeros(coding.length, coding.dtype)
        taken = []
        for _ in range(3):
            server = played.whole(words, dropped=10)
            begin = time.process_time()
            server.recover()
            taken.append(time.process_time() - begin)
        setting = f"{clients} clients, k = {len(played.terms.graph[played.terms.cohort[0]])}"
        yield Figure(
            "unmask_seconds_n100_1m_drop10",
            setting,
            statistics.median(taken),
            0.6 if neighbours else None,
        )


def memory() -> Iterator[Figure]:
    """The server's peak over one vector while uploads arrive, with few clients and with more."""
    for clients in (4, 20):
        coding = Coding(MILLION, 1.0, clients, 16)
        played = Played(clients, coding, traced=True)
        played.whole(np.zeros(coding.length, coding.dtype))
        vector = coding.length * coding.dtype.itemsize
        # The total was there before the tracing began.
        figure = (played.peak_bytes + vector) / vector
        yield Figure("server_peak_bytes_over_vector", f"{clients} clients", figure, 3.0)


def encryption() -> Iterator[Figure]:
    """BFV: what a client sends and how long it takes, among ten clients."""
    coding = Coding(MILLION, 1.0, 10, 16)
    words = coded(coding)
    made = he.make_keys(coding.bits, coding.clients, coding.length)
    data = he.encrypt(words, made)
    yield Figure("he_bytes_per_entry", "BFV, 16 bits", len(data) / MILLION, 30)
    taken = seconds(lambda: he.encrypt(words, made), 5)
    yield Figure("he_encrypt_seconds_1m", "BFV, 16 bits", taken, 0.7)
    yield from approximate_encryption()


def approximate_encryption() -> Iterator[Figure]:
    """CKKS beside it: floating-point numbers, so a sum is close and not exact, and takes no masks."""
    try:
        import tenseal
    except ImportError:
        print("CKKS is left out: pip install 'sottovoce[he]'", file=sys.stderr)
        return
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 60]
    )
    context.global_scale = 2.0**40
    slots = 4096
    vector = example(16 * slots).reshape(16, slots)

    def encrypt() -> list[bytes]:
        return [tenseal.ckks_vector(context, row.tolist()).serialize() for row in vector]

    size = sum(map(len, encrypt())) / vector.size
    yield Figure("ckks_bytes_per_entry", "degree 8192, scale 2^40", size)
    taken = seconds(encrypt, 5) * MILLION / vector.size
    yield Figure("ckks_encrypt_seconds_1m", "from 65,536 entries", taken)
    one = tenseal.ckks_vector(context, vector[0].tolist())
    read = np.array((one + one).decrypt())
    fault = float(np.abs(read - 2 * vector[0]).max() / np.abs(vector[0]).max())
    yield Figure("ckks_relative_error", "of a sum of two", fault)


FLOWER = {
    "flwr_client_mask_seconds_1m_n10": "client",
    "flwr_round_cpu_seconds_1m_n10": "round",
    "flwr_bytes_per_entry": "bytes",
    "flwr_share_seconds_t51_n101": "shares",
}
"""Keys of Flower's figures, each of which stands also with ``_over_ours`` behind it."""


def our_turn(played: Played) -> dict[str, float]:
    """What Flower is asked for, by ours: the coding of each client, then the sum, then shares."""
    coding, source = played.coding, seeded_source(0, "shares")
    played.upload_seconds.clear()
    begin = time.process_time()
    words = [coded(coding) for _ in range(coding.clients)][-1]
    each = (time.process_time() - begin) / coding.clients
    total = played.whole(words).recover()
    open_sum(total, coding, rotation_seed=SEED, heaviest=1)
    taken = time.process_time() - begin
    client = each + statistics.median(played.upload_seconds)
    secret = shamir.draw_secret(source)
    begin = time.process_time()
    for _ in range(2):
        shamir.split(secret, 51, 101, source)
    shares_ = time.process_time() - begin
    return {"client": client, "round": taken, "bytes": played.bytes_up / MILLION, "shares": shares_}


def flower_turn(flower: Flower) -> dict[str, float]:
    """The same, by Flower."""
    summed, shared = flower.measure("round"), flower.measure("shares")
    if summed["rms_error"] > 1e-4:
        raise RuntimeError(f"Flower's mean is off by {summed['rms_error']}")
    return {
        "client": summed["masking_seconds"],
        "round": summed["seconds"],
        "bytes": summed["upload_bytes"] / MILLION,
        "shares": shared["seconds"],
    }


def beside_flower(turns: int = 5) -> Iterator[Figure]:
    """Flower's SecAgg+ and ours in turn, ten clients with a million entries; first turns are left out.

    A client's stage is on both sides all between its result and its upload: shares opened, keys
    derived, the vector coded, masked and packed; on ours also signed.
    """
    if not available():
        print(
            "Flower's figures are null: `make bench-peers` sets up the environment they need",
            file=sys.stderr,
        )
        return
    coding = Coding(MILLION, 1.0, 10, 16)
    played, ours, flowers = Played(10, coding), list[dict[str, float]](), list[dict[str, float]]()
    with tempfile.TemporaryDirectory() as folder:
        vector = Path(folder) / "vector.npy"
        np.save(vector, example(MILLION))
        with closing(Flower(vector)) as flower:
            for _ in range(turns + 1):
                ours.append(our_turn(played))
                flowers.append(flower_turn(flower))
    for key, what in FLOWER.items():
        theirs = [turn[what] for turn in flowers[1:]]
        yield Figure(key, "Flower", statistics.median(theirs))
        yield ratio(f"{key}_over_ours", theirs, [turn[what] for turn in ours[1:]])


def ratio(key: str, theirs: Sequence[float], ours: Sequence[float]) -> Figure:
    """Flower's median over ours, and the turns in which it was lowest and highest."""
    pairs = [above / below for above, below in zip(theirs, ours, strict=True)]
    below = statistics.median(ours)
    facts = {"ours": below, "lowest": min(pairs), "highest": max(pairs), "turns": len(pairs)}
    return Figure(key, "Flower over ours", statistics.median(theirs) / below, facts=facts)


PARTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "client_mask_seconds_1m_n10": client_1m,
    "client_mask_seconds_10m_k100": client_10m,
    "share_seconds_t51_n101": shares,
    "round_cpu_seconds_1m_n10": whole_round,
    "unmask_seconds_n100_1m_drop10": unmasking,
    "server_peak_bytes_over_vector": memory,
    "he_encrypt_seconds_1m": encryption,
    "flwr": beside_flower,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    about = environment(torch.device("cpu"))
    figures = [figure for name in options.only for figure in PARTS[name]()]
    result = summary(figures, about)
    if "flwr" in options.only:
        result = (
            dict.fromkeys([f"{key}{end}" for key in FLOWER for end in ("", "_over_ours")]) | result
        )
    print(json.dumps(result) if options.json else table(figures, about))


if __name__ == "__main__":
    main()
