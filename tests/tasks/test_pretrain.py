"""Plain text into blocks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sottovoce.errors import ConfigError
from sottovoce.tasks.pretrain import encode_text


def test_every_token_but_the_first_is_a_target_once(tokenizer):
    @given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(2, 9))
    def check(text, block_length):
        tokens = tokenizer.encode(text)
        blocks = encode_text(text, tokenizer, block_length)
        found = [token for block in blocks for token in block.tokens[block.supervised].tolist()]
        assert found == tokens[1:]
        assert all(len(block.tokens) == block_length for block in blocks[:-1])
        assert all(2 <= len(block.tokens) <= block_length for block in blocks)
        for block in blocks:
            assert block.supervised.tolist() == [False] + [True] * (len(block.tokens) - 1)
        for earlier, later in pairwise(blocks):
            assert later.tokens[0] == earlier.tokens[-1]

    check()


def test_a_block_knows_its_owner_and_types(tokenizer):
    (block,) = encode_text("<|text|>order", tokenizer, 99, owner="ada")
    assert block.tokens[0] == 7
    assert block.owner == "ada"
    assert block.tokens.dtype == np.int32
    assert block.supervised.dtype == np.bool_


def test_no_text_gives_no_block(tokenizer):
    assert encode_text("", tokenizer, 8) == []
    assert encode_text("<|text|>", tokenizer, 8) == []


def test_a_block_needs_two_tokens(tokenizer):
    with pytest.raises(ConfigError, match="block_length is 1"):
        encode_text("order", tokenizer, 1)
