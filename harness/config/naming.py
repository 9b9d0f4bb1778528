"""The hash that names a run's folder. No torch."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from harness.config.frozen import neutral_values
from harness.config.resolve import flatten
from harness.config.tree import RunConfig

YES, NO, BESIDE, UNDER_A_SCHEDULE = "yes", "no", "beside the hash", "under a schedule"


def config_hash(config: RunConfig) -> str:
    """Eight hex digits over the values that differ from the frozen ones (harness/config/frozen.py).

    The seed is left out, and so is the budget where the learning rate does not depend on it: such a run can be given a
    longer budget and goes on.
    """
    neutral = neutral_values(config.method.name)
    return digest({key: value for key, value in named_values(config).items() if neutral.get(key) != value})


def named_values(config: RunConfig) -> dict[str, Any]:
    """The values that may count, by dotted key."""
    counted = (YES,) if config.optimizer.schedule == "constant" else (YES, UNDER_A_SCHEDULE)
    return {key: value for key, value in flatten(config.to_dict()).items() if counts(key) in counted}


def counts(key: str) -> str:
    """Whether a dotted key counts in the name of a run's folder: where its value differs from the frozen one (yes),
    not at all, beside the hash, or where the learning rate depends on the budget."""
    if key.startswith("execution."):
        return NO
    if key == "seed":
        return BESIDE
    return UNDER_A_SCHEDULE if key.startswith("budget.") else YES


def digest(tree: dict[str, Any]) -> str:
    """Eight hex digits of the JSON of plain values."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]
