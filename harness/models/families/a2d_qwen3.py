"""Qwen3 turned into a masked diffusion model by dllm (github.com/ZHZisZZ/dllm, Tiny-A2D): mdlm and bd3lm
checkpoints.

Heads have a width of their own, queries and keys are normalised by head before the rotation. An empty block of thoughts
is part of every prompt: enable_thinking=False of Qwen3's template.
"""

from __future__ import annotations

from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.models.config_fields import Fields
from harness.models.layout import Layout
from harness.models.transformer_fields import A2D_WITHOUT_EFFECT, NO_TOKENS, QWEN_WITHOUT_EFFECT, bd3lm, qwen3


def to_config(fields: Fields) -> Qwen3Config:
    """Raises UserError for what Qwen3 does not have; head_dim has to be stated."""
    return Qwen3Config(**qwen3(fields), **NO_TOKENS)


LAYOUT = Layout(
    model_type="a2d-qwen3",
    to_config=to_config,
    model_class=Qwen3ForCausalLM,
    without_effect=QWEN_WITHOUT_EFFECT | A2D_WITHOUT_EFFECT,
    mask_token="<|mask|>",
    appends_mask=True,
    attention=bd3lm,
    template_options={"enable_thinking": False},
    hub_ids=("dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1", "dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1"),
)
