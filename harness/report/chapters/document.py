"""The report before any format: its chapters in their order, from the collected runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import __version__, registry
from harness.config.published.claims import load_claims
from harness.errors import unknown_choice
from harness.records.schema import NO_METHOD
from harness.report.analysis.budget import Costs, all_costs, budget_points
from harness.report.analysis.claims import claim_points, hold
from harness.report.analysis.comparisons import Comparisons, compare
from harness.report.analysis.curves import CURVE_AXES, Panel, along, make_panels
from harness.report.analysis.groups import Group, group_by, make_groups
from harness.report.analysis.points import Points
from harness.report.analysis.rows import MetricRows, all_rows, headline_rows, row_points, summary_points, together
from harness.report.analysis.searches import find_searches, passed_over, tried
from harness.report.analysis.sweeps import Sweep, briefly_named, find_sweeps, without_variants
from harness.report.analysis.traces import GroupTraces
from harness.report.chapters.agreement import agreement_tables
from harness.report.chapters.checkpoints import choices_tables
from harness.report.chapters.choice import Choice, require_known, with_methods
from harness.report.chapters.claims import claims_sections
from harness.report.chapters.costs import budget_tables
from harness.report.chapters.measured import measured_tables
from harness.report.chapters.pairs import comparison_table
from harness.report.chapters.printed import every_value, methods_table, other_values
from harness.report.chapters.published import DREAM, TABLE_1, TABLE_2, figure_1, table_1, table_2
from harness.report.chapters.results import make_table, metrics_text
from harness.report.chapters.searches import ELSEWHERE, search_sections
from harness.report.chapters.sections import Command, Section
from harness.report.chapters.settings import command, difference_tables
from harness.report.chapters.table import Table, text_columns, with_stems
from harness.report.chapters.verdict import HOW_TO_READ, verdicts
from harness.report.figures.bars import bar_figures
from harness.report.figures.curves import curve_figure
from harness.report.figures.frame import KINDS, Figure
from harness.report.figures.looks import Colours
from harness.report.figures.sweeps import sweep_figure
from harness.report.figures.traces import trace_figures
from harness.report.figures.training import training_figures
from harness.report.labels import capitalized, method_colours, numbered, task_name
from harness.report.read.published import load_published
from harness.report.read.records import read_traces
from harness.report.read.runs import Collection, Skipped

SUMMARY_FILE = "summary.csv"
ROWS_FILE = "table.csv"
TABLE_FOLDER = "tables"
LONGEST_STEM = 120
BUDGET_FILE = f"{TABLE_FOLDER}/budget.csv"
CLAIMS_FILE = f"{TABLE_FOLDER}/claims.csv"

PAIRS_TEXT = (
    "A difference counts only where the items and the seeds both show it, adjusted for the number of pairs; a ratio of "
    "costs only where every seed reaches the level. What holds as a single pair, or with one seed, is called so; "
    "everything else is within noise."
)
MEASURED_TEXT = "Our own numbers in the layout of the papers' tables, which contain no published numbers."
PUBLISHED_TEXT = (
    "Numbers that papers print, with the protocol behind each; none were measured here. Every value, with its grade "
    f"and source, is in {TABLE_FOLDER}/."
)
EVERY_TEXT = "All values that the papers print, one table per task, with grade and source."
SETTINGS_TEXT = "Only settings that differ are listed; seeds differ within a column."

ALL = Choice()


@dataclass(frozen=True, kw_only=True)
class Document:
    """A report in no format. intro: what it is made of. verdicts: it in a few sentences per task.

    headlines: the tables of the tasks' headline metrics. points: path to numbers, for files that hold all of a kind.
    """

    title: str
    intro: str
    verdicts: tuple[Section, ...]
    sections: tuple[Section, ...]
    headlines: tuple[Table, ...]
    points: Mapping[str, Points]

    @property
    def figures(self) -> list[Figure]:
        """The figures of all sections."""
        return [figure for section in self.sections for figure in section.figures]

    @property
    def tables(self) -> list[Table]:
        """The tables of all sections; each is written as files of its own too."""
        return [table for section in self.sections for table in section.tables]


@dataclass(frozen=True, kw_only=True)
class Material:
    """What the chapters are made of. groups: those that stand for their method. tables: their rows alone."""

    groups: tuple[Group, ...]
    tables: tuple[MetricRows, ...]
    panels: tuple[Panel, ...]
    sweeps: tuple[Sweep, ...]
    traces: tuple[GroupTraces, ...]
    problems: tuple[Skipped, ...]
    colours: Colours
    metric: str | None


def make_document(collection: Collection, choice: Choice = ALL) -> Document:
    """The report of `collection`.

    Raises UserError where no run has what is chosen and where the published numbers are damaged.
    """
    require_known("kind of figures", choice.figures, KINDS)
    collection, metric = with_methods(collection, choice.methods), choice.metric
    groups = make_groups(collection.runs)
    tables = all_rows(groups, headline=metric)
    known = {found.metric for found in tables}
    if metric is not None and metric not in known:
        raise unknown_choice("metric", metric, known)
    searches = find_searches(tried(collection, choice.methods), _headlines(tables))
    unchosen = passed_over(searches)
    material = _material(groups, tables, metric, unchosen)
    heads = headline_rows(material.tables)
    comparisons, costs = compare(material.groups, headline=metric), all_costs(material.panels)
    evidence, printed = evidence_sections(material.groups, comparisons, costs), _every_value()
    kept = [group for group in groups if not any(member.run.folder in unchosen for member in group.members)]
    named = briefly_named(kept, material.groups, material.sweeps)
    claims = load_claims([*registry.include_paths(), *collection.paths])
    held = hold(claims, kept, estimators=collection.estimators, headline=metric)
    rows = [row for found in heads.values() for row in found.rows]
    overview = (HOW_TO_READ, ELSEWHERE) if unchosen else (HOW_TO_READ,)
    sections = [
        Section(title="Overview", text=overview, figures=tuple(bar_figures(rows, material.colours))),
        *(section for task in heads for section in _task_sections(task, material)),
        *search_sections(searches, material.colours),
        *claims_sections(held),
        *evidence,
        *printed,
        *_settings(named),
        _commands(named),
        *_left_out([*collection.skipped, *material.problems]),
    ]
    return Document(
        title=f"Report: {', '.join(task_name(task) for task in heads)}",
        intro=_intro(collection),
        verdicts=tuple(verdicts([found for found in heads.values() if found.rows], comparisons)),
        sections=tuple(_finished(sections, choice)),
        headlines=tuple(make_table(found) for found in headline_rows(together(tables)).values()),
        points={
            SUMMARY_FILE: summary_points(collection.runs),
            ROWS_FILE: row_points(tables),
            BUDGET_FILE: budget_points(costs),
            **({CLAIMS_FILE: claim_points(held)} if held.rows or held.predictions else {}),
        },
    )


def _headlines(tables: Sequence[MetricRows]) -> dict[str, str]:
    return {task: found.metric for task, found in headline_rows(tables).items()}


def _material(
    groups: Sequence[Group], tables: Sequence[MetricRows], metric: str | None, unchosen: frozenset[Path]
) -> Material:
    """unchosen: run folders that do not stand for their method."""
    sweeps = find_sweeps(groups, _headlines(tables))
    standing = without_variants(groups, sweeps, unchosen)
    trained = [group for group in standing if not group.is_control and group.lasts]
    read = [(group, read_traces(group.members[0].run)) for group in trained]
    return Material(
        groups=tuple(standing),
        tables=tuple(together(_of(standing, found) for found in tables)),
        panels=tuple(make_panels(standing, headline=metric)),
        sweeps=tuple(sweeps),
        traces=tuple(GroupTraces(group=group, traces=own) for group, own in read if not isinstance(own, Skipped)),
        problems=tuple(own for _, own in read if isinstance(own, Skipped)),
        colours=method_colours(group.method for group in groups),
        metric=metric,
    )


def _of(groups: Sequence[Group], found: MetricRows) -> MetricRows:
    """The rows that belong to one of `groups`, under the names that these have."""
    known = {group.key: group for group in groups}
    rows = [replace(row, group=own) for row in found.rows if (own := known.get(row.group.key)) is not None]
    return replace(found, rows=tuple(rows))


def _finished(sections: Sequence[Section], choice: Choice) -> list[Section]:
    """Files have names of their own, figures their command; figures that were not chosen are left out.

    Equal names are numbered from the second on, so that a figure has one name whatever is chosen; long ones are cut.
    """
    stems = iter(numbered(figure.stem[:LONGEST_STEM] for section in sections for figure in section.figures))
    tables = iter(with_stems([table for section in sections for table in section.tables]))
    found = []
    for section in sections:
        named = [replace(figure, stem=next(stems), command=choice.command(figure.kind)) for figure in section.figures]
        shown = tuple(figure for figure in named if figure.kind in choice.figures)
        whole = replace(section, figures=shown, tables=tuple(next(tables) for _ in section.tables))
        if shown or not named or section.text or section.tables:
            found.append(whole)
    return found


def _intro(collection: Collection) -> str:
    count, left_out = len(collection.runs), len(collection.skipped)
    return (
        f"Finished runs: {count}; left out: {left_out}; harness {__version__}. Every run, checkpoint and metric is in "
        f"{SUMMARY_FILE}; the tables below, as fractions of 1 and with bootstrap intervals, are in {ROWS_FILE}."
    )


def _task_sections(task: str, material: Material) -> list[Section]:
    """Tables and curves, what happened in training, ablations and completions of one task."""
    colours = material.colours
    panels = [panel for panel in material.panels if panel.task == task]
    curves = tuple(
        curve_figure(panel, axis, colours) for panel in panels for axis in CURVE_AXES if along(panel, axis).lines
    )
    sections = [Section(title=task_name(task))]
    for number, found in enumerate(found for found in material.tables if found.task == task):
        title, figures = capitalized(metrics_text(found)), curves if number == 0 else ()
        table = make_table(found)
        sections.append(Section(title=title, level=3, tables=(table,), figures=figures, linked=number > 0))
    groups = [group for group in material.groups if group.task == task]
    choices = choices_tables(groups, next(found.metric for found in material.tables if found.task == task))
    agreements = agreement_tables(groups)
    models = group_by(groups, lambda group: group.model)
    training = [figure for _, own in sorted(models.items()) for figure in training_figures(own, colours)]
    completions = trace_figures([item for item in material.traces if item.group.task == task], colours)
    return [
        *sections,
        *(Section(title="Choice of a checkpoint", level=3, tables=(table,), linked=True) for table in choices),
        *(Section(title="Caches and thresholds", level=3, tables=(table,), linked=True) for table in agreements),
        *_figures("Training", training),
        *(_ablation(sweep, material) for sweep in material.sweeps if sweep.task == task),
        *_figures("One completion", completions),
    ]


def _figures(title: str, figures: Sequence[Figure]) -> list[Section]:
    return [Section(title=title, level=3, figures=tuple(figures))] if figures else []


def _ablation(sweep: Sweep, material: Material) -> Section:
    figure = sweep_figure(sweep, material.metric, material.colours)
    table = make_table(sweep.rows)
    named = replace(table, title=f"{table.title}: ablation of {sweep.title}")
    return Section(title=f"Ablation: {sweep.title}", level=3, tables=(named,), figures=(figure,))


def evidence_sections(
    groups: Sequence[Group], comparisons: Sequence[Comparisons], costs: Sequence[Costs]
) -> list[Section]:
    """Statistics, measured tables and published tables; a chapter without tables is left out.

    Raises UserError where the published numbers are damaged.
    """
    pairs = [comparison_table(found) for found in comparisons]
    levels = [table for found in costs for table in budget_tables(found)]
    published = load_published()
    printed = [figure_1(published), table_1(published), table_2(published), table_1(published, model=DREAM)]
    methods = [method for method in dict.fromkeys(group.method for group in groups) if method != NO_METHOD]
    if methods:
        printed.append(methods_table(published, methods))
    return [
        *_chapter("How certain, and at what cost", PAIRS_TEXT, [*pairs, *levels], linked=True),
        *_chapter("The papers' tables, measured here", MEASURED_TEXT, measured_tables(groups)),
        *_chapter("The papers' tables, as published", PUBLISHED_TEXT, printed, linked=True),
    ]


def _every_value() -> list[Section]:
    """Every published value, a long table per task; for files and pages that can be filtered."""
    published = load_published()
    tasks = (*TABLE_1, *TABLE_2)
    tables = [*(every_value(published, task) for task in tasks), other_values(published, tasks)]
    return _chapter("Every published value", EVERY_TEXT, tables, folded=True)


def _chapter(
    title: str, text: str, tables: Sequence[Table], *, linked: bool = False, folded: bool = False
) -> list[Section]:
    parts = [Section(title=table.title, level=3, tables=(table,), linked=linked, folded=folded) for table in tables]
    return [Section(title=title, text=(text,)), *parts] if parts else []


def _settings(groups: Sequence[Group]) -> list[Section]:
    tables = difference_tables(groups)
    title = "How the configurations differ"
    return [Section(title=title, text=(SETTINGS_TEXT,), tables=tuple(tables), linked=True)] if tables else []


def _commands(groups: Sequence[Group]) -> Section:
    """Each command once, under the name of the first group that it makes."""
    found: dict[str, Command] = {}
    for group in groups:
        if group.lasts:
            label = f"{task_name(group.task)}, {group.label}, {group.model}"
            found.setdefault(command(group), Command(label=label, text=command(group)))
    return Section(title="How to reproduce each row", commands=tuple(found.values()))


def _left_out(skipped: Sequence[Skipped]) -> list[Section]:
    if not skipped:
        return []
    table = Table(
        title="Left out",
        columns=text_columns("Folder or file", "Reason"),
        cells=tuple((item.path, item.reason) for item in skipped),
        notes=(),
    )
    return [Section(title="Left out", tables=(table,))]
