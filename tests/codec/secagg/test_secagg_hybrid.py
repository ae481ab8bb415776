"""X25519 + ML-KEM-768: known answers, both inputs count, and whoever cheats with a link is named."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import asymmetric
from secagg_play import MODEL, STAGES, Play, identity_of, terms_for, true_sum

from sottovoce.codec import sealing, shamir
from sottovoce.codec.roster import Roster
from sottovoce.codec.secagg import client as steps
from sottovoce.codec.secagg import hybrid, kem, keys
from sottovoce.codec.secagg.messages import Advertisement, signed, write
from sottovoce.codec.secagg.states import dump
from sottovoce.codec.secagg.terms import Terms
from sottovoce.errors import ConfigError, VerificationError

FOLDER = Path(__file__).resolve().parents[2] / "vectors"
VECTORS = json.loads((FOLDER / "secagg_hybrid.json").read_text("utf-8"))
LOW, BAD, HIGH = "c000", "c002", "c004"


def play_of(count: int = 5, **changes) -> Play:
    return Play(terms_for(count, **{"threshold": 3, "post_quantum": True} | changes))


def refuses(match: str):
    return pytest.raises(VerificationError, match=match)


def resigned(message, play: Play, **changes):
    """A message with other fields, signed as its client would."""
    return signed(replace(message, **changes), play.terms, identity_of(message.client))


def changed(items, client: str, **changes):
    """A list of items in which the one of this client has other fields."""
    return tuple(replace(it, **changes) if it.client == client else it for it in items)


def of(items, client: str):
    return next(it for it in items if it.client == client)


def flipped(data: bytes, place: int = 0) -> bytes:
    return data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :]


# --- known answers -------------------------------------------------------------------------------


def opened(row, *names: str) -> list[bytes]:
    return [bytes.fromhex(row[name]) for name in names]


def test_the_published_vectors_are_what_their_maker_makes() -> None:
    maker = FOLDER / "make_secagg_hybrid.py"
    made = subprocess.run([sys.executable, maker], capture_output=True, check=True)
    assert made.stdout == (FOLDER / "secagg_hybrid.json").read_bytes()


@pytest.mark.parametrize("row", VECTORS["known_answers"])
def test_ml_kem_agrees_with_the_known_answers(row) -> None:
    d, z, ciphertext, secret = opened(row, "d", "z", "ct", "ss")
    private = kem.private_key(d + z)
    assert hashlib.sha256(kem.public_bytes(private)).hexdigest() == row["pk_sha256"]
    assert kem.decapsulate(private, ciphertext, peer=LOW) == secret
    # A changed ciphertext gives another secret and no error: FIPS 203, section 6.3.
    other, other_secret = opened(row, "changed_ct", "changed_ss")
    assert kem.decapsulate(private, other, peer=LOW) == other_secret != secret


def two_clients() -> Terms:
    roster = Roster(
        {
            "oslo": bytes.fromhex(
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
            ),
            "rome": bytes.fromhex(
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
            ),
        }
    )
    return terms_for(
        roster=roster,
        cohort=("oslo", "rome"),
        round=7,
        length=5,
        neighbours=1,
        threshold=1,
        post_quantum=True,
    )


def test_everything_that_a_pair_derives_is_in_the_published_vectors() -> None:
    (row,) = VECTORS["pairs"]
    terms = two_clients()
    low, high = terms.cohort
    assert terms.digest.hex() == row["terms_digest"]
    mask, seal, seeds = (
        dict(zip(terms.cohort, map(bytes.fromhex, row[name]), strict=True))
        for name in ("mask_secrets", "seal_secrets", "seal_seeds")
    )
    shown = {}
    for name, expected in zip(terms.cohort, row["shown_sha256"], strict=True):
        mask_key, mask_kem_key = hybrid.mask_keys(mask[name], terms, name)
        seal_key = sealing.public_bytes(sealing.private_key(seal[name]))
        seal_kem_key = kem.public_bytes(kem.private_key(seeds[name]))
        shown[name] = Advertisement(name, mask_key, seal_key, b"", mask_kem_key, seal_kem_key)
        assert hashlib.sha256(b"".join(shown[name].shown)).hexdigest() == expected
    common = sealing.agree(sealing.private_key(seal[high]), shown[low].seal_key, owner=low)
    half = steps._seal_key(common, terms, shown[low], shown[high])
    assert half.hex() == row["half"]
    ciphertext, left, box = opened(row, "ciphertext", "deposit_ciphertext", "deposit_box")
    key = hybrid.opening_key(half, kem.private_key(seeds[high]), ciphertext, terms, low, high)
    assert key.hex() == row["box_key"]
    link = hybrid.link(hybrid.link_secret(mask[low], terms, low), terms, low, high)
    assert link.hex() == row["link"]
    assert hybrid.commitment(link, terms, low, high).hex() == row["link_commitment"]
    private = hybrid.mask_key(mask[high], terms, high)
    shared = sealing.agree(private, shown[low].mask_key, owner=low)
    opener = hybrid.mask_kem_key(mask[high], terms, high)
    assert hybrid.open_deposit(shared, opener, (left, box), terms, low, high) == link
    model = bytes.fromhex(row["model_sha256"])
    assert keys.pair_key(shared + link, terms, low, high, model).hex() == row["pair_key"]


def plain_bytes(malicious: bool) -> str:
    """SHA-256 of all messages and states of a plain sum, in the order in which they are made."""
    terms = terms_for(7, threshold=4, bits=20, length=11, malicious=malicious)
    play, silent = Play(terms, seed=5), {"c001": "share", "c004": "upload"}
    hashing, total = hashlib.sha256(), None
    for stage in play.stages():
        total = play.go(stage, play.silent(stage, silent))
        for name in terms.cohort:
            for messages_ in (play.sent[stage], play.got.get(stage, {})):
                if name in messages_:
                    hashing.update(write(messages_[name], terms))
            if name in play.states:
                hashing.update(dump(play.states[name]))
    hashing.update(total.tobytes())
    return hashing.hexdigest()


@pytest.mark.parametrize(
    ("malicious", "expected"),
    [
        # Of the protocol as it was before it knew of ML-KEM.
        (True, "81829e45ed40d1797549a825f13784df67d22bf2ae59012294c83813d37034a9"),
        (False, "003e74e1dc8bf394181b42a579225f84ec6ebcdd5baee71151c3f641a8934122"),
    ],
)
def test_no_byte_of_a_plain_sum_has_changed(malicious: bool, expected: str) -> None:
    assert plain_bytes(malicious) == expected


# --- whole sums ----------------------------------------------------------------------------------


@pytest.mark.parametrize("malicious", [True, False])
@pytest.mark.parametrize("stage", STAGES)
def test_whoever_drops_out_at_whatever_stage_the_sum_is_exact(stage: str, malicious: bool) -> None:
    for gone in ({LOW}, {BAD}, {HIGH}, {LOW, HIGH}):
        play = play_of(6, malicious=malicious)
        total = play.whole(dict.fromkeys(gone, stage))
        late = stage in ("acknowledge", "unmask")
        assert set(play.server.survivors) == set(play.terms.cohort) - (set() if late else gone)
        assert total.tolist() == play.expected()


def test_a_sparse_post_quantum_sum_with_losses_at_every_stage() -> None:
    play = Play(terms_for(102, neighbours=6, threshold=4, post_quantum=True))
    silent = {"c007": "advertise", "c030": "share", "c055": "upload"}
    total = play.whole(silent | {"c081": "acknowledge", "c099": "unmask"})
    assert set(play.terms.cohort) - set(play.server.survivors) == set(silent)
    assert total.tolist() == play.expected()


def test_the_server_keeps_the_deposits_that_may_be_needed_and_no_box() -> None:
    play = play_of(6, threshold=2, malicious=False).until("upload", {"c001": "share"})
    server = play.server
    boxes = [box for dealt in server._sealed.values() for box in dealt.values()]
    assert not any(box.box or box.ciphertext for box in boxes)
    # Five clients shared, with six who advertised: those of larger names for each.
    assert len(server._deposits) == 5 + 3 + 2 + 1
    assert {len(it.ciphertext) + len(it.box) for it in server._deposits.values()} == {1136}
    play.go("upload", {"c003", "c005"})
    assert set(server._deposits) == {
        ("c000", "c003"),
        ("c002", "c003"),
        ("c000", "c005"),
        ("c002", "c005"),
        ("c004", "c005"),
    }


def test_without_ml_kem_there_are_no_post_quantum_terms(monkeypatch) -> None:
    def unsupported(_: bytes):
        raise UnsupportedAlgorithm("ML-KEM-768 is not supported by this backend")

    with monkeypatch.context() as patch:
        patch.delattr(asymmetric, "mlkem", raising=False)
        patch.setitem(sys.modules, f"{asymmetric.__name__}.mlkem", None)
        with pytest.raises(ConfigError, match=r"needs ML-KEM-768.*Install cryptography 48"):
            terms_for(4, post_quantum=True)
        terms_for(4)
    monkeypatch.setattr(kem, "private_key", unsupported)
    with pytest.raises(ConfigError, match=r"needs ML-KEM-768.*Install cryptography 48"):
        terms_for(4, post_quantum=True)


# --- both inputs count ---------------------------------------------------------------------------


def with_opening_key(play: Play, name: str, sender: str, key: bytes):
    state = play.states[name]
    return replace(state, neighbours=changed(state.neighbours, sender, opening_key=key))


def test_a_box_does_not_open_with_x25519_alone(monkeypatch) -> None:
    play = play_of().until("upload")
    assert play.upload(HIGH)[1].client == HIGH
    monkeypatch.setattr(kem, "decapsulate", lambda *_, **__: bytes(32))
    with refuses(f"client '{LOW}' sealed for '{HIGH}' do not open"):
        play.upload(HIGH)


def test_a_box_does_not_open_with_ml_kem_alone() -> None:
    play = play_of().until("upload")
    sender, receiver = play.sent["advertise"][LOW], play.sent["advertise"][HIGH]
    half = steps._seal_key(bytes(32), play.terms, sender, receiver)
    play.states[HIGH] = with_opening_key(play, HIGH, LOW, half)
    with refuses(f"client '{LOW}' sealed for '{HIGH}' do not open"):
        play.upload(HIGH)


BASE = (bytes(32), bytes(32))


@pytest.mark.parametrize("place", [0, 1])
def test_every_key_of_a_post_quantum_sum_hangs_on_both_secrets(place: int) -> None:
    terms = terms_for(3, threshold=2, post_quantum=True)
    derivations: list[Callable[[bytes, bytes], bytes]] = [
        lambda x, k: hybrid._box_key(x, k, b"c", terms, LOW, "c001"),
        lambda x, k: hybrid._deposit_key(x, k, b"c", terms, LOW, "c001"),
        lambda x, k: keys.pair_key(x + k, terms, LOW, "c001", MODEL),
    ]
    for derive in derivations:
        found = {derive(*BASE)}
        for bit in range(256):
            other = (1 << bit).to_bytes(32, "big")
            found.add(derive(*(other if at == place else it for at, it in enumerate(BASE))))
        assert len(found) == 257


def test_the_context_of_every_derivation_counts() -> None:
    terms = terms_for(3, threshold=2, post_quantum=True)
    other = replace(terms, round=9)
    secret, half = bytes(32), bytes(32)
    shown = [
        Advertisement(name, b"m" * 32, b"s" * 32, b"", b"k" * 1184, b"e" * 1184)
        for name in terms.cohort[:2]
    ]
    found = [
        hybrid._box_key(half, secret, b"c", terms, "c000", "c001"),
        hybrid._box_key(half, secret, b"d", terms, "c000", "c001"),
        hybrid._box_key(half, secret, b"c", terms, "c001", "c000"),
        hybrid._box_key(half, secret, b"c", other, "c000", "c001"),
        hybrid._deposit_key(half, secret, b"c", terms, "c000", "c001"),
        hybrid._deposit_key(half, secret, b"d", terms, "c000", "c001"),
        hybrid._deposit_key(half, secret, b"c", terms, "c000", "c002"),
        hybrid._deposit_key(half, secret, b"c", other, "c000", "c001"),
        hybrid.link_secret(secret, terms, "c000"),
        hybrid.link_secret(secret, terms, "c001"),
        hybrid.link_secret(secret, other, "c000"),
        hybrid.link(secret, terms, "c000", "c001"),
        hybrid.link(secret, terms, "c000", "c002"),
        hybrid.link(secret, other, "c000", "c001"),
        hybrid.commitment(secret, terms, "c000", "c001"),
        hybrid.commitment(secret, terms, "c000", "c002"),
        hybrid.commitment(secret, other, "c000", "c001"),
        *hybrid.mask_keys(secret, terms, "c000"),
        *hybrid.mask_keys(secret, terms, "c001"),
        *hybrid.mask_keys(secret, other, "c000"),
        steps._seal_key(secret, terms, shown[0], shown[1]),
        steps._seal_key(secret, terms, shown[1], shown[0]),
        *(
            steps._seal_key(secret, terms, replace(shown[0], **{key: b"!" * size}), shown[1])
            for key, size in [("seal_key", 32), ("seal_kem_key", 1184), ("mask_kem_key", 1184)]
        ),
        steps._seal_key(secret, terms, shown[0], replace(shown[1], seal_kem_key=b"!" * 1184)),
    ]
    assert len(set(found)) == len(found)


def test_the_scalar_behind_the_shown_key_is_not_the_mask_secret() -> None:
    """Or whoever breaks X25519 would get the links from the key that everybody sees."""
    play = play_of(3, threshold=2).until("share")
    for name in play.terms.cohort:
        state = play.states[name]
        as_scalar = sealing.public_bytes(sealing.private_key(state.mask_secret))
        assert as_scalar not in state.sent.shown
    play = play_of(3, threshold=2, post_quantum=False).until("share")
    state = play.states[LOW]
    assert sealing.public_bytes(sealing.private_key(state.mask_secret)) == state.sent.mask_key


def everything_but_ml_kem(play: Play, name: str) -> list[bytes]:
    """What a breaker of X25519 has of one client: its scalars, and whatever follows from them."""
    state, terms = play.states[name], play.terms
    scalar = hybrid.mask_key(state.mask_secret, terms, name).private_bytes_raw()
    return [scalar, state.seal_secret, hybrid.link_secret(scalar, terms, name)]


def test_who_breaks_x25519_opens_no_box_no_deposit_and_has_no_link() -> None:
    play = play_of(3, threshold=2).until("share")
    scalars = {name: everything_but_ml_kem(play, name) for name in play.terms.cohort}
    secrets = {name: play.states[name].mask_secret for name in play.terms.cohort}
    shown = {name: play.states[name].sent for name in play.terms.cohort}
    play.go("share")
    low, high = play.terms.cohort[:2]
    link = hybrid.link(play.states[low].link_secret, play.terms, low, high)
    assert hybrid.link(scalars[low][2], play.terms, low, high) != link
    common = sealing.agree(sealing.private_key(scalars[low][1]), shown[high].seal_key, owner=high)
    half = steps._seal_key(common, play.terms, shown[low], shown[high])
    assert half == of(play.states[high].neighbours, low).opening_key
    box = of(play.sent["share"][low].shares, high)
    for guess in (bytes(32), *scalars[low], *scalars[high]):
        key = hybrid._box_key(half, guess, box.ciphertext, play.terms, low, high)
        with refuses("do not open"):
            keys.unseal(key, box.box, play.terms, low, high)
    left = of(play.sent["share"][low].deposits, high)
    shared = sealing.agree(sealing.private_key(scalars[high][0]), shown[low].mask_key, owner=low)
    sealed = (left.ciphertext, left.box)
    for guess in scalars[high]:
        opener = hybrid.mask_kem_key(guess, play.terms, high)
        with refuses(f"client '{low}' gave round 3 another link"):
            hybrid.open_deposit(shared, opener, sealed, play.terms, low, high)
    opener = hybrid.mask_kem_key(secrets[high], play.terms, high)
    assert hybrid.open_deposit(shared, opener, sealed, play.terms, low, high) == link


def test_a_recovered_mask_secret_opens_no_box_for_its_owner() -> None:
    """The server has it once its owner drops out, and every box that went through its hands."""
    play = play_of().until("share")
    secret = play.states[HIGH].mask_secret
    play.go("share")
    from_secret = [
        hybrid.mask_kem_key(secret, play.terms, HIGH),
        kem.private_key(secret + secret),
        kem.private_key(hybrid.link_secret(secret, play.terms, HIGH) * 2),
    ]
    for box in play.got["upload"][HIGH].shares:
        # Even with X25519's half of the key given away.
        half = of(play.states[HIGH].neighbours, box.client).opening_key
        for private in from_secret:
            key = hybrid.opening_key(half, private, box.ciphertext, play.terms, box.client, HIGH)
            with refuses("do not open"):
                keys.unseal(key, box.box, play.terms, box.client, HIGH)


def test_a_link_that_the_server_makes_up_is_not_believed() -> None:
    """A server of today would know the link, and tomorrow X25519's part of the pair secret."""
    play = play_of().until("upload")
    inbox = play.got["upload"][HIGH]
    forged = hybrid.commitment(bytes(32), play.terms, LOW, HIGH)
    with refuses(f"client '{LOW}' gave '{HIGH}' other shares than it has committed to"):
        play.upload(HIGH, replace(inbox, shares=changed(inbox.shares, LOW, link_commitment=forged)))
    # A whole box of its own needs X25519's secret of two clients.
    public = play.sent["advertise"][HIGH].seal_kem_key
    key, ciphertext = hybrid.sealing_key(bytes(32), public, play.terms, LOW, HIGH)
    box = keys.seal(key, bytes(12), bytes(96), play.terms, LOW, HIGH)
    shares = changed(
        inbox.shares,
        LOW,
        box=box,
        ciphertext=ciphertext,
        self_commitment=keys.commitment(bytes(32), play.terms, "self", LOW, HIGH),
        mask_commitment=keys.commitment(bytes(32), play.terms, "mask", LOW, HIGH),
        link_commitment=forged,
    )
    with refuses(f"client '{LOW}' sealed for '{HIGH}' do not open"):
        play.upload(HIGH, replace(inbox, shares=shares))


# --- keys and ciphertexts that are none ----------------------------------------------------------


@pytest.mark.parametrize("key", ["mask_kem_key", "seal_kem_key"])
def test_a_key_that_is_none_costs_only_who_shows_it(key: str) -> None:
    play = play_of()
    _, message = play.advertise(BAD)
    # Coefficients of 4095, where FIPS 203 allows them up to 3328.
    with refuses(f"the ML-KEM key of client '{BAD}' is none"):
        play.add("advertise", resigned(message, play, **{key: b"\xff" * 1184}))
    play.add("advertise", message)
    _, other = play.advertise(LOW)
    with refuses(f"client '{LOW}' shows a key of '{BAD}'"):
        play.add("advertise", resigned(other, play, **{key: getattr(message, key)}))


@pytest.mark.parametrize("key", ["mask_kem_key", "seal_kem_key"])
def test_keys_that_are_none_or_swapped_or_anothers_name_the_peer(key: str) -> None:
    play = play_of().until("share")
    whole = play.got["share"][LOW]
    keys_ = whole.advertisements

    def shown(advertisement):
        listed = tuple(advertisement if it.client == BAD else it for it in keys_)
        return replace(whole, advertisements=listed)

    none = resigned(of(keys_, BAD), play, **{key: b"\xff" * 1184})
    with refuses(f"the ML-KEM key of client '{BAD}' is none"):
        play.share(LOW, shown(none))
    anothers = getattr(of(keys_, HIGH), key)
    with refuses(f"signature of client '{BAD}'"):
        play.share(LOW, shown(replace(of(keys_, BAD), **{key: anothers})))
    with refuses(f"clients '{BAD}' and '{HIGH}' have shown the same key"):
        play.share(LOW, shown(resigned(of(keys_, BAD), play, **{key: anothers})))
    with refuses(f"'{LOW}' got other keys as its own"):
        own = replace(keys_[0], **{key: flipped(getattr(keys_[0], key))})
        play.share(LOW, replace(whole, advertisements=(own, *keys_[1:])))


@pytest.mark.parametrize("place", [0, 500, 1087])
def test_a_ciphertext_that_was_changed_names_its_sender(place: int) -> None:
    play = play_of(3, threshold=2).until("upload")
    inbox = play.got["upload"]["c002"]
    wrong = flipped(of(inbox.shares, LOW).ciphertext, place)
    with refuses(f"client '{LOW}' sealed for 'c002' do not open"):
        play.upload("c002", replace(inbox, shares=changed(inbox.shares, LOW, ciphertext=wrong)))
    assert play.upload("c002")[1].client == "c002"


def test_ciphertexts_that_were_swapped_name_their_senders() -> None:
    play = play_of().until("upload")
    inbox = play.got["upload"][HIGH]
    taken = of(inbox.shares, BAD).ciphertext
    with refuses(f"client '{LOW}' sealed for '{HIGH}' do not open"):
        play.upload(HIGH, replace(inbox, shares=changed(inbox.shares, LOW, ciphertext=taken)))
    # One for another receiver, with the box that belongs to it.
    other = of(play.got["upload"][BAD].shares, LOW)
    swapped = changed(inbox.shares, LOW, ciphertext=other.ciphertext, box=other.box)
    with refuses(f"client '{LOW}' sealed for '{HIGH}' do not open"):
        play.upload(HIGH, replace(inbox, shares=swapped))


@pytest.mark.parametrize("size", [0, 1087, 1089])
def test_a_ciphertext_of_another_length_is_refused(size: int) -> None:
    play = play_of(3, threshold=2).until("upload")
    inbox = play.got["upload"]["c002"]
    wrong = changed(inbox.shares, LOW, ciphertext=bytes(size))
    with refuses("an ML-KEM ciphertext is not a string of 1088 bytes"):
        play.upload("c002", replace(inbox, shares=wrong))
    with refuses(f"an ML-KEM ciphertext of {size} bytes from client '{LOW}'"):
        kem.decapsulate(kem.private_key(bytes(64)), bytes(size), peer=LOW)
    with refuses("the ML-KEM key of client 'c001' is none"):
        kem.encapsulate(bytes(size), peer="c001")


# --- links that do not hold ----------------------------------------------------------------------


def cheated(change: Callable, gone: str, bad: str = BAD) -> Play:
    """All up to the answers, with shares of the bad client that ``change`` has changed."""
    play = play_of().until("share")
    for name in play.terms.cohort:
        before = play.states[name]
        play.states[name], message = play.share(name)
        play.add("share", change(play, before, message) if name == bad else message)
    play.close("share")
    play.go("upload", {gone})
    play.go("acknowledge")
    play.go("unmask", close=False)
    return play


def its_deposit(play: Play, before, message, **changes):
    return resigned(message, play, deposits=changed(message.deposits, HIGH, **changes))


def another_deposit(play: Play, before, message):
    """A deposit that opens, of another link than the one it has committed to."""
    terms = play.terms
    private = hybrid.mask_key(before.mask_secret, terms, BAD)
    peer = play.sent["advertise"][HIGH]
    shared = sealing.agree(private, peer.mask_key, owner=HIGH)
    sealed = hybrid.deposit(shared, peer.mask_kem_key, bytes(32), terms, BAD, HIGH)
    return its_deposit(play, before, message, ciphertext=sealed[0], box=sealed[1])


def anothers_deposit(play: Play, before, message):
    one = of(message.deposits, "c003")
    return its_deposit(play, before, message, ciphertext=one.ciphertext, box=one.box)


WRONG_DEPOSITS = [
    lambda *given: its_deposit(*given, box=flipped(of(given[2].deposits, HIGH).box)),
    lambda *given: its_deposit(*given, ciphertext=flipped(of(given[2].deposits, HIGH).ciphertext)),
    another_deposit,
    anothers_deposit,
]


@pytest.mark.parametrize("change", WRONG_DEPOSITS)
def test_a_deposit_that_does_not_hold_names_its_owner_and_releases_nothing(change) -> None:
    play = cheated(change, gone=HIGH)
    masked = play.server._total.copy()
    with refuses(f"client '{BAD}' gave round 3 another link with '{HIGH}' than it has committed"):
        play.server.recover()
    assert (play.server._total == masked).all()
    # Where it is not needed, nobody asks.
    play = cheated(change, gone="c003")
    assert play.server.recover().tolist() == true_sum(
        play.vectors, [name for name in play.terms.cohort if name != "c003"], 16
    )


def test_a_link_that_does_not_follow_from_the_mask_secret_names_its_owner(monkeypatch) -> None:
    """It commits to a link of its own choice, tells it, deposits it, and drops out."""
    link = hybrid.link
    with monkeypatch.context() as patch:
        play = play_of().until("share")
        for name in play.terms.cohort:
            patch.setattr(hybrid, "link", (lambda *_: b"x" * 32) if name == BAD else link)
            play.states[name], message = play.share(name)
            play.add("share", message)
    play.close("share")
    play.go("upload", {BAD})
    play.go("acknowledge")
    play.go("unmask", close=False)
    with refuses(f"client '{BAD}' gave round 3 another link with 'c003' than it has committed"):
        play.server.recover()


def test_a_link_in_a_box_other_than_the_committed_one_names_its_sender() -> None:
    play = play_of().until("share")
    for name in play.terms.cohort:
        play.states[name], message = play.share(name)
        if name == BAD:
            shares = changed(message.shares, HIGH, link_commitment=bytes(32))
            message = resigned(message, play, shares=shares)
        play.add("share", message)
    play.close("share")
    with refuses(f"client '{BAD}' gave '{HIGH}' other shares than it has committed to"):
        play.upload(HIGH)


def test_deposits_for_others_than_neighbours_of_larger_names_are_refused() -> None:
    play = play_of().until("share", {"c003": "advertise"})
    _, message = play.share("c001")
    kept = message.deposits
    assert [it.client for it in kept] == [BAD, HIGH]
    to_smaller, to_absent = (replace(kept[0], client=name) for name in (LOW, "c003"))
    for wrong in (kept[1:], (), (to_smaller, *kept), (kept[0], to_absent, kept[1])):
        with refuses("client 'c001' left deposits for others"):
            play.add("share", resigned(message, play, deposits=wrong))
    play.add("share", message)


def test_a_kem_key_that_is_not_the_mask_secrets_names_its_owner_and_not_the_depositor() -> None:
    """Nobody's deposit could be opened for it, and the others must not take the blame."""
    play = play_of()
    for name in play.terms.cohort:
        play.states[name], message = play.advertise(name)
        if name == HIGH:
            public = kem.public_bytes(kem.private_key(bytes(64)))
            message = resigned(message, play, mask_kem_key=public)
            play.states[name] = replace(play.states[name], sent=message)
        play.sent["advertise"][name] = message
        play.add("advertise", message)
    play.close("advertise")
    play.go("share")
    play.go("upload", {HIGH})
    play.go("acknowledge")
    play.go("unmask", close=False)
    with refuses(f"client '{HIGH}' dealt shares in round 3 of another secret than that of the key"):
        play.server.recover()


def test_the_seed_for_boxes_is_drawn_and_never_shared() -> None:
    play = play_of(3, threshold=2).until("share")
    seeds = {play.states[name].seal_seed for name in play.terms.cohort}
    assert {len(seed) for seed in seeds} == {64}
    assert len(seeds) == 3
    again = {steps.advertise(identity_of(LOW), LOW, play.terms, play.sources[LOW])[0].seal_seed}
    assert not again & seeds
    secret, name = play.states["c001"].mask_secret, "c001"
    play.go("share")
    play.go("upload")
    holders = play.terms.graph[name]
    held = {at: of(play.states[it].held, name).mask_share for at, it in enumerate(holders)}
    # What the neighbours can put together is the mask secret, of which no seed for boxes is made.
    assert shamir.combine(held, 2) == secret
