"""Bytes as Flower's objects: Flower's own classes read them, and hostile ones are refused."""

from __future__ import annotations

import json
import os
import time

import pytest

pytest.importorskip("flwr")

from flwr.app.message import Message
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_from_proto
from flwr.proto.recorddict_pb2 import ConfigRecord, ConfigRecordValue
from flwr.server.utils.validator import validate_message
from flwr.supercore.inflatable.inflatable_object import get_object_id, iterate_object_tree
from flwr.supercore.inflatable.inflatable_utils import (
    inflate_object_from_contents,
    validate_object_content,
)

from sottovoce.errors import VerificationError
from sottovoce.run.flower import parcel as parcels
from sottovoce.run.flower.parcel import PIECE_BYTES, opened, question, refusal, reply

NODE = 2**63 + 5
LIMIT = 1 << 30
BODIES = {
    "nothing": b"",
    "little": b"hello",
    "one piece": os.urandom(PIECE_BYTES),
    "and a byte": os.urandom(PIECE_BYTES + 1),
    "equal pieces": bytes(3 * PIECE_BYTES + 7),
}


@pytest.fixture(params=BODIES)
def body(request):
    return BODIES[request.param]


def test_a_body_comes_back(body):
    sent = question(2**64 - 1, SUPERLINK_NODE_ID, NODE, body)
    assert opened(sent.objects[sent.name], sent.objects.__getitem__, LIMIT) == body


def test_flower_reads_it_as_a_message_with_the_same_pieces_and_names(body):
    sent = question(9, SUPERLINK_NODE_ID, NODE, body)
    for name, content in sent.objects.items():
        assert get_object_id(content) == name
        validate_object_content(content)
    assert {tree.object_id for tree in iterate_object_tree(sent.tree)} == set(sent.objects)
    assert list(sent.objects)[-1] == sent.name, "the message itself goes last"
    message = inflate_object_from_contents(sent.name, dict(sent.objects))
    assert isinstance(message, Message)
    pieces = [record["body"] for _, record in sorted(message.content.items())]
    assert b"".join(pieces) == body
    assert message.object_id == sent.name
    assert message.metadata.dst_node_id == NODE
    envelope = message_from_proto(sent.envelope)
    assert validate_message(envelope, is_reply_message=False) == []
    assert len(envelope.content) == 0


def test_an_answer_lives_as_long_as_its_question_whatever_the_clocks_say(monkeypatch):
    asked = question(9, SUPERLINK_NODE_ID, NODE, b"?").envelope.metadata
    # Flower refuses an answer that outlives its question by more than a tenth of a second.
    for ahead in (-4000.0, 0.0, 4000.0):
        now = time.time() + ahead
        monkeypatch.setattr(parcels.time, "time", lambda now=now: now)
        for answer in (reply(asked, b"!"), refusal(asked, "no")):
            about = answer.envelope.metadata
            assert about.created_at + about.ttl == pytest.approx(asked.created_at + asked.ttl)
            assert (about.src_node_id, about.dst_node_id) == (NODE, SUPERLINK_NODE_ID)
            assert about.reply_to_message_id == asked.message_id
            monkeypatch.undo()
            assert validate_message(message_from_proto(answer.envelope), True) == []
            monkeypatch.setattr(parcels.time, "time", lambda now=now: now)
        monkeypatch.undo()


def test_a_refusal_is_flowers_error_and_nothing_else():
    asked = question(9, SUPERLINK_NODE_ID, NODE, b"?").envelope.metadata
    sent = refusal(asked, "the site gives no answer")
    message = inflate_object_from_contents(sent.name, dict(sent.objects))
    assert message.error.reason == "the site gives no answer"
    assert list(sent.objects) == [sent.name]
    assert not message.has_content()


def test_two_questions_with_one_body_share_its_pieces():
    first, second = (question(9, SUPERLINK_NODE_ID, node, bytes(10)) for node in (5, 6))
    assert set(first.objects) ^ set(second.objects) == {first.name, second.name}


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_a_body_of_the_limit_is_opened_and_one_byte_more_is_not(size):
    sent = question(9, SUPERLINK_NODE_ID, NODE, bytes(size))
    assert len(opened(sent.objects[sent.name], sent.objects.__getitem__, size)) == size
    if size:
        with pytest.raises(VerificationError, match=f"up to {size - 1} bytes"):
            opened(sent.objects[sent.name], sent.objects.__getitem__, size - 1)


# Hostile objects


def crafted(names, pieces):
    """A message whose record says that it has these pieces."""
    objects = {}
    for piece in pieces:
        name, content = parcels._object("ConfigRecord", (), piece)
        objects[name] = content
    listed = [list(objects)[place] for place in names] if isinstance(names, list) else names
    written = json.dumps(dict(enumerate(listed))) if isinstance(listed, list) else listed
    record, content = parcels._object("RecordDict", objects, written.encode())
    root = parcels._object("Message", [record], b"")[1]
    return root, objects | {record: content}


def piece(content):
    value = ConfigRecordValue(bytes=content)
    item = ConfigRecord.Item(key="body", value=value)
    return ConfigRecord(items=[item]).SerializeToString()


def test_a_small_message_cannot_unfold_to_a_large_body():
    """One piece, named a hundred thousand times: refused by its number, before anything is fetched."""
    root, objects = crafted([0] * 100_000, [piece(bytes(PIECE_BYTES))])
    fetched = []

    def fetch(name):
        fetched.append(name)
        return objects[name]

    with pytest.raises(VerificationError, match="100000 pieces"):
        opened(root, fetch, LIMIT)
    assert len(fetched) == 1


@pytest.mark.parametrize(
    ("names", "pieces", "why"),
    [
        ([0, 1], [piece(b"short"), piece(b"last")], "a piece of 5 bytes"),
        ([0], [piece(bytes(PIECE_BYTES + 1))], f"a piece of {PIECE_BYTES + 1} bytes"),
        ([0], [b"\xff\xff"], "cannot be read"),
        ([0], [piece(b"a") + piece(b"b")], "cannot be read"),
        ([0], [b""], "cannot be read"),
        ("[]", [], "without a list"),
        ("{", [], "without a list"),
        ("\xff", [], "without a list"),
    ],
)
def test_what_is_no_body_is_refused(names, pieces, why):
    root, objects = crafted(names, pieces)
    with pytest.raises(VerificationError, match=why):
        opened(root, objects.__getitem__, LIMIT)


@pytest.mark.parametrize(
    "root", [b"", b"Message", b"Message  0", b"Array  0\0", b"\xff\0", b"a b c d\0"]
)
def test_what_is_no_message_is_refused(root):
    with pytest.raises(VerificationError, match="no Message"):
        opened(root, {}.__getitem__, LIMIT)


@pytest.mark.parametrize("parts", [[], ["a", "b"]])
def test_a_message_has_one_record(parts):
    root = parcels._object("Message", parts, b"")[1]
    with pytest.raises(VerificationError, match="records"):
        opened(root, {}.__getitem__, LIMIT)
