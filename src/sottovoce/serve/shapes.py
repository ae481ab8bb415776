"""What OpenAI's clients send. Fields that mean nothing here are ignored, as clients send many.

A field that would change the answer and cannot be honoured is refused, never overlooked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_STOPS = 16
"""Stop strings of a request."""

_Zero = Annotated[float, Field(ge=0, le=0)] | None
_None = Annotated[dict[str, float], Field(max_length=0)] | None


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Part(_Shape):
    """A piece of a message; text alone can be read here."""

    type: Literal["text", "input_text", "output_text"]
    text: str


Content = str | list[Part] | None


class Named(_Shape):
    """A function's name and, in a call, its arguments as JSON text."""

    name: str = Field(min_length=1, max_length=256)
    arguments: str = "{}"


class Call(_Shape):
    """A call that an assistant turn made."""

    id: str = ""
    type: Literal["function"] = "function"
    function: Named


class ChatMessage(_Shape):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None

    def plain(self) -> dict[str, Any]:
        """As the chat template reads it."""
        role = "system" if self.role == "developer" else self.role
        found: dict[str, Any] = {"role": role, "content": text_of(self.content)}
        if self.tool_calls:
            found["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        if self.tool_call_id is not None:
            found["tool_call_id"] = self.tool_call_id
        return found


class Function(_Shape):
    """What can be called: a name, and a JSON schema of the arguments."""

    name: str = Field(min_length=1, max_length=256)
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(_Shape):
    """A tool, of the one kind that there is."""

    type: Literal["function"]
    function: Function


class NamedChoice(_Shape):
    """The choice of one tool."""

    type: Literal["function"]
    function: Named


class JsonSchema(_Shape):
    """A form that is asked for."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, allow_inf_nan=False, populate_by_name=True
    )

    name: str = "answer"
    form: dict[str, Any] = Field(alias="schema", default_factory=lambda: {"type": "object"})


class ResponseFormat(_Shape):
    """What the answer is to be: text, some JSON object, or JSON of a form."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing, and type says that there is one")
        return self

    @property
    def schema_wanted(self) -> dict[str, Any] | None:
        """The schema that the answer must satisfy; None for text."""
        if self.type == "text":
            return None
        return {"type": "object"} if self.json_schema is None else self.json_schema.form


class StreamOptions(_Shape):
    """What a stream tells beside the answer."""

    include_usage: bool = False


class _Sampled(_Shape):
    """How tokens are drawn, and how the answer travels."""

    model: str
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**64)
    stream: bool | None = None
    # Neither is done here; a request that relies on one must not be answered without it.
    n: Literal[1] | None = None
    frequency_penalty: _Zero = None
    presence_penalty: _Zero = None
    logit_bias: _None = None


class ChatRequest(_Sampled):
    """``POST /v1/chat/completions``."""

    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    @property
    def limit(self) -> int | None:
        """The longest answer, where the request says one."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class CompletionRequest(_Sampled):
    """``POST /v1/completions``: text that goes on, without a chat template."""

    prompt: str | list[int] | Annotated[list[str], Field(min_length=1, max_length=1)]
    max_tokens: int | None = Field(16, ge=1)
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    stream_options: StreamOptions | None = None
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: Literal[False] | None = None
    suffix: Literal[""] | None = None
    best_of: Literal[1] | None = None


class FlatTool(Function):
    """A tool of the responses API."""

    type: Literal["function"]


class FlatChoice(Named):
    """The choice of one tool in the responses API."""

    type: Literal["function"]


class Item(_Shape):
    """What a response goes on from: a turn, a call that was made, or what came of it."""

    type: Literal["message", "function_call", "function_call_output"] = "message"
    role: Literal["system", "developer", "user", "assistant"] = "user"
    content: Content = None
    call_id: str = ""
    name: str = ""
    arguments: str = "{}"
    output: Content = None


class TextFormat(_Shape):
    """What the text of a response is to be."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, allow_inf_nan=False, populate_by_name=True
    )

    type: Literal["text", "json_object", "json_schema"]
    name: str = "answer"
    form: dict[str, Any] | None = Field(None, alias="schema")


class TextSettings(_Shape):
    """The section ``text`` of a response."""

    format: TextFormat | None = None


class ResponsesRequest(_Sampled):
    """``POST /v1/responses``, as far as nothing is kept between requests."""

    input: str | Annotated[list[Item], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    tools: list[FlatTool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | FlatChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    # Conversations are not kept here, so an earlier one cannot be gone on with.
    previous_response_id: Annotated[str, Field(max_length=0)] | None = None
    background: Literal[False] | None = None

    def as_chat(self) -> ChatRequest:
        """The same request as a chat."""
        items = [Item(content=self.input)] if isinstance(self.input, str) else self.input
        turns = [] if self.instructions is None else [_turn("system", self.instructions)]
        return ChatRequest(
            **{name: getattr(self, name) for name in _Sampled.model_fields},
            messages=[*turns, *_turns(items)],
            max_tokens=self.max_output_tokens,
            tools=[_nested(tool) for tool in self.tools or ()] or None,
            tool_choice=_choice(self.tool_choice),
            parallel_tool_calls=self.parallel_tool_calls,
            response_format=_format(self.text),
        )


def text_of(content: Content) -> str:
    """The text of a message, its parts joined."""
    if isinstance(content, list):
        return "".join(part.text for part in content)
    return content or ""


def _turns(items: Sequence[Item]) -> list[ChatMessage]:
    found: list[ChatMessage] = []
    for item in items:
        if item.type == "function_call":
            named = Named(name=item.name, arguments=item.arguments)
            call = Call(id=item.call_id, function=named)
            # A turn's text and its calls are items of their own, and one turn for the template.
            before = found.pop() if found and found[-1].role == "assistant" else None
            calls = [*(before.tool_calls or [] if before else []), call]
            text = before.content if before else None
            found.append(ChatMessage(role="assistant", content=text, tool_calls=calls))
        elif item.type == "function_call_output":
            said = text_of(item.output)
            found.append(ChatMessage(role="tool", content=said, tool_call_id=item.call_id))
        else:
            found.append(ChatMessage(role=item.role, content=item.content))
    return found


def _turn(role: Literal["system"], text: str) -> ChatMessage:
    return ChatMessage(role=role, content=text)


def _nested(tool: FlatTool) -> Tool:
    function = Function(name=tool.name, description=tool.description, parameters=tool.parameters)
    return Tool(type="function", function=function)


def _choice(
    choice: Literal["none", "auto", "required"] | FlatChoice | None,
) -> Literal["none", "auto", "required"] | NamedChoice | None:
    if isinstance(choice, FlatChoice):
        return NamedChoice(type="function", function=Named(name=choice.name))
    return choice


def _format(text: TextSettings | None) -> ResponseFormat | None:
    if text is None or text.format is None:
        return None
    form = text.format.form
    schema = None if form is None else JsonSchema(name=text.format.name, form=form)
    return ResponseFormat(type=text.format.type, json_schema=schema)
