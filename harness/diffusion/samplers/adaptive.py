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
from harness.diffusion.samplers.rows import TOKEN_DRAW, Rows
from harness.diffusion.schedule import block_bounds
from harness.diffusion.trace import reveal
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import uniforms
from harness.rollout import Rollout


def unmask(model: DiffusionLM, decoding: Decoding, rows: Rows, trace: Rollout) -> None:
    """Reveals the block that the rows are at. What rows have spent is recorded at its end, so that a block that did not
    fit into the memory can be made again."""
    assert trace.forwards_B is not None
    first, end = block_bounds(decoding, rows.block)
    offset, index_B = rows.prompt_length, rows.index_B
    passes = BlockPasses(model, rows, decoding.cache, begin=offset + first, end=offset + end)
    step_B = trace.num_steps_B[index_B].long()
    masked_Bn = torch.ones(len(rows), end - first, dtype=torch.bool, device=index_B.device)
    with model.meter.measure() as cost:
        while masked_Bn.any():
            revealed_Bn = _Step(model, decoding, rows, trace, passes, masked_Bn, step_B, first).reveal()
            step_B += revealed_Bn.any(1)
            masked_Bn &= ~revealed_Bn
    trace.forwards_B[index_B] += cost.forwards // len(rows)
    trace.num_steps_B[index_B] = step_B.to(trace.num_steps_B.dtype)


@dataclass
class _Step:
    """One pass over the masked positions masked_Bn of the block that begins at position `first` of the completion.
    step_B: the step of each row."""

    model: DiffusionLM
    decoding: Decoding
    rows: Rows
    trace: Rollout
    passes: BlockPasses
    masked_Bn: Tensor
    step_B: Tensor
    first: int

    def reveal(self) -> Tensor:
        """Writes the tokens that the pass is sure enough of, and their record; returns where (B, n)."""
        masked_Bn = self.masked_Bn
        row_N, place_N = masked_Bn.nonzero(as_tuple=True)
        first_alone = self.passes.first_comes_first
        hidden_Bqd, predicted = self.passes.hidden()
        column_N = self.rows.prompt_length + self.first + place_N - predicted
        logits_NV = self.model.head(hidden_Bqd[row_N, column_N])
        step_N = self.step_B[row_N]
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
