"""Low-rank adapters as they are published (LoRA, arXiv 2106.09685; peft's two files), under the checkpoint's names.

The scripts of EGSPO, d1 and ESPO ask for q, k, v, o, gate, up and down, but LLaDA's own code has only q_proj, k_proj,
v_proj and up_proj under these names, so those four were trained; its attn_out, ff_proj and ff_out are our o_proj,
gate_proj and down_proj, and ff_out is also its output layer.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.distributed.sharding import give_back
from harness.errors import UserError
from harness.models.adapter_config import AdapterConfig, read_adapter_config
from harness.models.diffusion_lm import DiffusionLM
from harness.models.files import read_header
from harness.models.flops import HEAD
from harness.models.hub import ADAPTER_FILES, adapter_folder
from harness.models.layout import Layout
from harness.models.lora import with_adapters

PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, kw_only=True)
class PublishedAdapter:
    """An adapter whose configuration and headers fit the model; nothing is loaded yet.

    modules: our module to the official name of its pair of tensors.
    """

    config: AdapterConfig
    weights_file: Path
    modules: Mapping[str, str]

    @property
    def projections(self) -> tuple[str, ...]:
        """The kinds of adapted layers, as q_proj; lm_head is the output layer."""
        return tuple(sorted(set(map(_kind, self.modules))))


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
    config = read_adapter_config(config_file)
    modules = _adapted_modules(read_header(weights_file), config.rank, layout, model, folder)
    _check_coverage(modules, config, layout, model)
    return PublishedAdapter(config=config, weights_file=weights_file, modules=modules)


def load_adapter(lm: DiffusionLM, adapter: PublishedAdapter) -> None:
    """Puts the adapter on the model, trainable, its weights in float32 or wider; the model's own are frozen."""
    config = PeftLoraConfig(
        r=adapter.config.rank,
        lora_alpha=adapter.config.alpha,
        lora_dropout=adapter.config.dropout,
        use_rslora=adapter.config.rank_stabilised,
        target_modules=list(adapter.projections),
    )
    with torch.random.fork_rng():
        model = with_adapters(lm.predictor.transformer, config)
    weights = load_file(adapter.weights_file)
    with torch.no_grad():
        for module, layer in adapted_layers(model):
            for part, weight in pair(layer).items():
                weight.copy_(weights[f"{adapter.modules[module]}.{part}.weight"])
    lm.set_model(model, dict.fromkeys(adapter.projections, adapter.config.rank))


def merge_adapter(lm: DiffusionLM) -> None:
    """Adds the adapter to the weights, in float32 or wider before rounding to their dtype, and takes it off.

    Raises UserError for an adapter of an output layer that is the embedding too: it would change both.
    """
    model = lm.predictor.model
    assert isinstance(model, PeftModel)
    check_mergeable(lm, "export the adapter itself")
    for _, layer in adapted_layers(model):
        _merge(layer)
    lm.set_model(model.unload().requires_grad_(True), {})


def check_mergeable(lm: DiffusionLM, fix: str) -> None:
    """Raises UserError for an adapter of an output layer that is the embedding too. fix: what to do then."""
    if HEAD in lm.lora_ranks and lm.predictor.transformer.config.tie_word_embeddings:
        raise UserError(
            f"Model '{lm.name}' uses its embedding as output layer, so an adapter of that layer cannot be merged; "
            f"{fix}."
        )


@contextlib.contextmanager
def merged(lm: DiffusionLM) -> Iterator[None]:
    """Inside, the adapter is merged into the weights, as `merge_adapter` rounds them, and takes no computation of its
    own; afterwards the weights are the copies that were kept of them, the same to the bit."""
    model = lm.predictor.model
    assert isinstance(model, PeftModel)
    layers = [layer for _, layer in adapted_layers(model)]
    give_back(lm.predictor)
    kept = [layer.get_base_layer().weight.detach().clone() for layer in layers]
    try:
        for layer in layers:
            _merge(layer)
            layer.merged_adapters.append("default")
        lm.graphs.forget()
        yield
    finally:
        lm.graphs.forget()
        give_back(lm.predictor)
        with torch.no_grad():
            for layer, weight in zip(layers, kept, strict=True):
                layer.get_base_layer().weight.copy_(weight)
                layer.merged_adapters.clear()


@torch.no_grad()
def _merge(layer: LoraLayer) -> None:
    weight = layer.get_base_layer().weight
    exact = torch.promote_types(weight.dtype, torch.float32)
    weight.copy_(weight.to(exact) + layer.get_delta_weight("default").to(exact))


def adapted_layers(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """Our name and the layer of every module with an adapter."""
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def pair(layer: LoraLayer) -> dict[str, Tensor]:
    """lora_A (rank, inputs) and lora_B (outputs, rank) of an adapted layer."""
    return {"lora_A": layer.lora_A["default"].weight, "lora_B": layer.lora_B["default"].weight}


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


def _check_coverage(modules: Mapping[str, str], config: AdapterConfig, layout: Layout, model: PreTrainedModel) -> None:
    """Every adapted layer must be one that the configuration targets, and every kind be adapted in all blocks.

    A list names kinds that must be there; LLaDA's output layer, though, shares its name with a layer of the blocks and
    may be named without being meant. What a pattern fits may be there or not.
    """
    folder = config.path.parent
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    ours = {layout.official_module(name): name for name in linear}
    targeted = {ours[official] for official in config.targeted(ours, head=layout.official_module(HEAD))}
    untargeted = sorted({_kind(module) for module in modules.keys() - targeted})
    if untargeted or not modules:
        raise UserError(f"Adapter '{folder}' has tensors of {untargeted or 'no layer'}, unlike its target_modules.")
    kinds, there = (Counter(map(_kind, names)) for names in (modules, linear))
    listed = {_kind(module) for module in targeted} - {HEAD} if config.lists_layers else set()
    for kind in sorted(kinds.keys() | listed):
        if kinds[kind] != there[kind]:
            raise UserError(f"Adapter '{folder}' has tensors of {kinds[kind]} of {there[kind]} layers {kind}.")


def _kind(module: str) -> str:
    """`q_proj` of model.layers.3.self_attn.q_proj."""
    return module.rpartition(".")[2]
