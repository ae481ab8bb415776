"""A byte-level tokenizer in the bundled chat format, small enough to train for the tests."""

import copy

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from sottovoce.model.tokenizer import Tokenizer

SPECIAL = ["pad", "end", "system", "user", "assistant", "tool", "call", "text"]
TEXT = [
    "Where is my order? It left our shop today and arrives tomorrow.",
    '{"name":"find","arguments":{"id":"7"}} {"status":"sent"}',
    "我的订单在哪里？您的订单今天已经发货，明天送达。",
]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% for c in m.tool_calls %}<|call|>"
    "{{ {'name': c.function.name, 'arguments': c.function.arguments}"
    " | tojson(separators=(',', ':')) }}"
    "{% endfor %}<|end|>{% endgeneration %}{% else %}{{ m.content }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer():
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[f"<|{name}|>" for name in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXT * 4, trainer)
    vendor = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|end|>", pad_token="<|pad|>", chat_template=TEMPLATE
    )
    return Tokenizer(vendor)


@pytest.fixture(scope="session")
def byte_fallback():
    """A tokenizer in the manner of SentencePiece: unknown characters become their bytes."""
    names = [f"<|{name}|>" for name in SPECIAL] + [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {name: at for at, name in enumerate([*names, *"▁abcdefghijklmnopqrstuvwxyz"])}
    backend = Backend(models.BPE(vocabulary, [], byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    vendor = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|end|>",
        chat_template=TEMPLATE,
        extra_special_tokens=["<|user|>", "<|assistant|>"],
    )
    return Tokenizer(vendor)


@pytest.fixture(scope="session")
def with_template(tokenizer):
    def change(template):
        vendor = copy.deepcopy(tokenizer.vendor)
        vendor.chat_template = template
        return Tokenizer(vendor)

    return change
