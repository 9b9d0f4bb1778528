"""The rows of a batch that are still being computed, block after block.

Axes: B rows, P prompt, C completion, L = P + C.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.trace import stop
from harness.errors import UserError
from harness.models.diffusion_lm import DiffusionLM
from harness.rollout import Prompts, Rollout

TOKEN_DRAW, ORDER_DRAW = 0, 1
"""Kinds of draws."""


@dataclass
class Rows:
    """index_B: their place in the batch; tokens_BL is written in place."""

    index_B: Tensor
    tokens_BL: Tensor
    mask_BL: Tensor | None
    seed_B: Tensor
    length_B: Tensor | None
    prompt_length: int

    def __len__(self) -> int:
        """B."""
        return len(self.index_B)

    @classmethod
    def start(cls, prompts: Prompts, decoding: Decoding, seed_B: Tensor, length_B: Tensor | None, mask_id: int) -> Rows:
        """All rows with nothing revealed. Raises UserError for lengths that are no multiples of the block length."""
        (rows, prompt_length), device = prompts.ids_BP.shape, prompts.ids_BP.device
        blank_BC = torch.full((rows, decoding.completion_length), mask_id, device=device)
        tokens_BL, mask_BL = prompts.with_completion(blank_BC)
        if length_B is not None:
            length_B = length_B.to(device)
            wrong = (length_B % decoding.block_length != 0) | (length_B < 1) | (length_B > decoding.completion_length)
            if wrong.any():
                raise UserError(
                    f"Completion lengths {length_B[wrong].tolist()} must be multiples of block_length="
                    f"{decoding.block_length} up to completion_length={decoding.completion_length}."
                )
            places_L = torch.arange(tokens_BL.shape[1], device=device)
            inside_BL = places_L < prompt_length + length_B[:, None]
            mask_BL = inside_BL if mask_BL is None else mask_BL & inside_BL
        return cls(torch.arange(rows, device=device), tokens_BL, mask_BL, seed_B.to(device), length_B, prompt_length)

    def keep(self, rows_b: Tensor) -> Rows:
        """Those rows alone."""
        mask_BL = None if self.mask_BL is None else self.mask_BL[rows_b]
        length_B = None if self.length_B is None else self.length_B[rows_b]
        return Rows(
            self.index_B[rows_b], self.tokens_BL[rows_b], mask_BL, self.seed_B[rows_b], length_B, self.prompt_length
        )


def leave_finished(model: DiffusionLM, decoding: Decoding, rows: Rows, trace: Rollout, *, block_end: int) -> Rows:
    """Rows that have reached their length, or whose last block is all end tokens, leave; the rest of them is filled
    up."""
    finished_B = torch.zeros(len(rows), dtype=torch.bool, device=rows.tokens_BL.device)
    if decoding.stops_early:
        # For a block longer than the prompt, stop-agrpo looks at no token at all, which counts as finished: as
        # published.
        place = rows.prompt_length + block_end
        finished_B |= model.is_end(rows.tokens_BL[:, place - decoding.block_length : place]).all(1)
    if rows.length_B is not None:
        finished_B |= rows.length_B <= block_end
    if not finished_B.any():
        return rows
    stop(trace, rows.index_B[finished_B], block_end, model.special.end_ids[0])
    return rows.keep((~finished_B).nonzero()[:, 0])
