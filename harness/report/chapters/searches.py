"""What a search tried for every method, and which value the validation items choose."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.analysis.groups import group_by
from harness.report.analysis.points import listing
from harness.report.analysis.rows import Row, overlapping
from harness.report.analysis.searches import Search, Try, search_sweeps
from harness.report.chapters.results import interval_notes, items_mark
from harness.report.chapters.sections import Command, Section
from harness.report.chapters.settings import command
from harness.report.chapters.table import Table, number_columns, text_columns, with_interval
from harness.report.figures.looks import Colours
from harness.report.figures.sweeps import sweep_figure
from harness.report.labels import DASH, listed, metric_name, percent, task_name

TEXT = (
    "Settings of which several values were run, all else equal, and the value that scores highest on the validation "
    "items; the test items have no part in the choice. The other tables show the chosen value alone, ablations all."
)
ELSEWHERE = (
    'Of values of a setting that a search compared, tables and figures show the one in "Chosen on validation" alone, '
    "ablations all."
)
NOTE = (
    "Last checkpoint on the validation items, mean over the seeds that all values have; of equal values the smaller is "
    "chosen. A run that does not count is named with its reason. The score of the chosen value is that of the highest "
    "of several, and therefore optimistic."
)
CHOSEN = "chosen"


def search_sections(searches: Sequence[Search], colours: Colours) -> list[Section]:
    """The chapter: per task, model and key a table, the figure and the commands; none without a search."""
    if not searches:
        return []
    sweeps = group_by(search_sweeps(searches), lambda sweep: (sweep.task, sweep.model, sweep.key))
    parts = []
    for place, own in group_by(searches, lambda search: (search.task, search.model, search.key)).items():
        table = search_table(own)
        figures = tuple(sweep_figure(sweep, None, colours) for sweep in sweeps.get(place, []))
        commands = tuple(_command(search) for search in own if search.rows)
        parts.append(Section(title=table.title, level=3, tables=(table,), figures=figures, commands=commands))
    return [Section(title="Chosen on validation", text=(TEXT,)), *parts]


def search_table(searches: Sequence[Search]) -> Table:
    """All tries of searches over one key on one task, and what the numbers of tries are. Raises IndexError for none."""
    first = searches[0]
    rows = [(search, one) for search in searches for one in search.tries]
    scores = [row for search in searches for row in search.rows]
    metric = metric_name(scores[0].metric) if scores else "score"
    return Table(
        title=f"{task_name(first.task)}, {first.model} model: {first.key} chosen on validation",
        columns=(
            *text_columns("Method", "Recipe"),
            *number_columns(first.key, f"Validation {metric}, % [95 % interval]", "Seeds", "Items", "Updates"),
            *text_columns("Choice", "Not counted"),
        ),
        cells=tuple(_cells(search, one) for search, one in rows),
        notes=(NOTE, *interval_notes(scores)),
        supports=(*map(_choice_text, searches), *_tries_texts(searches)),
        bold=frozenset((line, 3) for line, (search, one) in enumerate(rows) if one is search.chosen),
    )


def _cells(search: Search, one: Try) -> tuple[str, ...]:
    row = one.row
    return (
        search.label,
        search.recipe,
        str(one.setting),
        "no validation score" if row is None else f"{with_interval(row.value, row.interval, percent)}{items_mark(row)}",
        DASH if row is None else listing(row.seeds),
        DASH if row is None else f"{row.n:,}",
        DASH if row is None else f"{row.updates:,.0f}",
        CHOSEN if one is search.chosen else DASH,
        "; ".join(one.uncounted) or DASH,
    )


def _choice_text(search: Search) -> str:
    """`d1: 0.0003 is chosen of 5 values with 62.1 %. Its interval overlaps with that of 0.001.`"""
    scored, chosen = search.scored, search.chosen
    if chosen is None or chosen.row is None:
        why = "no seed is common to all values" if len(scored) > 1 else f"{len(scored) or 'none'} of the values counts"
        return f"{search.label}: nothing is chosen, as {why}."
    texts = [f"{search.label}: {chosen.setting} is chosen of {len(scored)} values with {percent(chosen.row.value)} %."]
    if equals := search.equals:
        texts.append(f"{_plural(equals)} the same score, and the smallest is chosen.")
    near = [one for one in scored if one is not chosen and one not in equals and _overlaps(chosen.row, one.row)]
    if near:
        texts.append(f"Its interval overlaps with {_of(near)}.")
    if search.is_at_an_end:
        texts.append("It is at an end of the values tried: a better one may lie beyond.")
    return " ".join(texts)


def _plural(tries: Sequence[Try]) -> str:
    return f"{_listed(tries)} {'have' if len(tries) > 1 else 'has'}"


def _of(tries: Sequence[Try]) -> str:
    return f"th{'ose' if len(tries) > 1 else 'at'} of {_listed(tries)}"


def _listed(tries: Sequence[Try]) -> str:
    return listed([str(one.setting) for one in tries])


def _overlaps(best: Row, other: Row | None) -> bool:
    return other is not None and overlapping(best, other)


def _tries_texts(searches: Sequence[Search]) -> list[str]:
    """Whether every method had as many tries, which a comparison of methods needs, and which tries do not count."""
    missing = [search for search in searches if len(search.scored) < len(search.tries)]
    texts = [
        f"{search.label}: {len(search.tries) - len(search.scored)} of {len(search.tries)} values without a score, not "
        "counted."
        for search in missing
    ]
    if len(searches) < 2:
        return texts
    counts = [len(search.scored) for search in searches]
    values = {_listed(search.scored) for search in searches if search.scored}
    seeds = {tuple(row.seeds) for search in searches for row in search.rows}
    if len(set(counts)) > 1:
        told = listed([f"{search.label} {count}" for search, count in zip(searches, counts, strict=True)])
        texts.append(f"The numbers of tries are not equal: {told}. More tries are more chances of a high score.")
    elif len(values) > 1:
        texts.append(f"Every method has {counts[0]} tries, not of the same values.")
    else:
        texts.append(f"Every method has {counts[0]} tries, of the same values: {values.pop()}.")
    if len({len(own) for own in seeds}) > 1:
        texts.append("The numbers of seeds behind a try are not equal.")
    return texts


def _command(search: Search) -> Command:
    """What runs all tries, whose seeds are those of the first that counts."""
    group = search.rows[0].group
    label = f"{task_name(search.task)}, {search.label}, {search.model}"
    return Command(label=label, text=command(group, {search.key: [one.setting for one in search.tries]}))
