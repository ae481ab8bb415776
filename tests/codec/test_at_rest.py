"""Encryption at rest: boxes that open with their key, for what they are about, and not otherwise."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hmac
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256

from sottovoce.codec import at_rest
from sottovoce.errors import ConfigError, VerificationError

KEY = bytes(range(32))


@pytest.mark.parametrize("size", [0, 1, 32, 1000])
def test_a_box_opens_again(size: int) -> None:
    text = bytes(size)
    box = at_rest.seal(KEY, text, b"about")
    assert len(box) == size + at_rest.OVERHEAD_BYTES
    assert at_rest.unseal(KEY, box, b"about", what="it") == text


def test_every_bit_of_a_box_counts_and_so_do_its_key_and_what_it_is_about() -> None:
    box = at_rest.seal(KEY, b"text", b"about")
    changed = [box[:n] + bytes((box[n] ^ 1,)) + box[n + 1 :] for n in range(len(box))]
    for wrong in (*changed, box[:-1], box + b"x", box[:20], b""):
        with pytest.raises(VerificationError, match="it does not open"):
            at_rest.unseal(KEY, wrong, b"about", what="it")
    with pytest.raises(VerificationError, match="it does not open"):
        at_rest.unseal(bytes(32), box, b"about", what="it")
    with pytest.raises(VerificationError, match="it does not open"):
        at_rest.unseal(KEY, box, b"abouT", what="it")


def test_two_boxes_of_one_text_have_nothing_in_common() -> None:
    one, other = (at_rest.seal(KEY, bytes(64), b"about") for _ in range(2))
    assert not {one[n : n + 4] for n in range(len(one) - 3)} & {
        other[n : n + 4] for n in range(len(other) - 3)
    }
    assert at_rest.draw_key() != at_rest.draw_key()


def test_a_box_is_what_the_standards_say() -> None:
    """HKDF-SHA256 by hand from HMAC (RFC 5869, section 2), then ChaCha20-Poly1305 (RFC 8439)."""

    def mac(key: bytes, data: bytes) -> bytes:
        made = hmac.HMAC(key, SHA256())
        made.update(data)
        return made.finalize()

    box = at_rest.seal(KEY, b"text", b"about")
    salt, sealed = box[:32], box[32:]
    key = mac(mac(salt, KEY), b"sottovoce at rest v1" + b"\x01")
    assert ChaCha20Poly1305(key).decrypt(bytes(12), sealed, b"about") == b"text"


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ConfigError, match=f"a key of {size} bytes"):
        at_rest.seal(bytes(size), b"text", b"about")
