"""harness plan: what a run will take, before it is started."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import registry
from harness.app import documents
from harness.app.plan import PlannedRun, RunRequest, plan
from harness.cli.options.cells import CellOptions
from harness.cli.options.shared import Json, grouped
from harness.cli.terminal.document import clear_output, show_document
from harness.cli.terminal.feedback import echo
from harness.cli.terminal.tables import show_table
from harness.config.library import tasks_with_protocol
from harness.config.recipe_files import YAML, named_in, parts, recipes_in
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.app.preflight import Preflight

GIB = 2**30


@grouped
def plan_run(
    cells: CellOptions,
    recipe_file: Annotated[
        str,
        typer.Argument(
            help="A recipe to check, and to plan: FILE.yaml, FILE.yaml:paper, egspo-sa:paper.", metavar="RECIPE"
        ),
    ] = "",
    devices: Annotated[int, typer.Option(min=1, help="Devices that share the run.")] = 1,
    memory: Annotated[float, typer.Option(min=0, help="GiB of a device that is not this machine's.")] = 0.0,
    rate: Annotated[float, typer.Option(min=0, help="TFLOP/s of a device, for the hours.")] = 0.0,
    show_config: Annotated[bool, typer.Option("--config", help="Show every setting and where it came from.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a run will take: data, memory, compute, hours, disk.

    Nothing is trained and no weights are loaded. Exit code 2 where a run cannot fit, with the settings that make it
    fit, and where a recipe is wrong. A recipe file for no task in particular is checked for all that have a protocol.
    """
    chosen = of_recipe(cells, recipe_file) if recipe_file else [cells]
    if not recipe_file or all(one.task for one in chosen):
        requests = [request for one in chosen for request in one.requests()]
        show_plans(requests, devices=devices, memory=memory, rate=rate, show_config=show_config, as_json=as_json)
        return
    with clear_output(as_json):
        checked = [checked_on_all_tasks(one) for one in chosen]
    if as_json:
        show_document({"cells": [], "recipes": checked})
        return
    for one in checked:
        right = f"is right on {', '.join(one['right_on'])}"
        echo(f"Recipe {one['recipe']} of {one['method']} {right}; --task T shows what it takes.")


def of_recipe(cells: CellOptions, recipe: str) -> list[CellOptions]:
    """The cells of a recipe, or of every recipe in a file that holds several; their task is empty where nothing says
    it. Raises UserError for a recipe that is none, and where nothing says the method."""
    if cells.recipe:
        raise UserError(f"'{recipe}' and --recipe {cells.recipe} are two recipes; leave out one of them.")
    registry.add_include_paths(cells.include_path or [])
    several = recipes_in(Path(recipe)) if recipe.endswith(YAML) else ()
    return [_of_one(cells, f"{recipe}:{section}") for section in several] or [_of_one(cells, recipe)]


def _of_one(cells: CellOptions, recipe: str) -> CellOptions:
    asked, file = named_in(recipe), parts(recipe)[0]
    stem = Path(file).stem if file.endswith(YAML) else ""
    named_after = stem if registry.entry("method", stem) else ""
    method = cells.method or asked.method or named_after
    if not method:
        raise UserError(f"Recipe '{recipe}' does not say which method it is for; name it with --method.")
    return replace(cells, recipe=recipe, method=method, task=cells.task or asked.task)


def checked_on_all_tasks(cells: CellOptions) -> dict[str, Any]:
    """Checks a recipe for every task that has a protocol, and names them. Raises UserError where it is wrong."""
    tasks = tasks_with_protocol()
    for task in tasks:
        for request in replace(cells, task=task).requests():
            plan(request)
    return {"recipe": cells.recipe, "method": cells.method, "right_on": tasks}


def show_plans(
    requests: Sequence[RunRequest],
    *,
    devices: int,
    memory: float = 0.0,
    rate: float = 0.0,
    show_config: bool = False,
    as_json: bool = False,
) -> None:
    """Shows what each cell will take; those that differ in their seeds alone take the same. memory: GiB, rate: TFLOP/s,
    both of a device that is not here. Raises UserError for what is wrong with a request before any model is looked at,
    and in the end where a cell cannot fit."""
    from harness.app.preflight import preflight

    misfits, shown = [], []
    with clear_output(as_json):
        cells = [(replace(request, seed=0), plan(request)) for request in requests]
        for _, alike in itertools.groupby(cells, key=lambda cell: cell[0]):
            planned = [cell for _, cell in alike]
            found = preflight(planned[0], devices=devices, memory_gib=memory, tflops=rate)
            if as_json:
                shown += documents.plans(found, planned, config=show_config)
            else:
                show_preflight(found, planned, show_config=show_config)
            if not found.fits:
                misfits.append(f"{_title(planned[0])}: {found.verdict}")
    if as_json:
        show_document({"cells": shown, "recipes": []})
    if misfits:
        raise UserError(" ".join(misfits))


def show_preflight(found: Preflight, planned: Sequence[PlannedRun], *, show_config: bool) -> None:
    """Prints what was found out about runs that take the same, one table for memory and one for compute."""
    if show_config:
        _show_config(found)
    footprint = found.footprint
    for cell in planned:
        echo(f"{_title(cell)}: {cell.folder}{' (finished already)' if cell.finished else ''}")
    echo(f"Model: {found.sizes.source}; {footprint.trainable:,} trainable weights")
    echo(f"Data: {found.data}")
    echo(f"Prompts: {found.prompt[0]} tokens ({found.prompt[1]})\n")
    show_table("Memory per device", ("Part", "GiB"), _memory_rows(found), numeric=(False, True))
    rows = [(part.name, f"{part.flops:.3g}", f"{part.hours:.3g}") for part in found.cost.phases]
    flops, hours = sum(part.flops for part in found.cost.phases), sum(part.hours for part in found.cost.phases)
    rows.append(("together", f"{flops:.3g}", f"{hours:.3g}"))
    title = f"Compute: {found.cost.rollouts:,} rollouts, {found.cost.updates:,} updates"
    show_table(title, ("Phase", "FLOPs", "Hours"), rows, numeric=(False, True, True))
    echo(f"Rate: {found.rate.by_phase['update'] / 1e12:.3g} TFLOP/s in updates, {found.rate.source}")
    disk = found.disk
    echo(
        f"Disk: {disk.needed / 1e9:.3g} GB for checkpoints of {disk.checkpoint / 1e9:.3g} GB; {disk.free / 1e9:.3g} GB "
        "are free"
    )
    if found.fits:
        echo(found.verdict)


def _title(planned: PlannedRun) -> str:
    return f"{planned.identity.method} on {planned.identity.task}, {planned.identity.model}"


def _memory_rows(found: Preflight) -> list[tuple[str, str]]:
    """What is held, what each phase takes besides, and the peak against the device's."""
    footprint = found.footprint
    rows = [(name, size) for name, size in footprint.held.items() if size]
    for name, phase in footprint.phases.items():
        rows.append((f"during {name}", phase.bytes))
        if phase.gradients:
            rows.append((f"  of these gradients in {name}", phase.gradients))
        if phase.logits:
            rows.append((f"  of these logits in {name}", phase.logits))
    rows.append(("  update with activation checkpointing", footprint.checkpointed.bytes))
    rows.append((f"peak (during {footprint.worst})", footprint.total))
    rows.append((f"{found.device.name}", found.device.memory))
    return [(name, f"{size / GIB:.2f}") for name, size in rows]


def _show_config(found: Preflight) -> None:
    rows = [(one["key"], str(one["value"]), one["from"]) for one in documents.settings(found.planned.resolved)]
    show_table("Configuration", ("Key", "Value", "From"), rows, numeric=(False, False, False))
