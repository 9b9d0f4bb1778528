"""A rollout that was made with cached keys and values, scored as whole passes score it."""

import dataclasses

import pytest
import torch

from harness.config.decoding import Decoding
from harness.diffusion.exact_record import exact_at
from harness.diffusion.sampler import generate
from harness.rollout import RolloutNeeds

PROMPTS = ["12+3=", "7*8=", "hello world:", "a"]
DUAL = Decoding(completion_length=12, block_length=4, num_steps=6, temperature=0.8, cache="dual", eos_policy="run")


def made(model, decoding):
    prompts = model.encode_prompts(PROMPTS)
    return generate(model, prompts, decoding, torch.arange(4), needs=RolloutNeeds(behaviour=True))


def whole_passes(model, rollout, temperature):
    """Log-probability of every token in its own state (B, C), by a whole pass for every step."""
    logprob_BC = torch.zeros_like(rollout.logprob_BC)
    for step in range(rollout.num_steps):
        step_B = torch.full((4,), step)
        tokens_BL, mask_BL = rollout.state_at(step_B)
        with torch.no_grad():
            logits = model.completion_logits(tokens_BL, mask_BL, 12) / temperature
        chosen = logits.log_softmax(-1).gather(-1, rollout.completion_ids_BC[:, :, None])[:, :, 0]
        logprob_BC = torch.where(rollout.revealed_at(step_B), chosen, logprob_BC)
    return logprob_BC


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_chosen_steps_are_scored_as_whole_passes_score_them_and_others_stay(random_model, cache):
    rollout = made(random_model, dataclasses.replace(DUAL, cache=cache))
    assert not rollout.is_exact
    step_BK = torch.tensor([[1, 5], [3, -1], [0, 1], [5, 4]])
    exact = exact_at(rollout, random_model, step_BK)
    chosen_BC = (rollout.unmask_step_BC[:, None] == step_BK[:, :, None]).any(1)
    plain, sampled = (whole_passes(random_model, rollout, heat) for heat in (1.0, 0.8))
    torch.testing.assert_close(exact.logprob_BC[chosen_BC], plain[chosen_BC], atol=1e-4, rtol=0)
    torch.testing.assert_close(exact.behaviour_logprob_BC[chosen_BC], sampled[chosen_BC], atol=1e-4, rtol=0)
    assert (rollout.logprob_BC - plain)[chosen_BC].abs().max() > 0.01
    assert torch.equal(exact.logprob_BC[~chosen_BC], rollout.logprob_BC[~chosen_BC])
    assert torch.equal(exact.entropy_BC[~chosen_BC], rollout.entropy_BC[~chosen_BC])
    assert (exact.entropy_BC != rollout.entropy_BC)[chosen_BC].any()


def test_an_exact_rollout_stays_as_it_is_at_no_cost(random_model):
    rollout = made(random_model, dataclasses.replace(DUAL, cache="none", threshold=0.4))
    with random_model.meter.measure() as cost:
        assert exact_at(rollout, random_model, torch.tensor([[0], [1], [0], [1]])) is rollout
    assert cost.forwards == 0
