"""Writes a model or an adapter in the layout that it was published in: the official names, config.json unchanged but
for a block size that only the checkpoint's name gave away.

A model that is loaded in its files' own dtype and written again gives the same bytes in every tensor. What is written
stands beside its place first and is put there in one step.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import split_torch_state_dict_into_shards
from peft import PeftModel
from torch import Tensor

from harness.errors import UserError
from harness.models.adapters import PEFT_PREFIX, adapted_layers, pair
from harness.models.diffusion_lm import DiffusionLM
from harness.models.files import INDEX_FILE, save_tensors
from harness.models.flops import HEAD
from harness.models.hub import ADAPTER_FILES, TOKENIZER_FILES
from harness.models.layout import BLOCK_SIZE, CONFIG_JSON, Layout
from harness.models.layouts import layout_of, read_config
from harness.records.jsonl import write_atomic

CARD_FILE = "README.md"
COPIED = (CONFIG_JSON, "generation_config.json", *TOKENIZER_FILES, "*.py")


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: number of tensors, their size in bytes, names of the weight files. pushed: the address on the
    hub, empty where it was not uploaded."""

    tensors: int
    size: int
    files: tuple[str, ...]
    pushed: str = ""


def export_model(lm: DiffusionLM, source: Path, out: Path, *, max_shard_size: int, card: str = "") -> Exported:
    """Writes all weights of a model without adapters, sharded above `max_shard_size` bytes.

    source: the folder that the model was loaded from; its configuration and tokenizer files are copied. card: the text
    of the model card, which is not written where it is empty. Raises UserError where `out` is taken.
    """
    assert not isinstance(lm.predictor.model, PeftModel), "merge the adapter or export it"
    raw = read_config(source)
    layout = layout_of(raw)
    state = lm.predictor.transformer.state_dict()
    if lm.predictor.transformer.config.tie_word_embeddings:
        del state[f"{HEAD}.weight"]
    weights = {layout.official_tensor(name): weight for name, weight in state.items()}
    with new_folder(out) as folder:
        for pattern in COPIED:
            for path in filter(Path.is_file, source.glob(pattern)):
                shutil.copyfile(path, folder / path.name)
        if lm.attention.block_length and raw.get(BLOCK_SIZE) is None:
            stated = raw | {BLOCK_SIZE: lm.attention.block_length}
            write_atomic(folder / CONFIG_JSON, json.dumps(stated, indent=2) + "\n")
        files = _write_shards(weights, folder, max_shard_size)
        _write_card(folder, card)
    return _exported(weights, files)


def export_adapter(lm: DiffusionLM, source: Path, out: Path, *, trained_on: str, card: str = "") -> Exported:
    """Writes the adapter of a model as peft's two files, for the checkpoint's own code.

    source: the folder that the model was loaded from. trained_on: the base model's name, for adapter_config.json.
    card: as in `export_model`. Raises UserError where `out` is taken.
    """
    model = lm.predictor.model
    assert isinstance(model, PeftModel), "the model has no adapter"
    layout = layout_of(read_config(source))
    weights = {
        f"{PEFT_PREFIX}{layout.official_module(name)}.{part}.weight": weight
        for name, layer in adapted_layers(model)
        for part, weight in pair(layer).items()
    }
    config = _adapter_config(model, layout, trained_on)
    with new_folder(out) as folder:
        config_file, weights_file = ADAPTER_FILES
        write_atomic(folder / config_file, json.dumps(config, indent=2, sort_keys=True) + "\n")
        save_tensors(weights, folder / weights_file)
        _write_card(folder, card)
    return _exported(weights, (weights_file,))


def refuse_taken(place: Path) -> None:
    """Raises UserError where `place` exists and is not an empty folder."""
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise UserError(f"'{place}' exists and is not an empty folder; name a new one with --out DIR.")


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A folder to write into that becomes `place` at the end of the block. Raises UserError where `place` is taken."""
    refuse_taken(place)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_card(folder: Path, card: str) -> None:
    if card:
        write_atomic(folder / CARD_FILE, card)


def _exported(weights: Mapping[str, Tensor], files: tuple[str, ...]) -> Exported:
    return Exported(tensors=len(weights), size=sum(weight.nbytes for weight in weights.values()), files=files)


def _write_shards(weights: Mapping[str, Tensor], folder: Path, most: int) -> tuple[str, ...]:
    split = split_torch_state_dict_into_shards(dict(weights), max_shard_size=most)
    for file, names in split.filename_to_tensors.items():
        save_tensors({name: weights[name] for name in names}, folder / file)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_atomic(folder / INDEX_FILE, json.dumps(index, indent=2, sort_keys=True) + "\n")
    return tuple(split.filename_to_tensors)


def _adapter_config(model: PeftModel, layout: Layout, trained_on: str) -> dict[str, Any]:
    """adapter_config.json with the layers' official names.

    The names are ends of paths: where the output layer ends as a layer of the blocks does, it is left out by name.
    """
    config = model.peft_config["default"]
    adapted = {name for name, _ in adapted_layers(model)}
    targets = {layout.official_module(name).rpartition(".")[2] for name in adapted}
    head = layout.official_module(HEAD)
    clashes = HEAD not in adapted and head.rpartition(".")[2] in targets
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": trained_on,
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "use_rslora": config.use_rslora,
        "target_modules": sorted(targets),
        "exclude_modules": [head] if clashes else None,
        "bias": "none",
        "fan_in_fan_out": False,
        "modules_to_save": None,
        "inference_mode": True,
    }
