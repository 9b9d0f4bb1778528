"""Weighted likelihood: completions weighted by a softmax of what they earn, not by ratio and clip. Pure functions.

Axes: B rows, cut into runs of equal size: groups, or the rows of a micro-batch.
"""

from __future__ import annotations

from torch import Tensor


def softmax_within(score_B: Tensor, size: int) -> Tensor:
    """Softmax over each run of `size` rows (B,)."""
    return score_B.unflatten(0, (-1, size)).softmax(1).flatten()


def weighted_likelihood(logprob_B: Tensor, weight_B: Tensor, normaliser: float) -> Tensor:
    """The loss whose gradient raises every completion's log-likelihood by its weight: -sum of both / normaliser."""
    return -(weight_B * logprob_B).sum() / normaliser
