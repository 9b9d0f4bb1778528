"""Confidence-aware parallel decoding (Fast-dLLM, arXiv 2505.22618): a step reveals all tokens of the block that are
sure enough, so rows take different numbers of steps; a block is over when its last row has finished it.

A row's steps are its own: those in which it waits for the others are forward passes, but no steps, and its draws are
the same in every batch.

Axes: B rows, q columns of a pass, n positions of the active block, N masked ones of all rows, M revealed ones, V
vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import categorical
from harness.diffusion.proposal import propose
from harness.diffusion.remasking import sure_enough
from harness.diffusion.samplers.passes import BlockPasses
from harness.diffusion.samplers.rows import TOKEN_DRAW, Rows, leave_finished
from harness.diffusion.schedule import block_lengths
from harness.diffusion.trace import reveal
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import uniforms
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
                revealed_Bn = self._step(passes, masked_Bn)
            self.trace.forwards_B[index_B] += cost.forwards // len(index_B)
            self.trace.num_steps_B[index_B] += revealed_Bn.any(1).to(self.trace.num_steps_B.dtype)
            masked_Bn &= ~revealed_Bn

    def _step(self, passes: BlockPasses, masked_Bn: Tensor) -> Tensor:
        """Writes the tokens that one pass is sure enough of, and their record; returns where (B, n)."""
        row_N, place_N = masked_Bn.nonzero(as_tuple=True)
        first_alone = passes.first_comes_first
        hidden_Bqd, predicted = passes.hidden()
        column_N = self.rows.prompt_length + self.first + place_N - predicted
        logits_NV = self.model.head(hidden_Bqd[row_N, column_N])
        step_N = self.trace.num_steps_B[self.rows.index_B][row_N].long()
        position_N = self.first + place_N
        uniform_N1 = uniforms(self.rows.seed_B[row_N], step_N, position_N[:, None], TOKEN_DRAW)
        proposal = propose(
            logits_NV,
            self.decoding,
            self.model.special,
            token_uniform_N=uniform_N1[:, 0] if self.decoding.temperature else None,
            order_uniform_N=None,
            record_behaviour=self.trace.behaviour_logprob_BC is not None,
        )
        if first_alone:
            revealed_Bn = torch.zeros_like(masked_Bn)
            revealed_Bn[:, 0] = True
        else:
            probability_Bn = torch.full_like(masked_Bn, -torch.inf, dtype=proposal.confidence_N.dtype)
            probability_Bn[row_N, place_N] = proposal.confidence_N.exp()
            revealed_Bn = sure_enough(probability_Bn, self.decoding) & masked_Bn
        chosen_M = revealed_Bn[row_N, place_N].nonzero()[:, 0]
        row_M, position_M = row_N[chosen_M], position_N[chosen_M]
        self.rows.tokens_BL[row_M, self.rows.prompt_length + position_M] = proposal.token_N[chosen_M]
        reveal(
            self.trace,
            (self.rows.index_B[row_M], position_M),
            step_N[chosen_M],
            proposal=proposal,
            chosen=chosen_M,
            entropy=categorical.entropy(logits_NV[chosen_M]),
        )
        return revealed_Bn
