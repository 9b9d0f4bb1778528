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
    if execution.cuda_graphs and (execution.sharding == FSDP2 or config.conventions.dropout_in_rollouts):
        raise UserError(
            "execution.cuda_graphs=true goes neither with execution.sharding=fsdp2, whose passes gather weights, nor "
            "with conventions.dropout_in_rollouts=true, whose passes draw; set it to false."
        )
    if execution.compile:
        _check_compiling(config, execution)
    if execution.merge_adapters:
        _check_merging(config)


def _check_compiling(config: RunConfig, execution: Execution) -> None:
    reasons = {
        "execution.sharding=fsdp2, whose layers gather their weights": execution.sharding == FSDP2,
        f"model.quantization={config.model.quantization}, whose layers are not compiled": config.model.quantization,
        "execution.cuda_graphs=true, with which it has not been tried": execution.cuda_graphs,
        "execution.pack_weights=true, with which it has not been tried": execution.pack_weights,
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise UserError(f"execution.compile=true does not go with {reason}; leave out one of the two.")


def _check_merging(config: RunConfig) -> None:
    model = config.model
    if not model.lora.rank and not model.adapter:
        raise UserError(
            "execution.merge_adapters=true needs adapters to merge; set model.lora.rank above 0 or model.adapter, or "
            "leave it false."
        )
    if model.quantization:
        raise UserError(
            f"execution.merge_adapters=true cannot merge adapters into the 4-bit weights of model.quantization="
            f"{model.quantization}: rounding them anew would lose most of the adapters. Leave one of the two out."
        )
    if config.conventions.dropout_in_rollouts and (model.lora.dropout or not model.lora.rank):
        raise UserError(
            "execution.merge_adapters=true leaves no dropout to conventions.dropout_in_rollouts=true; set that to "
            "false, or leave execution.merge_adapters false."
        )


def check_processes(config: RunConfig, execution: Execution, count: int) -> None:
    """Raises UserError where `count` processes cannot share the run: they would not have equally many rows, or would
    part rows that the conventions keep together. The nearest numbers of processes that can are named."""
    if count > 1 and execution.sharding == "none":
        raise UserError(f"execution.sharding=none is for one process, and there are {count}; set it to ddp or fsdp2.")
    if not _shared_equally(config, count):
        rows = config.train.batch_size
        fitting = [number for number in range(1, rows + 1) if _shared_equally(config, number)]
        fewer, more = max(one for one in fitting if one < count), [one for one in fitting if one > count][:1]
        kept = "".join(f" ({size} at a time stay together)" for size in config.conventions.kept_together)
        choice = " or ".join(map(str, [fewer, *more]))
        raise UserError(
            f"train.batch_size={rows} rows{kept} cannot be shared equally by {count} processes; start {choice}, or "
            "choose another batch size with --set train.batch_size=N."
        )


def _shared_equally(config: RunConfig, count: int) -> bool:
    share, rest = divmod(config.train.batch_size, count)
    return not rest and not any(share % rows for rows in config.conventions.kept_together)
