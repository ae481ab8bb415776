"""Base models: load any causal language model of transformers and find its parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field
from safetensors import SafetensorError
from torch import Tensor, nn

from sottovoce.errors import MissingExtraError, ModelError
from sottovoce.model.attention import use_float32_attention
from sottovoce.model.grouped import GroupedLinear
from sottovoce.model.head import Head


class LoraSettings(BaseModel, frozen=True, extra="forbid"):
    """The adapter; the configuration section ``[model.lora]``.

    Args:
        rank: r, the inner dimension.
        alpha: the adapter's term is multiplied by s = alpha / rank.
        targets: ``"all-linear"`` (every linear layer but the head) or the ends of module names.
    """

    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"

    @property
    def scaling(self) -> float:
        """S = alpha / rank."""
        return self.alpha / self.rank


class ModelSettings(BaseModel, frozen=True, extra="forbid"):
    """Which base model, and what of it is trained; the configuration section ``[model]``.

    Args:
        path: ``"tiny"`` (bundled), a folder, or the name of a model on a hub.
        train: adapters only, or all parameters.
        dtype: the precision in which the frozen base is held.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
        allow_download: whether a name that is no folder may be fetched from a hub.
    """

    path: str = "tiny"
    train: Literal["lora", "full"] = "lora"
    dtype: Literal["float32", "bfloat16", "4bit"] = "float32"
    device: str = "cpu"
    allow_download: bool = False
    lora: LoraSettings = LoraSettings()


@dataclass(frozen=True)
class Base:
    """A loaded base model and the two parts that training needs.

    Args:
        model: the transformers model, every dropout at zero, every parameter frozen unless all are
            trained.
        backbone: what turns token ids into last hidden states.
        head: what turns hidden states into logits.
        path: the folder or name that it was loaded from.
        device: where it lies.
    """

    model: nn.Module
    backbone: nn.Module
    head: Head
    path: str
    device: torch.device

    def hidden(self, tokens: Tensor) -> Tensor:
        """Last hidden states ``[N, L, d]`` of right-padded ids ``[N, L]``.

        Padding stands on the right and attention is causal, so no real position ever sees it and
        no mask is needed.
        """
        states: Tensor = self.backbone(input_ids=tokens, use_cache=False).last_hidden_state
        return states


def model_folder(path: str) -> str:
    """The folder of the bundled model for ``"tiny"``, else ``path`` as it is."""
    if path == "tiny":
        return str(resources.files("sottovoce.model") / "tiny")
    return str(Path(path).expanduser()) if Path(path).expanduser().exists() else path


def local_folder(path_or_name: str) -> str:
    """Find a model on this machine: a folder as it is, a hub name where it was downloaded to.

    The hub's client must not be asked by name when nothing may be sent: even for what it has on
    disk it can ask its server which program is calling.

    Raises:
        ModelError: there is no such folder and no downloaded model of this name.
    """
    from huggingface_hub import try_to_load_from_cache

    if Path(path_or_name).is_dir():
        return path_or_name
    for file in ("config.json", "tokenizer_config.json", "tokenizer.json"):
        try:
            found = try_to_load_from_cache(path_or_name, file)
        except ValueError:  # no hub name has this form
            break
        if isinstance(found, str):
            return str(Path(found).parent)
    raise ModelError(
        f"{path_or_name} is neither a folder nor a model that was downloaded before",
        allowed='"tiny", a model folder, or a hub name with model.allow_download = true',
    )


def load_base(settings: ModelSettings) -> Base:
    """Load, freeze and check a causal language model.

    Args:
        settings: the section ``[model]``.

    Raises:
        ModelError: there is no such folder, it is no causal language model, its weights are
            incomplete, or its logits are not its head applied to its last hidden states.
        MissingExtraError: 4-bit without bitsandbytes.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = model_folder(settings.path)
    if not settings.allow_download:
        folder = local_folder(folder)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=not settings.allow_download,
            trust_remote_code=False,
            output_loading_info=True,
            **_precision(settings),
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{settings.path} could not be loaded as a causal language model: {_first_line(error)}",
            remedy="Point model.path at a folder with config.json and *.safetensors",
        ) from error
    if report["missing_keys"]:
        raise ModelError(
            f"the weights of {settings.path} lack {', '.join(sorted(report['missing_keys'])[:3])}",
            remedy="Copy the model's files again; what is missing would be random numbers",
        )
    if settings.dtype != "4bit":
        model.to(_device(settings.device))
    return wrap_base(model, settings.path, trainable=settings.train == "full")


def wrap_base(model: Any, path: str, *, trainable: bool = False) -> Base:
    """Freeze a transformers model that is already in memory and find its backbone and head."""
    for parameter in model.parameters():
        parameter.requires_grad_(trainable)
    _silence_dropout(model)
    # Recomputing activations needs training mode, so evaluation mode would not do.
    model.train()
    use_float32_attention(model)
    backbone = getattr(model, model.base_model_prefix, None)
    output = model.get_output_embeddings()
    if not isinstance(backbone, nn.Module) or not isinstance(output, nn.Linear):
        raise ModelError(
            f"{path} ({type(model).__name__}) has no separate backbone and linear head",
            allowed="decoder-only causal language models such as Llama, Qwen, Gemma, Mistral, GPT-2",
        )
    softcap = getattr(model.config, "final_logit_softcapping", None)
    base = Base(
        model, backbone, Head(output.weight, output.bias, softcap), path, output.weight.device
    )
    _check_head(base)
    return base


def checkpoint_activations(base: Base) -> None:
    """Recompute activations in the backward pass instead of storing them.

    Raises:
        ModelError: the architecture has no layers that can be recomputed.
    """
    model: Any = base.model
    # Newer transformers know the first name and warn at the second; older ones know the second.
    enable = getattr(model, "activation_checkpointing_enable", None)
    enable = enable or model.gradient_checkpointing_enable
    try:
        # The other mode needs an input with a gradient, which a frozen embedding never gives.
        enable({"use_reentrant": False})
    except ValueError as error:
        raise ModelError(
            f"{base.path} cannot recompute activations: {_first_line(error)}",
            remedy="Set train.gradient_checkpointing = false",
        ) from error


def fingerprint(base: Base) -> str:
    """SHA-256 over names, shapes, types and bytes of all that a checkpoint of the model holds.

    Guarantees:
        - adapters on the model, and which layers have some, change nothing.
    """
    digest = hashlib.sha256()
    inner = [f"{n}." for n, m in base.model.named_modules() if isinstance(m, GroupedLinear)]
    adapted = {f"{name}base.": name for name in inner}

    def plain(name: str) -> str:
        parent, _, child = name.rpartition(".")
        return adapted[f"{parent}."] + child if f"{parent}." in adapted else name

    named = {plain(name): tensor for name, tensor in base.model.state_dict().items()}
    for name, tensor in sorted(named.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _precision(settings: ModelSettings) -> dict[str, Any]:
    if settings.dtype != "4bit":
        return {"dtype": getattr(torch, settings.dtype)}
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError("bitsandbytes", extra="quantised")
    from transformers import BitsAndBytesConfig

    return {
        "dtype": torch.bfloat16,
        "device_map": {"": settings.device},
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
    }


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"model.device is {name!r}: {_first_line(error)}",
            allowed='"cpu", or a device that is here',
        ) from error
    return device


def _silence_dropout(model: nn.Module) -> None:
    """Set every dropout and jitter to zero: a mask shared by a pass would tie its clients.

    Architectures keep the rate where they please: in a layer, on a module, in the configuration.
    """
    holders: dict[int, object] = {id(module): module for module in model.modules()}
    configs = [getattr(module, "config", None) for module in model.modules()]
    holders.update({id(config): config for config in configs if config is not None})
    for holder in holders.values():
        for name, value in list(vars(holder).items()):
            rate = "drop" in name or "jitter" in name or isinstance(holder, nn.Dropout)
            if rate and isinstance(value, float):
                setattr(holder, name, 0.0)


@torch.no_grad()
def _check_head(base: Base) -> None:
    """Compare our logits with the model's own on a few tokens, so that no head is half supported."""
    size = base.head.weight.shape[0]
    tokens = torch.arange(8, device=base.device)[None] % size
    wanted = base.model(input_ids=tokens, use_cache=False).logits[0].float()
    logits = base.head.logits(base.hidden(tokens)[0])
    tolerance = 1e-3 if wanted.dtype == base.head.weight.dtype else 5e-2
    if not torch.allclose(logits, wanted, rtol=tolerance, atol=tolerance):
        raise ModelError(
            f"{base.path} ({type(base.model).__name__}) changes its logits after the head",
            allowed="models whose logits are the head applied to the last hidden states",
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
