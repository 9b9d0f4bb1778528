"""Which denoising steps of a completion are used for the update. Pure functions.

Axes: B rows, C completion, T steps, K selected, M Monte-Carlo draws. A row with fewer
than K eligible steps gets -1 in the columns left over."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.distributed.shard import ALONE, Shard
from harness.rollout import Rollout

IMPORTANCES = ("uniform", "entropy")
SELECTIONS = ("entropy", "uniform", "random", "random-official")


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


def last_taken_step(rollout: Rollout, is_end_BC: Tensor) -> Tensor:
    """The same (B,), within the steps that the row took."""
    last_B = last_real_step(rollout.unmask_step_BC, is_end_BC, rollout.num_steps)
    return torch.minimum(last_B, rollout.num_steps_B.long() - 1)


def select_steps(
    rollout: Rollout,
    is_end_BC: Tensor,
    *,
    selection: str,
    num_selected: int,
    until_last_real: bool,
    generator: torch.Generator,
    shard: Shard = ALONE,
) -> Tensor:
    """K steps of every row by one of SELECTIONS, -1 where a row has fewer eligible ones (B, K).

    Eligible are the steps that the row took; until_last_real: of these, those up to the last that reveals a token which
    is no end token. is_end_BC: bool.
    """
    num_rows, num_steps = rollout.num_rows, rollout.num_steps
    last_B = last_taken_step(rollout, is_end_BC) if until_last_real else rollout.num_steps_B.long() - 1
    eligible_BT = torch.arange(num_steps, device=last_B.device) <= last_B[:, None]
    match selection:
        case "entropy":
            return highest_entropy(step_entropy(rollout), eligible_BT, num_selected)
        case "random":
            all_eligible_BT = shard.gather(eligible_BT.to(torch.uint8)).bool()
            return shard.mine(random_without_replacement(all_eligible_BT, num_selected, generator))
        case "uniform" if until_last_real:
            return uniform_until(last_B, num_selected)
        case "uniform":
            step_BK = uniform_with_last(num_rows, num_steps, num_selected)
        case "random-official":
            step_BK = random_shared(num_rows, num_steps, num_selected, generator)
    step_BK = step_BK.to(last_B.device)
    return torch.where(step_BK <= last_B[:, None], step_BK, -1)


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


def stratified_uniforms(num_rows: int, num_draws: int, generator: torch.Generator) -> Tensor:
    """Low-discrepancy uniforms (B, M), float64: one in each of the B * M equal strata of [0, 1), in random places.

    Each entry alone is uniform."""
    size = num_rows * num_draws
    order = torch.randperm(size, generator=generator)
    inside = torch.rand(size, generator=generator, dtype=torch.float64)
    return ((order + inside) / size).view(num_rows, num_draws)


def independent_uniforms(num_rows: int, num_draws: int, generator: torch.Generator) -> Tensor:
    """Independent uniforms (B, M), float64."""
    return torch.rand(num_rows, num_draws, generator=generator, dtype=torch.float64)


def uniform_steps(uniform_BM: Tensor, last_B: Tensor) -> Tensor:
    """Steps 0..last, all equally likely: floor(u (last + 1)); (B, M)."""
    step_BM = (uniform_BM * (last_B[:, None] + 1)).long()
    return torch.minimum(step_BM, last_B[:, None])


def entropy_probabilities(entropy_BC: Tensor, unmask_step_BC: Tensor, last_B: Tensor, num_steps: int) -> Tensor:
    """p(s) (B, T): proportional to the summed entropy of the tokens that step s revealed, plus 1e-8; 0 after last."""
    size = (len(entropy_BC), num_steps + 1)
    total_BT = entropy_BC.new_zeros(size).scatter_add_(1, unmask_step_BC.long(), entropy_BC)[:, :num_steps] + 1e-8
    total_BT = torch.where(torch.arange(num_steps, device=last_B.device) <= last_B[:, None], total_BT, 0.0)
    return total_BT / total_BT.sum(1, keepdim=True)


def steps_by_probability(uniform_BM: Tensor, probability_BT: Tensor) -> Tensor:
    """Steps (B, M) drawn with probability_BT, by inverse CDF; rounding never leads past the last possible step."""
    cdf_BT = probability_BT.to(uniform_BM.dtype).cumsum(1)
    last_B1 = (cdf_BT < cdf_BT[:, -1:]).sum(1, keepdim=True)
    return torch.minimum(torch.searchsorted(cdf_BT, uniform_BM), last_B1)


@dataclass(frozen=True, kw_only=True)
class DrawnSteps:
    """step_BM and their importance weights, float64: (1 / number of steps) / probability of the draw."""

    step_BM: Tensor
    importance_BM: Tensor


def draw_steps(rollout: Rollout, is_end_BC: Tensor, uniform_BM: Tensor, importance: str) -> DrawnSteps:
    """Steps among those up to the last that reveals a real token: by one of IMPORTANCES equally likely, or in
    proportion to their entropy."""
    last_B = last_taken_step(rollout, is_end_BC)
    if importance == "uniform":
        step_BM = uniform_steps(uniform_BM, last_B)
        return DrawnSteps(step_BM=step_BM, importance_BM=torch.ones_like(uniform_BM))
    probability_BT = draw_probabilities(rollout, is_end_BC)
    step_BM = steps_by_probability(uniform_BM, probability_BT)
    uniform_B1 = 1 / (last_B[:, None].double() + 1)
    return DrawnSteps(step_BM=step_BM, importance_BM=uniform_B1 / probability_BT.gather(1, step_BM))


def draw_probabilities(rollout: Rollout, is_end_BC: Tensor) -> Tensor:
    """p(s) (B, T), float64, of entropy importance sampling."""
    last_B = last_taken_step(rollout, is_end_BC)
    return entropy_probabilities(rollout.sampled_entropy_BC.double(), rollout.unmask_step_BC, last_B, rollout.num_steps)


UNIFORMS = {"low-discrepancy": stratified_uniforms, "independent": independent_uniforms}
