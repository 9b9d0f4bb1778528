"""The report in a few sentences: which method was best on what, by how much, how sure, at what cost, on which data."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis.comparisons import Comparison, Comparisons, Outcome
from harness.report.analysis.groups import group_by
from harness.report.analysis.rows import MetricRows, Row
from harness.report.chapters.pairs import verdict
from harness.report.chapters.sections import Section
from harness.report.chapters.table import interval_text
from harness.report.labels import data_name, digits, flop_unit, method_name, metric_name, percent, points, task_name

ALONE = "as a single pair, but not after adjusting for the number of pairs"
ALIKE = "Not distinguishable from it"
NOT_COMPARED = "Not compared with it"
AHEAD = "Ahead of it on the seeds that both have"
RANKS = {
    Outcome.CLEAR: "Behind it, both on the items and over the seeds",
    Outcome.ALONE: f"Behind it {ALONE}",
    Outcome.ONE_SEED: "Behind it with this seed, other seeds unknown",
    Outcome.SEEDS_DISAGREE: ALIKE,
    Outcome.WITHIN_NOISE: ALIKE,
    Outcome.NOT_TESTED: NOT_COMPARED,
}
"""What is said of a method below the highest."""
SOURCES = {
    Outcome.CLEAR: "its gain comes from the reward",
    Outcome.ALONE: f"that its gain comes from the reward is shown {ALONE}",
    Outcome.ONE_SEED: "that its gain comes from the reward is shown for this seed; other seeds are unknown",
}
"""What is said of a method that is above its control."""
HOW_TO_READ = (
    "One method counts as better than another only where the shared items and the seeds both show it, adjusted for "
    "the number of pairs. Every number is that of the last checkpoint; what other choices would make of it is in a "
    "table of its own for each task."
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
    found: dict[str, list[str]] = {rank: [] for rank in (*RANKS.values(), AHEAD)}
    for row in trained[1:]:
        pair = _pair(best, row, pairs)
        found[_rank(pair)].append(_gap(row, pair))
    told = [f"{start}: {'; '.join(gaps)}." for start, gaps in found.items() if gaps]
    return [f"{first}, the highest of {len(trained)}.", *told]


def _pair(first: Row, second: Row, pairs: Sequence[Comparison]) -> Comparison | None:
    """The comparison of two rows, seen from the first of them."""
    wanted = {first.group.key, second.group.key}
    found = next((pair for pair in pairs if {pair.first.key, pair.second.key} == wanted), None)
    return found.seen_from(first.group) if found else None


def _rank(pair: Comparison | None) -> str:
    """Where the second of the pair stands; the first has the higher mean, which may be one over other seeds."""
    if pair is None:
        return NOT_COMPARED
    return AHEAD if pair.tells_apart and not _is_above(pair) else RANKS[pair.outcome]


def _is_above(pair: Comparison | None) -> bool:
    """Whether the tests tell the first from the second, and it is the higher one on the seeds that both have."""
    return pair is not None and pair.tells_apart and pair.above is pair.first


def _gap(row: Row, pair: Comparison | None) -> str:
    """`ESPO at 53.4 % (-29.0 points [-41.0, -17.1])`, with a reason where the two are not distinguishable."""
    text = f"{_shown(row)} at {percent(row.value)} %"
    if pair is None or not pair.seeds:
        return f"{text} ({verdict(pair)})" if pair else text
    own = pair.seen_from(row.group)
    interval = f" {interval_text(own.interval, points)}" if own.interval else ""
    reason = "" if _is_above(pair) else f", {verdict(pair)}"
    return f"{text} ({points(own.difference)} points{interval}{reason})"


def _control(trained: Sequence[Row], controls: Sequence[Row], pairs: Sequence[Comparison]) -> list[str]:
    """Whether learning needs the reward: what the same method does with random ones."""
    sentences = []
    for control in controls:
        twin = next((row for row in trained if row.group.method == control.group.method), None)
        source = f": {_source(twin, _pair(twin, control, pairs))}" if twin else ""
        sentences.append(f"With random rewards {_shown(control)} reached {_value(control)}{source}.")
    return sentences


def _source(twin: Row, pair: Comparison | None) -> str:
    """Where the gain of `twin` comes from. pair: of it and its control."""
    if twin.gain is not None and twin.gain <= 0:
        return "with the task's reward it gained nothing either"
    if pair is None:
        return "not compared with the task's reward"
    if _is_above(pair):
        return SOURCES[pair.outcome]
    return f"its gain is not shown to come from the reward ({verdict(pair)})"


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
