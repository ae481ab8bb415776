"""One record becomes one conversation. Pure: no file, no randomness.

Each fault is a ``DataError`` whose ``seen`` begins with the kind of fault and a colon
(``unknown role: ...``), so that a caller that goes on after faults can count them by kind. Faults
quote roles and column names, never the text of a turn, because that text is private.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sottovoce.data.conversation import ROLES, Conversation, Message, Role, ToolCall
from sottovoce.data.strict_json import decode_json, shorten
from sottovoce.errors import DataError

# The first name that a record has wins, whatever its case. Owners are found only under names that
# end in an identifier: a column called "user" or "customer" may well hold what that person said.
COMMON_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "instruction": ("instruction", "question", "prompt", "query", "input"),
    "context": ("input", "context"),
    "response": ("response", "output", "answer", "completion"),
    "system": ("system", "system_prompt"),
    "owner": ("owner", "owner_id", "user_id", "customer_id", "patient_id"),
    "client": (
        *("client", "client_id", "institute", "institution"),
        *("hospital", "shop", "shop_id", "site", "site_id"),
    ),
    "label": ("label", "intent", "category", "topic"),
}
_TURN_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations", "conversation"),
    "auto": ("messages", "conversations", "conversation"),
    "instruction": (),
}
_SHAREGPT_ROLES: Mapping[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "tool": "tool",
}
# OpenAI's present name for a system turn, and its former name for a tool turn.
_OPENAI_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a record keeps what.

    Args:
        format: how conversations are written; ``auto`` looks at each record's columns.
        columns: (field, column) for every column that the user named; the others are looked for
            among ``COMMON_COLUMNS``.
        required: fields that every record must fill beside its conversation, such as ``client``.
    """

    format: Literal["auto", "messages", "sharegpt", "instruction"] = "auto"
    columns: tuple[tuple[str, str], ...] = ()
    required: tuple[str, ...] = ()


@lru_cache(maxsize=256)
def find_columns(columns: tuple[str, ...], layout: Layout) -> Mapping[str, str]:
    """Say which column fills which field: by the user's word, else by its common name.

    Args:
        columns: the names that one record has.
        layout: what the user named, and what must be there.

    Returns:
        Field to column. ``messages`` is among the fields exactly where a column holds all turns.

    Raises:
        DataError: a named or required column is not there; it lists the columns that are, and the
            nearest.

    >>> dict(find_columns(("institute", "question", "answer"), Layout()))
    {'instruction': 'question', 'response': 'answer', 'client': 'institute'}
    """
    found: dict[str, str] = {}
    for field, column in layout.columns:
        if column not in columns:
            raise _missing_column(f"{column!r} ({field}_column)", (column,), field, columns)
        found[field] = column
    pair = ("instruction", "context", "response")
    turns = _TURN_COLUMNS[layout.format]
    if "messages" not in found and not any(field in found for field in pair):
        found |= _first_of("messages", turns, columns)
    for field, names in COMMON_COLUMNS.items():
        if field not in found and not (field in pair and "messages" in found):
            # "input" is the instruction where there is no other, and then it is no context.
            free = tuple(name for name in columns if name != found.get("instruction"))
            found |= _first_of(field, names, free)
    if "messages" not in found:
        if layout.format in ("messages", "sharegpt"):
            raise _missing_column("the turns", turns, "messages", columns)
        for field in ("instruction", "response"):
            if field not in found:
                what = f"the {field}, and no column holds all turns" if turns else f"the {field}"
                raise _missing_column(what, COMMON_COLUMNS[field], field, columns)
    for field in layout.required:
        if field not in found:
            raise _missing_column(f"the {field}", COMMON_COLUMNS[field], field, columns)
    return found


def parse_record(record: object, layout: Layout, source: str = "") -> Conversation:
    """Turn one record of any known form into a conversation.

    Args:
        record: a mapping of column names to values, as JSON, CSV or Parquet give them; private.
        layout: where the record keeps what.
        source: file and line, kept in the conversation.

    Returns:
        A conversation with at least one assistant turn.

    Guarantees:
        - every text in it can be written as UTF-8 and holds no NUL character;
        - arguments of tool calls are canonical JSON, the same for every way of writing them;
        - an assistant turn says something or calls a tool; a tool turn comes after a call;
        - whatever the record holds, nothing but ``DataError`` is raised.

    Raises:
        DataError: the record cannot be understood; ``seen`` begins with the kind of fault.

    >>> parse_record({"prompt": "Hi", "completion": "Hello"}, Layout()).messages[1].content
    'Hello'
    """
    if not isinstance(record, Mapping):
        raise DataError(
            f"not an object: the record is {_kind(record)}",
            allowed="one object with named columns per record",
        )
    columns = find_columns(tuple(record), layout)
    if "messages" in columns:
        messages = _read_turns(record[columns["messages"]], layout.format)
    else:
        messages = _read_pair(record, columns)
    system = record[columns["system"]] if "system" in columns else None
    if system and not any(message.role == "system" for message in messages):
        messages = (Message("system", _text(system, "column", columns["system"])), *messages)
    _check_turns(messages)
    owner, client, label = (
        _name(record, columns, field, field in layout.required)
        for field in ("owner", "client", "label")
    )
    return Conversation(messages, owner, client, label, source)


def canonical_arguments(arguments: object) -> str:
    r"""Write a tool call's arguments in the one canonical way.

    Args:
        arguments: an object, or its JSON text; None and empty text mean no arguments.

    Returns:
        JSON text with sorted names, no spaces and no ASCII escapes.

    Guarantees:
        - applying it twice changes nothing more.

    Raises:
        DataError: the arguments are not one JSON object.

    >>> canonical_arguments('{"b": 1, "a": "\\u00e9"}')
    '{"a":"é","b":1}'
    """
    value = arguments
    if isinstance(value, str) and value:
        value = decode_json(value)
    if value is None or value == "":
        value = {}
    if not isinstance(value, Mapping):
        raise DataError(
            f"broken tool call: the arguments are {_kind(value)}", allowed="one JSON object"
        )
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            "broken tool call: the arguments cannot be written as JSON",
            allowed="text, finite numbers, true, false, null, and lists and objects of them",
        ) from error
    return _text(text, "a tool call's", "arguments")


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return the allowed name that looks most like ``name``, or an empty text.

    >>> nearest("asistant", ("user", "assistant"))
    'assistant'
    """
    lowered = {option.lower(): option for option in allowed}
    close = difflib.get_close_matches(name.lower()[:100], lowered, n=1, cutoff=0.6)
    return lowered[close[0]] if close else ""


def _first_of(field: str, names: tuple[str, ...], columns: tuple[str, ...]) -> dict[str, str]:
    """Find the first common name that one of the columns bears, whatever its case."""
    lowered = {column.strip().lower(): column for column in reversed(columns)}
    return next(({field: lowered[name]} for name in names if name in lowered), {})


def _missing_column(
    what: str, names: tuple[str, ...], field: str, columns: tuple[str, ...]
) -> DataError:
    """Say which columns are there, which would do, and which one was probably meant."""
    there = ", ".join(shorten(column) for column in columns[:20]) or "none"
    more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
    near = next(filter(None, (nearest(name, columns) for name in names)), "")
    return DataError(
        f"missing column: {what}; the columns are {there}{more}",
        allowed=f"for the {field}, {' or '.join(map(repr, names))}",
        remedy=f'Write {field}_column = "{near or "NAME"}" in [data]',
    )


def _read_turns(value: object, form: str) -> tuple[Message, ...]:
    """Read a list of turns, or its JSON text as a CSV cell holds it."""
    turns = decode_json(value) if isinstance(value, str) else value
    if not isinstance(turns, list):
        raise DataError(
            f"turns are not a list: the column is {_kind(turns)}", allowed="a list of turns"
        )
    return tuple(_read_turn(turn, number, form) for number, turn in enumerate(turns, start=1))


def _read_turn(turn: object, number: int, form: str) -> Message:
    """Read one turn in OpenAI's form (role, content) or in ShareGPT's (from, value)."""
    if not isinstance(turn, Mapping):
        raise DataError(
            f"turn is not an object: turn {number} is {_kind(turn)}",
            allowed="an object with role and content, or with from and value",
        )
    sharegpt = form == "sharegpt" or (form == "auto" and "role" not in turn and "from" in turn)
    if sharegpt:
        role = _role(turn.get("from"), _SHAREGPT_ROLES, number)
        if turn.get("from") == "function_call":
            return Message("assistant", "", _sharegpt_calls(turn.get("value"), number))
        return Message(role, _content(turn.get("value"), number))
    role = _role(turn.get("role"), _OPENAI_ROLES, number)
    calls = _openai_calls(turn, number)
    if calls and role != "assistant":
        raise DataError(f"broken tool call: turn {number} is a {role} turn", allowed="assistant")
    content = turn.get("content")
    if calls and content is None:
        content = ""
    return Message(role, _content(content, number), calls)


def _role(value: object, roles: Mapping[str, Role], number: int) -> Role:
    """Translate the role of turn ``number``."""
    if isinstance(value, str) and value in roles:
        return roles[value]
    near = nearest(value, roles) if isinstance(value, str) else ""
    raise DataError(
        f"unknown role: {shorten(value)} in turn {number}",
        allowed=", ".join(roles),
        remedy=f"Write {near!r}" if near else "",
    )


def _content(value: object, number: int) -> str:
    """Read a turn's text: plain, or as a list of text parts that are joined."""
    if isinstance(value, list):
        return "".join(_part(part, number) for part in value)
    return _text(value, "turn", number)


def _part(part: object, number: int) -> str:
    """Read one part of a content that is a list."""
    if isinstance(part, Mapping):
        if part.get("type") != "text":
            raise DataError(
                f"content is not text: turn {number} has a part of type {shorten(part.get('type'))}",
                allowed="parts of type text",
            )
        part = part.get("text")
    return _text(part, "a part of turn", number)


def _openai_calls(turn: Mapping[object, object], number: int) -> tuple[ToolCall, ...]:
    """Read ``tool_calls``, or the former ``function_call``."""
    single = turn.get("function_call")
    calls = turn.get("tool_calls") or ([] if single is None else [single])
    if not isinstance(calls, list):
        raise DataError(f"broken tool call: tool_calls of turn {number} is {_kind(calls)}")
    return tuple(_call(call, number) for call in calls)


def _sharegpt_calls(value: object, number: int) -> tuple[ToolCall, ...]:
    """Read the value of a ``function_call`` turn: one call or a list, as JSON text or as itself."""
    calls = decode_json(value) if isinstance(value, str) else value
    return tuple(_call(call, number) for call in (calls if isinstance(calls, list) else [calls]))


def _call(call: object, number: int) -> ToolCall:
    """Read one call, with its name and arguments at the top or under ``function``."""
    function = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(function, Mapping):
        raise DataError(
            f"broken tool call: turn {number} has {_kind(function)}",
            allowed="an object with name and arguments",
        )
    name = function.get("name")
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"broken tool call: turn {number} calls a tool without a name")
    arguments = canonical_arguments(function.get("arguments"))
    return ToolCall(_text(name, "a tool's name in turn", number), arguments)


def _read_pair(record: Mapping[str, object], columns: Mapping[str, str]) -> tuple[Message, ...]:
    """Read an instruction, its context where there is one, and the response."""
    instruction = _text(record[columns["instruction"]], "column", columns["instruction"])
    if "context" in columns and record[columns["context"]] is not None:
        context = _text(record[columns["context"]], "column", columns["context"])
        instruction = "\n\n".join(part for part in (instruction, context) if part)
    if not instruction.strip():
        raise DataError(
            f"empty instruction: column {shorten(columns['instruction'])} holds no text"
        )
    response = _text(record[columns["response"]], "column", columns["response"])
    return Message("user", instruction), Message("assistant", response)


def _check_turns(messages: tuple[Message, ...]) -> None:
    """Refuse a conversation that teaches nothing, or whose tools answer before they are called."""
    called = False
    for number, message in enumerate(messages, start=1):
        called = called or bool(message.tool_calls)
        if message.role == "tool" and not called:
            raise DataError(
                f"tool turn before any call: turn {number}",
                allowed="a tool turn after an assistant turn that calls a tool",
            )
        if message.role == "assistant" and not message.tool_calls and not message.content.strip():
            raise DataError(
                f"empty assistant turn: turn {number} says nothing and calls no tool",
                allowed="text, or at least one tool call",
            )
    if not any(message.role == "assistant" for message in messages):
        raise DataError(
            f"no assistant turn: {len(messages)} turns, none by the assistant",
            allowed=f"roles {', '.join(ROLES)}, among them assistant",
        )


def _name(
    record: Mapping[str, object], columns: Mapping[str, str], field: str, required: bool
) -> str | None:
    """Read the name of an owner, a client or a label; null and blank mean that there is none.

    Blanks around a name are cut off, so that one person is not taken for two.
    """
    value = record[columns[field]] if field in columns else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise DataError(
            f"{field} is not a name: column {shorten(columns[field])} is {_kind(value)}",
            allowed="text or a whole number",
        )
    if value is not None and value.strip():
        return _text(value.strip(), "column", columns[field])
    if required:
        raise DataError(
            f"empty {field}: column {shorten(columns[field])} holds no name",
            allowed=f"a {field} in each record",
        )
    return None


def _text(value: object, what: str, which: str | int) -> str:
    """Let through text that can be written as UTF-8 and holds no NUL."""
    if isinstance(value, str) and "\0" not in value and (value.isascii() or _is_utf8(value)):
        return value
    where = f"{what} {shorten(which)}"
    if not isinstance(value, str):
        raise DataError(f"content is not text: {where} is {_kind(value)}", allowed="text")
    if "\0" in value:
        raise DataError(f"NUL character: in {where}", allowed="text without \\u0000")
    raise DataError(
        f"lone surrogate: {where} holds half a character",
        allowed="surrogates in pairs, such as \\ud83d\\ude00",
    )


def _is_utf8(text: str) -> bool:
    """Say whether a text can be written as UTF-8, which a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    """Name a value's kind in the words of JSON."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kinds = ((str, "text"), (int | float, "a number"), (list, "a list"), (Mapping, "an object"))
    return next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)
