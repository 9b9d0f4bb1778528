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


def sure_enough(sure_Bn: Tensor, decoding: Decoding, *, at_least: int | Tensor = 1, strictly: bool = False) -> Tensor:
    """The positions of a block that are revealed at once (B, n), of each row at least as many of the surest.

    sure_Bn: higher is surer. at_least: of all rows or, (B, 1), of each. Under a threshold, probabilities: all that
    reach it or, strictly, exceed it. Under a factor f, probabilities: those of rank r = 2, 3 ... as long as each
    reaches 1 - f / (r + 1) (Fast-dLLM). Under an entropy bound, negative entropies: those of lowest entropy as long as
    the sum of these stays below it (EB-Sampler).
    Of equally sure positions the earlier ranks higher.
    """
    ranked_Bn, order_Bn = sure_Bn.sort(dim=1, descending=True, stable=True)
    rank_n = torch.arange(1, ranked_Bn.shape[1] + 1, device=ranked_Bn.device)
    reaches_Bn = (rank_n <= at_least).expand_as(ranked_Bn)
    if decoding.factor:
        reaches_Bn = reaches_Bn | (ranked_Bn >= 1 - decoding.factor / (rank_n + 1))
    elif decoding.threshold:
        above_Bn = ranked_Bn > decoding.threshold if strictly else ranked_Bn >= decoding.threshold
        reaches_Bn = reaches_Bn | above_Bn
    elif decoding.entropy_bound:
        reaches_Bn = reaches_Bn | (-ranked_Bn.cumsum(1) < decoding.entropy_bound)
    return torch.zeros_like(reaches_Bn).scatter(1, order_Bn, reaches_Bn.cumprod(1).bool())
