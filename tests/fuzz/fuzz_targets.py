"""Every parser of what arrives from outside, with valid bytes to begin from and what must hold.

A target's ``check`` takes any bytes whatever. It returns False where they were refused with an
error of the package, and True where they were read as the one value that is written as these bytes.
It raises in every other case. Both Hypothesis (``test_fuzz.py``) and atheris (``explore.py``) call it.
"""

from __future__ import annotations

import socket
import sys
import tempfile
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

CODEC = Path(__file__).resolve().parents[1] / "codec"
for folder in (CODEC, CODEC / "secagg", CODEC / "oneshot"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

import numpy as np  # noqa: E402
import oneshot_play  # noqa: E402
import pytest  # noqa: E402
import secagg_play  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives.serialization import (  # noqa: E402
    Encoding,
    PublicFormat,
)

from sottovoce.codec import bfv, blocks, checks, he, wire  # noqa: E402
from sottovoce.codec.oneshot import messages as oneshot  # noqa: E402
from sottovoce.codec.roster import Roster, hashed, identity_from  # noqa: E402
from sottovoce.codec.secagg import messages as secagg  # noqa: E402
from sottovoce.codec.secagg import states  # noqa: E402
from sottovoce.codec.secagg.terms import hashed_for  # noqa: E402
from sottovoce.codec.words import unpack_words  # noqa: E402
from sottovoce.errors import ConfigError, VerificationError  # noqa: E402
from sottovoce.rng import seeded_source  # noqa: E402
from sottovoce.run import enrol, ledger, letter, vault_socket  # noqa: E402
from sottovoce.run import folder as folders  # noqa: E402

ALLOWED = VerificationError
"""What every parser promises to raise; no other error of the package says who sent nonsense."""


@dataclass(frozen=True)
class Target:
    """One parser.

    Args:
        seeds: valid bytes, of every kind that it reads.
        check: reads any bytes and compares what was read with them.
        almost: bytes to begin from too, of shapes that are hard to come upon and are refused.
    """

    seeds: Sequence[bytes]
    check: Callable[[bytes], bool]
    almost: Sequence[bytes] = ()


def same(written: bytes, data: bytes) -> None:
    """An ``assert`` that python -O does not remove."""
    if bytes(written) != bytes(data):
        raise AssertionError("what was read is written as other bytes")


# --- words, compressed vectors, sums -------------------------------------------------------------


def wire_target() -> Target:
    """Bits, how many words, and the words."""

    def check(data: bytes) -> bool:
        if len(data) < 2:
            return False
        bits, length, rest = data[0] % 40, data[1], data[2:]
        try:
            words = wire.unpack(rest, bits, length)
        except ALLOWED:
            return False
        same(wire.pack(words, bits), rest)
        return True

    rng = np.random.default_rng(0)
    seeds = [
        bytes((bits, length))
        + wire.pack(rng.integers(0, 2**bits, length, np.uint64).astype(np.uint32), bits)
        for bits in (1, 7, 8, 9, 16, 20, 31, 32)
        for length in (0, 1, 5, 8)
    ]
    return Target(seeds, check)


def blocks_target() -> Target:
    """How many entries, and a compressed vector."""

    def check(data: bytes) -> bool:
        size, rest = int.from_bytes(data[:2], "big"), data[2:]
        try:
            compressed = blocks.read(rest, size)
        except ALLOWED:
            return False
        same(blocks.write(compressed), rest)
        if not np.isfinite(blocks.expand(compressed)).all():
            raise AssertionError("an entry is not finite")
        return True

    seeds = []
    for bits in (4, 8):
        for size in (0, 1, 7, 256, 300):
            vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)
            written = blocks.write(blocks.compress(vector, bits, seeded_source(0)))
            seeds.append(size.to_bytes(2, "big") + written)
    return Target(seeds, check)


def checks_target() -> Target:
    """Bits, clients, the heaviest weight, and the words of a sum but for its checksum.

    A checksum that fits is put behind them, because nobody comes upon one by chance.
    """

    def check(data: bytes) -> bool:
        if len(data) < 3:
            return False
        bits, clients, heaviest = 8 + data[0] % 25, 1 + data[1] % 100, 1 + data[2]
        kind, parts = np.dtype(np.uint16 if bits <= 16 else np.uint32), -(-64 // bits)
        words = np.frombuffer(data[3 : len(data) - (len(data) - 3) % kind.itemsize], kind)
        if words.size + parts < checks.check_words(bits, clients):
            return False
        checksum = [words[part::parts].sum(dtype=kind) for part in range(parts)]
        total = np.concatenate([words, np.array(checksum, kind)])
        try:
            weight, count = checks.read(total, bits, clients, heaviest=heaviest)
        except ALLOWED:
            return False
        if not (1 <= count <= clients and 0 <= weight <= count * heaviest):
            raise AssertionError("a weight or a count out of range")
        return True

    seeds = []
    for bits, clients in ((8, 3), (16, 100), (20, 10), (32, 1)):
        kind, parts = np.uint16 if bits <= 16 else np.uint32, -(-64 // bits)
        words = np.arange(6 + checks.check_words(bits, clients), dtype=kind)
        checks.seal(words, bits, clients, weight=3, count=1)
        seeds.append(bytes((bits - 8, clients - 1, 8)) + words[:-parts].tobytes())
    return Target(seeds, check)


# --- messages ------------------------------------------------------------------------------------


def secagg_terms(post_quantum: bool) -> secagg.Terms:
    # Nine clients, so that a set of them takes two bytes, and 9 bits, so that planes are ragged.
    return secagg_play.terms_for(9, threshold=5, bits=9, length=5, post_quantum=post_quantum)


@cache
def secagg_round(post_quantum: bool) -> tuple[secagg_play.Play, tuple[states.State, ...]]:
    """A whole sum, and every state of its first client."""
    play, found = secagg_play.Play(secagg_terms(post_quantum)), []
    for stage in play.stages():
        play.go(stage, {"c008"} if stage in ("upload", "acknowledge", "unmask") else ())
        found.append(play.states["c000"])
    return play, tuple(found)


def secagg_target(post_quantum: bool = False) -> Target:
    """The kind that the bytes themselves name is expected."""
    play, _ = secagg_round(post_quantum)
    every = [one["c000"] for one in (*play.sent.values(), *play.got.values())]
    kinds = list({type(message): None for message in every})
    numbers = {secagg.write(message, play.terms)[5]: type(message) for message in every}

    def check(data: bytes) -> bool:
        kind = numbers.get(data[5] if len(data) > 5 else 0, kinds[0])
        try:
            message = secagg.read(kind, data, play.terms)
        except ALLOWED:
            return False
        same(secagg.write(message, play.terms), data)
        if isinstance(message, secagg.Upload):
            return unpacked(unpack_words(message.words, play.terms))
        return True

    return Target([secagg.write(message, play.terms) for message in every], check)


def unpacked(blocks_: Iterable[object]) -> bool:
    """Go through words that arrived; they may be refused."""
    try:
        deque(blocks_, maxlen=0)
    except ALLOWED:
        return False
    return True


def states_target(post_quantum: bool = False) -> Target:
    """A state at rest, under a checksum that fits whatever the bytes are."""
    play, found = secagg_round(post_quantum)

    def check(data: bytes) -> bool:
        whole = data + hashed_for("state", data)
        try:
            state = states.load(whole, play.terms)
        except ALLOWED:
            return False
        same(states.dump(state), whole)
        return True

    return Target([states.dump(state)[:-32] for state in found], check)


@cache
def oneshot_round() -> oneshot_play.Play:
    terms = oneshot_play.terms_for(9, 5, 2, bits=9, length=5)
    return oneshot_play.Play(terms).upload().receive().lock().answer()


def oneshot_target() -> Target:
    """The kind that the bytes themselves name is expected."""
    play = oneshot_round()
    told = play.sent["sums"][0]
    every = [
        *(play.uploads["c000"].parcel, play.uploads["c000"], play.got["delivery"]),
        *(play.sent["receive"][1], play.got["proposal"], play.sent["lock"][1]),
        *(play.got["requests"]["h1"], told.claim, told),
    ]
    numbers = {oneshot.write(message, play.terms)[5]: type(message) for message in every}

    def check(data: bytes) -> bool:
        kind = numbers.get(data[5] if len(data) > 5 else 0, oneshot.Parcel)
        try:
            message = oneshot.read(kind, data, play.terms)
        except ALLOWED:
            return False
        same(oneshot.write(message, play.terms), data)
        if isinstance(message, oneshot.Upload | oneshot.PartialSum) and len(message.words):
            return unpacked(unpack_words(message.words, play.terms))
        return True

    return Target([oneshot.write(message, play.terms) for message in every], check)


def helper_key_target() -> Target:
    """A helper's key of a run."""
    helpers = oneshot_play.roster_of(oneshot_play.helper_names(3))
    _, shown = oneshot_play.announced(3)["h1"]

    def check(data: bytes) -> bool:
        try:
            read = oneshot.read_key(data, "h1", helpers, oneshot_play.RUN)
        except ALLOWED:
            return False
        same(oneshot.write_key(read, helpers, oneshot_play.RUN), data)
        return True

    return Target([oneshot.write_key(shown, helpers, oneshot_play.RUN)], check)


# --- encryption ----------------------------------------------------------------------------------


def he_public_target() -> Target:
    """The parameters of a run."""

    def check(data: bytes) -> bool:
        try:
            parameters = bfv.read_public(data)
        except ALLOWED:
            return False
        same(parameters.public, data)
        return True

    shapes = ((8, 1, 1), (16, 10, 10**6), (20, 1000, 5), (32, 4, 2**40))
    return Target([bfv.Parameters(*shape, bytes(16)).public for shape in shapes], check)


@cache
def he_keys() -> he.Keys:
    return he.make_keys(16, 3, 5)


def he_vector_target() -> Target:
    """A client's encrypted vector, as the server gets it. SEAL's own parser is not instrumented."""
    keys = he_keys()
    empty = he.Total(keys.parameters)

    def check(data: bytes) -> bool:
        try:
            total = he.add(empty, data, client="oslo")
        except ALLOWED:
            return False
        if len(he.write(total)) > keys.parameters.largest_bytes:
            raise AssertionError("a sum that is larger than one can be")
        return True

    upload = he.encrypt(np.arange(5, dtype=np.uint16), keys)
    return Target([upload], check, cut_short(upload))


def cut_short(data: bytes) -> list[bytes]:
    """The one ciphertext of an encrypted vector cut, with the length before it to match."""
    head, begin = bfv.PUBLIC_BYTES + bfv.COUNT_BYTES, bfv.PUBLIC_BYTES + 2 * bfv.COUNT_BYTES
    return [
        data[:head] + size.to_bytes(bfv.COUNT_BYTES, "big") + data[begin : begin + size]
        for size in (0, 1, 15, 16, 40, 1000)
    ]


def he_sum_target() -> Target:
    """The encrypted sum, as a client gets it."""
    keys = he_keys()

    def check(data: bytes) -> bool:
        try:
            words = he.decrypt(data, keys, clients=1)
        except ALLOWED:
            return False
        if words.dtype != np.uint16 or words.shape != (5,):
            raise AssertionError("words of another shape")
        return True

    total = he.add(
        he.Total(keys.parameters), he.encrypt(np.arange(5, dtype=np.uint16), keys), client="oslo"
    )
    return Target([he.write(total)], check, cut_short(he.write(total)))


# --- a run folder --------------------------------------------------------------------------------


@cache
def shelf() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where there is one; it goes when the process ends."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


def ledger_target() -> Target:
    """A ledger that somebody changed, read as ``sotto verify`` reads it."""
    path = Path(shelf().name) / "ledger.jsonl"
    with ledger.Ledger.open(path) as book:
        for place in range(3):
            book.append("round", {"number": place, "loss": 0.5, "clients": ["ü", None, [1, {}]]})
    seed = path.read_bytes()

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        try:
            records, _ = ledger.verify(path)
        except ALLOWED:
            return False
        previous, lines = ledger.GENESIS, b""
        for record in records:
            lines += ledger._line(record.index, record.kind, record.payload, previous)
            previous = record.line_sha256
        same(lines, data)
        return True

    return Target([seed, seed.splitlines(keepends=True)[0]], check)


def letter_target() -> Target:
    """A letter between a server and a site.

    A signature that fits is put behind the bytes, because nobody comes upon one by chance.
    """
    ada, ben = identity_from(b"a" * 32), identity_from(b"b" * 32)
    roster = Roster({"ada": ada.public, "ben": ben.public})

    def check(data: bytes) -> bool:
        digest = sha256(data).digest()
        whole = data + ada.sign(hashed("sottovoce letter v1", digest))
        try:
            found = letter.read(whole, roster, to="ben", limit=2**16)
        except ALLOWED:
            return False
        same(letter.write(found, ada), whole)
        return True

    facts = {"round": 3, "loss": 0.5, "who": ["ä", None, True, {}], "answers": "0" * 64}
    written = [
        letter.Letter("joined", "0" * 64, "ada", "ben"),
        letter.Letter("update", "0" * 64, "ada", "ben", facts, {"update": bytes(9), "next": b""}),
    ]
    heads = (b'"facts":' + b"[" * 40, b'"parts":[["a",18446744073709551616]]')
    almost = [b"SVLT\x01" + len(head).to_bytes(4, "big") + head for head in heads]
    return Target([letter.write(one, ada)[:-64] for one in written], check, almost)


def tensors_target() -> Target:
    """The tensors of a run folder."""
    path = Path(shelf().name) / "tensors.safetensors"
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.int64)}
    folders.write_tensors(path, tensors)
    seed = path.read_bytes()

    def check(data: bytes) -> bool:
        try:
            folders.parse_tensors(data, path)
        except ALLOWED:
            return False
        return True

    return Target([seed], check)


# --- between machines ----------------------------------------------------------------------------


def enrolment_target() -> Target:
    """A line of a roster; a signature that fits is put behind the bytes, as for a letter."""
    ada = identity_from(b"a" * 32)
    points = [
        ec.derive_private_key(secret, ec.SECP384R1())
        .public_key()
        .public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        for secret in (1, 2)
    ]

    def check(data: bytes) -> bool:
        signed = ada.sign(hashed("sottovoce enrolment v1", "ada", ada.public, data))
        line = urlsafe_b64encode(ada.public + data + signed).decode().rstrip("=")
        try:
            found = enrol.read_member("ada", line)
        except ConfigError:
            return False
        same(found.identity + found.node_key, ada.public + data)
        return True

    return Target(points, check, [points[0][:33], b"\x05" + points[0][1:]])


def question_target() -> Target:
    """What comes through a vault's socket: a length and so many bytes."""
    path = Path(shelf().name) / "vault.sock"
    vault = vault_socket.VaultSocket(path, 2**12)

    def check(data: bytes) -> bool:
        asked: list[bytes] = []
        here, there = socket.socketpair()
        with here, there:
            here.sendall(data)
            here.shutdown(socket.SHUT_WR)
            try:
                vault._answered(there, lambda question: asked.append(question) or b"")
            except OSError:
                return False
        if asked:
            same(len(asked[0]).to_bytes(8, "big") + asked[0], data[: 8 + len(asked[0])])
        return bool(asked)

    seeds = [size.to_bytes(8, "big") + bytes(size) for size in (0, 3)]
    return Target(seeds, check, [(2**13).to_bytes(8, "big"), (9).to_bytes(8, "big") + b"ab"])


def parcel_target() -> Target:
    """The objects of one of Flower's messages, each behind its length."""
    parcel = pytest.importorskip("sottovoce.run.flower.parcel", exc_type=ImportError)
    written = list(parcel.question(1, 1, 2, b"a body").objects.values())

    def joined(objects: Sequence[bytes]) -> bytes:
        return b"".join(len(one).to_bytes(4, "big") + one for one in objects)

    def check(data: bytes) -> bool:
        objects = deque[bytes]()
        while data:
            size = int.from_bytes(data[:4], "big")
            objects.append(data[4 : 4 + size])
            data = data[4 + size :]
        fetch = lambda _: objects.popleft() if objects else b""  # noqa: E731
        try:
            body = parcel.opened(fetch(""), fetch, 2**12)
        except ALLOWED:
            return False
        if len(body) > 2**12:
            raise AssertionError("a body over its limit")
        return True

    # The message comes first here, then its record, then the pieces.
    piece, record, message = written
    deep = record.partition(b"\0")[0] + b"\0" + b"[" * 5_000
    return Target([joined([message, record, piece])], check, [joined([message, deep, piece])])


TARGETS: dict[str, Callable[[], Target]] = {
    "wire": wire_target,
    "blocks": blocks_target,
    "checks": checks_target,
    "secagg_messages": secagg_target,
    "secagg_messages_hybrid": lambda: secagg_target(post_quantum=True),
    "secagg_states": states_target,
    "secagg_states_hybrid": lambda: states_target(post_quantum=True),
    "oneshot_messages": oneshot_target,
    "helper_key": helper_key_target,
    "he_public": he_public_target,
    "he_vector": he_vector_target,
    "he_sum": he_sum_target,
    "ledger": ledger_target,
    "letter": letter_target,
    "tensors": tensors_target,
    "enrolment": enrolment_target,
    "question": question_target,
    "parcel": parcel_target,
}
NEED_TENSEAL = ("he_vector", "he_sum")
