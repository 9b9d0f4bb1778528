"""Splits of data sets on the Hugging Face hub, at a fixed revision, through the `datasets` library and its cache; and
what is said where the hub does not give what it was asked for."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
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
    """All rows of a split, from the cache where it holds them. Raises UserError where they cannot be fetched."""
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


@contextlib.contextmanager
def fetching(what: str, *, fix: str, also: Sequence[type[Exception]] = ()) -> Iterator[None]:
    """Inside, an error of the hub's client becomes a UserError: `what` could not be fetched, and how to `fix` it.

    also: errors of the library that is in between.
    """
    try:
        yield
    except client_errors() + tuple(also) as error:
        raise UserError(f"{what} could not be fetched from the hub ({reason_of(error)}); {fix}.") from error


def client_errors() -> tuple[type[BaseException], ...]:
    """What the hub's client raises where the hub cannot be reached or refuses."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    # The bases are errors of whichever library the hub's client talks through; the client raises those, too.
    return (OSError, ValueError, EntryNotFoundError, *HfHubHTTPError.__bases__)


def reason_of(error: BaseException) -> str:
    """The first line of what an error says, else its name."""
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


@functools.cache
def _load(place: HubSplit) -> Any:
    import datasets
    from datasets.exceptions import DatasetsError

    fix = "on a machine with network run `harness data pull --to DIR`, then use --data DIR"
    with fetching(f"Data set '{place.dataset}'", fix=fix, also=[DatasetsError]):
        return datasets.load_dataset(place.dataset, place.config, split=place.split, revision=place.revision)


def _commit(loaded: Any, place: HubSplit) -> str:
    """The library keeps what it loaded in a folder that has the commit's name."""
    found = [COMMIT.search(file["filename"]) for file in loaded.cache_files]
    return next((match.group(1) for match in found if match), place.revision)
