"""The values that count for nothing in the name of a run's folder. No torch.

Written once. A key added to the configuration is added here with its default, so that no run changes its name. A value
that stands here never changes, whatever becomes of the default: a run that has the new default gets a name of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

VALUES: Mapping[str, Any] = {
    "reward": "task",
    "model.name": "tiny",
    "model.dtype": "float32",
    "model.compute_dtype": "",
    "model.lora.rank": 0,
    "model.lora.alpha": 64.0,
    "model.lora.dropout": 0.0,
    "model.lora.targets": "all",
    "model.adapter": "",
    "model.adapter_subfolder": "",
    "model.quantization": "",
    "data.test": "",
    "data.train": "",
    "data.few_shot": 0,
    "data.prompts": "",
    "data.allow_packages": (),
    "rollout.completion_length": 16,
    "rollout.block_length": 16,
    "rollout.num_steps": 4,
    "rollout.schedule": "even",
    "rollout.temperature": 1.0,
    "rollout.top_k": 0,
    "rollout.top_p": 1.0,
    "rollout.top_p_keeps_crossing": True,
    "rollout.guidance_scale": 0.0,
    "rollout.remasking": "low_confidence",
    "rollout.ranking": "untempered",
    "rollout.eos_policy": "stop",
    "train.batch_size": 64,
    "train.group_size": 8,
    "train.max_prompt_length": 0,
    "optimizer.learning_rate": 3e-4,
    "optimizer.schedule": "constant",
    "optimizer.warmup_updates": 0,
    "optimizer.beta1": 0.9,
    "optimizer.beta2": 0.99,
    "optimizer.epsilon": 1e-8,
    "optimizer.weight_decay": 0.1,
    "optimizer.max_gradient_norm": 0.2,
    "conventions.warmup_start": "first",
    "conventions.decay_from": "start",
    "conventions.weight_decay_on": "matrices",
    "conventions.reward_text": "until-end",
    "conventions.end_tokens": "turn-and-text",
    "conventions.dropout_in_rollouts": False,
    "conventions.attended_padding": 0,
    "conventions.micro_batch_rows": 0,
    "conventions.accumulated_batches": 1,
    "conventions.prompt_stride": 1,
    "budget.updates": 0,
    "budget.samples": 0,
    "budget.flops": 0.0,
    "budget.minutes": 0.0,
    "evaluation.every": 0,
    "evaluation.items": 256,
    "evaluation.split": "test",
    "evaluation.decodings": (),
    "evaluation.lengths": (),
    "evaluation.validation_items": 0,
    "evaluation.decoding.completion_length": 16,
    "evaluation.decoding.block_length": 16,
    "evaluation.decoding.num_steps": 8,
    "evaluation.decoding.schedule": "even",
    "evaluation.decoding.temperature": 0.0,
    "evaluation.decoding.top_k": 0,
    "evaluation.decoding.top_p": 1.0,
    "evaluation.decoding.top_p_keeps_crossing": True,
    "evaluation.decoding.guidance_scale": 0.0,
    "evaluation.decoding.remasking": "low_confidence",
    "evaluation.decoding.ranking": "untempered",
    "evaluation.decoding.eos_policy": "stop",
}

_EGSPO: Mapping[str, Any] = {
    "num_selected": 8,
    "selection": "entropy",
    "until_last_non_eos": False,
    "aggregation": "sum",
    "clip_low": 0.2,
    "clip_high": 0.5,
    "beta": 0.0,
    "kl": "k3",
    "slots_per_update": 1,
    "stepwise_lambda": 0.0,
    "normalize_returns": True,
    "correctness_only": False,
    "stepwise_after_baseline": False,
    "baseline": "rank",
    "greedy": "auto",
}

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "agrpo": {
        "mc_samples": 24,
        "importance": "entropy",
        "draws": "low-discrepancy",
        "clip_low": 0.2,
        "clip_high": 0.2,
        "beta": 0.0,
        "divisor": "group",
        "stepping": "accumulate",
        "last_draw_weight": 1.0,
        "loss_scale": 1.0,
    },
    "d1": {
        "inner_updates": 12,
        "p_mask_prompt": 0.15,
        "random_masking": True,
        "clip": 0.5,
        "beta": 0.04,
        "guidance_scale": 0.0,
    },
    "egspo": _EGSPO,
    "egspo-sa": {**_EGSPO, "stepwise_lambda": 0.5},
    "espo": {
        "inner_updates": 8,
        "mc_samples": 2,
        "coupled": True,
        "clip_low": 0.2,
        "clip_high": 0.2,
        "beta": 0.01,
        "scale_rewards": False,
    },
}
"""Of the built-in methods. All options of other methods count."""


def neutral_values(method: str) -> dict[str, Any]:
    """By dotted key, the values that count for nothing in the name of a run of `method`."""
    return {**VALUES, **{f"method.{name}": value for name, value in OPTIONS.get(method, {}).items()}}
