"""From a planned run to a finished run folder: load everything, train, evaluate, record."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.app.heartbeat import Heartbeat, running
from harness.app.plan import PlannedRun, RunRequest, own_files, plan
from harness.app.ready import check_before_all, check_model, load_data
from harness.app.trackers import tracked
from harness.config.published.prompt_hashes import training_prompts
from harness.config.together import check_processes
from harness.config.tree import FSDP2, Execution
from harness.data.sources import DataSource
from harness.distributed.processes import refuse_other_training
from harness.distributed.signals import Signals
from harness.errors import Interruption, SandboxError, UserError
from harness.records.description import RunDescription, write_description
from harness.records.jsonl import write_atomic
from harness.records.run_folder import ENVIRONMENT_FILE, read_status, write_status
from harness.records.schema import RunStatus
from harness.task.base import Example, Task, fingerprint

if TYPE_CHECKING:
    from harness.distributed.shard import Shard
    from harness.models.diffusion_lm import DiffusionLM
    from harness.rl.evaluator import Data
    from harness.rl.loop import Event, Trainer


class InUseError(UserError):
    """Another process is at work in the run's folder."""


def plan_together(requests: Sequence[RunRequest]) -> tuple[Sequence[PlannedRun], Shard]:
    """Plans the cells in every process that a launcher started, and brings the processes together.

    Raises UserError in all of them for a request that one of them refuses.
    """
    from harness.distributed.shard import FAULTS

    cells: list[PlannedRun] = []
    fault: Exception | None = None
    try:
        refuse_other_training()
        cells = [plan(request) for request in requests]
        check_before_all(cells)
    except FAULTS as error:
        fault = error
    shard = meet(cells[0].resolved.execution if cells else Execution())
    with shard.together():
        if fault is not None:
            raise fault
    folders = shard.from_main([cell.folder for cell in cells])
    return [dataclasses.replace(cell, folder=folder) for cell, folder in zip(cells, folders, strict=True)], shard


def execute(
    planned: PlannedRun,
    on_event: Callable[[Event], None],
    on_warning: Callable[[str], None] = lambda text: None,
) -> None:
    """Trains, evaluates and records the planned run; goes on where an earlier attempt stopped.

    on_warning is told what looks wrong about the model. Raises UserError where the folder cannot be written or is in
    use, training diverges, the device's memory does not suffice or another process is lost, and Interruption after a
    signal; the run's status then says so.
    """
    from harness.rl.loop import Trainer

    config, execution = planned.resolved.config, planned.resolved.execution
    refuse_other_training()
    shard = meet(execution)
    with Signals(execution.grace_seconds) as signals, peers(execution, signals):
        with shard.together():
            check_processes(config, execution, shard.count)
            check_model(planned)
            data = load_data(planned)
            model = load(planned, data)
            for warning in model.warnings:
                on_warning(warning)
            model.memory.say = on_warning
        with run_folder(planned, shard):
            if shard.decided(lambda: planned.finished):
                return
            with shard.together():
                if shard.is_main:
                    describe_run(planned, model, data, processes=shard.count)
            trainer = Trainer(
                config,
                execution=execution,
                method=planned.method,
                task=planned.task,
                model=model,
                data=data,
                folder=planned.folder,
                signals=signals,
            )
            with tracked(planned, on_event, on_warning, is_main=shard.is_main) as told:
                _train(planned, trainer, told)


def meet(execution: Execution) -> Shard:
    """Joins the processes that a launcher started."""
    from harness.distributed.shard import join

    return join(execution.device, patience=timedelta(minutes=execution.timeout_minutes))


@contextmanager
def peers(execution: Execution, signals: Signals) -> Iterator[None]:
    """Inside, the loss of another process is an Interruption where all were sent a signal, otherwise a UserError."""
    from harness.distributed.shard import is_loss_of_a_process

    try:
        yield
    except RuntimeError as error:
        if not is_loss_of_a_process(error):
            raise
        if signals.received:
            raise Interruption(signals.received) from error
        raise UserError(
            "Another process of this run has ended, or has not answered for execution.timeout_minutes="
            f"{execution.timeout_minutes:g}; the same command goes on from the last checkpoint."
        ) from error


def _train(planned: PlannedRun, trainer: Trainer, on_event: Callable[[Event], None]) -> None:
    """Trains, and writes what came of it into the run's status."""
    import torch

    try:
        with alive(planned.folder, trainer), peers(planned.resolved.execution, trainer.signals):
            for event in trainer.run():
                on_event(event)
    except Interruption as asked:
        trainer.leave()
        _write_outcome(planned, trainer, state="interrupted", reason=asked.name)
        raise
    except (UserError, SandboxError) as error:
        _write_outcome(planned, trainer, state="failed", reason=str(error))
        raise
    except torch.OutOfMemoryError as error:
        reason = "The device's memory does not hold the weights, their gradients and the optimiser's state; set "
        reason += "model.lora.rank above 0, or execution.sharding=fsdp2 with more processes."
        _write_outcome(planned, trainer, state="failed", reason=reason)
        raise UserError(reason) from error
    _write_outcome(planned, trainer, state="finished")


def load(planned: PlannedRun, data: Data) -> DiffusionLM:
    """The model, checked against the task's prompts. Raises UserError where it cannot be loaded or does not fit."""
    from harness.diffusion.sampler import check_blocks
    from harness.models.checkpoints import load_model
    from harness.randomness import stream_seed

    config, execution = planned.resolved.config, planned.resolved.execution
    planned.task.prepare()
    is_sharded = execution.sharding == FSDP2
    model = load_model(
        config.model,
        task=config.task,
        device="cpu" if is_sharded else execution.device,
        stored_dtype=is_sharded,
        seed=stream_seed(config.seed, "lora"),
        turns_end=config.conventions.end_tokens == "turn-and-text",
    )
    planned.method.check_model(model)
    for decoding in (config.rollout, *config.evaluation.all_decodings):
        check_blocks(model, decoding)
    check_prompt(planned, model, data.train[0])
    return model


def alive(folder: Path, trainer: Trainer) -> AbstractContextManager[object]:
    """The heartbeat of the run, in the process that writes."""
    if not trainer.shard.is_main:
        return nullcontext()
    return Heartbeat(folder, lambda: (trainer.progress.update, trainer.progress.samples))


def _write_outcome(planned: PlannedRun, trainer: Trainer, *, state: str, reason: str = "") -> None:
    if trainer.shard.is_main:
        progress = trainer.progress
        status = RunStatus(
            state=state, updates=progress.update, samples=progress.samples, reason=reason, heartbeat=time.time()
        )
        write_status(planned.folder, status)


def check_prompt(planned: PlannedRun, model: DiffusionLM, example: Example) -> None:
    """Raises UserError where the model does not take the task's prompts, or training would cut off worked examples."""
    config = planned.resolved.config
    longest, tokens = (
        config.train.max_prompt_length,
        len(model.tokenizer.encode(model.prompt_text(planned.task, example))),
    )
    if config.data.few_shot and 0 < longest < tokens:
        raise UserError(
            f"A prompt with {config.data.few_shot} worked examples has {tokens} tokens, and train.max_prompt_length="
            f"{longest} would cut them off; raise it with --set train.max_prompt_length=N, or to 0 for no limit."
        )


@contextmanager
def run_folder(planned: PlannedRun, shard: Shard) -> Iterator[None]:
    """Makes the run folder and holds its lock, in the main process. Raises UserError in all where it cannot be written,
    InUseError where another has the lock."""
    with ExitStack() as held:
        with shard.together():
            if shard.is_main:
                held.enter_context(locked(planned.folder))
                if planned.fresh:
                    clear(planned.folder)
        yield


@contextmanager
def locked(folder: Path, *, option: str = "--runs") -> Iterator[None]:
    """Makes a run folder and holds its lock. option: which of the command's names the place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115  (held until the end of the with block)
    except OSError as error:
        raise UserError(
            f"Cannot write to '{folder}': {error.strerror}. Choose another folder with {option} DIR."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(f"Run '{folder}' is in use by another process.") from error
        yield


def clear(folder: Path) -> None:
    """Removes everything in a run folder but its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def describe_run(planned: PlannedRun, model: DiffusionLM, data: Data, *, processes: int) -> None:
    """The status `running`, config.yaml and environment.json.

    The status comes first: a run that finished under another budget must not look finished under this one.
    """
    from harness.distributed.environment import describe

    resolved = planned.resolved
    before = read_status(planned.folder)
    write_status(planned.folder, running(before.updates, before.samples) if before else running(0, 0))
    description = RunDescription(
        identity=planned.identity,
        config=resolved.config.to_dict(),
        execution=dataclasses.asdict(resolved.execution)
        | {"processes": processes, "mixed_precision": "no", "gradient_accumulation_steps": 1},
        provenance=resolved.provenance,
    )
    write_description(planned.folder, description)
    environment = describe(str(model.device)) | {
        "dtype": model.dtype_name,
        "weights": model.fingerprint,
        "commits": model.commits,
        "warnings": list(model.warnings),
        "own_files": own_files(planned.identity),
        "data": {
            "train": describe_examples(planned.task, "train", planned.train_source, data.train),
            "test": describe_examples(
                planned.task, resolved.config.evaluation.split, planned.test_source, data.evaluation
            ),
            "leakage": dataclasses.asdict(planned.task.leakage(data.train, data.evaluation)),
        },
        "prompts": {
            "file": str(planned.prompts.path) if planned.prompts else None,
            "sha256": resolved.config.data.prompts or None,
            "few_shot": resolved.config.data.few_shot,
            "training": training_prompts(planned.task, [*data.train, *data.evaluation], model.prompt_text),
        },
    }
    write_atomic(planned.folder / ENVIRONMENT_FILE, json.dumps(environment, indent=2, sort_keys=True) + "\n")


def describe_examples(task: Task, split: str, source: DataSource, examples: Sequence[Example]) -> dict[str, Any]:
    """Where examples come from and which they are, for the record."""
    return {
        "source": source.label,
        "origin": task.origin(split, source),
        "items": len(examples),
        "sha256": fingerprint(examples),
    }
