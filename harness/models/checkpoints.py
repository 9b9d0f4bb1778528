"""Reads published checkpoints: config.json and safetensors, no remote code. Everything is checked before memory is
taken.

LLaDA is transformers' Llama with other names; the tiny model is a Llama as it stands. A layout says how the
checkpoint's config.json becomes a transformers configuration and how its tensor names map to ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PretrainedConfig, PreTrainedModel

from harness.config import ModelConfig
from harness.errors import UserError, unknown_choice
from harness.models.adapter import DiffusionLM, SpecialTokens
from harness.models.tiny import CharacterTokenizer, tiny_weights

TINY = "tiny"
INDEX_FILE = "model.safetensors.index.json"
WEIGHTS_FILE = "model.safetensors"
LLADA_NAMES = (
    (r"^model\.transformer\.wte\.", "model.embed_tokens."),
    (r"^model\.transformer\.ln_f\.", "model.norm."),
    (r"^model\.transformer\.ff_out\.", "lm_head."),
    (r"^model\.transformer\.blocks\.(\d+)\.attn_norm\.", r"model.layers.\1.input_layernorm."),
    (r"^model\.transformer\.blocks\.(\d+)\.ff_norm\.", r"model.layers.\1.post_attention_layernorm."),
    (r"^model\.transformer\.blocks\.(\d+)\.([qkv]_proj)\.", r"model.layers.\1.self_attn.\2."),
    (r"^model\.transformer\.blocks\.(\d+)\.attn_out\.", r"model.layers.\1.self_attn.o_proj."),
    (r"^model\.transformer\.blocks\.(\d+)\.ff_proj\.", r"model.layers.\1.mlp.gate_proj."),
    (r"^model\.transformer\.blocks\.(\d+)\.up_proj\.", r"model.layers.\1.mlp.up_proj."),
    (r"^model\.transformer\.blocks\.(\d+)\.ff_out\.", r"model.layers.\1.mlp.down_proj."),
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one family of checkpoints is written down."""

    to_config: Callable[[Mapping[str, Any]], PretrainedConfig]
    model_class: type[PreTrainedModel]
    names: tuple[tuple[str, str], ...] = ()

    def our_name(self, name: str) -> str:
        """The transformers name of a tensor called `name` in the checkpoint."""
        for pattern, replacement in self.names:
            renamed, count = re.subn(pattern, replacement, name)
            if count:
                return renamed
        return name


def _llada_config(raw: Mapping[str, Any]) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=raw.get("embedding_size") or raw["vocab_size"],
        hidden_size=raw["d_model"],
        num_hidden_layers=raw["n_layers"],
        num_attention_heads=raw["n_heads"],
        num_key_value_heads=raw.get("n_kv_heads") or raw["n_heads"],
        intermediate_size=raw.get("mlp_hidden_size") or raw["mlp_ratio"] * raw["d_model"],
        max_position_embeddings=raw["max_sequence_length"],
        rms_norm_eps=raw["rms_norm_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": raw["rope_theta"]},
        tie_word_embeddings=raw.get("weight_tying", False),
        attention_bias=raw.get("include_qkv_bias", False),
        mlp_bias=raw.get("include_bias", False),
        use_cache=False,
        pad_token_id=raw["pad_token_id"],
        eos_token_id=raw["eos_token_id"],
        bos_token_id=None,
        is_causal=False,
    )


def _llama_config(raw: Mapping[str, Any]) -> LlamaConfig:
    return LlamaConfig.from_dict({**raw, "is_causal": False, "use_cache": False})


LAYOUTS = {
    "llada": Layout(to_config=_llada_config, model_class=LlamaForCausalLM, names=LLADA_NAMES),
    "llama": Layout(to_config=_llama_config, model_class=LlamaForCausalLM),
}


def load_model(config: ModelConfig, *, task: str, seed: int = 0) -> DiffusionLM:
    """Loads a model, moves it to its device and adds adapters where asked for.

    task: chooses the shipped weights of the tiny model. seed: of the adapters' initial values. Raises UserError for a
    missing or damaged checkpoint, an unknown architecture or an absent device.
    """
    device = resolve_device(config.device)
    folder = tiny_weights(task) if config.name == TINY else Path(config.name)
    raw = read_config(folder)
    model = load_transformer(folder, raw, dtype=getattr(torch, config.dtype)).to(device).eval()
    lm = DiffusionLM(
        model,
        CharacterTokenizer(),
        special_tokens(raw),
        name=config.name,
        compact_prompts=raw.get("tokenizer") == "characters",
        fingerprint=fingerprint(folder),
    )
    if config.lora.rank:
        lm.add_lora(config.lora, seed)
    return lm


def resolve_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none. Raises UserError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise unknown_choice("device", name, ["auto", "cpu", "cuda", "cuda:0"])
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"Device '{name}' is not there: torch sees no GPU. Use --set model.device=cpu or auto.")
    return torch.device(name)


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's config.json. Raises UserError where it is missing, damaged or of an unknown architecture."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(
            f"Model '{folder}' has no config.json; name 'tiny' or a folder with config.json and safetensors."
        )
    try:
        raw = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"'{path}' is not JSON: {error}.") from error
    kind = str(raw.get("model_type"))
    if kind not in LAYOUTS:
        raise unknown_choice(f"model_type in '{path}':", kind, LAYOUTS)
    return raw


def special_tokens(raw: Mapping[str, Any]) -> SpecialTokens:
    """Mask, padding and end tokens as config.json states them. Raises UserError where one is missing."""
    missing = [key for key in ("mask_token_id", "pad_token_id", "eos_token_id") if raw.get(key) is None]
    if missing:
        raise UserError(f"config.json lacks {', '.join(missing)}; a masked diffusion model needs them.")
    ends = raw["eos_token_id"]
    return SpecialTokens(
        mask_id=raw["mask_token_id"],
        pad_id=raw["pad_token_id"],
        end_ids=tuple(ends) if isinstance(ends, list) else (ends,),
    )


def load_transformer(folder: Path, raw: Mapping[str, Any], *, dtype: torch.dtype) -> PreTrainedModel:
    """The transformers model with its weights, after all names and shapes were checked against the files' headers."""
    layout = LAYOUTS[str(raw["model_type"])]
    config = layout.to_config(raw)
    with init_empty_weights(include_buffers=False):
        model = layout.model_class(config)
    files = weight_files(folder)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    check_headers(files, layout, expected, folder)
    state: dict[str, Tensor] = {}
    for path in files:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118  (safe_open is no mapping)
                if layout.our_name(name) in expected:
                    state[layout.our_name(name)] = handle.get_tensor(name).to(dtype)
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(True)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, sharded or not. Raises UserError where one is missing."""
    index = folder / INDEX_FILE
    if not index.is_file():
        single = folder / WEIGHTS_FILE
        if not single.is_file():
            raise UserError(f"Model '{folder}' has neither {WEIGHTS_FILE} nor {INDEX_FILE}.")
        return [single]
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError) as error:
        raise UserError(f"'{index}' is damaged: {error}.") from error
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise UserError(f"Model '{folder}' lacks the shard(s) {', '.join(missing)} that its index names.")
    return [folder / shard for shard in shards]


def check_headers(files: list[Path], layout: Layout, expected: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Compares the files' headers with what the configuration asks for. Raises UserError for the first difference."""
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as handle:
                for name in handle.keys():  # noqa: SIM118
                    found[layout.our_name(name)] = tuple(handle.get_slice(name).get_shape())
        except (SafetensorError, OSError) as error:
            raise UserError(f"'{path}' is not a readable safetensors file: {error}.") from error
    missing = sorted(set(expected) - set(found))
    if missing:
        raise UserError(f"Model '{folder}' lacks {len(missing)} tensor(s), the first is {missing[0]}.")
    for name, shape in expected.items():
        if found[name] != shape:
            raise UserError(f"Tensor {name} of '{folder}' has shape {found[name]}, config.json asks for {shape}.")


def fingerprint(folder: Path) -> str:
    """Sixteen hex digits over the weight files' bytes."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()[:16]
