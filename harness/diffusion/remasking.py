"""Which masked positions a step reveals: those of highest confidence under the remasking rule."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.config.decoding import Decoding


def split_by_confidence(confidence_Bn: Tensor, reveal: int) -> tuple[Tensor, Tensor]:
    """Indices into the n masked positions: revealed (B, reveal) and still masked (B, n - reveal), in position order.

    Of equal confidences the earlier position goes first.
    """
    order_Bn = confidence_Bn.argsort(dim=1, descending=True, stable=True)
    return order_Bn[:, :reveal].sort(1).values, order_Bn[:, reveal:].sort(1).values


def sure_enough(probability_Bn: Tensor, decoding: Decoding) -> Tensor:
    """The positions of a block that Fast-dLLM's rules reveal at once (B, n), at least the surest of each row.

    probability_Bn: of the proposed tokens. Under a threshold all that reach it; under a factor f those of rank r = 2,
    3 ... as long as each reaches 1 - f / (r + 1). Of equal probabilities the earlier position ranks higher.
    """
    ranked_Bn, order_Bn = probability_Bn.sort(dim=1, descending=True, stable=True)
    if decoding.factor:
        rank_n = torch.arange(1, ranked_Bn.shape[1] + 1, device=ranked_Bn.device)
        reaches_Bn = ranked_Bn >= 1 - decoding.factor / (rank_n + 1)
    else:
        reaches_Bn = ranked_Bn >= decoding.threshold
    reaches_Bn[:, 0] = True
    return torch.zeros_like(reaches_Bn).scatter(1, order_Bn, reaches_Bn.cumprod(1).bool())
