"""LLaDA-MoE (arXiv 2509.24389): transformers' Qwen3-MoE, with the experts as the checkpoint has them, a layer each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeMLP, Qwen3MoeSparseMoeBlock

from harness.errors import UserError
from harness.models.config_fields import Fields
from harness.models.layout import Layout
from harness.models.transformer_fields import (
    BIDIRECTIONAL,
    NO_TOKENS,
    SPECIAL_TOKENS,
    WITHOUT_EFFECT,
    check_full_attention,
    heads,
    rope,
    sizes,
)

LLADAMOE_WITHOUT_EFFECT = (
    WITHOUT_EFFECT
    | SPECIAL_TOKENS
    | {
        # The official block never renormalises the chosen probabilities, whatever this says.
        "norm_topk_prob",
        "output_router_logits",
        "router_aux_loss_coef",
    }
)


class LLaDAMoEConfig(Qwen3MoeConfig):
    """Qwen3-MoE's under a name of its own: peft takes layers of qwen3_moe for slices of one tensor."""

    model_type = "lladamoe"


class Experts(nn.ModuleList):
    """The experts of one block: linear layers, as adapters, 4-bit weights and the checkpoint's names need them.

    Each one runs, on the tokens that chose it, even where these are none: every process then sees every weight's
    gradient.
    """

    def __init__(self, config: LLaDAMoEConfig) -> None:
        width = config.moe_intermediate_size
        super().__init__(Qwen3MoeMLP(config, intermediate_size=width) for _ in range(config.num_experts))

    def forward(self, hidden_Nd: Tensor, expert_Nk: Tensor, weight_Nk: Tensor) -> Tensor:
        """The sum (N, d) over the k experts of each of N tokens, weighted."""
        summed_Nd = torch.zeros_like(hidden_Nd)
        for number, expert in enumerate(self):
            token_n, rank_n = torch.where(expert_Nk == number)
            weighted_nd = expert(hidden_Nd[token_n]) * weight_Nk[token_n, rank_n, None]
            summed_Nd = summed_Nd.index_add(0, token_n, weighted_nd.to(summed_Nd.dtype))
        return summed_Nd


class LLaDAMoE(Qwen3MoeForCausalLM):
    """Qwen3-MoE whose experts are layers of their own instead of slices of one tensor."""

    config: LLaDAMoEConfig

    def __init__(self, config: LLaDAMoEConfig) -> None:
        super().__init__(config)
        for block in self.modules():
            if isinstance(block, Qwen3MoeSparseMoeBlock):
                block.experts = Experts(config)


def to_config(fields: Fields) -> LLaDAMoEConfig:
    """Raises UserError where LLaDA-MoE's code would compute something else than Qwen3-MoE without shared experts."""
    fields.must_be(hidden_act="silu", attention_bias=False, attention_dropout=0.0, clip_qkv=None)
    fields.must_be(moe_router_enable_expert_bias=False, moe_router_score_function="softmax", routed_scaling_factor=1)
    fields.must_be(shared_expert_intermediate_size=None, router_num_group=None, router_topk_group=None)
    fields.must_state(qk_layernorm=True)
    check_full_attention(fields)
    config = {**heads(fields), **sizes(fields)}
    if config["head_dim"] * config["num_attention_heads"] != config["hidden_size"]:
        raise UserError(f"'{fields.place}' has a head_dim of its own, which LLaDA-MoE does not have.")
    experts = fields.size("num_experts")
    dense = _dense_blocks(fields, config["num_hidden_layers"])
    width = fields.size("expert_intermediate_size")
    return LLaDAMoEConfig(
        rope_parameters=rope(fields),
        num_experts=experts,
        num_experts_per_tok=fields.size("num_experts_per_tok", most=experts),
        moe_intermediate_size=width,
        intermediate_size=fields.size("dense_intermediate_size", default=None if dense else width),
        mlp_only_layers=dense,
        decoder_sparse_step=1,
        norm_topk_prob=False,
        **config,
        **BIDIRECTIONAL,
        **NO_TOKENS,
    )


def _dense_blocks(fields: Fields, blocks: int) -> list[int]:
    """The numbers of the blocks with one MLP instead of experts: where moe_layer_freq is 0; none by default."""
    kinds = fields.get("moe_layer_freq")
    if kinds is None:
        return []
    if not isinstance(kinds, list) or len(kinds) != blocks or any(kind not in (0, 1) for kind in kinds):
        raise fields.wrong("moe_layer_freq", f"where a list of {blocks} zeros and ones is needed")
    return [block for block, kind in enumerate(kinds) if not kind]


LAYOUT = Layout(
    model_type="lladamoe",
    to_config=to_config,
    model_class=LLaDAMoE,
    without_effect=LLADAMOE_WITHOUT_EFFECT,
    mask_token="<|mask|>",
    hub_ids=("inclusionAI/LLaDA-MoE-7B-A1B-Base", "inclusionAI/LLaDA-MoE-7B-A1B-Instruct"),
)
