"""The models that come with the package, and what follows from their names. No torch.

Both take the task's compact prompt, have recipes under their own names, and are evaluated on built-in data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TINY, SMALL = "tiny", "small"
EMBEDDED = (TINY, SMALL)
PROMPTS, COMPACT = "prompts", "compact"
"""Of config.json, where a model takes compact prompts and is not the tiny one."""


def embedded(name: str) -> str:
    """Which of the two a model is, by its name or its folder's config.json; empty for all others."""
    if name in EMBEDDED:
        return name
    try:
        raw = json.loads((Path(name) / "config.json").read_bytes())
    except (OSError, ValueError):  # what is wrong with it is said when it is loaded
        return ""
    return embedded_by(raw) if isinstance(raw, dict) else ""


def embedded_by(raw: Mapping[str, Any]) -> str:
    """The same of a config.json that has been read."""
    if raw.get("tokenizer") == "characters":
        return TINY
    return SMALL if raw.get(PROMPTS) == COMPACT else ""
