"""Bias, variance and cost of an estimator: sums over all groups of two completions, which is all there is to know.

Draws are gone through too where a method names all of them; otherwise they are sampled, and the standard error of what
comes of it is recorded.

Axes: X groups (unordered pairs of trajectories), B = 2 X rows; D entries of the table, flat.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.diagnose import groups as grouping
from harness.diagnose.estimators import GROUP_SIZE, STEPS, Candidate, all_candidates
from harness.diagnose.groups import (
    Groups,
    Key,
    Sharing,
    all_groups,
    batches,
    estimates,
    one_per_text,
    row_estimates,
    scored_rollouts,
)
from harness.diagnose.mdp import NO_TOKEN, ORDERS, TOKENS, Mdp, make_mdp
from harness.randomness import stream
from harness.rollout import ScoredRollouts

SAMPLES = 4
GROUPS_IN_SAMPLE = 1000
"""Estimates are sampled 4 times; how much these samples differ gives the standard error."""
FOR_MEANS = 8
"""Samples are so many times larger where not only variances come from them."""
BACKWARD_PASS = 2
"""The cost of a backward pass in forward passes."""
COMPUTE = STEPS + STEPS * (1 + BACKWARD_PASS)
"""Passes per completion at which variances are compared: what EGSPO takes with all steps, its rollout included."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean estimate (D,) and mean squared length of an estimate; their standard errors, 0 where nothing was sampled,
    that of the mean being a length."""

    mean_D: Tensor
    square: float
    mean_error: float = 0.0
    square_error: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One estimator, averaged over policies. An estimate is made from one group of two completions.

    order: of revealing the positions. ends_early: whether a token ends completions. bias: length of (mean estimate -
    gradient) over that of the gradient. angle: between the two, degrees. variance: mean squared distance of an estimate
    from its mean, over the squared length of the gradient. bias_error, variance_error: standard errors, 0 where all
    draws were gone through. forwards, backwards: passes per completion for the update, those for old log-probabilities
    included. is_drawn: whether it is a point of the figure.
    """

    name: str
    options: str
    baseline: str
    size: int
    order: str
    ends_early: bool
    bias: float
    bias_error: float
    angle: float
    variance: float
    variance_error: float
    forwards: float
    backwards: float
    is_drawn: bool

    @property
    def compute(self) -> float:
        """Forward passes per completion that an estimate costs, the T of its rollout included."""
        return STEPS + self.forwards + BACKWARD_PASS * self.backwards

    @property
    def variance_at_equal_compute(self) -> float:
        """That of the mean of as many estimates as cost COMPUTE passes per completion."""
        return self.variance * self.compute / COMPUTE


def moments(
    mdp: Mdp, groups: Groups, candidate: Candidate, generator: torch.Generator, sharing: Sharing | None = None
) -> Moments:
    """Exact but for what has to be sampled; the estimates are not scaled yet. sharing: found out unless given."""
    sharing = sharing or grouping.sharing(mdp, groups, candidate)
    if sharing.by_text:
        groups = one_per_text(mdp, groups)
    outcomes, sampled = candidate.estimator.outcomes, candidate.estimator.sampled
    if sampled is None:
        return exact_moments(mdp, batches(mdp, groups, sharing.key), candidate)
    is_mean_exact = outcomes is not None and len(outcomes(scored_rollouts(mdp, groups), mdp.policy)) > 0
    number = GROUPS_IN_SAMPLE * (1 if is_mean_exact else FOR_MEANS)
    samples = [sample_moments(mdp, groups, candidate, generator, sharing.key, number) for _ in range(SAMPLES)]
    mean_SD = torch.stack([one.mean_D for one in samples])
    square_S = torch.tensor([one.square for one in samples], dtype=torch.float64)
    square, square_error = float(square_S.mean()), float(square_S.std()) / math.sqrt(SAMPLES)
    if is_mean_exact:
        mean_D = exact_mean(mdp, batches(mdp, groups, sharing.key), candidate)
        return Moments(mean_D=mean_D, square=square, square_error=square_error)
    mean_error = math.sqrt(float(mean_SD.var(0).sum()) / SAMPLES)
    return Moments(mean_D=mean_SD.mean(0), square=square, mean_error=mean_error, square_error=square_error)


def exact_moments(mdp: Mdp, shared: Iterable[Groups], candidate: Candidate) -> Moments:
    """Over all groups and all outcomes of their draws, which are those of whole groups."""
    mean_D, square = torch.zeros(mdp.table.table_RCSW[0].numel(), dtype=torch.float64), 0.0
    for batch in shared:
        for draws, probability in outcomes_of(mdp, scored_rollouts(mdp, batch), candidate):
            estimate_XD = estimates(mdp, batch, candidate, draws)
            mean_D += probability * (batch.weight_X @ estimate_XD)
            square += float(probability) * float(batch.weight_X @ estimate_XD.square_().sum(1))
    return Moments(mean_D=mean_D, square=square)


def exact_mean(mdp: Mdp, shared: Iterable[Groups], candidate: Candidate) -> Tensor:
    """The mean estimate (D,), also where the probability of an outcome differs between rows, which then add up."""
    mean_D = torch.zeros(mdp.table.table_RCSW[0].numel(), dtype=torch.float64)
    for batch in shared:
        for draws, probability in outcomes_of(mdp, scored_rollouts(mdp, batch), candidate):
            if isinstance(probability, Tensor):
                weight_B = batch.weight_X.repeat_interleave(GROUP_SIZE) * probability
                mean_D += weight_B @ row_estimates(mdp, batch, candidate, draws)
            else:
                mean_D += probability * (batch.weight_X @ estimates(mdp, batch, candidate, draws))
    return mean_D


def outcomes_of(mdp: Mdp, scored: ScoredRollouts, candidate: Candidate) -> list[tuple[Any, float | Tensor]]:
    """All draws with their probabilities; the only ones where nothing is random."""
    if candidate.estimator.outcomes is None:
        return [(candidate.draw(mdp, scored, torch.Generator()), 1.0)]
    return [(item.draws, item.probability) for item in candidate.estimator.outcomes(scored, mdp.policy)]


def sample_moments(
    mdp: Mdp, groups: Groups, candidate: Candidate, generator: torch.Generator, key: Key, number: int
) -> Moments:
    """Of one sample of so many groups and their draws."""
    mean_D, square = torch.zeros(mdp.table.table_RCSW[0].numel(), dtype=torch.float64), 0.0
    for batch in batches(mdp, grouping.sample(groups, number, generator), key):
        draws = candidate.draw(mdp, scored_rollouts(mdp, batch), generator)
        estimate_XD = estimates(mdp, batch, candidate, draws)
        mean_D += batch.weight_X @ estimate_XD
        square += float(batch.weight_X @ estimate_XD.square_().sum(1))
    return Moments(mean_D=mean_D, square=square)


def passes_per_completion(mdp: Mdp, candidate: Candidate) -> tuple[float, float]:
    """Forward and backward passes per completion on one group, as the model counts them."""
    group = Groups(index_XG=torch.arange(GROUP_SIZE)[None], weight_X=torch.ones(1, dtype=torch.float64))
    draws = candidate.draw(mdp, scored_rollouts(mdp, group), torch.Generator())
    with mdp.policy.meter.measure() as cost:
        estimates(mdp, group, candidate, draws)
    return cost.forwards / GROUP_SIZE, cost.backwards / GROUP_SIZE


def measure(mdp: Mdp, groups: Groups, candidate: Candidate, seed: int, sharing: Sharing | None = None) -> Measurement:
    """Bias, variance and cost of one estimator under one policy."""
    estimator, ends_early = candidate.estimator, bool(mdp.policy.special.end_ids)
    names = (candidate.name, estimator.options, estimator.baseline, estimator.size)
    found = moments(mdp, groups, candidate, stream(seed, "diagnose", mdp.order, *names), sharing)
    mean_D, exact_D = found.mean_D, mdp.exact_gradient().flatten()
    length = float(exact_D.norm())
    scale = length / float(mean_D.norm()) if estimator.scale is None else estimator.scale
    mean_D = scale * mean_D
    mean_error = abs(scale) * found.mean_error
    # The square of a sampled mean is larger than that of the mean itself, by the square of its error.
    variance = scale**2 * found.square - (float(mean_D @ mean_D) - mean_error**2)
    forwards, backwards = passes_per_completion(mdp, candidate)
    return Measurement(
        name=candidate.name,
        options=estimator.options if estimator.scale is not None else f"{estimator.options} fitted scale".strip(),
        baseline=estimator.baseline,
        size=estimator.size,
        order=mdp.order,
        ends_early=ends_early,
        bias=float((mean_D - exact_D).norm()) / length,
        bias_error=mean_error / length,
        angle=math.degrees(math.acos(torch.cosine_similarity(mean_D, exact_D, dim=0).clamp(-1, 1))),
        variance=variance / length**2,
        variance_error=scale**2 * found.square_error / length**2,
        forwards=forwards,
        backwards=backwards,
        is_drawn=estimator.is_drawn and not ends_early,
    )


class Diagnosis:
    """Measures estimators under one policy after the other, and remembers how each may share batches."""

    def __init__(self, candidates: Sequence[Candidate], *, scale: float) -> None:
        self._candidates, self._scale = candidates, scale
        self._sharing: dict[tuple[int, bool], Sharing] = {}

    def under_policy(self, seed: int) -> list[Measurement]:
        """All estimators in every order; those that are measured with early ends once more with these."""
        found = []
        for order, end_token in itertools.product(ORDERS, (NO_TOKEN, TOKENS - 1)):
            mdp = make_mdp(seed, scale=self._scale, end_token=end_token, order=order)
            groups = all_groups(mdp)
            for place, candidate in enumerate(self._candidates):
                if end_token == NO_TOKEN or candidate.estimator.ends_early:
                    sharing = self._share(mdp, groups, place)
                    found.append(measure(mdp, groups, candidate, seed, sharing))
        return found

    def _share(self, mdp: Mdp, groups: Groups, place: int) -> Sharing:
        """Found out in the first order and under the first policy."""
        key = (place, bool(mdp.policy.special.end_ids))
        if key not in self._sharing:
            self._sharing[key] = grouping.sharing(mdp, groups, self._candidates[place])
        return self._sharing[key]


def diagnose(
    *, policies: int, scale: float, seed: int, on_measured: Callable[[], None] = lambda: None
) -> list[Measurement]:
    """All estimators on `policies` random tasks, averaged. on_measured: called after every policy."""
    measured, diagnosis = [], Diagnosis(all_candidates(), scale=scale)
    for number in range(policies):
        measured.append(diagnosis.under_policy(seed + number))
        on_measured()
    return [average(same) for same in zip(*measured, strict=True)]


def average(same: Sequence[Measurement]) -> Measurement:
    """The mean over policies; standard errors add up by their squares."""
    mean = mean_of(same, "bias", "angle", "variance", "forwards", "backwards")
    errors = {
        name: math.hypot(*(getattr(item, name) for item in same)) / len(same)
        for name in ("bias_error", "variance_error")
    }
    return dataclasses.replace(mean, **errors)


def largest_errors(measured: Sequence[Measurement]) -> tuple[float, float]:
    """The largest standard error of a bias, in lengths of the gradient, and of a variance, as a share of it."""
    of_variances = [item.variance_error / item.variance for item in measured if item.variance_error]
    return max(item.bias_error for item in measured), max(of_variances, default=0.0)


def mean_of(same: Sequence[Any], *averaged: str) -> Any:
    """The first of several records, with the means over all of them in the averaged fields."""
    means = {name: sum(getattr(item, name) for item in same) / len(same) for name in averaged}
    return dataclasses.replace(same[0], **means)
