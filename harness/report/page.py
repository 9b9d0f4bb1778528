"""The report folder: report.md, summary.csv, table.csv, tables/ and figures/. The same runs give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import __version__
from harness.errors import UserError, unknown_choice
from harness.records import write_atomic
from harness.report.collect import Collection, Skipped
from harness.report.commands import command
from harness.report.curves import AXES, Panel, make_panels, points_csv
from harness.report.evidence import Chapter, all_costs, chapter_markdown, make_chapters, published_lists, write_tables
from harness.report.groups import Group, make_groups
from harness.report.labels import data_name, method_colours, metric_name, task_name
from harness.report.summary import summary_csv
from harness.report.tables import (
    MetricRows,
    Table,
    all_rows,
    escape_markdown,
    make_table,
    markdown,
    table_csv,
)

REPORT_FILE = "report.md"
SUMMARY_FILE = "summary.csv"
TABLE_FILE = "table.csv"
FIGURE_FOLDER = "figures"
AXIS_NAMES = {"flops": "training FLOPs", "samples": "training samples", "updates": "optimiser updates"}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written. headlines: the tables of the tasks' headline metrics; figures: the PNG files."""

    folder: Path
    headlines: tuple[Table, ...]
    figures: tuple[Path, ...]


def write_report(collection: Collection, folder: Path, *, metric: str | None = None) -> Report:
    """Writes the report of `collection`. metric: the headline metric where a task has it.

    Raises UserError where no run has `metric` or where `folder` cannot be written to.
    """
    groups = make_groups(collection.runs)
    tables = all_rows(groups, headline=metric)
    if metric is not None and metric not in {found.metric for found in tables}:
        raise unknown_choice("metric", metric, {found.metric for found in tables})
    panels = make_panels(groups, headline=metric)
    chapters = make_chapters(groups, panels, headline=metric)
    files = [*map(make_table, tables), *(table for chapter in chapters for table in chapter.tables), *published_lists()]
    try:
        (folder / FIGURE_FOLDER).mkdir(parents=True, exist_ok=True)
        write_atomic(folder / SUMMARY_FILE, summary_csv(collection.runs))
        write_atomic(folder / TABLE_FILE, table_csv(tables))
        figures = _write_figures(panels, folder / FIGURE_FOLDER)
        write_tables(files, folder, costs=all_costs(panels))
        write_atomic(folder / REPORT_FILE, _page(collection, groups, tables, panels, chapters))
    except OSError as error:
        raise UserError(
            f"The report cannot be written to '{folder}' ({error.strerror}); choose another with --out DIR."
        ) from error
    first = {found.task: found for found in reversed(tables)}
    headlines = tuple(make_table(first[task]) for task in sorted(first))
    return Report(folder=folder, headlines=headlines, figures=figures)


def _write_figures(panels: Sequence[Panel], folder: Path) -> tuple[Path, ...]:
    # Imported here: matplotlib takes longer to load than everything else takes to run.
    from harness.report.figures import draw

    colours = method_colours(line.group.method for panel in panels for line in panel.lines)
    written = []
    for panel in panels:
        for axis in AXES:
            picture = draw(panel, axis, colours)
            path = folder / f"{panel.stem}-{axis}.png"
            write_atomic(path, picture.png)
            write_atomic(path.with_suffix(".svg"), picture.svg)
            write_atomic(path.with_suffix(".csv"), points_csv(panel, axis))
            written.append(path)
    return tuple(written)


def _page(
    collection: Collection,
    groups: Sequence[Group],
    tables: Sequence[MetricRows],
    panels: Sequence[Panel],
    chapters: Sequence[Chapter],
) -> str:
    count = len(collection.runs)
    lines = [
        "# Report",
        "",
        f"Finished runs: {count}; left out: {len(collection.skipped)}; harness {__version__}. "
        f"Numbers: [{SUMMARY_FILE}]({SUMMARY_FILE}) (every run, checkpoint and metric) and "
        f"[{TABLE_FILE}]({TABLE_FILE}) (the tables below, as fractions of 1, with bootstrap intervals).",
        "",
    ]
    for task in sorted({group.task for group in groups}):
        lines += _task_section(
            task,
            [found for found in tables if found.task == task],
            [panel for panel in panels if panel.task == task],
        )
    more = [line for chapter in chapters for line in chapter_markdown(chapter)]
    return "\n".join([*lines, *more, *_commands(groups), *_left_out(collection.skipped)])


def _task_section(task: str, tables: Sequence[MetricRows], panels: Sequence[Panel]) -> list[str]:
    lines = [f"## {escape_markdown(task_name(task))}", ""]
    for number, found in enumerate(tables):
        lines += [
            f"### {escape_markdown(metric_name(found.metric)).capitalize()}",
            "",
            markdown(make_table(found)),
        ]
        if number == 0:
            lines += [line for panel in panels for line in _figure_links(panel)]
    return lines


def _figure_links(panel: Panel) -> list[str]:
    lines = []
    for axis in AXES:
        path = f"{FIGURE_FOLDER}/{panel.stem}-{axis}"
        title = f"{task_name(panel.task)}, {metric_name(panel.metric)} against {AXIS_NAMES[axis]}"
        where = f"{panel.model} model, {data_name(panel.protocol.data)}, {panel.protocol.split} split"
        lines += [
            f"![{title}]({path}.png)",
            "",
            f"{title} ({where}): [SVG]({path}.svg), [points]({path}.csv).",
            "",
        ]
    return lines


def _commands(groups: Sequence[Group]) -> list[str]:
    lines = ["## How to reproduce each row", ""]
    seen = set()
    for group in groups:
        text = command(group)
        if group.lasts and text not in seen:
            seen.add(text)
            lines += [
                f"{escape_markdown(f'{task_name(group.task)}, {group.label}, {group.model}')}:",
                "",
                "```sh",
                text,
                "```",
                "",
            ]
    return lines


def _left_out(skipped: Sequence[Skipped]) -> list[str]:
    if not skipped:
        return []
    rows = [f"| {escape_markdown(item.path)} | {escape_markdown(item.reason)} |" for item in skipped]
    return ["## Left out", "", "| Folder | Reason |", "| --- | --- |", *rows, ""]
