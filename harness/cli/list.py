"""`harness list`: runs, and what a run can be made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import registry
from harness.cli.options.shared import IncludePath, Json
from harness.cli.report import existing, no_runs
from harness.cli.terminal.document import clear_output, show_document
from harness.cli.terminal.feedback import say
from harness.cli.terminal.tables import show_table
from harness.errors import UserError
from harness.records.run_folder import DEFAULT_RUNS
from harness.report.labels import metric_name, percent

Record = dict[str, Any]

RUNS, KEYS = "runs", "keys"
NONE = "-"
ALL = "all"
WATCH_SECONDS = 5.0
NO_RECIPE = "those of the tasks' protocols"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The table of a list. cells: heading to the text of a record's cell. numeric: headings of numbers. keeps: whether
    a record has a row."""

    title: str
    cells: Mapping[str, Callable[[Record], str]]
    numeric: Sequence[str] = ()
    keeps: Callable[[Record], bool] = lambda record: True

    def show(self, records: Sequence[Record]) -> None:
        """Prints it."""
        rows = [[cell(record) for cell in self.cells.values()] for record in records if self.keeps(record)]
        show_table(self.title, tuple(self.cells), rows, numeric=[head in self.numeric for head in self.cells])


def list_runs(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="methods, tasks, models, recipes, protocols, checkpoints, keys (of a section or a method), runs, or "
            "run folders, folders above some, and archives of them.",
            metavar="methods|tasks|models|recipes|protocols|checkpoints|keys|RUNS",
            show_default=str(DEFAULT_RUNS),
        ),
    ] = None,
    include_path: IncludePath = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show the runs anew every few seconds while any is running or in a queue.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List runs with their state, or what a run can be made of.

    That is methods, tasks, models, recipes, papers' protocols, published checkpoints and configuration keys. harness
    show says more about a single run, recipe, method or key.
    """
    from harness.app import catalogue

    registry.add_include_paths(include_path or [])
    if watch and as_json:
        raise UserError("--json prints one document, and --watch goes on; leave out one of the two.")
    first, *others = what or [RUNS]
    if first == KEYS or (first in catalogue.LISTS and not others):
        with clear_output(as_json):
            records = catalogue.keys(others) if first == KEYS else catalogue.LISTS[first]()
        _show(first, records, as_json=as_json)
    else:
        places = others if first == RUNS else [first, *others]
        _list_runs(existing([Path(place) for place in places]), watch=watch, as_json=as_json)


def _show(kind: str, records: list[Record], *, as_json: bool) -> None:
    if as_json:
        show_document(records)
        return
    SHAPES[kind].show([row for record in records for row in _rows(kind, record)])
    for note in NOTES.get(kind, lambda records: [])(records):
        say(note)


def _rows(kind: str, record: Record) -> list[Record]:
    """A task has a row for each section of its protocol."""
    if kind != "tasks":
        return [record]
    sizes = record["protocols"] or {"none": dict.fromkeys(("completion_length", "block_length", "num_steps", "items"))}
    return [{**record, "section": section, **one} for section, one in sizes.items()]


def _list_runs(paths: list[Path], *, watch: bool, as_json: bool) -> None:
    from rich.console import Console

    while _show_runs(paths, as_json=as_json) and watch:
        time.sleep(WATCH_SECONDS)
        Console().clear()


def _show_runs(paths: list[Path], *, as_json: bool) -> bool:
    """Prints the runs, those too that wait in Slurm's queue. Returns whether any is at work or waits there."""
    from harness.app import catalogue

    found = catalogue.runs(paths)
    if not found and not as_json:
        raise no_runs(paths)
    _show(RUNS, found, as_json=as_json)
    return any(record["is_alive"] or record["job"] for record in found)


def state_of(record: Record) -> str:
    """The state of a run for a reader."""
    from harness.app import catalogue

    if record["state"] == "left out":
        return str(record["reason"])
    said = catalogue.DEAD if record["state"] == "dead" else str(record["state"])
    because = f": {record['reason']}" if record["reason"] and record["state"] != "dead" else ""
    in_queue = f" ({record['job']})" if record["job"] and record["job"] != record["state"] else ""
    return f"{said}{because}{in_queue}"


def _updates(record: Record) -> str:
    return NONE if record["state"] == "left out" else str(record["updates"])


def _trained_by(record: Record) -> str:
    """How many methods train the family, and how many where its models attend by blocks."""
    from harness.app import catalogue

    count = len(registry.names("method"))
    whole, blocks = len(record["trained_by"]), len(record["trained_by_with_blocks"])
    text = "all methods" if whole == count else f"{whole} of {count}"
    return f"{text}, {blocks} by blocks" if record["attention"] == catalogue.EITHER else text


def _caches(record: Record) -> str:
    from harness.app import catalogue

    only = " (by blocks none)" if record["attention"] == catalogue.EITHER else ""
    return f"{', '.join(record['caches'])}{only}"


def _size(name: str) -> Callable[[Record], str]:
    """The text of a number, empty where there is none."""
    return lambda one: "" if one[name] is None else str(one[name])


def _tasks_of(record: Record) -> str:
    from harness.config.library import tasks_with_protocol

    return ALL if record["tasks"] == tasks_with_protocol() else ", ".join(record["tasks"])


def _meaning(record: Record) -> str:
    from harness.config.meanings import first_sentence

    return first_sentence(record["meaning"])


def _shown(value: Any) -> str:
    from harness.config.keys import shown

    return shown(value)


def _takes(record: Record) -> str:
    return ", ".join(map(_shown, record["choices"])) or str(record["type"])


def _unavailable(records: list[Record]) -> list[str]:
    return [f"{one['protocol']} on {one['task']}: {one['unavailable']}." for one in records if one["unavailable"]]


def _not_loaded(records: list[Record]) -> list[str]:
    """A line for each reason that is not empty, with the names of those that it keeps from being loaded."""
    reasons = dict.fromkeys(one["not_loaded"] for one in records if one["not_loaded"])
    names = {why: ", ".join(one["name"] for one in records if one["not_loaded"] == why) for why in reasons}
    return [f"Not loaded: {names[why]}: {why}." for why in reasons]


def _how_models_are_named(records: list[Record]) -> list[str]:
    return [
        "--model takes tiny, a folder or a hub id; config.json states the type. harness list checkpoints shows "
        "published weights."
    ]


SHAPES = {
    "methods": Shape(
        title="Methods",
        cells={
            "Method": lambda one: one["method"],
            "Title": lambda one: one["title"],
            "Recipes": lambda one: ", ".join(one["own_recipes"]) or NO_RECIPE,
        },
    ),
    "tasks": Shape(
        title="Tasks, and how their protocols evaluate",
        cells={
            "Task": lambda one: one["task"],
            "Protocol": lambda one: one["section"],
            "Tokens": _size("completion_length"),
            "Block": _size("block_length"),
            "Steps": _size("num_steps"),
            "Items": _size("items"),
        },
        numeric=("Tokens", "Block", "Steps", "Items"),
    ),
    "models": Shape(
        title="Families of models",
        cells={
            "Type": lambda one: one["model_type"],
            "Attention": lambda one: one["attention"],
            "Class": lambda one: one["class"].removesuffix("ForCausalLM"),
            "Shifted": lambda one: "yes" if one["shifted_by_one"] else "no",
            "Trained by": _trained_by,
            "Caches": _caches,
            "Compiled": lambda one: "yes" if one["compile"] else "no",
            "Listed": lambda one: str(len(one["checkpoints"])),
            "What": lambda one: one["about"],
        },
        numeric=("Listed",),
    ),
    "recipes": Shape(
        title="Recipes",
        cells={
            "Recipe": lambda one: one["recipe"],
            "Tasks": _tasks_of,
            "Model": lambda one: one["model"] or "tiny",
            "Values from": lambda one: ", ".join(one["values_from"]) or NONE,
        },
    ),
    "protocols": Shape(
        title="How papers evaluate",
        cells={
            "Protocol": lambda one: one["protocol"],
            "Task": lambda one: one["task"],
            "Tokens / block / steps": lambda one: ", ".join(
                f"{each['completion_length']}/{each['block_length']}/{each['num_steps']}" for each in one["decodings"]
            ),
            "Items": lambda one: str(one["items"] or ALL),
            "Shots": lambda one: str(one["few_shot"]),
            "Grader": lambda one: one["grader"],
            "Prefill": lambda one: one["prefill"] or NONE,
        },
        numeric=("Items", "Shots"),
        keeps=lambda one: not one["unavailable"],
    ),
    "checkpoints": Shape(
        title="Published checkpoints",
        cells={
            "Checkpoint": lambda one: one["name"],
            "Kind": lambda one: one["kind"],
            "Layout": lambda one: one["layout"],
            "On the hub": lambda one: one["place"],
            "Stated, %": lambda one: NONE if one["score"] is None else f"{one['score']:g}",
            "Tokens": lambda one: one["length"] or NONE,
            "Protocol": lambda one: one["protocol"] or NONE,
        },
        numeric=("Stated, %",),
    ),
    KEYS: Shape(
        title="Configuration keys",
        cells={
            "Key": lambda one: one["key"],
            "Of": lambda one: one["method"] or ALL,
            "Takes": _takes,
            "Default": lambda one: _shown(one["default"]),
            "Names the run": lambda one: one["names_the_run"],
            "Meaning": _meaning,
        },
    ),
    RUNS: Shape(
        title="Runs",
        cells={
            "Run": lambda one: one["run"],
            "State": state_of,
            "Updates": _updates,
            "Metric": lambda one: metric_name(one["metric"]) if one["metric"] else NONE,
            "Latest, %": lambda one: NONE if one["value"] is None else percent(one["value"]),
            "At": lambda one: one["at"] or NONE,
        },
        numeric=("Updates", "Latest, %"),
    ),
}
NOTES = {"models": _how_models_are_named, "protocols": _unavailable, "checkpoints": _not_loaded}
