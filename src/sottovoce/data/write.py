"""Conversations as lines of JSON, as ``data.parse`` reads them back. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sottovoce.data.conversation import Conversation, Message


def to_lines(conversations: Iterable[Conversation]) -> str:
    r"""One conversation a line.

    Guarantees:
        - read back, the same turns, owners, clients and labels come out, in the same order.

    >>> to_lines([Conversation((Message("user", "Hm?"), Message("assistant", "Ah.")), "ada")])
    '{"messages": [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Ah."}], "owner": "ada"}\n'
    """
    return "".join(json.dumps(_record(one), ensure_ascii=False) + "\n" for one in conversations)


def _record(one: Conversation) -> dict[str, Any]:
    known = {"owner": one.owner, "client": one.client, "label": one.label}
    return {
        "messages": [_turn(message) for message in one.messages],
        **{name: value for name, value in known.items() if value is not None},
    }


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"name": call.name, "arguments": json.loads(call.arguments)}
            for call in message.tool_calls
        ]
    return turn
