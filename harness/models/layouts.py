"""How published checkpoints are written down: what their config.json says, and what their modules are called.

LLaDA (arXiv 2502.09992) is transformers' Llama under other names, Dream (arXiv 2508.15487) is its Qwen2 with the
output shifted by one, the tiny model is a Llama as it stands; all three attend in both directions. Nothing of a
checkpoint's own code is run: config.json is read here, and a setting that these classes do not have is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM, PretrainedConfig, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from harness.errors import UserError, unknown_choice
from harness.models.diffusion_lm import SpecialTokens
from harness.models.files import read_json

CONFIG_JSON = "config.json"
MOST_LAYERS, LARGEST_SIZE = 1024, 1 << 24
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


@dataclass(frozen=True)
class Fields:
    """The keys of one config.json, read with their types. `place` is the file, for the error messages."""

    raw: Mapping[str, Any]
    place: Path

    def size(self, key: str, *, default: int | None = None, most: int = LARGEST_SIZE) -> int:
        """A whole number from 1 to `most`; `default` where the key is missing or null. Raises UserError otherwise."""
        value = self.raw.get(key)
        value = default if value is None else value
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise UserError(f"'{self.place}' has {key}={value!r}, where a whole number from 1 to {most} is needed.")
        return value

    def number(self, key: str) -> float:
        """A finite number above 0. Raises UserError otherwise."""
        value = self.raw.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise UserError(f"'{self.place}' has {key}={value!r}, where a number above 0 is needed.")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false; false where the key is missing or null. Raises UserError otherwise."""
        value = self.raw.get(key)
        if value is not None and not isinstance(value, bool):
            raise UserError(f"'{self.place}' has {key}={value!r}, where true or false is needed.")
        return bool(value)

    def must_be(self, **wanted: Any) -> None:
        """Raises UserError where a key has another value; a missing key or null counts as the wanted value."""
        for key, value in wanted.items():
            found = self.raw.get(key)
            if found is not None and found != value:
                raise UserError(f"'{self.place}' has {key}={found!r}; the harness knows {key}={value!r} alone.")

    def heads(self, width: str, heads: str, kv_heads: str) -> dict[str, int]:
        """Attention heads as transformers names them. Raises UserError where they do not divide each other."""
        count = self.size(heads)
        groups = self.size(kv_heads, default=count)
        head_dim = self.size("head_dim", default=max(1, self.size(width) // count))
        if self.raw.get("head_dim") is None and self.size(width) % count:
            raise UserError(f"'{self.place}': {heads}={count} does not divide {width}={self.raw[width]}.")
        if head_dim % 2 or count % groups:
            raise UserError(f"'{self.place}': {count} heads of width {head_dim} and {groups} for keys do not fit.")
        return {"num_attention_heads": count, "num_key_value_heads": groups, "head_dim": head_dim}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One family of checkpoints. shift: the raw output at position i predicts token i + 1.

    modules: our module name to the checkpoint's, # standing for the number of the block; others keep their name.
    """

    to_config: Callable[[Fields], PretrainedConfig]
    model_class: type[PreTrainedModel]
    shift: bool = False
    modules: Mapping[str, str] = field(default_factory=dict)

    def official_module(self, module: str) -> str:
        """What the checkpoint calls our module, as in model.layers.3.mlp.up_proj."""
        number = BLOCK_NUMBER.search(module)
        official = self.modules.get(BLOCK_NUMBER.sub("#", module), None)
        if official is None:
            return module
        return official.replace("#", number[0]) if number else official

    def official_tensor(self, tensor: str) -> str:
        """What the checkpoint calls our tensor, as in model.layers.3.mlp.up_proj.weight."""
        module, _, parameter = tensor.rpartition(".")
        return f"{self.official_module(module)}.{parameter}"

    def official_projections(self) -> dict[str, str]:
        """The checkpoint's name of each kind of layer in a block to ours: attn_out to o_proj, ff_out to down_proj."""
        in_blocks = {ours: theirs for ours, theirs in self.modules.items() if "#" in ours}
        return {theirs.rpartition(".")[2]: ours.rpartition(".")[2] for ours, theirs in in_blocks.items()}


def _llada_config(fields: Fields) -> LlamaConfig:
    fields.must_be(block_type="llama", activation_type="silu", layer_norm_type="rms", rope=True, alibi=False)
    fields.must_be(include_bias=False, include_qkv_bias=False, bias_for_layer_norm=False, block_group_size=1)
    fields.must_be(attention_layer_norm=False, input_emb_norm=False, scale_logits=False, multi_query_attention=False)
    fields.must_be(attention_dropout=0.0, residual_dropout=0.0, embedding_dropout=0.0)
    width = fields.size("d_model")
    ratio = 1 if fields.raw.get("mlp_hidden_size") else fields.size("mlp_ratio")
    return LlamaConfig(
        vocab_size=fields.size("embedding_size", default=fields.size("vocab_size")),
        hidden_size=width,
        intermediate_size=fields.size("mlp_hidden_size", default=ratio * width),
        num_hidden_layers=fields.size("n_layers", most=MOST_LAYERS),
        max_position_embeddings=fields.size("max_sequence_length"),
        rms_norm_eps=fields.number("rms_norm_eps"),
        rope_parameters={"rope_type": "default", "rope_theta": fields.number("rope_theta")},
        tie_word_embeddings=fields.flag("weight_tying"),
        **fields.heads("d_model", "n_heads", "n_kv_heads"),
        # LLaDA's embedding trains every row; a padding id would keep the gradient from the end token's.
        **{**_bidirectional(fields), "pad_token_id": None},
    )


def _dream_config(fields: Fields) -> Qwen2Config:
    fields.must_be(hidden_act="silu", rope_scaling=None, use_sliding_window=False, attention_dropout=0.0)
    heads = fields.heads("hidden_size", "num_attention_heads", "num_key_value_heads")
    if heads.pop("head_dim") * heads["num_attention_heads"] != fields.size("hidden_size"):
        raise UserError(f"'{fields.place}' has a head_dim of its own, which Qwen2 does not have.")
    return Qwen2Config(
        rope_parameters={"rope_type": "default", "rope_theta": fields.number("rope_theta")},
        use_sliding_window=False,
        **heads,
        **_transformers_sizes(fields),
        **_bidirectional(fields),
    )


def _llama_config(fields: Fields) -> LlamaConfig:
    fields.must_be(hidden_act="silu", attention_dropout=0.0)
    rope = fields.raw.get("rope_parameters")
    rope_fields = Fields(rope if isinstance(rope, dict) else fields.raw, fields.place)
    rope_fields.must_be(rope_type="default")
    return LlamaConfig(
        rope_parameters={"rope_type": "default", "rope_theta": rope_fields.number("rope_theta")},
        attention_bias=fields.flag("attention_bias"),
        mlp_bias=fields.flag("mlp_bias"),
        **fields.heads("hidden_size", "num_attention_heads", "num_key_value_heads"),
        **_transformers_sizes(fields),
        **_bidirectional(fields),
    )


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
    "llada": Layout(to_config=_llada_config, model_class=LlamaForCausalLM, modules=LLADA_MODULES),
    "Dream": Layout(to_config=_dream_config, model_class=Qwen2ForCausalLM, shift=True),
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
    ends = fields.raw.get("eos_token_id")
    return SpecialTokens(
        mask_id=_token(fields, "mask_token_id", fields.raw.get("mask_token_id"), vocabulary),
        pad_id=_token(fields, "pad_token_id", fields.raw.get("pad_token_id"), vocabulary),
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
