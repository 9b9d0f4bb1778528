"""Llama 3 turned into a masked diffusion model by dllm (github.com/ZHZisZZ/dllm, Tiny-A2D), mdlm checkpoints; the
rotary embeddings keep Llama 3's scaling."""

from __future__ import annotations

from transformers import LlamaConfig, LlamaForCausalLM

from harness.models.config_fields import Fields
from harness.models.layout import Layout
from harness.models.transformer_fields import NO_TOKENS, SPECIAL_TOKENS, WITHOUT_EFFECT, llama


def to_config(fields: Fields) -> LlamaConfig:
    """Raises UserError for what Llama does not have."""
    return LlamaConfig(**llama(fields, llama3=True), **NO_TOKENS)


LAYOUT = Layout(
    model_type="a2d-llama",
    to_config=to_config,
    model_class=LlamaForCausalLM,
    without_effect=WITHOUT_EFFECT | SPECIAL_TOKENS,
    mask_token="<|mask|>",
    appends_mask=True,
)
