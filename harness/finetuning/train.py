"""The loop of masked fine-tuning: trains the tiny base models, and any model on prompts and answers, which is d1's
first stage (arXiv 2504.12216). It goes on from its last checkpoint; every draw up to there is made again, so that the
weights are those of a training that nothing stopped.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from harness.config.keep import Keep
from harness.config.tree import Execution, OptimizerConfig
from harness.distributed.shard import ALONE, Shard
from harness.distributed.signals import Signals
from harness.errors import Interruption, UserError
from harness.finetuning.batches import DrawnBatch, EncodedPair, draw_batch, mask_batch, masked_loss
from harness.models.diffusion_lm import DiffusionLM
from harness.models.files import sync
from harness.models.memory import UPDATE
from harness.randomness import stream, stream_seed
from harness.records.jsonl import append_line, keep_lines, read_lines
from harness.records.run_folder import CHECKPOINT_FOLDER, METRICS_FILE
from harness.rl import checkpoint
from harness.rl.dropout import dropout_on
from harness.rl.ledger import Progress
from harness.rl.optimizer import adamw, learning_rate

LAST_STEPS = 100
KEPT = Keep(count=2)


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    """A fixed number of steps: the same seed gives the same weights on the same machine.

    completion_length: tokens that every completion is filled up to, at least; 0 for the longest of each batch.
    max_length: tokens of a prompt and its completion; longer completions are cut.
    """

    steps: int = 1500
    batch_size: int = 128
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    beta2: float = 0.98
    completion_length: int = 0
    max_length: int = 4096
    seed: int = 0


class FineTuner:
    """Trains the trainable weights of `model` (all, or the adapters) in place.

    execution: rows per pass, and when checkpoints are due, a step being what a rollout is in a run. folder: of the
    checkpoints and losses. shard: this process's share of every batch. signals: looked at after every step.
    """

    def __init__(
        self,
        model: DiffusionLM,
        config: SftConfig,
        execution: Execution,
        *,
        folder: Path,
        shard: Shard = ALONE,
        signals: Signals | None = None,
    ) -> None:
        self.model, self.config, self.execution = model, config, execution
        self.folder, self.shard, self.signals = folder, shard, signals or Signals()
        self._schedule = OptimizerConfig(
            learning_rate=config.learning_rate,
            schedule="cosine",
            warmup_updates=config.warmup_steps,
            beta2=config.beta2,
            weight_decay=0.0,
        )
        self._optimizer = adamw(model.network, self._schedule)
        self._saved_at, self._step_seconds = time.monotonic(), math.inf

    def run(
        self,
        batches: Iterator[Sequence[EncodedPair]],
        on_step: Callable[[int, float], None] = lambda step, loss: None,
    ) -> float:
        """Takes the steps that are left; `batches` begin with the first step's, and all processes have the same.

        Returns the mean loss of the last 100 steps, in nats; on_step is told (step, loss). Raises UserError where the
        gradient is not finite, and Interruption where a signal asked for it, after a checkpoint.
        """
        done, generator = self._resume(), stream(self.config.seed, "masks")
        drawn = (draw_batch(rows, generator, self.config.completion_length) for rows in batches)
        for step, batch in itertools.islice(enumerate(drawn), done, self.config.steps):
            started = time.monotonic()
            self.signals.pause_in(self._step_seconds)
            loss = self._step(step, batch)
            on_step(step + 1, loss)
            self._step_seconds = time.monotonic() - started
            self._pause(step + 1)
        losses = self.shard.decided(lambda: [line["loss"] for line in self._lines()][-LAST_STEPS:])
        return sum(losses) / len(losses)

    def _lines(self) -> Iterator[dict[str, float]]:
        return read_lines(self.folder / METRICS_FILE, is_bounded=False)

    def _step(self, step: int, batch: DrawnBatch) -> float:
        """Step number `step`, from 0; returns the loss of all rows and records it."""
        mine = batch.part(slice(self.shard.index, None, self.shard.count))
        accumulate = functools.partial(self._accumulate, step, mine, len(batch.rows))
        wanted = self.execution.micro_batch_size or len(mine.rows)
        loss = self.shard.total(self.model.memory.fitting(UPDATE, wanted, accumulate))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._schedule, step=step, spent=step / self.config.steps)
        weights = list(checkpoint.trainable_weights(self.model.network).values())
        for weight in weights:
            assert weight.grad is not None, "every weight takes part in every pass"
            weight.grad = self.shard.sum(weight.grad)
        norm = float(torch.nn.utils.clip_grad_norm_(weights, 1.0))
        with self.shard.together():
            if not math.isfinite(norm):
                raise UserError(
                    f"Training diverged: the gradient of step {step + 1} is not finite; lower --learning-rate "
                    f"{self.config.learning_rate}."
                )
            if self.shard.is_main:
                append_line(self.folder / METRICS_FILE, {"step": step + 1, "loss": loss})
        self._optimizer.step()
        return loss

    def _accumulate(self, step: int, batch: DrawnBatch, num_rows: int, size: int) -> float:
        """Adds up the gradient of this process's rows, `size` of them at a time; returns their share of the loss."""
        total = 0.0
        self._optimizer.zero_grad()
        with dropout_on(self.model, stream_seed(self.config.seed, "dropout", step, self.shard.index)):
            for start in range(0, len(batch.rows), size):
                piece = mask_batch(self.model, batch.part(slice(start, start + size)))
                loss = masked_loss(self.model, piece, num_rows=num_rows)
                loss.backward()
                total += loss.item()
        return total

    def _resume(self) -> int:
        """Goes back to the last checkpoint that is whole; returns how many steps were made before it."""
        folder = self.folder / CHECKPOINT_FOLDER
        saved = self.shard.decided(lambda: checkpoint.last_whole(folder))
        done = saved[1].update if saved else 0
        with self.shard.together():
            if saved:
                checkpoint.load_weights(saved[0], self.model.predictor)
                self._optimizer.load_state_dict(checkpoint.load_optimizer(saved[0]))
            if self.shard.is_main:
                keep_lines(self.folder / METRICS_FILE, done)
        return done

    def _pause(self, done: int) -> None:
        """Makes a checkpoint where one is due, and ends the training after one where any process was sent a signal."""
        received = max(self.shard.gather_items([self.signals.received]))
        if received or self.shard.decided(lambda: self._is_due(done)):
            with self.shard.together():
                if self.shard.is_main:
                    self._save(done)
        if received:
            raise Interruption(received)

    def _is_due(self, done: int) -> bool:
        minutes = self.execution.checkpoint_minutes
        is_late = 0 < minutes < (time.monotonic() - self._saved_at) / 60
        return is_late or done % self.execution.checkpoint_every == 0

    def _save(self, done: int) -> None:
        """The losses before a checkpoint are on the disk before it is."""
        sync(self.folder / METRICS_FILE)
        folder, weights = self.folder / CHECKPOINT_FOLDER, checkpoint.trainable_weights(self.model.predictor)
        checkpoint.save(folder, weights, self._optimizer.state_dict(), Progress(update=done))
        checkpoint.prune(folder, KEPT, best=None, updates_per_step=1, spare=True)
        self._saved_at = time.monotonic()
