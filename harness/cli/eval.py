"""harness eval: evaluate a model, or the checkpoint of a run, without training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import registry
from harness.app.models import named_model
from harness.config.decoding import Decoding
from harness.config.recipes import evaluation_decoding
from harness.config.resolve import build, parse_settings
from harness.config.tree import EvaluationConfig, ModelConfig
from harness.data.sources import DataSource, default_source, parse_source
from harness.errors import UserError
from harness.records.jsonl import write_atomic, write_samples
from harness.records.run_folder import EVAL_FILE
from harness.task.base import Example, Task, TaskOptions
from harness.task.prompts import COMPACT_ONLY, read_prompts, set_prompts

if TYPE_CHECKING:
    from harness.evaluation.judge import Evaluation

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
    items: Annotated[int, typer.Option(min=0, help="First so many items of the split; 0 is all.")] = 0,
    split: Annotated[str, typer.Option(help="test, validation or train.")] = "test",
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts per forward pass.")] = 64,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Decoding over the recipe's: num_steps=8, temperature=0 ..."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or float64.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    adapter: Annotated[str, typer.Option(help="Adapter to put on the model: a folder or a hub id.")] = "",
    adapter_subfolder: Annotated[str, typer.Option(help="Where in it the adapter lies.")] = "",
    include_path: Annotated[list[Path] | None, typer.Option(help="Folder with tasks of your own.")] = None,
    unsafe_local_exec: Annotated[
        bool, typer.Option("--unsafe-local-exec", help="Run model-written code without a sandbox.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for eval.jsonl and the samples.")] = DEFAULT_OUT,
) -> None:
    """Evaluate a model on a task: --model RUN_FOLDER --task sudoku."""
    for folder in include_path or []:
        registry.add_include_path(folder)
    named = named_model(
        model, ModelConfig(dtype=dtype, device=device, adapter=adapter, adapter_subfolder=adapter_subfolder), task
    )
    is_tiny = named.config.name == "tiny"
    chosen = registry.get_task(task)(TaskOptions(bare_answers=is_tiny, unsafe_local_exec=unsafe_local_exec))
    source = parse_source(data or default_source(tiny=is_tiny))
    default = evaluation_decoding(registry.canonical_name("task", task), tiny=is_tiny)
    decoding = build(Decoding, {**asdict(default), **parse_settings(settings or [])}, "decoding")
    decoding.check("decoding")
    if is_tiny and (prompts or few_shot):
        raise UserError(COMPACT_ONLY)
    examples = chosen.examples(split, source)
    if items > len(examples):
        raise UserError(f"--items {items}, but split '{split}' of {task} from '{source.label}' has {len(examples)}.")
    if few_shot and split == "train":
        raise UserError("--few-shot takes its examples from the train split; evaluate another --split.")
    prompting = _set_prompts(chosen, prompts, few_shot, parse_source(train_data) if train_data else source, examples)
    origin = chosen.origin(split, source)
    examples = examples[: items or None]
    chosen.prepare()

    from harness.evaluation.judge import evaluate as evaluate_model

    config = EvaluationConfig(items=len(examples), split=split, batch_size=batch_size, decoding=decoding)
    loaded = named.load()
    with typer.progressbar(length=len(examples), label=f"eval {task}") as bar:
        result = evaluate_model(
            loaded, chosen, examples, config, on_progress=lambda done, total: bar.update(done - bar.pos)
        )
    about = {"data": source.label, "origin": origin, "prompts": prompting, "weights": loaded.fingerprint}
    place = _write(out / task / named.label, result, config, about)
    _show(result, place)


def _set_prompts(
    task: Task, path: Path | None, few_shot: int, source: DataSource, tested: Sequence[Example]
) -> dict[str, Any]:
    """Gives the task its prompts and says what they are, for the record."""
    file = read_prompts(path, registry.names("task")) if path else None
    train = task.without_test_items(task.examples("train", source), tested) if few_shot else []
    set_prompts(task, file, train, few_shot)
    return {
        "sha256": file.sha256 if file else None,
        "few_shot": few_shot,
        "train_data": source.label if few_shot else None,
    }


def _write(folder: Path, result: Evaluation, config: EvaluationConfig, about: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_samples(folder / "samples.jsonl.gz", result.samples)
    record: dict[str, Any] = {
        **about,
        "config": asdict(config),
        "items_sha256": result.items_sha256,
        "metrics": {name: asdict(totals) for name, totals in result.metrics.items()},
        "ceiling": dict(result.ceiling),
        "nfe": result.nfe,
        "flops": result.flops,
        "seconds": result.seconds,
        "tokens_per_second": result.tokens_per_second,
    }
    write_atomic(folder / EVAL_FILE, json.dumps(record, sort_keys=True) + "\n")
    return folder


def _show(result: Evaluation, place: Path) -> None:
    from harness.report.analysis.statistics import items_interval

    for name, totals in result.metrics.items():
        interval = items_interval(totals)
        ceiling = f", perfect solver {result.ceiling[name]:.2%}" if name in result.ceiling else ""
        bounds = f"[{interval.low:.2%}, {interval.high:.2%}]" if interval else "[no items]"
        typer.echo(f"{name:>14} {totals.value:7.2%}  {bounds}  n = {totals.n}{ceiling}")
    typer.echo(f"NFE {result.nfe:.1f}, {result.tokens_per_second:,.0f} tokens/s, {result.seconds:.1f} s; in {place}")
