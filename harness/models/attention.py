"""Which tokens may attend to which: a property of the model.

Axes: B rows, L tokens, q queries, M = 2 L.
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
        block_BL = self._blocks(there_BL, length, device)
        return _of_the_present(block_BL[:, queries, None] >= block_BL[:, None], there_BL, queries)

    def mask_beside_clean(self, there_BL: Tensor | None, length: int, device: torch.device) -> Tensor:
        """The mask (B, 1, M, M) for a sequence with masked tokens in any blocks, followed by the same without masks: of
        the first, a block attends to itself and to the earlier blocks of the second, which sees nothing of the first.

        there_BL, length: as in `mask`, of one of the two.
        """
        block_BL = self._blocks(there_BL, length, device)
        block_BM = torch.cat([block_BL, block_BL], 1)
        is_clean_M = torch.arange(2 * length, device=device) >= length
        query_BM1, key_B1M = block_BM[:, :, None], block_BM[:, None]
        inside_BMM = (query_BM1 == key_B1M) & (is_clean_M[:, None] == is_clean_M)
        both_BM = None if there_BL is None else torch.cat([there_BL, there_BL], 1)
        return _of_the_present(inside_BMM | (key_B1M < query_BM1) & is_clean_M, both_BM, slice(0, 2 * length))

    def _blocks(self, there_BL: Tensor | None, length: int, device: torch.device) -> Tensor:
        """The block that each column is in (B, L); (1, L) where nothing is padded."""
        column_1L = torch.arange(length, device=device)[None]  # noqa: N806
        if there_BL is not None:
            column_1L = column_1L - self.padding(there_BL)[:, None]  # noqa: N806
        return column_1L.div(self.block_length, rounding_mode="floor")

    def begins(self, there_BL: Tensor | None, length: int, device: torch.device) -> Tensor:
        """Whether a column is the first of its block (B, L); (1, L) where nothing is padded."""
        block_BL = self._blocks(there_BL, length, device)
        return torch.cat([torch.ones_like(block_BL[:, :1]), block_BL.diff(dim=1)], 1) > 0

    def padding(self, there_BL: Tensor) -> Tensor:
        """Columns (B,) before the first that blocks are counted from."""
        if self.blocks_from == COMPLETION:
            return torch.zeros_like(there_BL[:, 0], dtype=torch.long)
        return (~there_BL).cumprod(1).sum(1)


def _of_the_present(allowed_BqL: Tensor, there_BL: Tensor | None, queries: slice) -> Tensor:
    """The mask (B, 1, q, L) with padding seen by nothing but padding."""
    if there_BL is None:
        return allowed_BqL[:, None]
    # Padding attends to all: what it gets is never used, but a softmax over nothing would be no number.
    return (allowed_BqL & there_BL[:, None] | ~there_BL[:, queries, None])[:, None]


FULL = Attention()
