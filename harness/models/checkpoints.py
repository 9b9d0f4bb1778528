"""Reads published checkpoints: config.json and safetensors, no remote code. Everything is checked before memory is
taken.

`open_checkpoint` reads headers alone and holds them against config.json; `Checkpoint.load` then takes the weights.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from harness.config.embedded import SMALL, TINY, embedded_by
from harness.config.tree import AUTO, ModelConfig
from harness.distributed.processes import local_index
from harness.errors import UserError, printable
from harness.models import adapters as lora
from harness.models import quantization
from harness.models.config_fields import Fields
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens, Tokenizer
from harness.models.files import check_headers, fingerprint, read_json, weight_files
from harness.models.hub import commit, config_folder, model_folder, repository
from harness.models.layout import CONFIG_JSON, Layout, end_tokens, special_tokens
from harness.models.layouts import layout_of, read_config
from harness.models.small import small_weights
from harness.models.tiny import CharacterTokenizer, tiny_weights
from harness.models.tokenizers import CheckpointTokenizer, load_tokenizer

log = logging.getLogger(__name__)

DEVICE = re.compile(r"cpu(:0)?|cuda(:[0-9]{1,3})?")
BASE_NAME = re.compile(r"(?i)(?:^|[-_.])base(?:$|[-_.@])")
CHAT_NAME = re.compile(r"(?i)(?:^|[-_.])(?:instruct|chat)(?:$|[-_.@])")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose configuration and headers fit together; nothing is loaded yet.

    config: of the transformers model. files: its safetensors. names: tensor names in the files to ours.
    """

    folder: Path
    layout: Layout
    config: PretrainedConfig
    files: Sequence[Path]
    names: Mapping[str, str]

    def load(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> PreTrainedModel:
        """The transformers model with its weights, in `dtype`, or as the files have them, on `device`."""
        model = empty_model(self.layout, self.config)
        state: dict[str, Tensor] = {}
        for path in self.files:
            with safe_open(path, framework="pt") as handle:
                for official in handle.keys():  # noqa: SIM118  (safe_open is no mapping)
                    state[self.names[official]] = handle.get_tensor(official).to(dtype=dtype, device=device)
        model.load_state_dict(state, assign=True, strict=False)
        model.tie_weights()
        return model.to(device).requires_grad_(True)


def load_model(
    config: ModelConfig,
    *,
    task: str,
    device: str = "auto",
    seed: int = 0,
    stored_dtype: bool = False,
    turns_end: bool = True,
) -> DiffusionLM:
    """Loads a model with its tokenizer, moves it to its device and adds adapters where asked for.

    task: chooses the shipped weights of the tiny model. device: auto, cpu, cuda or cuda:N. seed: of the adapters'
    initial values. stored_dtype: keep the files' own dtype instead of config.dtype. turns_end: the end of a turn ends
    completions as the end of the text does. Raises UserError for a missing or
    damaged checkpoint, an unknown architecture or an absent device.
    """
    config.check()
    place = resolve_device(device)
    if config.quantization:
        quantization.check_available(place)
    folder = locate(config.name, task)
    raw = read_config(folder)
    checkpoint = open_checkpoint(folder, raw)
    tokenizer, special = tokens(checkpoint, raw, config.name, turns_end=turns_end)
    adapter = None
    if config.adapter:
        empty = empty_model(checkpoint.layout, checkpoint.config)
        adapter = lora.read_adapter(config.adapter, config.adapter_subfolder, layout=checkpoint.layout, model=empty)
    places = {config.name: checkpoint.folder} | ({config.adapter: adapter.weights_file} if adapter else {})
    is_embedded = bool(embedded_by(raw))
    dtype = None if stored_dtype or config.dtype == AUTO else getattr(torch, config.dtype)
    lm = DiffusionLM(
        _transformer(checkpoint, dtype, place, config.quantization).eval(),
        tokenizer,
        special,
        name=config.name,
        shift=checkpoint.layout.shift,
        attention=checkpoint.layout.attention(Fields(raw, checkpoint.folder / CONFIG_JSON), config.name),
        compact_prompts=is_embedded,
        fingerprint=fingerprint([*checkpoint.files, *([adapter.weights_file] if adapter else [])]),
        commits={repository(name): commit(place) for name, place in places.items() if commit(place)},
        warnings=warnings(
            config.name, None if is_embedded else tokenizer, adapter.config.trained_on if adapter else ""
        ),
    )
    _add_adapters(lm, config, adapter, seed)
    _tell(lm, checkpoint.folder)
    return lm


def _tell(lm: DiffusionLM, folder: Path) -> None:
    weights = [*lm.network.parameters()]
    whole, trained = (sum(one.numel() for one in weights if one.requires_grad or every) for every in (True, False))
    log.info(
        "Model: %s in %s, %s weights, %s of them trainable, %s on %s",
        *(lm.name, folder, f"{whole:,}", f"{trained:,}", lm.dtype_name, lm.device),
    )


def _transformer(
    checkpoint: Checkpoint, dtype: torch.dtype | None, device: torch.device, quantized: str
) -> PreTrainedModel:
    if not quantized:
        return checkpoint.load(dtype, device)
    return quantization.to_nf4(checkpoint.load(dtype), compute_dtype=dtype or torch.bfloat16).to(device)


def _add_adapters(lm: DiffusionLM, config: ModelConfig, adapter: lora.PublishedAdapter | None, seed: int) -> None:
    """Published adapters first; they are merged where new ones are asked for."""
    if adapter is not None:
        lora.load_adapter(lm, adapter)
        if config.lora.rank:
            lora.merge_adapter(lm)
    if config.lora.rank:
        lm.add_lora(config.lora, seed)


def require_model(name: str, task: str) -> None:
    """Raises UserError where there is no such model; of one on the hub no more than config.json is fetched."""
    read_config(_embedded_folder(name, task) or config_folder(name))


def locate(name: str, task: str) -> Path:
    """The folder of a model by name: `tiny`, `small`, a folder, or a hub id. Raises UserError where there is none."""
    return _embedded_folder(name, task) or model_folder(name)


def _embedded_folder(name: str, task: str) -> Path | None:
    return tiny_weights(task) if name == TINY else small_weights() if name == SMALL else None


def resolve_device(name: str) -> torch.device:
    """`auto` is this process's GPU, or the CPU where there is none. Raises UserError for an unknown device."""
    if name == "auto":
        return torch.device("cuda", local_index()) if torch.cuda.is_available() else torch.device("cpu")
    if not DEVICE.fullmatch(name):
        raise UserError(f"Unknown device '{name}'; choose auto, cpu, cuda, which is a GPU, or cuda:N.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count() or "no"
        raise UserError(f"Device '{name}' does not exist: torch sees {count} GPU(s). Choose cpu or auto.")
    return device


def tokens(
    checkpoint: Checkpoint, raw: Mapping[str, Any], name: str, *, turns_end: bool
) -> tuple[Tokenizer, SpecialTokens]:
    """The tokenizer, and the special tokens of config.json or, where the family leaves them to it, of the tokenizer;
    with `turns_end` its end of a turn is an end token too."""
    fields, layout = Fields(raw, checkpoint.folder / CONFIG_JSON), checkpoint.layout
    if raw.get("tokenizer") == "characters":
        return CharacterTokenizer(), special_tokens(fields)
    options, rows = layout.template_options, checkpoint.config.vocab_size
    tokenizer = load_tokenizer(checkpoint.folder, name, vocabulary=rows, template_options=options)
    known = tokenizer.special_ids(layout.mask_token, appends_mask=layout.appends_mask) if layout.mask_token else {}
    special = special_tokens(fields, known)
    turn_ends = (*_generation_ends(checkpoint, rows), *tokenizer.turn_end_ids) if turns_end else ()
    ends = dict.fromkeys((*special.end_ids, *turn_ends))
    return tokenizer, SpecialTokens(mask_id=special.mask_id, pad_id=special.pad_id, end_ids=tuple(ends))


def _generation_ends(checkpoint: Checkpoint, vocabulary: int) -> tuple[int, ...]:
    """The end tokens of generation_config.json, where the family has them there."""
    place = checkpoint.folder / "generation_config.json"
    if not checkpoint.layout.generation_ends or not place.is_file():
        return ()
    fields = Fields(read_json(place), place)
    return end_tokens(fields, fields.get("eos_token_id"), vocabulary)


def warnings(name: str, tokenizer: Tokenizer | None, adapter_trained_on: str) -> tuple[str, ...]:
    """What suggests that a base model stands where an instruction-tuned one is meant, or the reverse. tokenizer: None
    of a model that takes no chat prompts."""
    if not isinstance(tokenizer, CheckpointTokenizer):
        return ()
    found = []
    if _kind(name) == "base":
        found.append(f"Model '{name}' is a base model by its name, but gets chat prompts; is the Instruct one meant?")
    if not tokenizer.has_chat_template:
        found.append(f"Model '{name}' has no chat template, as base models have none; prompts go in as plain text.")
    if _kind(name) and _kind(adapter_trained_on) and _kind(name) != _kind(adapter_trained_on):
        found.append(f"The adapter was trained on '{printable(adapter_trained_on)}', but is put on '{name}'.")
    return tuple(found)


def _kind(name: str) -> str:
    """`base` or `instruct` where the last part of a folder or hub id says so, otherwise empty."""
    last = Path(name).name
    return "base" if BASE_NAME.search(last) else "instruct" if CHAT_NAME.search(last) else ""


def empty_model(layout: Layout, config: PretrainedConfig) -> PreTrainedModel:
    """The transformers model without memory for its weights; the rotary frequencies, which no file holds, are there."""
    with torch.device("meta"):
        model = layout.model_class(config)
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model


def open_checkpoint(folder: Path, raw: Mapping[str, Any]) -> Checkpoint:
    """Checks config.json, index and headers against each other. Raises UserError for the first thing that is wrong."""
    layout = layout_of(raw)
    config = layout.config(raw, folder / CONFIG_JSON)
    files = weight_files(folder)
    shapes = {name: tuple(tensor.shape) for name, tensor in empty_model(layout, config).state_dict().items()}
    if config.tie_word_embeddings:
        del shapes["lm_head.weight"]
    names = {layout.official_tensor(name): name for name in shapes}
    check_headers(files, {official: shapes[name] for official, name in names.items()}, folder)
    return Checkpoint(folder=folder, layout=layout, config=config, files=files, names=names)
