"""Memory of one device, part by part: what a run holds all the time, and what each phase takes beside it.

What is held follows from the trainable weights: AdamW keeps two moments per weight in the weight's dtype
(arXiv 1711.05101, torch.optim.AdamW). Gradients live from an update's first pass to its step. NF4 weights take half
a byte, an 8-bit scale per 64 weights and a float32 scale per 256 of these scales (QLoRA, arXiv 2305.14314, section 3).
What the phases take is counted on a model without memory (traces.py). Bytes throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PretrainedConfig

from harness.config.tree import EvaluationConfig, RunConfig
from harness.diffusion.sampler import check_blocks
from harness.models.attention import FULL, Attention
from harness.models.diffusion_lm import DiffusionLM
from harness.models.layout import Layout
from harness.models.packing import packed_bytes
from harness.planning.rollouts import Traced, rollout_flops
from harness.planning.traces import Training, prepared, traced_rollout, traced_update
from harness.planning.weightless import Blueprint, weightless_model
from harness.rl.method import Method
from harness.rollout import RolloutNeeds

NF4_BYTES = 1 / 2 + 1 / 64 + 4 / (64 * 256)
"""Per weight, with doubly quantised scales."""
CUDA_RESERVE = 1 << 30
"""The context of CUDA and the workspaces of its libraries."""
GATHERED_BLOCKS = 2
"""Blocks whose weights FSDP2 holds whole at once: the one that runs and the one fetched ahead."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a run is spread over devices and cut into passes.

    sharding: `ddp` copies everything to each device and shares the rows; `fsdp2` also shares weights, reference,
    gradients and optimiser. micro_batch_size: rows of an update per pass, rollout_batch_size: completions that a device
    generates at once; 0 is all. merge_adapters: for rollouts, beside copies of what they are merged into. pack_weights:
    for rollouts and evaluations, beside packed copies. on_gpu: whether devices are GPUs, which update all weights at
    once.
    """

    devices: int = 1
    sharding: str = "none"
    activation_checkpointing: bool = False
    merge_adapters: bool = False
    pack_weights: bool = False
    micro_batch_size: int = 0
    rollout_batch_size: int = 0
    evaluation_batch_size: int = 64
    on_gpu: bool = False

    def part_of(self, size: int) -> int:
        """A device's part of what FSDP2 shares."""
        return size // self.devices if self.sharding == "fsdp2" else size


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What one device needs.

    held: bytes by part: weights, reference, adapters, optimiser, libraries; what FSDP2 has gathered, and the 4-bit
    weight that is unpacked to be used. phases: what each phase takes besides, at most, and the FLOPs that the
    first process spends: on one rollout, on preparing its updates, on all its updates, on one batch of an evaluation.
    checkpointed: the phase `update` with activation checkpointing, whatever is chosen. trainable: weights;
    trainable_bytes: theirs, on all devices together. updates: optimiser updates made from a rollout. evaluation_flops:
    of all decodings of one checkpoint, on one process.
    """

    held: Mapping[str, int]
    phases: Mapping[str, Traced]
    checkpointed: Traced
    trainable: int
    trainable_bytes: int
    updates: int
    evaluation_flops: float

    @property
    def worst(self) -> str:
        """The phase that takes the most."""
        return max(self.phases, key=lambda name: self.phases[name].bytes)

    @property
    def total(self) -> int:
        """The peak of the run."""
        return sum(self.held.values()) + self.phases[self.worst].bytes


def predict(
    config: RunConfig,
    method: Method,
    layout: Layout,
    shape: PretrainedConfig,
    *,
    prompt_length: int,
    spread: Spread,
    attention: Attention = FULL,
) -> Footprint:
    """The memory that a run takes on each device; no weights are loaded. shape: of the transformers model.

    prompt_length: tokens of the longest prompt. attention: which tokens may attend to which. Raises UserError where a
    published adapter cannot be read, and where the method or a decoding does not take models that attend by blocks.
    """
    model = Blueprint(
        layout=layout, shape=shape, chosen=config.model, attention=attention, reference=method.needs_reference
    )
    whole, one = weightless_model(model), weightless_model(model, layers=1)
    method.check_model(one)
    for decoding in (config.rollout, *config.evaluation.all_decodings):
        check_blocks(one, decoding)
    training = Training.of(config, method, model, prompt_length=prompt_length, processes=spread.devices)
    trained = [weight for weight in whole.predictor.parameters() if weight.requires_grad]
    gradients = spread.part_of(_bytes(trained))
    update, checkpointed = (
        traced_update(
            training, gradients=gradients, micro_batch_size=spread.micro_batch_size, checkpointing=checkpointing
        )
        for checkpointing in (False, True)
    )
    packing = packed_bytes(whole.predictor) if spread.pack_weights else 0
    phases = {
        "rollout": _rollout(config, training, spread, copied=_merged_bytes(whole), packed=packing),
        "prepare": prepared(training)[1],
        "update": checkpointed if spread.activation_checkpointing else update,
        "step": Traced(bytes=gradients + _step_bytes(trained, spread), logits=0, gradients=gradients, flops=0.0),
        "evaluation": _evaluation(config.evaluation, model, prompt_length, spread, packed=packing),
    }
    return Footprint(
        held=held_bytes(config, method, whole, spread),
        phases=phases,
        checkpointed=checkpointed,
        trainable=sum(weight.numel() for weight in trained),
        trainable_bytes=_bytes(trained),
        updates=len(prepared(training)[0].updates),
        evaluation_flops=_evaluation_flops(config.evaluation, one, prompt_length),
    )


def _rollout(config: RunConfig, training: Training, spread: Spread, *, copied: int, packed: int) -> Traced:
    """One device's part of a rollout. copied, packed: bytes of the weights that adapters are merged into, and of the
    packed ones."""
    rows = config.train.batch_size // spread.devices
    at_once = min(rows, spread.rollout_batch_size or rows)
    traced = traced_rollout(
        training.model, config.rollout, training.needs, rows=at_once, prompt_length=training.prompt_length
    )
    merging = spread.part_of(copied) if spread.merge_adapters else 0
    return replace(traced, bytes=traced.bytes + merging + packed, flops=traced.flops * rows / at_once)


def _evaluation(
    config: EvaluationConfig, model: Blueprint, prompt_length: int, spread: Spread, *, packed: int
) -> Traced:
    """The longest of the decodings, one with a cache before others."""
    longest = max(config.all_decodings, key=lambda decoding: (decoding.completion_length, decoding.cache != "none"))
    rows = min(config.items, spread.evaluation_batch_size)
    traced = traced_rollout(model, longest, RolloutNeeds(), rows=rows, prompt_length=prompt_length)
    return replace(traced, bytes=traced.bytes + packed)


def _evaluation_flops(config: EvaluationConfig, model: DiffusionLM, prompt_length: int) -> float:
    """Of all decodings of one checkpoint, and the validation items with the first of them."""
    decodings, needs = config.all_decodings, RolloutNeeds()
    pairs = [(decoding, config.items) for decoding in decodings] + [(decodings[0], config.validation_items)]
    return sum(
        rollout_flops(model.shape, decoding, needs, rows=rows, prompt_length=prompt_length, attention=model.attention)
        for decoding, rows in pairs
    )


def held_bytes(config: RunConfig, method: Method, model: DiffusionLM, spread: Spread) -> dict[str, int]:
    """What one device holds all the time, part by part. model: of full depth, weightless."""
    every = list(model.predictor.parameters())
    trainable = _bytes(weight for weight in every if weight.requires_grad)
    adapters = trainable if model.lora_ranks else 0
    weights = _bytes(every) - adapters
    if config.model.quantization:
        weights -= sum(round(weight.nbytes - weight.numel() * NF4_BYTES) for weight in _quantised(model))
    held = {
        "weights": weights,
        "reference": weights if method.needs_reference and not model.lora_ranks else 0,
        "adapters": adapters,
        "optimiser": 2 * trainable,
    }
    held = {name: spread.part_of(size) for name, size in held.items()}
    if config.model.quantization:
        held["unpacked"] = max(weight.nbytes for weight in _quantised(model))
    held["libraries"] = CUDA_RESERVE if spread.on_gpu else 0
    return held | ({"gathered": _gathered(model)} if spread.sharding == "fsdp2" else {})


def _step_bytes(trained: list[nn.Parameter], spread: Spread) -> int:
    """Temporary values of torch's AdamW: on a GPU the root of every second moment at once, on a CPU two tensors of one
    weight's size."""
    if not spread.on_gpu:
        return 2 * max(weight.nbytes for weight in trained)
    return spread.part_of(_bytes(trained))


def _merged_bytes(model: DiffusionLM) -> int:
    """The weights that have adapters, of which copies are kept while these are merged."""
    layers = [module for module in model.predictor.modules() if isinstance(module, LoraLayer)]
    return _bytes(layer.get_base_layer().weight for layer in layers)


def _gathered(model: DiffusionLM) -> int:
    """Whole weights that FSDP2 holds while it works: GATHERED_BLOCKS blocks, and everything outside the blocks."""
    blocks = model.predictor.transformer.model.layers
    return (
        GATHERED_BLOCKS * max(_bytes(block.parameters()) for block in blocks)
        + _bytes(model.predictor.parameters())
        - _bytes(blocks.parameters())
    )


def _quantised(model: DiffusionLM) -> list[Tensor]:
    """The frozen weights of the blocks' linear layers."""
    linear = [module for module in model.predictor.transformer.model.layers.modules() if isinstance(module, nn.Linear)]
    return [module.weight for module in linear if not module.weight.requires_grad]


def _bytes(weights: Iterable[Tensor]) -> int:
    """Of tensors, each counted once."""
    return sum({id(weight): weight.nbytes for weight in weights}.values())
