"""What a launcher (torchrun, accelerate launch, mpirun) says about this process, by environment variables. No torch."""

from __future__ import annotations

import os

SIZE_VARIABLES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are."""


def is_main() -> bool:
    """Whether this is the only process, or the first of all: the one that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def local_index() -> int:
    """The place of this process among those of its machine: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def number_of_processes() -> int:
    """How many processes a launcher started, this one among them."""
    return max(int(os.environ.get(name, "1")) for name in SIZE_VARIABLES)


def is_one_of_several() -> bool:
    """Whether a launcher started more processes than this one."""
    return number_of_processes() > 1


def was_started_alone_by_mistake() -> bool:
    """`accelerate launch --cpu` starts one process, however many are asked for."""
    return not is_one_of_several() and "MASTER_ADDR" in os.environ and os.environ.get("ACCELERATE_USE_CPU") == "True"
