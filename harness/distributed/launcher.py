"""Data parallelism as lm-eval does it: every process evaluates its share of the items, the first one has the results.

Started by `accelerate launch -m harness lm-eval run ...`, torchrun or mpirun; without them there is one process.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor

SIZE_VARIABLES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are."""

PATIENCE = timedelta(weeks=52)
"""How long a process waits for the others: a share of items may take long."""

log = logging.getLogger(__name__)


class Processes:
    """This process among all. device: the one that the launcher chose, None for a single process."""

    def __init__(self, device: str) -> None:
        self.rank, self.count = 0, 1
        self.device: torch.device | None = None
        self._accelerator: Accelerator | None = None
        if any(int(os.environ.get(name, "1")) > 1 for name in SIZE_VARIABLES):
            patience = InitProcessGroupKwargs(timeout=PATIENCE)
            on_cpu = device == "cpu" or not torch.cuda.is_available()
            self._accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=[patience])
            self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes
            self.device = self._accelerator.device
        elif "MASTER_ADDR" in os.environ and os.environ.get("ACCELERATE_USE_CPU") == "True":
            log.warning("accelerate launch --cpu starts one process, however many are asked for; give --multi_gpu.")

    def all_gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all processes, joined."""
        return tensor if self._accelerator is None else self._accelerator.gather(tensor)

    def gather_object(self, item: Any, destination: int = 0) -> list[Any] | None:
        """The objects of all processes, on `destination` alone; None on the others."""
        if self._accelerator is None:
            return [item]
        gathered = [None] * self.count if self.rank == destination else None
        torch.distributed.gather_object(obj=item, object_gather_list=gathered, dst=destination)
        return gathered

    def barrier(self) -> None:
        """Waits for all processes."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()
