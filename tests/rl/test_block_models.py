"""Training models that attend by blocks: importance ratios are exact, and methods that cannot train them say so."""

import dataclasses

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.sampler import generate
from harness.errors import UserError
from harness.models.attention import COMPLETION, SEQUENCE, Attention
from harness.models.diffusion_lm import DiffusionLM
from harness.registry import get_method
from harness.rollout import Rewards, ScoredRollouts

PROMPTS = ["12+3=", "7*8=", "hello world:", "a"]
DECODING = Decoding(completion_length=12, block_length=4, num_steps=6, temperature=0.8)
REWARD = torch.tensor([0.0, 1.0, 0.5, 0.0], dtype=torch.float64)
OPTIONS = {
    "egspo": {"num_selected": 3},
    "egspo-sa": {"num_selected": 3},
    "agrpo": {"mc_samples": 3},
    "coupled-grpo": {"inner_updates": 3, "beta": 0.0},
    "tracerl": {"updates": 3},
    "justgrpo": {"old": "recomputed", "inner_updates": 3},
    "espo": {"inner_updates": 3, "beta": 0.0},
    "bgpo": {"inner_updates": 3, "mc_samples": 2, "run_length": 2, "response": "until_end"},
    "gdpo": {"inner_updates": 3},
    "gdsd": {"inner_updates": 3, "beta": 0.0},
    "dmpo": {"inner_updates": 3, "alpha": 0.0},
}


@pytest.fixture(params=[SEQUENCE, COMPLETION])
def block_model(random_model, request):
    return DiffusionLM(
        random_model.predictor.transformer,
        random_model.tokenizer,
        random_model.special,
        name="blocks",
        attention=Attention(block_length=4, blocks_from=request.param),
        compact_prompts=True,
    )


def length_of(row_N, ids_NC):
    """A reward that some completions earn more of than others."""
    reward_N = (ids_NC % 7).double().mean(1)
    return Rewards(total_B=reward_N, parts={"correctness": reward_N})


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("truncation", [{}, {"top_k": 20, "top_p": 0.9}], ids=str)
def test_importance_ratios_are_1_before_the_first_update(block_model, name, truncation):
    kind = get_method(name)
    method = kind(config=kind.Config(**OPTIONS[name]))
    decoding = dataclasses.replace(DECODING, **truncation)
    method.check(decoding)
    method.check_record(decoding)
    method.check_model(block_model)
    prompts = block_model.encode_prompts(PROMPTS)
    needs = method.needs(block_model.shape, decoding, prompts.ids_BP.shape[1])
    rollout = generate(block_model, prompts, decoding, torch.arange(4), needs=needs)
    rewards = Rewards(total_B=REWARD, parts={"correctness": REWARD})
    scored = ScoredRollouts(rollout=rollout, rewards=rewards, group_size=4)
    drawn = method.draw(scored, block_model, torch.Generator().manual_seed(0))
    prepared = method.prepare(scored, block_model, length_of, drawn)
    parts = [part for update in prepared.updates for part in update.parts]
    assert len(parts) == 3
    for part in parts:
        loss, values = method.loss(block_model, part)
        ratio = values.get("ratio", torch.ones(1))
        torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=1e-5, rtol=0)
        loss.backward()
    assert any(weight.grad.abs().sum() > 0 for weight in block_model.predictor.parameters())


@pytest.mark.parametrize("name", ["d1", "spg", "wd1"])
def test_methods_that_mask_prompts_refuse_them_in_one_sentence(name, block_model, random_model):
    with pytest.raises(UserError, match=r"^Model 'blocks' attends by blocks of 4 tokens; the method.*[^.]\.$"):
        get_method(name)().check_model(block_model)
    get_method(name)().check_model(random_model)
