"""One optimiser update: the gradients of its parts, added up micro-batch by micro-batch, clipped, and a step."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor

from harness.config.tree import RunConfig
from harness.distributed.shard import Shard
from harness.errors import UserError
from harness.models.diffusion_lm import DiffusionLM
from harness.randomness import stream_seed
from harness.rl.checkpoint import trainable_weights
from harness.rl.dropout import dropout_on
from harness.rl.method import Method, UpdateBatch

MAX_BAD_UPDATES = 10


@dataclass(kw_only=True)
class UpdateLog:
    """What one update came to. gradient_norm: before clipping. values: those that the method's losses reported."""

    loss: float = 0.0
    gradient_norm: float = math.nan
    values: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, loss: Tensor, values: Mapping[str, Tensor]) -> None:
        """Takes in one micro-batch."""
        self.loss += loss.item()
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)


class Updater:
    """Makes updates. micro_batch_size: rows per pass, 0 for all. bad_in_a_row: updates whose gradient was not finite,
    since the last good one."""

    def __init__(
        self,
        config: RunConfig,
        *,
        micro_batch_size: int,
        method: Method,
        model: DiffusionLM,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        shard: Shard,
    ) -> None:
        self.config, self.method, self.model = config, method, model
        self.optimizer, self.accelerator, self.shard = optimizer, accelerator, shard
        self.micro_batch_size, self.bad_in_a_row = micro_batch_size, 0

    def update(self, batch: UpdateBatch, number: int, learning_rate: float) -> UpdateLog:
        """Update `number` of the run, from 0, with that learning rate.

        A gradient that is not finite makes no step. Raises UserError after MAX_BAD_UPDATES of these in a row.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        log = UpdateLog()
        self.optimizer.zero_grad()
        with dropout_on(self.model, stream_seed(self.config.seed, "dropout", number, self.shard.index)):
            self._accumulate(batch, log)
        log.gradient_norm = self._step()
        return log

    def _accumulate(self, batch: UpdateBatch, log: UpdateLog) -> None:
        micro_batches = [part for whole in batch.parts for part in whole.split(self.micro_batch_size)]
        for number, part in enumerate(micro_batches, start=1):
            last = number == len(micro_batches)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model.network):
                loss, values = self.method.loss(self.model, part)
                # Losses are normalised over the global batch, and accelerate averages over processes.
                self.accelerator.backward(loss * self.shard.count)
            log.add(loss, values)

    def _step(self) -> float:
        """Clips the gradient and steps, unless it is not finite; returns its norm before clipping."""
        weights = list(trainable_weights(self.model.network).values())
        norm = float(self.accelerator.clip_grad_norm_(weights, self.config.optimizer.max_gradient_norm))
        if math.isfinite(norm):
            self.optimizer.step()
            self.bad_in_a_row = 0
            return norm
        self.bad_in_a_row += 1
        if self.bad_in_a_row >= MAX_BAD_UPDATES:
            raise UserError(
                f"Training diverged: the gradient was not finite {MAX_BAD_UPDATES} updates in a row; "
                f"lower optimizer.learning_rate={self.config.optimizer.learning_rate}."
            )
        return norm
