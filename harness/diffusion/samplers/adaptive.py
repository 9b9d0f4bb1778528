"""Confidence-aware parallel decoding (Fast-dLLM, arXiv 2505.22618): a step reveals all tokens of the block that are
sure enough, so rows take different numbers of steps; a block is over when its last row has finished it.

A row's steps are its own: those in which it waits for the others are forward passes, but no steps.

Axes: B rows, q columns of a pass, n positions of the active block, N masked ones of all rows, V vocabulary.
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
from harness.diffusion.schedule import block_bounds
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Rollout


def unmask(model: DiffusionLM, decoding: Decoding, rows: Rows, trace: Rollout) -> None:
    """Reveals the block that the rows are at. What rows have spent is recorded at its end, so that a block that did not
    fit into the memory can be made again."""
    assert trace.forwards_B is not None
    first, end = block_bounds(decoding, rows.block)
    offset, index_B = rows.prompt_length, rows.index_B
    passes = BlockPasses(model, rows, decoding, begin=offset + first, end=offset + end)
    position_Bn = torch.arange(first, end, device=index_B.device).expand(len(rows), -1)
    block = ActiveBlock(
        tokens_BL=rows.tokens_BL,
        index_B=index_B,
        seed_B=rows.seed_B,
        column_Bn=offset + position_Bn,
        position_Bn=position_Bn,
        masked_Bn=rows.masked(first, end, trace.mask_id),
        step_B=trace.num_steps_B[index_B].long(),
    )
    with model.meter.measure() as cost:
        while block.masked_Bn.any():
            choose = _first if passes.first_comes_first else functools.partial(sure_enough, decoding=decoding)
            row_N, place_N = block.masked_Bn.nonzero(as_tuple=True)
            logits_NV = passes.states().logits(row_N, block.column_Bn[row_N, place_N])
            reveal_surest(logits_NV, block, decoding, model.special, trace, choose)
    trace.forwards_B[index_B] += cost.forwards // len(rows)
    trace.num_steps_B[index_B] = block.step_B.to(trace.num_steps_B.dtype)


def _first(sure_Bn: Tensor) -> Tensor:
    """The first position of the block alone."""
    return (torch.arange(sure_Bn.shape[1], device=sure_Bn.device) == 0).expand_as(sure_Bn)
