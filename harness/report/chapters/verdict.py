"""The report in a few sentences: which method was best on what, by how much, how sure, at what cost, on which data."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis.comparisons import Comparison, Comparisons
from harness.report.analysis.groups import group_by
from harness.report.analysis.rows import MetricRows, Row
from harness.report.analysis.statistics import Interval
from harness.report.chapters.pairs import verdict
from harness.report.chapters.sections import Section
from harness.report.chapters.table import interval_text
from harness.report.labels import data_name, digits, flop_unit, method_name, metric_name, percent, points, task_name

ALIKE = "Not distinguishable from it"
ALONE = "Behind it as a single pair, but not after adjusting for the number of pairs"
BEHIND = "Behind it, both on the items and over the seeds"
HOW_TO_READ = (
    "One method counts as better than another only where the shared items and the seeds both show it, adjusted for "
    "the number of pairs. Every number is that of the last checkpoint, never of the one that is best on the test items."
)


def verdicts(headlines: Sequence[MetricRows], comparisons: Sequence[Comparisons]) -> list[Section]:
    """What can be said about each task, model and protocol. headlines: the rows of every task's headline metric."""
    pairs = [pair for found in comparisons for pair in found.pairs]
    together = [group_by(found.rows, lambda row: row.group.conditions) for found in headlines]
    return [_verdict(own, pairs) for groups in together for _, own in sorted(groups.items())]


def _verdict(rows: Sequence[Row], pairs: Sequence[Comparison]) -> Section:
    group = rows[0].group
    trained = sorted((row for row in rows if not row.group.is_control), key=lambda row: -row.value)
    controls = [row for row in rows if row.group.is_control]
    sentences = [*_ranking(trained, pairs), *_control(trained, controls, pairs), *_cost(trained), _where(rows)]
    return Section(title=f"{task_name(group.task)}, {group.model} model", text=tuple(sentences))


def _ranking(trained: Sequence[Row], pairs: Sequence[Comparison]) -> list[str]:
    if not trained:
        return []
    best, metric = trained[0], metric_name(trained[0].metric)
    known = best.gain is not None and best.base is not None
    gain = f", {points(best.gain or 0.0)} points from {percent(best.base or 0.0)} %" if known else ""
    first = f"{_shown(best)} reached {_value(best)} {metric}{gain}"
    if len(trained) == 1:
        return [f"{first}. No other method was run."]
    sentences = [f"{first}, the highest of {len(trained)}."]
    found: dict[str, list[str]] = {ALIKE: [], ALONE: [], BEHIND: []}
    for row in trained[1:]:
        found[_strength(_pair(best, row, pairs))].append(_gap(row, best, pairs))
    return sentences + [f"{start}: {'; '.join(gaps)}." for start, gaps in found.items() if gaps]


def _strength(pair: Comparison | None) -> str:
    """How sure it is that one row of the pair lies behind the other."""
    if pair is None or not pair.is_clear_alone:
        return ALIKE
    return BEHIND if pair.is_clear else ALONE


def _pair(first: Row, second: Row, pairs: Sequence[Comparison]) -> Comparison | None:
    """The comparison of two rows, whichever of them comes first in it."""
    wanted = {first.group.key, second.group.key}
    return next((pair for pair in pairs if {pair.first.key, pair.second.key} == wanted), None)


def _gap(row: Row, best: Row, pairs: Sequence[Comparison]) -> str:
    """`ESPO at 53.4 % (-29.0 points [-41.0, -17.1])`, with a reason where the two are not distinguishable."""
    pair = _pair(best, row, pairs)
    text = f"{_shown(row)} at {percent(row.value)} % ({points(row.value - best.value)} points"
    if pair is None:
        return f"{text}, not compared)"
    if pair.interval is not None:
        turned = Interval(low=-pair.interval.high, high=-pair.interval.low)
        text = f"{text} {interval_text(pair.interval if pair.first.key == row.group.key else turned, points)}"
    return f"{text})" if pair.is_clear_alone else f"{text}, {verdict(pair)})"


def _control(trained: Sequence[Row], controls: Sequence[Row], pairs: Sequence[Comparison]) -> list[str]:
    """Whether learning needs the reward: what the same method does with random ones."""
    sentences = []
    for control in controls:
        twin = next((row for row in trained if row.group.method == control.group.method), None)
        text = f"With random rewards {_shown(control)} reached {_value(control)}"
        if twin is None:
            sentences.append(f"{text}.")
            continue
        pair = _pair(twin, control, pairs)
        above = pair is not None and pair.is_clear_alone and twin.value > control.value
        sentences.append(f"{text}: its gain {'comes' if above else 'is not shown to come'} from the reward.")
    return sentences


def _cost(trained: Sequence[Row]) -> list[str]:
    if not trained:
        return []
    best, cheapest = trained[0], min(trained, key=lambda row: row.flops_total)
    text = f"{_shown(best)} cost {_price(best)} per seed"
    if cheapest is best:
        return [f"{text}{', the fewest FLOPs of all' if len(trained) > 1 else ''}."]
    return [f"{text}; {_shown(cheapest)} needed the fewest FLOPs: {_price(cheapest)}."]


def _price(row: Row) -> str:
    unit = flop_unit(row.flops_total)
    compute = f"{digits(row.flops_total / unit.size)} {unit.name}"
    return f"{compute}, {row.samples:,.0f} samples and {digits(row.seconds)} s of training"


def _where(rows: Sequence[Row]) -> str:
    first, protocol = rows[0], rows[0].group.protocol
    seeds = sorted({len(row.seeds) for row in rows})
    counted = " or ".join(str(count) for count in seeds)
    text = f"Measured on the {first.n:,} items of the {protocol.split} split of {data_name(protocol.data)}"
    toy = ". A toy setting, not comparable with published numbers" if first.group.toy_reasons else ""
    ceiling = f"; a perfect solver is expected to reach {percent(first.ceiling)} %" if first.ceiling is not None else ""
    return f"{text}, {counted} seed{'s' if seeds != [1] else ''} each, last checkpoint{ceiling}{toy}."


def _shown(row: Row) -> str:
    name = method_name(row.group.method)
    return f"{name} ({row.group.variant})" if row.group.variant else name


def _value(row: Row) -> str:
    return f"{percent(row.value)} %{f' {interval_text(row.interval, percent)}' if row.interval else ''}"
