"""The bundled base model and the scripts that make it."""

import hashlib
import importlib
import json
import math
import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from sottovoce.model.tokenizer import Tokenizer, load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "sottovoce" / "model" / "tiny"
SPECIALS = ["pad", "end", "system", "user", "assistant", "tool", "call", "text"]
# Held-out perplexity by language: the card's figure and some room for a small sample.
BOUND = {"en": 3.2, "zh": 4.0}


@pytest.fixture(scope="module")
def scripts():
    """Import the scripts that make the model, as they import one another."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        names = ("tiny_corpus", "train_tiny")
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(str(FOLDER))


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(FOLDER, local_files_only=True).eval()


def call(name, arguments):
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


CHAT = [
    {"role": "system", "content": "You work for Lumo Store."},
    {"role": "user", "content": "Where is A10427?"},
    {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [call("lookup_order", '{"order_id":"A10427"}')],
    },
    {"role": "tool", "content": '{"status":"已签收"}'},
    {"role": "assistant", "content": "It was delivered 🎉"},
]


def test_the_parameters_are_at_most_two_million_and_the_embeddings_are_tied(model):
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_895_840
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.architectures == ["LlamaForCausalLM"]


def test_the_weights_are_float32_and_take_at_most_twelve_megabytes(model):
    files = list(FOLDER.glob("*.safetensors"))
    assert [file.name for file in files] == ["model.safetensors"]
    assert files[0].stat().st_size <= 12_000_000
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_it_loads_from_the_folder_without_a_network(monkeypatch):
    def refuse(*_):
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert AutoModelForCausalLM.from_pretrained(FOLDER).config.vocab_size == 4096
    assert len(AutoTokenizer.from_pretrained(FOLDER)) == 4096


def test_the_special_tokens_have_the_ids_of_the_chat_format(tokenizer):
    assert tokenizer.encode("".join(f"<|{name}|>" for name in SPECIALS)) == list(range(8))
    assert (tokenizer.pad_id, tokenizer.eos_id) == (0, 1)


def test_model_and_tokenizer_agree_on_the_end(model, tokenizer):
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_id
    assert model.config.pad_token_id == tokenizer.pad_id
    assert model.config.vocab_size == tokenizer.vocabulary_size <= 4096


@pytest.mark.parametrize(
    ("message", "golden"),
    [
        (CHAT[0], "<|system|>You work for Lumo Store.<|end|>"),
        (CHAT[1], "<|user|>Where is A10427?<|end|>"),
        (
            CHAT[2],
            '<|assistant|>Let me see.<|call|>{"name":"lookup_order",'
            '"arguments":{"order_id":"A10427"}}<|end|>',
        ),
        (CHAT[3], '<|tool|>{"status":"已签收"}<|end|>'),
        (CHAT[4], "<|assistant|>It was delivered 🎉<|end|>"),
    ],
)
def test_each_role_is_rendered_as_the_chat_format_says(tokenizer, message, golden):
    assert tokenizer.vendor.apply_chat_template([message], tokenize=False) == golden
    assert tokenizer.render([message]) == golden


@pytest.mark.parametrize("content", ["", None])
def test_calls_without_words_are_rendered_one_after_another(tokenizer, content):
    message = {
        "role": "assistant",
        "content": content,
        "tool_calls": [call("查询", {"b": 2, "a": "退货"}), call("stop", {})],
    }
    assert tokenizer.vendor.apply_chat_template([message], tokenize=False) == (
        '<|assistant|><|call|>{"name":"查询","arguments":{"a":"退货","b":2}}'
        '<|call|>{"name":"stop","arguments":{}}<|end|>'
    )


def test_arguments_as_text_and_as_an_object_are_rendered_alike(tokenizer):
    as_text = {"role": "assistant", "content": "", "tool_calls": [call("f", '{"a":"é","b":[1,2]}')]}
    as_object = {
        "role": "assistant",
        "content": "",
        "tool_calls": [call("f", {"b": [1, 2], "a": "é"})],
    }
    render = tokenizer.vendor.apply_chat_template
    assert render([as_text], tokenize=False) == render([as_object], tokenize=False)


def test_the_generation_prompt_opens_an_assistant_turn(tokenizer):
    assert tokenizer.render(CHAT[:2], add_generation_prompt=True) == (
        tokenizer.render(CHAT[:2]) + "<|assistant|>"
    )


def test_an_unknown_role_is_refused(tokenizer):
    with pytest.raises(Exception, match="unknown role: robot"):
        tokenizer.vendor.apply_chat_template([{"role": "robot", "content": ""}], tokenize=False)


turns = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": st.text()},
        optional={"tool_calls": st.just([call("f", '{"a":1}')])},
    ),
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(messages=turns)
def test_more_turns_only_append_text(tokenizer, messages):
    whole = tokenizer.render(messages)
    parts = [tokenizer.render([message]) for message in messages]
    assert whole == "".join(parts)
    for count in range(len(messages) + 1):
        assert whole.startswith(tokenizer.render(messages[:count]))


@settings(max_examples=100, deadline=None)
@given(text=st.text())
def test_any_text_comes_back_from_its_ids(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text), keep_special=True) == text


@pytest.mark.parametrize(
    "text",
    [
        "Where is A10427?  Thanks!\n",
        " leading",
        "您好，订单A10427到哪了？",
        "👍🏽 café 龘",
        "\x00\t\r\n",
    ],
)
def test_english_chinese_and_emoji_come_back_from_their_ids(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text), keep_special=True) == text


def test_every_byte_has_a_token_and_none_is_unknown(tokenizer):
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocabulary = tokenizer.vendor.get_vocab()
    assert set(bytes_to_unicode().values()) <= set(vocabulary)
    assert tokenizer.vendor.unk_token is None


def test_digits_go_in_pairs_with_nothing_else(tokenizer):
    split = [tokenizer.decode([token]) for token in tokenizer.encode("A10427, 2030")]
    assert split == ["A", "10", "42", "7", ",", " ", "20", "30"]
    vocabulary = tokenizer.vendor.get_vocab()
    assert not any(re.search(r"\d\D|\D\d|\d{3}", token) for token in vocabulary)
    assert {f"{pair:02}" for pair in range(100)} <= set(vocabulary)
    assert tokenizer.encode("order") != tokenizer.encode(" order")


def test_everyday_words_are_no_byte_soup(tokenizer):
    english = "Where is my order? It should arrive on Monday and I want to return the kettle."
    assert len(tokenizer.encode(english)) <= 20
    assert len(tokenizer.encode("您好，我想问一下我的订单什么时候发货？谢谢。")) <= 14


def test_the_card_states_data_size_perplexity_and_command():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for piece in (
        "license: apache-2.0",
        "1,895,840 parameters",
        "| en | 300 |",
        "| zh | 300 |",
        "python scripts/train_tiny.py --out src/sottovoce/model/tiny",
    ):
        assert piece in card
    assert "{" not in card.replace('{"name":...,"arguments":{...}}', "")


def test_the_untrained_model_continues_a_repeated_sequence_of_random_tokens(scripts):
    """The initial weights hold the circuit; random ones would foretell nothing."""
    train = scripts["train_tiny"]
    once = torch.randint(300, 4096, (16, 40), generator=torch.Generator().manual_seed(0))
    rows = torch.cat([once, once], 1)
    with torch.no_grad():
        logits = train.build_model(1)(input_ids=rows).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none"
    ).view(16, 79)
    assert loss[:, :39].mean() > math.log(4096)
    assert loss[:, 40:].mean() < math.log(4096) - 3


def test_calls_hold_the_customers_own_number(scripts, model, tokenizer):
    """On documents of a seed that no training run has read; the card's figure is 98 of 100."""
    make, train = scripts["tiny_corpus"].make_document, scripts["train_tiny"]
    documents = (make(7, "heldout", index) for index in range(400))
    right, asked = train.copied_numbers(model, tokenizer.vendor, documents, 40)
    assert asked == 40
    assert right >= 36


def test_fresh_documents_are_foretold_far_better_than_by_a_unigram_model(scripts, model, tokenizer):
    """Documents of a seed and split that no training run has read."""
    make, train = scripts["tiny_corpus"].make_document, scripts["train_tiny"]
    documents = [make(7, "heldout", index) for index in range(60)]
    known = [make(7, "train", index) for index in range(400)]
    ids = [i for text in train.render(tokenizer.vendor, known) for i in tokenizer.encode(text)]
    counts = np.bincount(ids, minlength=4096) + 1.0
    for language, bound in BOUND.items():
        those = [document for document in documents if document.language == language]
        score = train.evaluate(model, tokenizer.vendor, those, counts / counts.sum())
        assert score.perplexity < bound
        assert score.assistant_perplexity < score.perplexity
        assert score.perplexity < score.unigram_perplexity / 20


def test_far_positions_are_foretold_no_worse_than_near_ones(scripts, model, tokenizer):
    make = scripts["tiny_corpus"].make_document
    texts = scripts["train_tiny"].render(
        tokenizer.vendor, [make(7, "heldout", index) for index in range(120)]
    )
    ids = [i for text in texts for i in tokenizer.encode(text)][: 4 * 1024]
    rows = torch.tensor(ids).reshape(4, 1024)
    with torch.no_grad():
        logits = model(input_ids=rows).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none"
    ).reshape(4, 1023)
    assert float(loss[:, 512:].mean()) < 1.1 * float(loss[:, 128:512].mean())


def test_the_evaluation_is_that_of_one_slow_pass(scripts, model, tokenizer):
    make, train = scripts["tiny_corpus"].make_document, scripts["train_tiny"]
    chats = [d for d in (make(3, "heldout", index) for index in range(50)) if d.messages]
    document = min(chats, key=lambda chat: len(str(chat.messages)))
    uniform = np.full(4096, 1 / 4096)
    score = train.evaluate(model, tokenizer.vendor, [document], uniform)
    ids = tokenizer.encode(tokenizer.render(document.messages))
    nats = 0.0
    for position in range(1, len(ids)):
        with torch.no_grad():
            row = model(input_ids=torch.tensor([ids[:position]])).logits[0, -1].double()
        nats -= float(torch.log_softmax(row, 0)[ids[position]])
    assert score.perplexity == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-4)
    assert score.unigram_perplexity == pytest.approx(4096)


def test_a_document_depends_on_nothing_but_its_address(scripts):
    make = scripts["tiny_corpus"].make_document
    alone = make(5, "train", 9)
    assert [make(5, "train", index) for index in range(12)][9] == alone
    assert len({str(make(seed, "train", 9)) for seed in range(5)}) == 5
    assert make(5, "heldout", 9) != alone


def test_chats_begin_with_a_question_or_a_brief_and_end_with_an_answer(scripts):
    make = scripts["tiny_corpus"].make_document
    documents = [make(1, "train", index) for index in range(300)]
    chats = [document.messages for document in documents if document.messages]
    assert len(chats) > 100
    for messages in chats:
        assert messages[0]["role"] in ("system", "user")
        assert messages[-1]["role"] == "assistant"
        for message in messages:
            for made in message.get("tool_calls", ()):
                assert isinstance(json.loads(made["function"]["arguments"]), dict)
    assert all(document.language == ("en", "zh")[i % 2] for i, document in enumerate(documents))
    assert all(bool(document.text) != bool(document.messages) for document in documents)


def test_every_pattern_of_the_grammars_can_be_written(scripts):
    corpus = scripts["tiny_corpus"]
    from sottovoce.data.grammar import expand
    from sottovoce.data.lexicon import KINDS, MATERIALS

    rng = np.random.default_rng(0)
    for language in ("en", "zh"):
        grammar = corpus.read_grammar(language)
        patterns = [
            *grammar.rules.values(),
            *grammar.documents,
            *(turn for scene in grammar.scenes for _, turn in scene),
            *(p for t in grammar.shop_topics for p in (t.fact, t.question, t.answer)),
            *(p for t in grammar.product_topics for p in (t.fact, t.question, t.answer)),
        ]
        slots = corpus.invent(rng, language)
        for pattern in patterns:
            for _ in range(5):
                written = expand(pattern, rng, grammar.rules, slots)
                assert not set("[]<>{}") & set(written)
        assert set(grammar.uses) == {kind.name.en for kind in KINDS}
        assert set(grammar.materials) == {material.en for material in MATERIALS}


def test_the_demo_market_is_never_asked(scripts):
    for file in (ROOT / "scripts").glob("t*.py"):
        assert "marketplace import" not in file.read_text(encoding="utf-8")


def test_the_rate_rises_then_falls_and_the_last_blocks_are_long(scripts):
    recipe = scripts["train_tiny"].Recipe(steps=1000, warm_up=100)
    rates = [recipe.rate_at(step) for step in range(1000)]
    assert rates[:100] == sorted(rates[:100])
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert max(rates) == pytest.approx(recipe.peak)
    assert rates[-1] == pytest.approx(recipe.peak / 20, rel=0.01)
    blocks = [recipe.block_at(step) for step in range(1000)]
    assert (blocks[0], blocks[919], blocks[920], blocks[-1]) == (256, 256, 1024, 1024)


def test_learning_in_chunks_gives_the_gradient_of_the_whole_loss(scripts):
    train = scripts["train_tiny"]
    fast, slow = train.build_model(1), train.build_model(1)
    rows = torch.randint(8, 4096, (6, 256), generator=torch.Generator().manual_seed(0))
    loss = train.learn(fast, rows)
    judge = slow(input_ids=rows, labels=rows).loss
    judge.backward()
    assert loss == pytest.approx(float(judge.detach()), rel=1e-5)
    for left, right in zip(fast.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad, rtol=1e-4, atol=1e-6)


def test_the_same_seed_trains_the_same_weights(scripts, tokenizer):
    train = scripts["train_tiny"]
    recipe = train.Recipe(steps=3, tokens_per_step=1024, warm_up=2)
    tokens = train.pack(tokenizer.vendor, 1, 3 * 1024)
    assert len(tokens) == 3 * 1024
    assert np.array_equal(tokens, train.pack(tokenizer.vendor, 1, 3 * 1024))
    first, second = train.build_model(1), train.build_model(1)
    untrained = first.model.embed_tokens.weight.detach().clone()
    assert [train.fit(model, tokens, recipe) for model in (first, second)] == [3, 3]
    assert not torch.equal(first.model.embed_tokens.weight, untrained)
    for left, right in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(left, right)
    other = train.build_model(2).model.embed_tokens.weight
    assert not torch.equal(other, untrained)


def test_training_stops_at_the_limit_of_seconds(scripts):
    train = scripts["train_tiny"]
    recipe = train.Recipe(steps=5, tokens_per_step=256)
    tokens = np.full(5 * 256, 9, np.int64)
    assert train.fit(train.build_model(1), tokens, recipe, seconds_limit=0.0) == 1


@pytest.mark.slow
def test_the_same_texts_give_the_same_tokenizer(scripts, tokenizer):
    """Made again in full, it is the bundled one; the corpus is what the card's digest says."""
    train = scripts["train_tiny"]
    portions = train.corpus(train.SEED, "train", train.TOKENIZER_DOCUMENTS)
    texts = (text for part in portions for text in train.render(tokenizer.vendor, part))
    made = train.train_tokenizer(texts)
    assert made.get_vocab() == tokenizer.vendor.get_vocab()
    recipe = train.Recipe()
    tokens = train.pack(made, train.SEED, recipe.steps * recipe.tokens_per_step)
    digest = hashlib.sha256(tokens.astype("<u2").tobytes()).hexdigest()
    assert digest in (FOLDER / "README.md").read_text(encoding="utf-8")
