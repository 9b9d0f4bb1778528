"""A model without memory for its weights, and a rollout that nobody generated: enough to run a method's own code.

The weights are torch's FakeTensors: operations on them give tensors with shapes and no values, at any size and in
moments. Everything else (tokens, steps, masks) is real, so that code which asks for values goes on as it would.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from transformers import PretrainedConfig

from harness.config.decoding import Decoding
from harness.config.tree import ModelConfig
from harness.diffusion.schedule import block_diffusion_counts, most_steps
from harness.models import adapters
from harness.models.attention import COMPLETION, FULL, Attention
from harness.models.checkpoints import empty_model
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.families.lladamoe import Experts
from harness.models.layout import Layout
from harness.models.memory import keep_no_activations
from harness.models.tiny import CharacterTokenizer
from harness.rollout import Prompts, Rollout, RolloutNeeds

PAD, END, FIRST_TOKEN = 0, 1, 2


@functools.cache
def fake_mode() -> FakeTensorMode:
    """The world of tensors without memory, which may meet real ones: one, since those of two worlds may not meet."""
    return FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """What a weightless model is made of. reference: with a frozen copy for the reference policy, where there are no
    adapters to switch off. sizes: those of `shape` as text, by which two blueprints of a layout are equal."""

    chosen: ModelConfig
    attention: Attention = FULL
    reference: bool = False
    layout: Layout = field(compare=False)
    shape: PretrainedConfig = field(compare=False)
    sizes: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", (self.layout.model_type, self.shape.to_json_string()))


@functools.lru_cache(maxsize=8)
def weightless_model(blueprint: Blueprint, *, layers: int = 0, checkpointing: bool = False) -> DiffusionLM:
    """The model of a blueprint, on a CPU that it takes no memory of.

    layers: only so many blocks of it, the largest, 0 for all; its meter counts all. checkpointing: these keep their
    inputs alone. Raises UserError where a published adapter cannot be read.
    """
    layout, chosen, shape = blueprint.layout, blueprint.chosen, blueprint.shape
    network = empty_model(layout, shape).to(getattr(torch, chosen.dtype)).eval()
    if layers:
        network.model.layers = _largest(network.model.layers, layers)
    if checkpointing:
        keep_no_activations(network.model.layers)
    special = SpecialTokens(mask_id=shape.vocab_size - 1, pad_id=PAD, end_ids=(END,))
    model = DiffusionLM(
        network,
        CharacterTokenizer(),
        special,
        name=chosen.name,
        shift=layout.shift,
        attention=blueprint.attention,
    )
    if chosen.lora.rank:
        model.add_lora(chosen.lora, seed=0)
    elif chosen.adapter:
        folder = chosen.adapter_subfolder
        adapters.load_adapter(model, adapters.read_adapter(chosen.adapter, folder, layout=layout, model=network))
    if blueprint.reference and not model.lora_ranks:
        frozen = copy.deepcopy(model.predictor)
        _make_fake(frozen)
        model.keep_reference(frozen)
    _make_fake(model.predictor)
    _share_experts_evenly(network)
    return model


def _largest(blocks: nn.ModuleList, count: int) -> nn.ModuleList:
    """The blocks with the most weights, renumbered for the cache of keys and values."""
    chosen = sorted(blocks, key=lambda block: -sum(weight.numel() for weight in block.parameters()))[:count]
    for number, block in enumerate(chosen):
        block.get_submodule("self_attn").layer_idx = number  # type: ignore[assignment]
    return nn.ModuleList(chosen)


def _share_experts_evenly(network: nn.Module) -> None:
    """Has every expert of a mixture get as many tokens as the others: which they choose, only values decide. What all
    experts of a block keep together is the same whoever gets them."""

    def share(experts: Experts, given: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        hidden_Nd, expert_Nk, weight_Nk = given
        turn_Nk = torch.arange(expert_Nk.numel()).view(expert_Nk.shape) % len(experts)
        return hidden_Nd, turn_Nk, weight_Nk

    for module in network.modules():
        if isinstance(module, Experts):
            module.register_forward_pre_hook(share)


def _make_fake(network: nn.Module) -> None:
    """Replaces every parameter by one without memory, on the CPU; tied ones stay tied."""
    made: dict[int, nn.Parameter] = {}
    with fake_mode():
        for module in network.modules():
            for name, weight in module._parameters.items():
                if weight is not None and id(weight) not in made:
                    empty = torch.empty(weight.shape, dtype=weight.dtype, device="cpu")
                    made[id(weight)] = nn.Parameter(empty, requires_grad=weight.requires_grad)
                if weight is not None:
                    module._parameters[name] = made[id(weight)]


def made_up_prompts(rows: int, length: int, *, vocabulary: int) -> Prompts:
    """Random tokens; every second row is padded where there are two rows and two tokens or more."""
    generator = torch.Generator().manual_seed(0)
    ids_BP = torch.randint(FIRST_TOKEN, vocabulary - 1, (rows, length), generator=generator)
    mask_BP = torch.ones(rows, length, dtype=torch.bool)
    mask_BP[1::2, : length // 2] = False
    return Prompts(ids_BP=ids_BP, mask_BP=None if mask_BP.all() else mask_BP)


def made_up_rollout(
    prompts: Prompts, decoding: Decoding, needs: RolloutNeeds, *, mask_id: int, attention: Attention = FULL
) -> Rollout:
    """Completions of random tokens, revealed evenly in a random order, of a model that attends by blocks in theirs,
    with the record that `needs` asks for."""
    generator, device = torch.Generator().manual_seed(1), prompts.ids_BP.device
    rows, length = len(prompts.ids_BP), decoding.completion_length
    steps = most_steps(decoding, attention) if attention.block_length else decoding.num_steps
    order_BC = torch.rand(rows, length, generator=generator).argsort(1)
    step_BC = order_BC * steps // length
    if attention.block_length:
        step_BC = _steps_by_blocks(order_BC, decoding, attention, prompt_length=prompts.ids_BP.shape[1])
    logprob_BC = torch.full((rows, length), -1.0, device=device)
    ids_BC = torch.randint(FIRST_TOKEN, mask_id, (rows, length), generator=generator)
    support_BCk = None
    if needs.behaviour and decoding.truncated:
        support_BCk = ids_BC[:, :, None].repeat(1, 1, decoding.top_k + 1).to(torch.int32).to(device)
    return Rollout(
        prompts=prompts,
        completion_ids_BC=ids_BC.to(device),
        unmask_step_BC=step_BC.to(torch.int16).to(device),
        logprob_BC=logprob_BC,
        entropy_BC=torch.rand(rows, length, generator=generator).to(device),
        num_steps_B=(step_BC.amax(1) + 1).to(torch.int16).to(device),
        num_steps=steps,
        mask_id=mask_id,
        argmax_BTC=torch.ones(rows, steps, length, dtype=torch.int32, device=device) if needs.argmax else None,
        behaviour_logprob_BC=logprob_BC.clone() if needs.behaviour else None,
        behaviour_entropy_BC=torch.rand(rows, length, generator=generator).to(device) if needs.behaviour else None,
        support_ids_BCk=support_BCk,
        temperature=decoding.temperature or 1.0,
        is_exact=decoding.cache == "none",
    )


def _steps_by_blocks(order_BC: Tensor, decoding: Decoding, attention: Attention, *, prompt_length: int) -> Tensor:
    """The steps (B, C) that reveal the positions of one block after another, within a block in the order of order_BC;
    prompts without padding. An entropy bound reveals the least: a token per step."""
    size, step_BC, done = attention.block_length, torch.zeros_like(order_BC), 0
    begun = 0 if attention.blocks_from == COMPLETION else prompt_length % size
    for begin in range(-begun, order_BC.shape[1], size):
        place = slice(max(begin, 0), min(begin + size, order_BC.shape[1]))
        masked = place.stop - place.start
        length = masked if attention.blocks_from == COMPLETION else size
        counts = torch.tensor([1] * masked if decoding.entropy_bound else block_diffusion_counts(decoding, length))
        rank_Bn = order_BC[:, place].argsort(1).argsort(1)
        step_BC[:, place] = done + torch.searchsorted(counts.cumsum(0), rank_Bn, right=True)
        done = int(step_BC[:, place].max()) + 1
    return step_BC
