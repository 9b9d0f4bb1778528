"""Greedy one-step completions: a state with every masked position filled by its most probable token, in one forward
pass.

Two ways give the same tokens. While sampling, the head runs at every masked position of every step, not only in the
active block. Lazily, K chosen states go through the model once more. `cheaper_while_sampling` says which costs fewer
FLOPs."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.samplers.lockstep import HEAD_CHUNK, best_tokens
from harness.diffusion.schedule import reveal_counts
from harness.models import flops
from harness.models.diffusion_lm import DiffusionLM
from harness.models.memory import PREPARATION
from harness.rollout import Rollout


def cheaper_while_sampling(shape: flops.ModelShape, decoding: Decoding, *, prompt_length: int, num_states: int) -> bool:
    """Whether recording every argmax while sampling takes fewer FLOPs than `num_states` more forward passes per row;
    never where the steps leave positions out."""
    if shape.block_length or not decoding.computes_all:
        return False
    counts = reveal_counts(decoding)
    beyond = sum(
        len(block) * (decoding.completion_length - (index + 1) * decoding.block_length)
        for index, block in enumerate(counts)
    )
    length = prompt_length + decoding.completion_length
    lazily = flops.forward(shape, rows=1, queries=length, keys=length, head_positions=decoding.completion_length)
    return flops.head(shape, beyond) <= num_states * lazily


@torch.no_grad()
def greedy_completions(model: DiffusionLM, rollout: Rollout, step_BK: Tensor) -> Tensor:
    """The greedy completions (B, K, C) at steps step_BK; from the rollout's record, or lazily where it has none.

    Revealed tokens stay. A step at or after the row's last is the finished completion itself. Lazily the completions
    are unguided, whatever the rollout was.
    """
    if rollout.argmax_BTC is None:
        best_BKC = torch.stack([_lazily(model, rollout, step_B) for step_B in step_BK.unbind(1)], 1)
    else:
        chosen = step_BK.clamp_max(rollout.num_steps - 1)[:, :, None].expand(-1, -1, rollout.completion_length)
        best_BKC = rollout.argmax_BTC.gather(1, chosen).long()
    return _compose(rollout, best_BKC, step_BK)


def _lazily(model: DiffusionLM, rollout: Rollout, step_B: Tensor) -> Tensor:
    """The most probable token at every completion position (B, C) of state step_B."""
    tokens_BL, mask_BL = rollout.state_at(step_B)

    def best_of(rows: slice) -> Tensor:
        hidden_BLd = model.hidden(tokens_BL[rows], None if mask_BL is None else mask_BL[rows])
        chunks = hidden_BLd[:, -rollout.completion_length :].flatten(0, 1).split(HEAD_CHUNK)
        return torch.cat([best_tokens(model.head(chunk), rollout.mask_id) for chunk in chunks])

    total = rollout.num_rows
    best = torch.cat(list(model.memory.pieces(PREPARATION, total, total, best_of)))
    return best.view(rollout.completion_ids_BC.shape)


def _compose(rollout: Rollout, best_BKC: Tensor, step_BK: Tensor) -> Tensor:
    """Revealed tokens from the completion, the others from best_BKC; finished rows keep their completion."""
    hidden_BKC = rollout.unmask_step_BC[:, None] >= step_BK[:, :, None]
    running_BK1 = (step_BK < rollout.num_steps_B[:, None])[:, :, None]
    return torch.where(hidden_BKC & running_BK1, best_BKC, rollout.completion_ids_BC[:, None])
