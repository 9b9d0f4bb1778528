"""The rows of a batch at one block of their completions.

Axes: B rows, P prompt, C completion, L = P + C.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.trace import stop
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Prompts, Rollout

TOKEN_DRAW, ORDER_DRAW = 0, 1
"""Kinds of draws."""


@dataclass
class Rows:
    """index_B: their place in the rollout; tokens_BL is written in place. given_BC: which tokens of the completion are
    given. block: the number of the block to unmask."""

    index_B: Tensor
    tokens_BL: Tensor
    mask_BL: Tensor | None
    seed_B: Tensor
    length_B: Tensor | None
    given_BC: Tensor
    prompt_length: int
    block: int

    def __len__(self) -> int:
        """B."""
        return len(self.index_B)

    @classmethod
    def start(
        cls,
        trace: Rollout,
        prompts: Prompts,
        index_B: Tensor,
        seed_B: Tensor,
        length_B: Tensor | None,
        decoding: Decoding,
        *,
        block: int,
    ) -> Rows:
        """Those rows of the rollout with the blocks before `block` as they were recorded and nothing revealed of the
        others, but what is given, or filler past a row's length. prompts: theirs. seed_B, length_B: of all rows of the
        rollout."""
        prompt_length = prompts.ids_BP.shape[1]
        place_C = torch.arange(decoding.completion_length, device=index_B.device)
        given_BC = trace.given_BC[index_B]
        is_there_BC = (place_C < block * decoding.block_length) | given_BC
        inside_BC = None
        if length_B is not None:
            length_B = length_B[index_B]
            inside_BC = place_C < length_B[:, None]
            is_there_BC |= ~inside_BC
        completion_BC = torch.where(is_there_BC, trace.completion_ids_BC[index_B], trace.mask_id)
        tokens_BL, mask_BL = prompts.with_completion(completion_BC)
        if inside_BC is not None:
            is_prompt_BP = torch.ones_like(prompts.ids_BP, dtype=torch.bool)
            inside_BL = torch.cat([is_prompt_BP, inside_BC], 1)
            mask_BL = inside_BL if mask_BL is None else mask_BL & inside_BL
        return cls(index_B, tokens_BL, mask_BL, seed_B[index_B], length_B, given_BC, prompt_length, block)

    def masked(self, begin: int, end: int, mask_id: int) -> Tensor:
        """Which positions from `begin` to `end` of the completion are masked (B, end - begin)."""
        return self.tokens_BL[:, self.prompt_length + begin : self.prompt_length + end] == mask_id

    def keep(self, rows_b: Tensor) -> Rows:
        """Those rows alone."""
        mask_BL = None if self.mask_BL is None else self.mask_BL[rows_b]
        length_B = None if self.length_B is None else self.length_B[rows_b]
        return Rows(
            self.index_B[rows_b],
            self.tokens_BL[rows_b],
            mask_BL,
            self.seed_B[rows_b],
            length_B,
            self.given_BC[rows_b],
            self.prompt_length,
            self.block,
        )


def leave_finished(model: DiffusionLM, decoding: Decoding, rows: Rows, trace: Rollout, *, block_end: int) -> Rows:
    """Rows that have reached their length, or whose last block is all end tokens and is followed by nothing given,
    leave; the rest of them is filled up."""
    if not decoding.stops_early and rows.length_B is None:
        return rows
    finished_B = torch.zeros(len(rows), dtype=torch.bool, device=rows.tokens_BL.device)
    if decoding.stops_early:
        # For a block longer than the prompt, stop-agrpo looks at no token at all, which counts as finished: as
        # published.
        place = rows.prompt_length + block_end
        finished_B |= model.is_end(rows.tokens_BL[:, place - decoding.block_length : place]).all(1)
        finished_B &= ~rows.given_BC[:, block_end:].any(1)
    if rows.length_B is not None:
        finished_B |= rows.length_B <= block_end
    if not finished_B.any():
        return rows
    stop(trace, rows.index_B[finished_B], block_end, model.special.end_ids[0])
    return rows.keep((~finished_B).nonzero()[:, 0])
