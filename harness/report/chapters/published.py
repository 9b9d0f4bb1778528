"""Tables 1 and 2 and Figure 1 of EGSPO (arXiv 2603.12554) from every value we know of; unknown cells are a dash.

Nothing measured here stands in these tables: our own numbers have tables of their own (report.measured).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
WITHIN_MARK, SOLVED_MARK, HIGHEST_MARK = "≈", "§", "°"
RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

WITHIN_NOTE = (
    f"{WITHIN_MARK} Among the values of one protocol in the column, cannot be told from the highest: the difference is "
    "below 1.96 standard errors for two samples of so many items. Bold: the highest of its protocol, above all others "
    "by more than that. Values without a mark have no other value of the same stated protocol to stand against, or lie "
    "clearly below one."
)
SOLVED_NOTE = (
    f"{SOLVED_MARK} At or above the range of a perfect solver on these items: the task is solved, and the order of "
    "such values means nothing."
)
BEST_NOTE = "Best is over lengths: chosen on the test set, it is above what one length would give."
HIGHEST_NOTE = f"{HIGHEST_MARK} The highest of the values at 128, 256 and 512; the paper prints none over lengths."


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row of a table: one method as one paper prints it. values: (task, length) to the surest value."""

    paper: str
    method: str
    variant: str
    values: Mapping[tuple[str, str], Value]
    highest: frozenset[str]

    @property
    def label(self) -> str:
        """Method and variant."""
        return f"{self.method} ({self.variant})" if self.variant else self.method


def table_1(published: Published, *, model: str = LLADA) -> Table:
    """Reasoning and logic: what each paper prints for its own methods and its base."""
    title = f"Table 1, published: reasoning and logic, {model}, %"
    return _table(title, _own_lines(published, TABLE_1, model), TABLE_1, SHOWN_LENGTHS, published)


def table_2(published: Published, *, model: str = LLADA) -> Table:
    """Code: what each paper prints for its own methods and its base."""
    title = f"Table 2, published: code, {model}, %"
    return _table(title, _own_lines(published, TABLE_2, model), TABLE_2, SHOWN_LENGTHS, published)


def figure_1(published: Published) -> Table:
    """The bars of Figure 1: EGSPO's own values and the baselines that it prints, best over lengths."""
    title = "Figure 1, published: best over lengths as EGSPO prints them, %"
    lines = make_lines(published, [value for value in published.values if value.paper == "egspo"], FIGURE_1, LLADA)
    return _table(title, lines, FIGURE_1, ("best",), published)


def _own_lines(published: Published, tasks: Sequence[str], model: str) -> list[Line]:
    return make_lines(published, [value for value in published.values if value.whose == "own"], tasks, model)


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
    found, highest = dict(values), set()
    for task in tasks:
        over = [values[task, length] for length in ("128", "256", "512") if (task, length) in values]
        if len(over) == 3 and (task, "best") not in values:
            found[task, "best"] = max(over, key=lambda value: value.value)
            highest.add(task)
    paper, method, variant = key
    return Line(paper=paper, method=method, variant=variant, values=found, highest=frozenset(highest))


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
    ranked = {place: rank(_ranked_values(lines, place), published) for place in places}
    footnotes = _Footnotes()
    cells, raw, bold = [], [], set()
    for row, line in enumerate(lines):
        head = (line.label, paper_name(line.paper, published))
        texts = [_cell(line, place, ranked[place], footnotes, published) for place in places]
        bold |= {(row, 2 + column) for column, place in enumerate(places) if _is_bold(line, place, ranked[place])}
        cells.append((*head, *texts))
        raw.append((*head, *(_plain(line.values.get(place)) for place in places)))
    return Table(
        title=title,
        columns=(*text_columns("Method", "Printed by"), *(_column(place, lengths) for place in places)),
        cells=tuple(cells),
        notes=tuple(_notes(tasks, cells, footnotes, published)),
        supports=tuple(_supports(lines, ranked, published)),
        bold=frozenset(bold),
        raw=tuple(raw),
    )


def _column(place: tuple[str, str], lengths: Sequence[str]) -> Column:
    name = task_name(place[0])
    if len(lengths) == 1:
        return Column(title=name, numeric=True)
    return Column(title=f"{name} {place[1]}", numeric=True, group=name)


def _ranked_values(lines: Sequence[Line], place: tuple[str, str]) -> list[Value]:
    """A highest over lengths is a value of its own kind: it is not ranked."""
    return [line.values[place] for line in lines if place in line.values and not _derived(line, place)]


def _is_bold(line: Line, place: tuple[str, str], ranked: Sequence[Ranked]) -> bool:
    return any(group.clear and line.values.get(place) is group.best and not _derived(line, place) for group in ranked)


def _derived(line: Line, place: tuple[str, str]) -> bool:
    return place[1] == "best" and place[0] in line.highest


def _cell(
    line: Line, place: tuple[str, str], ranked: Sequence[Ranked], footnotes: _Footnotes, published: Published
) -> str:
    value = line.values.get(place)
    if value is None:
        return DASH
    near = not _derived(line, place) and any(
        value is other for group in ranked if group.within for other in (group.best, *group.within)
    )
    marks = "".join(
        mark
        for mark, shown in (
            (HIGHEST_MARK, _derived(line, place)),
            (WITHIN_MARK, near),
            (SOLVED_MARK, solved(value, published)),
        )
        if shown
    )
    notes = [footnotes.mark(text) for text in (differences(value, published), value.note)]
    return f"{value_text(value)}{marks}{' '.join(note for note in notes if note)}"


def _plain(value: Value | None) -> str:
    return value_text(value) if value is not None else ""


def _notes(
    tasks: Sequence[str], cells: Sequence[Sequence[str]], footnotes: _Footnotes, published: Published
) -> list[str]:
    shown = "".join(cell for row in cells for cell in row[2:])
    marked = {WITHIN_MARK: WITHIN_NOTE, SOLVED_MARK: SOLVED_NOTE, HIGHEST_MARK: HIGHEST_NOTE}
    return [
        f"Values without a number follow EGSPO's protocol: {reference_text(tasks, published)}.",
        BEST_NOTE,
        *(note for mark, note in marked.items() if mark in shown),
        *footnotes.notes,
    ]


def _supports(
    lines: Sequence[Line], ranked: Mapping[tuple[str, str], Sequence[Ranked]], published: Published
) -> list[str]:
    label = {id(value): line.label for line in lines for value in line.values.values()}
    found = [(place, group) for place, groups in ranked.items() for group in groups]
    if len(found) <= SINGLE_SENTENCES:
        texts = [_ranked_text(place, group, label, published) for place, group in found]
    else:
        texts = [_task_text(task, found, label) for task in dict.fromkeys(task for (task, _), _ in found)]
    trained = {id(value) for line in lines for value in line.values.values() if line.method != BASE}
    alone = len(trained - {id(value) for _, group in found for value in _all(group)})
    return [
        *texts,
        *_solved_texts(lines, published),
        f"{alone} of the {len(trained)} values of trained models share no stated protocol with another: not ranked.",
    ]


def _task_text(task: str, found: Sequence[tuple[tuple[str, str], Ranked]], label: Mapping[int, str]) -> str:
    """One sentence about all protocol groups of a task."""
    own = [(length, group) for (name, length), group in found if name == task]
    clear = [f"{label[id(group.best)]} {value_text(group.best)} at {length}" for length, group in own if group.clear]
    start = f"{task_name(task)}: of {len(own)} comparisons within one protocol and length, {len(clear) or 'none'}"
    named = f" ({listed(clear)})" if clear else ""
    return f"{start} {'has' if len(clear) == 1 else 'have'} a highest value above noise{named}."


def _all(group: Ranked) -> tuple[Value, ...]:
    return (group.best, *group.within, *group.below)


def _ranked_text(place: tuple[str, str], group: Ranked, label: Mapping[int, str], published: Published) -> str:
    task, length = place
    where = f"{task_name(task)}, {'best' if length == 'best' else f'length {length}'} ({group.n:,} items)"
    named = [f"{label[id(value)]} {value_text(value)}" for value in _all(group)]
    best, near, below = named[0], named[1 : 1 + len(group.within)], named[1 + len(group.within) :]
    if all(solved(value, published) for value in (group.best, *group.within)) and group.within:
        text = f"{listed([best, *near])} are all solved: no order"
    elif near:
        text = f"{listed([best, *near])} cannot be told apart"
    else:
        text = f"{best} is the highest by more than noise"
    return f"{where}: {text}{f'; {listed(below)} below' if below else ''}."


def _solved_texts(lines: Sequence[Line], published: Published) -> list[str]:
    texts: dict[tuple[float, float, str], list[str]] = defaultdict(list)
    for line in lines:
        for value in line.values.values():
            ceiling = published.ceiling(value.items, value.metric)
            if ceiling is not None and ceiling.sd is not None and solved(value, published):
                texts[ceiling.value, ceiling.sd, value.items].append(f"{line.label} {value_text(value)}")
    return [
        f"{listed(list(dict.fromkeys(names)))}: at or above the range {mean:.1f} ± {2 * sd:.1f} of a perfect solver on "
        f"{published.item_sets[items].label}, where some puzzles have several answers: solved, not a ranking."
        for (mean, sd, items), names in texts.items()
    ]
