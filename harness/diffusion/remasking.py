"""Which masked positions a step reveals: those of highest confidence under the remasking rule."""

from __future__ import annotations

from torch import Tensor


def split_by_confidence(confidence_Bn: Tensor, reveal: int) -> tuple[Tensor, Tensor]:
    """Indices into the n masked positions: revealed (B, reveal) and still masked (B, n - reveal), in position order.

    Of equal confidences the earlier position goes first.
    """
    order_Bn = confidence_Bn.argsort(dim=1, descending=True, stable=True)
    return order_Bn[:, :reveal].sort(1).values, order_Bn[:, reveal:].sort(1).values
