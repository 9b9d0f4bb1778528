"""LLaDA (arXiv 2502.09992) and LLaDA 1.5 (arXiv 2505.19223): transformers' Llama under other names."""

from __future__ import annotations

from transformers import LlamaConfig, LlamaForCausalLM

from harness.models.config_fields import Fields
from harness.models.layout import Layout, stated_tokens
from harness.models.transformer_fields import BIDIRECTIONAL, MOST_LAYERS, WITHOUT_EFFECT, rope

MODULES = {
    "model.embed_tokens": "model.transformer.wte",
    "model.norm": "model.transformer.ln_f",
    "lm_head": "model.transformer.ff_out",
    "model.layers.#.input_layernorm": "model.transformer.blocks.#.attn_norm",
    "model.layers.#.post_attention_layernorm": "model.transformer.blocks.#.ff_norm",
    "model.layers.#.self_attn.q_proj": "model.transformer.blocks.#.q_proj",
    "model.layers.#.self_attn.k_proj": "model.transformer.blocks.#.k_proj",
    "model.layers.#.self_attn.v_proj": "model.transformer.blocks.#.v_proj",
    "model.layers.#.self_attn.o_proj": "model.transformer.blocks.#.attn_out",
    "model.layers.#.mlp.gate_proj": "model.transformer.blocks.#.ff_proj",
    "model.layers.#.mlp.up_proj": "model.transformer.blocks.#.up_proj",
    "model.layers.#.mlp.down_proj": "model.transformer.blocks.#.ff_out",
}
LLADA_WITHOUT_EFFECT = WITHOUT_EFFECT | {
    "alibi_bias_max",
    "attention_layer_norm_with_affine",
    "flash_attention",
    "init_cutoff_factor",
    "init_device",
    "init_fn",
    "init_std",
    "mlp_ratio",
    "precision",
    # LLaDA's own code ties by weight_tying alone.
    "tie_word_embeddings",
    # The rows of the embedding are embedding_size where both are given.
    "vocab_size",
}


def to_config(fields: Fields) -> LlamaConfig:
    """Raises UserError where LLaDA's code would compute something else than a Llama."""
    fields.must_state(block_type="llama", activation_type="silu", layer_norm_type="rms", rope=True)
    fields.must_be(rope_full_precision=True, layer_norm_with_affine=True, block_group_size=1, alibi=False)
    fields.must_be(include_bias=False, include_qkv_bias=False, bias_for_layer_norm=False)
    fields.must_be(attention_layer_norm=False, input_emb_norm=False, scale_logits=False, multi_query_attention=False)
    fields.must_be(attention_dropout=0.0, residual_dropout=0.0, embedding_dropout=0.0)
    width = fields.size("d_model")
    ratio = 1 if fields.get("mlp_hidden_size") else fields.size("mlp_ratio")
    return LlamaConfig(
        vocab_size=fields.size("embedding_size", default=fields.size("vocab_size")),
        hidden_size=width,
        intermediate_size=fields.size("mlp_hidden_size", default=ratio * width),
        num_hidden_layers=fields.size("n_layers", most=MOST_LAYERS),
        max_position_embeddings=fields.size("max_sequence_length"),
        rms_norm_eps=fields.number("rms_norm_eps"),
        rope_parameters=rope(fields),
        tie_word_embeddings=fields.flag("weight_tying", default=True),
        **fields.heads("d_model", "n_heads", "n_kv_heads"),
        **BIDIRECTIONAL,
        # LLaDA's embedding trains every row; a padding id would keep the gradient from the end token's.
        **{**stated_tokens(fields), "pad_token_id": None},
    )


LAYOUT = Layout(
    model_type="llada",
    to_config=to_config,
    model_class=LlamaForCausalLM,
    without_effect=LLADA_WITHOUT_EFFECT,
    modules=MODULES,
    hub_ids=("GSAI-ML/LLaDA-8B-Base", "GSAI-ML/LLaDA-8B-Instruct", "GSAI-ML/LLaDA-1.5"),
)
