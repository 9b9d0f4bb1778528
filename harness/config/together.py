"""Whether how a run is executed fits what is run, and the processes that share it. No torch."""

from __future__ import annotations

from harness.config.keep import parse_keep
from harness.config.tree import FSDP2, Execution, RunConfig
from harness.errors import UserError


def check_together(config: RunConfig, execution: Execution) -> None:
    """Raises UserError where execution's settings are at odds with the configuration."""
    if parse_keep(execution.keep).best and not config.evaluation.validation_items:
        raise UserError(
            "execution.keep=best=validation needs validation items; set evaluation.validation_items above 0."
        )
    if config.model.compute_dtype and execution.sharding != FSDP2:
        raise UserError(
            f"model.compute_dtype={config.model.compute_dtype} needs execution.sharding=fsdp2, and it is "
            f"{execution.sharding}; set that, or leave model.compute_dtype empty to compute in model.dtype."
        )
    if config.model.quantization and execution.sharding == FSDP2:
        raise UserError(
            f"model.quantization={config.model.quantization} cannot be sharded; set execution.sharding=ddp, or leave "
            "model.quantization empty."
        )


def check_processes(config: RunConfig, execution: Execution, count: int) -> None:
    """Raises UserError where the run cannot be shared among `count` processes."""
    if count > 1 and execution.sharding == "none":
        raise UserError(f"execution.sharding=none is for one process, and there are {count}; set it to ddp or fsdp2.")
    if config.train.batch_size % count:
        raise UserError(f"train.batch_size={config.train.batch_size} is not a multiple of the {count} processes.")
    rows = config.train.batch_size // count
    for together in config.conventions.kept_together:
        if rows % together:
            raise UserError(
                f"Each of the {count} processes has {rows} rows, not a multiple of the {together} that the conventions "
                "keep together; choose another number of processes."
            )
