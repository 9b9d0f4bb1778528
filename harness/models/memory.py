"""What lets a batch fit into the device's memory: fewer sequences at a time, and activations that are computed twice.

A batch that does not fit is halved and tried again, with the same results: every draw belongs to a row, and what the
attempt that failed had counted is forgotten.
"""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from harness.distributed.in_step import InStep
from harness.errors import UserError
from harness.models.meter import Meter

Result = TypeVar("Result")

ROLLOUT, UPDATE, EVALUATION = (
    f"execution.{name}" for name in ("rollout_batch_size", "micro_batch_size", "evaluation_batch_size")
)
PREPARATION = "the preparation of updates"
"""The phases, by the setting that bounds them where there is one."""


class Memory:
    """How many sequences fit into the device's memory at once, in each phase.

    say: is told each time that a batch did not fit. together: where processes hold parts of the weights, so that a
    batch that does not fit into the memory of one is given up, and halved, by all.
    """

    def __init__(self, meter: Meter) -> None:
        self.say: Callable[[str], None] = logging.getLogger(__name__).warning
        self.together: InStep | None = None
        self._meter = meter
        self._fits: dict[str, int] = {}

    def fitting(self, phase: str, wanted: int, attempt: Callable[[int], Result]) -> Result:
        """`attempt` with `wanted` sequences at a time or, where these do not fit, with as many as do.

        Raises UserError where not even one sequence fits.
        """
        if self.together is not None and self.together.is_trying:
            return attempt(min(wanted, self._fits.get(phase, wanted)))
        while True:
            size = min(wanted, self._fits.get(phase, wanted))
            try:
                with self._meter.forgetting_failures(), self.together.attempt() if self.together else nullcontext():
                    return attempt(size)
            except torch.OutOfMemoryError as error:
                if self._ends(error, size):
                    raise UserError(does_not_fit(phase, size)) from error
            # Outside of the clause above nothing refers to the failed attempt's tensors any more.
            if size > 1:
                self._fits[phase] = size // 2
                self.say(f"Out of memory with {phase}={size}; going on with {size // 2}.")
            gc.collect()
            torch.cuda.empty_cache()

    def _ends(self, error: torch.OutOfMemoryError, size: int) -> bool:
        """Whether a batch of `size` sequences that did not fit cannot be tried again."""
        if self.together is None:
            return size == 1
        return not self.together.recovers or self.together.give_up(error, ends=size == 1)

    def pieces(self, phase: str, total: int, wanted: int, run: Callable[[slice], Result]) -> Iterator[Result]:
        """`run` on successive pieces of `total` rows, of `wanted` rows each or as many as fit."""
        start = 0
        while start < total:
            stop, result = self.fitting(phase, min(wanted, total - start), functools.partial(_piece, run, start))
            yield result
            start = stop


def _piece(run: Callable[[slice], Result], start: int, size: int) -> tuple[int, Result]:
    return start + size, run(slice(start, start + size))


def does_not_fit(phase: str, size: int) -> str:
    """What to do where the memory does not suffice."""
    return (
        f"The device ran out of memory with {phase}={size}. Lower it with --set where it is above 1, or set "
        "execution.activation_checkpointing=true, execution.sharding=fsdp2 with more processes, or model.lora.rank "
        "above 0; the run goes on from its last checkpoint."
    )


def keep_no_activations(layers: nn.ModuleList) -> None:
    """Has each of a transformers model's layers keep its input alone for the backward pass and compute the rest again;
    the gradients are the same to the bit."""
    for layer in layers:
        vars(layer)["gradient_checkpointing"] = True
        vars(layer)["_gradient_checkpointing_func"] = functools.partial(checkpoint, use_reentrant=False)


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs may round the inputs of float32 matrix products to 10 bits of mantissa."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
