"""Tables 1 and 2 and Figure 1 of EGSPO (arXiv 2603.12554) from every value we know of; unknown cells are a dash.

Nothing in these tables was measured here: our own numbers have tables of their own (chapters.measured).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from harness.report.analysis.ranking import Ranked, rank, solved
from harness.report.chapters.printed import differences, paper_name, reference_text, value_text
from harness.report.chapters.table import Column, Table, text_columns
from harness.report.labels import DASH, listed, task_name
from harness.report.read.published import Published, Value

TABLE_1 = ("gsm8k", "math500", "countdown", "sudoku")
TABLE_2 = ("humaneval", "mbpp")
FIGURE_1 = ("sudoku", "countdown", "gsm8k", "math500", "mbpp", "humaneval")
LLADA, DREAM = "LLaDA-8B-Instruct", "Dream-v0-Instruct-7B"
SINGLE_SENTENCES = 8
SHOWN_LENGTHS = ("128", "256", "512", "best")
METRIC_OF = {"sudoku": "cell_accuracy", "mbpp": "pass@1", "humaneval": "pass@1"}
BASE = "base"
HIGHEST = "highest"
"""The length of a value that is the highest of a paper's values over lengths: it is not ranked."""
WITHIN_MARK, SOLVED_MARK, HIGHEST_MARK = "≈", "§", "°"
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

WITHIN_NOTE = (
    f"{WITHIN_MARK} Not distinguishable from the highest value of the same protocol in the column: the difference is "
    "below 1.96 standard errors for two samples of that many items, or both solve the task. Bold: the highest of its "
    "protocol, above all others by more than that. Values without a mark have no other value of the same stated "
    "protocol to compare with, or are clearly below one."
)
SOLVED_NOTE = (
    f"{SOLVED_MARK} At or above the range of a perfect solver on these items: the task is solved, and the order of "
    "such values means nothing."
)
BEST_NOTE = "Best is over lengths: as it is chosen on the test set, it is higher than a single length would give."
HIGHEST_NOTE = f"{HIGHEST_MARK} The highest of the values at 128, 256 and 512; the paper prints no best over lengths."


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of a table: one method as one paper prints it. values: (task, length) to the surest value."""

    paper: str
    method: str
    variant: str
    values: Mapping[tuple[str, str], Value]

    @property
    def label(self) -> str:
        """Method and variant."""
        return f"{self.method} ({self.variant})" if self.variant else self.method


def table_1(published: Published, *, model: str = LLADA) -> Table:
    """Reasoning and logic: what each paper prints for its own methods and its base."""
    return _own_table("Table 1, published: reasoning and logic", TABLE_1, model, published)


def table_2(published: Published, *, model: str = LLADA) -> Table:
    """Code: what each paper prints for its own methods and its base."""
    return _own_table("Table 2, published: code", TABLE_2, model, published)


def _own_table(title: str, tasks: Sequence[str], model: str, published: Published) -> Table:
    lines = make_lines(published, [value for value in published.values if value.whose == "own"], tasks, model)
    return _table(f"{title}, {model}, %", lines, tasks, SHOWN_LENGTHS, published)


def figure_1(published: Published) -> Table:
    """The bars of Figure 1: EGSPO's own values and the baselines that it prints, best over lengths."""
    title = "Figure 1, published: best over lengths as EGSPO prints them, %"
    lines = make_lines(published, [value for value in published.values if value.paper == "egspo"], FIGURE_1, LLADA)
    return _table(title, lines, FIGURE_1, ("best",), published)


def make_lines(published: Published, values: Sequence[Value], tasks: Sequence[str], model: str) -> list[Line]:
    """The rows of a table: bases first, then papers in their order, EGSPO last."""
    grades = list(published.grades)
    papers = list(published.papers)
    cells: dict[tuple[str, str, str], dict[tuple[str, str], Value]] = {}
    chosen = [value for value in values if value.task in tasks and value.model == model and value.unit == "%"]
    for value in sorted(chosen, key=lambda value: grades.index(value.grade)):
        if value.metric == METRIC_OF.get(value.task, "accuracy"):
            own = cells.setdefault((value.paper, value.method, value.variant), {})
            own.setdefault((value.task, value.length), value)
    lines = [_line(key, own, tasks) for key, own in cells.items() if any(length in SHOWN_LENGTHS for _, length in own)]
    return sorted(lines, key=lambda line: _order(line, papers))


def _order(line: Line, papers: Sequence[str]) -> tuple[object, ...]:
    last = line.paper == "egspo" and line.method.startswith("EGSPO")
    return (line.method != BASE, last, papers.index(line.paper), line.method, line.variant)


def _line(key: tuple[str, str, str], values: Mapping[tuple[str, str], Value], tasks: Sequence[str]) -> Line:
    """Adds the highest over lengths where the paper prints all three lengths and no best."""
    found = dict(values)
    for task in tasks:
        over = [values[task, length] for length in ("128", "256", "512") if (task, length) in values]
        if len(over) == 3:
            found.setdefault((task, "best"), replace(max(over, key=lambda value: value.value), length=HIGHEST))
    paper, method, variant = key
    return Line(paper=paper, method=method, variant=variant, values=found)


class _Footnotes:
    """Numbers texts in the order in which they are first asked for."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def mark(self, text: str) -> str:
        """The raised number of `text`; empty for an empty text."""
        return str(self.numbers.setdefault(text, len(self.numbers) + 1)).translate(RAISED) if text else ""

    @property
    def notes(self) -> list[str]:
        """The numbered texts."""
        return [f"{str(number).translate(RAISED)} {text}." for text, number in self.numbers.items()]


def _table(
    title: str, lines: Sequence[Line], tasks: Sequence[str], lengths: Sequence[str], published: Published
) -> Table:
    places = [(task, length) for task in tasks for length in lengths]
    ranked = {place: rank(_printed(lines, place), published) for place in places}
    groups = [group for found in ranked.values() for group in found]
    best = {id(group.best) for group in groups if group.clear}
    near = {id(value) for group in groups if group.within for value in (group.best, *group.within)}
    footnotes = _Footnotes()
    cells, raw = [], []
    for line in lines:
        head, values = (line.label, paper_name(line.paper, published)), [line.values.get(place) for place in places]
        cells.append((*head, *(_cell(value, near, footnotes, published) for value in values)))
        raw.append((*head, *(value_text(value) if value else "" for value in values)))
    return Table(
        title=title,
        columns=(*text_columns("Method", "Printed by"), *(_column(place, lengths) for place in places)),
        cells=tuple(cells),
        notes=tuple(_notes(tasks, cells, footnotes, published)),
        supports=tuple(_supports(lines, ranked, published)),
        bold=frozenset(
            (row, 2 + column)
            for row, line in enumerate(lines)
            for column, place in enumerate(places)
            if id(line.values.get(place)) in best
        ),
        raw=tuple(raw),
    )


def _column(place: tuple[str, str], lengths: Sequence[str]) -> Column:
    name = task_name(place[0])
    if len(lengths) == 1:
        return Column(title=name, numeric=True)
    return Column(title=f"{name} {place[1]}", numeric=True, group=name)


def _printed(lines: Sequence[Line], place: tuple[str, str]) -> list[Value]:
    """The values of a column that a paper prints."""
    found = [line.values[place] for line in lines if place in line.values]
    return [value for value in found if value.length != HIGHEST]


def _cell(value: Value | None, near: Set[int], footnotes: _Footnotes, published: Published) -> str:
    """near: ids of the values that noise cannot tell from the highest of their protocol."""
    if value is None:
        return DASH
    shown = {
        HIGHEST_MARK: value.length == HIGHEST,
        WITHIN_MARK: id(value) in near,
        SOLVED_MARK: solved(value, published),
    }
    marks = "".join(mark for mark, is_shown in shown.items() if is_shown)
    notes = [footnotes.mark(text) for text in (differences(value, published), value.note)]
    return f"{value_text(value)}{marks}{' '.join(note for note in notes if note)}"


def _notes(
    tasks: Sequence[str], cells: Sequence[Sequence[str]], footnotes: _Footnotes, published: Published
) -> list[str]:
    shown = "".join(cell for row in cells for cell in row[2:])
    marked = {WITHIN_MARK: WITHIN_NOTE, SOLVED_MARK: SOLVED_NOTE, HIGHEST_MARK: HIGHEST_NOTE}
    return [
        f"Values without a footnote follow EGSPO's protocol: {reference_text(tasks, published)}.",
        BEST_NOTE,
        *(note for mark, note in marked.items() if mark in shown),
        *footnotes.notes,
    ]


def _supports(
    lines: Sequence[Line], ranked: Mapping[tuple[str, str], Sequence[Ranked]], published: Published
) -> list[str]:
    labels = {id(value): f"{line.label} {value_text(value)}" for line in lines for value in line.values.values()}
    found = [(place, group) for place, groups in ranked.items() for group in groups]
    if len(found) <= SINGLE_SENTENCES:
        texts = [_ranked_text(place, group, labels, published) for place, group in found]
    else:
        texts = [_task_text(task, found, labels) for task in dict.fromkeys(task for (task, _), _ in found)]
    printed = [value for line in lines if line.method != BASE for value in line.values.values()]
    trained = {id(value) for value in printed if value.length != HIGHEST}
    alone = len(trained - {id(value) for _, group in found for value in group.all})
    return [
        *texts,
        *_solved_texts(labels, lines, published),
        f"{alone} of the {len(trained)} values of trained models share no stated protocol with another and are not "
        "ranked.",
    ]


def _task_text(task: str, found: Sequence[tuple[tuple[str, str], Ranked]], labels: Mapping[int, str]) -> str:
    """One sentence about all protocol groups of a task."""
    own = [(length, group) for (name, length), group in found if name == task]
    clear = [f"{labels[id(group.best)]} at {length}" for length, group in own if group.clear]
    start = f"{task_name(task)}: of {len(own)} comparisons within one protocol and length, {len(clear) or 'none'}"
    named = f" ({listed(clear)})" if clear else ""
    return f"{start} {'has' if len(clear) == 1 else 'have'} a highest value above noise{named}."


def _ranked_text(place: tuple[str, str], group: Ranked, labels: Mapping[int, str], published: Published) -> str:
    task, length = place
    where = f"{task_name(task)}, {'best' if length == 'best' else f'length {length}'} ({group.n:,} items)"
    near = (group.best, *group.within)
    top, below = listed([labels[id(value)] for value in near]), [labels[id(value)] for value in group.below]
    if group.clear:
        text = f"{top} is the highest by more than noise"
    elif all(solved(value, published) for value in near):
        text = f"{top} all solve the task: no order"
    else:
        within = [labels[id(value)] for value in group.within]
        text = f"{labels[id(group.best)]} is the highest and not distinguishable from {listed(within)}"
    return f"{where}: {text}{f'; {listed(below)} below' if below else ''}."


def _solved_texts(labels: Mapping[int, str], lines: Sequence[Line], published: Published) -> list[str]:
    texts: dict[tuple[float, float, str], list[str]] = defaultdict(list)
    for line in lines:
        for value in line.values.values():
            ceiling = published.ceiling(value.items, value.metric)
            if ceiling is not None and ceiling.sd is not None and solved(value, published):
                texts[ceiling.value, ceiling.sd, value.items].append(labels[id(value)])
    return [
        f"{listed(list(dict.fromkeys(names)))}: at or above the range {mean:.1f} ± {2 * sd:.1f} of a perfect solver on "
        f"{published.item_sets[items].label}, where some puzzles have several answers: solved, not a ranking."
        for (mean, sd, items), names in texts.items()
    ]
