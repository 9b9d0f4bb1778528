"""Which tokens may attend to which: a property of the family of models."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

GIVEN_MASK = "harness-given-mask"
"""The name of torch's scaled dot-product attention with the mask that it is given, or none. Under its own name, sdpa,
transformers makes masks: it looks at their values, which a GPU has to be waited for, and where a pass is captured it
makes one that lets everything through, which keeps the fastest kernels from being used."""
AttentionInterface.register(GIVEN_MASK, sdpa_attention_forward)

AttentionPattern = Callable[[Tensor | None], Tensor | None]
"""The mask for transformers, true where a query (third axis) may attend to a key (fourth), of the mask (B, L) of tokens
that are no padding; None lets every token attend to every other."""


def full_attention(mask_BL: Tensor | None) -> Tensor | None:
    """Every token attends to all tokens but padding: (B, 1, L, L), or None where nothing is padded."""
    return None if mask_BL is None else mask_BL[:, None, None, :].expand(-1, 1, mask_BL.shape[1], -1)
