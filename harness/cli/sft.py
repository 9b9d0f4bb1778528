"""harness sft: masked fine-tuning, of an embedded base model from nothing or of any model on prompts and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.app.sft import sft as fine_tune
from harness.cli.options.lists import any_names
from harness.cli.options.shared import IncludePath
from harness.cli.terminal.feedback import echo, progress_bar, warn
from harness.config.resolve import parse_settings
from harness.distributed.processes import is_main


def sft(
    out: Annotated[Path, typer.Option(help="Folder to write the model into; with --data a new one.")],
    task: Annotated[
        str,
        typer.Option(help="Task, or several, to learn from demonstrations; with --data: of the tiny model's weights."),
    ] = "",
    model: Annotated[
        str, typer.Option(help="Model to begin with: tiny or small; with --data a folder or hub id too.")
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help='JSONL file of {"prompt": text or chat messages, "answer": text}.')
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps: 1500 for tiny, 18000 for small, 20 passes over a file.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per step: 128; small 32; a file 8.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak of the cosine schedule: 3e-3; small 2e-3; a file 1e-5.")
    ] = None,
    completion_length: Annotated[
        int, typer.Option(min=0, help="Tokens that completions are filled up to; 0: the batch's longest, small 64.")
    ] = 0,
    max_length: Annotated[int, typer.Option(min=2, help="Tokens of prompt and answer; longer answers are cut.")] = 4096,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, demonstrations and masks.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; goes with --data.")] = "auto",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="model.lora.rank=128, execution.micro_batch_size=4 ...; repeatable."),
    ] = None,
    include_path: IncludePath = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")] = False,
) -> None:
    """Masked fine-tuning: --task sudoku --out DIR, or --model NAME --data FILE.jsonl --out DIR.

    With --task alone a base model, tiny or small, learns the demonstrations of a task, or of several, from nothing.
    With --data a model learns the answers of a file; adapters are merged at the end, and harness run --model DIR goes
    on from there. The same command goes on from the last checkpoint of an unfinished training.
    """
    registry.add_include_paths(include_path or [])
    with progress_bar(f"sft {data or task}") as show:
        done = fine_tune(
            out=out,
            task=any_names(task),
            model=model,
            pairs=data,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            completion_length=completion_length,
            max_length=max_length,
            seed=seed,
            device=device,
            overrides=parse_settings(settings or []),
            fresh=fresh,
            on_step=lambda step, steps, loss: show(step, steps, f"loss {loss:.3f}"),
            on_warning=warn,
        )
    if is_main():
        echo(f"mean loss of the last 100 steps {done.loss:.4f}; weights in {done.folder}")
