"""The layouts of all families that can be loaded: one file of harness/models/families/ each, found by being there."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import UserError, unknown_choice
from harness.models import families
from harness.models.files import read_json
from harness.models.layout import CONFIG_JSON, Layout
from harness.records.run_folder import CONFIG_FILE


def _layouts() -> Iterator[Layout]:
    for module in pkgutil.iter_modules(families.__path__, f"{families.__name__}."):
        yield importlib.import_module(module.name).LAYOUT


LAYOUTS = {layout.model_type: layout for layout in _layouts()}


def read_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's config.json. Raises UserError where it is missing, damaged or of an unknown architecture."""
    path = folder / CONFIG_JSON
    if not path.is_file() and (folder / CONFIG_FILE).is_file():
        raise UserError(f"'{folder}' is a run; write its model with harness export first, and give that folder.")
    if not path.is_file():
        raise UserError(
            f"Model '{folder}' has no config.json; name 'tiny', 'small', a hub id, or a folder with config.json and "
            "safetensors."
        )
    raw = read_json(path)
    kind = str(raw.get("model_type"))
    if kind not in LAYOUTS:
        raise unknown_choice(f"architecture: model_type in '{path}' is", kind, LAYOUTS)
    return raw


def layout_of(raw: Mapping[str, Any]) -> Layout:
    """The layout of a config.json that `read_config` has read."""
    return LAYOUTS[raw["model_type"]]
