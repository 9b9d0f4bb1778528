"""harness sft: masked-diffusion fine-tuning of a tiny base model from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import registry


def sft(
    task: Annotated[str, typer.Option(help="Task whose demonstrations are learnt.")],
    out: Annotated[Path, typer.Option(help="Folder for config.json and model.safetensors.")],
    steps: Annotated[
        int, typer.Option(min=1, help="Optimiser steps; the same number and seed give the same weights.")
    ] = 1500,
    batch_size: Annotated[int, typer.Option(min=1, help="Demonstrations per step.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=0, help="Peak of the cosine schedule.")] = 3e-3,
    seed: Annotated[int, typer.Option(help="Seed of weights, demonstrations and masks.")] = 0,
) -> None:
    """Train a tiny base model on a task's demonstrations: --task sudoku --out DIR."""
    from harness.models.tiny import fresh_tiny, save_tiny
    from harness.rl.sft import SftConfig, train

    chosen = registry.get_task(task)()
    config = SftConfig(steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed)
    model = fresh_tiny(seed)
    out.mkdir(parents=True, exist_ok=True)
    with typer.progressbar(length=steps, label=f"sft {task}") as bar:

        def on_step(step: int, loss: float) -> None:
            bar.label = f"sft {task}  loss {loss:.3f}"
            bar.update(1)

        final = train(model, chosen, config, on_step=on_step)
    save_tiny(model, out)
    typer.echo(f"mean loss of the last 100 steps {final:.4f}; weights in {out}")
