"""Terms of a sum with helpers: what cannot be agreed on is refused, and every field counts."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from oneshot_play import (
    announced,
    helper_names,
    identity_of,
    names_of,
    roster_of,
    terms_for,
)

from sottovoce.codec.oneshot import helper as steps
from sottovoce.codec.oneshot.terms import TRUST, HelperKey
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.rng import seeded_source


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"run": b"r" * 31}, "run is not 32 bytes"),
        ({"config_sha256": "c" * 32}, "config_sha256 is not 32 bytes"),
        ({"model_sha256": b""}, "model_sha256 is not 32 bytes"),
        ({"round": -1}, "round is -1. Allowed: an integer from 0 to"),
        ({"round": 2**63}, "round is 9223372036854775808"),
        ({"round": 1.0}, "round is 1.0"),
        ({"length": 0}, "length is 0. Allowed: an integer from 1 to"),
        ({"length": 2**32}, "length is 4294967296"),
        ({"bits": 7}, "bits is 7. Allowed: an integer from 8 to 32"),
        ({"bits": 33}, "bits is 33. Allowed: an integer from 8 to 32"),
        ({"colluding": 0}, "colluding is 0. Allowed: an integer from 1 to 2"),
        ({"colluding": 3}, "colluding is 3. Allowed: an integer from 1 to 2"),
        ({"minimum_survivors": 1}, "minimum_survivors is 1. Allowed: an integer from 2 to 5"),
        ({"minimum_survivors": 6}, "minimum_survivors is 6. Allowed: an integer from 2 to 5"),
        ({"cohort": ("c000",)}, "the cohort is not a sorted list of at least two"),
        ({"cohort": ("c001", "c000", "c002")}, "the cohort is not a sorted list"),
        ({"cohort": ("c000", "c000", "c001")}, "the cohort is not a sorted list"),
        ({"cohort": ("c000", "c001", "zoe")}, "'zoe', who is not in the roster"),
    ],
)
def test_what_cannot_be_agreed_on_is_refused(changes, why: str) -> None:
    good = terms_for(5)
    with pytest.raises(ConfigError, match=why):
        replace(good, **changes)


def test_there_are_two_to_seven_helpers() -> None:
    assert len(terms_for(2, 7, 3).subsets) == 35
    with pytest.raises(ConfigError, match=r"the number of helpers is 8. Allowed: .* from 2 to 7"):
        terms_for(2, 8, 3)


def signed_key(name: str, key: bytes, count: int = 3, run: bytes = b"r" * 32) -> HelperKey:
    shown = HelperKey(name, key, b"")
    signature = identity_of(name).sign(shown.to_sign(roster_of(helper_names(count)), run))
    return replace(shown, signature=signature)


def test_every_helper_has_signed_a_key_of_its_own_for_this_run_and_these_helpers() -> None:
    good = terms_for(4)
    zero, one, two = good.helper_keys
    for wrong, why in (
        ((zero, one), r"keys of the helpers \['h0', 'h1'\]. Allowed: one of each"),
        ((zero, two, one), r"keys of the helpers \['h0', 'h2', 'h1'\]"),
        ((zero, one, two, two), "keys of the helpers"),
        ((zero, one, replace(two, key=one.key)), "the signature of client 'h2'"),
        ((zero, one, replace(two, signature=bytes(64))), "the signature of client 'h2'"),
        ((zero, one, signed_key("h2", two.key, run=b"s" * 32)), "the signature of client 'h2'"),
        ((zero, one, signed_key("h2", two.key, count=4)), "the signature of client 'h2'"),
        ((zero, one, signed_key("h2", one.key)), "helpers 'h1' and 'h2' have the same key"),
        ((zero, one, signed_key("h2", bytes(32))), "key of helper 'h2' is a point of low order"),
        ((zero, one, signed_key("h2", b"k" * 31)), "helper 'h2' has a key that is not 32 bytes"),
    ):
        with pytest.raises(VerificationError, match=why):
            replace(good, helper_keys=wrong)


def test_every_field_decides_the_digest() -> None:
    good = terms_for(5)
    fresh = tuple(
        steps.announce(identity_of(n), n, good.helpers, good.run, seeded_source(9, n))[1]
        for n in good.helpers.members
    )
    four = roster_of(helper_names(4))
    changed = [
        replace(good, round=4),
        replace(good, config_sha256=b"d" * 32),
        replace(good, model_sha256=b"n" * 32),
        replace(good, roster=roster_of(names_of(6))),
        replace(good, cohort=names_of(4)),
        replace(good, helper_keys=fresh),
        replace(good, helpers=four, helper_keys=tuple(it for _, it in announced(4).values())),
        replace(good, colluding=2),
        replace(good, length=7),
        replace(good, bits=17),
        replace(good, minimum_survivors=3),
        replace(
            good,
            run=b"s" * 32,
            helper_keys=tuple(it for _, it in announced(3, b"s" * 32).values()),
        ),
    ]
    assert len({it.digest for it in (good, *changed)}) == len(changed) + 1
    assert terms_for(5).digest == good.digest


def test_the_digest_is_sha256_of_the_fields_written_by_hand() -> None:
    terms = terms_for(3)
    fields = [
        b"sottovoce oneshot v1 terms",
        terms.run,
        (3).to_bytes(8, "big"),
        terms.config_sha256,
        terms.model_sha256,
        terms.roster.root,
        terms.helpers.root,
        *(it.key for it in terms.helper_keys),
        *(number.to_bytes(8, "big") for number in (1, 6, 16, 2)),
        *(name.encode() for name in terms.cohort),
    ]
    written = b"".join(len(it).to_bytes(8, "big") + it for it in fields)
    assert terms.digest == sha256(written).digest()


def test_what_breaks_the_protocol_fits_into_a_warning() -> None:
    assert TRUST == (
        "whoever holds the server and one helper more than helpers.colluding allows sees every "
        "client's vector"
    )
