"""Evaluating a model, or the last checkpoint of a run, on a task without training it.

Results lie in `<out>/<task>/<model>/`: an EvalRecord per line of eval.jsonl, and the samples of each under the name
that it states. Another batch size, dtype, decoding, item list or prompt makes a record of its own; the same evaluation
done again takes the place of the earlier one.
"""

from __future__ import annotations

import fcntl
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.app.models import LoadedModel, named_model
from harness.config.decoding import Decoding
from harness.config.recipes import evaluation_decoding
from harness.config.resolve import build
from harness.config.tree import EvaluationConfig
from harness.data.sources import DataSource, default_source, parse_source
from harness.errors import UserError, require_positive
from harness.records.jsonl import read_lines, to_line, write_atomic, write_samples
from harness.records.run_folder import EVAL_FILE
from harness.records.schema import EvalRecord
from harness.task.base import Example, Task, TaskOptions
from harness.task.prompts import COMPACT_ONLY, read_prompts, set_prompts

if TYPE_CHECKING:
    from harness.models.diffusion_lm import DiffusionLM


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """An evaluation. samples: one mapping per item. folder: where both were written, None where nothing was."""

    record: EvalRecord
    samples: Sequence[Mapping[str, Any]] = field(repr=False)
    folder: Path | None


def evaluate(
    model: str | Path | DiffusionLM,
    task: str | Task,
    *,
    data: str = "",
    train_data: str = "",
    prompts: str | Path | None = None,
    few_shot: int = 0,
    items: int = 0,
    split: str = "test",
    batch_size: int = 64,
    decoding: Mapping[str, Any] | None = None,
    dtype: str = "",
    device: str = "auto",
    adapter: str = "",
    adapter_subfolder: str = "",
    unsafe_local_exec: bool = False,
    allow_packages: Sequence[str] = (),
    out: str | Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    on_warning: Callable[[str], None] = warnings.warn,
) -> Evaluated:
    """Completes the items of a task and scores them.

    model: `tiny`, a folder, a hub id, a run folder, whose last checkpoint is taken, or a loaded model; dtype, device
    and adapter go with a name and mean what they mean in `load_model`. task: a name, or a task of your own.
    data: builtin, hub, or a folder; train_data: the source of worked examples, where it is another. prompts: YAML file
    with prompts of your own. few_shot: worked training examples before each question. items: the first so many of the
    split, 0 for all. batch_size: prompts per forward pass. decoding: options over the recipe's, as
    `{"num_steps": 8}`. unsafe_local_exec: run model-written code without a sandbox, for a task by name;
    allow_packages: what it may import beside the standard library. out: folder to write to, nothing is written where it
    is None.

    on_progress is told (items done, items in all), on_warning what looks wrong about the model. Raises UserError for
    anything wrong with the request, before the model is loaded where that can be known.
    """
    name = task.name if isinstance(task, Task) else registry.canonical_name("task", task)
    options = {"dtype": dtype, "device": device, "adapter": adapter, "adapter_subfolder": adapter_subfolder}
    named = named_model(model, task=name, **options) if isinstance(model, str | Path) else LoadedModel.given(model)
    if isinstance(named, LoadedModel) and {*options.values()} != {"", "auto"}:
        raise UserError("dtype, device and adapter go with the name of a model; this one is already loaded.")
    if isinstance(task, str):
        scoring = TaskOptions(
            bare_answers=named.is_tiny, unsafe_local_exec=unsafe_local_exec, allow_packages=allow_packages
        )
        task = registry.get_task(name)(scoring)
    require_positive("evaluation", batch_size=batch_size)
    config = _config(name, named.is_tiny, items, split, decoding or {})
    source = parse_source(data or default_source(tiny=named.is_tiny))
    tested = _tested(task, source, config)
    if named.is_tiny and (prompts or few_shot):
        raise UserError(COMPACT_ONLY)
    prompting = _set_prompts(task, prompts, few_shot, parse_source(train_data) if train_data else source, tested, split)
    about = {"data": source.label, "origin": task.origin(split, source), "prompts": prompting}
    task.prepare()
    loaded = named if isinstance(named, LoadedModel) else named.load()
    for warning in loaded.model.warnings:
        on_warning(warning)
    done = _judged(loaded, task, tested[: items or None], config, batch_size, about, on_progress)
    return done if out is None else _written(done, Path(out) / name / named.label)


def _config(task: str, tiny: bool, items: int, split: str, decoding: Mapping[str, Any]) -> EvaluationConfig:
    default = evaluation_decoding(task, tiny=tiny)
    chosen: Decoding = build(Decoding, {**asdict(default), **decoding}, "decoding")
    chosen.check("decoding")
    return EvaluationConfig(items=items, split=split, decoding=chosen)


def _tested(task: Task, source: DataSource, config: EvaluationConfig) -> list[Example]:
    """All examples of the split. Raises UserError where they are fewer than asked for."""
    examples = task.examples(config.split, source)
    if not 0 <= config.items <= len(examples):
        raise UserError(
            f"--items {config.items}, but split '{config.split}' of {task.name} from '{source.label}' has "
            f"{len(examples)}."
        )
    return examples


def _set_prompts(
    task: Task, path: str | Path | None, few_shot: int, source: DataSource, tested: Sequence[Example], split: str
) -> dict[str, Any]:
    """Gives the task its prompts and says what they are, for the record."""
    if few_shot and split == "train":
        raise UserError("--few-shot takes its examples from the train split; evaluate another --split.")
    file = read_prompts(Path(path), registry.names("task")) if path else None
    train = task.without_test_items(task.examples("train", source), tested) if few_shot else []
    set_prompts(task, file, train, few_shot)
    return {
        "sha256": file.sha256 if file else None,
        "few_shot": few_shot,
        "train_data": source.label if few_shot else None,
    }


def _judged(
    loaded: LoadedModel,
    task: Task,
    examples: Sequence[Example],
    config: EvaluationConfig,
    batch_size: int,
    about: Mapping[str, Any],
    on_progress: Callable[[int, int], None],
) -> Evaluated:
    from harness.evaluation.judge import evaluate as judge

    result = judge(loaded.model, task, examples, config.decoding, batch_size=batch_size, on_progress=on_progress)
    record = EvalRecord(
        checkpoint=loaded.checkpoint,
        update=loaded.progress.update,
        samples=loaded.progress.samples,
        flops_total=loaded.progress.flops_total,
        seconds=loaded.progress.training_seconds,
        split=config.split,
        items_sha256=result.items_sha256,
        decoding=asdict(config.decoding),
        metrics=result.metrics,
        ceiling=result.ceiling,
        nfe=result.nfe,
        tokens_per_second=result.tokens_per_second,
        eval_seconds=result.seconds,
        eval_flops=result.flops,
        samples_file=None,
        batch_size=batch_size,
        dtype=str(next(loaded.model.predictor.parameters()).dtype).removeprefix("torch."),
        weights=loaded.weights,
        **about,
    )
    return Evaluated(record=record, samples=result.samples, folder=None)


def _written(done: Evaluated, folder: Path) -> Evaluated:
    """Writes the samples, then the record in the place of an earlier one of the same evaluation."""
    record = replace(done.record, samples_file=f"samples-{done.record.identity}.jsonl.gz")
    folder.mkdir(parents=True, exist_ok=True)
    write_samples(folder / str(record.samples_file), done.samples)
    with open(folder / ".lock", "w") as lock:  # evaluations that end at one time add a record each
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = read_lines(folder / EVAL_FILE)
        others = [line for line in lines if line.get("samples_file") != record.samples_file]
        write_atomic(folder / EVAL_FILE, "".join(map(to_line, [*others, record.to_json()])))
    return replace(done, record=record, folder=folder)
