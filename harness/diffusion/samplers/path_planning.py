"""Path planning, P2 (arXiv 2502.03540), as Open-dCoder has it: a step proposes a token for every position of the block,
masks those again that it is least sure of, written ones too, and writes the masked ones among the others.

A written token that stays keeps its value, however sure the present proposal is; one that was masked again may come
back as another. The record of a position is that of its last writing.

Axes: B rows, q columns of the sequence, n positions of the active block, N = B * n, M written ones of all rows, V
vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import categorical
from harness.diffusion.proposal import propose
from harness.diffusion.samplers.rows import TOKEN_DRAW, Rows
from harness.diffusion.schedule import block_bounds, block_lengths, share_evenly
from harness.diffusion.trace import reveal
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import uniforms
from harness.rollout import Rollout


def unmask(model: DiffusionLM, decoding: Decoding, rows: Rows, trace: Rollout) -> None:
    """Reveals the block that the rows are at. What rows have spent is recorded at its end, so that a block that did not
    fit into the memory can be made again."""
    assert trace.forwards_B is not None
    steps = share_evenly(decoding.num_steps, len(block_lengths(decoding)))
    step = sum(steps[: rows.block])
    position_n = torch.arange(*block_bounds(decoding, rows.block), device=model.device)
    block = _Block(model, decoding, rows, trace, position_n)
    variable_Bn = rows.masked(*block_bounds(decoding, rows.block), trace.mask_id)
    left_BT = [masks_left(masked, steps[rows.block]) for masked in variable_Bn.sum(1).tolist()]
    masked_Bn = variable_Bn
    with model.meter.measure() as cost:
        for left_B in torch.tensor(left_BT, device=model.device).unbind(1):
            masked_Bn = block.plan(masked_Bn, variable_Bn, step, left_B)
            step += 1
    trace.forwards_B[rows.index_B] += cost.forwards // len(rows)
    trace.num_steps_B[rows.index_B] = step


def masks_left(length: int, num_steps: int) -> list[int]:
    """How many positions are masked after each step: the whole part of length (1 - (i + 1) / num_steps)."""
    return [length * left // num_steps for left in range(num_steps - 1, -1, -1)]


@dataclass
class _Block:
    """The positions position_n of the completions of `rows`."""

    model: DiffusionLM
    decoding: Decoding
    rows: Rows
    trace: Rollout
    position_n: Tensor

    def plan(self, masked_Bn: Tensor, variable_Bn: Tensor, step: int, left_B: Tensor) -> Tensor:
        """One step, after which left_B positions of each row are masked; returns which (B, n). variable_Bn: those that
        are not given."""
        shape, column_n = masked_Bn.shape, self.rows.prompt_length + self.position_n
        hidden_Bqd = self.model.hidden(self.rows.tokens_BL, self.rows.mask_BL)
        logits_NV = self.model.head(hidden_Bqd[:, column_n].flatten(0, 1))
        place_Bn = self.position_n.expand(shape)
        proposal = propose(
            logits_NV,
            self.decoding,
            self.model.special,
            token_uniform_N=uniforms(self.rows.seed_B, step, place_Bn, TOKEN_DRAW).flatten()
            if self.decoding.temperature
            else None,
            order_uniform_N=None,
            record_behaviour=self.trace.behaviour_logprob_BC is not None,
        )
        sure_Bn = proposal.confidence_N.view(shape).masked_fill(~variable_Bn, torch.inf)
        order_Bn, rank_n = sure_Bn.argsort(dim=1, stable=True), torch.arange(shape[1], device=sure_Bn.device)
        again_Bn = torch.zeros_like(masked_Bn).scatter(1, order_Bn, rank_n < left_B[:, None])
        row_M, place_M = (masked_Bn & ~again_Bn).nonzero(as_tuple=True)
        chosen_M = row_M * shape[1] + place_M
        self.rows.tokens_BL[:, column_n] = self.rows.tokens_BL[:, column_n].masked_fill(again_Bn, self.trace.mask_id)
        self.rows.tokens_BL[row_M, column_n[place_M]] = proposal.token_N[chosen_M]
        reveal(
            self.trace,
            (self.rows.index_B[row_M], self.position_n[place_M]),
            step,
            proposal=proposal,
            chosen=chosen_M,
            entropy=categorical.entropy(logits_NV[chosen_M]),
        )
        return again_Bn
