"""The report in a few sentences: which method was best on what, by how much, how sure, at what cost, on which data.

The interval of a difference combines those of the two values: with d = a - b, it is
d - sqrt((a - low_a)^2 + (high_b - b)^2) .. d + sqrt((high_a - a)^2 + (b - low_b)^2), G. Y. Zou and A. Donner,
Statistics in Medicine 27 (2008) 1693-1702. It holds for independent values and is not corrected for the number of
pairs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.groups import Protocol
from harness.report.labels import data_name, digits, flop_unit, method_name, metric_name, percent, points, task_name
from harness.report.statistics import Interval
from harness.report.tables import MetricRows, Row

HOW_TO_READ = (
    "Two methods differ here if the 95 % interval of their difference leaves out 0; it is that of the pair alone, "
    "not corrected for the number of pairs. Every number is that of the last checkpoint, never of the best one."
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What can be said about one task under one protocol."""

    title: str
    sentences: tuple[str, ...]


def verdicts(headlines: Sequence[MetricRows]) -> list[Verdict]:
    """One verdict per task, model and protocol. headlines: the rows of every task's headline metric."""
    found = []
    for rows in headlines:
        together: dict[tuple[str, Protocol], list[Row]] = defaultdict(list)
        for row in rows.rows:
            together[row.group.model, row.group.protocol].append(row)
        found += [_verdict(own) for _, own in sorted(together.items())]
    return found


def difference(first: Row, second: Row) -> Interval | None:
    """The 95 % interval of first minus second, fractions of 1; None where one of them has none."""
    if first.interval is None or second.interval is None:
        return None
    gap = first.value - second.value
    below = math.hypot(first.value - first.interval.low, second.interval.high - second.value)
    above = math.hypot(first.interval.high - first.value, second.value - second.interval.low)
    return Interval(low=gap - below, high=gap + above)


def _verdict(rows: Sequence[Row]) -> Verdict:
    group = rows[0].group
    trained = sorted((row for row in rows if not row.group.is_control), key=lambda row: -row.value)
    controls = [row for row in rows if row.group.is_control]
    sentences = [*_ranking(trained), *_control(trained, controls), *_cost(trained), _where(rows)]
    return Verdict(title=f"{task_name(group.task)}, {group.model} model", sentences=tuple(sentences))


def _ranking(trained: Sequence[Row]) -> list[str]:
    if not trained:
        return []
    best, metric = trained[0], metric_name(trained[0].metric)
    gain = (
        f", {points(best.gain)} points from {percent(best.base)} %"
        if best.gain is not None and best.base is not None
        else ""
    )
    first = f"{_shown(best)} reached {_value(best)} {metric}{gain}"
    if len(trained) == 1:
        return [f"{first}. No other method was run."]
    sentences = [f"{first}, the highest of {len(trained)}."]
    alike = [row for row in trained[1:] if _is_alike(best, row)]
    behind = [row for row in trained[1:] if not _is_alike(best, row)]
    if alike:
        sentences.append(f"Not told apart from it: {_gaps(best, alike)}.")
    if behind:
        sentences.append(f"Behind it by more than the noise: {_gaps(best, behind)}.")
    return sentences


def _is_alike(best: Row, row: Row) -> bool:
    interval = difference(best, row)
    return interval is None or interval.low <= 0


def _gaps(best: Row, rows: Sequence[Row]) -> str:
    return "; ".join(f"{_shown(row)} at {percent(row.value)} % ({_gap(row, best)} points)" for row in rows)


def _gap(row: Row, best: Row) -> str:
    interval = difference(row, best)
    span = f" [{points(interval.low)}, {points(interval.high)}]" if interval else ""
    return f"{points(row.value - best.value)}{span}"


def _control(trained: Sequence[Row], controls: Sequence[Row]) -> list[str]:
    """Whether learning needs the reward: what the same method does with random ones."""
    sentences = []
    for control in controls:
        twin = next((row for row in trained if row.group.method == control.group.method), None)
        interval = difference(twin, control) if twin else None
        text = f"With random rewards {_shown(control)} reached {_value(control)}"
        if twin is None or interval is None:
            sentences.append(f"{text}.")
        elif interval.low > 0:
            sentences.append(f"{text}: its gain comes from the reward.")
        else:
            sentences.append(f"{text}: its gain is not shown to come from the reward.")
    return sentences


def _cost(trained: Sequence[Row]) -> list[str]:
    if not trained:
        return []
    best, cheapest = trained[0], min(trained, key=lambda row: row.flops_total)
    text = f"{_shown(best)} cost {_price(best)} per seed"
    if cheapest is best:
        return [f"{text}{', the least FLOPs of all' if len(trained) > 1 else ''}."]
    return [f"{text}; the fewest FLOPs took {_shown(cheapest)}, {_price(cheapest)}."]


def _price(row: Row) -> str:
    unit = flop_unit(row.flops_total)
    compute = f"{digits(row.flops_total / unit.size)} {unit.name}"
    return f"{compute}, {row.samples:,.0f} samples and {digits(row.seconds)} s of training"


def _where(rows: Sequence[Row]) -> str:
    first, protocol = rows[0], rows[0].group.protocol
    seeds = sorted({len(row.seeds) for row in rows})
    counted = " or ".join(str(count) for count in seeds)
    text = f"Measured on the {first.n:,} items of the {protocol.split} split of {data_name(protocol.data)}"
    toy = ". A toy setting, not to be set beside published numbers" if any(row.labels for row in rows) else ""
    ceiling = f"; a perfect solver is expected to reach {percent(first.ceiling)} %" if first.ceiling is not None else ""
    return f"{text}, {counted} seed{'s' if seeds != [1] else ''} each, last checkpoint{ceiling}{toy}."


def _shown(row: Row) -> str:
    name = method_name(row.group.method)
    return f"{name} ({row.group.variant})" if row.group.variant else name


def _value(row: Row) -> str:
    span = f" [{percent(row.interval.low)}, {percent(row.interval.high)}]" if row.interval else ""
    return f"{percent(row.value)} %{span}"
