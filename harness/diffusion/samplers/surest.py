"""What rows reveal that take steps of their own: one pass's tokens, the surest of each row.

A row's draws belong to its own steps, so they are the same in every batch.

Axes: B rows, n positions of the active block, N masked ones of all rows, M revealed ones, L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion import categorical
from harness.diffusion.proposal import propose
from harness.diffusion.samplers.rows import ORDER_DRAW, TOKEN_DRAW
from harness.diffusion.trace import reveal
from harness.models.diffusion_lm import SpecialTokens
from harness.randomness import uniforms
from harness.rollout import Rollout


@dataclass(frozen=True, kw_only=True)
class ActiveBlock:
    """The positions that a pass predicts. column_Bn: their columns in tokens_BL; position_Bn: their places in the
    completion. index_B, seed_B: as in Rows.

    Written in place: tokens_BL; masked_Bn, which positions are still masked; step_B, int64, the next step of each row.
    """

    tokens_BL: Tensor
    index_B: Tensor
    seed_B: Tensor
    column_Bn: Tensor
    position_Bn: Tensor
    masked_Bn: Tensor
    step_B: Tensor


def reveal_surest(
    logits_NV: Tensor,
    block: ActiveBlock,
    decoding: Decoding,
    special: SpecialTokens,
    trace: Rollout,
    choose: Callable[[Tensor], Tensor],
) -> None:
    """Writes the tokens that `choose` takes, and their record, as the next step of each row.

    logits_NV: at the masked positions. choose: of how sure each position is (B, n), -inf where nothing is masked, what
    is revealed; a probability where the decoding has a threshold or a factor.
    """
    row_N, place_N = block.masked_Bn.nonzero(as_tuple=True)
    position_N = block.position_Bn[row_N, place_N]
    step_N = block.step_B[row_N]

    def draw(kind: int) -> Tensor:
        return uniforms(block.seed_B[row_N], step_N, position_N[:, None], kind)[:, 0]

    proposal = propose(
        logits_NV,
        decoding,
        special,
        token_uniform_N=draw(TOKEN_DRAW) if decoding.temperature else None,
        order_uniform_N=draw(ORDER_DRAW) if decoding.remasking == "random" else None,
        record_behaviour=trace.behaviour_logprob_BC is not None,
    )
    sure_N = proposal.confidence_N.exp() if decoding.asks_probability else proposal.confidence_N
    sure_Bn = torch.full_like(block.masked_Bn, -torch.inf, dtype=sure_N.dtype)
    # End tokens that are deferred come last, but before what is not masked.
    sure_Bn[row_N, place_N] = sure_N.clamp_min(torch.finfo(sure_N.dtype).min)
    revealed_Bn = choose(sure_Bn) & block.masked_Bn
    chosen_M = revealed_Bn[row_N, place_N].nonzero()[:, 0]
    row_M, place_M = row_N[chosen_M], place_N[chosen_M]
    block.tokens_BL[row_M, block.column_Bn[row_M, place_M]] = proposal.token_N[chosen_M]
    reveal(
        trace,
        (block.index_B[row_M], position_N[chosen_M]),
        step_N[chosen_M],
        proposal=proposal,
        chosen=chosen_M,
        entropy=categorical.entropy(logits_NV[chosen_M]),
    )
    block.step_B.add_(revealed_Bn.any(1))
    block.masked_Bn.logical_and_(~revealed_Bn)
