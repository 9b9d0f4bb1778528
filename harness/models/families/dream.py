"""Dream (arXiv 2508.15487), and DiffuCoder (arXiv 2506.20639) and Dream-Coder (arXiv 2509.01142) in its layout:
transformers' Qwen2 with the output shifted by one."""

from __future__ import annotations

from transformers import Qwen2Config, Qwen2ForCausalLM

from harness.models.config_fields import Fields
from harness.models.layout import Layout, stated_tokens
from harness.models.transformer_fields import QWEN_WITHOUT_EFFECT, qwen2


def to_config(fields: Fields) -> Qwen2Config:
    """Raises UserError for what Qwen2 does not have, and where a special token is missing."""
    return Qwen2Config(**qwen2(fields), **stated_tokens(fields))


LAYOUT = Layout(
    model_type="Dream",
    to_config=to_config,
    model_class=Qwen2ForCausalLM,
    without_effect=QWEN_WITHOUT_EFFECT,
    shift=True,
    hub_ids=(
        "Dream-org/Dream-v0-Base-7B",
        "Dream-org/Dream-v0-Instruct-7B",
        "Dream-org/Dream-Coder-v0-Base-7B",
        "Dream-org/Dream-Coder-v0-Instruct-7B",
        "apple/DiffuCoder-7B-Base",
        "apple/DiffuCoder-7B-Instruct",
    ),
)
