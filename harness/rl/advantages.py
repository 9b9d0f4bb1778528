"""Returns and group baselines. Pure functions.

Axes: B rows, prompt-major in groups of G; K selected steps per row. `valid_BK` is False where a row has fewer than K
steps."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.errors import UserError
from harness.rollout import ScoredRollouts


def stepwise_returns(final_B: Tensor, greedy_BK: Tensor, lambda_: float, *, normalize: bool) -> Tensor:
    """EGSPO-SA (2603.12554): ((1 + lambda) r(x_0) - lambda r(xhat^s)), divided by 1 + lambda if normalised; (B, K)."""
    final_B1 = final_B[:, None]
    returns_BK = final_B1 + lambda_ * (final_B1 - greedy_BK)
    return returns_BK / (1 + lambda_) if normalize else returns_BK


def centre_in_group(value_BK: Tensor, group_size: int, valid_BK: Tensor | None = None) -> Tensor:
    """Value minus the mean of the group's valid entries in the same column; (B, K).

    Exactly 0 where a group's valid entries are all equal: the rounding of a mean, divided by its own size inside
    Adam, would otherwise be a full-sized step in no direction. Entries that are not valid are 0.
    """
    valid_BK = torch.ones_like(value_BK, dtype=torch.bool) if valid_BK is None else valid_BK
    value_NGK, valid_NGK = value_BK.unflatten(0, (-1, group_size)), valid_BK.unflatten(0, (-1, group_size))
    counts_N1K = valid_NGK.sum(1, keepdim=True).clamp_min(1)
    mean_N1K = torch.where(valid_NGK, value_NGK, 0.0).sum(1, keepdim=True) / counts_N1K
    highest_N1K = torch.where(valid_NGK, value_NGK, -torch.inf).amax(1, keepdim=True)
    lowest_N1K = torch.where(valid_NGK, value_NGK, torch.inf).amin(1, keepdim=True)
    differs_NGK = valid_NGK & (highest_N1K > lowest_N1K)
    return torch.where(differs_NGK, value_NGK - mean_N1K, 0.0).flatten(0, 1)


def centred_rewards(scored: ScoredRollouts) -> Tensor:
    """The centred rewards of this process's rows (B,)."""
    reward_B = scored.shard.gather(scored.rewards.total_B)
    return scored.shard.mine(centre_in_group(reward_B[:, None], scored.group_size)[:, 0])


def leave_one_out_mean(value_B: Tensor, group_size: int) -> Tensor:
    """Mean over the other G - 1 completions of the prompt (B,); of equal values exactly these."""
    value_NG = value_B.unflatten(0, (-1, group_size))
    others_NG = (value_NG.sum(1, keepdim=True) - value_NG) / (group_size - 1)
    differs_N1 = value_NG.amax(1, keepdim=True) > value_NG.amin(1, keepdim=True)
    return torch.where(differs_N1, others_NG, value_NG).flatten()


def group_steps(step_BK: Tensor, group_size: int) -> Tensor:
    """For every row the steps that any row of its group chose (B, G * K): what the same-step baseline needs."""
    return step_BK.unflatten(0, (-1, group_size)).flatten(1).repeat_interleave(group_size, 0)


def centre_at_same_step(returns_BM: Tensor, group_size: int) -> Tensor:
    """Returns minus the mean of the others' returns at the SAME step; (B, G * K) -> (B, K). Exactly 0 where all are
    equal."""
    returns_NOGK = returns_BM.unflatten(0, (-1, group_size)).unflatten(2, (group_size, -1))
    own_NGK = torch.diagonal(returns_NOGK, dim1=1, dim2=2).movedim(-1, 1)
    others_NGK = (returns_NOGK.sum(1) - own_NGK) / (group_size - 1)
    differs_NGK = returns_NOGK.amax(1) > returns_NOGK.amin(1)
    return torch.where(differs_NGK, own_NGK - others_NGK, 0.0).flatten(0, 1)


def group_std(value_B: Tensor, group_size: int) -> Tensor:
    """Standard deviation over the group, divisor G - 1; (B,), equal within a group. Raises UserError for groups of
    one, which have none."""
    if group_size < 2:
        raise UserError(
            f"train.group_size={group_size}: advantages are divided by the standard deviation of a group, and one "
            "completion has none; set 2 or more."
        )
    return value_B.unflatten(0, (-1, group_size)).std(1).repeat_interleave(group_size, 0)


def zero_variance_groups(reward_B: Tensor, group_size: int) -> Tensor:
    """Fraction of groups whose rewards are all equal: they carry no signal under a group baseline. Scalar."""
    grouped = reward_B.unflatten(0, (-1, group_size))
    return (grouped.amax(1) == grouped.amin(1)).double().mean()


def against_others(value_B: Tensor, group_size: int) -> Tensor:
    """Value minus the mean of the other G - 1 completions of the prompt (B,): G / (G - 1) times the centred value, and
    like it exactly 0 where a group's values are all equal."""
    return centre_in_group(value_B[:, None], group_size)[:, 0] * group_size / (group_size - 1)


def z_scores(value_B: Tensor, group_size: int) -> Tensor:
    """Centred value over the group's standard deviation, divisor G (B,); exactly 0 where all are equal."""
    centred_NG = centre_in_group(value_B[:, None], group_size)[:, 0].unflatten(0, (-1, group_size))
    std_N1 = centred_NG.square().mean(1, keepdim=True).sqrt()
    return torch.where(std_N1 > 0, centred_NG / std_N1, 0.0).flatten()


def kept(reward_B: Tensor, group_size: int, share: float) -> Tensor:
    """True for the rows (B,) of groups whose mean reward lies within share and 1 - share; share 0 keeps all."""
    mean_N = reward_B.unflatten(0, (-1, group_size)).double().mean(1)
    is_kept_N = (mean_N >= share) & (mean_N <= 1 - share) if share else torch.ones_like(mean_N, dtype=torch.bool)
    return is_kept_N.repeat_interleave(group_size)
