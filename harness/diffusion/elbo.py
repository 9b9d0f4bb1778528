"""Monte-Carlo bounds of a completion's log-likelihood under a masked diffusion model: masks, weights, sums.

Pure functions: starts and uniforms are inputs. Axes: B rows, D inputs per row, M draws of a row in R runs, N inputs of
all rows (or draws of one), C completion tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def evenly_spaced_counts(num_inputs: int, length: int, start: int) -> Tensor:
    """ESPO (2512.03759): how many of `length` tokens each input masks (N,): an evenly spaced grid on 0..length that
    begins at `start` and wraps around. With a uniform start every count is uniform, but for halves, rounded to even."""
    grid_N = start + torch.arange(num_inputs, dtype=torch.float64) * ((length + 1) / num_inputs)
    return grid_N.round().long() % (length + 1)


def likelihood_counts(num_inputs: int, length: int, start: int) -> Tensor:
    """LLaDA (2502.09992): the same on 1..length, `start` in 1..length; its likelihood estimate needs a masked token."""
    # An end in float32, as in the official code: it decides which way halves are rounded.
    end = torch.tensor(float(start)) + (num_inputs - 1) * (length / num_inputs)
    grid_N = torch.linspace(start, end.item(), num_inputs)
    return (grid_N.round().long() - 1) % length + 1


def wrapped_counts(length_B: Tensor, start_BR: Tensor, run_length: int) -> Tensor:
    """BGPO (2510.11683): the same for rows of n tokens each, R runs of `run_length` inputs one after the other (B, M),
    in float64. start_BR: uniforms, the run's start among 1..n."""
    length_B11 = length_B[:, None, None]
    first_BR1 = 1 + (start_BR[:, :, None] * length_B11).floor()
    step_i = torch.arange(run_length, device=length_B.device)
    grid_BRi = first_BR1 + step_i * (length_B11.double() / run_length)
    return ((grid_BRi.round().long() - 1) % length_B11 + 1).flatten(1)


def masks_of_counts(count_N: Tensor, uniform_NC: Tensor) -> Tensor:
    """Bool (N, C): the count_N positions of smallest uniform; every subset of that size is equally likely."""
    rank_NC = uniform_NC.argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
    return rank_NC < count_N[:, None]


def elbo_weights(is_masked_NC: Tensor) -> Tensor:
    """ESPO's 1 / (l / (C + 1)) on the l masked tokens, 0 elsewhere; float64 (N, C).

    These denominators are exact for l uniform on 0..C: an input without masks adds 0, the others share the rest.
    """
    count_N1 = is_masked_NC.sum(-1, keepdim=True)
    return is_masked_NC.double() * (is_masked_NC.shape[-1] + 1) / count_N1.clamp_min(1)


def coupled_inputs(is_masked_BMC: Tensor) -> Tensor:
    """Every mask followed by its complement (B, 2 M, C): each token is masked in exactly one of the two."""
    return torch.stack([is_masked_BMC, ~is_masked_BMC], 2).flatten(1, 2)


def uniform_counts(size_N: Tensor, least: float, most: float, uniform_N: Tensor) -> Tensor:
    """SPG (2510.09541): numbers (N,) between the shares `least` and `most` of size_N tokens, all equally likely; 1 at
    least, also where `most` allows none."""
    lowest_N = (size_N.double() * least).long().clamp_min(1)
    highest_N = (size_N.double() * most).long().clamp_min(1)
    return lowest_N + (uniform_N * (highest_N - lowest_N + 1)).long()


def masks_of_parts(start_N: Tensor, size_N: Tensor, count_N: Tensor, uniform_NC: Tensor) -> Tensor:
    """Bool (N, C): of the size_N positions from start_N on the count_N of smallest uniform, and all after them."""
    place_NC = torch.arange(uniform_NC.shape[1], device=uniform_NC.device) - start_N[:, None]
    is_outside_NC = (place_NC < 0) | (place_NC >= size_N[:, None])
    return masks_of_counts(count_N, uniform_NC.masked_fill(is_outside_NC, torch.inf)) | (place_NC >= size_N[:, None])


def mean_masked_logprob(logprob_BDC: Tensor, is_scored_BDC: Tensor) -> Tensor:
    """The mean over the scored tokens of an input, and over D inputs (B,), nats; an input without any adds 0. SPG's
    lower bound per token; without its factor C the bound of DMPO (2510.08233)."""
    total_BD = torch.where(is_scored_BDC, logprob_BDC, 0.0).sum(2)
    return (total_BD / is_scored_BDC.sum(2).clamp_min(1)).mean(1)


def mean_upper_bound(logprob_BDC: Tensor, is_scored_BDC: Tensor, length_B: Tensor, order: float) -> Tensor:
    """SPG's EUBO (B,), nats per token: the mean over the tokens that any of D inputs scores of log(mean over all of
    them of p^order / share) / order, share being the scored part of the `length_B` tokens; an input that leaves the
    token out adds 0."""
    share_BD1 = is_scored_BDC.sum(2, keepdim=True).to(logprob_BDC.dtype) / length_B[:, None, None]
    term_BDC = order * logprob_BDC - share_BD1.log()
    is_scored_BC = is_scored_BDC.any(1)
    # A token that no input scores keeps finite terms, whose gradient is 0 and not undefined.
    finite_BDC = torch.where(is_scored_BC[:, None], -torch.inf, 0.0).to(term_BDC.dtype)
    sum_BC = torch.where(is_scored_BDC, term_BDC, finite_BDC).logsumexp(1)
    mean_BC = (sum_BC - math.log(logprob_BDC.shape[1])) / order
    return torch.where(is_scored_BC, mean_BC, 0.0).sum(1) / is_scored_BC.sum(1).clamp_min(1)
