"""Which denoising steps of a completion are used for the update. Pure functions.

Axes: B rows, C completion, T steps, K selected. A row with fewer than K eligible steps gets -1 in the columns left
over."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.rollout import Rollout


def step_entropy(rollout: Rollout) -> Tensor:
    """H_s (B, T), nats: mean over the positions that step s revealed of their entropy; -inf where it revealed none."""
    step_BC = rollout.unmask_step_BC.long()
    size = (rollout.num_rows, rollout.num_steps + 1)
    total_BT = rollout.entropy_BC.new_zeros(size).scatter_add_(1, step_BC, rollout.entropy_BC)
    count_BT = rollout.entropy_BC.new_zeros(size).scatter_add_(1, step_BC, torch.ones_like(rollout.entropy_BC))
    mean_BT = torch.where(count_BT > 0, total_BT / count_BT.clamp_min(1), -torch.inf)
    return mean_BT[:, : rollout.num_steps]


def last_real_step(unmask_step_BC: Tensor, is_end_BC: Tensor, num_steps: int) -> Tensor:
    """The last step (B,) that reveals a token which is no end token; the last step of all where every token is one."""
    real_step_BC = torch.where(is_end_BC, -1, unmask_step_BC.long())
    last_B = real_step_BC.amax(1)
    return torch.where(last_B < 0, num_steps - 1, last_B)


def highest_entropy(entropy_BT: Tensor, eligible_BT: Tensor, num_selected: int) -> Tensor:
    """The K eligible steps of largest entropy, in falling order (B, K)."""
    ranked = torch.where(eligible_BT, entropy_BT, -torch.inf).topk(num_selected, dim=1)
    return torch.where(ranked.values > -torch.inf, ranked.indices, -1)


def uniform_with_last(num_rows: int, num_steps: int, num_selected: int) -> Tensor:
    """USPO: K - 1 steps evenly spaced over 0..T-2, truncated, and the last step; the same for all rows (B, K)."""
    spaced = torch.linspace(0, num_steps - 2, num_selected - 1).long()
    return torch.cat([spaced, torch.tensor([num_steps - 1])]).expand(num_rows, -1)


def uniform_until(last_B: Tensor, num_selected: int) -> Tensor:
    """K steps evenly spaced over 0..last, truncated, per row (B, K); repeated steps of short rows become -1."""
    share_K = torch.linspace(0, 1, num_selected, dtype=torch.float64, device=last_B.device)
    spaced_BK = (share_K * last_B[:, None].double() + 1e-9).long()
    repeated_BK = torch.zeros_like(spaced_BK, dtype=torch.bool)
    repeated_BK[:, 1:] = spaced_BK[:, 1:] == spaced_BK[:, :-1]
    return torch.where(repeated_BK, -1, spaced_BK)


def random_without_replacement(eligible_BT: Tensor, num_selected: int, generator: torch.Generator) -> Tensor:
    """K different eligible steps per row, every subset equally likely (B, K)."""
    draw_BT = torch.rand(eligible_BT.shape, generator=generator, dtype=torch.float64).to(eligible_BT.device)
    return highest_entropy(draw_BT, eligible_BT, num_selected)


def random_shared(num_rows: int, num_steps: int, num_selected: int, generator: torch.Generator) -> Tensor:
    """The official random selection: K - 1 draws with replacement, shared by all rows, and the last step (B, K)."""
    drawn = torch.randint(0, num_steps - 1, (num_selected - 1,), generator=generator)
    return torch.cat([drawn, torch.tensor([num_steps - 1])]).expand(num_rows, -1)
