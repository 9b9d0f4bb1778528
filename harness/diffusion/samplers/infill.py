"""Steps of a known size around given tokens: each row shares its own masked positions of the block among the steps.

Steps are numbered as where nothing is given, whatever the batch; a row whose masks are used up reveals nothing in the
later steps of the block.

Axes: B rows, n positions of the active block, T steps of the block, N masked positions of all rows, V vocabulary.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.remasking import sure_enough
from harness.diffusion.samplers.passes import BlockPasses
from harness.diffusion.samplers.rows import Rows
from harness.diffusion.samplers.surest import ActiveBlock, reveal_surest
from harness.diffusion.schedule import block_bounds, reveal_counts, step_counts
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Rollout


def unmask(model: DiffusionLM, decoding: Decoding, rows: Rows, trace: Rollout) -> None:
    """Reveals the block that the rows are at. What rows have spent is recorded at its end, so that a block that did not
    fit into the memory can be made again."""
    assert trace.forwards_B is not None
    lengths = list(map(len, reveal_counts(decoding)))
    step = sum(lengths[: rows.block])
    first, end = block_bounds(decoding, rows.block)
    position_Bn = torch.arange(first, end, device=rows.index_B.device).expand(len(rows), -1)
    column_Bn = rows.prompt_length + position_Bn
    block = ActiveBlock(
        tokens_BL=rows.tokens_BL,
        index_B=rows.index_B,
        seed_B=rows.seed_B,
        column_Bn=column_Bn,
        position_Bn=position_Bn,
        masked_Bn=rows.masked(first, end, trace.mask_id),
        step_B=torch.empty_like(rows.index_B),
    )
    passes = BlockPasses(model, rows, decoding, begin=rows.prompt_length + first, end=rows.prompt_length + end)
    with model.meter.measure() as cost:
        for count_B in _counts(decoding, rows.block, block.masked_Bn, lengths[rows.block]).unbind(1):
            if count_B.any():
                choose = functools.partial(
                    _surest, decoding=decoding, count_B=count_B, first_too=passes.first_comes_first
                )
                row_N, place_N = block.masked_Bn.nonzero(as_tuple=True)
                logits_NV = passes.states().logits(row_N, column_Bn[row_N, place_N])
                block.step_B.fill_(step)
                reveal_surest(logits_NV, block, decoding, model.special, trace, choose)
            step += 1
    trace.forwards_B[rows.index_B] += cost.forwards // len(rows)
    trace.num_steps_B[rows.index_B] = step


def _counts(decoding: Decoding, block: int, masked_Bn: Tensor, steps: int) -> Tensor:
    """How many positions of each row each of the `steps` of the block reveals (B, T)."""
    rows = [step_counts(decoding, block, masked) for masked in masked_Bn.sum(1).tolist()]
    return torch.tensor([[*counts, *[0] * (steps - len(counts))] for counts in rows], device=masked_Bn.device)


def _surest(sure_Bn: Tensor, decoding: Decoding, *, count_B: Tensor, first_too: bool) -> Tensor:
    """The count_B surest positions of each row (B, n); with `first_too` the first is one of them where it is masked."""
    if first_too:
        sure_Bn[:, 0].masked_fill_(sure_Bn[:, 0] > -torch.inf, torch.inf)
    return sure_enough(sure_Bn, decoding, at_least=count_B[:, None])
