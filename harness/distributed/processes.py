"""What a launcher (torchrun, accelerate launch, mpirun) says about this process, by environment variables. No torch."""

from __future__ import annotations

import os

from harness.errors import UserError

SIZE_VARIABLES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes there are."""

RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""Where torchrun says how often it has started its processes again."""

AGENT_STORE = "TORCHELASTIC_USE_AGENT_STORE"
"""Where torchrun says whether it has the store by which its processes meet; otherwise the first of them has it."""

UNCHANGED = {
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
    "ACCELERATE_DYNAMO_BACKEND": "no",
    "ACCELERATE_DOWNCAST_BF16": "no",
    "ACCELERATE_USE_DEEPSPEED": "false",
    "ACCELERATE_USE_FSDP": "false",
    "ACCELERATE_USE_MEGATRON_LM": "false",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "false",
}
"""What `accelerate launch` and its configuration file set where they leave training as the run's own configuration has
it."""


def is_main() -> bool:
    """Whether this is the only process, or the first of all: the one that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def local_index() -> int:
    """The place of this process among those of its machine: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def count() -> int:
    """How many processes a launcher started, this one among them."""
    return max(int(os.environ.get(name, "1")) for name in SIZE_VARIABLES)


def is_one_of_several() -> bool:
    """Whether a launcher started more processes than this one."""
    return count() > 1


def was_started_again() -> bool:
    """Whether torchrun started other processes before these, which met by the store that these are given."""
    return os.environ.get(RESTARTS, "0") != "0" and os.environ.get(AGENT_STORE) == "True"


def was_started_alone_by_mistake() -> bool:
    """`accelerate launch --cpu` starts one process, however many are asked for."""
    return not is_one_of_several() and "MASTER_ADDR" in os.environ and os.environ.get("ACCELERATE_USE_CPU") == "True"


def refuse_other_training() -> None:
    """Raises UserError where accelerate's environment would change how a run trains, unseen by its configuration."""
    for name, neutral in UNCHANGED.items():
        given = os.environ.get(name, neutral)
        if given.lower() != neutral:
            raise UserError(
                f"{name}={given} would change training without being part of the run's configuration; unset it, or "
                f"set it to {neutral} in accelerate's configuration. Precision is model.dtype, and rows per pass are "
                "execution.micro_batch_size."
            )


def mark_agreed(error: BaseException) -> None:
    """Notes that all processes raise this together."""
    error.is_agreed = True  # type: ignore[attr-defined]


def is_agreed(error: BaseException) -> bool:
    """Whether all processes raise this together, so that they can go on together."""
    return getattr(error, "is_agreed", not is_one_of_several())
