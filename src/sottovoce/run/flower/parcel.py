"""A string of bytes as Flower's objects, and back.

A message holds one record dictionary, which names the pieces of the body in order. Each piece is a
record of its own, so that a large body travels in requests of a bounded size, and pieces that
several sites are sent are stored once. The message itself goes last, so that once it is there,
everything is.

    object   kind | names of its parts | size of what follows, then a zero byte, then the content

An object's name is its SHA-256. Objects are written here from Flower's protobuf messages and not
through its classes, which would encode and hash every piece six times.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from flwr.common.constant import ErrorCode
from flwr.proto.error_pb2 import Error
from flwr.proto.message_pb2 import Message, Metadata, ObjectTree
from flwr.proto.recorddict_pb2 import ConfigRecord, ConfigRecordValue, RecordDict
from flwr.supercore.constant import HEAD_BODY_DIVIDER, HEAD_VALUE_DIVIDER

from sottovoce.errors import VerificationError
from sottovoce.run.flower.guard import LIMIT_BYTES

PIECE_BYTES: Final = LIMIT_BYTES // 2
LIFE_SECONDS: Final = 30 * 24 * 3600.0
"""How long a message may wait for its answer. Deadlines are the engine's; this is none."""

_KEY: Final = "body"
_TYPE: Final = "query"


@dataclass(frozen=True)
class Parcel:
    """One message, ready to be pushed.

    Args:
        name: of the message itself.
        envelope: the message without its body, as protobuf.
        tree: the names of all its objects, as protobuf.
        objects: each object by its name, in the order in which they are pushed.
    """

    name: str
    envelope: Any
    tree: Any
    objects: dict[str, bytes]


def question(run: int, server: int, node: int, body: bytes) -> Parcel:
    """Wrap what the server asks of a node."""
    about = Metadata(
        run_id=run,
        src_node_id=server,
        dst_node_id=node,
        created_at=time.time(),
        ttl=LIFE_SECONDS,
        message_type=_TYPE,
    )
    return _parcel(Message(metadata=about), body)


def reply(asked: Any, body: bytes) -> Parcel:
    """Wrap what a node answers.

    Args:
        asked: the metadata of the question, as protobuf.
        body: the answer.
    """
    return _parcel(Message(metadata=_answering(asked)), body)


def refusal(asked: Any, reason: str) -> Parcel:
    """Wrap a node's word that there is no answer.

    Args:
        asked: the metadata of the question, as protobuf.
        reason: what the server is told.
    """
    error = Error(code=ErrorCode.UNKNOWN, reason=reason)
    message = Message(metadata=_answering(asked), error=error)
    return _sealed(message, {}, ())


def opened(root: bytes, fetch: Callable[[str], bytes], limit_bytes: int) -> bytes:
    """Put the body of a message together again.

    Args:
        root: the message's own object.
        fetch: an object by its name.
        limit_bytes: the largest body that is put together.

    Raises:
        VerificationError: these are not the objects of one body, or it is over the limit.
    """
    records = _parts(root, "Message")
    if len(records) != 1:
        raise _no_body(f"{len(records)} records")
    try:
        pieces = list(json.loads(_content(fetch(records[0]), "RecordDict")).values())
    except (ValueError, AttributeError, RecursionError) as error:
        raise _no_body("a record without a list of its pieces") from error
    # Every piece but the last is full, so their number bounds what will be fetched.
    if len(pieces) > max(1, -(-limit_bytes // PIECE_BYTES)):
        raise _no_body(f"{len(pieces)} pieces", limit_bytes)
    found, size = [], 0
    for place, piece in enumerate(pieces, 1):
        found.append(_piece(fetch(str(piece)), last=place == len(pieces)))
        size += len(found[-1])
        if size > limit_bytes:
            raise _no_body(f"{size} bytes", limit_bytes)
    return b"".join(found)


def _answering(asked: Any) -> Any:
    now = time.time()
    return Metadata(
        run_id=asked.run_id,
        src_node_id=asked.dst_node_id,
        dst_node_id=asked.src_node_id,
        reply_to_message_id=asked.message_id,
        group_id=asked.group_id,
        created_at=now,
        # Both ends count from the question's own time, so their clocks need not agree.
        ttl=asked.created_at + asked.ttl - now,
        message_type=asked.message_type,
    )


def _parcel(message: Any, body: bytes) -> Parcel:
    objects: dict[str, bytes] = {}
    order = {}
    for place, start in enumerate(range(0, max(len(body), 1), PIECE_BYTES)):
        value = ConfigRecordValue(bytes=body[start : start + PIECE_BYTES])
        record = ConfigRecord(items=[ConfigRecord.Item(key=_KEY, value=value)])
        name, piece = _object("ConfigRecord", (), record.SerializeToString())
        objects[name] = piece
        order[f"{place:06d}"] = name
    # Equal pieces are one object, and stand in the order as often as they occur.
    name, content = _object("RecordDict", objects, json.dumps(order).encode())
    return _sealed(message, objects | {name: content}, objects, name)


def _sealed(
    message: Any, objects: dict[str, bytes], pieces: Iterable[str], record: str = ""
) -> Parcel:
    """Add the message's own object, and the envelope that announces all of them."""
    parts = [record] if record else []
    written = message.SerializeToString(deterministic=True)
    name, content = _object("Message", parts, written)
    message.metadata.message_id = name
    if record:
        message.content.CopyFrom(RecordDict())
    below = [ObjectTree(object_id=piece) for piece in pieces]
    trees = [ObjectTree(object_id=part, children=below) for part in parts]
    tree = ObjectTree(object_id=name, children=trees)
    return Parcel(name, message, tree, objects | {name: content})


def _object(kind: str, parts: Iterable[str], content: bytes) -> tuple[str, bytes]:
    head = HEAD_VALUE_DIVIDER.join((kind, ",".join(parts), str(len(content))))
    whole = b"".join((head.encode(), HEAD_BODY_DIVIDER, content))
    return sha256(whole).hexdigest(), whole


def _split(whole: bytes, kind: str) -> tuple[list[str], int]:
    """The names of an object's parts, and where its content begins."""
    end = whole.find(HEAD_BODY_DIVIDER)
    head = whole[: max(end, 0)].decode("ascii", "replace").split(HEAD_VALUE_DIVIDER)
    if len(head) != 3 or head[0] != kind:
        raise _no_body(f"an object that is no {kind}")
    return [part for part in head[1].split(",") if part], end + 1


def _parts(whole: bytes, kind: str) -> list[str]:
    return _split(whole, kind)[0]


def _content(whole: bytes, kind: str) -> bytes:
    return whole[_split(whole, kind)[1] :]


def _piece(whole: bytes, *, last: bool) -> bytes:
    content = _content(whole, "ConfigRecord")
    try:
        [item] = ConfigRecord.FromString(content).items
    except Exception as error:  # protobuf raises its own type, and unpacking another
        raise _no_body("a piece that cannot be read") from error
    piece = bytes(item.value.bytes)
    if len(piece) > PIECE_BYTES or (len(piece) < PIECE_BYTES and not last):
        raise _no_body(f"a piece of {len(piece)} bytes")
    return piece


def _no_body(seen: str, limit_bytes: int | None = None) -> VerificationError:
    allowed = "the objects of one body" if limit_bytes is None else f"up to {limit_bytes} bytes"
    return VerificationError(f"a message with {seen}", allowed=allowed)
