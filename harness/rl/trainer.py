"""The only training loop: rollout, score, prepare, update; evaluate, checkpoint, record; resume.

It knows nothing of the methods but their interface (harness/rl/method.py) and prints nothing: it emits events. All
randomness comes from streams named after the seed, the purpose and the iteration, so a resumed run goes on exactly as
it would have."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from harness.config.tree import Execution, RunConfig
from harness.diffusion.sampler import generate
from harness.distributed.shard import Shard
from harness.errors import UserError
from harness.evaluation.completions import complete
from harness.evaluation.judge import Evaluation, judge
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import row_seeds, stream, stream_seed
from harness.records.jsonl import append_line, keep_lines, write_samples
from harness.records.run_folder import CHECKPOINT_FOLDER, EVAL_FILE, METRICS_FILE, TRACE_FILE, reopen, samples_name
from harness.records.schema import EvalRecord
from harness.rl import checkpoint
from harness.rl.checkpoint import Progress
from harness.rl.method import Method, Prepared, UpdateBatch
from harness.rl.metrics import UpdateLog, update_metrics
from harness.rl.optimizer import adamw, learning_rate
from harness.rl.rewards import RandomRewards, TaskRewards
from harness.rl.traces import completion_trace
from harness.rollout import Rollout, ScoredRollouts
from harness.task.base import Example, Task

MAX_BAD_UPDATES = 10


@dataclass(frozen=True, kw_only=True)
class Updated:
    """An optimiser update was made; metrics is its line of metrics.jsonl, spent the used fraction of the budget."""

    metrics: dict[str, Any]
    spent: float


@dataclass(frozen=True, kw_only=True)
class Evaluating:
    """Items done of an evaluation that is going on."""

    checkpoint: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """An evaluation is finished and recorded."""

    record: EvalRecord


Event = Updated | Evaluating | Evaluated


@dataclass(frozen=True, kw_only=True)
class Data:
    """Training examples and evaluation items, with the sources they came from."""

    train: Sequence[Example]
    evaluation: Sequence[Example]
    evaluation_label: str


class Trainer:
    """Trains `model` with `method` on `task` and writes metrics, evaluations and checkpoints into `folder`."""

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
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.config, self.execution, self.method, self.task, self.model = config, execution, method, task, model
        self.data, self.folder, self.on_event = data, folder, on_event
        self.progress = Progress()
        self.consecutive_bad = 0
        self.accelerator = Accelerator(cpu=model.device.type == "cpu")
        if method.needs_reference:
            model.keep_reference()
        optimizer = adamw(model.network, config.optimizer)
        model.network, self.optimizer = self.accelerator.prepare(model.network, optimizer)
        self.shard = Shard(
            all_gather=self.accelerator.gather,
            all_gather_items=gather_object,
            index=self.accelerator.process_index,
            count=self.accelerator.num_processes,
            device=model.device,
        )
        if config.train.batch_size % self.shard.count:
            raise UserError(
                f"train.batch_size={config.train.batch_size} does not divide by the {self.shard.count} processes."
            )

    def run(self) -> Progress:
        """Trains until the budget is spent, from the last checkpoint if there is one; returns the counters."""
        self.accelerator.wait_for_everyone()
        self._resume()
        if self.progress.evaluations == 0:
            self._evaluate("base")
        while self._spent() < 1:
            before = self.progress.update
            self._iterate()
            if self._spent() < 1:
                self._evaluate_when_due(before)
                if self.progress.iteration % self.execution.checkpoint_every == 0:
                    self._save()
        self._save()
        self._evaluate("last")
        return self.progress

    def _resume(self) -> None:
        """Goes back to the last checkpoint: counters, weights, optimiser, and the record files cut to its length."""
        saved = checkpoint.checkpoints(self.folder / CHECKPOINT_FOLDER)
        if saved:
            self.progress = checkpoint.load_progress(saved[-1])
            checkpoint.load_weights(saved[-1], self.model.predictor)
            self.optimizer.load_state_dict(checkpoint.load_optimizer(saved[-1]))
        goes_on = self._spent() < 1
        if self.accelerator.is_main_process:
            if saved and goes_on:
                self._forget_the_end()
            keep_lines(self.folder / METRICS_FILE, self.progress.update)
            keep_lines(self.folder / EVAL_FILE, self.progress.evaluations)
            keep_lines(self.folder / TRACE_FILE, self.progress.traces)

    def _forget_the_end(self) -> None:
        """What a shorter budget left at its end does not stay an end: its evaluation becomes one of the steps, and the
        trace of what was its last rollout goes."""
        progress = self.progress
        progress.evaluations = reopen(self.folder, evaluations=progress.evaluations, update=progress.update)
        progress.traces = min(progress.traces, 1)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            weights = checkpoint.trainable_weights(self.model.predictor)
            checkpoint.save(self.folder / CHECKPOINT_FOLDER, weights, self.optimizer.state_dict(), self.progress)
        self.accelerator.wait_for_everyone()

    def _spent(self) -> float:
        """The used fraction of the budget."""
        budget, progress = self.config.budget, self.progress
        return budget.spent(
            updates=progress.update,
            samples=progress.samples,
            flops=progress.flops_total,
            minutes=self.shard.total(progress.training_seconds) / self.shard.count / 60 if budget.minutes else 0.0,
        )

    def _iterate(self) -> None:
        """One rollout and the updates made from it; the first and the last leave a trace."""
        examples, before = self._examples(), self.progress.update
        with self._phase("rollout"):
            rollout = self._rollout(examples)
        with self._phase("score"):
            score = self._score_function(examples)
            rewards = score(torch.arange(rollout.num_rows), rollout.completion_ids_BC)
        scored = ScoredRollouts(
            rollout=rollout, rewards=rewards, group_size=self.config.train.group_size, shard=self.shard
        )
        with self._phase("prepare"):
            generator = stream(self.config.seed, "prepare", self.progress.iteration)
            prepared = self.method.prepare(scored, self.model, score, generator)
        self.progress.iteration += 1
        self.progress.samples += rollout.num_rows * self.shard.count
        self.progress.forwards += int(self.shard.total(rollout.forwards + prepared.forwards))
        self.progress.flops_rollout += self.shard.total(rollout.flops + prepared.flops)
        for index, batch in enumerate(prepared.updates):
            self._update(batch, scored, prepared, index)
            if self._spent() >= 1 and self.config.budget.updates:
                break
        self.progress.unmade_updates = len(prepared.updates) - (self.progress.update - before)
        if self.progress.iteration == 1 or self._spent() >= 1:
            self._trace(examples[0], scored, prepared, before)

    def _examples(self) -> list[Example]:
        """The example of each of this process's rows; epochs are shuffled, one after another."""
        prompts = self.config.train.batch_size // self.config.train.group_size
        first, count = self.progress.iteration * prompts, len(self.data.train)
        chosen = [self._shuffled(place // count)[place % count] for place in range(first, first + prompts)]
        rows = torch.tensor(chosen).repeat_interleave(self.config.train.group_size)
        return [self.data.train[index] for index in self.shard.mine(rows).tolist()]

    def _shuffled(self, epoch: int) -> list[int]:
        generator = stream(self.config.seed, "order", epoch)
        return torch.randperm(len(self.data.train), generator=generator).tolist()

    def _rollout(self, examples: Sequence[Example]) -> Rollout:
        self.model.network.eval()
        texts = [self.model.prompt_text(self.task, example) for example in examples]
        prompts = self.model.encode_prompts(texts, max_length=self.config.train.max_prompt_length)
        generator = stream(self.config.seed, "rollout", self.progress.iteration)
        seed_B = self.shard.mine(row_seeds(self.config.train.batch_size, generator))
        needs = self.method.needs(self.model.shape, self.config.rollout, prompts.ids_BP.shape[1])
        return generate(self.model, prompts, self.config.rollout, seed_B, needs=needs)

    def _score_function(self, examples: Sequence[Example]) -> TaskRewards | RandomRewards:
        if self.config.reward == "random":
            return RandomRewards(self.config.seed, self.progress.iteration, self.model.device, self.shard)
        return TaskRewards(self.task, self.model, examples)

    def _update(self, batch: UpdateBatch, scored: ScoredRollouts, prepared: Prepared, index: int) -> None:
        """One optimiser update: the parts' gradients are added up, micro-batch by micro-batch."""
        rate = learning_rate(self.config.optimizer, update=self.progress.update, spent=self._spent())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        log = UpdateLog()
        with self._phase("update"):
            self.model.network.train()
            self.optimizer.zero_grad()
            with self._dropout_stream():
                self._accumulate(batch, log)
            norm = self._step()
            self.model.network.eval()
        self.progress.update += 1
        self.progress.forwards += int(self.shard.total(log.forwards))
        self.progress.flops_update += self.shard.total(log.flops)
        line = update_metrics(
            self.progress, scored, prepared, log, self.model, gradient_norm=norm, learning_rate=rate, first=index == 0
        )
        if self.accelerator.is_main_process:
            append_line(self.folder / METRICS_FILE, line)
        self.on_event(Updated(metrics=line, spent=self._spent()))

    def _trace(self, example: Example, scored: ScoredRollouts, prepared: Prepared, update: int) -> None:
        """Records how the first completion of the rollout came about, for pictures of it."""
        if self.accelerator.is_main_process:
            prompt = self.model.prompt_text(self.task, example)
            trace = completion_trace(
                example, prompt, scored, prepared, self.model, progress=self.progress, update=update
            )
            append_line(self.folder / TRACE_FILE, trace.to_json())
        self.progress.traces += 1

    def _accumulate(self, batch: UpdateBatch, log: UpdateLog) -> None:
        micro_batches = [part for whole in batch.parts for part in whole.split(self.execution.micro_batch_size)]
        for number, part in enumerate(micro_batches, start=1):
            last = number == len(micro_batches)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model.network):
                output = self.method.loss(self.model, part)
                # Losses are normalised over the global batch, and accelerate averages over processes.
                self.accelerator.backward(output.loss * self.shard.count)
            log.add(output)

    def _step(self) -> float:
        """Clips the gradient and steps, unless it is not finite; returns its norm before clipping.

        Raises UserError after MAX_BAD_UPDATES such updates in a row.
        """
        weights = list(checkpoint.trainable_weights(self.model.network).values())
        norm = float(self.accelerator.clip_grad_norm_(weights, self.config.optimizer.max_gradient_norm))
        if math.isfinite(norm):
            self.optimizer.step()
            self.consecutive_bad = 0
            return norm
        self.progress.skipped_updates += 1
        self.consecutive_bad += 1
        if self.consecutive_bad >= MAX_BAD_UPDATES:
            raise UserError(
                f"Training diverged: the gradient was not finite {MAX_BAD_UPDATES} updates in a row; "
                f"lower optimizer.learning_rate={self.config.optimizer.learning_rate}."
            )
        return norm

    @contextlib.contextmanager
    def _dropout_stream(self) -> Iterator[None]:
        """Dropout draws from torch's global generator: inside it is seeded by name, afterwards it is as it was."""
        devices = [self.model.device] if self.model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(stream_seed(self.config.seed, "dropout", self.progress.update, self.shard.index))
            yield

    def _evaluate_when_due(self, before: int) -> None:
        every = self.config.evaluation.every
        if every and self.progress.update // every > before // every:
            self._evaluate("step")

    def _evaluate(self, name: str) -> None:
        """Evaluates the present weights and records the result as checkpoint `name`."""
        with self._phase("eval"):
            completions = complete(
                self.model,
                self.task,
                self.data.evaluation,
                self.config.evaluation,
                batch_size=self.execution.evaluation_batch_size,
                shard=self.shard,
                on_progress=lambda done, total: self.on_event(Evaluating(checkpoint=name, done=done, total=total)),
            )
            if self.accelerator.is_main_process:
                self._record(name, judge(self.task, self.data.evaluation, completions))
        self.progress.evaluations += 1
        self.accelerator.wait_for_everyone()

    def _record(self, name: str, result: Evaluation) -> None:
        samples_file = samples_name(name, self.progress.update)
        write_samples(self.folder / samples_file, result.samples)
        record = EvalRecord(
            checkpoint=name,
            update=self.progress.update,
            samples=self.progress.samples,
            flops_total=self.progress.flops_total,
            seconds=self.progress.training_seconds,
            data=self.data.evaluation_label,
            split=self.config.evaluation.split,
            items_sha256=result.items_sha256,
            decoding=asdict(self.config.evaluation.decoding),
            metrics=result.metrics,
            ceiling=result.ceiling,
            nfe=result.nfe,
            tokens_per_second=result.tokens_per_second,
            eval_seconds=result.seconds,
            eval_flops=result.flops,
            samples_file=samples_file,
        )
        append_line(self.folder / EVAL_FILE, record.to_json())
        self.on_event(Evaluated(record=record))

    @contextlib.contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.progress.seconds[name] = self.progress.seconds.get(name, 0.0) + time.perf_counter() - start
