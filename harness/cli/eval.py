"""harness eval: evaluate a model, or the checkpoint of a run, without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.app.evaluate import evaluate as evaluate_model
from harness.cli.feedback import progress_bar, warn
from harness.cli.options import AllowPackages, UnsafeLocalExec
from harness.config.resolve import parse_settings

if TYPE_CHECKING:
    from harness.app.evaluate import Evaluated

DEFAULT_OUT = Path("results/evals")


def evaluate(
    task: Annotated[str, typer.Option(help="Task.")],
    model: Annotated[
        str, typer.Option(help="tiny, a folder, a hub id, or a run folder: its last checkpoint.")
    ] = "tiny",
    data: Annotated[str, typer.Option(help="builtin, hub, or a folder.")] = "",
    train_data: Annotated[str, typer.Option(help="Source of the worked examples, where it is another.")] = "",
    prompts: Annotated[Path | None, typer.Option(help="YAML file with prompts of your own: task to messages.")] = None,
    few_shot: Annotated[int, typer.Option(min=0, help="Worked training examples before each question.")] = 0,
    items: Annotated[int, typer.Option(min=0, help="Only the first so many items of the split; 0 is all.")] = 0,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts per forward pass.")] = 64,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Decoding over the recipe's: num_steps=8, temperature=0 ..."),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="float32, bfloat16, float16 or float64; by default float32, and a run's own.")
    ] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    adapter: Annotated[str, typer.Option(help="Adapter to put on the model: a folder or a hub id.")] = "",
    adapter_subfolder: Annotated[str, typer.Option(help="Where in it the adapter lies.")] = "",
    include_path: Annotated[list[Path] | None, typer.Option(help="Folder with tasks of your own.")] = None,
    unsafe_local_exec: UnsafeLocalExec = False,
    allow_packages: AllowPackages = None,
    out: Annotated[Path, typer.Option(help="Folder for eval.jsonl and the samples.")] = DEFAULT_OUT,
) -> None:
    """Evaluate a model on a task: --model RUN_FOLDER --task sudoku.

    Every evaluation is a line of eval.jsonl; the same one done again replaces its line.
    """
    for folder in include_path or []:
        registry.add_include_path(folder)
    with progress_bar(f"eval {task}") as on_progress:
        done = evaluate_model(
            model,
            task,
            data=data,
            train_data=train_data,
            prompts=prompts,
            few_shot=few_shot,
            items=items,
            split=split,
            batch_size=batch_size,
            decoding=parse_settings(settings or []),
            dtype=dtype,
            device=device,
            adapter=adapter,
            adapter_subfolder=adapter_subfolder,
            unsafe_local_exec=unsafe_local_exec,
            allow_packages=allow_packages or (),
            out=out,
            on_progress=on_progress,
            on_warning=warn,
        )
    _show(done)


def _show(done: Evaluated) -> None:
    from harness.report.analysis.statistics import items_interval

    record = done.record
    for name, totals in record.metrics.items():
        interval = items_interval(totals)
        ceiling = f", perfect solver {record.ceiling[name]:.2%}" if name in record.ceiling else ""
        bounds = f"[{interval.low:.2%}, {interval.high:.2%}]" if interval else "[no items]"
        typer.echo(f"{name:>14} {totals.value:7.2%}  {bounds}  n = {totals.n}{ceiling}")
    rate, seconds = record.tokens_per_second, record.eval_seconds
    typer.echo(f"NFE {record.nfe:.1f}, {rate:,.0f} tokens/s, {seconds:.1f} s; in {done.folder}")
