"""Classifier-free guidance as LLaDA has it: away from what the model predicts without the context.

Axes: B rows, L tokens, n positions, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.models.diffusion_lm import DiffusionLM


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """unconditional + (scale + 1) (conditional - unconditional): scale 0 is the conditional prediction."""
    return torch.lerp(unconditional, conditional, 1 + scale)


def guided_logits(
    model: DiffusionLM,
    tokens_BL: Tensor,
    mask_BL: Tensor | None,
    position_Bn: Tensor,
    *,
    is_context: Tensor,
    scale: float,
) -> Tensor:
    """Logits (B, n, V) under guidance, by a second forward pass; the plain ones where `scale` is 0.

    is_context: bool (L,) or (B, L).
    """
    logits_BnV = model.logits(tokens_BL, mask_BL, position_Bn)
    if not scale:
        return logits_BnV
    blind_BL = torch.where(is_context, model.special.mask_id, tokens_BL)
    return guide(logits_BnV, model.logits(blind_BL, mask_BL, position_Bn), scale)
