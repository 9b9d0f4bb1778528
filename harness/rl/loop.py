"""The only training loop: rollout, score, prepare, update; evaluate, checkpoint, record; resume.

It knows nothing of the methods but their interface (harness/rl/method.py) and prints nothing: it is a generator of
events. All randomness comes from streams named after the seed, the purpose and the iteration, so a resumed run goes on
exactly as it would have."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.config.keep import parse_keep
from harness.config.tree import FSDP2, Execution, RunConfig
from harness.distributed.shard import accelerator, shard_of
from harness.distributed.sharding import gathered, load_optimizer_state
from harness.distributed.signals import Signals
from harness.errors import Interruption, UserError
from harness.models.checkpoints import resolve_device
from harness.models.compiled import speed_up
from harness.models.diffusion_lm import DiffusionLM
from harness.models.files import sync
from harness.models.memory import allow_tf32, keep_no_activations
from harness.models.sharded import shard_model
from harness.randomness import stream, stream_seed
from harness.records.jsonl import append_line, keep_lines
from harness.records.run_folder import CHECKPOINT_FOLDER, EVAL_FILE, METRICS_FILE, TRACE_FILE, reopen
from harness.records.update import UpdateRecord
from harness.rl import checkpoint
from harness.rl.collect import Collector
from harness.rl.dropout import dropout_on
from harness.rl.evaluator import Data, Evaluated, Evaluating, Evaluator
from harness.rl.ledger import EVALUATION, UPDATE, Ledger, Progress
from harness.rl.method import Method, Prepared
from harness.rl.metrics import update_record
from harness.rl.optimizer import adamw, learning_rate
from harness.rl.rewards import CountedScores
from harness.rl.traces import completion_trace
from harness.rl.update import Updater
from harness.rollout import ScoredRollouts
from harness.task.base import Example, Task


@dataclass(frozen=True, kw_only=True)
class Updated:
    """An optimiser update was made. spent: the used fraction of the budget. of: how many its rollout gives."""

    record: UpdateRecord
    spent: float
    of: int


Event = Updated | Evaluating | Evaluated


class Trainer:
    """Trains `model` with `method` on `task` and writes metrics, evaluations and checkpoints into `folder`.

    signals: looked at between iterations; one that came in ends the run there, after a checkpoint.
    """

    def __init__(
        self,
        config: RunConfig,
        *,
        execution: Execution,
        method: Method,
        task: Task,
        model: DiffusionLM,
        data: Data,
        folder: Path,
        signals: Signals | None = None,
    ) -> None:
        self.config, self.execution, self.method, self.task, self.model = config, execution, method, task, model
        self.data, self.folder, self.keep = data, folder, parse_keep(execution.keep)
        self.signals = signals or Signals()
        device = resolve_device(execution.device) if execution.sharding == FSDP2 else model.device
        self.shard = shard_of(accelerator(on_cpu=device.type == "cpu"))
        if len(set(self.shard.gather_items([model.fingerprint]))) > 1:
            raise UserError(f"The processes have loaded different weights of '{model.name}'; copy the files anew.")
        if execution.sharding == FSDP2:
            patience = timedelta(minutes=execution.timeout_minutes)
            shard_model(model, config.model, device, reference=method.needs_reference, patience=patience)
        elif method.needs_reference:
            model.keep_reference()
        if execution.activation_checkpointing:
            keep_no_activations(model.predictor.transformer.model.layers)
        allow_tf32(execution.tf32)
        speed_up(model, execution)
        self.optimizer = adamw(model.network, config.optimizer, config.conventions)
        self.ledger = Ledger(config.budget, model.meter, self.shard, updates_per_step=method.updates_per_step)
        self.evaluator = Evaluator(
            config.evaluation, execution, task=task, model=model, data=data, shard=self.shard, folder=folder
        )
        self.collector = Collector(
            config, execution, method=method, task=task, model=model, train=data.train, shard=self.shard
        )
        self.updater = Updater(
            config,
            micro_batch_size=execution.micro_batch_size,
            method=method,
            model=model,
            optimizer=self.optimizer,
            shard=self.shard,
        )
        self._saved: Progress | None = None
        self._saved_at, self._iteration_seconds = time.monotonic(), math.inf

    @property
    def progress(self) -> Progress:
        """The counters, of the last checkpoint at first."""
        return self.ledger.progress

    def run(self) -> Iterator[Event]:
        """Trains until the budget is spent, from the last checkpoint if there is one.

        Raises Interruption where a signal asked for it, when there is a checkpoint to go on from.
        """
        self._resume()
        if self.progress.evaluations == 0:
            started = time.monotonic()
            yield from self._evaluate("base")
            self._save_if_due(self.ledger.step, started)
        while self.ledger.spent() < 1:
            before, started = self.ledger.step, time.monotonic()
            if not self.progress.awaits_evaluation:
                self._pause()
                yield from self._iterate()
                if self.ledger.spent() >= 1:
                    break
                self.progress.awaits_evaluation = self._is_due(self.config.evaluation.every, before)
            self._pause()
            if self.progress.awaits_evaluation:
                yield from self._evaluate("step")
                self.progress.awaits_evaluation = False
            self._save_if_due(before, started)
        self._save()
        self._pause()
        yield from self._evaluate("last")
        with self.shard.together():
            if self.shard.is_main:
                self._sync_records()
                self._prune(spare=False)

    def leave(self) -> None:
        """Makes a checkpoint of a run that stopped inside an evaluation; elsewhere, and where the other processes hold
        parts of the weights, the last one stands. Waits for no other process."""
        if self.progress.awaits_evaluation and self.shard.is_main and not self.model.is_sharded:
            self._write_checkpoint(checkpoint.trainable_weights(self.model.predictor), self.optimizer.state_dict())

    def _resume(self) -> None:
        """Goes back to the last checkpoint that is whole: counters, weights, optimiser, and the record files cut to its
        length."""
        saved = self.shard.decided(lambda: checkpoint.last_whole(self.folder / CHECKPOINT_FOLDER))
        with self.shard.together():
            if saved:
                place, self.ledger.progress = saved
                checkpoint.load_weights(place, self.model.predictor)
                load_optimizer_state(self.optimizer, checkpoint.load_optimizer(place))
                self._saved = copy.deepcopy(self.progress)
                self._iteration_seconds = self.progress.training_seconds / max(1, self.progress.iteration)
        goes_on = self.ledger.spent() < 1
        if saved and goes_on:
            self._forget_the_end()
        with self.shard.together():
            if self.shard.is_main:
                keep_lines(self.folder / METRICS_FILE, self.progress.update)
                keep_lines(self.folder / EVAL_FILE, self.progress.evaluations)
                keep_lines(self.folder / TRACE_FILE, self.progress.traces)

    def _forget_the_end(self) -> None:
        """What a shorter budget left at its end does not stay an end: its evaluation becomes one of the steps, and the
        trace of what was its last rollout goes."""
        progress = self.progress
        kept = self.shard.decided(
            lambda: reopen(
                self.folder,
                evaluations=progress.evaluations,
                update=progress.update,
                at_once=len(self.evaluator.settings),
            )
        )
        progress.awaits_evaluation &= kept == progress.evaluations
        progress.evaluations = kept
        progress.traces = min(progress.traces, 1)

    def _pause(self) -> None:
        """Ends the run, after a checkpoint, where any process was sent a signal."""
        if received := max(self.shard.gather_items([self.signals.received])):
            self._save()
            raise Interruption(received)

    def _save_if_due(self, before: int, started: float) -> None:
        """Makes a checkpoint where one is due after what began at step `before` and the time `started`."""
        if self.shard.decided(lambda: self._checkpoint_is_due(before, started)):
            self._save()

    def _save(self) -> None:
        if self.progress == self._saved:
            return
        is_main = self.shard.is_main
        weights = gathered(checkpoint.trainable_weights(self.model.predictor), keep=is_main)
        optimizer = gathered(self.optimizer.state_dict(), keep=is_main)
        with self.shard.together():
            if is_main:
                self._write_checkpoint(weights, optimizer)
        self._saved = copy.deepcopy(self.progress)

    def _write_checkpoint(self, weights: Mapping[str, Tensor], optimizer: Mapping[str, Any]) -> None:
        """The records that a checkpoint counts are on the disk before it is."""
        self._sync_records()
        checkpoint.save(self.folder / CHECKPOINT_FOLDER, weights, optimizer, self.progress)
        self._saved_at = time.monotonic()
        self._prune(spare=True)

    def _sync_records(self) -> None:
        for path in (*(self.folder / name for name in (METRICS_FILE, EVAL_FILE, TRACE_FILE)), self.folder):
            if path.exists():
                sync(path)

    def _prune(self, *, spare: bool) -> None:
        folder, unit = self.folder / CHECKPOINT_FOLDER, self.method.updates_per_step
        checkpoint.prune(folder, self.keep, best=self.evaluator.best, updates_per_step=unit, spare=spare)

    def _iterate(self) -> Iterator[Event]:
        """One rollout and the updates made from it; the first and the last leave a trace."""
        progress, iteration, before = self.progress, self.progress.iteration, self.progress.update
        started = time.monotonic()
        self.signals.pause_in(self._iteration_seconds)
        examples = self.collector.examples(iteration)
        score = self.collector.score_function(examples, iteration)
        with self._dropout(iteration), score:
            scored, prepared = self._prepared(examples, score, iteration)
        progress.iteration += 1
        progress.samples += scored.rollout.num_rows * self.shard.count
        reward_calls = score.calls - scored.rollout.num_rows
        for index in range(len(prepared.updates)):
            yield self._update(scored, prepared, index, reward_calls)
            if self.ledger.spent() >= 1 and self.config.budget.updates:
                break
        progress.unmade_updates = len(prepared.updates) - (progress.update - before)
        if progress.iteration == 1 or self.ledger.spent() >= 1:
            self._trace(examples[0], scored, prepared, before)
        self._iteration_seconds = time.monotonic() - started

    def _dropout(self, iteration: int) -> contextlib.AbstractContextManager[None]:
        """Whether dropout is on while a rollout is made and prepared."""
        if self.config.conventions.dropout_in_rollouts:
            seed = stream_seed(self.config.seed, "dropout of a rollout", iteration, self.shard.index)
            return dropout_on(self.model, seed)
        self.model.network.eval()
        return contextlib.nullcontext()

    def _prepared(
        self, examples: Sequence[Example], score: CountedScores, iteration: int
    ) -> tuple[ScoredRollouts, Prepared]:
        """A rollout, its rewards, and the updates to be made from it."""
        with self.ledger.phase("rollout"):
            rollout = self.collector.rollout(examples, iteration, score.expect)
        with self.ledger.phase("score"):
            rewards = score(torch.arange(rollout.num_rows), rollout.completion_ids_BC)
        scored = ScoredRollouts(
            rollout=rollout,
            rewards=rewards,
            group_size=self.config.train.group_size,
            shard=self.shard,
            micro_batch_rows=self.config.conventions.micro_batch_rows,
            accumulated_batches=self.config.conventions.accumulated_batches,
        )
        with self.ledger.phase("prepare"), torch.no_grad():
            draws = self.method.draw(scored, self.model, stream(self.config.seed, "prepare", iteration))
            return scored, self.method.prepare(scored, self.model, score, draws)

    def _update(self, scored: ScoredRollouts, prepared: Prepared, index: int, reward_calls: int) -> Updated:
        """The rollout's update number `index`."""
        progress, rate = self.progress, self._learning_rate()
        with self.ledger.phase(UPDATE):
            log = self.updater.update(prepared.updates[index], progress.update, rate)
        progress.update += 1
        progress.skipped_updates += not math.isfinite(log.gradient_norm)
        record = update_record(
            progress,
            scored,
            prepared,
            log,
            self.model,
            learning_rate=rate,
            first=index == 0,
            reward_calls=reward_calls,
            merging=self.collector.merging,
        )
        with self.shard.together():
            if self.shard.is_main:
                append_line(self.folder / METRICS_FILE, record.to_json())
        return Updated(record=record, spent=self.ledger.spent(), of=len(prepared.updates))

    def _learning_rate(self) -> float:
        """The rate of the coming update."""
        step, spent = self.ledger.step, self.ledger.spent()
        if step <= self.config.optimizer.warmup_updates:
            self.progress.spent_in_warmup = spent
        return learning_rate(
            self.config.optimizer,
            self.config.conventions,
            step=step,
            spent=spent,
            spent_in_warmup=self.progress.spent_in_warmup,
        )

    def _trace(self, example: Example, scored: ScoredRollouts, prepared: Prepared, update: int) -> None:
        """Records how the first completion of the rollout came about, for pictures of it."""
        with self.shard.together():
            if self.shard.is_main:
                prompt = self.model.prompt_text(self.task, example)
                trace = completion_trace(
                    example, prompt, scored, prepared, self.model, iteration=self.progress.iteration, update=update
                )
                append_line(self.folder / TRACE_FILE, trace.to_json())
        self.progress.traces += 1

    def _is_due(self, every: int, before: int) -> bool:
        """Whether a multiple of `every` steps was reached since step `before`; never where it is 0."""
        return bool(every) and self.ledger.step // every > before // every

    def _checkpoint_is_due(self, before: int, started: float) -> bool:
        execution, now = self.execution, time.monotonic()
        by_rollouts = self.progress.update > 0 and self.progress.iteration % execution.checkpoint_every == 0
        by_minutes = 0 < execution.checkpoint_minutes < (now - self._saved_at) / 60
        is_long = now - started > execution.grace_seconds
        is_best = self.keep.best and self.evaluator.best == self.progress.update
        return by_rollouts or by_minutes or is_long or is_best or self._is_due(self.keep.every, before)

    def _evaluate(self, name: str) -> Iterator[Event]:
        """Evaluates the present weights and records the results as those of checkpoint `name`; a signal interrupts it
        at once."""
        self.signals.pause_in(math.inf)
        with self.ledger.phase(EVALUATION):
            yield from self.evaluator.run(name, self.progress)
        self.signals.pause_in(0)
