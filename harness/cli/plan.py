"""harness plan: what a run will take, before it is started."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import registry
from harness.app.plan import RunRequest, plan
from harness.cli.lists import names
from harness.cli.options import Data, FewShot, IncludePath, Prompts, TrainData
from harness.cli.run import Budget, Recipe, Reward, Settings
from harness.cli.tables import show_table
from harness.config.resolve import flatten, parse_budget, parse_settings
from harness.errors import UserError
from harness.records.run_folder import DEFAULT_RUNS
from harness.task.prompts import read_prompts

if TYPE_CHECKING:
    from harness.app.preflight import Preflight

GIB = 2**30


def plan_run(
    method: Annotated[str, typer.Option(help="Method, or several: egspo-sa,egspo.")],
    task: Annotated[str, typer.Option(help="Task, or several.")],
    model: Annotated[str, typer.Option(help="tiny, a folder, or a hub id.")] = "tiny",
    recipe: Recipe = "",
    budget: Budget = "",
    reward: Reward = "",
    data: Data = "",
    train_data: TrainData = "",
    prompts: Prompts = None,
    few_shot: FewShot = 0,
    settings: Settings = None,
    runs: Annotated[Path, typer.Option(help="Folder in which run folders are created.")] = DEFAULT_RUNS,
    include_path: IncludePath = None,
    devices: Annotated[int, typer.Option(min=1, help="Devices that share the run.")] = 1,
    memory: Annotated[float, typer.Option(min=0, help="GiB of a device that is not this machine's.")] = 0.0,
    rate: Annotated[float, typer.Option(min=0, help="TFLOP/s of a device, for the hours.")] = 0.0,
    show_config: Annotated[bool, typer.Option("--config", help="Show every setting and where it came from.")] = False,
) -> None:
    """Say what a run will take: data, memory, compute, hours, disk.

    Nothing is trained and no weights are loaded. Exit code 2 where a run cannot fit, with the settings that make it
    fit.
    """
    from harness.app.preflight import preflight

    registry.add_include_paths(include_path or [])
    overrides: dict[str, Any] = parse_settings(settings or [])
    if budget:
        overrides["budget"] = parse_budget(budget)
    for one_task, one_method in itertools.product(names(task), names(method)):
        request = RunRequest(
            method=one_method,
            task=one_task,
            recipe=recipe,
            model=model,
            data=data,
            train_data=train_data,
            reward=reward,
            overrides=overrides,
            runs=runs,
            prompts=read_prompts(prompts, registry.names("task")) if prompts else None,
            few_shot=few_shot,
        )
        found = preflight(
            plan(request),
            devices=devices,
            memory_gib=memory,
            tflops=rate,
        )
        show_preflight(found, show_config=show_config)
        if not found.fits:
            raise UserError(found.verdict)


def show_preflight(found: Preflight, *, show_config: bool = False) -> None:
    """Prints what was found out about a run, one table for memory and one for compute."""
    if show_config:
        _show_config(found)
    identity, footprint = found.planned.identity, found.footprint
    typer.echo(f"{identity.method} on {identity.task}, {identity.model}: {found.planned.folder}")
    typer.echo(f"Model: {found.sizes.source}; {footprint.trainable:,} trainable weights")
    typer.echo(f"Data: {found.data}")
    typer.echo(f"Prompts: {found.prompt[0]} tokens ({found.prompt[1]})\n")
    show_table("Memory per device", ("Part", "GiB"), _memory_rows(found), numeric=(False, True))
    rows = [(part.name, f"{part.flops:.3g}", f"{part.hours:.3g}") for part in found.cost.phases]
    flops, hours = sum(part.flops for part in found.cost.phases), sum(part.hours for part in found.cost.phases)
    rows.append(("together", f"{flops:.3g}", f"{hours:.3g}"))
    title = f"Compute: {found.cost.rollouts:,} rollouts, {found.cost.updates:,} updates"
    show_table(title, ("Phase", "FLOPs", "Hours"), rows, numeric=(False, True, True))
    typer.echo(f"Rate: {found.rate.by_phase['update'] / 1e12:.3g} TFLOP/s in updates, {found.rate.source}")
    disk = found.disk
    typer.echo(
        f"Disk: {disk.needed / 1e9:.3g} GB for checkpoints of {disk.checkpoint / 1e9:.3g} GB; {disk.free / 1e9:.3g} GB "
        "are free"
    )
    if found.fits:
        typer.echo(found.verdict)


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
    resolved = found.planned.resolved
    values = flatten({**resolved.config.to_dict(), "execution": vars(resolved.execution)})
    rows = [(key, str(value), resolved.provenance.get(key, "")) for key, value in sorted(values.items())]
    show_table("Configuration", ("Key", "Value", "From"), rows, numeric=(False, False, False))
