"""A paper's tables and figures from our own runs, each table's values beside what the paper prints.

A value is compared with a printed one where both are of a large model on the published data; everything else says why
it is not, and an empty cell why it is empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.config.published.reproductions import TABLE, Artefact, Reproduction
from harness.config.recipes import evaluation_decoding
from harness.records.schema import NO_METHOD
from harness.report.analysis.groups import Group, group_by, make_groups, metrics_of, overrides
from harness.report.analysis.rows import Row, make_row
from harness.report.chapters.document import Document
from harness.report.chapters.measured import paper_metric
from harness.report.chapters.sections import Section
from harness.report.chapters.table import Column, Table, number_columns, text_columns, with_interval
from harness.report.labels import DASH, metric_name, percent, task_name
from harness.report.read.published import Value, load_published
from harness.report.read.runs import Collection

TINY = "tiny"
STEPS = {0.5: "Half the steps", 1.0: "Recipe's steps", 2.0: "Twice the steps"}
LENGTHS = {128: "128", 256: "256", 512: "512"}
BEST = "best"
HOW = {
    "tiny": "Everything here was trained and evaluated with the embedded tiny model on built-in problems, so no value "
    "can be compared with a printed one; what can be compared is the order of the methods and the shape of the curves.",
    "published": "Weights that the authors published, evaluated here under the paper's protocol; nothing was trained.",
    "training": "Trained here with the recipes of the papers.",
}
TABLE_NOTES = (
    "Printed: the best over lengths 128, 256 and 512, each at the checkpoint that is best on the test set. The paper's "
    "values per length were not found, so there is no printed value to set beside a single column.",
    "Ours: the last checkpoint, never the best on the test set; the interval is over seeds, or over the items of one.",
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A row: one method on one task. ours: by column. printed: what the paper says of it on `model`."""

    task: str
    label: str
    model: str
    ours: Mapping[str, Row]
    printed: tuple[Value, ...]
    why: str


def reproduction_document(
    paper: Reproduction,
    artefacts: Mapping[str, Artefact],
    collection: Collection,
    report: Document,
    *,
    mode: str,
    made: Mapping[str, str],
) -> Document:
    """Every artefact as a section: a table of `collection`, or figures of `report`.

    mode: tiny, published, training. made: by artefact, the command and the run folders that it is made from.
    """
    groups = [group for group in make_groups(collection.runs) if group.lasts and not _is_ablation(group)]
    sections = []
    for name, artefact in artefacts.items():
        if artefact.kind == TABLE:
            table = _table(paper, artefact, groups, mode)
            table = replace(table, stem=name, notes=(*table.notes, made[name]))
            sections.append(Section(title=artefact.title, tables=(table,)))
        else:
            sections.append(_figures(artefact, report, mode))
    return Document(
        title=f"{paper.title}: tables and figures, {mode}",
        intro=HOW[mode],
        verdicts=(),
        sections=tuple(sections),
        headlines=(),
        points=report.points,
    )


def _is_ablation(group: Group) -> bool:
    return any(key.startswith("method.") for key in overrides(group.members[0].run))


def _figures(artefact: Artefact, report: Document, mode: str) -> Section:
    figures = tuple(
        figure
        for figure in report.figures
        if figure.kind == artefact.kind and (not artefact.only or figure.stem.endswith(artefact.only))
    )
    needs_training = "; it needs training curves, which evaluations of published weights do not have"
    empty = f"Empty: no run here has what it shows{needs_training if mode == 'published' else ''}."
    text = () if figures else (empty,)
    return Section(title=artefact.title, text=text, figures=figures)


def _table(paper: Reproduction, artefact: Artefact, groups: Sequence[Group], mode: str) -> Table:
    columns = tuple((STEPS if mode == TINY else LENGTHS).values())
    lines = [line for task in artefact.tasks for line in _lines(paper, task, groups, mode)]
    titles = (*text_columns("Task", "Method", "Model of the paper"), *number_columns(*columns))
    return Table(
        title=f"{artefact.title}, ours beside the paper's, %",
        columns=(*titles, Column(title="Printed", numeric=True), *text_columns("Verdict")),
        cells=tuple(
            (
                task_name(line.task),
                line.label,
                line.model,
                *(_cell(line.ours.get(column)) for column in columns),
                " / ".join(f"{value.value:.{value.decimals}f}" for value in line.printed) or DASH,
                line.why,
            )
            for line in lines
        ),
        notes=(*TABLE_NOTES, *_metric_notes(artefact, groups)),
    )


def _metric_notes(artefact: Artefact, groups: Sequence[Group]) -> list[str]:
    metrics = {task: _metric(task, groups) for task in artefact.tasks}
    named = ", ".join(f"{task_name(task)} {metric_name(metric)}" for task, metric in metrics.items() if metric)
    return [f"Metric: {named}."] if named else []


def _metric(task: str, groups: Sequence[Group]) -> str:
    own = [group for group in groups if group.task == task]
    return paper_metric(own) if metrics_of(own) else ""


def _lines(paper: Reproduction, task: str, groups: Sequence[Group], mode: str) -> list[Line]:
    """The paper's rows first, those of the trained model before others; then ours that it does not print."""
    metric = _metric(task, groups)
    ours: dict[str, dict[str, Row]] = {}
    methods: dict[str, str] = {}
    for group in (group for group in groups if group.task == task):
        row, column = make_row(group, metric), _column(group, mode)
        if row is not None and column:
            ours.setdefault(group.called(), {})[column] = row
            methods[group.called()] = "" if group.is_control else group.method
    label_of = {method: label for label, method in methods.items() if method}
    lines, shown = [], set()
    for (name, model), values in _printed(paper, task).items():
        method = paper.printed.get(name)
        label = label_of.get(method or "", "") if model == paper.base.rpartition("/")[2] else ""
        cells = ours.get(label, {})
        shown.add(label)
        why = _verdict(list(cells.values()), values) if cells else _why_empty(name, model, paper, mode)
        lines.append(Line(task=task, label=name, model=model, ours=cells, printed=tuple(values), why=why))
    return [
        *lines,
        *(
            Line(task=task, label=label, model=DASH, ours=cells, printed=(), why="not in the paper's table")
            for label, cells in ours.items()
            if label not in shown
        ),
    ]


def _printed(paper: Reproduction, task: str) -> dict[tuple[str, str], list[Value]]:
    """Method and model to what the paper prints of them, best over lengths."""
    values = [value for value in load_published().values if value.paper == paper.paper and value.task == task]
    best = [value for value in values if value.length == BEST]
    return group_by(best, lambda value: (value.method, value.model))


def _column(group: Group, mode: str) -> str:
    """The column of a group's evaluation; empty where it has none."""
    decoding = json.loads(group.protocol.decoding)
    if mode != TINY:
        return LENGTHS.get(decoding.get("completion_length"), "")
    own = evaluation_decoding(group.task, tiny=True)
    if decoding.get("completion_length") != own.completion_length:
        return ""
    return STEPS.get(decoding.get("num_steps", 0) / own.num_steps, "")


def _verdict(rows: Sequence[Row], printed: Sequence[Value]) -> str:
    """How the highest of our rows stands to what is printed, which is the best over lengths too."""
    best = max(rows, key=lambda row: row.value)
    if reasons := best.group.toy_reasons:
        return f"not comparable: {', '.join(reasons)}"
    value = printed[0].value / 100
    if best.interval is None:
        return "not comparable: ours has no interval"
    if best.interval.low <= value <= best.interval.high:
        return "within our interval"
    return "ours is above" if best.value > value else "ours is below"


def _why_empty(name: str, model: str, paper: Reproduction, mode: str) -> str:
    method = paper.printed.get(name)
    if model != paper.base.rpartition("/")[2]:
        return f"empty: {model} was not run"
    if method is None:
        return f"empty: {name} is not implemented"
    if mode == "published" and method not in (*paper.checkpoints, NO_METHOD):
        return "empty: its authors published no weights under this protocol"
    return "empty: not run"


def _cell(row: Row | None) -> str:
    return with_interval(row.value, row.interval, percent) if row else DASH
