"""Claims of papers, each held against the runs of its two sides under the same conditions, seed by seed.

A claim is supported, or contradicted, where p is below 5 % after Holm's adjustment for all tests under the same
conditions (task, model and protocol), so that a verdict on one task does not depend on what else a report covers;
otherwise it is not visible, and the smallest effect that would have been is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.config.published.claims import ANY, LOWER, Claim, Side
from harness.report.analysis.effects import (
    FEWEST_SEEDS,
    Effect,
    cost_ratio,
    difference,
    from_half,
    shared,
    spread_ratio,
    verdict,
)
from harness.report.analysis.groups import VALIDATION, Conditions, Group, group_by, metrics_of, overrides
from harness.report.analysis.measures import (
    AXES,
    PER_SEED,
    costs,
    fewest_steps,
    last,
    level,
    lost,
    position,
)
from harness.report.analysis.points import Points, bounds, make_points
from harness.report.analysis.predictions import Prediction, predict
from harness.report.analysis.statistics import holm, mean
from harness.report.labels import headline_metric
from harness.report.read.estimators import Estimator

FREE = ("optimizer.learning_rate", "evaluation.", "budget.", "data.")
"""Beginnings of settings in which a side may differ from its method's recipe without being told: how far it learns in a
step, which is chosen for each method and variant, and how long and on what it is measured."""
TASK_REWARD = "task"
COLUMNS = (
    "claim paper arxiv where task model data split decoding metric measure along direction first second seeds kind "
    "value low high p p_holm verdict smallest level first_reached second_reached methods"
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A claim on one task, model and protocol. second: None for a measure of one side. level: of a cost; the value that
    is to be reached, a fraction of 1. steps: of the decoding with the fewest. adjusted: p after Holm."""

    claim: Claim
    first: Group
    second: Group | None
    metric: str
    effect: Effect
    level: float | None = None
    steps: int | None = None
    adjusted: float = 1.0

    @property
    def verdict(self) -> str:
        """Whether the claim is seen, its opposite, or neither."""
        return verdict(self.claim.direction, self.effect.sign, self.adjusted)


@dataclass(frozen=True, kw_only=True)
class Held:
    """The rows of all claims that the runs can be held against, in the claims' order, and whether the errors of
    estimates order the methods. unclear: a sentence for each side that several configurations fit, none of which stands
    for the others."""

    rows: tuple[Row, ...]
    predictions: tuple[Prediction, ...] = ()
    unclear: tuple[str, ...] = ()


def hold(
    claims: Sequence[Claim],
    groups: Sequence[Group],
    *,
    estimators: Sequence[Estimator] = (),
    headline: str | None = None,
) -> Held:
    """Every claim on every task, model and protocol under which both of its sides have three seeds in common.

    groups: variants too, without those that a search did not choose. Validation items choose, and are no result.
    """
    configured = [
        group
        for group in groups
        if group.lasts and group.is_decoded_as_configured and group.protocol.split != VALIDATION
    ]
    together = sorted(group_by(configured, lambda group: group.conditions).items())
    rows: list[Row] = []
    unclear: dict[str, None] = {}
    for claim in claims:
        for (task, _, _), own in together:
            if not claim.tasks or task in claim.tasks:
                metric = headline_metric(metrics_of(own), headline)
                rows += _rows(claim, own, groups, metric, unclear)
    found = [one for where, own in together for one in _predictions(where, own, estimators, headline, unclear)]
    adjusted = _adjusted(
        [*((row.first.conditions, row.effect.p) for row in rows), *((one.conditions, one.p) for one in found)]
    )
    return Held(
        rows=tuple(replace(row, adjusted=p) for row, p in zip(rows, adjusted[: len(rows)], strict=True)),
        predictions=tuple(replace(one, adjusted=p) for one, p in zip(found, adjusted[len(rows) :], strict=True)),
        unclear=tuple(unclear),
    )


def _adjusted(tests: Sequence[tuple[Conditions, float | None]]) -> list[float]:
    """Holm's p, in the order given; tests under the same conditions are a family."""
    adjusted = [0.0] * len(tests)
    for family in group_by(range(len(tests)), lambda index: tests[index][0]).values():
        for index, p in zip(family, holm([tests[index][1] for index in family]), strict=True):
            adjusted[index] = p or 0.0
    return adjusted


def _predictions(
    where: Conditions,
    own: Sequence[Group],
    estimators: Sequence[Estimator],
    headline: str | None,
    unclear: dict[str, None],
) -> list[Prediction]:
    """Over the methods that have three seeds by their recipe."""
    metric = headline_metric(metrics_of(own), headline)
    standing = {one.method: _of(Side(method=one.method), own, unclear) for one in estimators}
    values = {method: [*last(group, metric).values()] for method, group in standing.items() if group}
    lasts = {method: mean(found) for method, found in values.items() if len(found) >= FEWEST_SEEDS}
    return predict(lasts, estimators, where, metric)


def _rows(
    claim: Claim, own: Sequence[Group], groups: Sequence[Group], metric: str, unclear: dict[str, None]
) -> Iterator[Row]:
    methods = dict.fromkeys(group.method for group in own) if claim.first.method == ANY else [claim.first.method]
    for method in methods:
        first = _of(claim.first.as_method(method), own, unclear)
        second = _of(claim.second.as_method(method), own, unclear) if claim.second else None
        if first and (second or not claim.second) and (row := _row(claim, first, second, groups, metric)):
            yield row


def _of(side: Side, groups: Sequence[Group], unclear: dict[str, None]) -> Group | None:
    """The group of a side, called by what the side names; of several the one with the fewest changes, None where there
    is none or that is not one."""
    fitting = [group for group in groups if _fits(side, group)]
    fewest = min(map(_changes, fitting), default=0)
    standing = [group for group in fitting if _changes(group) == fewest]
    called = ", ".join(f"{key.removeprefix('method.')}={value}" for key, value in side.set.items())
    if len(standing) > 1:
        named = standing[0].called(called)
        unclear[f"{named}: {len(standing)} configurations on {standing[0].task}, none of which stands for it"] = None
    return replace(standing[0], variant=called, decoded="") if len(standing) == 1 else None


def _changes(group: Group) -> int:
    """How many settings were given on the command line, the reward among them."""
    return len(overrides(group.members[0].run)) + (not group.has_recipe_reward)


def _fits(side: Side, group: Group) -> bool:
    settings = group.members[0].run.settings
    told = (*side.set, *FREE)
    by_recipe = (group.has_recipe_reward or group.reward == TASK_REWARD) and not group.is_control
    return (
        group.method == side.method
        and (group.reward == side.reward if side.reward else by_recipe)
        and all(key in settings and settings[key] == value for key, value in side.set.items())
        and all(key.startswith(told) for key in overrides(group.members[0].run))
    )


def _row(claim: Claim, first: Group, second: Group | None, groups: Sequence[Group], metric: str) -> Row | None:
    row: dict[str, Any] = {"claim": claim, "first": first, "second": second, "metric": metric}
    if second is None:
        effect = from_half(position(first))
    elif claim.measure == "cost":
        effect, row["level"] = _cost(claim, first, second, metric)
    elif claim.measure == "spread":
        effect = spread_ratio(last(first, metric), last(second, metric))
    elif claim.measure in PER_SEED:
        value = PER_SEED[claim.measure]
        effect = difference(value(first, metric), value(second, metric))
    else:
        effect, row["steps"] = _fewer_steps(claim, first, second, groups, metric)
    return Row(**row, effect=effect) if effect else None


def _cost(claim: Claim, first: Group, second: Group, metric: str) -> tuple[Effect | None, float | None]:
    """The effect with its level; none where the second side does not rise."""
    height = level(second, metric, shared(last(first, metric), last(second, metric)))
    if height is None:
        return None, None
    axis = AXES[claim.along]
    return cost_ratio(costs(first, metric, axis, height), costs(second, metric, axis, height)), height


def _fewer_steps(
    claim: Claim, first: Group, second: Group, groups: Sequence[Group], metric: str
) -> tuple[Effect | None, int | None]:
    """The effect with the number of steps; none where the two sides were not evaluated with the same fewest."""
    fewer = [fewest_steps(group, groups, metric) for group in (first, second)]
    if fewer[0] is None or fewer[1] is None or fewer[0].protocol != fewer[1].protocol:
        return None, None
    steps = int(fewer[0].settings["evaluation.decoding.num_steps"])
    if claim.measure == "fewer_steps":
        return difference(last(fewer[0], metric), last(fewer[1], metric)), steps
    return difference(lost(first, fewer[0], metric), lost(second, fewer[1], metric)), steps


def claim_points(held: Held) -> Points:
    """A record per row: differences of values and their bounds as fractions of 1, of positions from 0.5, ratios as they
    are, firsts as numbers of pairs; then the rank correlations, each over as many methods as `methods` says."""
    records = [*map(_record, held.rows), *map(_prediction_record, held.predictions)]
    return make_points(COLUMNS, records)


def _record(row: Row) -> Mapping[str, Any]:
    claim, effect, protocol = row.claim, row.effect, row.first.protocol
    reached = effect.reached or (None, None)
    return {
        **vars(protocol),
        **vars(claim),
        **vars(effect),
        **bounds(effect.interval),
        "claim": claim.name,
        "task": row.first.task,
        "model": row.first.model,
        "metric": row.metric,
        "first": row.first.label,
        "second": row.second.label if row.second else None,
        "p_holm": row.adjusted,
        "verdict": row.verdict,
        "level": row.level,
        "first_reached": reached[0],
        "second_reached": reached[1],
    }


def _prediction_record(one: Prediction) -> Mapping[str, Any]:
    return {
        **vars(one.protocol),
        **vars(one),
        **bounds(one.interval),
        "claim": f"estimate-{one.error}",
        "measure": "last",
        "direction": LOWER,
        "kind": "rank correlation",
        "p_holm": one.adjusted,
        "verdict": one.verdict,
        "methods": len(one.methods),
    }
