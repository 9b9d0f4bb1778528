"""The gradient estimators: each method under each of its options that changes bias or variance.

The updates come from the methods' own `prepare` functions; only random draws are put in from here, so that an
expectation over them is exact. Losses are means, the policy gradient is a sum over steps: `scale` says by what the loss
is multiplied to be an estimate of it.

Axes: B rows, two per group; K selected steps; M Monte-Carlo draws; C completion; T steps.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.diagnose.mdp import LENGTH, Mdp
from harness.diffusion import elbo
from harness.registry import get_method
from harness.rl import step_selection
from harness.rl.method import Method, Prepared
from harness.rollout import ScoredRollouts

GROUP_SIZE = 2
WITH_ITSELF = GROUP_SIZE / (GROUP_SIZE - 1)
STEPS = LENGTH
DRAWS_IN_POOL = 512
GROUP_MEAN = "group mean"
BASELINES = ("none", "rank", "step")
SELECTIONS = ("entropy", "uniform", "random", "random-official")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The updates under one outcome of the random draws. weight_B: its probability, which may differ between rows."""

    prepared: Prepared
    weight_B: Tensor


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """A method with options.

    options, baseline: as the method's configuration names them. size: K or M, 0 where a method has neither. scale: the
    loss times this estimates minus the objective; a mean over a group that holds the completion itself shrinks the
    gradient by 1 - 1 / G, which is undone here.
    outcomes: enumerates the draws, for exact expectations. sampled: one draw per group, for variances; None where the
    outcomes are those of whole groups already.
    """

    name: str
    options: str
    baseline: str
    size: int
    method: Method
    scale: float
    outcomes: Callable[[Mdp, ScoredRollouts], Sequence[Outcome]]
    sampled: Callable[[Mdp, ScoredRollouts, torch.Generator], Prepared] | None = None


def all_estimators() -> list[Estimator]:
    """Everything that is compared on tasks whose completions do not end early."""
    egspo = [
        egspo_estimator(selection=selection, size=size, baseline=baseline)
        for selection, baseline, size in itertools.product(SELECTIONS, BASELINES, range(1, STEPS + 1))
    ]
    stepwise = [
        egspo_estimator(selection=selection, size=size, baseline=baseline, stepwise_lambda=0.5)
        for selection, baseline, size in itertools.product(("entropy", "uniform"), BASELINES, range(1, STEPS + 1))
    ]
    agrpo = [
        agrpo_estimator(importance=importance, draws=draws, size=size)
        for importance, draws in itertools.product(("uniform", "entropy"), ("low-discrepancy", "independent"))
        for size in range(1, STEPS + 1)
    ]
    espo = [espo_estimator(coupled=coupled, size=size) for coupled in (False, True) for size in (1, 2)]
    return [*egspo, *stepwise, *agrpo, d1_estimator(), *espo]


def early_end_estimators() -> list[Estimator]:
    """What is compared where one of the tokens ends the completion."""
    agrpo = [agrpo_estimator(importance=name, draws="low-discrepancy", size=STEPS) for name in ("uniform", "entropy")]
    return [egspo_estimator(selection="entropy", size=STEPS, baseline="rank"), *agrpo, d1_estimator()]


def egspo_estimator(*, selection: str, size: int, baseline: str, stepwise_lambda: float = 0.0) -> Estimator:
    """EGSPO, or EGSPO-SA with a lambda above 0."""
    name = "egspo-sa" if stepwise_lambda else "egspo"
    method = make_method(
        name,
        selection=selection,
        num_selected=size,
        slots_per_update=size,
        baseline=baseline,
        stepwise_lambda=stepwise_lambda,
    )
    chosen = {
        "random": list(itertools.permutations(range(STEPS), size)),
        "random-official": [(*drawn, STEPS - 1) for drawn in itertools.product(range(STEPS - 1), repeat=size - 1)],
    }.get(selection)
    tokens_per_step = LENGTH / STEPS
    return Estimator(
        name=name,
        options=selection,
        baseline=baseline,
        size=size,
        method=method,
        scale=size * tokens_per_step * (WITH_ITSELF if baseline == "rank" else 1.0),
        outcomes=functools.partial(_chosen, method, chosen) if chosen else functools.partial(_without_draws, method),
        sampled=functools.partial(_prepared, method) if selection == "random" else None,
    )


def agrpo_estimator(*, importance: str, draws: str, size: int) -> Estimator:
    """AGRPO with M draws per completion."""
    method = make_method("agrpo", mc_samples=size, importance=importance, draws=draws, divisor="batch")
    draw = step_selection.stratified_uniforms if draws == "low-discrepancy" else step_selection.independent_uniforms
    return Estimator(
        name="agrpo",
        options=f"{importance}, {draws}",
        baseline=GROUP_MEAN,
        size=size,
        method=method,
        scale=STEPS * WITH_ITSELF,
        outcomes=functools.partial(_every_step, method, importance),
        sampled=functools.partial(_drawn, method, size, draw),
    )


def d1_estimator() -> Estimator:
    """diffu-GRPO's first inner update; nothing depends on the prompt, so its mask changes nothing."""
    method = make_method("d1", inner_updates=1, beta=0.0)
    return Estimator(
        name="d1",
        options="one step",
        baseline=GROUP_MEAN,
        size=0,
        method=method,
        scale=LENGTH * WITH_ITSELF,
        outcomes=functools.partial(_without_draws, method),
    )


def espo_estimator(*, coupled: bool, size: int) -> Estimator:
    """ESPO's first inner update with M draws per completion."""
    method = make_method("espo", inner_updates=1, mc_samples=size, coupled=coupled, beta=0.0)
    return Estimator(
        name="espo",
        options="coupled" if coupled else "single",
        baseline="leave one out",
        size=size,
        method=method,
        scale=LENGTH,
        outcomes=functools.partial(_every_mask, method),
        sampled=functools.partial(_masked, method, size),
    )


def make_method(name: str, **options: Any) -> Method:
    """The method with these options, the others at their defaults."""
    cls = get_method(name)
    return cls(config=cls.Config(**options))


def _prepared(method: Any, mdp: Mdp, scored: ScoredRollouts, generator: torch.Generator) -> Prepared:
    return method.prepare(scored, mdp.policy, mdp.score, generator)


def _everywhere(prepared: Prepared, scored: ScoredRollouts, probability: float) -> Outcome:
    weight_B = torch.full((scored.rollout.num_rows,), probability, dtype=torch.float64)
    return Outcome(prepared=prepared, weight_B=weight_B)


def _without_draws(method: Any, mdp: Mdp, scored: ScoredRollouts) -> list[Outcome]:
    return [_everywhere(_prepared(method, mdp, scored, torch.Generator()), scored, 1.0)]


def _chosen(method: Any, chosen: Sequence[Sequence[int]], mdp: Mdp, scored: ScoredRollouts) -> list[Outcome]:
    """Every selection in turn, the same for all rows: exact for returns that do not depend on the step."""
    rows = scored.rollout.num_rows
    return [
        _everywhere(
            method.prepare_chosen(scored, mdp.policy, mdp.score, torch.tensor(steps).expand(rows, -1)),
            scored,
            1 / len(chosen),
        )
        for steps in chosen
    ]


def _every_step(method: Any, importance: str, mdp: Mdp, scored: ScoredRollouts) -> list[Outcome]:
    """Uniforms that reach every step of every row. A sum over draws is linear, so one draw at a time is exact."""
    if importance == "uniform":
        # Rows of 1, 2 and 3 steps: a grid of 6 meets each of their steps equally often.
        points = [(index + 0.5) / 6 for index in range(6)]
        return [
            _everywhere(method.prepare_drawn(scored, mdp.policy, _constant(point, scored)), scored, 1 / 6)
            for point in points
        ]
    agrpo = sys.modules[type(method).__module__]
    probability_BT = agrpo.draw_probabilities(scored.rollout, mdp.policy.is_end(scored.rollout.completion_ids_BC))
    middle_BT = probability_BT.cumsum(1) - probability_BT / 2
    return [
        Outcome(
            prepared=method.prepare_drawn(scored, mdp.policy, middle_B[:, None].contiguous()), weight_B=probability_B
        )
        for middle_B, probability_B in zip(middle_BT.unbind(1), probability_BT.unbind(1), strict=True)
    ]


def _constant(value: float, scored: ScoredRollouts) -> Tensor:
    return torch.full((scored.rollout.num_rows, 1), value, dtype=torch.float64)


def _drawn(
    method: Any,
    size: int,
    draw: Callable[[int, int, torch.Generator], Tensor],
    mdp: Mdp,
    scored: ScoredRollouts,
    generator: torch.Generator,
) -> Prepared:
    """Draws for every group apart, as if it were a batch of its own; groups share a pool of draws."""
    groups = scored.rollout.num_rows // GROUP_SIZE
    pool_DGM = torch.stack([draw(GROUP_SIZE, size, generator) for _ in range(DRAWS_IN_POOL)])
    uniform_BM = pool_DGM[torch.randint(0, DRAWS_IN_POOL, (groups,), generator=generator)].flatten(0, 1)
    return method.prepare_drawn(scored, mdp.policy, uniform_BM)


def _every_mask(method: Any, mdp: Mdp, scored: ScoredRollouts) -> list[Outcome]:
    """All masks of a row as if they were its draws. Every count is equally likely, and so are the masks of a count;
    twelfths are the largest share that fits them all."""
    masks = list(itertools.product((False, True), repeat=LENGTH))
    repeated = [mask for mask in masks for _ in range(3 if sum(mask) in (0, LENGTH) else 1)]
    is_masked_UMC = torch.tensor(repeated)[None]
    is_masked_BUMC = is_masked_UMC.expand(scored.rollout.num_rows, -1, -1, -1)
    return [_everywhere(method.prepare_masked(scored, mdp.policy, is_masked_BUMC), scored, 1.0)]


def _masked(method: Any, size: int, mdp: Mdp, scored: ScoredRollouts, generator: torch.Generator) -> Prepared:
    """Draws masks for every group apart, as if it were a batch of its own."""
    groups = scored.rollout.num_rows // GROUP_SIZE
    counts_XG = torch.stack([elbo.evenly_spaced_counts(GROUP_SIZE, LENGTH, start) for start in range(LENGTH + 1)])
    draws = []
    for _ in range(size):
        start_g = torch.randint(0, LENGTH + 1, (groups,), generator=generator)
        uniform_BC = torch.rand(groups * GROUP_SIZE, LENGTH, generator=generator, dtype=torch.float64)
        draws.append(elbo.masks_of_counts(counts_XG[start_g].flatten(), uniform_BC))
    return method.prepare_masked(scored, mdp.policy, torch.stack(draws, 1)[:, None])
