"""Splits of data sets on the Hugging Face hub, at a fixed revision, through the `datasets` library and its cache."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UserError

COMMIT = re.compile(r"[/\\]([0-9a-f]{40})[/\\]")


@dataclass(frozen=True, kw_only=True)
class HubSplit:
    """A split of a data set. revision: a commit; `main`, which moves, only where no commit was to be verified."""

    dataset: str
    split: str
    config: str | None = None
    revision: str = "main"


@dataclass(frozen=True, kw_only=True)
class HubRows:
    """The rows of a split and the commit that they are of (the revision's name where the library does not say)."""

    rows: list[Mapping[str, Any]]
    revision: str


def read_hub(place: HubSplit) -> HubRows:
    """All rows of a split, from the cache where they are there. Raises UserError where they are not to be had."""
    loaded = _load(place)
    return HubRows(rows=[dict(row) for row in loaded], revision=_commit(loaded, place))


def hub_origin(place: HubSplit) -> dict[str, Any]:
    """Where the rows come from, for the record."""
    return {
        "dataset": place.dataset,
        "config": place.config,
        "split": place.split,
        "revision": _commit(_load(place), place),
    }


@functools.cache
def _load(place: HubSplit) -> Any:
    import datasets
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    # Among the bases is the error of whichever library the hub's client talks through; it raises that one, too.
    errors: tuple[type[BaseException], ...] = (OSError, ValueError, DatasetsError, *HfHubHTTPError.__bases__)
    try:
        return datasets.load_dataset(place.dataset, place.config, split=place.split, revision=place.revision)
    except errors as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise UserError(
            f"Data set '{place.dataset}' cannot be had from the hub ({reason}); on a machine with network run "
            "`harness data pull --to DIR`, then use --data DIR."
        ) from error


def _commit(loaded: Any, place: HubSplit) -> str:
    """The library keeps what it loaded in a folder that has the commit's name."""
    found = [COMMIT.search(file["filename"]) for file in loaded.cache_files]
    return next((match.group(1) for match in found if match), place.revision)
