"""The forward passes of one block: all of the sequence each time, or with a key/value cache (Fast-dLLM, arXiv
2505.22618) the part of it that the cache leaves open.

Axes: B rows, L tokens, q columns of a pass, d hidden width.
"""

from __future__ import annotations

from torch import Tensor

from harness.diffusion.samplers.rows import Rows
from harness.models.diffusion_lm import DiffusionLM
from harness.models.key_values import KeyValueCache


class BlockPasses:
    """cache: as in Decoding. begin, end: columns of the block in the sequence."""

    def __init__(self, model: DiffusionLM, rows: Rows, cache: str, *, begin: int, end: int) -> None:
        self.model, self.rows, self.cache = model, rows, cache
        self.begin, self.end = begin, end
        self._kept: KeyValueCache | None = None

    @property
    def first_comes_first(self) -> bool:
        """Whether the next pass has to reveal the first position of the block: the later ones leave out the column
        that predicts it."""
        return self.model.predictor.shift and self.cache != "none" and self._kept is None

    def hidden(self) -> tuple[Tensor, int]:
        """Hidden states (B, q, d) of the next pass, and the position that the first of them predicts."""
        tokens_BL, mask_BL = self.rows.tokens_BL, self.rows.mask_BL
        if self.cache == "none":
            return self.model.hidden(tokens_BL, mask_BL), 0
        if self._kept is None:
            self._kept = KeyValueCache()
            return self.model.cached_hidden(tokens_BL, mask_BL, self._kept)
        self._kept.first = self.begin
        end = tokens_BL.shape[1] if self.cache == "prefix" else self.end
        return self.model.cached_hidden(tokens_BL[:, self.begin : end], mask_BL, self._kept)
