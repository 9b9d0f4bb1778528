"""The tables of the budgets: areas under curves, cost of a level, and cost over d1's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from harness.report.budget import AXES, REFERENCE, SHARES, SMALLEST_RISE, Area, Budget, Costs, Estimate, Ratio
from harness.report.groups import Group
from harness.report.labels import (
    DASH,
    data_name,
    digits,
    exact,
    flop_unit,
    method_name,
    metric_name,
    percent,
    task_name,
)
from harness.report.statistics import Interval, PairedRatio
from harness.report.summary import csv_text
from harness.report.tables import Column, Table

LINES_NOTE = (
    "Between two evaluated checkpoints the curve is taken as a straight line; a level counts as reached where the line "
    "first comes to it, so that chance rises of a single evaluation count too."
)
SEEDS_NOTE = "[...]: 95 % interval over seeds (Student t); none with one seed."
BOOTSTRAP_NOTE = (
    "Ratios are paired by seed: the geometric mean, and in brackets the range of 95 % of 10,000 bootstrap draws of the "
    "seeds. With few seeds that range is too narrow; a ratio counts as told from 1 only where Student's t interval of "
    "its logarithm leaves out 1 too (both stand in the CSV file)."
)
NOT_REACHED_NOTE = "Not reached: a seed never comes to the level, so there is no mean and no ratio."


def budget_tables(costs: Costs) -> list[Table]:
    """Areas, budgets and, where d1 ran under the same protocol, ratios."""
    return [
        _areas(costs),
        *([_budgets(costs)] if costs.budgets else []),
        *([_ratio_table(costs)] if costs.ratios else []),
    ]


def _title(costs: Costs, what: str) -> str:
    panel = costs.panel
    where = f"{panel.model} model, {data_name(panel.protocol.data)}"
    return f"{task_name(panel.task)}, {metric_name(panel.metric)}: {what}, {where}"


def _areas(costs: Costs) -> Table:
    unit = flop_unit(max((stretch.high for stretch in costs.stretch[:1] if stretch), default=0.0))
    names = ("FLOPs", "samples", "updates", "seconds")
    shown = (
        lambda cost: f"{digits(cost / unit.size)} {unit.name}",
        lambda cost: f"{cost:,.0f} samples",
        lambda cost: f"{cost:,.0f} updates",
        lambda cost: f"{digits(cost)} s",
    )
    spans = [
        f"{show(stretch.low)} to {show(stretch.high)}"
        for show, stretch in zip(shown, costs.stretch, strict=True)
        if stretch
    ]
    no_rise = f"No level is asked for: no group rises by {100 * SMALLEST_RISE:.0f} points."
    return Table(
        title=_title(costs, "mean height of the curve"),
        columns=(Column(title="Method"), *(Column(title=f"Over {name}, %", numeric=True) for name in names)),
        cells=tuple((area.group.label, *(_cell(estimate, percent) for estimate in area.over)) for area in costs.areas),
        notes=(
            "Area under the curve over its width, within what every run covers: " + "; ".join(spans) + ".",
            SEEDS_NOTE,
            *([] if costs.levels else [no_rise]),
        ),
        supports=tuple(_area_supports(costs.areas)),
    )


def _area_supports(areas: Sequence[Area]) -> list[str]:
    """Which groups the intervals over FLOPs tell from the highest."""
    known = [area for area in areas if area.over[0] is not None]
    if len(known) < 2:
        return []
    best = max(known, key=lambda area: area.over[0].value if area.over[0] else 0.0)
    apart = [area.group.label for area in known if area is not best and _apart(best.over[0], area.over[0])]
    near = [area.group.label for area in known if area is not best and area.group.label not in apart]
    texts = [f"Over FLOPs {best.group.label} has the highest mean."]
    texts += (
        [f"Its interval over seeds overlaps with, or has no interval to set beside, {', '.join(near)}."] if near else []
    )
    return texts + ([f"It lies above the interval of {', '.join(apart)}."] if apart else [])


def _apart(best: Estimate | None, other: Estimate | None) -> bool:
    intervals = [estimate.interval for estimate in (best, other) if estimate and estimate.interval]
    return len(intervals) == 2 and intervals[0].low > intervals[1].high


def _budgets(costs: Costs) -> Table:
    largest = max((cost for budget in costs.budgets for cost in budget.per_seed[0] if cost is not None), default=0.0)
    unit = flop_unit(largest)
    titles = ("Level, %", unit.name, "Samples", "Updates", "Train time, s")
    return Table(
        title=_title(costs, "cost of a level"),
        columns=(Column(title="Method"), *(Column(title=title, numeric=True) for title in titles)),
        cells=tuple(
            (budget.group.label, f"{100 * budget.level:.0f}", *_budget_cells(budget, unit.size))
            for budget in costs.budgets
        ),
        notes=(
            f"Levels: {', '.join(f'{100 * share:.0f} %' for share in SHARES)} of the way from the base to the highest "
            "group's last checkpoint, in whole percent; chosen by these data.",
            LINES_NOTE,
            SEEDS_NOTE,
            NOT_REACHED_NOTE,
        ),
    )


def _budget_cells(budget: Budget, flops: float) -> list[str]:
    missing = f"not reached ({budget.reached} of {len(budget.seeds)} seeds)"
    scales = (flops, 1.0, 1.0, 1.0)
    return [
        _cell(estimate, _scaled(scale)) if estimate else missing
        for estimate, scale in zip(budget.needed, scales, strict=True)
    ]


def _scaled(scale: float) -> Callable[[float], str]:
    return lambda cost: digits(cost / scale)


def _cell(estimate: Estimate | None, show: Callable[[float], str]) -> str:
    if estimate is None:
        return DASH
    span = estimate.interval
    return f"{show(estimate.value)}{f' [{show(span.low)}, {show(span.high)}]' if span else ''}"


def _ratio_table(costs: Costs) -> Table:
    titles = ("Level, %", "Seeds", "FLOPs", "Samples", "Updates", "Train time")
    return Table(
        title=_title(costs, f"cost of a level over that of {method_name(REFERENCE)}"),
        columns=(Column(title="Method"), *(Column(title=title, numeric=True) for title in titles)),
        cells=tuple(
            (
                ratio.group.label,
                f"{100 * ratio.level:.0f}",
                str(len(ratio.seeds)),
                *(_ratio_cell(found) for found in ratio.over),
            )
            for ratio in costs.ratios
        ),
        notes=(f"Below 1: cheaper than {method_name(REFERENCE)}.", BOOTSTRAP_NOTE, NOT_REACHED_NOTE),
        supports=tuple(_ratio_texts(costs.ratios)),
    )


def _ratio_cell(found: PairedRatio | None) -> str:
    if found is None:
        return "not reached"
    span = found.bootstrap
    return f"{digits(found.value)}{f' [{digits(span.low)}, {digits(span.high)}]' if span else ''}"


def _ratio_texts(ratios: Sequence[Ratio]) -> list[str]:
    texts = []
    for level in dict.fromkeys(ratio.level for ratio in ratios):
        own = [ratio for ratio in ratios if ratio.level == level]
        told = [f"{ratio.group.label} {_told(found)}" for ratio in own if (found := ratio.over[0]) is not None]
        missing = [ratio.group.label for ratio in own if ratio.over[0] is None]
        start = f"To {100 * level:.0f} %, FLOPs over those of {own[0].reference.label}"
        texts += [f"{start}: {'; '.join(told)}."] if told else []
        texts += (
            [f"{start}: no ratio for {', '.join(missing)}, as a seed on one side never gets there."] if missing else []
        )
    return texts


def _told(found: PairedRatio) -> str:
    sure = (
        "other seeds unknown" if found.student is None else "told from 1" if found.is_told_from_1 else "not told from 1"
    )
    return f"{_ratio_cell(found)}, {sure}"


CSV_COLUMNS = (
    "task",
    "model",
    "data",
    "metric",
    "method",
    "label",
    "quantity",
    "level",
    "axis",
    "seeds",
    "value",
    "low",
    "high",
    "bootstrap_low",
    "bootstrap_high",
)


def budget_csv(found: Sequence[Costs]) -> str:
    """Areas (fractions of 1), budgets (FLOPs, samples, updates, seconds) and ratios to d1 as one CSV.

    low and high: Student's t interval over seeds. An empty value was not reached by every seed.
    """
    return csv_text(CSV_COLUMNS, (row for costs in found for row in _csv_rows(costs)))


def _csv_rows(costs: Costs) -> Iterator[list[str]]:
    for area in costs.areas:
        for axis, estimate in zip(AXES, area.over, strict=True):
            yield [*_csv_head(costs, area.group, "area", ""), axis, _seeds(area.group.seeds), *_csv_numbers(estimate)]
    for budget in costs.budgets:
        head = _csv_head(costs, budget.group, "budget", exact(budget.level))
        for axis, estimate in zip(AXES, budget.needed, strict=True):
            yield [*head, axis, _seeds(budget.seeds), *_csv_numbers(estimate)]
    for ratio in costs.ratios:
        head = _csv_head(costs, ratio.group, "ratio to d1", exact(ratio.level))
        for axis, found in zip(AXES, ratio.over, strict=True):
            student, bootstrap = (found.student, found.bootstrap) if found else (None, None)
            value = exact(found.value if found else None)
            yield [*head, axis, _seeds(ratio.seeds), value, *_csv_bounds(student), *_csv_bounds(bootstrap)]


def _csv_head(costs: Costs, group: Group, quantity: str, level: str) -> list[str]:
    panel = costs.panel
    return [panel.task, panel.model, panel.protocol.data, panel.metric, group.method, group.label, quantity, level]


def _seeds(seeds: Sequence[int]) -> str:
    return " ".join(str(seed) for seed in seeds)


def _csv_numbers(estimate: Estimate | None) -> list[str]:
    if estimate is None:
        return [""] * 5
    return [exact(estimate.value), *_csv_bounds(estimate.interval), "", ""]


def _csv_bounds(interval: Interval | None) -> list[str]:
    return [exact(interval.low), exact(interval.high)] if interval else ["", ""]
