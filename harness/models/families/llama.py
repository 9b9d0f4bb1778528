"""The embedded models, tiny and small: transformers' Llama under its own names."""

from __future__ import annotations

from transformers import LlamaConfig, LlamaForCausalLM

from harness.config.embedded import PROMPTS
from harness.models.config_fields import Fields
from harness.models.layout import Layout, stated_tokens
from harness.models.transformer_fields import WITHOUT_EFFECT, llama


def to_config(fields: Fields) -> LlamaConfig:
    """Raises UserError for what Llama does not have, and where a special token is missing."""
    return LlamaConfig(**llama(fields), **stated_tokens(fields))


LAYOUT = Layout(
    model_type="llama",
    to_config=to_config,
    model_class=LlamaForCausalLM,
    without_effect=WITHOUT_EFFECT | {PROMPTS},
)
