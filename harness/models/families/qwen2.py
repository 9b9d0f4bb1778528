"""Open-dCoder (github.com/pengzhangzhi/Open-dLLM): Qwen2 by its config.json too, with the output shifted by one.

Its mask is the tokenizer's mask token. A Qwen2 that is no masked diffusion model has none, and is refused for that.
"""

from __future__ import annotations

from transformers import Qwen2Config, Qwen2ForCausalLM

from harness.models.config_fields import Fields
from harness.models.layout import Layout
from harness.models.transformer_fields import NO_TOKENS, QWEN_WITHOUT_EFFECT, SPECIAL_TOKENS, qwen2


def to_config(fields: Fields) -> Qwen2Config:
    """Raises UserError for what Qwen2 does not have."""
    return Qwen2Config(**qwen2(fields), **NO_TOKENS)


LAYOUT = Layout(
    model_type="qwen2",
    to_config=to_config,
    model_class=Qwen2ForCausalLM,
    without_effect=QWEN_WITHOUT_EFFECT | SPECIAL_TOKENS,
    shift=True,
    mask_token="[MASK]",
    hub_ids=("fredzzp/open-dcoder-0.5B",),
)
