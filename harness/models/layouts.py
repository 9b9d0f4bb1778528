"""How published checkpoints are written down: what their config.json says, and what their modules are called.

LLaDA (arXiv 2502.09992) is transformers' Llama under other names, Dream (arXiv 2508.15487) is its Qwen2 with the
output shifted by one, the tiny model is a Llama as it stands; all three attend in both directions. Nothing of a
checkpoint's own code is run: config.json is read here, and a setting that these classes do not have is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from harness.errors import UserError, unknown_choice
from harness.models.config_fields import Fields
from harness.models.diffusion_lm import SpecialTokens
from harness.models.files import is_set, read_json

CONFIG_JSON = "config.json"
MOST_LAYERS = 1024
FULL_ATTENTION = "full_attention"
BLOCK_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")

LLADA_MODULES = {
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


# What a config.json says about itself, about the tokenizer or about sampling and training, not about the function.
WITHOUT_EFFECT = frozenset(
    {
        "architectures",
        "attn_implementation",
        "auto_map",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "finetuning_task",
        "id2label",
        "initializer_range",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "task_specific_params",
        "tokenizer",
        "tokenizer_class",
        "torch_dtype",
        "transformers_version",
        "unsloth_fixed",
        "unsloth_version",
    }
) | (GenerationConfig().to_dict().keys() - {"eos_token_id", "pad_token_id"})
# Without use_sliding_window, which is refused, no window is set.
DREAM_WITHOUT_EFFECT = WITHOUT_EFFECT | {"max_window_layers", "sliding_window"}
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


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One family of checkpoints. shift: the raw output at position i predicts token i + 1.

    modules: our module name to the checkpoint's, # standing for the number of the block; others keep their name.
    """

    to_config: Callable[[Fields], PretrainedConfig]
    model_class: type[PreTrainedModel]
    without_effect: Collection[str] = WITHOUT_EFFECT
    shift: bool = False
    modules: Mapping[str, str] = field(default_factory=dict)

    def config(self, raw: Mapping[str, Any], place: Path) -> PretrainedConfig:
        """The configuration of the transformers model. Raises UserError for whatever that model does not have."""
        fields = Fields(raw, place)
        config = self.to_config(fields)
        fields.refuse_others(self.without_effect)
        return config

    def official_module(self, module: str) -> str:
        """What the checkpoint calls our module, as in model.layers.3.mlp.up_proj."""
        number = BLOCK_NUMBER.search(module)
        official = self.modules.get(BLOCK_NUMBER.sub("#", module))
        if official is None:
            return module
        return official.replace("#", number[0]) if number else official

    def official_tensor(self, tensor: str) -> str:
        """What the checkpoint calls our tensor, as in model.layers.3.mlp.up_proj.weight."""
        module, _, parameter = tensor.rpartition(".")
        return f"{self.official_module(module)}.{parameter}"


def _llada_config(fields: Fields) -> LlamaConfig:
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
        rope_parameters=_rope(fields),
        tie_word_embeddings=fields.flag("weight_tying", default=True),
        **fields.heads("d_model", "n_heads", "n_kv_heads"),
        # LLaDA's embedding trains every row; a padding id would keep the gradient from the end token's.
        **{**_bidirectional(fields), "pad_token_id": None},
    )


def _dream_config(fields: Fields) -> Qwen2Config:
    fields.must_be(hidden_act="silu", attention_bias=True, attention_dropout=0.0)
    _check_full_attention(fields)
    heads = fields.heads("hidden_size", "num_attention_heads", "num_key_value_heads")
    if heads.pop("head_dim") * heads["num_attention_heads"] != fields.size("hidden_size"):
        raise UserError(f"'{fields.place}' has a head_dim of its own, which Qwen2 does not have.")
    return Qwen2Config(
        rope_parameters=_rope(fields),
        use_sliding_window=False,
        **heads,
        **_transformers_sizes(fields),
        **_bidirectional(fields),
    )


def _llama_config(fields: Fields) -> LlamaConfig:
    fields.must_be(hidden_act="silu", attention_dropout=0.0, pretraining_tp=1)
    _check_full_attention(fields)
    return LlamaConfig(
        rope_parameters=_rope(fields),
        attention_bias=fields.flag("attention_bias"),
        mlp_bias=fields.flag("mlp_bias"),
        **fields.heads("hidden_size", "num_attention_heads", "num_key_value_heads"),
        **_transformers_sizes(fields),
        **_bidirectional(fields),
    )


def _rope(fields: Fields) -> dict[str, Any]:
    """Rotary embeddings of the default kind. transformers 5 writes them into rope_parameters; before, rope_theta stood
    alone and other kinds in rope_scaling. Raises UserError for another kind, and for two values of theta."""
    places = [fields]
    for key in ("rope_parameters", "rope_scaling"):
        if is_set(inner := fields.get(key)):
            if not isinstance(inner, dict):
                raise fields.wrong(key, "where an object is needed")
            places.append(Fields(inner, fields.place, prefix=f"{key}."))
            places[-1].must_be(rope_type="default", type="default")
    for place in places:
        if place.get("partial_rotary_factor") not in (None, 1):
            raise place.wrong("partial_rotary_factor", "but only 1 is supported")
    thetas = {place.number("rope_theta") for place in places if place.get("rope_theta") is not None}
    if len(thetas) > 1:
        raise UserError(f"'{fields.place}' has two values of rope_theta, {min(thetas)} and {max(thetas)}; keep one.")
    for inner in places[1:]:
        inner.refuse_others()
    return {"rope_type": "default", "rope_theta": thetas.pop() if thetas else fields.number("rope_theta")}


def _check_full_attention(fields: Fields) -> None:
    """Raises UserError where a layer attends to a window alone, or to what is before a token alone."""
    fields.must_be(is_causal=False, use_sliding_window=False)
    kinds = fields.get("layer_types")
    if is_set(kinds) and not (isinstance(kinds, list) and all(kind == FULL_ATTENTION for kind in kinds)):
        raise fields.wrong("layer_types", f"but only '{FULL_ATTENTION}' is supported")


def _transformers_sizes(fields: Fields) -> dict[str, Any]:
    """The keys that Llama and Qwen2 share."""
    return {
        "vocab_size": fields.size("vocab_size"),
        "hidden_size": fields.size("hidden_size"),
        "intermediate_size": fields.size("intermediate_size"),
        "num_hidden_layers": fields.size("num_hidden_layers", most=MOST_LAYERS),
        "max_position_embeddings": fields.size("max_position_embeddings"),
        "rms_norm_eps": fields.number("rms_norm_eps"),
        "tie_word_embeddings": fields.flag("tie_word_embeddings"),
    }


def _bidirectional(fields: Fields) -> dict[str, Any]:
    """What makes these classes masked diffusion models, and their special tokens."""
    special = special_tokens(fields)
    ids = {"pad_token_id": special.pad_id, "eos_token_id": special.end_ids[0], "bos_token_id": None}
    return {"is_causal": False, "use_cache": False, **ids}


LAYOUTS = {
    "llada": Layout(
        to_config=_llada_config,
        model_class=LlamaForCausalLM,
        without_effect=LLADA_WITHOUT_EFFECT,
        modules=LLADA_MODULES,
    ),
    "Dream": Layout(
        to_config=_dream_config, model_class=Qwen2ForCausalLM, without_effect=DREAM_WITHOUT_EFFECT, shift=True
    ),
    "llama": Layout(to_config=_llama_config, model_class=LlamaForCausalLM),
}


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's config.json. Raises UserError where it is missing, damaged or of an unknown architecture."""
    path = folder / CONFIG_JSON
    if not path.is_file():
        raise UserError(
            f"Model '{folder}' has no config.json; name 'tiny', a hub id, or a folder with config.json and safetensors."
        )
    raw = read_json(path)
    kind = str(raw.get("model_type"))
    if kind not in LAYOUTS:
        raise unknown_choice(f"architecture: model_type in '{path}' is", kind, LAYOUTS)
    return raw


def layout_of(raw: Mapping[str, Any]) -> Layout:
    """The layout of a config.json that `read_config` has read."""
    return LAYOUTS[raw["model_type"]]


def special_tokens(fields: Fields) -> SpecialTokens:
    """Mask, padding and end tokens as config.json states them. Raises UserError where one is missing or too large."""
    vocabulary = fields.size("embedding_size", default=fields.size("vocab_size"))
    ends = fields.get("eos_token_id")
    return SpecialTokens(
        mask_id=_token(fields, "mask_token_id", fields.get("mask_token_id"), vocabulary),
        pad_id=_token(fields, "pad_token_id", fields.get("pad_token_id"), vocabulary),
        end_ids=tuple(
            _token(fields, "eos_token_id", end, vocabulary)
            for end in (ends if isinstance(ends, list) and ends else [ends])
        ),
    )


def _token(fields: Fields, key: str, value: object, vocabulary: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"'{fields.place}' has {key}={value!r}; a masked diffusion model needs this token's number.")
    if not 0 <= value < vocabulary:
        raise UserError(f"'{fields.place}' has {key}={value}, outside the vocabulary of {vocabulary} tokens.")
    return value
