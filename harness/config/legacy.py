"""How runs were named before the hash covered what decides the outcome alone, so that those still go on. No torch."""

from __future__ import annotations

import dataclasses

from harness.config.decoding import YOUNGER as YOUNGER_DECODING
from harness.config.frozen import neutral_values
from harness.config.naming import digest
from harness.config.resolve import flatten, nested
from harness.config.tree import Execution, RunConfig
from harness.records.description import MOVED

RENAMED = {"method.guidance_scale": "method.cfg_scale"}
"""Today's names of keys to those of then."""

YOUNGER = (
    "data.few_shot",
    "data.prompts",
    "data.allow_packages",
    "conventions.",
    "model.compute_dtype",
    "optimizer.min_lr_rate",
    *(f"{section}.{key}" for section in ("rollout", "evaluation.decoding") for key in YOUNGER_DECODING),
    "evaluation.decodings",
    "evaluation.lengths",
    "evaluation.validation_items",
    "method.stepping",
    "method.last_draw_weight",
    "method.loss_scale",
)
"""Keys, or beginnings of keys, that the first runs did not have: they count where they are used. A key added from now
on belongs here."""


def legacy_hash(config: RunConfig, execution: Execution) -> str:
    """The hash over all values but the seed and the device, the budget and micro-batches among them."""
    values = flatten(config.to_dict())
    for old, new in MOVED.items():
        values[old] = dataclasses.asdict(execution)[new.removeprefix("execution.")]
    for new, old in RENAMED.items():
        if new in values:
            values[old] = values.pop(new)
    for key in ("seed", "model.device"):
        del values[key]
    neutral = neutral_values(config.method.name)
    unused = [key for key, value in values.items() if key.startswith(YOUNGER) and value == neutral.get(key)]
    return digest(nested({key: value for key, value in values.items() if key not in unused}))
