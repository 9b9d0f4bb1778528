"""Low-rank adapters put on a model by peft."""

from __future__ import annotations

import warnings

from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel

from harness.models.flops import HEAD

ALL_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LORA_TARGETS = {
    "all": ALL_PROJECTIONS,
    "official-subset": ("q_proj", "k_proj", "v_proj", "up_proj"),
    "all-and-head": (*ALL_PROJECTIONS, HEAD),
}
RENAMED = "`is_gradient_checkpointing` is deprecated"
"""Begins a warning of transformers of what peft calls, which no user can change."""


def with_adapters(model: PreTrainedModel, config: PeftLoraConfig) -> PeftModel:
    """The model, its weights frozen, with fresh adapters drawn from torch's global random state."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=RENAMED, category=FutureWarning)
        adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted
