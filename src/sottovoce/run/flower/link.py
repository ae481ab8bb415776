"""The server's conversation with its SuperLink: nodes, one Flower run, messages out and in."""

from __future__ import annotations

import io
import logging
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flwr.common.constant import SUPERLINK_NODE_ID, Status
from flwr.proto import control_pb2, message_pb2, runtime_pb2
from flwr.proto.node_pb2 import Node
from flwr.supercore.constant import TASK_TOKEN_HEADER, NodeStatus, TaskType

from sottovoce.errors import VerificationError
from sottovoce.run.enrol import node_key_pem
from sottovoce.run.flower.calls import Caller, CallError
from sottovoce.run.flower.guard import AFTER, HOLD, RUNTIME, SECRET, SEEN, WHO
from sottovoce.run.flower.parcel import opened, question

_CONTROL: Final = "/v1/control"
_HEARTBEAT_SECONDS: Final = 15.0
_RUNS_LISTED: Final = 1000
_SERVER: Final = Node(node_id=SUPERLINK_NODE_ID)

_BUNDLE: Final = """\
[project]
name = "carrier"
version = "1.0.0"

[tool.flwr.app]
publisher = "sottovoce"

[tool.flwr.app.components]
serverapp = "none:none"
clientapp = "none:none"
"""
"""What Flower wants to know of a run. It names no code, and nothing fetches it."""

_log: Final = logging.getLogger(__name__)


class SpentKeyError(Exception):
    """A node key that was taken from the SuperLink's list, which never takes it back."""


@dataclass(frozen=True)
class Presence:
    """Where a node stands.

    Args:
        online: whether it has been heard of lately.
        since: when it came, as text; it changes whenever a node may have forgotten what it was
            asked.
    """

    online: bool
    since: str


@dataclass(frozen=True)
class Reply:
    """Something that came for a question.

    Args:
        name: of the reply itself.
        to: name of the question.
        wrong: why there is no answer in it, or nothing.
        by_site: whether that is the site's word, and not the SuperLink's.
    """

    name: str
    to: str
    wrong: str
    by_site: bool


class Link:
    """A Flower run of which this process is the server app.

    Args:
        caller: the connection.
        secret: what the guard asks for. Private.
    """

    def __init__(self, caller: Caller, secret: str) -> None:
        self._caller = caller
        self._headers = {SECRET: secret}
        self._run = 0
        self._seen = ""
        self._over = threading.Event()

    def register(self, keys: Mapping[str, bytes]) -> dict[str, int]:
        """Have exactly these nodes registered.

        Args:
            keys: P-384 point by site.

        Returns:
            The number of the node, by site.

        Raises:
            SpentKeyError: a site is back whose key was once taken from the list.
            CallError: the SuperLink does not answer.
        """
        wanted = {node_key_pem(key): site for site, key in keys.items()}
        found: dict[str, int] = {}
        for node in self._nodes():
            if node.public_key in wanted:
                found[wanted[node.public_key]] = node.node_id
            else:
                request = control_pb2.UnregisterNodeRequest(node_id=node.node_id)
                self._control("unregister-node", request, control_pb2.UnregisterNodeResponse)
                _log.info("a node that is in the roster no more was taken from the list")
        for key, site in wanted.items():
            if site not in found:
                found[site] = self._register(key)
        return found

    def begin(self) -> None:
        """End the runs of servers that were here before, and begin a new one.

        Raises:
            CallError: the SuperLink does not answer.
        """
        listed = self._control(
            "list-runs",
            control_pb2.ListRunsRequest(limit=_RUNS_LISTED),
            control_pb2.ListRunsResponse,
        )
        for run, about in listed.run_dict.items():
            if about.status.status != Status.FINISHED:
                request = control_pb2.StopRunRequest(run_id=run)
                self._control("stop-run", request, control_pb2.StopRunResponse)
        request = control_pb2.StartRunRequest()
        request.fab.content = _bundle()
        self._run = self._control("start-run", request, control_pb2.StartRunResponse).run_id
        request = runtime_pb2.AcquireTaskRequest(supported_task_types=[TaskType.SERVER_APP])
        task = self._runtime("acquire-task", request, runtime_pb2.AcquireTaskResponse)
        self._headers[TASK_TOKEN_HEADER] = task.token
        request = runtime_pb2.PullTaskInputRequest()
        self._runtime("pull-task-input", request, runtime_pb2.PullTaskInputResponse)
        threading.Thread(target=self._live, name="flower heartbeat", daemon=True).start()

    def end(self) -> None:
        """End the heartbeat; the run ends with it, or as the next one begins."""
        self._over.set()
        self._caller.close()

    def presence(self) -> dict[int, Presence]:
        """Where every node stands, by its number."""
        return {
            node.node_id: Presence(node.status == NodeStatus.ONLINE, node.last_activated_at)
            for node in self._nodes()
        }

    def push(self, node: int, body: bytes) -> str:
        """Send a message to a node.

        Returns:
            Its name, once the SuperLink has all of it.

        Raises:
            CallError: the SuperLink does not answer, or does not take it.
        """
        parcel = question(self._run, SUPERLINK_NODE_ID, node, body)
        request = runtime_pb2.PushAppMessagesRequest(
            messages_list=[parcel.envelope], message_object_trees=[parcel.tree]
        )
        taken = self._runtime("push-messages", request, runtime_pb2.PushAppMessagesResponse)
        if list(taken.message_ids) != [parcel.name]:
            raise CallError("push-messages", 409, "the message was not taken")
        missing = set(taken.objects_to_push)
        for name in list(parcel.objects):
            content = parcel.objects.pop(name)
            if name in missing:
                self._push_object(
                    message_pb2.PushObjectRequest(
                        node=_SERVER,
                        run_id=self._run,
                        session_id=taken.session_id,
                        object_id=name,
                        object_content=content,
                    ),
                    str(node) if name == parcel.name else "",
                )
        return parcel.name

    def replies(self, names: list[str], wait_seconds: float) -> list[Reply]:
        """Ask what has come for some questions; each reply is told of once.

        Args:
            names: of the questions.
            wait_seconds: how long to be held while nothing has come, from any site.
        """
        held = {AFTER: self._seen, HOLD: str(wait_seconds)} if wait_seconds > 0 else {}
        request = runtime_pb2.PullAppMessagesRequest(message_ids=names)
        found, headers = self._caller.call(
            f"{RUNTIME}/pull-messages",
            request,
            runtime_pb2.PullAppMessagesResponse,
            self._headers | held,
        )
        self._seen = headers.get(SEEN, "")
        return [
            Reply(
                message.metadata.message_id,
                message.metadata.reply_to_message_id,
                message.error.reason or "an error without a reason"
                if message.HasField("error")
                else "",
                message.metadata.src_node_id != SUPERLINK_NODE_ID,
            )
            for message in found.messages_list
        ]

    def body(self, reply: str, limit_bytes: int) -> bytes | None:
        """Fetch the body of a reply, if all of it is there.

        Raises:
            LookupError: it is not there any more.
            VerificationError: it is no body, or one over the limit.
        """
        root = self._object(reply)
        return None if root is None else opened(root, self._there, limit_bytes)

    def confirm(self, reply: str) -> None:
        """Let the SuperLink forget a reply."""
        request = message_pb2.ConfirmMessageReceivedRequest(
            node=_SERVER, run_id=self._run, message_object_id=reply
        )
        self._runtime(
            "confirm-message-received", request, message_pb2.ConfirmMessageReceivedResponse
        )

    def _there(self, name: str) -> bytes:
        content = self._object(name)
        if content is None:
            raise VerificationError("a reply whose last part came before its others")
        return content

    def _object(self, name: str) -> bytes | None:
        """An object's content; nothing while it is on its way."""
        request = message_pb2.PullObjectRequest(node=_SERVER, run_id=self._run, object_id=name)
        found = self._runtime("pull-object", request, message_pb2.PullObjectResponse)
        if not found.object_found:
            raise LookupError(name)
        return bytes(found.object_content) if found.object_available else None

    def _push_object(self, request: Any, told: str) -> None:
        headers = self._headers | ({WHO: told} if told else {})
        stored, _ = self._caller.call(
            f"{RUNTIME}/push-object", request, message_pb2.PushObjectResponse, headers
        )
        if not stored.stored:
            raise CallError("push-object", 409, "a part of the message was not taken")

    def _register(self, key: bytes) -> int:
        request = control_pb2.RegisterNodeRequest(public_key=key)
        try:
            answer = self._control("register-node", request, control_pb2.RegisterNodeResponse)
        except CallError as error:
            if error.status == 412:
                raise SpentKeyError from error
            raise
        return int(answer.node_id)

    def _nodes(self) -> list[Any]:
        request = control_pb2.ListNodesRequest()
        listed = self._control("list-nodes", request, control_pb2.ListNodesResponse)
        return [node for node in listed.nodes_info if node.status != NodeStatus.UNREGISTERED]

    def _live(self) -> None:
        """Say that this server lives, until it ends; a run that is not heard of is ended."""
        request = runtime_pb2.SendTaskHeartbeatRequest()
        while not self._over.wait(_HEARTBEAT_SECONDS):
            try:
                self._runtime("send-task-heartbeat", request, runtime_pb2.SendTaskHeartbeatResponse)
            except (CallError, RuntimeError) as error:
                # The next call of the carrier meets the same, and mends it.
                _log.info("no heartbeat: %s", error)

    def _control(self, call: str, request: Any, answer: type[Any]) -> Any:
        return self._caller.call(f"{_CONTROL}/{call}", request, answer, self._headers)[0]

    def _runtime(self, call: str, request: Any, answer: type[Any]) -> Any:
        return self._caller.call(f"{RUNTIME}/{call}", request, answer, self._headers)[0]


def _bundle() -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(zipfile.ZipInfo("pyproject.toml"), _BUNDLE)
    return whole.getvalue()
