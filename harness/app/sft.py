"""Masked fine-tuning: of a tiny base model from nothing, or of any model on prompts and answers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import registry
from harness.app.export import SHARD_SIZE, parse_size
from harness.app.models import TINY_TASK, NamedModel, is_run
from harness.config.build import build
from harness.config.resolve import nested
from harness.config.tree import ModelConfig, RunConfig
from harness.errors import UserError, require_positive
from harness.finetuning.data import Pair, as_pairs, read_pairs

PASSES = 20
PAIRS_BATCH = 8
PAIRS_RATE = 1e-5
MOST_WARMUP = 50

OnStep = Callable[[int, int, float], None]


@dataclass(frozen=True, kw_only=True)
class FineTuned:
    """folder: where the model was written. loss: mean of the last 100 steps, nats."""

    folder: Path
    loss: float


def sft(
    *,
    out: str | Path,
    task: str | Sequence[str] = "",
    model: str | Path = "",
    pairs: str | Path | Sequence[Mapping[str, Any]] | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    completion_length: int = 0,
    max_length: int = 4096,
    seed: int = 0,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    on_step: OnStep = lambda step, steps, loss: None,
    on_warning: Callable[[str], None] = warnings.warn,
) -> FineTuned:
    """Trains by masked fine-tuning and writes the model to the folder `out`.

    With task alone a tiny base model learns the demonstrations of that task, or of several, from nothing. With pairs
    `model` learns their answers: a JSONL file or a list of `{"prompt": text or chat messages, "answer": text}`;
    adapters are merged at the end, `out` must be new, and task chooses the tiny model's weights.

    steps: 1500 for a task, 20 passes over pairs. batch_size: 128 and 8 rows. learning_rate: peak of the cosine
    schedule, 3e-3 and 1e-5. completion_length: tokens that completions are filled up to, 0 for the longest of a batch.
    max_length: tokens of prompt and answer; longer answers are cut. device: auto, cpu, cuda or cuda:N, for pairs.
    overrides: keys of the model, as `{"model.lora.rank": 128}`. on_step is told (step, steps, loss), on_warning what
    looks wrong about the model. Raises UserError for anything wrong, before training.
    """
    given = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    options = {name: value for name, value in given.items() if value is not None}
    require_positive("sft", **options)
    options |= {"completion_length": completion_length, "max_length": max_length, "seed": seed}
    names = [task] if task and isinstance(task, str) else list(task)
    if pairs is None:
        if model or overrides or not names:
            raise UserError("Give --task NAME, or --model NAME and --data FILE.jsonl; --set goes with these two.")
        return _on_tasks(names, options, Path(out), on_step)
    config = _model_config(str(model), overrides or {})
    read = read_pairs(Path(pairs)) if isinstance(pairs, str | Path) else as_pairs(pairs)
    start = NamedModel(config=config, task=names[0] if names else TINY_TASK, device=device)
    return _on_pairs(start, read, _for_pairs(len(read), options), Path(out), on_step, on_warning)


def _model_config(name: str, overrides: Mapping[str, Any]) -> ModelConfig:
    """The model to begin with. Raises UserError for settings of anything else, for runs, and for 4-bit weights."""
    if not name:
        raise UserError("--data goes with --model NAME, the model to begin with: tiny, a folder, or a hub id.")
    if is_run(name):
        raise UserError(f"'{name}' is a run; write its model with harness export first, and give that folder.")
    for key in overrides:
        if not key.startswith("model.") or key == "model.name":
            raise UserError(f"--set {key} is not for harness sft; it takes keys of the model, such as model.lora.rank.")
    tree = nested({"model.name": name, **overrides})
    config: ModelConfig = build(RunConfig, {**tree, "method": {"name": ""}, "task": ""}, "").model
    config.check()
    if config.quantization:
        raise UserError("model.quantization=nf4 cannot be written as the model's own weights; leave it out.")
    return config


def _on_tasks(names: Sequence[str], options: Mapping[str, Any], out: Path, on_step: OnStep) -> FineTuned:
    from harness.finetuning.train import SftConfig, train
    from harness.models.tiny import fresh_tiny, save_tiny

    config = SftConfig(**options)
    tasks = [registry.get_task(name)() for name in names]
    model = fresh_tiny(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    loss = train(model, tasks, config, on_step=lambda step, loss: on_step(step, config.steps, loss))
    save_tiny(model, out)
    return FineTuned(folder=out, loss=loss)


def _on_pairs(
    start: NamedModel,
    pairs: Sequence[Pair],
    options: Mapping[str, Any],
    out: Path,
    on_step: OnStep,
    on_warning: Callable[[str], None],
) -> FineTuned:
    from harness.finetuning.train import SftConfig, encode_pair, train_on_pairs
    from harness.models.adapters import merge_adapter
    from harness.models.checkpoints import load_model, locate
    from harness.models.export import export_model, refuse_taken
    from harness.randomness import stream_seed

    config = SftConfig(**options)
    refuse_taken(out)
    source = locate(start.config.name, start.task)
    seed = stream_seed(config.seed, "lora")
    model = load_model(start.config, task=start.task, device=start.device, seed=seed)
    for warning in model.warnings:
        on_warning(warning)
    encoded = [encode_pair(model, pair, config.max_length) for pair in pairs]
    # A place that cannot be written to is found before the training, not after it.
    out.mkdir(parents=True, exist_ok=True)
    loss = train_on_pairs(model, encoded, config, on_step=lambda step, loss: on_step(step, config.steps, loss))
    if start.has_adapter:
        merge_adapter(model)
    export_model(model, source, out, max_shard_size=parse_size(SHARD_SIZE))
    return FineTuned(folder=out, loss=loss)


def _for_pairs(count: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with what `count` pairs take where none is given: 20 passes, a tenth of the steps for warm-up."""
    options = {"batch_size": PAIRS_BATCH, "learning_rate": PAIRS_RATE, **given}
    steps = options.setdefault("steps", math.ceil(PASSES * count / options["batch_size"]))
    return {**options, "warmup_steps": min(MOST_WARMUP, steps // 10)}
