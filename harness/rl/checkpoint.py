"""Checkpoints of training: the trainable weights, the optimiser, and the counters, complete or not there at all.

A checkpoint is a folder `checkpoints/update-000048/`; it is written beside its place and renamed into it, and its
state.json holds the hashes of the other files. Random streams are functions of (seed, name, iteration), so no
generator state is kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.config.keep import Keep
from harness.distributed.sharding import part_like
from harness.errors import UserError
from harness.models.files import save_tensors, sync
from harness.records.jsonl import write_atomic
from harness.records.run_folder import CHECKPOINT_STATE
from harness.records.schema import SCHEMA_VERSION
from harness.rl.ledger import Progress

log = logging.getLogger(__name__)

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.pt", CHECKPOINT_STATE


def trainable_weights(network: nn.Module) -> dict[str, Tensor]:
    """The weights that training changes, by name."""
    return {name: weight for name, weight in network.named_parameters() if weight.requires_grad}


def save(folder: Path, weights: Mapping[str, Tensor], optimizer: Mapping[str, Any], progress: Progress) -> Path:
    """Writes the checkpoint of `progress.update` below `folder`; returns its path.

    Raises OSError where it cannot be written.
    """
    place = folder / f"update-{progress.update:06d}"
    temporary = folder / f".{place.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        save_tensors(weights, temporary / WEIGHTS)
        _save_optimizer(optimizer, temporary / OPTIMIZER)
        hashes = {name: _sha256(temporary / name) for name in (WEIGHTS, OPTIMIZER)}
        state = {"schema": SCHEMA_VERSION, "progress": asdict(progress), "sha256": hashes}
        write_atomic(temporary / STATE, json.dumps(state, indent=2, sort_keys=True) + "\n")
        sync(temporary)
        _put(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    log.info("Checkpoint: %s", place)
    return place


def prune(folder: Path, keep: Keep, *, best: int | None, updates_per_step: int, spare: bool) -> None:
    """Removes the checkpoints that need not stay, and what a kill has left of others.

    best: the update of the best one, where it is known. spare: whether the last but one stays in any case, for a run
    whose last one is found torn.
    """
    saved = {update_of(place) // updates_per_step: place for place in checkpoints(folder)}
    steps = list(saved)
    chosen = {*keep.chosen(steps, best=best and best // updates_per_step), *(steps[-2:] if spare else ())}
    for step in saved.keys() - chosen:
        shutil.rmtree(saved[step])
    for left in folder.glob(".update-*"):
        shutil.rmtree(left)


def last_whole(folder: Path) -> tuple[Path, Progress] | None:
    """The newest checkpoint that is not damaged, and its counters; newer ones are removed. None where there is none.

    Raises UserError where all are damaged.
    """
    saved = checkpoints(folder)
    for place in reversed(saved):
        try:
            progress = load_progress(place)
        except UserError:
            if place == saved[0]:
                raise
            continue
        for torn in saved[saved.index(place) + 1 :]:
            shutil.rmtree(torn)
        log.info("Going on from %s", place)
        return place, progress
    return None


def update_of(place: Path) -> int:
    """The number of updates before a checkpoint."""
    return int(place.name.removeprefix("update-"))


def _put(folder: Path, place: Path) -> None:
    """Renames a folder; one that is at its place already goes when the new one is there."""
    replaced = place.with_name(f".{place.name}.old")
    shutil.rmtree(replaced, ignore_errors=True)
    if place.exists():
        os.replace(place, replaced)
    try:
        os.replace(folder, place)
    except OSError:
        if replaced.exists():
            os.replace(replaced, place)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _save_optimizer(optimizer: Mapping[str, Any], path: Path) -> None:
    """torch hides the error of a write behind one of its own, and of a path that it opens itself it has none."""
    try:
        with open(path, "wb") as stream:
            torch.save(optimizer, stream)
        sync(path)
    except RuntimeError as error:
        if not isinstance(error.__context__, OSError):
            raise
        raise OSError(error.__context__.errno, error.__context__.strerror, str(path)) from error


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints below `folder`, oldest first."""
    return sorted(folder.glob("update-*")) if folder.is_dir() else []


def load_progress(place: Path) -> Progress:
    """The counters of a checkpoint. Raises UserError where it is damaged: a hash differs or a file is missing."""
    try:
        state = json.loads((place / STATE).read_text())
        damaged = [name for name, digest in state["sha256"].items() if _sha256(place / name) != digest]
        progress = Progress.from_json(state["progress"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _corrupt(place, str(error)) from error
    if state["schema"] != SCHEMA_VERSION:
        raise _corrupt(place, f"schema {state['schema']}, this version reads {SCHEMA_VERSION}")
    if damaged:
        raise _corrupt(place, f"{', '.join(damaged)} differs from its recorded hash")
    return progress


def load_weights(place: Path, network: nn.Module) -> None:
    """Copies a checkpoint's weights into the network. Raises UserError where names or shapes differ."""
    try:
        saved = load_file(place / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise _corrupt(place, str(error)) from error
    weights = trainable_weights(network)
    if saved.keys() != weights.keys() or any(saved[name].shape != weights[name].shape for name in saved):
        raise UserError(f"Checkpoint '{place}' is of another model: its weights have other names or shapes.")
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(part_like(saved[name], weight))


def load_optimizer(place: Path) -> dict[str, Any]:
    """The optimiser's state dictionary. Raises UserError where it is damaged."""
    try:
        return torch.load(place / OPTIMIZER, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise _corrupt(place, str(error)) from error


def _corrupt(place: Path, reason: str) -> UserError:
    return UserError(f"Checkpoint '{place}' is corrupt ({reason}); start over with --fresh.")


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
