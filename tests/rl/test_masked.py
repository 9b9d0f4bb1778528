"""Masks of prompts and what counts of a completion: what methods share that see completions through masks."""

import pytest
import torch

from harness.rl import masked
from harness.rollout import Prompts, Rollout


def test_tokens_count_up_to_and_including_the_first_end_token():
    is_end = torch.tensor([[False, False, True, False, True], [False] * 5, [True] * 5])
    assert masked.until_first_end(is_end).tolist() == [
        [True, True, True, False, False],
        [True] * 5,
        [True, False, False, False, False],
    ]


def rollout_with_prompts(ids_BP, mask_BP):
    rows = len(ids_BP)
    return Rollout(
        prompts=Prompts(ids_BP=ids_BP, mask_BP=mask_BP),
        completion_ids_BC=torch.zeros(rows, 2, dtype=torch.long),
        unmask_step_BC=torch.zeros(rows, 2, dtype=torch.int16),
        logprob_BC=torch.zeros(rows, 2),
        entropy_BC=torch.zeros(rows, 2),
        num_steps_B=torch.ones(rows, dtype=torch.int16),
        num_steps=1,
        mask_id=9,
    )


def test_padding_is_never_masked_and_changes_no_draw():
    seed_B = torch.tensor([123, 456])
    short = rollout_with_prompts(torch.ones(2, 30, dtype=torch.long), None)
    is_real = torch.arange(40).expand(2, -1) >= 10
    long = rollout_with_prompts(torch.ones(2, 40, dtype=torch.long), is_real)
    alone = masked.prompt_mask(short, seed_B, 1, 0.5)
    padded = masked.prompt_mask(long, seed_B, 1, 0.5)
    assert not padded[:, :10].any()
    assert torch.equal(padded[:, 10:], alone)
    assert 10 < alone.sum() < 50
    assert not torch.equal(alone[0], alone[1])


def test_a_share_of_the_prompt_is_masked():
    rollout = rollout_with_prompts(torch.ones(20, 500, dtype=torch.long), None)
    masks = [masked.prompt_mask(rollout, torch.arange(20), update, 0.15) for update in (0, 1)]
    assert float(masks[0].double().mean()) == pytest.approx(0.15, abs=0.02)
    assert not torch.equal(*masks)
    assert not masked.prompt_mask(rollout, torch.arange(20), 0, 0.0).any()
    assert masked.prompt_mask(rollout, torch.arange(20), 0, 1.0).all()
