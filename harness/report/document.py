"""The report before any format: its chapters in their order, from the collected runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness import __version__
from harness.report.budget import Costs
from harness.report.collect import Collection, Skipped
from harness.report.commands import command
from harness.report.comparisons import compare
from harness.report.curves import Panel, make_panels
from harness.report.differences import difference_tables
from harness.report.evidence import Chapter, all_costs, make_chapters, published_lists
from harness.report.groups import Group
from harness.report.labels import metric_name, task_name
from harness.report.plots import Colours, bar_figures, curve_figures, sweep_figure, trace_figures, training_figures
from harness.report.sections import Command, Figure, Section
from harness.report.sweeps import Sweep, briefly_named, find_sweeps, group_key, without_variants
from harness.report.tables import Column, MetricRows, Table, make_table
from harness.report.traces import GroupTraces, read_traces
from harness.report.verdict import HOW_TO_READ, Verdict, verdicts

SUMMARY_FILE = "summary.csv"
TABLE_FILE = "table.csv"


@dataclass(frozen=True, kw_only=True)
class Document:
    """A report in no format. intro: what it is made of. verdicts: it in a few sentences per task.

    files: tables that are also written as files of their own. costs: the budgets, for a file with all of them.
    """

    title: str
    intro: str
    verdicts: tuple[Verdict, ...]
    sections: tuple[Section, ...]
    files: tuple[Table, ...]
    costs: tuple[Costs, ...]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the chapters are made of. groups: those that stand for their method. tables: their rows alone."""

    groups: tuple[Group, ...]
    tables: tuple[MetricRows, ...]
    panels: tuple[Panel, ...]
    sweeps: tuple[Sweep, ...]
    traces: tuple[GroupTraces, ...]
    colours: Colours
    metric: str | None


def make_document(
    collection: Collection,
    groups: Sequence[Group],
    tables: Sequence[MetricRows],
    colours: Colours,
    *,
    metric: str | None = None,
) -> Document:
    """The report of `groups` and their `tables`; metric: the headline metric where a task has it."""
    material = _material(groups, tables, colours, metric)
    heads = headline_rows(material.tables)
    comparisons, costs = compare(material.groups, headline=metric), all_costs(material.panels)
    chapters = make_chapters(material.groups, comparisons, costs)
    published, named = published_lists(), briefly_named(groups, material.groups, material.sweeps)
    bars = bar_figures([row for found in heads.values() for row in found.rows], colours)
    problems = [item.problem for item in material.traces if item.problem is not None]
    sections = [
        Section(title="Overview", text=(HOW_TO_READ,), figures=tuple(bars)),
        *(section for task in heads for section in _task_sections(task, material)),
        *(section for chapter in chapters for section in _chapter(chapter)),
        *_every_value(published),
        *_settings(named),
        *_commands(named),
        *_left_out([*collection.skipped, *problems]),
    ]
    return Document(
        title=f"Report: {', '.join(task_name(task) for task in heads)}",
        intro=_intro(collection),
        verdicts=tuple(verdicts([found for found in heads.values() if found.rows], comparisons)),
        sections=tuple(_with_unique_stems(sections)),
        files=(*map(make_table, tables), *(table for chapter in chapters for table in chapter.tables), *published),
        costs=tuple(costs),
    )


def _material(groups: Sequence[Group], tables: Sequence[MetricRows], colours: Colours, metric: str | None) -> Material:
    headlines = {task: found.metric for task, found in headline_rows(tables).items()}
    sweeps = find_sweeps(groups, headlines)
    standing = without_variants(groups, sweeps)
    return Material(
        groups=tuple(standing),
        tables=tuple(_of(standing, found) for found in tables),
        panels=tuple(make_panels(standing, headline=metric)),
        sweeps=tuple(sweeps),
        traces=tuple(read_traces(group) for group in standing if not group.is_control and group.lasts),
        colours=colours,
        metric=metric,
    )


def _with_unique_stems(sections: Sequence[Section]) -> list[Section]:
    """Figures that would have the same file names are numbered from the second on."""
    seen: Counter[str] = Counter()

    def unique(figure: Figure) -> Figure:
        seen[figure.stem] += 1
        return figure if seen[figure.stem] == 1 else replace(figure, stem=f"{figure.stem}-{seen[figure.stem]}")

    return [replace(section, figures=tuple(unique(figure) for figure in section.figures)) for section in sections]


def headline_rows(tables: Sequence[MetricRows]) -> dict[str, MetricRows]:
    """The rows of every task's headline metric, which comes first among its tables."""
    first = {found.task: found for found in reversed(tables)}
    return {task: first[task] for task in sorted(first)}


def _intro(collection: Collection) -> str:
    count, left_out = len(collection.runs), len(collection.skipped)
    return (
        f"Finished runs: {count}; left out: {left_out}; harness {__version__}. Every run, checkpoint and metric stands "
        f"in {SUMMARY_FILE}, the tables below as fractions of 1 and with bootstrap intervals in {TABLE_FILE}."
    )


def _of(groups: Sequence[Group], found: MetricRows) -> MetricRows:
    """The rows that belong to one of `groups`, under the names that these have."""
    known = {group_key(group): group for group in groups}
    rows = [replace(row, group=own) for row in found.rows if (own := known.get(group_key(row.group))) is not None]
    return replace(found, rows=tuple(rows))


def _task_sections(task: str, material: Material) -> list[Section]:
    colours = material.colours
    curves = curve_figures([panel for panel in material.panels if panel.task == task], colours)
    sections = [Section(title=task_name(task))]
    for number, found in enumerate(found for found in material.tables if found.task == task):
        name = metric_name(found.metric)
        figures = tuple(curves) if number == 0 else ()
        sections.append(
            Section(title=f"{name[:1].upper()}{name[1:]}", level=3, tables=(make_table(found),), figures=figures)
        )
    groups = [group for group in material.groups if group.task == task]
    training = [
        figure
        for model in sorted({group.model for group in groups})
        for figure in training_figures([group for group in groups if group.model == model], colours)
    ]
    completions = trace_figures([item for item in material.traces if item.group.task == task], colours)
    return [
        *sections,
        *_figures("Training", training),
        *(_ablation(sweep, material.metric, colours) for sweep in material.sweeps if sweep.task == task),
        *_figures("One completion", completions),
    ]


def _figures(title: str, figures: Sequence[Figure]) -> list[Section]:
    return [Section(title=title, level=3, figures=tuple(figures))] if figures else []


def _chapter(chapter: Chapter) -> list[Section]:
    tables = [Section(title=table.title, level=3, tables=(table,)) for table in chapter.tables]
    return [Section(title=chapter.title, text=(chapter.text,)), *tables]


def _every_value(published: Sequence[Table]) -> list[Section]:
    text = ("All values that the papers print, one table per task, with grade and source.",)
    tables = [Section(title=table.title, level=3, tables=(table,), folded=True) for table in published]
    return [Section(title="Every published value", text=text, folded=True), *tables]


def _ablation(sweep: Sweep, metric: str | None, colours: Colours) -> Section:
    return Section(
        title=f"Ablation: {sweep.title}",
        level=3,
        tables=(make_table(sweep.rows),),
        figures=(sweep_figure(sweep, metric, colours),),
    )


def _settings(groups: Sequence[Group]) -> list[Section]:
    tables = difference_tables(groups)
    text = ("Only settings that differ are listed; seeds differ within a column.",)
    return [Section(title="How the configurations differ", text=text, tables=tuple(tables))] if tables else []


def _commands(groups: Sequence[Group]) -> list[Section]:
    found: dict[str, Command] = {}
    for group in groups:
        if group.lasts:
            label = f"{task_name(group.task)}, {group.label}, {group.model}"
            found.setdefault(command(group), Command(label=label, text=command(group)))
    return [Section(title="How to reproduce each row", commands=tuple(found.values()))]


def _left_out(skipped: Sequence[Skipped]) -> list[Section]:
    if not skipped:
        return []
    table = Table(
        title="Left out",
        columns=(Column(title="Folder or file"), Column(title="Reason")),
        cells=tuple((item.path, item.reason) for item in skipped),
        notes=(),
    )
    return [Section(title="Left out", tables=(table,))]
