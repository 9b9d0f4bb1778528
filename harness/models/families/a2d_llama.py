"""Llama 3 turned into a masked diffusion model by dllm (github.com/ZHZisZZ/dllm, Tiny-A2D): mdlm and bd3lm
checkpoints; the rotary embeddings keep Llama 3's scaling."""

from __future__ import annotations

from transformers import LlamaConfig, LlamaForCausalLM

from harness.models.config_fields import Fields
from harness.models.layout import Layout
from harness.models.transformer_fields import A2D_WITHOUT_EFFECT, NO_TOKENS, WITHOUT_EFFECT, bd3lm, llama


def to_config(fields: Fields) -> LlamaConfig:
    """Raises UserError for what Llama does not have."""
    return LlamaConfig(**llama(fields, llama3=True), **NO_TOKENS)


LAYOUT = Layout(
    model_type="a2d-llama",
    to_config=to_config,
    model_class=LlamaForCausalLM,
    without_effect=WITHOUT_EFFECT | A2D_WITHOUT_EFFECT,
    mask_token="<|mask|>",
    appends_mask=True,
    attention=bd3lm,
)
