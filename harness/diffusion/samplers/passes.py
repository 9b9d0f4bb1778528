"""The forward passes of one block: all of the sequence each time, or with a key/value cache (Fast-dLLM, arXiv
2505.22618) the part of it that the cache leaves open.

Axes: B rows, C completion, L tokens, q columns of a pass, N asked positions, d hidden width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.decoding import Decoding
from harness.diffusion.guidance import guide
from harness.diffusion.samplers.rows import Rows
from harness.models.diffusion_lm import DiffusionLM
from harness.models.key_values import KeyValueCache


@dataclass(frozen=True, kw_only=True)
class States:
    """The hidden states of a pass. blind_Bqd: with guidance, of the same rows with everything given masked. first: the
    column that the first of them predicts."""

    model: DiffusionLM
    seen_Bqd: Tensor
    blind_Bqd: Tensor | None
    first: int
    guidance_scale: float

    def logits(self, row: Tensor, column: Tensor) -> Tensor:
        """Logits (N, V), float32 or wider, at rows and columns of the sequence, in the order of their broadcast shape;
        guided where that is asked for."""
        place = (row, column - self.first)
        seen_NV = self.model.head(self.seen_Bqd[place].flatten(0, -2))
        if self.blind_Bqd is None:
            return seen_NV
        return guide(seen_NV, self.model.head(self.blind_Bqd[place].flatten(0, -2)), self.guidance_scale)


class BlockPasses:
    """begin, end: columns of the block in the sequence."""

    def __init__(self, model: DiffusionLM, rows: Rows, decoding: Decoding, *, begin: int, end: int) -> None:
        self.model, self.rows, self.decoding = model, rows, decoding
        self.begin, self.end = begin, end
        self._kept: KeyValueCache | None = None

    @property
    def first_comes_first(self) -> bool:
        """Whether the next pass has to reveal the first position of the block: the later ones leave out the column
        that predicts it."""
        return self.model.predictor.shift and self.decoding.cache != "none" and self._kept is None

    def states(self) -> States:
        """What the next pass gives, with guidance both of its halves."""
        scale, blind_Bqd = self.decoding.guidance_scale, None
        if scale:
            first = 0
            seen_Bqd, blind_Bqd = self._guided()
        else:
            seen_Bqd, first = self.hidden()
        return States(model=self.model, seen_Bqd=seen_Bqd, blind_Bqd=blind_Bqd, first=first, guidance_scale=scale)

    def hidden(self) -> tuple[Tensor, int]:
        """Hidden states (B, q, d) of the next pass without guidance, and the column that the first of them predicts."""
        tokens_BL, mask_BL, cache = self.rows.tokens_BL, self.rows.mask_BL, self.decoding.cache
        if cache == "none":
            return self.model.hidden(tokens_BL, mask_BL), 0
        if self._kept is None:
            self._kept = KeyValueCache()
            return self.model.cached_hidden(tokens_BL, mask_BL, self._kept)
        self._kept.first = self.begin
        end = tokens_BL.shape[1] if cache == "prefix" else self.end
        return self.model.cached_hidden(tokens_BL[:, self.begin : end], mask_BL, self._kept)

    def _guided(self) -> tuple[Tensor, ...]:
        """Hidden states (B, L, d) of the rows, and of the same with everything given masked."""
        tokens_BL, mask_BL = self.rows.tokens_BL, self.rows.mask_BL
        is_prompt_BP = torch.ones_like(tokens_BL[:, : self.rows.prompt_length], dtype=torch.bool)
        is_given_BL = torch.cat([is_prompt_BP, self.rows.given_BC], 1)
        blind_BL = tokens_BL.masked_fill(is_given_BL, self.model.special.mask_id)
        both_mask = None if mask_BL is None else torch.cat([mask_BL, mask_BL])
        return self.model.hidden(torch.cat([tokens_BL, blind_BL]), both_mask).chunk(2)
