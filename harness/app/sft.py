"""Masked fine-tuning: of an embedded base model from nothing, or of any model on prompts and answers."""

from __future__ import annotations

import functools
import json
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.app.export import SHARD_SIZE, parse_size
from harness.app.models import TINY_TASK, NamedModel, is_run
from harness.app.run import clear, locked, meet, peers
from harness.config.build import build
from harness.config.embedded import EMBEDDED, SMALL
from harness.config.learning import check_adapters
from harness.config.resolve import nested
from harness.config.tree import Execution, ModelConfig, RunConfig
from harness.data.sources import sha256_of_text
from harness.distributed.processes import mark_agreed, refuse_other_training
from harness.distributed.signals import Signals
from harness.errors import UserError, require_choice, require_positive
from harness.finetuning.data import Pair, as_pairs, read_pairs
from harness.records.jsonl import write_atomic

if TYPE_CHECKING:
    from harness.finetuning.batches import EncodedPair
    from harness.finetuning.train import SftConfig
    from harness.models.diffusion_lm import DiffusionLM

PASSES = 20
PAIRS_BATCH = 8
PAIRS_RATE = 1e-5
MOST_WARMUP = 50
SMALL_DEFAULTS = {"steps": 18000, "batch_size": 32, "learning_rate": 2e-3, "warmup_steps": 200}
ABOUT_FILE = "about.json"
"""Beside the checkpoints: what they are of."""
EXECUTION = ("micro_batch_size", "checkpoint_every", "checkpoint_minutes", "grace_seconds", "timeout_minutes")
"""The keys of Execution that mean something here."""

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
    fresh: bool = False,
    on_step: OnStep = lambda step, steps, loss: None,
    on_warning: Callable[[str], None] = warnings.warn,
) -> FineTuned:
    """Trains by masked fine-tuning and writes the model to the folder `out`.

    With task alone a base model, tiny or small, learns the demonstrations of that task, or of several, from nothing.
    With pairs `model` learns their answers: a JSONL file or a list of `{"prompt": text or chat messages, "answer":
    text}`; adapters are merged at the end, `out` must be new, and task chooses the tiny model's weights.

    steps: 1500 for a tiny model, 18000 for a small one, 20 passes over pairs. batch_size: 128, 32 and 8 rows.
    learning_rate: peak of the cosine schedule, 3e-3, 2e-3 and 1e-5. completion_length: tokens that completions are
    filled up to, 0 for the longest of a batch or, of a small model, 64.
    max_length: tokens of prompt and answer; longer answers are cut. device: auto, cpu, cuda or cuda:N, for pairs.
    overrides: keys of the model, for pairs, as `{"model.lora.rank": 128}`, and of the execution: micro_batch_size,
    checkpoint_every (steps), checkpoint_minutes, grace_seconds, timeout_minutes. on_step is told (step, steps, loss),
    on_warning what looks wrong about the model. Until the model is written, checkpoints lie beside `out`, in
    `.<out>.sft`, and the same call goes on from the last; fresh starts over. Raises UserError for anything wrong,
    before training where that can be known, and Interruption after a signal.
    """
    numbers = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate}
    options = {name: value for name, value in numbers.items() if value is not None}
    require_positive("sft", **options)
    options |= {"completion_length": completion_length, "max_length": max_length, "seed": seed}
    names, place = [task] if task and isinstance(task, str) else list(task), Path(out)
    given = dict(overrides or {})
    of_execution = {key: given.pop(key) for key in [*given] if key.startswith("execution.")}
    execution = _execution(of_execution, device if pairs is not None else "cpu")
    if pairs is None:
        _check_base(names, str(model), given)
        prepare = functools.partial(_worked if model == SMALL else _demonstrations, names, options)
    else:
        config = _model_config(str(model), given)
        read = read_pairs(Path(pairs)) if isinstance(pairs, str | Path) else as_pairs(pairs)
        start = NamedModel(config=config, task=names[0] if names else TINY_TASK, device=device)
        prepare = functools.partial(_answers, start, read, _for_pairs(len(read), options), place)
    return _train(prepare, place, execution, on_step, on_warning, fresh=fresh)


def _execution(given: Mapping[str, Any], device: str) -> Execution:
    """Raises UserError for keys that fine-tuning does not have, and for values outside their range."""
    for key in given:
        require_choice("--set", key, [f"execution.{name}" for name in EXECUTION])
    values = nested({"execution.device": device, **given})["execution"]
    execution: Execution = build(Execution, values, "execution")
    execution.check()
    return execution


def _check_base(names: Sequence[str], model: str, given: Mapping[str, Any]) -> None:
    """Raises UserError where a training from nothing lacks its tasks, or is asked for what goes with pairs."""
    if model not in ("", *EMBEDDED) or given or not names:
        raise UserError(
            "Give --task NAME, or --model NAME and --data FILE.jsonl; --set model.* goes with these two, and without "
            f"--data a model is one of {', '.join(EMBEDDED)}."
        )


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
    check_adapters(config)
    if config.quantization:
        raise UserError("model.quantization=nf4 cannot be written as the model's own weights; leave it out.")
    return config


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What is to be learnt. about: all that decides the weights, as plain values. write: puts the model into a folder;
    it is called once the model is trained."""

    config: SftConfig
    model: DiffusionLM
    batches: Iterator[Sequence[EncodedPair]]
    about: Mapping[str, Any]
    write: Callable[[Path], object]


def _demonstrations(names: Sequence[str], options: Mapping[str, Any]) -> _Training:
    from harness.finetuning.batches import demonstration_batches
    from harness.finetuning.train import SftConfig
    from harness.models.tiny import fresh_tiny, save_tiny

    config = SftConfig(**options)
    tasks = [registry.get_task(name)() for name in names]
    model = fresh_tiny(config.seed)
    return _Training(
        config=config,
        model=model,
        batches=demonstration_batches(model.tokenizer.encode, tasks, config.batch_size, config.seed),
        about={"tasks": [task.name for task in tasks], **asdict(config)},
        write=lambda out: save_tiny(model, out),
    )


def _worked(names: Sequence[str], options: Mapping[str, Any]) -> _Training:
    from harness.finetuning.batches import worked_batches
    from harness.finetuning.train import SftConfig
    from harness.models.small import LENGTH, fresh_small, save_small

    config = SftConfig(**{**SMALL_DEFAULTS, **options, "completion_length": options["completion_length"] or LENGTH})
    tasks = [registry.get_task(name)() for name in names]
    model = fresh_small(tasks, config.seed)
    return _Training(
        config=config,
        model=model,
        batches=worked_batches(model.tokenizer.encode, tasks, config.batch_size, config.seed),
        about={"model": SMALL, "tasks": [task.name for task in tasks], **asdict(config)},
        write=lambda out: save_small(model, out),
    )


def _answers(start: NamedModel, pairs: Sequence[Pair], options: Mapping[str, Any], out: Path) -> _Training:
    from harness.finetuning.batches import encode_pair, shuffled_batches
    from harness.finetuning.train import SftConfig
    from harness.models.adapters import merge_adapter
    from harness.models.checkpoints import load_model, locate
    from harness.models.export import export_model, refuse_taken
    from harness.randomness import stream_seed

    config = SftConfig(**options)
    refuse_taken(out)
    source = locate(start.config.name, start.task)
    seed = stream_seed(config.seed, "lora")
    model = load_model(start.config, task=start.task, device=start.device, seed=seed)
    encoded = [encode_pair(model, pair, config.max_length) for pair in pairs]
    rows = sha256_of_text([json.dumps([list(row.prompt_ids), list(row.completion_ids)]) for row in encoded])

    def write(out: Path) -> None:
        if start.has_adapter:
            merge_adapter(model)
        export_model(model, source, out, max_shard_size=parse_size(SHARD_SIZE))

    return _Training(
        config=config,
        model=model,
        batches=shuffled_batches(encoded, config.batch_size, config.seed),
        about={"model": asdict(start.config), "weights": model.fingerprint, "data": rows, **asdict(config)},
        write=write,
    )


def _train(
    prepare: Callable[[], _Training],
    out: Path,
    execution: Execution,
    on_step: OnStep,
    on_warning: Callable[[str], None],
    *,
    fresh: bool,
) -> FineTuned:
    """Trains what `prepare` gives and writes it to `out`; several processes that a launcher started share the work."""
    from harness.finetuning.train import FineTuner

    refuse_other_training()
    shard, work = meet(execution), out.resolve().with_name(f".{out.resolve().name}.sft")
    with Signals(execution.grace_seconds) as signals, peers(execution, signals), ExitStack() as held:
        with shard.together():
            task = prepare()
            if task.config.batch_size < shard.count:
                raise UserError(
                    f"{task.config.batch_size} rows per step cannot be shared among {shard.count} processes; start "
                    f"{task.config.batch_size} or fewer, or raise --batch-size."
                )
            for warning in task.model.warnings:
                on_warning(warning)
            task.model.memory.say = on_warning
        _refuse_others(shard.gather_items([task.about]))
        with shard.together():
            if shard.is_main:
                held.enter_context(locked(work, option="--out"))
                if fresh:
                    clear(work)
                _take_up(work, task.about)
                # A place that cannot be written to is found before the training, not after it.
                out.mkdir(parents=True, exist_ok=True)
        tuner = FineTuner(task.model, task.config, execution, folder=work, shard=shard, signals=signals)
        loss = tuner.run(task.batches, lambda step, loss: on_step(step, task.config.steps, loss))
        with shard.together():
            if shard.is_main:
                task.write(out)
                shutil.rmtree(work)
    return FineTuned(folder=out, loss=loss)


def _refuse_others(all_about: Sequence[Mapping[str, Any]]) -> None:
    """Raises UserError, in all processes, where one of them would train something else."""
    for about in all_about:
        if about != all_about[0]:
            error = UserError(f"The processes differ: {_difference(all_about[0], about)}; copy the files anew.")
            mark_agreed(error)
            raise error


def _take_up(work: Path, about: Mapping[str, Any]) -> None:
    """Notes what is trained below `work`. Raises UserError where the checkpoints there are of something else."""
    path, text = work / ABOUT_FILE, json.dumps(about, indent=2, sort_keys=True) + "\n"
    before = json.loads(path.read_text()) if path.exists() else json.loads(text)
    if before != json.loads(text):
        difference = _difference(before, json.loads(text))
        raise UserError(
            f"'{work}' holds the checkpoints of another fine-tuning ({difference}); name another --out, or start over "
            "with --fresh."
        )
    write_atomic(path, text)


def _difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    name = next(name for name in [*first, *second] if first.get(name) != second.get(name))
    return f"{name} was {first.get(name)} and is now {second.get(name)}"


def _for_pairs(count: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with what `count` pairs take where none is given: 20 passes, a tenth of the steps for warm-up."""
    options = {"batch_size": PAIRS_BATCH, "learning_rate": PAIRS_RATE, **given}
    steps = options.setdefault("steps", math.ceil(PASSES * count / options["batch_size"]))
    return {**options, "warmup_steps": min(MOST_WARMUP, steps // 10)}
