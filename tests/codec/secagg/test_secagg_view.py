"""What the server sees: uploads that say nothing, keys that serve once, names without secrets."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy import stats
from secagg_play import MODEL, Play, identity_of, sent, terms_for

from sottovoce.codec import masks, sealing, shamir
from sottovoce.codec.secagg import client as steps
from sottovoce.codec.secagg import keys
from sottovoce.codec.secagg.messages import Inbox, SealedShare, SealedShares
from sottovoce.codec.secagg.states import Neighbour, Shared
from sottovoce.codec.words import unpack_words
from sottovoce.errors import VerificationError
from sottovoce.rng import seeded_source

# --- the masked vector, by a slow second hand ----------------------------------------------------


def hashed_by_hand(purpose: str, *values: bytes | str | int) -> bytes:
    parts = [f"sottovoce secagg v1 {purpose}".encode()]
    for value in values:
        if isinstance(value, int):
            parts.append(value.to_bytes(8, "big"))
        else:
            parts.append(value.encode() if isinstance(value, str) else value)
    return hashlib.sha256(b"".join(len(it).to_bytes(8, "big") + it for it in parts)).digest()


def hkdf_by_hand(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256 for one block of output."""
    extracted = hmac.new(salt, secret, "sha256").digest()
    return hmac.new(extracted, info + b"\x01", "sha256").digest()


def mask_by_hand(key: bytes, terms) -> list[int]:
    """AES-256 applied to each counter by itself, read as little-endian words."""
    size = terms.word.itemsize
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    stream = b"".join(
        block.update(counter.to_bytes(16, "big"))
        for counter in range(terms.length * size // 16 + 1)
    )
    return [
        int.from_bytes(stream[begin : begin + size], "little")
        for begin in range(0, terms.length * size, size)
    ]


@pytest.mark.parametrize("post_quantum", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 20, 32])
def test_an_upload_is_the_vector_plus_its_masks_in_plain_integers(
    bits: int, post_quantum: bool
) -> None:
    terms = terms_for(4, threshold=2, bits=bits, length=21, post_quantum=post_quantum)
    play = Play(terms).until("upload", {"c003": "share"} if bits == 20 else None)
    name = "c001"
    _, message = play.upload(name)
    state = play.states[name]
    root = terms.roster.root
    info = hashed_by_hand("self", name, terms.digest)
    total = [
        a + b
        for a, b in zip(
            play.vectors[name].tolist(),
            mask_by_hand(hkdf_by_hand(state.seed, root, info), terms),
            strict=True,
        )
    ]
    included = play.got["upload"][name].included
    for peer in state.neighbours:
        if peer.client not in included:
            continue
        low, high = sorted((name, peer.client))
        info = hashed_by_hand(
            "pair", terms.run, 3, low, high, MODEL, terms.config_sha256, terms.digest
        )
        shared = peer.pair_secret
        if post_quantum:
            of_link = hashed_by_hand("link", terms.digest, low, high)
            shared += hkdf_by_hand(play.states[low].link_secret, root, of_link)
        mask = mask_by_hand(hkdf_by_hand(shared, root, info), terms)
        sign = 1 if name == low else -1
        total = [a + sign * b for a, b in zip(total, mask, strict=True)]
    found = np.concatenate([block for _, block in sorted_blocks(message.words, terms)])
    assert found.tolist() == [value % 2**bits for value in total]


def sorted_blocks(words, terms):
    return sorted(unpack_words(words, terms), key=lambda it: it[0])


def test_both_ends_of_a_pair_hold_one_secret_and_each_box_its_own_key() -> None:
    play = Play(terms_for(4, threshold=3)).until("upload")
    pairs = Counter(it.pair_secret for state in play.states.values() for it in state.neighbours)
    assert sorted(pairs.values()) == [2] * 6
    opening = Counter(it.opening_key for state in play.states.values() for it in state.neighbours)
    assert sorted(opening.values()) == [1] * 12
    nonces = Counter(
        box.box[: sealing.NONCE_BYTES]
        for message in play.sent["share"].values()
        for box in message.shares
    )
    assert sorted(nonces.values()) == [1] * 12


def test_keys_are_drawn_anew_for_each_sum_though_the_source_goes_on() -> None:
    play = Play(terms_for(3, threshold=2))
    found = [play.advertise("c000") for _ in range(3)]
    shown = {it.mask_key for _, it in found} | {it.seal_key for _, it in found}
    assert len(shown) == 6
    state, sent_ = found[0]
    assert sealing.public_bytes(sealing.private_key(state.mask_secret)) == sent_.mask_key
    assert sealing.public_bytes(sealing.private_key(state.seal_secret)) == sent_.seal_key


def test_shares_lie_at_the_holders_place_in_the_graph_whoever_is_hidden() -> None:
    play = Play(terms_for(6, threshold=3)).until("share", {"c001": "advertise"})
    secret = play.states["c003"].mask_secret
    play.go("share")
    play.go("upload", close=False)
    of_seed, of_mask = {}, {}
    for place, holder in enumerate(play.terms.graph["c003"]):
        held = {it.client: it for it in getattr(play.states.get(holder), "held", ())}
        assert holder not in held
        if held:
            of_seed[place], of_mask[place] = held["c003"].self_share, held["c003"].mask_share
    assert sorted(of_seed) == [0, 2, 3, 4]
    assert shamir.combine(of_mask, 3) == secret
    key = keys.self_key(shamir.combine(of_seed, 3), play.terms, "c003")
    assert key in seeds_used(play, "c003")


def seeds_used(play: Play, name: str) -> list[bytes]:
    """The keys whose masks a client adds, taken from a second upload out of the old state."""
    taken = []
    again = Play(play.terms).until("upload", {"c001": "advertise"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "add_masks", lambda vector, plus, minus: taken.extend(plus))
        again.upload(name)
    return taken


# --- keys that serve once ------------------------------------------------------------------------


def test_no_mask_key_serves_twice_in_all_rounds_but_to_cancel_itself(monkeypatch) -> None:
    plus: Counter[bytes] = Counter()
    minus: Counter[bytes] = Counter()

    def noted(vector, add, subtract):
        plus.update(add)
        minus.update(subtract)

    monkeypatch.setattr(masks, "add_masks", noted)
    for number in range(3):
        # The same run, roster and randomness of each client, as after a restart from old seeds.
        play = Play(terms_for(4, threshold=3, round=number)).until("upload")
        for name in play.terms.cohort:
            play.upload(name)
    pairs, alone = 3 * 6, 3 * 4
    assert len(plus) == pairs + alone
    assert len(minus) == pairs
    assert set(plus.values()) == set(minus.values()) == {1}
    assert set(minus) <= set(plus)


def flipped(secret: bytes):
    for bit in range(8 * len(secret)):
        yield (int.from_bytes(secret, "big") ^ 1 << bit).to_bytes(len(secret), "big")


TERMS = terms_for(4, threshold=3)
DERIVATIONS: dict[str, Callable[[bytes], bytes]] = {
    "pair": lambda secret: keys.pair_key(secret, TERMS, "c000", "c001", MODEL),
    "self": lambda secret: keys.self_key(secret, TERMS, "c000"),
    "seal": lambda secret: keys.seal_key(secret, TERMS, "c000", "c001"),
}


def folded_by_xor(secret: bytes) -> bytes:
    """The seed of the best-known implementation: 32 bytes folded to 4."""
    words = [secret[begin : begin + 4] for begin in range(0, 32, 4)]
    folded = bytes(a ^ b for a, b in zip(*words[:2], strict=True))
    for word in words[2:]:
        folded = bytes(a ^ b for a, b in zip(folded, word, strict=True))
    return hashlib.sha256(folded).digest()


def every_bit_counts(derive: Callable[[bytes], bytes]) -> bool:
    found = {derive(secret) for secret in (bytes(range(32)), *flipped(bytes(range(32))))}
    return len(found) == 257


@pytest.mark.parametrize("name", list(DERIVATIONS))
def test_every_bit_of_a_secret_counts_in_the_key(name: str) -> None:
    assert every_bit_counts(DERIVATIONS[name])
    assert not every_bit_counts(folded_by_xor)
    assert not every_bit_counts(lambda secret: hashlib.sha256(secret[:4]).digest())


def test_every_circumstance_counts_in_the_key() -> None:
    other = replace(TERMS, round=9)
    secret = bytes(32)
    found = [
        keys.pair_key(secret, TERMS, "c000", "c001", MODEL),
        keys.pair_key(secret, TERMS, "c000", "c002", MODEL),
        keys.pair_key(secret, TERMS, "c001", "c002", MODEL),
        keys.pair_key(secret, TERMS, "c000", "c001", b"n" * 32),
        keys.pair_key(secret, other, "c000", "c001", MODEL),
        keys.self_key(secret, TERMS, "c000"),
        keys.self_key(secret, TERMS, "c001"),
        keys.self_key(secret, other, "c000"),
        keys.seal_key(secret, TERMS, "c000", "c001"),
        keys.seal_key(secret, TERMS, "c001", "c000"),
        keys.seal_key(secret, other, "c000", "c001"),
        keys.commitment(secret, TERMS, "self", "c000", "c001"),
        keys.commitment(secret, TERMS, "mask", "c000", "c001"),
        keys.commitment(secret, TERMS, "self", "c001", "c000"),
        keys.commitment(bytes(31) + b"\1", TERMS, "self", "c000", "c001"),
        keys.commitment(secret, other, "self", "c000", "c001"),
    ]
    assert len(set(found)) == len(found)
    pair = keys.pair_key(secret, TERMS, "c001", "c000", MODEL)
    assert pair == found[0]


@pytest.mark.slow
def test_of_many_keys_no_two_are_equal_and_with_a_seed_of_32_bits_some_would_be() -> None:
    def collisions(derive: Callable[[bytes], bytes]) -> int:
        words = seeded_source(0, "collisions").words(4 * 2**18).tobytes()
        found = {derive(words[begin : begin + 32]) for begin in range(0, len(words), 32)}
        return 2**18 - len(found)

    def narrow(secret: bytes) -> bytes:
        return hashlib.sha256(hashlib.sha256(secret).digest()[:4]).digest()

    assert collisions(DERIVATIONS["pair"]) == 0
    # 2^35 pairs of keys in 2^32 places: eight are expected.
    assert collisions(narrow) > 0


# --- two worlds ----------------------------------------------------------------------------------

LENGTH = 24
ROUNDS = (1, 2)
ME, PEER = "c000", "c001"
PAIR = {number: terms_for(2, length=LENGTH, round=number) for number in ROUNDS}
ADD_MASKS = masks.add_masks


def handshake(seed: int, number: int) -> tuple[Shared, Inbox]:
    """A state and an inbox as two clients make them together, every message as bytes."""
    play = Play(PAIR[number], seed).until("upload")
    return play.states[ME], play.got["upload"][ME]


def shorthand(seed: int, number: int) -> tuple[Shared, Inbox]:
    """The same from secrets that are drawn directly, for many samples in little time."""
    terms = PAIR[number]
    # A pair secret is drawn anew for each round, as the handshake would.
    words = seeded_source(seed, "secrets", number).words(20).tobytes()
    drawn, pair_secret, key, shares = words[:32], words[32:64], words[64:96], words[96:160]
    sealed = SealedShare(
        PEER,
        keys.seal(key, bytes(sealing.NONCE_BYTES), shares, terms, PEER, ME),
        keys.commitment(shares[:32], terms, "self", PEER, ME),
        keys.commitment(shares[32:], terms, "mask", PEER, ME),
    )
    neighbours = (Neighbour(PEER, pair_secret, key),)
    state = Shared(terms, ME, (ME, PEER), drawn, neighbours, bytes(32), SealedShares(ME, ()))
    return state, Inbox(ME, (ME, PEER), (sealed,))


def view(seed: int, world: int, make) -> np.ndarray:
    """What the server knows of one client at the end: uploads, and what it can take off them.

    In the first round the client survives, so its self-mask is taken off; in the second it is called
    a dropout though its upload came, so its pair mask is. The client and its peer have changed
    vectors in the other world, so that the sums are equal.
    """
    vectors = np.random.default_rng(12).integers(0, 2**16, (2, 2, LENGTH), np.uint64)
    seen = []
    for number in ROUNDS:
        state, inbox = make(seed, number)
        vector = vectors[number - 1, world].astype(np.uint16)
        _, message = steps.upload(state, inbox, vector, MODEL, identity_of(ME))
        upload = np.frombuffer(message.words, np.uint16).copy()
        unmasked = upload.copy()
        key = keys.self_key(state.seed, state.terms, ME)
        if number == ROUNDS[1]:
            [peer] = state.neighbours
            key = keys.pair_key(peer.pair_secret, state.terms, ME, PEER, MODEL)
        if key:
            ADD_MASKS(unmasked, [], [key])
        seen += [upload, unmasked]
    return np.concatenate([*seen, seen[2] - seen[0], seen[3] - seen[1]])


def features(view: np.ndarray) -> np.ndarray:
    """Every bit, and how often each value of the upper four bits of a byte occurs."""
    octets = view.view(np.uint8)
    bits = np.unpackbits(octets).astype(float)
    rows = octets.reshape(6, -1) >> 4
    histograms = [np.bincount(row, minlength=16) for row in rows]
    return np.concatenate([bits, *histograms]) - 0.5


def accuracy(train: np.ndarray, test: np.ndarray, worlds: np.ndarray, truth: np.ndarray) -> float:
    """Logistic regression by gradient descent, judged on what it has not seen."""
    weights = np.zeros(train.shape[1])
    for _ in range(150):
        chance = 1 / (1 + np.exp(-np.clip(train @ weights, -30, 30)))
        weights += 0.05 / len(train) * (train.T @ (worlds - chance)) - 1e-4 * weights
    return float(np.mean((test @ weights > 0) == truth))


def told_apart(samples: int, make) -> float:
    """The share of samples whose world a classifier names that was trained on as many others."""
    worlds = np.random.default_rng(5).integers(0, 2, 2 * samples)
    rows = np.array(
        [features(view(seed, world, make)) for seed, world in enumerate(worlds.tolist())]
    )
    return accuracy(rows[:samples], rows[samples:], worlds[:samples], worlds[samples:])


def constant_seed(patch) -> None:
    patch.setattr(
        keys, "derive", lambda secret, info, *, salt, size=32: hashlib.sha256(salt).digest()
    )
    patch.setattr(masks, "_require_keys", lambda _: None)


def no_self_mask_and_one_pair_mask_for_all_rounds(patch) -> None:
    shared = {}

    def reused(secret, terms, one, other, model):
        # The key of the first round serves the second one too.
        if terms.round == ROUNDS[0]:
            shared["key"] = hashlib.sha256(secret).digest()
        return shared["key"]

    patch.setattr(keys, "pair_key", reused)
    patch.setattr(keys, "self_key", lambda *_: b"")
    patch.setattr(
        masks,
        "add_masks",
        lambda vector, plus, minus: ADD_MASKS(vector, [key for key in plus if key], minus),
    )


def half_of_the_vector_padded_with_zeros(patch) -> None:
    patch.setattr(
        masks, "add_masks", lambda vector, *given: ADD_MASKS(vector[LENGTH // 2 :], *given)
    )


def pair_masks_left_out(patch) -> None:
    patch.setattr(masks, "add_masks", lambda vector, plus, minus: ADD_MASKS(vector, plus[:1], []))


def self_mask_left_out(patch) -> None:
    patch.setattr(
        masks, "add_masks", lambda vector, plus, minus: ADD_MASKS(vector, plus[1:], minus)
    )


MUTATIONS = [
    constant_seed,
    self_mask_left_out,
    no_self_mask_and_one_pair_mask_for_all_rounds,
    half_of_the_vector_padded_with_zeros,
    pair_masks_left_out,
]


def test_the_worlds_cannot_be_told_apart() -> None:
    # Of 400 tosses of a coin, one time in ten thousand as many lie this far from a half.
    assert abs(told_apart(400, shorthand) - 0.5) < 0.1


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_worlds_are_told_apart_as_soon_as_the_protocol_is_weakened(
    mutation, monkeypatch
) -> None:
    mutation(monkeypatch)
    assert told_apart(60, shorthand) > 0.9


@pytest.mark.slow
def test_the_worlds_cannot_be_told_apart_from_whole_rounds() -> None:
    assert abs(told_apart(1500, handshake) - 0.5) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_worlds_are_told_apart_from_whole_rounds_of_a_weakened_protocol(
    mutation, monkeypatch
) -> None:
    mutation(monkeypatch)
    assert told_apart(60, handshake) > 0.9


# --- uniformity ----------------------------------------------------------------------------------


def uniform(words: np.ndarray) -> bool:
    """Chi-square over bytes, over the differences of neighbours, and over each bit."""
    octets = words.view(np.uint8)
    columns = [octets[0::2], octets[1::2], np.diff(words).view(np.uint8)[1::2]]
    chances = [stats.chisquare(np.bincount(column, minlength=256)).pvalue for column in columns]
    ones = np.array([(words >> bit & 1).sum() for bit in range(16)])
    chances.append(stats.chi2.sf((((2 * ones - words.size) ** 2) / words.size).sum(), 16))
    return min(chances) > 1e-5


@pytest.mark.parametrize("value", [0, 2**16 - 1])
def test_a_masked_vector_is_uniform_and_a_biased_mask_is_not(value: int) -> None:
    terms = terms_for(2, length=2**16)
    play = Play(terms).until("upload")
    play.vectors["c000"][:] = value
    _, message = play.upload("c000")
    words = np.frombuffer(message.words, np.uint16)
    assert uniform(words)
    # One bit that is set two times more in a hundred; values that never come; masks of 15 bits.
    rare = seeded_source(1).uniform(words.size) < 0.04
    for biased in (words | (rare * 8).astype(np.uint16), words % 65000, words & 0x7FFF):
        assert not uniform(biased.astype(np.uint16))


# --- nothing secret in a text --------------------------------------------------------------------


def secrets_in(value, found: set[bytes]) -> set[bytes]:
    """Every byte string of eight bytes or more in a state that is not public."""
    public = {
        "signature",
        "answers",
        "survivors_sha256",
        "mask_key",
        "seal_key",
        "mask_kem_key",
        "seal_kem_key",
        "terms",
        "present",
        "included",
        "survivors",
    }
    if isinstance(value, (bytes, memoryview)):
        if len(value) >= 8:
            found.add(bytes(value))
    elif isinstance(value, tuple):
        for item in value:
            secrets_in(item, found)
    elif is_dataclass(value):
        for field in fields(value):
            if field.name not in public:
                secrets_in(getattr(value, field.name), found)
    return found


@pytest.mark.parametrize("post_quantum", [False, True])
def test_nothing_secret_is_printed_of_a_state_a_message_or_an_error(post_quantum: bool) -> None:
    play = Play(terms_for(5, threshold=3, post_quantum=post_quantum))
    said: list[str] = []
    secret: set[bytes] = set()
    for stage in play.stages():
        play.go(stage, {"c004"} if stage == "upload" else ())
        for value in (*play.states.values(), *play.sent[stage].values(), play.server):
            said += [repr(value), str(value)]
        for messages_ in play.got.values():
            said += [repr(message) for message in messages_.values()]
        for state in play.states.values():
            secrets_in(state, secret)
        said += errors_of(play, stage)
    assert len(secret) > 100
    assert len([text for text in said if "Error" in text]) > 20
    whole = "\n".join(said)
    for value in secret:
        for written in (repr(value)[2:-1], value.hex(), str(list(value))[1:-1]):
            assert written[:40] not in whole


def errors_of(play: Play, stage: str) -> list[str]:
    """What is said when each message of a stage arrives damaged, and when it arrives again."""
    said = []
    for name, message in play.sent[stage].items():
        wrong = [replace(message, signature=bytes(64))]
        attempts = [
            lambda message=message: play.add(stage, message),
            lambda name=name: getattr(play, stage)(name),
            *(lambda it=it: sent(it, play.terms, replace(play.terms, round=1)) for it in wrong),
        ]
        for attempt in attempts:
            try:
                attempt()
            except VerificationError as error:
                said += [repr(error), str(error), repr(error.__cause__), repr(error.__context__)]
    if stage == "share":
        inbox = play.got["upload"]["c000"]
        box = replace(inbox.shares[0], box=bytes(len(inbox.shares[0].box)))
        broken = replace(inbox, shares=(box, *inbox.shares[1:]))
        with pytest.raises(VerificationError) as caught:
            play.upload("c000", broken)
        said += [repr(caught.value), repr(caught.value.__cause__)]
    return said
