"""harness eval: evaluate a model, or checkpoints of a run, without training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.app.evaluate import EvaluationRequest, evaluate_all
from harness.cli.feedback import progress_bar, warn
from harness.cli.lists import names, whole_numbers
from harness.cli.options import (
    Adapter,
    AdapterSubfolder,
    AllowPackages,
    BatchSize,
    Data,
    Device,
    Dtype,
    FewShot,
    Fresh,
    IncludePath,
    Items,
    Lengths,
    Prompts,
    Protocol,
    Settings,
    Split,
    TrainData,
    UnsafeLocalExec,
)
from harness.config.resolve import parse_settings
from harness.distributed.processes import is_main
from harness.records.run_folder import DEFAULT_EVALUATIONS

if TYPE_CHECKING:
    from harness.app.evaluations import Evaluated

Model = Annotated[
    str,
    typer.Option(help="tiny, a folder, a hub id, a run (its last checkpoint), or one of its checkpoints."),
]


def evaluate(
    task: Annotated[str, typer.Option(help="Task, or several: sudoku,countdown.")],
    named: Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="Instead of --model.")] = "",
    model: Model = "tiny",
    checkpoint: Annotated[str, typer.Option(help="A published one instead: egspo-sa/sudoku, or egspo-sa.")] = "",
    protocol: Protocol = "",
    length: Lengths = "",
    seed: Annotated[str, typer.Option(help="Seed of draws, or several: 0,1,2.")] = "0",
    checkpoints: Annotated[str, typer.Option(help="Of a run: last, or all that it kept.")] = "last",
    data: Data = "",
    train_data: TrainData = "",
    prompts: Prompts = None,
    few_shot: FewShot = 0,
    items: Items = 0,
    split: Split = "test",
    batch_size: BatchSize = 64,
    settings: Settings = None,
    dtype: Dtype = "",
    device: Device = "auto",
    adapter: Adapter = "",
    adapter_subfolder: AdapterSubfolder = "",
    include_path: IncludePath = None,
    unsafe_local_exec: UnsafeLocalExec = False,
    allow_packages: AllowPackages = None,
    out: Annotated[Path, typer.Option(help="Folder for eval.jsonl and the samples.")] = DEFAULT_EVALUATIONS,
    fresh: Fresh = False,
) -> None:
    """Evaluate a model on tasks: harness eval RUN_FOLDER --task sudoku. Lists make a grid.

    Every evaluation is a line of eval.jsonl, for harness report; one that is there already is skipped.
    """
    registry.add_include_paths(include_path or [])
    request = EvaluationRequest(
        model=named or model,
        tasks=names(task),
        checkpoint=checkpoint,
        protocol=protocol,
        data=data,
        train_data=train_data,
        prompts=prompts,
        few_shot=few_shot,
        items=items,
        split=split,
        batch_size=batch_size,
        decodings=[parse_settings(settings or [])],
        lengths=whole_numbers("--length", length) if length else (),
        seeds=whole_numbers("--seed", seed),
        checkpoints=checkpoints,
        dtype=dtype,
        device=device,
        adapter=adapter,
        adapter_subfolder=adapter_subfolder,
        unsafe_local_exec=unsafe_local_exec,
        allow_packages=allow_packages or (),
        out=out,
        fresh=fresh,
    )
    with progress_bar("eval") as on_progress:
        _show(list(evaluate_all(request, on_progress=on_progress, on_warning=warn)))


def _show(results: Sequence[Evaluated]) -> None:
    from harness.report.analysis.statistics import items_interval

    for done in results if is_main() else ():
        record = done.record
        if len(results) > 1:
            drawn = f", seed {record.seed}" if record.seed else ""
            typer.echo(f"{_name(done)}, {record.decoding['completion_length']} tokens{drawn}:")
        for name, totals in record.metrics.items():
            interval = items_interval(totals)
            ceiling = f", perfect solver {record.ceiling[name]:.2%}" if name in record.ceiling else ""
            bounds = f"[{interval.low:.2%}, {interval.high:.2%}]" if interval else "[no items]"
            typer.echo(f"{name:>14} {totals.value:7.2%}  {bounds}  n = {totals.n}{ceiling}")
        rate, seconds = record.tokens_per_second, record.eval_seconds
        if record.protocol:
            typer.echo(f"Protocol {record.protocol}; prompts: {record.prompts['published']}")
        known = "; it was there already (--fresh does it again)" if done.known else ""
        typer.echo(f"NFE {record.nfe:.1f}, {rate:,.0f} tokens/s, {seconds:.1f} s; in {done.folder}{known}")


def _name(done: Evaluated) -> str:
    """Task and checkpoint, as `sudoku, update 48`."""
    assert done.folder is not None, "the command line always writes"
    at = f", update {done.record.update}" if done.record.update else ""
    return f"{done.folder.parent.name}{at}"
