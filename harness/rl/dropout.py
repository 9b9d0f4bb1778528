"""Dropout as a draw like any other: from a stream of its own, so that nothing else changes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from harness.models.diffusion_lm import DiffusionLM


@contextlib.contextmanager
def dropout_on(model: DiffusionLM, seed: int) -> Iterator[None]:
    """Inside, the network is in training mode and dropout is drawn from `seed`; afterwards it is off.

    Dropout draws from torch's global generator, which is as it was afterwards.
    """
    devices = [model.device] if model.device.type == "cuda" else []
    model.network.train()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
    model.network.eval()
