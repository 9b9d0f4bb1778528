"""Pairs of methods as a table and in sentences: who is above whom, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis.comparisons import Comparison, Comparisons, Outcome
from harness.report.chapters.table import Table, number_columns, text_columns, with_interval
from harness.report.labels import DASH, data_name, metric_name, points, task_name

WITHIN = "within noise"
NOTE_ITEMS = (
    "p: exact, on the verdicts of the shared items; with one seed McNemar's test, with several the item is the unit. "
    "It is about these trained models and says nothing about other seeds. Holm: adjusted for the number of pairs."
)
NOTE_SEEDS = (
    "Difference: first minus second, paired by seed; its interval (Student t) is over seeds, needs at least two, and "
    "is that of the pair alone. A difference counts if both adjusted p-values are below 0.05, and as a single pair if "
    "the one over items is and the interval excludes 0; otherwise it is within noise."
)
SUPPORTS = {
    Outcome.CLEAR: "Different both on the items and over seeds, adjusted for the number of pairs",
    Outcome.ALONE: "Different over seeds only as a single pair",
    Outcome.ONE_SEED: "Different on the items with this seed alone, other seeds unknown",
    Outcome.SEEDS_DISAGREE: "Not shown to differ",
    Outcome.WITHIN_NOISE: "Not shown to differ",
    Outcome.NOT_TESTED: "Not tested",
}
NOTE_BEST = "Many groups: each is compared only with the highest, which was chosen on the same items."


def comparison_table(found: Comparisons) -> Table:
    """The pairs as a table."""
    where = f"{found.model} model, {data_name(found.protocol.data)}"
    counts = ("Difference, points", "Seeds", "Items", "Only first right", "Only second right")
    chances = ("p, items", "p, items (Holm)", "p, seeds (Holm)")
    return Table(
        title=f"{task_name(found.task)}, {metric_name(found.metric)}: pairs of methods, {where}",
        columns=(*text_columns("First", "Second"), *number_columns(*counts, *chances), *text_columns("Verdict")),
        cells=tuple(_cells(pair) for pair in found.pairs),
        notes=(
            f"Evaluated on: {found.protocol.text}.",
            NOTE_SEEDS,
            NOTE_ITEMS,
            *((NOTE_BEST,) if found.best_only else ()),
        ),
        supports=tuple(_supports(found.pairs)),
    )


def verdict(pair: Comparison) -> str:
    """Which group is above, or why that is not said."""
    above = f"{pair.above.label} above"
    return {
        Outcome.CLEAR: above,
        Outcome.ALONE: f"{above} as a single pair",
        Outcome.ONE_SEED: f"{above} with this seed; other seeds unknown",
        Outcome.SEEDS_DISAGREE: f"{WITHIN} between seeds",
        Outcome.WITHIN_NOISE: WITHIN,
        Outcome.NOT_TESTED: pair.reason,
    }[pair.outcome]


def _cells(pair: Comparison) -> tuple[str, ...]:
    counts = (str(pair.only_first), str(pair.only_second)) if pair.p is not None else (DASH, DASH)
    return (
        pair.first.label,
        pair.second.label,
        with_interval(pair.difference, pair.interval, points),
        str(len(pair.seeds)),
        f"{pair.items:,}" if pair.items else DASH,
        *counts,
        *(chance(p) for p in (pair.p, pair.adjusted, pair.seed_adjusted)),
        verdict(pair),
    )


def chance(p: float | None) -> str:
    """A p-value: `0.042`, `<0.001`."""
    if p is None:
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _supports(pairs: Sequence[Comparison]) -> list[str]:
    """One sentence for each strength of evidence that occurs."""
    found: dict[str, list[str]] = {start: [] for start in SUPPORTS.values()}
    for pair in pairs:
        found[SUPPORTS[pair.outcome]].append(_sentence(pair) if pair.tells_apart else _both(pair))
    return [f"{start}: {'; '.join(texts)}." for start, texts in found.items() if texts]


def _both(pair: Comparison) -> str:
    """`EGSPO and ESPO`, with the reason where they were not tested."""
    names = f"{pair.first.label} and {pair.second.label}"
    return f"{names} ({pair.reason})" if pair.outcome is Outcome.NOT_TESTED else names


def _sentence(pair: Comparison) -> str:
    """`EGSPO-SA above ESPO by 28.5 points`."""
    gap = points(abs(pair.difference)).removeprefix("+")
    return f"{pair.above.label} above {pair.below.label} by {gap} points"
