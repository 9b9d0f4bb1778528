"""What makes a run fit that does not: the setting that helps where it lacks memory, one after another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from harness.config.tree import RunConfig
from harness.planning.memory import Footprint, Spread

SMALL_BATCH = 8
MOST_DEVICES = 64


@dataclass(frozen=True, kw_only=True)
class Change:
    """A setting, as --set takes it, and the configuration with it."""

    setting: str
    config: RunConfig
    spread: Spread


def next_change(config: RunConfig, spread: Spread, footprint: Footprint, memory: int) -> Change | None:
    """The next setting to try where `footprint` is more than `memory` bytes; None where none is left."""
    least = sum(footprint.held.values()) + footprint.phases["step"].gradients
    of_phase = None if least > memory else _for_phase(config, spread, footprint.worst)
    return of_phase or _for_held(config, spread)


def _for_phase(config: RunConfig, spread: Spread, phase: str) -> Change | None:
    """Smaller passes, for what a phase takes."""
    rows = config.train.batch_size // spread.devices
    if phase == "update" and not spread.activation_checkpointing:
        return _execution(config, spread, activation_checkpointing=True)
    if phase == "update" and spread.micro_batch_size != 1:
        return _execution(config, spread, micro_batch_size=max(1, (spread.micro_batch_size or rows) // 4))
    if phase == "rollout" and spread.merge_adapters:
        return _execution(config, spread, merge_adapters=False)
    if phase in ("rollout", "evaluation") and spread.pack_weights:
        return _execution(config, spread, pack_weights=False)
    if phase == "rollout" and (spread.rollout_batch_size or rows) > SMALL_BATCH:
        return _execution(config, spread, rollout_batch_size=SMALL_BATCH)
    if phase == "evaluation" and spread.evaluation_batch_size > SMALL_BATCH:
        return _execution(config, spread, evaluation_batch_size=SMALL_BATCH)
    return None


def _for_held(config: RunConfig, spread: Spread) -> Change | None:
    """Smaller or shared weights, for what is held all the time."""
    model, devices = config.model, spread.devices * 2
    if model.lora.rank and model.dtype == "float32":
        smaller = replace(config, model=replace(model, dtype="bfloat16"))
        return Change(setting="model.dtype=bfloat16", config=smaller, spread=spread)
    if model.lora.rank and not model.quantization and not model.adapter and spread.on_gpu:
        smaller = replace(config, model=replace(model, quantization="nf4"))
        return Change(setting="model.quantization=nf4", config=smaller, spread=spread)
    if devices <= MOST_DEVICES and config.train.batch_size % devices == 0 and not model.quantization:
        shared = replace(spread, devices=devices, sharding="fsdp2")
        return Change(setting=f"execution.sharding=fsdp2 on {devices} devices", config=config, spread=shared)
    return None


def _execution(config: RunConfig, spread: Spread, **changes: Any) -> Change:
    ((name, value),) = changes.items()
    shown = str(value).lower() if isinstance(value, bool) else value
    return Change(setting=f"execution.{name}={shown}", config=config, spread=replace(spread, **changes))
