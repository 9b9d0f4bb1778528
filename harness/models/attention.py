"""Which tokens may attend to which: a property of the model.

Axes: B rows, L tokens, q queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SEQUENCE, COMPLETION = "sequence", "completion"


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Every token attends to every other, or, with blocks, to those of its own block and of the blocks before it.

    block_length: tokens of a block; 0 for no blocks. blocks_from: where one begins, and all others before and after it:
    with the first token of the sequence (SDAR), or with the completion (bd3lm), in column 0 of a prompt that is padded
    to whole blocks.
    """

    block_length: int = 0
    blocks_from: str = SEQUENCE

    def mask(self, there_BL: Tensor | None, length: int, queries: slice, device: torch.device) -> Tensor | None:
        """The mask (B, 1, q, L) for transformers, true where one of the columns `queries` may attend to a column; None
        where each may attend to all.

        there_BL: true on what is no padding; None where nothing is padded. length: L.
        """
        if not self.block_length:
            return None if there_BL is None else there_BL[:, None, None].expand(-1, 1, queries.stop - queries.start, -1)
        if there_BL is None and queries.start // self.block_length == (length - 1) // self.block_length:
            return None
        column_L = torch.arange(length, device=device)
        if there_BL is None:
            block_L = column_L // self.block_length
            return (block_L[queries, None] >= block_L)[None, None]
        block_BL = (column_L - self.padding(there_BL)[:, None]).div(self.block_length, rounding_mode="floor")
        earlier_BqL = (block_BL[:, queries, None] >= block_BL[:, None]) & there_BL[:, None]
        # Padding attends to all: what it gets is never used, but a softmax over nothing would be no number.
        return (earlier_BqL | ~there_BL[:, queries, None])[:, None]

    def padding(self, there_BL: Tensor) -> Tensor:
        """Columns (B,) before the first that blocks are counted from."""
        if self.blocks_from == COMPLETION:
            return torch.zeros_like(there_BL[:, 0], dtype=torch.long)
        return (~there_BL).cumprod(1).sum(1)


FULL = Attention()
