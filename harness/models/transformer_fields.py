"""What the config.json files of several families have in common, read into the arguments of transformers' classes."""

from __future__ import annotations

import re
from typing import Any

from transformers import GenerationConfig

from harness.errors import UserError
from harness.models.attention import COMPLETION, FULL, Attention
from harness.models.config_fields import Fields
from harness.models.files import is_set

MOST_LAYERS = 1024
PUBLISHED_BD3LM_BLOCK = 32
DLLM_KIND = re.compile("mdlm|bd3lm")
FULL_ATTENTION = "full_attention"
BIDIRECTIONAL = {"is_causal": False, "use_cache": False}
"""What makes transformers' classes masked diffusion models."""
NO_TOKENS = {"pad_token_id": None, "eos_token_id": None, "bos_token_id": None}
"""The model itself needs none; a padding id would keep the gradient from that token's embedding."""

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
SPECIAL_TOKENS = frozenset({"eos_token_id", "mask_token_id", "pad_token_id"})
"""Of families whose config.json may leave them to the tokenizer; they are checked together with it."""
# Without use_sliding_window, which is refused, no window is set.
QWEN_WITHOUT_EFFECT = WITHOUT_EFFECT | {"max_window_layers", "sliding_window"}
A2D_WITHOUT_EFFECT = SPECIAL_TOKENS | {"block_size"}
"""Of dllm's families, besides; the block size is read by `bd3lm`, apart from the model's sizes."""


def rope(fields: Fields, *, llama3: bool = False) -> dict[str, Any]:
    """Rotary embeddings of the default kind or, with `llama3`, of Llama 3's.

    transformers 5 writes them into rope_parameters; before, rope_theta stood alone and other kinds in rope_scaling.
    Raises UserError for another kind, and for two values of theta.
    """
    places = [fields]
    scaling: dict[str, Any] = {}
    for key in ("rope_parameters", "rope_scaling"):
        if is_set(inner := fields.get(key)):
            if not isinstance(inner, dict):
                raise fields.wrong(key, "where an object is needed")
            places.append(Fields(inner, fields.place, prefix=f"{key}."))
            if llama3 and "llama3" in (inner.get("rope_type"), inner.get("type")):
                places[-1].must_be(rope_type="llama3", type="llama3")
                scaling = _llama3_scaling(places[-1])
            else:
                places[-1].must_be(rope_type="default", type="default")
    for place in places:
        if place.get("partial_rotary_factor") not in (None, 1):
            raise place.wrong("partial_rotary_factor", "but only 1 is supported")
    thetas = {place.number("rope_theta") for place in places if place.get("rope_theta") is not None}
    if len(thetas) > 1:
        raise UserError(f"'{fields.place}' has two values of rope_theta, {min(thetas)} and {max(thetas)}; keep one.")
    for inner in places[1:]:
        inner.refuse_others()
    theta = thetas.pop() if thetas else fields.number("rope_theta")
    return {"rope_type": "llama3" if scaling else "default", "rope_theta": theta, **scaling}


def _llama3_scaling(fields: Fields) -> dict[str, float]:
    scaling = {name: fields.number(name) for name in ("factor", "low_freq_factor", "high_freq_factor")}
    low = scaling["low_freq_factor"]
    if scaling["high_freq_factor"] <= low:
        raise fields.wrong("high_freq_factor", f"where more than low_freq_factor={low} is needed")
    name = "original_max_position_embeddings"
    return {**scaling, name: fields.size(name)}


def check_full_attention(fields: Fields) -> None:
    """Raises UserError where a layer attends to a window alone, or to what is before a token alone."""
    fields.must_be(is_causal=False, use_sliding_window=False)
    kinds = fields.get("layer_types")
    if is_set(kinds) and not (isinstance(kinds, list) and all(kind == FULL_ATTENTION for kind in kinds)):
        raise fields.wrong("layer_types", f"but only '{FULL_ATTENTION}' is supported")


def sizes(fields: Fields) -> dict[str, Any]:
    """The keys that Llama and the Qwens share, but for the intermediate size."""
    return {
        "vocab_size": fields.size("vocab_size"),
        "hidden_size": fields.size("hidden_size"),
        "num_hidden_layers": fields.size("num_hidden_layers", most=MOST_LAYERS),
        "max_position_embeddings": fields.size("max_position_embeddings"),
        "rms_norm_eps": fields.number("rms_norm_eps"),
        "tie_word_embeddings": fields.flag("tie_word_embeddings"),
    }


def llama(fields: Fields, *, llama3: bool = False) -> dict[str, Any]:
    """The arguments of LlamaConfig but for the special tokens. llama3: rotary embeddings may be Llama 3's."""
    fields.must_be(hidden_act="silu", attention_dropout=0.0, pretraining_tp=1)
    check_full_attention(fields)
    found = heads(fields)
    count = found["num_attention_heads"]
    if fields.size("hidden_size") % count:
        raise fields.wrong("hidden_size", f"where a multiple of num_attention_heads={count} is needed")
    return {
        "rope_parameters": rope(fields, llama3=llama3),
        "attention_bias": fields.flag("attention_bias"),
        "mlp_bias": fields.flag("mlp_bias"),
        "intermediate_size": fields.size("intermediate_size"),
        **found,
        **sizes(fields),
        **BIDIRECTIONAL,
    }


def qwen2(fields: Fields) -> dict[str, Any]:
    """The arguments of Qwen2Config but for the special tokens. Raises UserError for heads of a width of their own."""
    fields.must_be(hidden_act="silu", attention_bias=True, attention_dropout=0.0)
    check_full_attention(fields)
    found = heads(fields)
    if found.pop("head_dim") * found["num_attention_heads"] != fields.size("hidden_size"):
        raise UserError(f"'{fields.place}' has a head_dim of its own, which Qwen2 does not have.")
    return {
        "rope_parameters": rope(fields),
        "use_sliding_window": False,
        "intermediate_size": fields.size("intermediate_size"),
        **found,
        **sizes(fields),
        **BIDIRECTIONAL,
    }


def qwen3(fields: Fields) -> dict[str, Any]:
    """The arguments of Qwen3Config but for the special tokens; head_dim has to be stated."""
    fields.must_be(hidden_act="silu", attention_bias=False, attention_dropout=0.0)
    check_full_attention(fields)
    fields.size("head_dim")
    return {
        "rope_parameters": rope(fields),
        "use_sliding_window": False,
        "intermediate_size": fields.size("intermediate_size"),
        **heads(fields),
        **sizes(fields),
        **BIDIRECTIONAL,
    }


def bd3lm(fields: Fields, name: str) -> Attention:
    """Of dllm's checkpoints, whose config.json is the same for both kinds: blocks of block_size tokens where it is
    there, of 32 where bd3lm stands in the checkpoint's name or path and no mdlm after it, otherwise none."""
    named = PUBLISHED_BD3LM_BLOCK if DLLM_KIND.findall(name)[-1:] == ["bd3lm"] else 0
    length = fields.size("block_size") if fields.get("block_size") is not None else named
    return Attention(block_length=length, blocks_from=COMPLETION) if length else FULL


def heads(fields: Fields) -> dict[str, int]:
    """Attention heads under the names that transformers gives them."""
    return fields.heads("hidden_size", "num_attention_heads", "num_key_value_heads")
