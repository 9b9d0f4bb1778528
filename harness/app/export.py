"""Writing a model, or the adapter of a run, in the layout that its checkpoint was published in."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.app.models import TINY_TASK, NamedModel, named_model
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.models.export import Exported

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
SHARD_SIZE = "5GB"


def export(
    model: str | Path,
    out: str | Path,
    *,
    merge: bool = False,
    max_shard_size: str | int = SHARD_SIZE,
    adapter: str = "",
    adapter_subfolder: str = "",
    task: str = TINY_TASK,
    on_warning: Callable[[str], None] = warnings.warn,
) -> Exported:
    """Writes a model into the new folder `out`: tensors and configuration under the official names.

    model: `tiny`, a folder, a hub id, or a run folder, whose last checkpoint is taken. A model with adapters gives the
    adapter alone, or with merge the whole model. max_shard_size: bytes, or a text such as 500MB, above which weights
    are split into files. adapter: folder or hub id of adapters to put on the model. task: of the tiny model's weights.
    Raises UserError where `out` is taken or the model cannot be written so; nothing is written then.
    """
    out, most = Path(out), parse_size(str(max_shard_size))
    named = named_model(model, task=task, device="cpu", adapter=adapter, adapter_subfolder=adapter_subfolder)
    _check(named, merge=merge)

    from harness.models.adapters import merge_adapter
    from harness.models.checkpoints import locate
    from harness.models.export import export_adapter, export_model, refuse_taken
    from harness.models.hub import repository

    source = locate(named.config.name, named.task)
    refuse_taken(out)
    loaded = replace(named, config=replace(named.config, quantization="")).load(stored_dtype=True).model
    for warning in loaded.warnings:
        on_warning(warning)
    if merge:
        merge_adapter(loaded)
    if named.has_adapter and not merge:
        return export_adapter(loaded, source, out, trained_on=repository(named.config.name))
    return export_model(loaded, source, out, max_shard_size=most)


def _check(named: NamedModel, *, merge: bool) -> None:
    """Raises UserError where there is nothing to merge, or where an adapter alone would belong to no published base."""
    if merge and not named.has_adapter:
        raise UserError(f"'{named.run or named.config.name}' has no adapter to merge; leave out --merge.")
    if named.config.adapter and named.config.lora.rank and not merge:
        raise UserError(
            f"Run '{named.run}' was trained on '{named.config.adapter}' merged into '{named.config.name}'; its own "
            "adapter fits no published model. Export the whole model with --merge."
        )


def parse_size(text: str) -> int:
    """Bytes of `5GB`, `1.5 GiB` or a plain number of bytes. Raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    size = int(float(match[1]) * UNITS.get(match[2] or "B", 0)) if match else 0
    if size < 1:
        raise UserError(f"--max-shard-size '{text}' is not a size; give 500MB, 5GB, or a number of bytes.")
    return size
