"""Tiny random models built in memory, and the same adapters held by peft to judge ours."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

VOCABULARY = 211


def _config(name, changes):
    """A configuration with two layers and weights large enough that every term counts."""
    import transformers as tf

    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    common = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        **special,
    }
    gemma = {"head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8}
    gpt2 = {
        "vocab_size": VOCABULARY,
        "n_positions": 64,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "initializer_range": 0.2,
        "bos_token_id": 1,
        "eos_token_id": 1,
    }
    kinds = {
        "llama": (tf.LlamaConfig, common),
        "qwen3": (tf.Qwen3Config, common | {"head_dim": 8}),
        "gemma2": (tf.Gemma2Config, common | gemma | {"final_logit_softcapping": 3.0}),
        "gemma3": (
            tf.Gemma3TextConfig,
            common | gemma | {"layer_types": ["sliding_attention", "full_attention"]},
        ),
        "mistral": (tf.MistralConfig, common | {"head_dim": 8, "sliding_window": 6}),
        "phi3": (tf.Phi3Config, common),
        "gpt2": (tf.GPT2Config, gpt2),
        "starcoder2": (tf.Starcoder2Config, common),
        "mixtral": (tf.MixtralConfig, common | {"head_dim": 8, "num_local_experts": 4}),
        "cohere": (tf.CohereConfig, common),
        "granite": (tf.GraniteConfig, common),
        "mamba": (
            tf.MambaConfig,
            {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 1} | special,
        ),
    }
    kind, settings = kinds[name]
    return kind(**(settings | changes))


@pytest.fixture(scope="session", params=["llama", "qwen3", "gemma3", "mistral", "phi3", "gpt2"])
def architecture(request):
    """Each architecture that is proven to work, by name."""
    return request.param


@pytest.fixture(scope="session")
def tiny():
    """Build a tiny causal language model: ``tiny("llama", seed=0, **changes)``."""
    import torch
    from transformers import AutoModelForCausalLM

    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def build(name, seed=0, dtype=torch.float32, **changes):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(_config(name, changes))
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    # Norms of one and biases of zero would hide a lost norm or bias.
                    parameter.data += 0.1 * torch.randn_like(parameter)
        return model.to(dtype)

    yield build
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def attach(tiny):
    """Attach our adapters to a tiny model: ``attach("llama", LoraSettings(...), **changes)``."""
    from sottovoce.model.adapters import LoraModel
    from sottovoce.model.base import LoraSettings, wrap_base

    def build(name="llama", settings=None, **changes):
        base = wrap_base(tiny(name, **changes), name)
        return LoraModel(base, settings or LoraSettings(rank=4, alpha=8))

    return build


@pytest.fixture(scope="session")
def random_row():
    """A row of adapter weights, ``[D]``, whose B is not zero, so that A has a gradient too."""

    def draw(model, seed=0):
        noise = np.random.default_rng(seed).normal(0, 0.1, model.layout.size)
        return (model.initial(seed) + noise).astype(np.float32)

    return draw


@pytest.fixture(scope="session")
def make_client():
    """A client with random token sequences of given lengths, some positions not supervised."""
    from sottovoce.train import Client, Example

    def build(name, lengths, seed=0, supervised=0.7):
        rng = np.random.default_rng([seed, *name.encode()])
        examples = []
        for length in lengths:
            marks = rng.random(length) < supervised
            marks[0], marks[-1] = False, True
            tokens = rng.integers(2, VOCABULARY, length).astype(np.int32)
            examples.append(Example(tokens, marks))
        return Client(name, tuple(examples))

    return build


@pytest.fixture(scope="session")
def five(make_client):
    """Clients with other numbers of examples, other lengths, and one with nothing at all."""
    lengths = {
        "berlin": [9, 20, 8, 13, 17, 11, 10],
        "lyon": [24],
        "oslo": [8, 8, 15, 22, 9, 10, 12, 18, 11, 14],
        "empty": [],
        "rome": [12, 19, 8, 16],
    }
    return [make_client(name, sizes) for name, sizes in lengths.items()]


@pytest.fixture(scope="session")
def with_peft():
    """The outside judge: one adapter of ours, ``[D]``, held by peft on a model of its own."""
    import torch
    from peft import LoraConfig, get_peft_model

    from sottovoce.update import Layout, unflatten

    def build(vendor, settings, row, layout: Layout):
        targets = settings.targets if isinstance(settings.targets, str) else list(settings.targets)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            target_modules=targets,
            lora_dropout=0.0,
            fan_in_fan_out=vendor.config.model_type == "gpt2",
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(vendor, config)
        adapter = {
            name.replace(".default", ""): parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        tensors = unflatten(np.asarray(row, np.float32), layout)
        assert set(adapter) == set(tensors)
        with torch.no_grad():
            for name, parameter in adapter.items():
                parameter.copy_(torch.from_numpy(tensors[name].copy()))
        model.eval()
        # In the order of our layout, so that flat vectors can be compared.
        return model, [adapter[name] for name in layout.shapes]

    return build


class _Spy:
    """A trainable model that remembers the batches it was handed since the last ``drain``."""

    def __init__(self, model):
        self.model = model
        self.seen = []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def gradients(self, weights, batch, out):
        self.seen.append(_Seen(batch.tokens.clone(), batch.targets.clone(), batch.scale.clone()))
        return self.model.gradients(weights, batch, out)

    def score(self, weights, batch):
        self.seen.append(_Seen(batch.tokens, batch.targets, batch.scale))
        return self.model.score(weights, batch)

    def drain(self):
        seen, self.seen = self.seen, []
        return seen


@dataclass(frozen=True)
class _Seen:
    tokens: Any
    targets: Any
    scale: Any

    def rows(self):
        """The sequences of this pass, without padding rows and padding tokens."""
        return [
            tuple(int(token) for token in row if token)
            for row, weight in zip(
                self.tokens.flatten(0, -2), self.scale.flatten().tolist(), strict=True
            )
            if weight
        ]


@pytest.fixture(scope="session")
def spy():
    """Watch what a model is handed: ``spy(model)``, then ``.drain()``."""
    return _Spy


@pytest.fixture
def sotto(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; exit code, standard output, standard error."""
    from sottovoce import cli

    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["sotto", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        caught = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), caught.out, caught.err

    return call
