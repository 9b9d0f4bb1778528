"""What leaving steps out of the gradient costs, against the bound by their entropies (2603.12554, Proposition 5).

For a fixed set of steps and tabular logits, |error| <= sqrt(2) max|A| E[sum of the entropies left out]. The choice of
the K steps of highest entropy looks at entropies that come later, so that for it the bound does not hold.

Axes: N trajectories, T steps, K chosen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.diagnose.estimators import STEPS
from harness.diagnose.mdp import Mdp, make_mdp, take
from harness.diagnose.measure import mean_of
from harness.registry import get_method
from harness.rl import step_selection
from harness.rl.method import Prepared
from harness.rollout import Rewards, ScoredRollouts

BASELINES = ("none", "mean")
SELECTIONS = ("entropy", "uniform")


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Error of the expected gradient when K steps are used. baseline: none, or the expected reward.

    error: over the length of the gradient. ratio: error over the bound for fixed sets; over policies its mean and its
    largest.
    """

    selection: str
    baseline: str
    size: int
    error: float
    ratio: float
    largest_ratio: float


def expected_gradient(mdp: Mdp, prepared: Prepared, scale: float) -> Tensor:
    """The mean of the estimates from every trajectory alone, flat; EGSPO's loss times `scale`."""
    method, number = get_method("egspo")(), mdp.rollout.num_rows
    with mdp.copies(number) as table_NCSW:
        for part in prepared.updates[0].parts:
            method.loss(mdp.policy, part)[0].backward()
        assert table_NCSW.grad is not None
        return -scale * number * (mdp.probability_N @ table_NCSW.grad.flatten(1))


def prepare(mdp: Mdp, selection: str | Sequence[int], size: int, baseline: float) -> Prepared:
    """EGSPO's update on all trajectories, with a selection or with given steps, and advantages r - baseline."""
    total_N = mdp.rewards_of(mdp.rollout.completion_ids_BC).total_B - baseline
    rewards = Rewards(total_B=total_N, parts={"correctness": total_N})
    every_N = torch.arange(mdp.rollout.num_rows)
    scored = ScoredRollouts(rollout=take(mdp.rollout, every_N, every_N), rewards=rewards, group_size=1)
    egspo = get_method("egspo")
    named = {"selection": selection} if isinstance(selection, str) else {}
    method = egspo(config=egspo.Config(num_selected=size, slots_per_update=size, baseline="none", **named))
    step_NK = method.draw(scored, mdp.policy, torch.Generator())
    if not isinstance(selection, str):
        step_NK = torch.tensor(selection).expand(mdp.rollout.num_rows, -1)
    prepared: Prepared = method.prepare(scored, mdp.policy, mdp.score, step_NK)
    return prepared


def bound(mdp: Mdp, chosen_NK: Tensor, baseline: float) -> float:
    """sqrt(2) max|A| times the expected sum of the entropies of the steps that are not chosen."""
    left_NT = torch.ones(mdp.rollout.num_rows, STEPS, dtype=torch.float64).scatter(1, chosen_NK, 0.0)
    entropy_N = (step_selection.step_entropy(mdp.rollout) * left_NT).sum(1)
    largest = float((mdp.reward_X - baseline).abs().max())
    return math.sqrt(2) * largest * float((mdp.probability_N * entropy_N).sum())


def expected_reward(mdp: Mdp) -> float:
    """J."""
    return float((mdp.probability_N * mdp.rewards_of(mdp.rollout.completion_ids_BC).total_B).sum())


def left_out(mdp: Mdp, selection: str, size: int, baseline: str) -> LeftOut:
    """One selection under one policy."""
    value = expected_reward(mdp) if baseline == "mean" else 0.0
    prepared = prepare(mdp, selection, size, value)
    assert prepared.chosen is not None
    exact = mdp.exact_gradient().flatten()
    error = float((expected_gradient(mdp, prepared, size) - exact).norm())
    ratio = error / bound(mdp, prepared.chosen.step_BK, value)
    return LeftOut(
        selection=selection,
        baseline=baseline,
        size=size,
        error=error / float(exact.norm()),
        ratio=ratio,
        largest_ratio=ratio,
    )


def compare(*, policies: int, scale: float, seed: int) -> list[LeftOut]:
    """Every selection that leaves steps out, averaged over random policies."""
    cases = [
        (selection, size, baseline) for baseline in BASELINES for selection in SELECTIONS for size in range(1, STEPS)
    ]
    found = [
        [left_out(mdp, *case) for case in cases]
        for mdp in (make_mdp(seed + number, scale=scale) for number in range(policies))
    ]
    return [
        dataclasses.replace(mean_of(same, "error", "ratio"), largest_ratio=max(item.ratio for item in same))
        for same in zip(*found, strict=True)
    ]
