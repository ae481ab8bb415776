"""A site's conversation with the SuperLink: it says that it is there, fetches, and answers.

Every call is signed with the site's node key, as Flower's node authentication asks. Nothing here
fetches a bundle, or anything else that could be run.
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from flwr.common.constant import TIMESTAMP_HEADER
from flwr.proto import fleet_pb2, heartbeat_pb2, message_pb2
from flwr.proto.node_pb2 import Node as Number
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER, FLEET_HTTP_SIGNATURE_HEADER
from flwr.supercore.primitives.asymmetric import (
    bytes_to_private_key,
    public_key_to_bytes,
    sign_message,
)

from sottovoce.run.flower.calls import Caller, CallError
from sottovoce.run.flower.guard import AFTER, FLEET, HOLD, LONGEST_HOLD_SECONDS, SEEN, WHO
from sottovoce.run.flower.parcel import Parcel, opened, refusal, reply

HEARTBEAT_SECONDS: Final = 10.0
"""How often the SuperLink is told to expect us; it gives a node up after twice as long."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0


class Node:
    """One site at one SuperLink.

    Args:
        caller: the connection.
        key: the site's private node key, as PEM. Private.
        number: of the node, if it is known from an earlier life, otherwise 0.
    """

    def __init__(self, caller: Caller, key: str, number: int) -> None:
        self._caller = caller
        self._key = bytes_to_private_key(key.encode())
        self._public: bytes = public_key_to_bytes(self._key.public_key())
        self.number = number
        self._seen = ""
        self._over = threading.Event()

    def arrive(self) -> None:
        """Tell the SuperLink that this node is there.

        A node that was killed still counts as there for a while, and cannot come a second time. One
        that knows its number therefore leaves first.

        Raises:
            CallError: the SuperLink does not answer, or does not know the key.
        """
        if self.number:
            try:
                leave = fleet_pb2.DeactivateNodeRequest(node_id=self.number)
                self._call("deactivate-node", leave, fleet_pb2.DeactivateNodeResponse)
            except CallError as error:
                if error.passes:
                    raise
                # It has gone already, or the number is another's by now.
        request = fleet_pb2.ActivateNodeRequest(
            public_key=self._public, heartbeat_interval=HEARTBEAT_SECONDS
        )
        found = self._call("activate-node", request, fleet_pb2.ActivateNodeResponse)
        self.number, self._seen = found.node_id, ""

    def heartbeat(self) -> None:
        """Tell the SuperLink that this node is still there."""
        request = heartbeat_pb2.SendNodeHeartbeatRequest(
            node=self._node, heartbeat_interval=HEARTBEAT_SECONDS
        )
        self._call("send-node-heartbeat", request, heartbeat_pb2.SendNodeHeartbeatResponse)

    def next(self, pause_seconds: float) -> Any | None:
        """Wait some seconds for a question.

        Args:
            pause_seconds: how long to wait at a SuperLink that answers at once when there is
                nothing.

        Returns:
            Its metadata, as protobuf; nothing if none came.
        """
        held = {AFTER: self._seen, HOLD: str(LONGEST_HOLD_SECONDS)} if self._seen else {}
        found, headers = self._call_with(
            "pull-messages",
            fleet_pb2.PullMessagesRequest(node=self._node),
            fleet_pb2.PullMessagesResponse,
            held | {WHO: str(self.number)},
        )
        if found.messages_list:
            # There may be more behind it, so the next call does not wait.
            self._seen = ""
            return found.messages_list[0].metadata
        self._seen = headers.get(SEEN, "")
        if not self._seen:
            self._over.wait(pause_seconds)
        return None

    def fetch(self, asked: Any, limit_bytes: int) -> bytes:
        """Fetch the body of a question, and let the SuperLink forget it.

        Args:
            asked: what ``next`` returned.
            limit_bytes: the largest body that is fetched.

        Raises:
            LookupError: it is there no more.
            CallError: it is not to be had.
            VerificationError: it is no body, or one over the limit.
        """
        body = opened(
            self._object(asked, asked.message_id),
            lambda name: self._object(asked, name),
            limit_bytes,
        )
        request = message_pb2.ConfirmMessageReceivedRequest(
            node=self._node, run_id=asked.run_id, message_object_id=asked.message_id
        )
        self._patiently(
            "confirm-message-received", request, message_pb2.ConfirmMessageReceivedResponse
        )
        return body

    def answer(self, asked: Any, body: bytes) -> None:
        """Send the answer to a question.

        Raises:
            CallError: the SuperLink does not want it any more.
        """
        self._push(asked, reply(asked, body))

    def fail(self, asked: Any, reason: str) -> None:
        """Say that there will be no answer to a question.

        Raises:
            CallError: the SuperLink does not want to know any more.
        """
        self._push(asked, refusal(asked, reason))

    def _push(self, asked: Any, parcel: Parcel) -> None:
        request = fleet_pb2.PushMessagesRequest(
            node=self._node,
            messages_list=[parcel.envelope],
            message_object_trees=[parcel.tree],
        )
        taken = self._patiently("push-messages", request, fleet_pb2.PushMessagesResponse)
        missing = set(taken.objects_to_push)
        for name in list(parcel.objects):
            content = parcel.objects.pop(name)
            if name not in missing:
                continue
            part = message_pb2.PushObjectRequest(
                node=self._node,
                run_id=asked.run_id,
                session_id=taken.session_id,
                object_id=name,
                object_content=content,
            )
            stored = self._patiently("push-object", part, message_pb2.PushObjectResponse)
            if not stored.stored:
                raise CallError("push-object", 409, "a part of the answer was not taken")

    def close(self) -> None:
        """End what waits here."""
        self._over.set()
        self._caller.close()

    @property
    def _node(self) -> Any:
        return Number(node_id=self.number)

    def _object(self, asked: Any, name: str) -> bytes:
        """An object's content; if it is on its way, once it is there."""
        request = message_pb2.PullObjectRequest(
            node=self._node, run_id=asked.run_id, object_id=name
        )
        pause = _FIRST_PAUSE
        while not self._over.is_set():
            found = self._patiently("pull-object", request, message_pb2.PullObjectResponse)
            if found.object_available:
                return bytes(found.object_content)
            if not found.object_found:
                break
            self._over.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise LookupError(name)

    def _patiently(self, call: str, request: Any, answer: type[Any]) -> Any:
        """Call until the SuperLink has answered, whatever the network does meanwhile."""
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._call(call, request, answer)
            except CallError as error:
                if not error.passes or self._over.is_set():
                    raise
            self._over.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _call(self, call: str, request: Any, answer: type[Any]) -> Any:
        return self._call_with(call, request, answer, {})[0]

    def _call_with(
        self, call: str, request: Any, answer: type[Any], headers: Mapping[str, str]
    ) -> tuple[Any, Mapping[str, str]]:
        now = datetime.now(UTC).isoformat()
        signature = sign_message(self._key, now.encode())
        signed = {
            FLEET_HTTP_PUBLIC_KEY_HEADER: b64encode(self._public).decode(),
            TIMESTAMP_HEADER: now,
            FLEET_HTTP_SIGNATURE_HEADER: b64encode(signature).decode(),
        }
        return self._caller.call(f"{FLEET}/{call}", request, answer, {**signed, **headers})


def is_unknown(error: CallError) -> bool:
    """Whether the SuperLink says that it does not know this node's key."""
    return error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.PRECONDITION_FAILED)
