"""Bias, variance and cost of an estimator: sums over all groups of two completions, which is all there is to know.

Axes: X groups (unordered pairs of trajectories), B = 2 X rows; C, S, W as in the table of the policy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.diagnose.estimators import GROUP_SIZE, Candidate, all_candidates
from harness.diagnose.mdp import TOKENS, Mdp, make_mdp, take
from harness.randomness import stream
from harness.rl.estimator import Outcome
from harness.rl.method import LossPart
from harness.rollout import ScoredRollouts

REPEATS = 2
"""Draws per group for the variance of estimators that draw; the 13,203 groups average over many more."""


@dataclass(frozen=True, kw_only=True)
class Groups:
    """All pairs of trajectories. probability_X: sums to 1."""

    scored: ScoredRollouts
    probability_X: Tensor


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean estimate (C, S, W) and mean squared length of an estimate."""

    mean_CSW: Tensor
    square: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One estimator, averaged over policies. An estimate is made from one group of two completions.

    bias: length of (mean estimate - gradient) over that of the gradient. angle: between the two, degrees. variance:
    mean squared distance of an estimate from its mean, over the squared length of the gradient. forwards: passes per
    completion, those for old log-probabilities included. ends_early: whether a token ends completions. is_drawn:
    whether it is a point of the figure.
    """

    name: str
    options: str
    baseline: str
    size: int
    ends_early: bool
    bias: float
    angle: float
    variance: float
    forwards: float
    is_drawn: bool


def all_groups(mdp: Mdp) -> Groups:
    """Every unordered pair; a pair of different trajectories stands for both orders."""
    number = mdp.rollout.num_rows
    first_X, second_X = torch.triu_indices(number, number)
    rollout = take(mdp.rollout, torch.stack([first_X, second_X], 1).flatten())
    twice_X = torch.where(first_X == second_X, 1.0, 2.0).double()
    rewards = mdp.rewards_of(rollout.completion_ids_BC)
    return Groups(
        scored=ScoredRollouts(rollout=rollout, rewards=rewards, group_size=GROUP_SIZE),
        probability_X=twice_X * mdp.probability_N[first_X] * mdp.probability_N[second_X],
    )


def moments(mdp: Mdp, groups: Groups, candidate: Candidate, generator: torch.Generator) -> Moments:
    """Exact, but for the square where draws are too many to go through; the loss is not scaled yet."""
    outcomes, sampled = candidate.outcomes(mdp, groups.scored), candidate.estimator.sampled
    if sampled is None:
        every = [(group_moments(mdp, groups, candidate, item.draws), float(item.probability)) for item in outcomes]
        return Moments(
            mean_CSW=sum((weight * one.mean_CSW for one, weight in every), torch.zeros(())),
            square=sum(weight * one.square for one, weight in every),
        )
    samples = [sampled(groups.scored, mdp.policy, generator) for _ in range(REPEATS)]
    squares = [group_moments(mdp, groups, candidate, draws).square for draws in samples]
    return Moments(mean_CSW=mean_gradient(mdp, groups, candidate, outcomes), square=sum(squares) / REPEATS)


def mean_gradient(mdp: Mdp, groups: Groups, candidate: Candidate, outcomes: Sequence[Outcome]) -> Tensor:
    """The mean estimate (C, S, W), also where the probability of an outcome differs between rows.

    Losses are linear in the advantages where the ratio is 1: weighting those weights the groups.
    """
    weight_B = groups.probability_X.repeat_interleave(GROUP_SIZE) * len(groups.probability_X)
    with mdp.copies(1) as table_RCSW:
        for outcome in outcomes:
            for part in candidate.parts(mdp, groups.scored, outcome.draws):
                weighted = weight_advantages(part, weight_B * outcome.probability)
                candidate.estimator.method.loss(mdp.policy, weighted)[0].backward()
        assert table_RCSW.grad is not None
        return -table_RCSW.grad[0]


def group_moments(mdp: Mdp, groups: Groups, candidate: Candidate, draws: object) -> Moments:
    """Moments over the groups of one outcome: every group has a copy of the table, so that its gradient is its own."""
    number = len(groups.probability_X)
    with mdp.copies(number) as table_XCSW:
        for part in candidate.parts(mdp, groups.scored, draws):
            candidate.estimator.method.loss(mdp.policy, part)[0].backward()
        assert table_XCSW.grad is not None
        # The loss is a mean over all groups, an estimate is that of one.
        estimate_XD = table_XCSW.grad.flatten(1).mul_(-number)
    return Moments(
        mean_CSW=(groups.probability_X @ estimate_XD).view(table_XCSW.shape[1:]),
        square=float(groups.probability_X @ estimate_XD.square_().sum(1)),
    )


def weight_advantages(part: LossPart, weight_B: Tensor) -> LossPart:
    """The part with its advantages times weight_B; the parts of methods that name their draws have them."""
    name = "advantage_B" if hasattr(part, "advantage_B") else "advantage_N"
    return dataclasses.replace(part, **{name: getattr(part, name) * weight_B})


def forwards_per_completion(mdp: Mdp, candidate: Candidate) -> float:
    """Forward passes per completion on one group, as the model counts them."""
    rollout, method = take(mdp.rollout, torch.arange(GROUP_SIZE)), candidate.estimator.method
    rewards = mdp.rewards_of(rollout.completion_ids_BC)
    scored = ScoredRollouts(rollout=rollout, rewards=rewards, group_size=GROUP_SIZE)
    with mdp.policy.meter.measure() as cost:
        for part in candidate.parts(mdp, scored, method.draw(scored, mdp.policy, torch.Generator())):
            method.loss(mdp.policy, part)
    return cost.forwards / GROUP_SIZE


def measure(mdp: Mdp, groups: Groups, candidate: Candidate, seed: int, *, ends_early: bool = False) -> Measurement:
    """Bias, variance and cost of one estimator under one policy."""
    estimator = candidate.estimator
    names = (candidate.name, estimator.options, estimator.baseline, estimator.size)
    found = moments(mdp, groups, candidate, stream(seed, "diagnose", *names))
    mean, exact = found.mean_CSW.flatten(), mdp.exact_gradient().flatten()
    scale = float(mean @ exact / (mean @ mean)) if estimator.scale is None else estimator.scale
    mean = scale * mean
    cosine = torch.cosine_similarity(mean, exact, dim=0).clamp(-1, 1)
    return Measurement(
        name=candidate.name,
        options=estimator.options if estimator.scale is not None else f"{estimator.options} fitted scale".strip(),
        baseline=estimator.baseline,
        size=estimator.size,
        ends_early=ends_early,
        bias=float((mean - exact).norm() / exact.norm()),
        angle=math.degrees(math.acos(cosine)),
        variance=(scale**2 * found.square - float(mean.square().sum())) / float(exact.square().sum()),
        forwards=forwards_per_completion(mdp, candidate),
        is_drawn=estimator.is_drawn and not ends_early,
    )


def diagnose(
    *, policies: int, scale: float, seed: int, on_measured: Callable[[], None] = lambda: None
) -> list[Measurement]:
    """All estimators on `policies` random tasks, averaged. on_measured: called after every policy."""
    measured, candidates = [], all_candidates()
    for number in range(policies):
        measured.append(_one_policy(seed + number, scale, candidates))
        on_measured()
    return [mean_of(same, "bias", "angle", "variance", "forwards") for same in zip(*measured, strict=True)]


def _one_policy(seed: int, scale: float, candidates: Sequence[Candidate]) -> list[Measurement]:
    whole, ending = make_mdp(seed, scale=scale), make_mdp(seed, scale=scale, end_token=TOKENS - 1)
    # An end token changes which steps methods look at, not the trajectories.
    groups = all_groups(whole)
    early = [one for one in candidates if one.estimator.ends_early]
    return [
        *(measure(whole, groups, candidate, seed) for candidate in candidates),
        *(measure(ending, groups, candidate, seed, ends_early=True) for candidate in early),
    ]


def mean_of(same: Sequence[Any], *averaged: str) -> Any:
    """The first of several records, with the means over all of them in the averaged fields."""
    means = {name: sum(getattr(item, name) for item in same) / len(same) for name in averaged}
    return dataclasses.replace(same[0], **means)
