"""One process's share of a batch, and what it takes to see the others'. A process alone needs no torch for it."""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from harness.distributed.processes import RESTARTS, is_one_of_several, mark_agreed, was_started_again
from harness.errors import SandboxError, UserError
from harness.records.jsonl import RecordError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor

Item = TypeVar("Item")

FAULTS = (UserError, SandboxError, RecordError, OSError)
"""What can be wrong outside of this program, and so for one process alone."""

PATIENCE = timedelta(weeks=52)
"""How long a process waits for the others: a share of items may take long."""

FIRST_MEETING = timedelta(minutes=5)
"""How long a process that has failed waits for the others, to tell them."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """This process's rows of the global batch. A group may lie across processes, so baselines are taken of gathered
    rows. device: where the processes meet, by default the CPU."""

    all_reduce: Callable[[Tensor], Tensor] = lambda values: values
    all_gather: Callable[[Tensor], Tensor] = lambda rows: rows
    all_gather_items: Callable[[list[Any]], list[Any]] = lambda items: items
    wait: Callable[[], None] = lambda: None
    index: int = 0
    count: int = 1
    device: torch.device | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in global order."""
        return self.all_gather(rows.contiguous())

    def sum(self, values: Tensor) -> Tensor:
        """The elementwise sum of the processes' tensors of one shape."""
        return self.all_reduce(values)

    def gather_values(self, values_N: Tensor) -> Tensor:
        """The values of all processes, which may have different numbers of them."""
        import torch

        if self.count == 1:
            return values_N
        lengths = self.gather(torch.tensor([len(values_N)], device=values_N.device)).tolist()
        padded = values_N.new_zeros(max(lengths))
        padded[: len(values_N)] = values_N
        rows = self.gather(padded).chunk(self.count)
        return torch.cat([row[:length] for row, length in zip(rows, lengths, strict=True)])

    def gather_items(self, items: list[Item]) -> list[Item]:
        """The picklable items of all processes."""
        return self.all_gather_items(items)

    def from_main(self, item: Item) -> Item:
        """The picklable item of the first process."""
        return self.gather_items([item])[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is done inside succeeds in all processes or fails in all, with what the first that failed has seen.

        All processes enter, and none may wait for another inside.
        """
        fault = None
        try:
            yield
        except FAULTS as error:
            fault = error
        first = next((one for one in self.gather_items([fault]) if one is not None), None)
        if first is not None:
            mark_agreed(first)
            raise first

    def decided(self, decide: Callable[[], Item]) -> Item:
        """What the first process finds, or raises."""
        found = []
        with self.together():
            if self.is_main:
                found.append(decide())
        return self.gather_items(found)[0]

    def total(self, value: float) -> float:
        """The sum of a number over the processes."""
        import torch

        return self.gather_values(torch.tensor([value], dtype=torch.float64, device=self.device)).sum().item()

    def mine(self, all_rows: Tensor) -> Tensor:
        """This process's part of a global tensor."""
        return all_rows.chunk(self.count)[self.index]


ALONE = Shard()
"""The only process."""


def shard_of(accelerator: Accelerator) -> Shard:
    """The share of this process among those of `accelerator`."""
    from accelerate.utils import gather_object

    return Shard(
        all_reduce=functools.partial(accelerator.reduce, reduction="sum"),
        all_gather=accelerator.gather,
        all_gather_items=gather_object,
        wait=accelerator.wait_for_everyone,
        index=accelerator.process_index,
        count=accelerator.num_processes,
        device=accelerator.device,
    )


def accelerator(*, on_cpu: bool, patience: timedelta = PATIENCE) -> Accelerator:
    """Brings the processes together; nothing about training is left to accelerate's environment."""
    from accelerate import Accelerator, InitProcessGroupKwargs

    atexit.unregister(_part)
    atexit.register(_part)
    return Accelerator(
        cpu=on_cpu,
        mixed_precision="no",
        gradient_accumulation_steps=1,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=patience)],
    )


def join(device: str, patience: timedelta = PATIENCE) -> Shard:
    """Meets the other processes that a launcher started, ALONE where there are none. device: cpu keeps all on the CPU;
    otherwise the launcher chooses a GPU for each, `Shard.device`. patience: how long one waits for another, of the
    first call."""
    if not is_one_of_several():
        return ALONE
    import torch
    import torch.distributed as dist

    on_cpu = device == "cpu" or not torch.cuda.is_available()
    if was_started_again() and not dist.is_initialized():
        _meet_anew("gloo" if on_cpu else "nccl", patience)
    return shard_of(accelerator(on_cpu=on_cpu, patience=patience))


def _part() -> None:
    """Ends the threads of the connections, which would abort an interpreter that ends before them."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _meet_anew(backend: str, patience: timedelta) -> None:
    """Brings together processes that torchrun has started again: in its store the addresses of the processes before
    them still stand, and torch 2.13 would use those."""
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(rendezvous("env://", timeout=patience))
    own = PrefixStore(f"restart-{os.environ[RESTARTS]}", store)
    dist.init_process_group(backend, store=own, rank=rank, world_size=count, timeout=patience)


def raise_together(fault: Exception) -> NoReturn:
    """Raises what one process has seen before the processes met, in all of them: what they do first once they have met
    is to ask whether any of them has seen a fault."""
    if is_one_of_several():
        import torch.distributed as dist

        if not dist.is_initialized():
            try:
                with join("auto", patience=FIRST_MEETING).together():
                    raise fault
            except RuntimeError as error:
                if not is_loss_of_a_process(error):
                    raise
    raise fault


def is_loss_of_a_process(error: RuntimeError) -> bool:
    """Whether an operation of all processes failed since one of them is gone or has not answered: gloo has no class of
    its own for that."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or "gloo/transport" in str(error)
