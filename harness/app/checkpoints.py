"""Published checkpoints: which of them can be loaded, and fetching them for machines without network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.config.published.checkpoints import PublishedCheckpoint, find_checkpoint
from harness.errors import UserError

HUB_CACHE = "hub"
"""Below HF_HOME."""


def published_checkpoint(name: str, task: str = "") -> PublishedCheckpoint:
    """The checkpoint called `name` in the register, `egspo-sa/sudoku`; with a task `egspo-sa` will do.

    Its `model`, `adapter` and `subfolder` are what harness.app.models.named_model takes. Raises UserError for an
    unknown name, and for a checkpoint that cannot be loaded, with the reason.
    """
    found = find_checkpoint(name, task)
    reason = why_not_loaded(found)
    if reason:
        raise UserError(f"Checkpoint '{found.name}' ({found.place}) cannot be loaded: {reason}.")
    return found


def why_not_loaded(checkpoint: PublishedCheckpoint) -> str:
    """Why a checkpoint cannot be loaded, empty where it can."""
    from harness.models.layouts import LAYOUTS

    if checkpoint.layout in LAYOUTS:
        return ""
    return f"its layout is {checkpoint.layout}, and this harness reads {', '.join(LAYOUTS)}"


def pull(checkpoints: Sequence[PublishedCheckpoint], home: Path) -> Iterator[PublishedCheckpoint]:
    """Fetches checkpoints with their bases into a cache that HF_HOME=`home` names, and yields each when it is there,
    its revision being the commit that was fetched.

    Raises UserError where one cannot be fetched; what is there stays.
    """
    from harness.models.hub import adapter_folder, commit, model_folder

    cache = home / HUB_CACHE
    for checkpoint in checkpoints:
        place = model_folder(checkpoint.model, cache=cache)
        if checkpoint.adapter:
            place = adapter_folder(checkpoint.adapter, checkpoint.subfolder, cache=cache)
        yield replace(checkpoint, revision=commit(place))
