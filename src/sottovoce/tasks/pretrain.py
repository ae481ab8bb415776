"""Plain text into blocks to pre-train on."""

from __future__ import annotations

import numpy as np

from sottovoce.errors import ConfigError
from sottovoce.model.tokenizer import Tokenizer
from sottovoce.train import Example


def encode_text(
    text: str, tokenizer: Tokenizer, block_length: int, *, owner: str | None = None
) -> list[Example]:
    """Cut a text into blocks in which every token but the first is a target.

    Each block begins with the token that ends the block before it, so that no token of the text
    goes unlearned at a seam.

    Args:
        text: any text; special tokens written in it count as such. Private.
        tokenizer: the base model's.
        block_length: most tokens of a block, at least 2.
        owner: whose text it is, where known.

    Guarantees:
        - every token of the text but the first is a target exactly once, in order;
        - every block but the last is ``block_length`` long, and the last has at least 2 tokens.

    Raises:
        ConfigError: ``block_length`` is below 2.
    """
    if block_length < 2:
        raise ConfigError(f"block_length is {block_length}", allowed="2 or more")
    tokens = np.array(tokenizer.encode(text), np.int32)
    blocks = [
        tokens[start : start + block_length]
        for start in range(0, len(tokens) - 1, block_length - 1)
    ]
    return [Example(block, np.arange(len(block)) > 0, owner) for block in blocks]
