"""A comparison of checkpoints as tables: every evaluation, and every difference beside the noise of the machine."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis.groups import group_by, protocol_of
from harness.report.analysis.paired import Gap, Measured, Outcomes, Pair
from harness.report.analysis.points import Points
from harness.report.analysis.statistics import items_interval
from harness.report.chapters.pairs import chance
from harness.report.chapters.table import Table, number_columns, text_columns, with_interval
from harness.report.labels import DASH, metric_name, percent, points, task_name

WITHIN = "within the noise of this machine"
NOT_SHOWN = "not shown to differ"
NO_TEST = "no exact test of this metric"
NOT_MEASURED = "The noise of this machine was not measured: --noise evaluates at other batch sizes and dtypes too."
NOTE_NOISE = (
    "Noise: each checkpoint was evaluated at other batch sizes and dtypes too. Items flipped and noise floor are the "
    "most that either checkpoint of the pair changed between two of its settings, item by item and in points. A "
    "difference that is not above the floor is called noise, whatever its p. The floor is what was seen here; it is no "
    "bound, and says nothing of another machine."
)


def evaluations_table(measured: Sequence[Measured]) -> Table:
    """A row per task, length, checkpoint and setting; what another setting changes is counted from the first."""
    together = group_by(measured, _where).values()
    rows = [(one, outcomes) for own in together for one in own for outcomes in one.evaluations]
    return Table(
        title="Evaluations",
        columns=(
            *text_columns("Task", "Checkpoint"),
            *number_columns("Batch size"),
            *text_columns("Dtype", "Metric"),
            *number_columns("Value, %", "Items", "Items flipped", "Points moved"),
        ),
        cells=tuple(_evaluation_cells(one, outcomes) for one, outcomes in rows),
        notes=(
            "Value: with its 95 % interval over items.",
            *dict.fromkeys(f"{_where(one)}: {protocol_of(one.main.record).text}." for one in measured),
        ),
    )


def pairs_table(pairs: Sequence[Pair]) -> Table:
    """A row per pair."""
    tests = sum(pair.gap.p is not None for pair in pairs)
    return Table(
        title="Differences",
        columns=(
            *text_columns("Task", "First", "Second"),
            *number_columns("Difference, points", "Only first right", "Only second right", "p", "p (Holm)"),
            *number_columns("Items flipped", "Noise floor, points"),
            *text_columns("Verdict"),
        ),
        cells=tuple(_pair_cells(pair) for pair in pairs),
        notes=(
            "Difference: first minus second. p: exact and two-sided, from the items on which the two differ: for "
            f"verdicts McNemar's test. Holm: adjusted for the number of tests here, {tests}; above: below 0.05.",
            "p is about these checkpoints on items of this kind, and says nothing of other seeds of training.",
            NOTE_NOISE if any(pair.noise for pair in pairs) else NOT_MEASURED,
        ),
    )


def pair_points(pairs: Sequence[Pair]) -> Points:
    """A record per pair, as numbers: fractions of 1, and what was not measured left out."""
    records = tuple(_record(pair) for pair in pairs)
    return Points(columns=tuple(records[0]), records=records)


def verdict(pair: Pair) -> str:
    """Which checkpoint is above, or why that is not said."""
    if pair.is_noise:
        return WITHIN
    if pair.adjusted is None:
        return NO_TEST
    return f"{pair.above.label} above" if pair.is_clear else NOT_SHOWN


def _evaluation_cells(one: Measured, outcomes: Outcomes) -> tuple[str, ...]:
    record, gap = outcomes.record, Gap.between(outcomes, one.main)
    is_main = outcomes is one.main
    totals = record.metrics[outcomes.metric]
    return (
        _where(one),
        one.label,
        str(record.batch_size),
        record.dtype,
        metric_name(outcomes.metric),
        with_interval(totals.value, items_interval(totals), percent),
        f"{totals.n:,}",
        DASH if is_main else str(gap.changed),
        DASH if is_main else points(gap.difference),
    )


def _pair_cells(pair: Pair) -> tuple[str, ...]:
    gap = pair.gap
    return (
        _where(pair.first),
        pair.first.label,
        pair.second.label,
        points(gap.difference),
        str(gap.only_first),
        str(gap.only_second),
        chance(gap.p),
        chance(pair.adjusted),
        *((str(pair.noise.flipped), points(pair.noise.moved).removeprefix("+")) if pair.noise else (DASH, DASH)),
        verdict(pair),
    )


def _record(pair: Pair) -> dict[str, str | float | None]:
    first, second, gap, noise = pair.first, pair.second, pair.gap, pair.noise
    return {
        "task": first.task,
        "completion_length": first.completion_length,
        "metric": first.main.metric,
        "items": len(first.main.parts),
        "first": first.label,
        "second": second.label,
        "first_value": first.main.value,
        "second_value": second.main.value,
        "difference": gap.difference,
        "difference_low": gap.interval.low if gap.interval else None,
        "difference_high": gap.interval.high if gap.interval else None,
        "only_first": gap.only_first,
        "only_second": gap.only_second,
        "p": gap.p,
        "p_holm": pair.adjusted,
        "items_flipped": noise.flipped if noise else None,
        "noise_floor": noise.moved if noise else None,
        "verdict": verdict(pair),
    }


def _where(one: Measured) -> str:
    return f"{task_name(one.task)}, {one.completion_length} tokens"
