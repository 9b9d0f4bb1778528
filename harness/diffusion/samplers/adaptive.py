"""Confidence-aware parallel decoding (Fast-dLLM, arXiv 2505.22618): a step reveals all tokens of the block that are
sure enough, so rows take different numbers of steps; a block is over when its last row has finished it.

A row's steps are its own: those in which it waits for the others are forward passes, but no steps.

Axes: B rows, q columns of a pass, n positions of the active block, N masked ones of all rows, V vocabulary.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.remasking import sure_enough
from harness.diffusion.samplers.passes import BlockPasses
from harness.diffusion.samplers.rows import Rows, leave_finished
from harness.diffusion.samplers.surest import ActiveBlock, reveal_surest
from harness.diffusion.schedule import block_lengths
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Rollout


def unmask(model: DiffusionLM, decoding: Decoding, rows: Rows, trace: Rollout) -> None:
    """Block after block until every row is finished."""
    end = 0
    for length in block_lengths(decoding):
        if not len(rows):
            break
        first, end = end, end + length
        _Block(model, decoding, rows, trace, first, end).unmask()
        if end < decoding.completion_length:
            rows = leave_finished(model, decoding, rows, trace, block_end=end)


@dataclass
class _Block:
    """Positions first to end of the completions of `rows`."""

    model: DiffusionLM
    decoding: Decoding
    rows: Rows
    trace: Rollout
    first: int
    end: int

    def unmask(self) -> None:
        """Passes until nothing is masked."""
        assert self.trace.forwards_B is not None
        index_B, offset = self.rows.index_B, self.rows.prompt_length
        begin, end = offset + self.first, offset + self.end
        passes = BlockPasses(self.model, self.rows, self.decoding.cache, begin=begin, end=end)
        masked_Bn = torch.ones(len(self.rows), self.end - self.first, dtype=torch.bool, device=index_B.device)
        while masked_Bn.any():
            with self.model.meter.measure() as cost:
                masked_Bn &= ~self._step(passes, masked_Bn)
            self.trace.forwards_B[index_B] += cost.forwards // len(index_B)

    def _step(self, passes: BlockPasses, masked_Bn: Tensor) -> Tensor:
        """Writes the tokens that one pass is sure enough of, and their record; returns where (B, n)."""
        position_Bn = torch.arange(self.first, self.end, device=masked_Bn.device).expand_as(masked_Bn)
        column_Bn = self.rows.prompt_length + position_Bn
        first_alone = passes.first_comes_first
        hidden_Bqd, predicted = passes.hidden()
        row_N = masked_Bn.nonzero()[:, 0]
        logits_NV = self.model.head(hidden_Bqd[row_N, column_Bn[masked_Bn] - predicted])
        block = ActiveBlock(
            tokens_BL=self.rows.tokens_BL,
            index_B=self.rows.index_B,
            seed_B=self.rows.seed_B,
            column_Bn=column_Bn,
            position_Bn=position_Bn,
            masked_Bn=masked_Bn,
        )
        choose = _first if first_alone else functools.partial(sure_enough, decoding=self.decoding)
        return reveal_surest(logits_NV, block, self.decoding, self.model.special, self.trace, choose)


def _first(sure_Bn: Tensor) -> Tensor:
    """The first position of the block alone."""
    return (torch.arange(sure_Bn.shape[1], device=sure_Bn.device) == 0).expand_as(sure_Bn)
