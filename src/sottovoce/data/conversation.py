"""What the package means by a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call that an assistant turn makes.

    Args:
        name: the tool's name.
        arguments: its arguments as canonical JSON text (sorted keys, no spaces, not ASCII-escaped).
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. An assistant turn may call tools; a tool turn carries a tool's answer."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """One private conversation, with the facts that later stages split and protect it by.

    Args:
        messages: the turns, in order.
        owner: whose conversation it is (a person), where known. The unit of owner-level privacy.
        client: which party holds it (a shop, an institute), where the data say so.
        label: what Dirichlet partitioning splits by (an intent, a category), where the data say so.
        source: file and line it came from, for error messages.
    """

    messages: tuple[Message, ...]
    owner: str | None = None
    client: str | None = None
    label: str | None = None
    source: str = ""
