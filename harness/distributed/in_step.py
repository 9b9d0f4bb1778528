"""Processes that hold parts of the weights keep step: a pass takes them all, and where one runs out of memory in the
middle of it, all give it up and begin again with less.

Before each of FSDP2's collectives the processes tell each other, on the CPU, that they are still there; one that ran
out of memory says so at the same place instead. So none waits in a collective that another will never come to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from harness.errors import UserError

NOTHING, GOES_ON, FAILED, ENDS = range(4)
"""What a process says; the largest of what all say counts."""


class OutOfMemoryElsewhere(torch.OutOfMemoryError):
    """Another process ran out of memory. ends: and cannot do with less."""

    def __init__(self, *, ends: bool) -> None:
        super().__init__("Another process ran out of memory.")
        self.ends = ends


class InStep:
    """What the processes agree on. roots: the modules of which each holds a part. patience: how long one waits for
    another.

    recovers: whether a pass that was given up can be made again; before torch 2.13 it cannot. is_trying: whether an
    attempt goes on, which is given up as a whole.
    """

    def __init__(self, roots: Sequence[nn.Module], *, patience: timedelta) -> None:
        self.recovers = hasattr(FSDPModule, "reset_iter_state")
        self.is_trying = False
        self._announces = False
        self._group = dist.new_group(backend="gloo", timeout=patience)
        self._gathered: set[nn.Module] = set()
        for root in roots if self.recovers else ():
            for module in root.modules():
                if isinstance(module, FSDPModule):
                    module.set_custom_all_gather(_AllGather(self, root))  # type: ignore[arg-type]
                    module.set_custom_reduce_scatter(_ReduceScatter(self))  # type: ignore[arg-type]

    def goes_on(self, flag: bool) -> bool:
        """Whether any process makes another pass. Raises OutOfMemoryElsewhere."""
        return self._say(GOES_ON if flag else NOTHING) == GOES_ON

    def go_along(self, run: Callable[[], Any]) -> None:
        """Makes a pass whenever another process makes one, until none does."""
        while True:
            try:
                if not self.goes_on(False):
                    return
                run()
            except OutOfMemoryElsewhere as error:
                if error.ends:
                    raise UserError("Another process ran out of memory, and says what to set.") from error
                self.reset()

    def announce(self) -> None:
        """Tells the others that a pass follows, where they may not expect it."""
        if self._announces:
            self.goes_on(True)

    def agree(self) -> None:
        """Nobody has run out of memory. Raises OutOfMemoryElsewhere."""
        self._say(NOTHING)

    @contextmanager
    def announcing(self) -> Iterator[None]:
        """Inside, passes are announced."""
        self._announces = True
        try:
            yield
        finally:
            self._announces = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What is done inside is done by all processes or, where they make the same passes, by none."""
        self.is_trying = True
        try:
            yield
            if self.recovers and not self._announces:
                self.agree()
        finally:
            self.is_trying = False

    def give_up(self, error: torch.OutOfMemoryError, *, ends: bool) -> bool:
        """Gives a pass up in all processes. ends: whether this one cannot do with less; returns whether any cannot."""
        if isinstance(error, OutOfMemoryElsewhere):
            ends = error.ends
        else:
            try:
                self._say(ENDS if ends else FAILED)
            except OutOfMemoryElsewhere as answer:
                ends = answer.ends
        self.reset()
        return ends

    def reset(self) -> None:
        """Leaves this process with its parts alone, and without the gradients of a pass that was given up."""
        for root in self._gathered:
            for weight in root.parameters():
                if not isinstance(weight, DTensor):
                    weight.grad = None
            assert isinstance(root, FSDPModule)
            root.reset_iter_state()

    def note(self, root: nn.Module) -> None:
        """Notes that a module has been used."""
        self._gathered.add(root)

    def _say(self, what: int) -> int:
        said = torch.tensor([what])
        dist.all_reduce(said, dist.ReduceOp.MAX, self._group)
        heard = int(said)
        if heard >= FAILED:
            raise OutOfMemoryElsewhere(ends=heard == ENDS)
        return heard


class _Comm:
    def allocate(self, size: Sequence[int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)


class _AllGather(_Comm):
    """FSDP2's own, once all processes have come to it."""

    def __init__(self, together: InStep, root: nn.Module) -> None:
        self._together, self._root = together, root

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, async_op: bool = False) -> Any:
        self._together.note(self._root)
        self._together.agree()
        return dist.all_gather_single(output_tensor, input_tensor, group=group, async_op=async_op)


class _ReduceScatter(_Comm):
    """FSDP2's own, once all processes have come to it."""

    def __init__(self, together: InStep) -> None:
        self._together = together

    def __call__(self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any, async_op: bool = False) -> Any:
        self._together.agree()
        return dist.reduce_scatter_single(output_tensor, input_tensor, group=group, op=op, async_op=async_op)
