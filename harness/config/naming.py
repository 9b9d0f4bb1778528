"""The hash that names a run's folder. No torch."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from harness.config.frozen import neutral_values
from harness.config.resolve import flatten
from harness.config.tree import RunConfig


def config_hash(config: RunConfig) -> str:
    """Eight hex digits over the values that differ from the frozen ones (harness/config/frozen.py).

    The seed is left out, and so is the budget where the learning rate does not depend on it: such a run can be given a
    longer budget and goes on.
    """
    neutral = neutral_values(config.method.name)
    return digest({key: value for key, value in named_values(config).items() if neutral.get(key) != value})


def named_values(config: RunConfig) -> dict[str, Any]:
    """The values that may count, by dotted key."""
    is_open_ended = config.optimizer.schedule == "constant"
    return {
        key: value
        for key, value in flatten(config.to_dict()).items()
        if key != "seed" and not (is_open_ended and key.startswith("budget."))
    }


def digest(tree: dict[str, Any]) -> str:
    """Eight hex digits of the JSON of plain values."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]
