"""The sizes of a model for the FLOPs account, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import PretrainedConfig, Qwen3MoeConfig

from harness.models.flops import Experts, ModelShape


def shape_of(config: PretrainedConfig, lora_ranks: Mapping[str, int], block_length: int = 0) -> ModelShape:
    """The sizes that a configuration of the Llama and Qwen kind states; block_length: as in Attention."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    experts = None
    if isinstance(config, Qwen3MoeConfig):
        experts = Experts(
            count=config.num_experts,
            active=config.num_experts_per_tok,
            intermediate=config.moe_intermediate_size,
            dense_layers=len(config.mlp_only_layers),
        )
    return ModelShape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        vocabulary=config.vocab_size,
        experts=experts,
        lora_ranks=lora_ranks,
        block_length=block_length,
    )
