"""A model without memory for its weights, and a rollout that nobody generated: enough to run a method's own code.

The weights are torch's FakeTensors: operations on them give tensors with shapes and no values, at any size and in
moments. Everything else (tokens, steps, masks) is real, so that code which asks for values goes on as it would.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from transformers import PretrainedConfig

from harness.config.decoding import Decoding
from harness.config.tree import ModelConfig
from harness.models import adapters
from harness.models.checkpoints import empty_model
from harness.models.diffusion_lm import DiffusionLM, SpecialTokens
from harness.models.layout import Layout
from harness.models.tiny import CharacterTokenizer
from harness.rollout import Prompts, Rollout, RolloutNeeds

PAD, END, FIRST_TOKEN = 0, 1, 2


def fake_mode() -> FakeTensorMode:
    """A world of tensors without memory that may meet real ones."""
    return FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())


def fake_mode_of(model: DiffusionLM) -> FakeTensorMode:
    """The world of a weightless model."""
    weight = next(model.predictor.parameters())
    assert isinstance(weight, FakeTensor)
    return weight.fake_mode


def weightless_model(
    layout: Layout,
    config: PretrainedConfig,
    chosen: ModelConfig,
    *,
    fake: FakeTensorMode,
    reference: bool = False,
    layers: int = 0,
) -> DiffusionLM:
    """The model of a configuration, on a CPU that it takes no memory of.

    reference: with a frozen copy for the reference policy, where there are no adapters to switch off. layers: only so
    many blocks of it, 0 for all; its meter counts all. Raises UserError where a published adapter cannot be read.
    """
    network = empty_model(layout, config).to(getattr(torch, chosen.dtype)).eval()
    if layers:
        network.model.layers = network.model.layers[:layers]
    special = SpecialTokens(mask_id=config.vocab_size - 1, pad_id=PAD, end_ids=(END,))
    model = DiffusionLM(network, CharacterTokenizer(), special, name=chosen.name, shift=layout.shift)
    if chosen.lora.rank:
        model.add_lora(chosen.lora, seed=0)
    elif chosen.adapter:
        folder = chosen.adapter_subfolder
        adapters.load_adapter(model, adapters.read_adapter(chosen.adapter, folder, layout=layout, model=network))
    if reference and not model.lora_ranks:
        frozen = copy.deepcopy(model.predictor)
        _make_fake(frozen, fake)
        model.keep_reference(frozen)
    _make_fake(model.predictor, fake)
    return model


def _make_fake(network: nn.Module, fake: FakeTensorMode) -> None:
    """Replaces every parameter by one without memory, on the CPU; tied ones stay tied."""
    made: dict[int, nn.Parameter] = {}
    with fake:
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


def made_up_rollout(prompts: Prompts, decoding: Decoding, needs: RolloutNeeds, *, mask_id: int) -> Rollout:
    """Completions of random tokens, revealed evenly in a random order, with the record that `needs` asks for."""
    generator, device = torch.Generator().manual_seed(1), prompts.ids_BP.device
    rows, length, steps = len(prompts.ids_BP), decoding.completion_length, decoding.num_steps
    order_BC = torch.rand(rows, length, generator=generator).argsort(1)
    logprob_BC = torch.full((rows, length), -1.0, device=device)
    ids_BC = torch.randint(FIRST_TOKEN, mask_id, (rows, length), generator=generator)
    support_BCk = None
    if needs.behaviour and decoding.truncated:
        support_BCk = ids_BC[:, :, None].repeat(1, 1, decoding.top_k + 1).to(torch.int32).to(device)
    return Rollout(
        prompts=prompts,
        completion_ids_BC=ids_BC.to(device),
        unmask_step_BC=(order_BC * steps // length).to(torch.int16).to(device),
        logprob_BC=logprob_BC,
        entropy_BC=torch.rand(rows, length, generator=generator).to(device),
        num_steps_B=torch.full((rows,), steps, dtype=torch.int16, device=device),
        num_steps=steps,
        mask_id=mask_id,
        argmax_BTC=torch.ones(rows, steps, length, dtype=torch.int32, device=device) if needs.argmax else None,
        behaviour_logprob_BC=logprob_BC.clone() if needs.behaviour else None,
        behaviour_entropy_BC=torch.rand(rows, length, generator=generator).to(device) if needs.behaviour else None,
        support_ids_BCk=support_BCk,
        temperature=decoding.temperature or 1.0,
        is_exact=decoding.cache == "none",
    )
