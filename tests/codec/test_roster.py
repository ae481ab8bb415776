"""Identities and rosters: RFC 8032, a canonical root, and keys under which anybody can sign."""

import hashlib
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.codec import roster
from sottovoce.codec.roster import (
    Roster,
    hashed,
    identity_from,
    new_identity,
    require_name,
    require_signature,
)
from sottovoce.errors import VerificationError

VECTORS = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "secagg_primitives.json").read_text("utf-8")
)
SIGNED = [row for row in VECTORS["known_answers"] if row["what"] == "ed25519"]
NAMES = ["berlin", "oslo", "rome"]
IDENTITIES = {name: identity_from(hashlib.sha256(name.encode()).digest()) for name in NAMES}
KEYS = {name: identity.public for name, identity in IDENTITIES.items()}
THREE = Roster(KEYS)


# --- identities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", SIGNED, ids=lambda row: row["source"])
def test_keys_and_signatures_are_those_of_rfc_8032(row):
    private, public, message, signature = (
        bytes.fromhex(row[name]) for name in ("private", "public", "message", "signature")
    )
    identity = identity_from(private)
    assert identity.public == public
    assert identity.sign(message) == signature
    require_signature(Roster({"a": public, "b": KEYS["rome"]}), "a", message, signature)


def test_new_identities_differ_and_sign():
    one, other = new_identity(), new_identity()
    assert one.public != other.public
    require_signature(Roster({"a": one.public, "b": other.public}), "b", b"x", other.sign(b"x"))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_private_key_of_another_size_is_refused(size):
    with pytest.raises(VerificationError, match=f"a private key of {size} bytes"):
        identity_from(bytes(size))


def test_a_private_key_is_neither_printed_nor_pickled():
    private = bytes(range(100, 132))
    identity = identity_from(private)
    for shown in (repr(identity), str(identity), f"{identity}", repr([identity])):
        assert identity.public.hex() in shown
        assert private.hex()[:8] not in shown
        assert repr(private)[2:8] not in shown
    with pytest.raises(TypeError):
        pickle.dumps(identity)


# --- the root ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["rosters"], ids=["root"])
def test_the_root_is_that_of_the_slow_reference(case):
    members = {name: bytes.fromhex(key) for name, key in case["members"].items()}
    # The vector's members stand against the order of names, which the root does not follow.
    assert list(members) != sorted(members)
    assert Roster(members).root.hex() == case["root"]


def test_the_order_of_the_members_does_not_matter():
    turned = Roster({name: KEYS[name] for name in reversed(NAMES)})
    assert turned.root == THREE.root
    assert turned == THREE
    assert hash(turned) == hash(THREE)
    assert list(turned.members) == sorted(NAMES)


def test_each_name_and_each_key_changes_the_root():
    other = new_identity().public
    rosters = [
        THREE,
        Roster({name: KEYS[name] for name in NAMES[:2]}),
        Roster({**KEYS, "rome": other}),
        Roster({"rom": KEYS["rome"], **{name: KEYS[name] for name in NAMES[:2]}}),
        Roster({**KEYS, "rome": KEYS["oslo"], "oslo": KEYS["rome"]}),
        Roster({**KEYS, "paris": other}),
    ]
    assert len({one.root for one in rosters}) == len(rosters)
    assert all(one != THREE for one in rosters[1:])


def test_later_changes_to_the_mapping_change_nothing():
    members = dict(KEYS)
    one = Roster(members)
    members["mallory"] = new_identity().public
    assert list(one.members) == NAMES
    with pytest.raises(TypeError):
        one.members["mallory"] = members["mallory"]


FIELDS = st.lists(st.binary(max_size=12), max_size=3)


@given(st.sampled_from(["a", "ab"]), FIELDS, st.sampled_from(["a", "ab"]), FIELDS)
def test_hashes_of_other_purposes_or_fields_never_meet(purpose, fields, other_purpose, others):
    same = (purpose, fields) == (other_purpose, others)
    assert (hashed(purpose, *fields) == hashed(other_purpose, *others)) == same


def test_borders_between_fields_and_purpose_count():
    written = [
        hashed("a", b"a", b"bc"),
        hashed("a", b"ab", b"c"),
        hashed("a", b"abc"),
        hashed("a", b"abc", b""),
        hashed("aa", b"bc"),
        hashed("a", b"a" + (2).to_bytes(8, "big") + b"bc"),
    ]
    assert len(set(written)) == len(written)


# --- who cannot be in a roster -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\0", "\ud800", b"bytes", 7, "a\u202eb"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(VerificationError, match="1 to 64 printable characters"):
        require_name(name)
    with pytest.raises(VerificationError, match="1 to 64 printable characters"):
        Roster({**KEYS, name: new_identity().public})


@pytest.mark.parametrize("name", ["x", "x" * 64, "Klinik Köln 2", "上海"])
def test_a_name_of_1_to_64_characters_is_one(name):
    require_name(name)
    assert name in Roster({**KEYS, name: new_identity().public}).members


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_members_are_refused(count):
    with pytest.raises(VerificationError, match=f"a roster of {count}"):
        Roster({name: KEYS[name] for name in NAMES[:count]})


def test_two_members_are_enough():
    assert len(Roster({name: KEYS[name] for name in NAMES[:2]}).members) == 2


@pytest.mark.parametrize("key", [b"\x05" * 31, b"\x05" * 33, b"", "k" * 32, bytearray(32), None])
def test_a_key_that_is_none_is_refused_by_name(key):
    with pytest.raises(VerificationError, match="'oslo' has a key that is no string of 32 bytes"):
        Roster({**KEYS, "oslo": key})


def test_one_key_under_two_names_is_refused():
    with pytest.raises(VerificationError, match="'oslo' and 'paris' have the same key"):
        Roster({**KEYS, "paris": KEYS["oslo"]})


# The curve of RFC 8032, section 5.1, in plain integers.
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493


def added(one, other):
    (x1, y1), (x2, y2) = one, other
    both = D * x1 * x2 * y1 * y2
    return (
        (x1 * y2 + x2 * y1) * pow(1 + both, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - both, -1, P) % P,
    )


def multiplied(point, factor):
    result = (0, 1)
    while factor:
        if factor & 1:
            result = added(result, point)
        point = added(point, point)
        factor >>= 1
    return result


def a_point(y):
    """The point with this y, or None."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if x * x % P == square else None


def small_order_points():
    """All eight points whose order divides 8: the multiples of one that has order 8."""
    for y in range(2, 100):
        point = a_point(y)
        if point and multiplied(small := multiplied(point, ORDER), 4) != (0, 1):
            return {multiplied(small, k) for k in range(8)}
    raise AssertionError("no point of order 8 was found")


def test_keys_under_which_anybody_can_sign_are_refused():
    points = small_order_points()
    assert len(points) == 8
    assert {y for _, y in points} == roster._SMALL_ORDER_Y
    for x, y in points:
        key = (y | (x & 1) << 255).to_bytes(32, "little")
        with pytest.raises(VerificationError, match="'oslo' has a key under which anybody can"):
            Roster({**KEYS, "oslo": key})


@pytest.mark.parametrize("y", [P, P + 1, P + 4, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_second_way_to_write_a_key_is_refused(y, sign):
    key = (y | sign << 255).to_bytes(32, "little")
    with pytest.raises(VerificationError, match="'oslo' has a key that is not written in one way"):
        Roster({**KEYS, "oslo": key})


# --- signatures ----------------------------------------------------------------------------------

MESSAGE = b"sottovoce test: run 1, round 2"
SIGNATURE = IDENTITIES["oslo"].sign(MESSAGE)


def test_the_clients_own_signature_is_accepted():
    require_signature(THREE, "oslo", MESSAGE, SIGNATURE)


@pytest.mark.parametrize("bit", [0, 7, 100, 255, 256, 300, 511])
def test_a_changed_signature_is_refused_by_name(bit):
    changed = (int.from_bytes(SIGNATURE, "big") ^ 1 << bit).to_bytes(64, "big")
    with pytest.raises(VerificationError, match="signature of client 'oslo' is not"):
        require_signature(THREE, "oslo", MESSAGE, changed)


@pytest.mark.parametrize("message", [b"", MESSAGE[:-1], MESSAGE + b"\0", MESSAGE.upper()])
def test_another_message_is_refused_by_name(message):
    with pytest.raises(VerificationError, match="signature of client 'oslo' is not"):
        require_signature(THREE, "oslo", message, SIGNATURE)


@pytest.mark.parametrize("size", [0, 63, 65])
def test_a_signature_of_another_size_is_refused(size):
    with pytest.raises(VerificationError, match="signature of client 'oslo' is not"):
        require_signature(THREE, "oslo", MESSAGE, (SIGNATURE + b"\0")[:size])


def test_somebody_elses_signature_is_refused():
    with pytest.raises(VerificationError, match="signature of client 'rome' is not"):
        require_signature(THREE, "rome", MESSAGE, SIGNATURE)


def test_a_stranger_is_refused_whatever_it_signs():
    mallory = new_identity()
    with pytest.raises(VerificationError, match="a message from 'mallory', who is not in the"):
        require_signature(THREE, "mallory", MESSAGE, mallory.sign(MESSAGE))
    # Nor does a key of the roster help under another name.
    with pytest.raises(VerificationError, match="'mallory', who is not in the"):
        require_signature(THREE, "mallory", MESSAGE, SIGNATURE)


def test_the_second_form_of_a_signature_is_refused():
    """S + L verifies the same equation; RFC 8032, 5.1.7 demands S < L."""
    s = int.from_bytes(SIGNATURE[32:], "little") + ORDER
    with pytest.raises(VerificationError, match="signature of client 'oslo' is not"):
        require_signature(THREE, "oslo", MESSAGE, SIGNATURE[:32] + s.to_bytes(32, "little"))
