"""What caches and thresholds change, beside exact decoding of the same items, as far as `harness eval` recorded it."""

from __future__ import annotations

from collections.abc import Sequence

from harness.records.agreement import Agreement
from harness.records.schema import EvalRecord
from harness.report.analysis.groups import Group
from harness.report.analysis.statistics import Interval
from harness.report.chapters.pairs import chance
from harness.report.chapters.table import Table, number_columns, text_columns, with_interval
from harness.report.labels import DASH, digits, metric_name, percent, points, task_name

RULES = ("cache", "threshold", "factor", "entropy_bound")
NOTES = (
    "Each is compared with exact decoding of the same items by the same weights. Equal tokens: position by position, "
    "up to the later of the two ends. Difference: approximate minus exact, with its 95 % interval over items (delta "
    "method, two items added); p: exact, by the items on which the two differ.",
    "Gap: |log-probability as recorded - that of a whole pass in the same state|, nats, over the tokens of the first "
    "items; none where every pass was whole. FLOPs: as a multiple of exact decoding's.",
)


def agreement_tables(groups: Sequence[Group]) -> list[Table]:
    """The table of a task, a row per run and decoding of its last checkpoint; none where nothing was recorded."""
    rows = [
        (*_head(group, member.run.identity.seed, record), *_cells(record.agreement))
        for group in groups
        for member in group.members
        if (record := member.at("last")) is not None and record.agreement
    ]
    if not rows:
        return []
    numbers = ("Equal tokens, %", "Equal completions, %", "Exact, %", "Difference, points", "p")
    gaps = ("Gap, mean", "Gap, largest", "FLOPs")
    return [
        Table(
            title=f"{task_name(groups[0].task)}: what caches and thresholds change",
            columns=(
                *text_columns("Method", "Model"),
                *number_columns("Seed"),
                *text_columns("Decoding", "Metric"),
                *number_columns(*numbers, *gaps),
            ),
            cells=tuple(rows),
            notes=NOTES,
        )
    ]


def difference_text(found: Agreement) -> str:
    """`-1.2 [-3.4, +1.0] points of exact_match, p = 0.375`."""
    test = "no exact test" if found.p is None else f"p = {chance(found.p)}".replace("= <", "< ")
    return f"{_difference(found)} points of {found.metric}, {test}"


def gap_text(found: Agreement) -> str:
    """`mean 0.012, largest 0.40 nats over 512 tokens`."""
    if found.gap_mean is None or found.gap_largest is None:
        return "none: every pass is whole"
    return f"mean {digits(found.gap_mean)}, largest {digits(found.gap_largest)} nats over {found.gap_tokens:,} tokens"


def _head(group: Group, seed: int, record: EvalRecord) -> tuple[str, ...]:
    rules = ", ".join(f"{name} {record.decoding[name]}" for name in RULES if name in record.decoding)
    return (group.called(group.variant), group.model, str(seed), rules)


def _cells(found: Agreement) -> tuple[str, ...]:
    gaps = (found.gap_mean, found.gap_largest)
    return (
        metric_name(found.metric),
        percent(found.tokens),
        percent(found.completions),
        percent(found.exact_value),
        _difference(found),
        chance(found.p),
        *(DASH if gap is None else digits(gap) for gap in gaps),
        f"{found.cost:.2f}",
    )


def _difference(found: Agreement) -> str:
    interval = None if found.low is None or found.high is None else Interval(low=found.low, high=found.high)
    return with_interval(found.difference, interval, points)
