"""Adapters and models on disk: the PEFT format and merged checkpoints, as others read them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from sottovoce.errors import ModelError, SottovoceError, UsageError
from sottovoce.model.adapters import LoraModel, factor_names
from sottovoce.model.base import Base, LoraSettings, model_folder
from sottovoce.model.full import FullModel
from sottovoce.update import Tensors, unflatten


def write_peft(tensors: Tensors, model: LoraModel, folder: Path) -> None:
    """Write an adapter folder that peft, vLLM and others load.

    Args:
        tensors: the adapter, under the names of ``model.layout``.
        model: what it belongs to; its rank, alpha and targets are written beside it.
        folder: made where it is missing; nothing half-written stays in it.

    Guarantees: ``peft.PeftModel.from_pretrained(base, folder)`` gives the same logits.
    """
    model.layout.check(tensors)
    write_adapter(tensors, peft_config(model), folder)


def peft_config(model: LoraModel) -> dict[str, Any]:
    """What stands beside an adapter of this model: plain JSON values."""
    path = model.base.path
    return {
        "base_model_name_or_path": path if path == "tiny" else model_folder(path),
        "bias": "none",
        "fan_in_fan_out": any(model.is_transposed(name) for name in model.targets),
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": model.settings.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": model.settings.rank,
        "target_modules": sorted(model.targets),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }


def write_adapter(tensors: Tensors, config: Mapping[str, Any], folder: Path) -> None:
    """Write an adapter folder from what ``peft_config`` said of its model, which is not needed."""

    def write(target: Path) -> None:
        _save(tensors, target / "adapter_model.safetensors")
        text = json.dumps(config, indent=2, sort_keys=True)
        (target / "adapter_config.json").write_text(text + "\n", encoding="utf-8")

    _into_folder(folder, write)


def read_peft(folder: Path) -> tuple[dict[str, NDArray[np.float32]], LoraSettings]:
    """Read an adapter folder; the inverse of ``write_peft`` up to the base model's path.

    Raises:
        ModelError: there is no adapter, or one that computes something else than plain LoRA.
    """
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise ModelError(f"{folder} holds no adapter_config.json", allowed="a PEFT adapter folder")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        for key, plain in _PLAIN.items():
            if config.get(key) not in plain:
                raise ModelError(
                    f"{key} is {config.get(key)!r} in {path}", allowed=f"{plain[-1]!r}: plain LoRA"
                )
        if not isinstance(config["target_modules"], list):
            raise ModelError(
                f"target_modules is {config['target_modules']!r} in {path}",
                allowed="a list of module names",
            )
        settings = LoraSettings(
            rank=config["r"], alpha=config["lora_alpha"], targets=tuple(config["target_modules"])
        )
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(
            f"{path} does not describe an adapter: {type(error).__name__} {error}",
            remedy="Export the adapter again",
        ) from error
    return load_file(folder / "adapter_model.safetensors"), settings


_PLAIN: Mapping[str, tuple[object, ...]] = {
    "peft_type": ("LORA",),
    "use_dora": (None, False),
    "use_rslora": (None, False),
    "bias": (None, "none"),
    "modules_to_save": ([], None),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
}
"""What must stand in an adapter's configuration for A and B to be all there is to it."""


def write_merged(
    weights: NDArray[np.float32],
    model: LoraModel | FullModel,
    folder: Path,
    save_tokenizer: Callable[[Path], None],
) -> None:
    """Write a complete checkpoint with the trained weights merged in.

    W' = W + s·B A for every adapted layer, in float32, then in the base model's precision.

    Args:
        weights: one row of ``model``, ``[D]``.
        model: the model it belongs to.
        folder: made where it is missing; nothing half-written stays in it.
        save_tokenizer: writes the tokenizer's files into a folder.
    """
    tensors = unflatten(weights, model.layout)
    state = merged_state(tensors, model)

    def write(target: Path) -> None:
        model.base.model.save_pretrained(target, state_dict=state)  # type: ignore[operator]
        save_tokenizer(target)

    _into_folder(folder, write)


@torch.no_grad()
def merged_state(tensors: Tensors, model: LoraModel | FullModel) -> dict[str, torch.Tensor]:
    """The base model's state with the trained weights merged in, under its own names."""
    if isinstance(model, FullModel):
        state = dict(model.base.model.state_dict())
        state.update({name: torch.from_numpy(value.copy()) for name, value in tensors.items()})
        return _tie(state, model.base)
    state = {
        name.replace(".base.weight", ".weight").replace(".base.bias", ".bias"): value
        for name, value in model.base.model.state_dict().items()
    }
    for name in model.targets:
        a, b = (torch.from_numpy(np.asarray(tensors[key])) for key in factor_names(name))
        weight = state[f"{name}.weight"]
        product = model.settings.scaling * (b @ a)
        if model.is_transposed(name):
            product = product.t()
        if weight.shape != product.shape:
            raise ModelError(
                f"{name} is held in 4 bits and cannot be merged",
                remedy='Export with --to peft, or run with model.dtype = "bfloat16"',
            )
        state[f"{name}.weight"] = (weight.float().cpu() + product).to(weight.dtype)
    return state


def _tie(state: dict[str, torch.Tensor], base: Base) -> dict[str, torch.Tensor]:
    """Let tied names of the state point at the trained tensor."""
    tied = getattr(base.model, "all_tied_weights_keys", None) or {}
    for name, source in tied.items():
        if source in state:
            state[name] = state[source]
    return state


def _save(tensors: Tensors, path: Path) -> None:
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path)


def _into_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write into a fresh sibling folder, then move its files into place.

    Shards of an earlier, larger export of the same name are removed: a loader would take them for
    part of this one. Other files stay.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", allowed="a folder to write into")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        try:
            write(Path(name))
        except SafetensorError as error:  # its own type for a disk that refuses
            raise SottovoceError(
                f"{folder} cannot be written: {error}",
                remedy="Make room or give leave to write there; a run goes on with --resume",
            ) from error
        written = sorted(Path(name).iterdir())
        for path in written:
            path.replace(folder / path.name)
        for kind in {path.name.partition("-")[0].partition(".")[0] for path in written}:
            shards = folder.glob(f"{kind}-*-of-*.safetensors")
            for stale in {*shards, folder / f"{kind}.safetensors.index.json"}:
                if stale.name not in {path.name for path in written}:
                    stale.unlink(missing_ok=True)


def adapter_tensors(
    weights: NDArray[np.float32], model: LoraModel | FullModel
) -> Mapping[str, NDArray[np.float32]]:
    """One row of weights as named tensors."""
    return unflatten(weights, model.layout)
