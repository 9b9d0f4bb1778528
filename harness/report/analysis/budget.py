"""What a level of accuracy costs: area under the curve, budget to reach a level, and its ratio to a reference method's.

Per run the evaluated checkpoints are joined by straight lines. A run reaches a level where its line first does; a
run that never does has no budget, and then the group has no mean and no ratio, for leaving the run out would make
the method look cheaper than it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from harness.report.analysis.curves import AXES, FLOPS, UPDATES, Axis, Panel
from harness.report.analysis.groups import Group, Member, measures
from harness.report.analysis.points import Points, bounds, identity, listing, make_points
from harness.report.analysis.statistics import Estimate, Interval, mean, ratio_of_pairs, seed_interval

SHARES = (0.5, 0.75, 0.9)
SMALLEST_RISE = 0.02
REFERENCE = "d1"
"""The method whose budgets are the unit of the ratios."""
BOOTSTRAP_SEED = 0
COLUMNS = "task model data metric method label quantity level axis seeds value low high bootstrap_low bootstrap_high"


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One checkpoint of one run: cost along an axis, value as a fraction of 1."""

    cost: float
    value: float


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number of a group per axis, from `seeds`; None where it cannot be said."""

    group: Group
    seeds: tuple[int, ...]
    over: tuple[Estimate | None, ...]


@dataclass(frozen=True, kw_only=True)
class Budget(Quantity):
    """What a group pays to reach a level; None where a seed never reaches it.

    per_seed: along the axes, a value per seed in the order of `seeds`; None where not reached.
    """

    level: float
    per_seed: tuple[tuple[float | None, ...], ...]

    @property
    def reached(self) -> int:
        """How many seeds reach the level."""
        return sum(value is not None for value in self.per_seed[0])


@dataclass(frozen=True, kw_only=True)
class Ratio(Quantity):
    """Budget of a group over the reference's, paired by seed.

    None where a seed of either never reaches the level, reaches it untrained, or none is shared; `reason` says which.
    """

    level: float
    reference: Group
    reason: str


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The budgets of one panel. stretch: per axis the common start and end of the areas; None where there is none.

    areas: mean heights of the curves over the stretch that every run of the panel covers; fractions of 1.
    """

    panel: Panel
    levels: tuple[float, ...]
    stretch: tuple[Interval | None, ...]
    areas: tuple[Quantity, ...]
    budgets: tuple[Budget, ...]
    ratios: tuple[Ratio, ...]


def spots(member: Member, metric: str, axis: Axis) -> tuple[Spot, ...]:
    """The curve of one run along `axis` by rising cost; of two evaluations at one cost the later counts."""
    measured = [record for record in member.records if measures(record, metric)]
    found = {float(getattr(record, axis.column)): record.metrics[metric].value for record in measured}
    return tuple(Spot(cost=cost, value=value) for cost, value in sorted(found.items()))


def _curves(groups: Sequence[Group], metric: str, axis: Axis) -> list[tuple[Spot, ...]]:
    """The curves of all runs that have one."""
    return [curve for group in groups for member in group.members if (curve := spots(member, metric, axis))]


def reach(curve: Sequence[Spot], level: float) -> float | None:
    """The cost at which the straight lines of `curve` first come to `level`; None where they never do."""
    if curve and curve[0].value >= level:
        return curve[0].cost
    for before, after in pairwise(curve):
        if after.value >= level:
            return before.cost + (level - before.value) / (after.value - before.value) * (after.cost - before.cost)
    return None


def mean_height(curve: Sequence[Spot], stretch: Interval) -> float:
    """The area under the straight lines of `curve` within `stretch`, over its width."""
    costs, values = [spot.cost for spot in curve], [spot.value for spot in curve]
    inner = [cost for cost in costs if stretch.low < cost < stretch.high]
    corners = [stretch.low, *inner, stretch.high]
    heights = np.interp(corners, costs, values)
    return float(np.trapezoid(heights, corners)) / (stretch.high - stretch.low)


def all_costs(panels: Sequence[Panel]) -> list[Costs]:
    """The budgets of every panel in which some group was evaluated at two checkpoints."""
    return [costs for panel in panels if (costs := make_costs(panel)) is not None]


def make_costs(panel: Panel) -> Costs | None:
    """The budgets of a panel; None where no group was evaluated at two checkpoints."""
    groups = [line.group for line in panel.lines if len(line.points) > 1]
    if not groups:
        return None
    levels = _levels(groups, panel.metric)
    budgets = tuple(_budget(group, panel.metric, level) for level in levels for group in groups)
    stretches = tuple(_stretch(groups, panel.metric, axis) for axis in AXES)
    return Costs(
        panel=panel,
        levels=levels,
        stretch=stretches,
        areas=tuple(_area(group, panel.metric, stretches) for group in groups),
        budgets=budgets,
        ratios=tuple(_ratios(budgets)),
    )


def _levels(groups: Sequence[Group], metric: str) -> tuple[float, ...]:
    """Half, three quarters and nine tenths of the way from the base to the highest group, in whole percent."""
    trained = [group for group in groups if not group.is_control]
    curves = [own for group in trained if (own := _curves([group], metric, UPDATES))]
    ends = [mean([curve[-1].value for curve in own]) for own in curves]
    starts = [curve[0].value for own in curves for curve in own]
    if not ends or max(ends) - mean(starts) < SMALLEST_RISE:
        return ()
    start, rise = mean(starts), max(ends) - mean(starts)
    return tuple(dict.fromkeys(round(start + share * rise, 2) for share in SHARES))


def _stretch(groups: Sequence[Group], metric: str, axis: Axis) -> Interval | None:
    curves = _curves(groups, metric, axis)
    low, high = max(curve[0].cost for curve in curves), min(curve[-1].cost for curve in curves)
    return Interval(low=low, high=high) if low < high else None


def _area(group: Group, metric: str, stretches: Sequence[Interval | None]) -> Quantity:
    over = [
        _estimate([mean_height(curve, stretch) for curve in _curves([group], metric, axis)], highest=1.0)
        if stretch
        else None
        for axis, stretch in zip(AXES, stretches, strict=True)
    ]
    return Quantity(group=group, seeds=group.seeds, over=tuple(over))


def _budget(group: Group, metric: str, level: float) -> Budget:
    members = [member for member in group.members if spots(member, metric, FLOPS)]
    per_seed = tuple(tuple(reach(spots(member, metric, axis), level) for member in members) for axis in AXES)
    known = [[cost for cost in costs if cost is not None] for costs in per_seed]
    over = tuple(_estimate(costs) if len(costs) == len(members) else None for costs in known)
    seeds = tuple(member.run.identity.seed for member in members)
    return Budget(group=group, level=level, seeds=seeds, over=over, per_seed=per_seed)


def _estimate(values: Sequence[float], *, highest: float = math.inf) -> Estimate:
    return Estimate(value=mean(values), interval=seed_interval(values, lowest=0.0, highest=highest))


def _ratios(budgets: Sequence[Budget]) -> list[Ratio]:
    """Every trained group over the reference: none where several groups of that method, or none, are in the panel."""
    references = [budget for budget in budgets if budget.group.method == REFERENCE and not budget.group.is_control]
    names = {budget.group.config_hash for budget in references}
    if len(names) != 1:
        return []
    by_level = {budget.level: budget for budget in references}
    return [
        _ratio(budget, by_level[budget.level])
        for budget in budgets
        if not budget.group.is_control and budget.group.method != REFERENCE
    ]


def _ratio(budget: Budget, reference: Budget) -> Ratio:
    shared = tuple(seed for seed in budget.seeds if seed in reference.seeds)
    pairs = []
    for own, other in zip(budget.per_seed, reference.per_seed, strict=True):
        ours = [own[budget.seeds.index(seed)] for seed in shared]
        theirs = [other[reference.seeds.index(seed)] for seed in shared]
        pairs.append((ours, theirs))
    return Ratio(
        group=budget.group,
        reference=reference.group,
        level=budget.level,
        seeds=shared,
        over=tuple(_paired(ours, theirs) for ours, theirs in pairs),
        reason=_no_ratio(*pairs[0]),
    )


def _no_ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> str:
    """Why costs have no ratio; empty where they have one."""
    if not ours:
        return "no shared seed"
    if None in (*ours, *theirs):
        return "a seed on either side never reaches the level"
    return "" if all((*ours, *theirs)) else "a seed on either side reaches the level before training"


def _paired(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Estimate | None:
    if _no_ratio(ours, theirs):
        return None
    first, second = ([cost for cost in costs if cost] for costs in (ours, theirs))
    return ratio_of_pairs(first, second, np.random.default_rng(BOOTSTRAP_SEED))


def budget_points(found: Sequence[Costs]) -> Points:
    """Areas (fractions of 1), budgets (FLOPs, samples, updates, seconds) and ratios to the reference.

    low and high: Student's t interval over seeds. An empty value was not reached by every seed.
    """
    return make_points(COLUMNS, (record for costs in found for record in _records(costs)))


def _records(costs: Costs) -> Iterator[dict[str, Any]]:
    kinds = {"area": costs.areas, "budget": costs.budgets, f"ratio to {REFERENCE}": costs.ratios}
    for quantity, found in ((quantity, found) for quantity, own in kinds.items() for found in own):
        head = {**identity(found.group), **vars(found), "seeds": listing(found.seeds), "quantity": quantity}
        for axis, estimate in zip(AXES, found.over, strict=True):
            yield {**head, "metric": costs.panel.metric, "axis": axis.column, **_cells(estimate)}


def _cells(estimate: Estimate | None) -> dict[str, float]:
    if estimate is None:
        return {}
    return {"value": estimate.value, **bounds(estimate.interval), **bounds(estimate.bootstrap, "bootstrap_")}
