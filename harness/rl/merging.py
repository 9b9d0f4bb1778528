"""Adapters merged into the weights while completions are generated, and how far that moves log-probabilities.

Generating is faster so, but the merged weights are rounded to the dtype of the model: what the completions are drawn
from is not quite the policy that is updated.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harness.diffusion.logprob import chosen_logprob, without_gradient
from harness.distributed.shard import Shard
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Rollout


def masked_logprob(policy: DiffusionLM, rollout: Rollout, shard: Shard) -> Tensor:
    """Log-probabilities (N,), nats, of the tokens that are still masked in one state of each row, from the first step
    in the first row of the batch to one of the last steps in its last row: one pass, which no account counts."""
    total = rollout.num_rows * shard.count
    row_B = shard.mine(torch.arange(total, device=rollout.num_steps_B.device))
    step_B = row_B * rollout.num_steps_B // total
    length = rollout.completion_length

    def of_rows(tokens_BL: Tensor, mask_BL: Tensor | None, target_BC: Tensor) -> Tensor:
        return chosen_logprob(policy.completion_logits(tokens_BL, mask_BL, length), target_BC)

    rows = (*rollout.state_at(step_B), rollout.completion_ids_BC)
    with policy.meter.paused():
        logprob_BC = without_gradient(policy, of_rows, *rows, positions=length)
    is_asked_BC = (rollout.unmask_step_BC >= step_B[:, None]) & (rollout.unmask_step_BC < rollout.num_steps)
    return logprob_BC[is_asked_BC]


def deviation(merged_N: Tensor, unmerged_N: Tensor, shard: Shard) -> dict[str, float]:
    """The mean and the largest absolute difference over all processes, as values of an UpdateRecord."""
    difference_N = shard.gather_values((merged_N - unmerged_N).abs())
    return {"merged_logprob_mean": difference_N.mean().item(), "merged_logprob_max": difference_N.max().item()}
