"""Qwen2 and Qwen2.5 turned into masked diffusion models by dllm (github.com/ZHZisZZ/dllm, Tiny-A2D): mdlm
and bd3lm checkpoints."""

from __future__ import annotations

from transformers import Qwen2Config, Qwen2ForCausalLM

from harness.models.config_fields import Fields
from harness.models.layout import Layout
from harness.models.transformer_fields import A2D_WITHOUT_EFFECT, NO_TOKENS, QWEN_WITHOUT_EFFECT, bd3lm, qwen2


def to_config(fields: Fields) -> Qwen2Config:
    """Raises UserError for what Qwen2 does not have."""
    return Qwen2Config(**qwen2(fields), **NO_TOKENS)


LAYOUT = Layout(
    model_type="a2d-qwen2",
    to_config=to_config,
    model_class=Qwen2ForCausalLM,
    without_effect=QWEN_WITHOUT_EFFECT | A2D_WITHOUT_EFFECT,
    mask_token="<|mask|>",
    appends_mask=True,
    attention=bd3lm,
    hub_ids=(
        "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-mdlm-v0.1",
        "dllm-hub/Qwen2.5-Coder-0.5B-Instruct-diffusion-bd3lm-v0.1",
    ),
)
