"""The sizes of a model, from its config.json alone, or as published for the models that the recipes are written for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3Config

from harness.config.embedded import SMALL, TINY, embedded_by
from harness.models.attention import FULL, Attention
from harness.models.config_fields import Fields
from harness.models.hub import config_folder
from harness.models.layout import CONFIG_JSON, Layout
from harness.models.layouts import LAYOUTS, layout_of, read_config
from harness.models.small import small_weights
from harness.models.tiny import tiny_config

LLADA_8B = LlamaConfig(
    vocab_size=126_464,
    hidden_size=4096,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    intermediate_size=12_288,
    tie_word_embeddings=False,
    use_cache=False,
    is_causal=False,
)
"""LLaDA 8B: arXiv 2502.09992, table 5; the rows of its embedding as in config.json."""
DREAM_7B = Qwen2Config(
    vocab_size=152_064,
    hidden_size=3584,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    intermediate_size=18_944,
    tie_word_embeddings=False,
    use_cache=False,
    is_causal=False,
)
"""Dream 7B: arXiv 2508.15487; the sizes of Qwen2.5 7B, which it was initialised from."""
QWEN3_600M = Qwen3Config(
    vocab_size=151_936,
    hidden_size=1024,
    num_hidden_layers=28,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=128,
    intermediate_size=3072,
    tie_word_embeddings=True,
    use_cache=False,
    is_causal=False,
)
"""Qwen3 0.6B: arXiv 2505.09388, table 1; widths as in Qwen's config.json."""
PUBLISHED: Mapping[str, tuple[str, PretrainedConfig]] = {
    r"GSAI-ML/LLaDA-(8B-(Base|Instruct)|1\.5)": ("llada", LLADA_8B),
    r"Dream-org/Dream-(v0|Coder-v0)-(Base|Instruct)-7B": ("Dream", DREAM_7B),
    r"dllm-hub/Qwen3-0\.6B-diffusion-mdlm-v0\.1": ("a2d-qwen3", QWEN3_600M),
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The layout and sizes of a model. source: where they come from. folder: of the model, None where it is not on this
    machine. attention: which tokens may attend to which. compact_prompts: as in DiffusionLM."""

    layout: Layout
    config: PretrainedConfig
    source: str
    folder: Path | None = None
    attention: Attention = FULL
    compact_prompts: bool = False


def sizes_of(name: str) -> Sizes:
    """The sizes of an embedded model, of a folder or of a hub id; of a hub id no more than config.json is fetched, and
    nothing for the published ones of LLaDA and Dream. Raises UserError where there is no such model."""
    if name == TINY:
        source = "the embedded tiny model"
        return Sizes(layout=LAYOUTS["llama"], config=tiny_config(), source=source, compact_prompts=True)
    place = small_weights() if name == SMALL else Path(os.path.expanduser(name))
    for pattern, (layout, config) in PUBLISHED.items():
        if not place.is_dir() and re.fullmatch(pattern, name):
            return Sizes(layout=LAYOUTS[layout], config=config, source=f"the published sizes of {name}")
    if place.is_dir():
        return _read(place, name, folder=place)
    return _read(config_folder(name), name, folder=None)


def _read(place: Path, name: str, *, folder: Path | None) -> Sizes:
    raw: dict[str, Any] = read_config(place)
    layout, path = layout_of(raw), place / CONFIG_JSON
    return Sizes(
        layout=layout,
        config=layout.config(raw, path),
        source=str(path),
        folder=folder,
        attention=layout.attention(Fields(raw, path), name),
        compact_prompts=bool(embedded_by(raw)),
    )
