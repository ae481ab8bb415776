"""Attention computed in float32 where a base model in bfloat16 runs on a CPU.

The matrix products of a CPU with bf16 instructions are about twice as fast in bfloat16, but
torch's attention is not: its backward pass takes three times as long as in float32 and eats what
the products gain (figures in benchmarks/LOG.md). Queries, keys and values are small beside the
products that made them, so they are converted, and the result is converted back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NAME = "sottovoce_float32_sdpa"
"""What the function is called among the attention functions of transformers."""


def use_float32_attention(model: nn.Module) -> bool:
    """Let a model in bfloat16 on a CPU attend in float32; say whether anything changed.

    Args:
        model: from transformers, changed in place.

    Edge cases: a model that is not in bfloat16, not on a CPU, or that does not use torch's scaled
    dot product attention stays as it is.

    Guarantees:
        - logits differ from the model's own by rounding alone.
    """
    config: Any = model.config
    parameter = next(model.parameters())
    on_cpu = parameter.device.type == "cpu" and parameter.dtype == torch.bfloat16
    if not on_cpu or config._attn_implementation != "sdpa":
        return False
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)  # type: ignore[operator]
    return True


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    seen, _ = sdpa_attention_forward(
        module, query.float(), key.float(), value.float(), attention_mask, **options
    )
    return seen.to(query.dtype), None
