"""Qwen3 turned into a masked diffusion model by dllm (github.com/ZHZisZZ/dllm, Tiny-A2D), mdlm checkpoints.

Heads have a width of their own, queries and keys are normalised by head before the rotation. An empty block of thoughts
is part of every prompt: enable_thinking=False of Qwen3's template.
"""

from __future__ import annotations

from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.models.config_fields import Fields
from harness.models.layout import Layout
from harness.models.transformer_fields import (
    BIDIRECTIONAL,
    NO_TOKENS,
    QWEN_WITHOUT_EFFECT,
    SPECIAL_TOKENS,
    check_full_attention,
    heads,
    rope,
    sizes,
)


def to_config(fields: Fields) -> Qwen3Config:
    """Raises UserError for what Qwen3 does not have; head_dim has to be stated."""
    fields.must_be(hidden_act="silu", attention_bias=False, attention_dropout=0.0)
    check_full_attention(fields)
    fields.size("head_dim")
    return Qwen3Config(
        rope_parameters=rope(fields),
        use_sliding_window=False,
        intermediate_size=fields.size("intermediate_size"),
        **heads(fields),
        **sizes(fields),
        **BIDIRECTIONAL,
        **NO_TOKENS,
    )


LAYOUT = Layout(
    model_type="a2d-qwen3",
    to_config=to_config,
    model_class=Qwen3ForCausalLM,
    without_effect=QWEN_WITHOUT_EFFECT | SPECIAL_TOKENS,
    mask_token="<|mask|>",
    appends_mask=True,
    template_options={"enable_thinking": False},
)
