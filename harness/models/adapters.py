"""Low-rank adapters as they are published (LoRA, arXiv 2106.09685; peft's two files), under the checkpoint's names.

The scripts of EGSPO, d1 and ESPO ask for q, k, v, o, gate, up and down, but LLaDA's own code has only q_proj, k_proj,
v_proj and up_proj under these names, so those four were trained; its attn_out, ff_proj and ff_out are our o_proj,
gate_proj and down_proj, and ff_out is also its output layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.errors import UserError
from harness.models.diffusion_lm import DiffusionLM
from harness.models.files import read_header, read_json
from harness.models.flops import HEAD
from harness.models.hub import ADAPTER_FILES, adapter_folder
from harness.models.layouts import Layout

PEFT_PREFIX = "base_model.model."
WITHOUT = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "trainable_token_indices")


@dataclass(frozen=True, kw_only=True)
class PublishedAdapter:
    """An adapter whose configuration and headers fit the model; nothing is loaded yet.

    modules: our module to the official name of its pair of tensors. rank, alpha, dropout, rank_stabilised: as in
    adapter_config.json. trained_on: the base model named there.
    """

    weights_file: Path
    modules: Mapping[str, str]
    rank: int
    alpha: float
    dropout: float
    rank_stabilised: bool
    trained_on: str

    @property
    def projections(self) -> tuple[str, ...]:
        """The kinds of adapted layers, as q_proj; lm_head is the output layer."""
        return tuple(sorted({module.rpartition(".")[2] for module in self.modules}))


def read_adapter(name: str, subfolder: str, *, layout: Layout, model: PreTrainedModel) -> PublishedAdapter:
    """Reads and checks an adapter's configuration and headers; `model` may be without weights.

    Raises UserError where a file is missing or damaged, where it is no plain LoRA, or where a tensor is missing,
    unknown or of the wrong shape.
    """
    folder = adapter_folder(name, subfolder)
    missing = [file for file in ADAPTER_FILES if not (folder / file).is_file()]
    if missing:
        raise UserError(f"Adapter '{folder}' lacks {' and '.join(missing)}; a .bin file is not read, convert it.")
    config_file, weights_file = (folder / file for file in ADAPTER_FILES)
    config = read_json(config_file)
    _refuse_other_kinds(config, config_file)
    rank = _number(config, "r", config_file)
    if rank != int(rank) or rank < 1:
        raise UserError(f"'{config_file}' has r={rank}, where a whole number above 0 is needed.")
    modules = _adapted_modules(read_header(weights_file), int(rank), layout, model, folder)
    _check_coverage(modules, _targets(config, layout), model, folder)
    return PublishedAdapter(
        weights_file=weights_file,
        modules=modules,
        rank=int(rank),
        alpha=_number(config, "lora_alpha", config_file),
        dropout=_number(config, "lora_dropout", config_file),
        rank_stabilised=bool(config.get("use_rslora")),
        trained_on=str(config.get("base_model_name_or_path") or ""),
    )


def load_adapter(lm: DiffusionLM, adapter: PublishedAdapter) -> None:
    """Puts the adapter on the model, trainable, its weights in float32 or wider; the model's own are frozen."""
    config = PeftLoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        use_rslora=adapter.rank_stabilised,
        target_modules=list(adapter.projections),
    )
    with torch.random.fork_rng():
        model = get_peft_model(lm.predictor.transformer, config)
    weights = load_file(adapter.weights_file)
    with torch.no_grad():
        for module, layer in adapted_layers(model):
            for part, weight in pair(layer).items():
                weight.copy_(weights[f"{adapter.modules[module]}.{part}.weight"])
    lm.set_model(model, dict.fromkeys(adapter.projections, adapter.rank))


def merge_adapter(lm: DiffusionLM) -> None:
    """Adds the adapter to the weights, in float32 or wider before rounding to their dtype, and takes it off.

    Raises UserError for an adapter of an output layer that is the embedding too: it would change both.
    """
    model = lm.predictor.model
    assert isinstance(model, PeftModel)
    if HEAD in lm.lora_ranks and lm.predictor.transformer.config.tie_word_embeddings:
        raise UserError(
            f"Model '{lm.name}' uses its embedding as output layer, so an adapter of that layer cannot be merged; "
            "export the adapter itself."
        )
    with torch.no_grad():
        for _, layer in adapted_layers(model):
            weight = layer.get_base_layer().weight
            exact = torch.promote_types(weight.dtype, torch.float32)
            weight.copy_(weight.to(exact) + layer.get_delta_weight("default").to(exact))
    lm.set_model(model.unload().requires_grad_(True), {})


def adapted_layers(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """Our name and the layer of every module with an adapter."""
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def pair(layer: LoraLayer) -> dict[str, Tensor]:
    """lora_A (rank, inputs) and lora_B (outputs, rank) of an adapted layer."""
    return {"lora_A": layer.lora_A["default"].weight, "lora_B": layer.lora_B["default"].weight}


def _refuse_other_kinds(config: Mapping[str, Any], path: Path) -> None:
    """Raises UserError for everything that is not a pair of matrices per layer."""
    if config.get("peft_type") != "LORA":
        raise UserError(f"'{path}' has peft_type={config.get('peft_type')!r}; LORA alone is known.")
    if config.get("bias", "none") != "none":
        raise UserError(f"'{path}' has bias={config['bias']!r}; none alone is known.")
    for key in WITHOUT:
        if config.get(key):
            raise UserError(f"'{path}' has {key}={config[key]!r}; adapters with it are not known, merge it elsewhere.")


def _number(config: Mapping[str, Any], key: str, path: Path) -> float:
    value = config.get(key, 0.0)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < float("inf"):
        raise UserError(f"'{path}' has {key}={value!r}, where a number from 0 is needed.")
    return value


def _targets(config: Mapping[str, Any], layout: Layout) -> frozenset[str] | None:
    """Our names of the layers that the configuration lists and the checkpoint's own code has; None for a pattern."""
    listed = config.get("target_modules")
    if not isinstance(listed, list):
        return None
    ours = layout.official_projections()
    names = {str(name).rpartition(".")[2] for name in listed}
    return frozenset(ours[name] for name in names if name in ours) if ours else frozenset(names)


def _adapted_modules(
    header: Mapping[str, Sequence[int]], rank: int, layout: Layout, model: PreTrainedModel, folder: Path
) -> dict[str, str]:
    """Our module to the official prefix of its tensors. Raises UserError for unknown, single or misshapen tensors."""
    left = dict(header)
    modules = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        official = PEFT_PREFIX + layout.official_module(name)
        shapes = {"lora_A": (rank, module.in_features), "lora_B": (module.out_features, rank)}
        found = {part: left.pop(f"{official}.{part}.weight", None) for part in shapes}
        if not any(found.values()):
            continue
        for part, shape in shapes.items():
            if found[part] != shape:
                raise UserError(f"Adapter '{folder}': {official}.{part}.weight has shape {found[part]}, not {shape}.")
        modules[name] = official
    if left:
        raise UserError(f"Adapter '{folder}' has {len(left)} tensor(s) of no layer here, the first is {min(left)}.")
    return modules


def _check_coverage(
    modules: Mapping[str, str], targets: frozenset[str] | None, model: PreTrainedModel, folder: Path
) -> None:
    """Every kind of layer must be adapted in all blocks, and be one that the configuration lists.

    LLaDA's output layer shares its name with a layer of the blocks, so it may be adapted without being meant.
    """
    kinds = Counter(module.rpartition(".")[2] for module in modules)
    listed = frozenset(kinds) if targets is None else targets
    unlisted = sorted(kinds.keys() - listed - {HEAD})
    if unlisted or not kinds:
        raise UserError(f"Adapter '{folder}' has tensors of {unlisted or 'no layer'}, unlike its target_modules.")
    for kind in sorted(listed):
        wanted = 1 if kind == HEAD else model.config.num_hidden_layers
        if kinds[kind] != wanted:
            raise UserError(f"Adapter '{folder}' has tensors of {kinds[kind]} of {wanted} layers {kind}.")
