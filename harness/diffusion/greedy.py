"""Greedy one-step completions: a state with every masked position filled by its most probable token, in one forward
pass.

Two ways give the same tokens. While sampling, the head runs at every masked position of every step, not only in the
active block. Lazily, K chosen states go through the model once more. `cheaper_while_sampling` says which costs fewer
FLOPs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.sampler import HEAD_CHUNK, best_tokens
from harness.diffusion.schedule import reveal_counts
from harness.models import flops
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class GreedyCompletions:
    """ids_BKC: int64, the greedy completion at each chosen step. forwards, flops: spent beyond the rollout's own."""

    ids_BKC: Tensor
    forwards: int
    flops: float


def cheaper_while_sampling(shape: flops.ModelShape, decoding: Decoding, *, prompt_length: int, num_states: int) -> bool:
    """Whether recording every argmax while sampling takes fewer FLOPs than `num_states` more forward passes per row."""
    counts = reveal_counts(decoding)
    beyond = sum(
        len(block) * (decoding.completion_length - (index + 1) * decoding.block_length)
        for index, block in enumerate(counts)
    )
    length = prompt_length + decoding.completion_length
    lazily = flops.forward(shape, rows=1, length=length, head_positions=decoding.completion_length)
    return flops.head(shape, beyond) <= num_states * lazily


@torch.no_grad()
def greedy_completions(model: DiffusionLM, rollout: Rollout, step_BK: Tensor) -> GreedyCompletions:
    """The greedy completions at steps step_BK; from the rollout's record, or lazily where it has none.

    Revealed tokens stay. A step at or after the row's last is the finished completion itself. Lazily the completions
    are unguided, whatever the rollout was.
    """
    if rollout.argmax_BTC is not None:
        chosen = step_BK.clamp_max(rollout.num_steps - 1)[:, :, None].expand(-1, -1, rollout.completion_length)
        best_BKC = rollout.argmax_BTC.gather(1, chosen).long()
        return GreedyCompletions(ids_BKC=_compose(rollout, best_BKC, step_BK), forwards=0, flops=0.0)
    columns = [_lazily(model, rollout, step_B) for step_B in step_BK.unbind(1)]
    rows, num_states = step_BK.shape
    length = rollout.prompts.ids_BP.shape[1] + rollout.completion_length
    cost = flops.forward(model.shape, rows=rows, length=length, head_positions=rows * rollout.completion_length)
    return GreedyCompletions(
        ids_BKC=_compose(rollout, torch.stack(columns, 1), step_BK), forwards=rows * num_states, flops=num_states * cost
    )


def _lazily(model: DiffusionLM, rollout: Rollout, step_B: Tensor) -> Tensor:
    """The most probable token at every completion position (B, C) of state step_B."""
    tokens_BL, mask_BL = rollout.state_at(step_B)
    hidden_BCd = model.hidden(tokens_BL, mask_BL)[:, -rollout.completion_length :]
    chunks = hidden_BCd.flatten(0, 1).split(HEAD_CHUNK)
    best = [best_tokens(model.head(chunk), rollout.mask_id) for chunk in chunks]
    return torch.cat(best).view(rollout.completion_ids_BC.shape)


def _compose(rollout: Rollout, best_BKC: Tensor, step_BK: Tensor) -> Tensor:
    """Revealed tokens from the completion, the others from best_BKC; finished rows keep their completion."""
    hidden_BKC = rollout.unmask_step_BC[:, None] >= step_BK[:, :, None]
    running_BK1 = (step_BK < rollout.num_steps_B[:, None])[:, :, None]
    return torch.where(hidden_BKC & running_BK1, best_BKC, rollout.completion_ids_BC[:, None])
