"""Conversations: into token sequences to train on, into prompts to answer, and answers read back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.conversation import Conversation, ToolCall
from sottovoce.data.parse import canonical_arguments
from sottovoce.data.strict_json import decode_json
from sottovoce.errors import ConfigError, DataError, ModelError
from sottovoce.model.tokenizer import Tokenizer
from sottovoce.train import Example

OpenAIMessage = dict[str, Any]

_CALL = re.compile(
    r"<\|call\|>(?P<bare>.*?)(?=<\|call\|>|<tool_call>|\Z)|<tool_call>(?P<tagged>.*?)</tool_call>",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class EncodeSummary:
    """What became of conversations on their way to token sequences.

    An exchange is a user's turn and all that answers it, up to the user's next turn.

    Args:
        kept: conversations that gave at least one example.
        cut: conversations of which some examples lack earlier exchanges, for length.
        truncated: exchanges too long on their own, which lost their last tokens.
        dropped: exchanges of which no supervised token fits.
        tokens: tokens over all examples.
        supervised_tokens: targets among them.
    """

    kept: int = 0
    cut: int = 0
    truncated: int = 0
    dropped: int = 0
    tokens: int = 0
    supervised_tokens: int = 0

    def __add__(self, other: EncodeSummary) -> EncodeSummary:
        return EncodeSummary(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an assistant turn is to be generated from, and what it should be. Private.

    Args:
        messages: the turns before it, in OpenAI form.
        content: the reference answer's text.
        tool_calls: the reference answer's calls.
        owner: whose conversation it is, where known.
    """

    messages: tuple[OpenAIMessage, ...]
    content: str
    tool_calls: tuple[ToolCall, ...]
    owner: str | None = None


class _Sequence(NamedTuple):
    """Token ids and which of them are targets, both ``[T]``, before any cut inside a turn."""

    tokens: NDArray[np.int32]
    supervised: NDArray[np.bool_]


def messages_of(conversation: Conversation) -> list[OpenAIMessage]:
    """Write a conversation as OpenAI messages.

    Calls get ids by their place in the conversation, and tool turns answer the calls in order.
    The ids have nine letters and digits, which is the form that the strictest templates demand.

    >>> from sottovoce.data.conversation import Message
    >>> messages_of(Conversation((Message("user", "Hello"),)))
    [{'role': 'user', 'content': 'Hello'}]
    """
    made = 0
    answered = 0
    messages: list[OpenAIMessage] = []
    for message in conversation.messages:
        written: OpenAIMessage = {"role": message.role, "content": message.content}
        if message.role == "tool" and answered < made:
            written["tool_call_id"] = f"call{answered:05d}"
            answered += 1
        if message.tool_calls:
            written["tool_calls"] = [
                _openai_call(call, made + offset) for offset, call in enumerate(message.tool_calls)
            ]
            made += len(message.tool_calls)
        messages.append(written)
    return messages


def encode_chat(
    conversation: Conversation, tokenizer: Tokenizer, max_length: int
) -> tuple[list[Example], EncodeSummary]:
    """Turn one conversation into sequences whose targets are what the assistant says.

    The chat template writes the text. A turn's targets are its content, its tool calls and the
    token that ends it, but not its header: the answer to ``messages[:i]`` begins where their
    rendering with a generation prompt ends. A template that rewrites earlier turns when later ones
    follow gives one example per assistant turn, which alone is supervised in it.

    Args:
        conversation: the turns. Private.
        tokenizer: the base model's.
        max_length: most tokens of an example, at least 2.

    Guarantees:
        - no example is longer than ``max_length``, and each has a target, never at position 0;
        - each example begins with the system message, if there is one, and goes on at an exchange;
        - every assistant turn is supervised in at most one example, and in exactly one unless an
          exchange is too long alone, in which case its last tokens are lost and this is counted.

    Raises:
        ConfigError: ``max_length`` is below 2.
        ModelError: the template refuses the turns, or does not render an answer after the
            generation prompt of the turns before it.
    """
    if max_length < 2:
        raise ConfigError(f"max_length is {max_length}", allowed="2 or more")
    head, exchanges = _exchanges(messages_of(conversation))
    try:
        sequences, cut = _pieces(head, exchanges, tokenizer, max_length) or _turn_by_turn(
            head, exchanges, tokenizer, max_length
        )
    except ModelError as error:
        place = f"{conversation.source}: " if conversation.source else ""
        raise ModelError(f"{place}{error.seen}", remedy=error.remedy) from error
    examples = [
        Example(tokens[:max_length], supervised[:max_length], conversation.owner)
        for tokens, supervised in sequences
        if supervised[:max_length].any()
    ]
    too_long = sum(len(sequence.tokens) > max_length for sequence in sequences)
    dropped = len(sequences) - len(examples)
    return examples, EncodeSummary(
        kept=int(bool(examples)),
        cut=int(cut),
        truncated=too_long - dropped,
        dropped=dropped,
        tokens=sum(len(example.tokens) for example in examples),
        supervised_tokens=sum(int(example.supervised.sum()) for example in examples),
    )


def encode_all(
    conversations: Iterable[Conversation], tokenizer: Tokenizer, max_length: int
) -> tuple[list[Example], EncodeSummary]:
    """Turn conversations into sequences as ``encode_chat`` does, and add up what became of them."""
    examples: list[Example] = []
    summary = EncodeSummary()
    for record, conversation in enumerate(conversations):
        made, counts = encode_chat(conversation, tokenizer, max_length)
        examples += [replace(example, record=record) for example in made]
        summary += counts
    return examples, summary


def prompts(conversation: Conversation) -> list[Prompt]:
    """List what each assistant turn answers, and how it answers it.

    >>> from sottovoce.data.conversation import Message
    >>> hello = Conversation((Message("user", "Hello"), Message("assistant", "Good day")))
    >>> [(len(prompt.messages), prompt.content) for prompt in prompts(hello)]
    [(1, 'Good day')]
    """
    messages = messages_of(conversation)
    return [
        Prompt(tuple(messages[:turn]), message.content, message.tool_calls, conversation.owner)
        for turn, message in enumerate(conversation.messages)
        if message.role == "assistant"
    ]


def parse_answer(text: str) -> tuple[str, tuple[ToolCall, ...]]:
    """Read generated text, special tokens kept, as an answer's content and tool calls.

    A call is ``<|call|>{"name": ..., "arguments": {...}}`` or the same object between
    ``<tool_call>`` and ``</tool_call>``.

    Args:
        text: what the model wrote, without the token that ends the turn.

    Returns:
        The text outside of calls, stripped, and the calls with canonical arguments.

    Guarantees:
        - never raises: what is not a well-formed call stays in the content, as it stands.

    >>> parse_answer('One moment.<|call|>{"name": "find", "arguments": {"id": "7"}}')
    ('One moment.', (ToolCall(name='find', arguments='{"id":"7"}'),))
    """
    calls: list[ToolCall] = []

    def take(match: re.Match[str]) -> str:
        call = _read_call(match["bare"] if match["tagged"] is None else match["tagged"])
        if call is None:
            return match[0]
        calls.append(call)
        return ""

    content = _CALL.sub(take, text).strip()
    return content, tuple(calls)


def show_answer(content: str, calls: Sequence[ToolCall]) -> str:
    """Write an answer for a reader, its tool calls in brackets.

    >>> show_answer("One moment.", [ToolCall("find", '{"id":"7"}')])
    'One moment. [calls find {"id":"7"}]'
    """
    listed = ", ".join(f"{call.name} {call.arguments}" for call in calls)
    return f"{content} [calls {listed}]".strip() if listed else content


def _read_call(text: str) -> ToolCall | None:
    """Read a call's JSON object; None where it is not one."""
    try:
        call = decode_json(text)
        if isinstance(call, dict) and isinstance(call.get("name"), str):
            arguments = canonical_arguments(call.get("arguments"))
            return ToolCall(call["name"], arguments) if call["name"].isprintable() else None
    except DataError:
        return None
    return None


def _openai_call(call: ToolCall, number: int) -> dict[str, object]:
    """Write one call as OpenAI does."""
    return {
        "id": f"call{number:05d}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _exchanges(
    messages: Sequence[OpenAIMessage],
) -> tuple[list[OpenAIMessage], list[list[OpenAIMessage]]]:
    """Split messages into the system head and exchanges, each with an assistant turn.

    What follows the last assistant turn has no answer to learn from and is left out.
    """
    roles = [message["role"] for message in messages]
    body = next((index for index, role in enumerate(roles) if role != "system"), len(roles))
    end = max((index + 1 for index, role in enumerate(roles) if role == "assistant"), default=0)
    exchanges: list[list[OpenAIMessage]] = []
    answered = False
    for message in messages[body:end]:
        if not exchanges or (answered and message["role"] in ("user", "system")):
            exchanges.append([])
            answered = False
        exchanges[-1].append(message)
        answered = answered or message["role"] == "assistant"
    return list(messages[:body]), exchanges


def _pieces(
    head: list[OpenAIMessage],
    exchanges: list[list[OpenAIMessage]],
    tokenizer: Tokenizer,
    max_length: int,
) -> tuple[list[_Sequence], bool] | None:
    """Pack consecutive exchanges into sequences, as many into each as fit.

    Returns:
        The sequences and whether there are several; None where the template rewrites turns.
    """

    def encode(start: int, stop: int) -> _Sequence | None:
        messages = [*head, *chain.from_iterable(exchanges[start:stop])]
        turns = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        return _supervise(messages, turns, tokenizer)

    if not exchanges:
        return [], False
    whole = encode(0, len(exchanges))
    if whole is None:
        return None
    if len(whole.tokens) <= max_length:
        return [whole], False
    pieces: list[_Sequence] = []
    stop = 0
    while stop < len(exchanges):
        start, stop = stop, stop + 1
        piece = encode(start, stop)
        if piece is None:
            return None
        while stop < len(exchanges):
            longer = encode(start, stop + 1)
            if longer is None or len(longer.tokens) > max_length:
                break
            piece, stop = longer, stop + 1
        pieces.append(piece)
    return pieces, len(pieces) > 1


def _turn_by_turn(
    head: list[OpenAIMessage],
    exchanges: list[list[OpenAIMessage]],
    tokenizer: Tokenizer,
    max_length: int,
) -> tuple[list[_Sequence], bool]:
    """Make one sequence per assistant turn, after as many earlier exchanges as fit.

    Returns:
        The sequences and whether any of them lacks an earlier exchange.
    """

    def encode(start: int, last: int, end: int) -> _Sequence:
        earlier = chain.from_iterable(exchanges[start:last])
        messages = [*head, *earlier, *exchanges[last][:end]]
        sequence = _supervise(messages, [len(messages) - 1], tokenizer)
        if sequence is None:
            raise ModelError(
                "the chat template does not render an assistant turn after the generation prompt "
                "of the turns before it, so the answer cannot be found in the text",
                remedy="Choose a model with another chat_template, or mend the one in its folder",
            )
        return sequence

    sequences: list[_Sequence] = []
    cut = False
    for last, exchange in enumerate(exchanges):
        for at, message in enumerate(exchange):
            if message["role"] != "assistant":
                continue
            sequence = encode(last, last, at + 1)
            for start in reversed(range(last)):
                longer = encode(start, last, at + 1)
                if len(longer.tokens) > max_length:
                    cut = True
                    break
                sequence = longer
            sequences.append(sequence)
    return sequences, cut


def _supervise(
    messages: Sequence[OpenAIMessage], turns: Sequence[int], tokenizer: Tokenizer
) -> _Sequence | None:
    """Tokenise messages and mark the answers at ``turns``.

    Returns:
        The whole sequence, or None where a shorter rendering is no prefix of a longer one.
    """
    text = tokenizer.render(messages)
    spans: list[tuple[int, int]] = []
    for turn in turns:
        before = tokenizer.render(messages[:turn], add_generation_prompt=True)
        through = tokenizer.render(messages[: turn + 1])
        if not (through.startswith(before) and text.startswith(through)):
            return None
        spans.append((len(before), len(through)))
    ids, offsets = tokenizer.encode_with_offsets(text)
    tokens = np.array(ids, np.int32)
    begins = np.array([begin for begin, _ in offsets], np.int64)
    supervised = np.zeros(len(tokens), np.bool_)
    for begin, end in spans:
        inside = np.flatnonzero((begins >= begin) & (begins < end))
        # Templates may write a line break after the token that ends the turn; nobody generates it.
        ends = inside[tokens[inside] == tokenizer.eos_id]
        supervised[inside if len(ends) == 0 else inside[inside <= ends[-1]]] = True
    supervised[:1] = False
    return _Sequence(tokens, supervised)
