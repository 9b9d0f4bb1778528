"""SDAR (arXiv 2510.06303), and TraDo and DiRL in its layout: transformers' Qwen3 with attention by blocks, which are
counted from the first token of the sequence."""

from __future__ import annotations

from transformers import Qwen3Config, Qwen3ForCausalLM

from harness.models.attention import SEQUENCE, Attention
from harness.models.config_fields import Fields
from harness.models.layout import BLOCK_SIZE, Layout
from harness.models.transformer_fields import NO_TOKENS, QWEN_WITHOUT_EFFECT, SPECIAL_TOKENS, qwen3

SDAR_WITHOUT_EFFECT = (
    QWEN_WITHOUT_EFFECT
    | SPECIAL_TOKENS
    | {
        "debug",
        "ep_size",
        "fuse_cross_entropy",
        "micro_forward",
        "skip_checkpoint",
        "use_deepep",
    }
)


def to_config(fields: Fields) -> Qwen3Config:
    """Raises UserError for what Qwen3 does not have, and where block_size is missing."""
    fields.size(BLOCK_SIZE)
    return Qwen3Config(**qwen3(fields), **NO_TOKENS)


def attention(fields: Fields, name: str) -> Attention:
    """Blocks of block_size tokens, whatever the checkpoint's name."""
    return Attention(block_length=fields.size(BLOCK_SIZE), blocks_from=SEQUENCE)


LAYOUT = Layout(
    model_type="sdar",
    to_config=to_config,
    model_class=Qwen3ForCausalLM,
    without_effect=SDAR_WITHOUT_EFFECT,
    attention=attention,
    mask_token="<|MASK|>",
    generation_ends=True,
    hub_ids=("JetLM/SDAR-1.7B-Chat", "JetLM/SDAR-4B-Chat", "JetLM/SDAR-8B-Chat"),
)
