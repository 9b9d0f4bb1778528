"""The tables of the budgets: areas under curves, cost of a level, and that cost over the reference method's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.report.analysis.budget import REFERENCE, SHARES, SMALLEST_RISE, Budget, Costs, Quantity, Ratio
from harness.report.analysis.curves import AXES
from harness.report.analysis.statistics import Estimate
from harness.report.chapters.table import Table, number_columns, text_columns, with_interval
from harness.report.labels import DASH, data_name, digits, flop_unit, method_name, metric_name, percent, task_name

LINES_NOTE = (
    "Between two evaluated checkpoints the curve is taken as a straight line; a level counts as reached where the line "
    "first reaches it, so a chance rise at a single evaluation counts too."
)
SEEDS_NOTE = "[...]: 95 % interval over seeds (Student t); none with one seed."
BOOTSTRAP_NOTE = (
    "Ratios are paired by seed: the geometric mean and, in brackets, the central 95 % of 10,000 bootstrap resamples of "
    "the seeds. With few seeds that range is too narrow; a ratio counts as different from 1 only if Student's t "
    "interval of its logarithm excludes 1 too (both are in the CSV file)."
)
RATIOS = ("FLOPs", "Samples", "Updates", "Train time")
NO_INTERVAL = "Other seeds unknown, for one of the two has no interval:"
NOT_SEPARATED = "Not separated from it by the intervals over seeds:"
SEPARATED = "Its interval lies above that of"
NOT_REACHED_NOTE = "Not reached: at least one seed never reaches the level, so there is no mean and no ratio."


def budget_tables(costs: Costs) -> list[Table]:
    """Areas, budgets and, where the reference method ran under the same protocol, ratios."""
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
    unit = flop_unit(costs.stretch[0].high if costs.stretch[0] else 0.0)
    shown: tuple[Callable[[float], str], ...] = (
        lambda cost: f"{digits(cost / unit.size)} {unit.name}",
        lambda cost: f"{cost:,.0f} samples",
        lambda cost: f"{cost:,.0f} updates",
        lambda cost: f"{digits(cost)} s",
    )
    stretches = zip(shown, costs.stretch, strict=True)
    spans = [f"{show(stretch.low)} to {show(stretch.high)}" for show, stretch in stretches if stretch]
    no_rise = f"No levels are set: no group rises by {100 * SMALLEST_RISE:.0f} points."
    return Table(
        title=_title(costs, "mean height of the curve"),
        columns=(*text_columns("Method"), *number_columns(*(f"Over {axis.short}, %" for axis in AXES))),
        cells=tuple((area.group.label, *(_cell(estimate, percent) for estimate in area.over)) for area in costs.areas),
        notes=(
            f"Area under the curve divided by its width, over the range that every run covers: {'; '.join(spans)}.",
            SEEDS_NOTE,
            *([] if costs.levels else [no_rise]),
        ),
        supports=tuple(_area_supports(costs.areas)),
    )


def _area_supports(areas: Sequence[Quantity]) -> list[str]:
    """Which groups the intervals over FLOPs tell from the highest."""
    known = [(area.group.label, estimate) for area in areas if (estimate := area.over[0]) is not None]
    if len(known) < 2:
        return []
    best_label, best = max(known, key=lambda item: item[1].value)
    others = [(label, estimate) for label, estimate in known if estimate is not best]
    found: dict[str, list[str]] = {NO_INTERVAL: [], NOT_SEPARATED: [], SEPARATED: []}
    for label, estimate in others:
        found[_separation(best, estimate)].append(label)
    told = [f"{start} {', '.join(labels)}." for start, labels in found.items() if labels]
    return [f"Over FLOPs {best_label} has the highest mean.", *told]


def _separation(best: Estimate, other: Estimate) -> str:
    if best.interval is None or other.interval is None:
        return NO_INTERVAL
    return SEPARATED if best.interval.low > other.interval.high else NOT_SEPARATED


def _budgets(costs: Costs) -> Table:
    largest = max((cost for budget in costs.budgets for cost in budget.per_seed[0] if cost is not None), default=0.0)
    unit = flop_unit(largest)
    titles = ("Level, %", unit.name, "Samples", "Updates", "Train time, s")
    shares = ", ".join(f"{100 * share:.0f} %" for share in SHARES)
    return Table(
        title=_title(costs, "cost of a level"),
        columns=(*text_columns("Method"), *number_columns(*titles)),
        cells=tuple(
            (budget.group.label, f"{100 * budget.level:.0f}", *_budget_cells(budget, unit.size))
            for budget in costs.budgets
        ),
        notes=(
            f"Levels: {shares} of the way from the base to the highest group's last checkpoint, in whole percent; "
            "chosen from these data.",
            LINES_NOTE,
            SEEDS_NOTE,
            NOT_REACHED_NOTE,
        ),
    )


def _budget_cells(budget: Budget, flops: float) -> list[str]:
    missing = f"not reached ({budget.reached} of {len(budget.seeds)} seeds)"
    first, *others = budget.over
    cells = [_cell(first, lambda cost: digits(cost / flops)), *(_cell(estimate, digits) for estimate in others)]
    return [cell if estimate else missing for cell, estimate in zip(cells, budget.over, strict=True)]


def _cell(estimate: Estimate | None, show: Callable[[float], str]) -> str:
    return with_interval(estimate.value, estimate.interval, show) if estimate else DASH


def _ratio_table(costs: Costs) -> Table:
    name = method_name(REFERENCE)
    titles = ("Level, %", "Seeds", *RATIOS)
    return Table(
        title=_title(costs, f"cost of a level over that of {name}"),
        columns=(*text_columns("Method"), *number_columns(*titles), *text_columns("Verdict on FLOPs")),
        cells=tuple(
            (
                ratio.group.label,
                f"{100 * ratio.level:.0f}",
                str(len(ratio.seeds)),
                *(with_interval(one.value, one.bootstrap, digits) if one else DASH for one in ratio.over),
                _ratio_verdict(ratio),
            )
            for ratio in costs.ratios
        ),
        notes=(f"Below 1: cheaper than {name}.", BOOTSTRAP_NOTE),
        supports=tuple(_ratio_texts(costs.ratios)),
    )


def _ratio_verdict(ratio: Ratio) -> str:
    """Whether the FLOPs differ from the reference's, or why that is not said."""
    found = ratio.over[0]
    if found is None:
        return f"no ratio: {ratio.reason}"
    if found.interval is None:
        return "other seeds unknown"
    return "different from 1" if found.differs_from_1 else "not shown to differ from 1"


def _ratio_texts(ratios: Sequence[Ratio]) -> list[str]:
    """A sentence per level."""
    texts = []
    for level in dict.fromkeys(ratio.level for ratio in ratios):
        own = [ratio for ratio in ratios if ratio.level == level]
        found = "; ".join(_ratio_text(ratio) for ratio in own)
        texts.append(f"To {100 * level:.0f} %, FLOPs over those of {own[0].reference.label}: {found}.")
    return texts


def _ratio_text(ratio: Ratio) -> str:
    found = ratio.over[0]
    value = f" {with_interval(found.value, found.bootstrap, digits)}" if found else ""
    return f"{ratio.group.label}{value}, {_ratio_verdict(ratio)}"
