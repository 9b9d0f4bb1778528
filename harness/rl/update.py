"""One optimiser update: the gradients of its parts, added up micro-batch by micro-batch, clipped, and a step."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.config.tree import RunConfig
from harness.distributed.shard import Shard
from harness.distributed.sharding import whole
from harness.errors import UserError
from harness.models.diffusion_lm import DiffusionLM
from harness.models.memory import UPDATE
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
    """Makes updates. micro_batch_size: sequences per pass, 0 for all. bad_in_a_row: updates whose gradient was not
    finite, since the last good one."""

    def __init__(
        self,
        config: RunConfig,
        *,
        micro_batch_size: int,
        method: Method,
        model: DiffusionLM,
        optimizer: torch.optim.Optimizer,
        shard: Shard,
    ) -> None:
        self.config, self.method, self.model = config, method, model
        self.optimizer, self.shard = optimizer, shard
        self.micro_batch_size, self.bad_in_a_row = micro_batch_size, 0

    def update(self, batch: UpdateBatch, number: int, learning_rate: float) -> UpdateLog:
        """Update `number` of the run, from 0, with that learning rate.

        A gradient that is not finite makes no step. Raises UserError after MAX_BAD_UPDATES of these in a row.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        all_at_once = max(part.num_rows * part.sequences_per_row for part in batch.parts)
        accumulate = functools.partial(self._accumulate, batch, number)
        log = self.model.memory.fitting(UPDATE, self.micro_batch_size or all_at_once, accumulate)
        log.gradient_norm = self._step()
        self.optimizer.zero_grad()  # Rollouts need the memory.
        return log

    def _accumulate(self, batch: UpdateBatch, number: int, sequences: int) -> UpdateLog:
        """The gradient of this process's rows, that many sequences at a time, and nothing of an earlier attempt."""
        log = UpdateLog()
        self.optimizer.zero_grad()
        with dropout_on(self.model, stream_seed(self.config.seed, "dropout", number, self.shard.index)):
            for part in (part for whole in batch.parts for part in whole.split(sequences)):
                loss, values = self.method.loss(self.model, part)
                # Losses are normalised over the global batch, and processes that hold parts average their gradients.
                (loss * self.shard.count if self.model.is_sharded else loss).backward()
                log.add(loss, values)
        return log

    def _step(self) -> float:
        """Adds the processes' gradients up, clips them and steps, unless they are not finite; returns the norm before
        clipping."""
        weights = list(trainable_weights(self.model.network).values())
        # Not in the backward pass, as DistributedDataParallel does it: a process that runs out of memory there could
        # not start over while the others wait for its gradient.
        for weight in weights if not self.model.is_sharded else ():
            assert weight.grad is not None, "every weight takes part in every pass"
            weight.grad = self.shard.sum(weight.grad)
        norm = float(whole(nn.utils.clip_grad_norm_(weights, self.config.optimizer.max_gradient_norm)))
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
