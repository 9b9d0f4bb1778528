"""Weighted likelihood: completions weighted by a softmax of what they earn, not by ratio and clip. Pure functions.

Axes: B rows, cut into runs of equal size: groups, or the rows of a micro-batch.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from harness.errors import UserError
from harness.rl.method import LossPart

HALVINGS = 50
Part = TypeVar("Part", bound=LossPart)


def softmax_within(score_B: Tensor, size: int) -> Tensor:
    """Softmax over each run of `size` rows (B,)."""
    return score_B.unflatten(0, (-1, size)).softmax(1).flatten()


def mean_within(value_B: Tensor, size: int) -> Tensor:
    """The mean over each run of `size` rows (B,), equal within a run."""
    return value_B.unflatten(0, (-1, size)).mean(1).repeat_interleave(size)


def sample_size(weight_B: Tensor, size: int) -> Tensor:
    """Effective sample size of each run of `size` weights that sum to 1, as a share of it (B,), equal within a run."""
    return 1 / (weight_B.square().unflatten(0, (-1, size)).sum(1) * size).repeat_interleave(size)


def step_size(score_B: Tensor, size: int, least: float, most: float) -> Tensor:
    """The largest factor up to `most` (B,), equal within a run of `size` rows, for which the softmax of factor times
    score has an effective sample size of at least the share `least`; `most` where `least` is 0."""
    low_B, high_B = torch.zeros_like(score_B), torch.full_like(score_B, most)
    is_enough_B = sample_size(softmax_within(high_B * score_B, size), size) >= least
    for _ in range(HALVINGS if least else 0):
        middle_B = (low_B + high_B) / 2
        fits_B = sample_size(softmax_within(middle_B * score_B, size), size) >= least
        low_B, high_B = torch.where(fits_B, middle_B, low_B), torch.where(fits_B, high_B, middle_B)
    return torch.where(is_enough_B, most, low_B)


def weighted_likelihood(logprob_B: Tensor, weight_B: Tensor, normaliser: float) -> Tensor:
    """The loss whose gradient raises every completion's log-likelihood by its weight: -sum of both / normaliser."""
    return -(weight_B * logprob_B).sum() / normaliser


def micro_batches(part: Part, size: int) -> list[Part]:
    """The part in runs of `size` rows, each for a softmax of its own. Raises UserError where one lies across
    processes."""
    if part.num_rows % size:
        raise UserError(
            f"A softmax over the {size} rows of a micro-batch needs all of them in one process, which has "
            f"{part.num_rows}; set conventions.micro_batch_rows to a divisor of these."
        )
    return [part.rows(slice(start, start + size)) for start in range(0, part.num_rows, size)]
