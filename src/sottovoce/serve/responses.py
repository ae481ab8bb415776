"""Answers as OpenAI's responses API writes them, whole or as a stream of events."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from sottovoce.data.conversation import ToolCall
from sottovoce.serve.completions import call_id
from sottovoce.serve.reading import Over, Piece, Said
from sottovoce.serve.shapes import ResponsesRequest

Event = dict[str, Any]


@dataclass(frozen=True)
class ResponseForm:
    """Writes the answer to one request.

    Args:
        request: whose settings the answer repeats.
    """

    request: ResponsesRequest
    id: str = field(default_factory=lambda: f"resp_{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self, said: AsyncIterator[Said]) -> dict[str, Any]:
        """The answer as one object."""
        found: dict[str, Any] = {}
        async for event in self.events(said):
            found = event.get("response", found)
        return found

    async def events(self, said: AsyncIterator[Said]) -> AsyncIterator[Event]:
        """The answer as numbered events; the last one holds the whole."""
        number = 0
        async for event in self._events(said):
            yield event | {"sequence_number": number}
            number += 1

    async def _events(self, said: AsyncIterator[Said]) -> AsyncIterator[Event]:
        begun = self._object("in_progress", [])
        yield {"type": "response.created", "response": begun}
        yield {"type": "response.in_progress", "response": begun}
        output: list[dict[str, Any]] = []
        message: _Message | None = None
        async for one in said:
            if isinstance(one, Piece):
                if message is None:
                    message = _Message(len(output))
                    output.append(message.item("in_progress"))
                    for event in message.begin():
                        yield event
                yield message.add(one.text)
                continue
            if message is not None:
                for event in message.end():
                    yield event
                output[message.place] = message.item("completed")
                message = None
            if isinstance(one, ToolCall):
                for event in _called(one, len(output)):
                    yield event
                output.append(event["item"])
            else:
                yield self._over(one, output)

    def _over(self, over: Over, output: list[dict[str, Any]]) -> Event:
        status = "incomplete" if over.finish == "length" else "completed"
        usage = {
            "input_tokens": over.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": over.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": over.prompt_tokens + over.completion_tokens,
        }
        return {
            "type": f"response.{status}",
            "response": self._object(status, output) | {"usage": usage},
        }

    def _object(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        asked = self.request
        why = {"reason": "max_output_tokens"} if status == "incomplete" else None
        choice = asked.tool_choice or ("auto" if asked.tools else "none")
        text = asked.text.model_dump(by_alias=True) if asked.text else {"format": {"type": "text"}}
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": why,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "model": asked.model,
            "output": output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "text": text,
            "tool_choice": choice if isinstance(choice, str) else choice.model_dump(),
            "tools": [tool.model_dump() for tool in asked.tools or ()],
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "usage": None,
        }


class _Message:
    """The text of an answer, as an item of the output."""

    def __init__(self, place: int) -> None:
        self.place = place
        self._text = ""
        self._id = f"msg_{secrets.token_hex(12)}"

    def item(self, status: str) -> dict[str, Any]:
        content = [self._part()] if status == "completed" else []
        made = {"id": self._id, "type": "message", "role": "assistant"}
        return made | {"status": status, "content": content}

    def begin(self) -> list[Event]:
        item = {"output_index": self.place, "item": self.item("in_progress")}
        return [
            {"type": "response.output_item.added"} | item,
            {"type": "response.content_part.added", "part": self._part()} | self._where(),
        ]

    def add(self, text: str) -> Event:
        self._text += text
        told = {"type": "response.output_text.delta", "delta": text, "logprobs": []}
        return told | self._where()

    def end(self) -> list[Event]:
        item = {"output_index": self.place, "item": self.item("completed")}
        done = {"type": "response.output_text.done", "text": self._text, "logprobs": []}
        return [
            done | self._where(),
            {"type": "response.content_part.done", "part": self._part()} | self._where(),
            {"type": "response.output_item.done"} | item,
        ]

    def _part(self) -> dict[str, Any]:
        return {"type": "output_text", "text": self._text, "annotations": [], "logprobs": []}

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self.place, "content_index": 0}


def _called(call: ToolCall, place: int) -> list[Event]:
    """What is told of a call; the last event holds its item."""
    name = f"fc_{secrets.token_hex(12)}"
    item = {"id": name, "type": "function_call", "call_id": call_id(), "name": call.name}
    begun = item | {"arguments": "", "status": "in_progress"}
    done = item | {"arguments": call.arguments, "status": "completed"}
    where = {"item_id": name, "output_index": place}
    told = {"type": "response.function_call_arguments.done", "name": call.name}
    return [
        {"type": "response.output_item.added", "output_index": place, "item": begun},
        {"type": "response.function_call_arguments.delta", "delta": call.arguments} | where,
        told | {"arguments": call.arguments} | where,
        {"type": "response.output_item.done", "output_index": place, "item": done},
    ]
