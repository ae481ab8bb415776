"""What the server and t helpers see together: uniform words, and with one helper more, everything."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from dataclasses import fields, is_dataclass, replace
from itertools import combinations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from oneshot_play import Play, at_answer, identity_of, sent, terms_for
from scipy import stats

from sottovoce.codec import masks, sealing
from sottovoce.codec.oneshot import client as client_steps
from sottovoce.codec.oneshot import helper as steps
from sottovoce.codec.oneshot import keys
from sottovoce.codec.words import unpack_words
from sottovoce.errors import VerificationError
from sottovoce.rng import seeded_source

# --- the masked vector, by a slow second hand ----------------------------------------------------


def hashed_by_hand(purpose: str, *values: bytes | str | int) -> bytes:
    parts = [f"sottovoce oneshot v1 {purpose}".encode()]
    for value in values:
        if isinstance(value, int):
            parts.append(value.to_bytes(8, "big"))
        else:
            parts.append(value.encode() if isinstance(value, str) else value)
    return hashlib.sha256(b"".join(len(it).to_bytes(8, "big") + it for it in parts)).digest()


def mask_by_hand(seed: bytes, terms, client: str, number: int) -> list[int]:
    """RFC 5869 for one block of output, then AES-256 applied to each counter by itself."""
    info = hashed_by_hand("mask", terms.digest, client, number)
    extracted = hmac.new(terms.digest, seed, "sha256").digest()
    key = hmac.new(extracted, info + b"\x01", "sha256").digest()
    size = terms.word.itemsize
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    counters = range(terms.length * size // 16 + 1)
    stream = b"".join(block.update(counter.to_bytes(16, "big")) for counter in counters)
    return [
        int.from_bytes(stream[begin : begin + size], "little")
        for begin in range(0, terms.length * size, size)
    ]


def words_of(upload, terms) -> np.ndarray:
    blocks = sorted(unpack_words(upload.words, terms), key=lambda it: it[0])
    return np.concatenate([block for _, block in blocks])


@pytest.mark.parametrize("bits", [8, 16, 20, 32])
def test_an_upload_is_the_vector_less_its_masks_in_plain_integers(bits: int) -> None:
    terms = terms_for(2, 4, 2, bits=bits, length=21)
    play = Play(terms)
    upload = play.make_upload("c000")
    drawn = seeded_source(0, "oneshot", "c000").words(4 * 7).tobytes()
    seeds = [drawn[begin : begin + 32] for begin in range(32, len(drawn), 32)]
    assert len(seeds) == len(terms.subsets) == 6
    total = play.vectors["c000"].tolist()
    for number, seed in enumerate(seeds):
        mask = mask_by_hand(seed, terms, "c000", number)
        total = [a - b for a, b in zip(total, mask, strict=True)]
        assert upload.parcel.commitments[number] == hashed_by_hand(
            "seed", terms.digest, "c000", number, seed
        )
    assert words_of(upload, terms).tolist() == [value % 2**bits for value in total]


def test_any_t_helpers_miss_a_set_and_any_more_hold_all() -> None:
    for helpers, colluding in ((2, 1), (3, 1), (3, 2), (4, 1), (5, 2), (7, 3)):
        terms = terms_for(2, helpers, colluding)
        for coalition in combinations(terms.helpers.members, colluding):
            held = {number for name in coalition for number in terms.held[name]}
            assert len(held) == len(terms.subsets) - 1
        for coalition in combinations(terms.helpers.members, colluding + 1):
            assert {n for it in coalition for n in terms.held[it]} == set(range(len(terms.subsets)))
        assert {len(numbers) for numbers in terms.held.values()} == {terms.seeds_per_helper}


def unmasked(upload, states, terms) -> np.ndarray:
    """An upload without all masks that these helpers know of its client."""
    client = upload.parcel.client
    known = {}
    for state in states:
        (opened,) = [it for it in state.opened if it.client == client]
        known |= dict(zip(terms.held[state.helper], opened.mask_keys, strict=True))
    words = words_of(upload, terms)
    masks.add_masks(words, list(known.values()), [])
    return words & terms.word.type(terms.largest)


@pytest.mark.parametrize(("helpers", "colluding"), [(2, 1), (3, 1), (3, 2), (5, 2)])
def test_one_helper_more_than_may_collude_sees_each_vector(helpers: int, colluding: int) -> None:
    """What ``TRUST`` says."""
    terms = terms_for(3, helpers, colluding)
    play = Play(terms).upload().receive()
    states = [play.states[name] for name in list(terms.helpers.members)[: colluding + 1]]
    for name, upload in play.uploads.items():
        assert np.array_equal(unmasked(upload, states, terms), play.vectors[name])
        assert not np.array_equal(unmasked(upload, states[:-1], terms), play.vectors[name])


# --- two worlds ----------------------------------------------------------------------------------


def looks_uniform(words: np.ndarray) -> bool:
    """Chi-square over bytes, over the differences of neighbours, and over each bit."""
    octets = words.view(np.uint8)
    columns = [octets[0::2], octets[1::2], np.diff(words).view(np.uint8)[1::2]]
    chances = [stats.chisquare(np.bincount(column, minlength=256)).pvalue for column in columns]
    ones = np.array([(words >> bit & 1).sum() for bit in range(16)])
    chances.append(stats.chi2.sf((((2 * ones - words.size) ** 2) / words.size).sum(), 16))
    return min(chances) > 1e-5


LENGTH = 2**15
WORLDS = (0, 2**16 - 1)


def view(world: int, coalition: tuple[str, ...], seed: int = 0) -> list[np.ndarray]:
    """What is left of one upload, and of two uploads' difference, for the server and t helpers."""
    terms = terms_for(2, 3, 1, length=LENGTH)
    play = Play(terms, seed)
    for vector in play.vectors.values():
        vector[:] = world
    play.upload().receive()
    states = [play.states[name] for name in coalition]
    first, second = (unmasked(upload, states, terms) for upload in play.uploads.values())
    return [first, second, first - second]


@pytest.mark.parametrize("coalition", [("h0",), ("h1",), ("h2",), ()])
@pytest.mark.parametrize("world", WORLDS)
def test_what_the_server_and_t_helpers_see_is_uniform_in_either_world(world, coalition) -> None:
    assert all(looks_uniform(words) for words in view(world, coalition))


def constant_seeds(patch) -> None:
    patch.setattr(keys, "draw_secrets", lambda _, count: [bytes((n,) * 32) for n in range(count)])
    derive = keys.derive
    patch.setattr(keys, "derive", lambda secret, info, *, salt: derive(secret, salt, salt=salt[:8]))


def one_set_left_out(patch) -> None:
    patch.setattr(
        client_steps.masks,
        "add_masks",
        lambda vector, plus, minus: ADD_MASKS(vector, plus, minus[:2]),
    )


def half_of_the_vector_padded_with_zeros(patch) -> None:
    patch.setattr(
        client_steps.masks,
        "add_masks",
        lambda vector, plus, minus: ADD_MASKS(vector[LENGTH // 2 :], plus, minus),
    )


ADD_MASKS = masks.add_masks


@pytest.mark.parametrize(
    "mutation", [constant_seeds, one_set_left_out, half_of_the_vector_padded_with_zeros]
)
def test_a_weakened_protocol_is_not_uniform(mutation, monkeypatch) -> None:
    mutation(monkeypatch)
    coalition = ("h0",) if mutation is one_set_left_out else ()
    assert not all(looks_uniform(words) for words in view(0, coalition))


def test_no_key_serves_twice() -> None:
    terms = terms_for(4, 5, 2)
    play = Play(terms).upload().receive()
    found: dict[tuple[str, int], set[bytes]] = {}
    for name, state in play.states.items():
        for opened in state.opened:
            for number, key in zip(terms.held[name], opened.mask_keys, strict=True):
                found.setdefault((opened.client, number), set()).add(key)
    # All holders of one seed derive one key, and no other seed gives it.
    assert {len(it) for it in found.values()} == {1}
    assert len(set.union(*found.values())) == len(found) == 4 * 10
    again = [play.make_upload("c000") for _ in range(3)]
    drawn = Counter(it for upload in again for it in upload.parcel.commitments)
    assert set(drawn.values()) == {1}
    assert len({upload.parcel.key for upload in again}) == 3
    assert len({upload.words for upload in again}) == 3


def test_a_box_opens_for_its_helper_its_client_and_its_round_only() -> None:
    terms = terms_for(3, 3, 1)
    parcel = Play(terms).make_upload("c000").parcel
    for helper, place in terms.helper_position.items():
        for name, state in Play(terms).states.items():
            private = sealing.private_key(state.secret)
            shared = sealing.agree(private, parcel.key, owner="c000")
            for client, bound in (
                ("c000", terms.digest),
                ("c001", terms.digest),
                ("c000", b"d" * 32),
            ):
                key = keys.seal_key(shared, bound, client, name, parcel.key)
                right = helper == name and client == "c000" and bound == terms.digest
                if right:
                    assert len(keys.unseal(key, parcel.boxes[place], bound, client, name)) == 64
                    continue
                with pytest.raises(VerificationError, match="do not open"):
                    keys.unseal(key, parcel.boxes[place], bound, client, name)


@pytest.mark.parametrize("purpose", ["seal", "mask", "seed"])
def test_every_part_of_the_context_decides_a_derivation(purpose: str) -> None:
    derive = {"seal": keys.seal_key, "mask": keys.mask_key, "seed": keys.commitment}[purpose]
    rest = ("c0", "h0", b"k" * 32) if purpose == "seal" else ("c0", 0)
    other = ("c1", "h1", b"l" * 32) if purpose == "seal" else ("c1", 1)
    plain = (b"s" * 32, b"b" * 32, *rest)
    changed = (b"t" * 32, b"a" * 32, *other)
    found = {derive(*plain)}
    for place in range(len(plain)):
        found.add(derive(*plain[:place], changed[place], *plain[place + 1 :]))
    assert len(found) == len(plain) + 1


def test_the_envelope_is_bound_though_the_key_is_known() -> None:
    """Whoever derived one key for two purposes would still not confuse their boxes."""
    key = b"k" * 32
    box = keys.seal(key, b"seeds", b"b" * 32, "c0", "h0")
    assert keys.unseal(key, box, b"b" * 32, "c0", "h0") == b"seeds"
    for wrong in ((b"a" * 32, "c0", "h0"), (b"b" * 32, "c1", "h0"), (b"b" * 32, "c0", "h1")):
        with pytest.raises(VerificationError, match="do not open"):
            keys.unseal(key, box, *wrong)


# --- nothing secret in a text --------------------------------------------------------------------

PUBLIC = {"signature", "answers", "terms", "sent", "vote", "parcel_sha256", "key"}


def secrets_in(value, found: set[bytes]) -> set[bytes]:
    if isinstance(value, bytes):
        found.add(value)
    elif isinstance(value, tuple):
        for item in value:
            secrets_in(item, found)
    elif is_dataclass(value):
        for field in fields(value):
            if field.name not in PUBLIC | {"run", "helper", "client"}:
                secrets_in(getattr(value, field.name), found)
    return found


def test_nothing_secret_is_printed_of_a_state_a_message_or_an_error() -> None:
    play = Play(terms_for(3))
    secret: set[bytes] = set()
    said: list[str] = []

    def note() -> None:
        for state in play.states.values():
            secrets_in(state, secret)
            said.append(repr(state))
        said.extend(repr(it) for it in (*play.got.values(), *play.sent.values(), play.server))

    for run_secret in play.secrets.values():
        secrets_in(run_secret, secret)
        said.append(repr(run_secret))
    note()
    bad = play.make_upload("c000")
    boxes = tuple(bytes(len(it)) for it in bad.parcel.boxes)
    play.upload()
    said += [repr(it) for it in play.uploads.values()]
    note()
    parcel = replace(bad.parcel, boxes=boxes)
    for step in (
        lambda: steps._opened(parcel, sealing.private_key(b"p" * 32), "h0", play.terms),
        lambda: play.server.add_upload(bad),
        lambda: play.server.recover(),
    ):
        with pytest.raises(VerificationError) as caught:
            step()
        said += [repr(caught.value), repr(caught.value.__cause__)]
    for stage in (play.receive, play.lock, play.answer):
        stage()
        note()
    secret |= {it for state in play.states.values() for o in state.opened for it in o.mask_keys}
    assert len(secret) == 3 + 3 * 3
    whole = "\n".join(said)
    for value in secret:
        for written in (repr(value)[2:-1], value.hex(), str(list(value))[1:-1]):
            assert written[:40] not in whole


def test_what_the_helpers_tell_is_the_sum_of_the_survivors_masks_and_no_single_one() -> None:
    play = at_answer(terms_for(3, 3, 1)).answer()
    single = {
        hashlib.sha256(masked.tobytes()).digest()
        for state in play.states.values()
        for opened in state.opened
        for key in opened.mask_keys
        for masked in [np.zeros(6, np.uint16)]
        if not masks.add_mask(masked, key)
    }
    assert len(single) == 9
    assert not single & {it.claim.sum_sha256 for it in play.sent["sums"]}
    assert sent(play.sent["sums"][0], play.terms) == play.sent["sums"][0]
    assert identity_of("h0").public
