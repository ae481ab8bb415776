"""The tokenizer of a base model: from messages to text, from text to ids, and back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sottovoce.errors import ModelError
from sottovoce.model.base import local_folder

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

DEFAULT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls %}<tool_call>"
    "{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}"
    "</tool_call>{% endfor %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant\n{% endif %}"
)
"""For models without a chat template, such as GPT-2; rendering more turns only appends text."""

_PROBE = "probe"


@dataclass(frozen=True)
class Tokenizer:
    """A fast tokenizer and its chat template.

    Args:
        vendor: the tokenizer as transformers loads it. Public, as everything here is.

    Guarantees:
        - ``encode`` adds no token of its own: the template writes them all;
        - ``decode(encode(text), keep_special=True)`` is ``text`` for every byte-level tokenizer
          that does not normalise.
    """

    vendor: PreTrainedTokenizerFast

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Write messages as the text that the model reads.

        Args:
            messages: in OpenAI form, tool arguments as JSON text; may be empty.
            add_generation_prompt: end with the header under which the assistant answers.
            tools: what may be called, in OpenAI form, for templates that write it down.

        Guarantees:
            - nobody ends a turn or opens another by writing a special token: one that stands in a
              message gets a space after its first character, which makes it plain text.

        Raises:
            ModelError: the model's template refuses these messages, or arguments are no JSON.
        """
        try:
            # A batch of one, because a lone conversation without messages is refused.
            rendered = self.vendor.apply_chat_template(
                [[self._readable(message) for message in messages]],
                tools=[self._readable(tool) for tool in tools] or None,
                chat_template=None if self.vendor.chat_template else DEFAULT_TEMPLATE,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
            )
        except Exception as error:  # a template is foreign code and may raise anything
            raise ModelError(
                f"the chat template refuses messages with the roles "
                f"{[message.get('role') for message in messages]}: {error}",
                remedy="Change the conversations, or the chat_template in the model folder",
            ) from error
        return str(rendered[0])

    def _readable(self, message: Mapping[str, Any]) -> Any:
        parsed = _with_parsed_arguments(message)
        return _disarmed(parsed, self._specials) if self._specials else parsed

    @cached_property
    def _specials(self) -> re.Pattern[str] | None:
        """Finds the tokens that the template alone may write; None where there are none."""
        added = self.vendor.added_tokens_decoder.values()
        names = sorted((t.content for t in added if t.special and len(t.content) > 1), key=len)
        return re.compile("|".join(map(re.escape, reversed(names)))) if names else None

    def encode(self, text: str) -> list[int]:
        """Turn text into ids; special tokens written in the text become their one id."""
        return self.encode_with_offsets(text)[0]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Turn text into ids, and say which characters of the text each id stands for.

        Returns:
            ids, and for each the first character and the one past the last. Where a character
            takes several ids, all of them begin at this character.
        """
        encoded = self.vendor.backend_tokenizer.encode(text, add_special_tokens=False)
        return list(encoded.ids), list(encoded.offsets)

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """Turn ids back into text, without the special tokens unless they are asked for."""
        text = self.vendor.backend_tokenizer.decode(
            [int(token) for token in ids], skip_special_tokens=not keep_special
        )
        return str(text)

    @cached_property
    def eos_id(self) -> int:
        """The id that ends an assistant turn; generation stops there.

        Read from the chat template, because chat models often end a turn with another token than
        the one that their tokenizer calls the end of a sequence.

        Raises:
            ModelError: neither the template nor the tokenizer names one.
        """
        turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _PROBE}]
        _, answer, tail = self.render(turn).rpartition(_PROBE)
        added = self.vendor.added_tokens_decoder
        for token in self.encode(tail) if answer else []:
            if token in added and added[token].content.strip():
                return token
        if self.vendor.eos_token_id is None:
            raise ModelError(
                "the tokenizer has no token that ends an assistant turn",
                remedy="Set eos_token in the model folder's tokenizer_config.json",
            )
        return int(self.vendor.eos_token_id)

    @cached_property
    def pad_id(self) -> int:
        """The id that fills short sequences; ``eos_id`` where the model has none of its own."""
        pad = self.vendor.pad_token_id
        return self.eos_id if pad is None else int(pad)

    @cached_property
    def vocabulary_size(self) -> int:
        """How many ids there are, added tokens included."""
        return len(self.vendor)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the serialised tokenizer, its special tokens and its chat template.

        Two tokenizers with one fingerprint turn every conversation into the same ids.
        """
        parts = {
            "tokenizer": self.vendor.backend_tokenizer.to_str(),
            "special": {key: str(value) for key, value in self.vendor.special_tokens_map.items()},
            "template": self.vendor.chat_template or DEFAULT_TEMPLATE,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_tokenizer(path_or_name: str, *, offline: bool = True) -> Tokenizer:
    """Load the tokenizer of a model folder or of a named hub model.

    Args:
        path_or_name: a folder, or a hub name.
        offline: use only what is on this machine; False lets a hub name be downloaded.

    Raises:
        ModelError: there is no tokenizer, it cannot be read, or it is a slow one.
    """
    from transformers import AutoTokenizer

    place = local_folder(path_or_name) if offline else path_or_name
    try:
        vendor = AutoTokenizer.from_pretrained(
            place, local_files_only=offline, trust_remote_code=False
        )
    except Exception as error:  # broken files surface as whatever the parser raises
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"no tokenizer could be loaded from {path_or_name} ({reason})",
            allowed="a model folder with a tokenizer.json, or the name of a hub model",
        ) from error
    if not vendor.is_fast:
        raise ModelError(
            f"{path_or_name} has the slow tokenizer {type(vendor).__name__}, "
            "which cannot say where a token stands in the text",
            allowed="a fast tokenizer",
            remedy="Convert it to a tokenizer.json, or choose a model that has one",
        )
    # A file may ask for cuts and padding; sequences here are cut between turns and padded later.
    vendor.backend_tokenizer.no_truncation()
    vendor.backend_tokenizer.no_padding()
    return Tokenizer(vendor)


def _disarmed(value: Any, specials: re.Pattern[str]) -> Any:
    """The same value with a space inside every special token that some text of it holds."""
    if isinstance(value, str):
        return specials.sub(lambda found: f"{found[0][0]} {found[0][1:]}", value)
    if isinstance(value, Mapping):
        return {_disarmed(key, specials): _disarmed(one, specials) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_disarmed(one, specials) for one in value]
    return value


def _with_parsed_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """Read each call's arguments from JSON text: templates write them out themselves."""
    calls = message.get("tool_calls")
    if not calls:
        return dict(message)
    parsed = [
        {**call, "function": {**function, "arguments": json.loads(function["arguments"])}}
        for call in calls
        for function in [call["function"]]
    ]
    return {**message, "tool_calls": parsed}
