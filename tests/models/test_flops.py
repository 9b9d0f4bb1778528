"""The analytic account against torch's own counter, on the arithmetic that torch really does."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.config.decoding import Decoding
from harness.config.tree import LoraConfig
from harness.diffusion.sampler import generate
from harness.models import flops
from harness.registry import get_method
from harness.rollout import Rewards, RolloutNeeds, ScoredRollouts

PROMPTS = ["0102030401020304\n", "1000020000300004\n", "4321000000001234\n", "0000000000000001\n"]
WITHIN = 0.01


def counted(function):
    """FLOPs that torch counts; plain matrix products in attention, because its counter knows no fused CPU kernel."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        result = function()
    return result, counter.get_total_flops()


def test_a_hand_counted_forward_pass():
    shape = flops.ModelShape(layers=1, hidden=2, intermediate=3, heads=1, kv_heads=1, head_dim=2, vocabulary=5)
    linear = 4 * (2 * 2) + 3 * (2 * 3)
    attention = 2 * 4 * 4 * 2
    head = 2 * 5
    assert flops.forward(shape, rows=1, queries=4, keys=4, head_positions=3) == 2 * (4 * linear + attention + 3 * head)


@pytest.mark.parametrize("eos_policy", ["stop", "run"])
@pytest.mark.parametrize("record_argmax", [True, False])
def test_a_rollout_is_within_one_per_cent_of_torch(random_model, eos_policy, record_argmax):
    decoding = Decoding(completion_length=16, block_length=8, num_steps=6, temperature=1.0, eos_policy=eos_policy)
    prompts = random_model.encode_prompts(PROMPTS)
    rollout, truth = counted(
        lambda: generate(random_model, prompts, decoding, torch.arange(4), needs=RolloutNeeds(argmax=record_argmax))
    )
    assert rollout.flops == pytest.approx(truth, rel=WITHIN)


@pytest.mark.parametrize("lora", [0, 4])
@pytest.mark.parametrize("targets", ["all", "official-subset"])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_an_update_is_within_one_per_cent_of_torch(random_model, lora, targets, beta):
    model = random_model
    if lora:
        model.add_lora(LoraConfig(rank=lora, targets=targets), seed=0)
    model.keep_reference()
    method = get_method("egspo")(config=get_method("egspo").Config(num_selected=2, beta=beta))
    decoding = Decoding(completion_length=16, block_length=16, num_steps=4, temperature=1.0)
    rollout = generate(model, model.encode_prompts(PROMPTS), decoding, torch.arange(4))
    reward_B = torch.tensor([0.0, 1.0, 0.5, 0.0])
    scored = ScoredRollouts(
        rollout=rollout, rewards=Rewards(total_B=reward_B, parts={"correctness": reward_B}), group_size=4
    )
    prepared = method.prepare(scored, model, None, method.draw(scored, model, torch.Generator()))
    (part,) = prepared.updates[0].parts
    with model.meter.measure() as cost:
        _, truth = counted(lambda: method.loss(model, part)[0].backward())
    assert cost.flops == pytest.approx(truth, rel=WITHIN)
    assert cost.forwards == 4 * (2 if beta else 1)
