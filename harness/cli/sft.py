"""harness sft: masked fine-tuning, of a tiny base model from nothing or of any model on prompts and answers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import registry
from harness.app.models import is_run
from harness.config.resolve import build, nested, parse_settings
from harness.config.tree import ModelConfig, RunConfig
from harness.errors import UserError
from harness.sft.data import read_pairs

if TYPE_CHECKING:
    from harness.sft.data import Pair
    from harness.sft.train import SftConfig

FILE_PASSES = 20
MOST_WARMUP = 50
SHARD_SIZE = 5 * 10**9


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What is taken where the command line says nothing."""

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int


TASK_DEFAULTS = Defaults(steps=1500, batch_size=128, learning_rate=3e-3, warmup_steps=MOST_WARMUP)
FILE_DEFAULTS = Defaults(steps=0, batch_size=8, learning_rate=1e-5, warmup_steps=0)


def sft(
    out: Annotated[Path, typer.Option(help="Folder to write the model into; with --data a new one.")],
    task: Annotated[
        str,
        typer.Option(help="Task, or several, to learn from demonstrations; with --data: of the tiny model's weights."),
    ] = "",
    model: Annotated[
        str, typer.Option(help="Model to begin with: tiny, a folder, or a hub id; goes with --data.")
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help='JSONL file of {"prompt": text or chat messages, "answer": text}.')
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps: 1500 for a task, 20 passes over a file.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per step: 128 for a task, 8 for a file.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(min=0, help="Peak of the cosine schedule: 3e-3 for a task, 1e-5 for a file.")
    ] = None,
    completion_length: Annotated[
        int, typer.Option(min=0, help="Tokens that completions are filled up to; 0: the longest of a batch.")
    ] = 0,
    max_length: Annotated[int, typer.Option(min=2, help="Tokens of prompt and answer; longer answers are cut.")] = 4096,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, demonstrations and masks.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N; goes with --data.")] = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="model.lora.rank=128, model.dtype=bfloat16 ...; repeatable.")
    ] = None,
) -> None:
    """Masked fine-tuning: --task sudoku --out DIR, or --model NAME --data FILE.jsonl --out DIR.

    With --task alone a tiny base model learns the demonstrations of a task, or of several, from nothing. With --data a
    model learns the answers of a file; adapters are merged at the end, and harness run --model DIR goes on from there.
    """
    if data is None:
        if model or settings or not task:
            raise UserError("Give --task NAME, or --model NAME and --data FILE.jsonl; --set goes with these two.")
        config = _config(TASK_DEFAULTS, steps, batch_size, learning_rate, seed)
        _from_nothing(task, out, replace(config, completion_length=completion_length))
        return
    model_config = _model_config(model, settings or [])
    pairs = read_pairs(data)
    passes = math.ceil(FILE_PASSES * len(pairs) / (batch_size or FILE_DEFAULTS.batch_size))
    defaults = replace(FILE_DEFAULTS, steps=passes, warmup_steps=min(MOST_WARMUP, (steps or passes) // 10))
    config = _config(defaults, steps, batch_size, learning_rate, seed)
    config = replace(config, completion_length=completion_length)
    _on_pairs(model_config, device, task or "sudoku", pairs, out, config, max_length)


def _config(
    defaults: Defaults, steps: int | None, batch_size: int | None, learning_rate: float | None, seed: int
) -> SftConfig:
    from harness.sft.train import SftConfig

    return SftConfig(
        steps=steps or defaults.steps,
        batch_size=batch_size or defaults.batch_size,
        learning_rate=defaults.learning_rate if learning_rate is None else learning_rate,
        warmup_steps=defaults.warmup_steps,
        seed=seed,
    )


def _model_config(name: str, settings: Sequence[str]) -> ModelConfig:
    """The model to begin with. Raises UserError for settings of anything else, for runs, and for 4-bit weights."""
    if not name:
        raise UserError("--data goes with --model NAME, the model to begin with: tiny, a folder, or a hub id.")
    if is_run(name):
        raise UserError(f"'{name}' is a run; write its model with harness export first, and give that folder.")
    parsed = parse_settings(settings)
    for key in parsed:
        if not key.startswith("model.") or key == "model.name":
            raise UserError(f"--set {key} is not for harness sft; it takes keys of the model, such as model.lora.rank.")
    tree = nested({"model.name": name, **parsed})
    config: ModelConfig = build(RunConfig, {**tree, "method": {"name": ""}, "task": ""}, "").model
    config.check()
    if config.quantization:
        raise UserError("model.quantization=nf4 cannot be written as the model's own weights; leave it out.")
    return config


def _from_nothing(names: str, out: Path, config: SftConfig) -> None:
    from harness.models.tiny import fresh_tiny, save_tiny
    from harness.sft.train import train

    tasks = [registry.get_task(name.strip())() for name in names.split(",")]
    model = fresh_tiny(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    with _progress(f"sft {names}", config.steps) as on_step:
        final = train(model, tasks, config, on_step=on_step)
    save_tiny(model, out)
    _say_done(final, out)


def _on_pairs(
    model_config: ModelConfig,
    device: str,
    task: str,
    pairs: Sequence[Pair],
    out: Path,
    config: SftConfig,
    max_length: int,
) -> None:
    from harness.models.adapters import merge_adapter
    from harness.models.checkpoints import load_model, locate
    from harness.models.export import export_model, refuse_taken
    from harness.randomness import stream_seed
    from harness.sft.train import encode_pair, train_on_pairs

    refuse_taken(out)
    source = locate(model_config.name, task)
    model = load_model(model_config, task=task, device=device, seed=stream_seed(config.seed, "lora"))
    for warning in model.warnings:
        typer.echo(f"harness: warning: {warning}", err=True)
    encoded = [encode_pair(model, pair, max_length) for pair in pairs]
    # A place that cannot be written to is found before the training, not after it.
    out.mkdir(parents=True, exist_ok=True)
    with _progress(f"sft {len(pairs)} pairs", config.steps) as on_step:
        final = train_on_pairs(model, encoded, config, on_step=on_step)
    if model_config.lora.rank or model_config.adapter:
        merge_adapter(model)
    export_model(model, source, out, max_shard_size=SHARD_SIZE)
    _say_done(final, out)


@contextlib.contextmanager
def _progress(label: str, steps: int) -> Iterator[Callable[[int, float], None]]:
    """A progress bar; gives the function that is told (step, loss)."""
    with typer.progressbar(length=steps, label=label) as bar:

        def on_step(step: int, loss: float) -> None:
            bar.label = f"{label}  loss {loss:.3f}"
            bar.update(1)

        yield on_step


def _say_done(final: float, out: Path) -> None:
    typer.echo(f"mean loss of the last 100 steps {final:.4f}; weights in {out}")
