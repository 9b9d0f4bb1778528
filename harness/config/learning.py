"""Settings of training that are out of their range, or with which no run can learn anything. No torch."""

from __future__ import annotations

import dataclasses
import math

from harness.config.tree import ModelConfig, OptimizerConfig, RunConfig
from harness.errors import UserError, require_positive


def check_learning(config: RunConfig) -> None:
    """Raises UserError for the first such setting, of those that no method can do with."""
    _check_optimizer(config.optimizer)
    check_adapters(config.model)
    if config.train.max_prompt_length < 0:
        raise UserError(f"train.max_prompt_length={config.train.max_prompt_length} is negative; 0 is no limit.")
    if config.evaluation.every < 0:
        raise UserError(f"evaluation.every={config.evaluation.every} is negative; 0 is at the start and the end.")


def _check_optimizer(optimizer: OptimizerConfig) -> None:
    require_positive(
        "optimizer",
        learning_rate=optimizer.learning_rate,
        epsilon=optimizer.epsilon,
        max_gradient_norm=optimizer.max_gradient_norm,
    )
    for name in ("beta1", "beta2"):
        if not 0 <= (value := getattr(optimizer, name)) < 1:
            raise UserError(f"optimizer.{name}={value} must be at least 0 and below 1.")
    for name in ("weight_decay", "warmup_updates"):
        if (value := getattr(optimizer, name)) < 0:
            raise UserError(f"optimizer.{name}={value} is negative; 0 is none.")
    for name, value in dataclasses.asdict(optimizer).items():
        if isinstance(value, float) and math.isinf(value) and name != "max_gradient_norm":
            raise UserError(f"optimizer.{name}={value} is not finite; lower it.")


def check_adapters(model: ModelConfig) -> None:
    """Raises UserError for adapters that would change nothing or that there cannot be."""
    lora = model.lora
    if lora.rank < 0:
        raise UserError(f"model.lora.rank={lora.rank} is negative; 0 trains all weights.")
    if lora.rank and not (math.isfinite(lora.alpha) and lora.alpha > 0):
        raise UserError(f"model.lora.alpha={lora.alpha} must be above 0: adapters count alpha / rank.")
    if lora.rank and not 0 <= lora.dropout < 1:
        raise UserError(f"model.lora.dropout={lora.dropout} must be at least 0 and below 1, which drops all inputs.")


def require_differences(config: RunConfig) -> None:
    """Raises UserError where the completions of a prompt cannot differ, for a method that learns from how they do."""
    name, rollout = config.method.name, config.rollout
    if config.train.group_size < 2:
        raise UserError(
            f"train.group_size={config.train.group_size}: {name} compares with the other completions of a prompt, and "
            "there are none; set 2 or more."
        )
    is_drawn = rollout.remasking == "random" or config.conventions.dropout_in_rollouts or config.reward == "random"
    if is_drawn or (rollout.temperature and rollout.top_k != 1):
        return
    setting, fix = (
        (f"rollout.top_k={rollout.top_k}", "to 0 for none")
        if rollout.temperature
        else (f"rollout.temperature={rollout.temperature:g}", "above 0")
    )
    raise UserError(
        f"{setting} makes all completions of a prompt equal, and {name} learns from how they differ; set it {fix}."
    )
