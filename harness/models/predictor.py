"""The network itself: hidden states aligned with the tokens that they predict, and logits.

Axes: B rows, L tokens, M = 2 L, n asked positions, V vocabulary, d hidden width. Dream, whose raw output at i predicts
token i + 1, is shifted here and nowhere else.
"""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harness.models.attention import FULL, Attention

GIVEN_MASK = "harness-given-mask"
"""The name of torch's scaled dot-product attention with the mask that it is given, or none. Under its own name, sdpa,
transformers makes masks: it looks at their values, which a GPU has to be waited for, and where a pass is captured it
makes one that lets everything through, which keeps the fastest kernels from being used."""
AttentionInterface.register(GIVEN_MASK, sdpa_attention_forward)


class MaskedPredictor(nn.Module):
    """Trunk and head as one module, so that accelerate can wrap it and gradients synchronise through `forward`."""

    def __init__(self, model: PreTrainedModel | PeftModel, *, shift: bool, attention: Attention = FULL) -> None:
        super().__init__()
        self.model = model
        self.shift = shift
        self.attention = attention
        if isinstance(self.transformer, PreTrainedModel):  # and not the table that `harness diagnose` enumerates
            self.transformer.set_attn_implementation(GIVEN_MASK)
        # transformers freezes the padding token's embedding; here that token also ends completions, and has to learn.
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.padding_idx = None

    @property
    def transformer(self) -> PreTrainedModel:
        """The transformers model below any adapter."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    def hidden(self, tokens_BL: Tensor, mask_BL: Tensor | None, clean_BL: Tensor | None = None) -> Tensor:
        """Final normalised hidden states (B, L, d), aligned with the tokens that they predict. clean_BL: as in
        DiffusionLM."""
        length = tokens_BL.shape[1]
        if clean_BL is not None and self.attention.block_length:
            hidden_BMd = self.transformer.model(
                input_ids=torch.cat([tokens_BL, clean_BL], 1),
                attention_mask=self.attention.mask_beside_clean(mask_BL, length, tokens_BL.device),
                position_ids=torch.arange(length, device=tokens_BL.device).repeat(2)[None],
            ).last_hidden_state
            seen_BLd, clean_BLd = hidden_BMd.split(length, 1)
            if not self.shift:
                return seen_BLd
            # As in sampling, the first token of a block is predicted by what its finished predecessor ended with.
            begins_BL = self.attention.begins(mask_BL, length, tokens_BL.device)
            before_BLd = torch.where(begins_BL[:, 1:, None], clean_BLd[:, :-1], seen_BLd[:, :-1])
            return torch.cat([seen_BLd[:, :1], before_BLd], 1)
        mask = self.attention.mask(mask_BL, length, slice(0, length), tokens_BL.device)
        hidden_BLd = self.transformer.model(input_ids=tokens_BL, attention_mask=mask).last_hidden_state
        return torch.cat([hidden_BLd[:, :1], hidden_BLd[:, :-1]], 1) if self.shift else hidden_BLd

    def head(self, hidden: Tensor) -> Tensor:
        """Logits (..., V) of hidden states (..., d)."""
        return self.transformer.lm_head(hidden)

    def forward(
        self, tokens_BL: Tensor, mask_BL: Tensor | None, positions_Bn: Tensor, clean_BL: Tensor | None = None
    ) -> Tensor:
        """Logits (B, n, V) at the asked positions alone."""
        return self.head(gather_positions(self.hidden(tokens_BL, mask_BL, clean_BL), positions_Bn))


def at_least_float32(values: Tensor) -> Tensor:
    """Half-precision values as float32; float32 and float64 as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def gather_positions(values_BLd: Tensor, positions_Bn: Tensor) -> Tensor:
    """values (B, L, d) at positions (B, n) -> (B, n, d)."""
    return values_BLd.gather(1, positions_Bn[:, :, None].expand(-1, -1, values_BLd.shape[2]))
