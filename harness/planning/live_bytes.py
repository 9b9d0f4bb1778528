"""How many bytes of tensors are alive while code runs, whether their memory exists or not."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE_OF = torch.ops.prim.device.default
"""What every question for a tensor's device is to a dispatch mode; nothing is made."""


class LiveBytes(TorchDispatchMode):
    """While active, counts the bytes of the storages that operations make, backward passes included; tensors that were
    there before do not count.

    vocabulary: V, the last axis of the tensors that are logits. alive: bytes. peak: the most of them at once; logits:
    those of logits among them. Not seen: what an operation takes and gives back inside itself, and tensors whose size
    only values decide.
    """

    def __init__(self, *, vocabulary: int) -> None:
        super().__init__()
        self.alive = self.peak = self.logits = 0
        self._vocabulary = vocabulary
        self._alive_logits = 0
        self._seen: set[int] = set()

    def forget_peak(self) -> None:
        """The peak so far is what is alive."""
        self.peak, self.logits = self.alive, self._alive_logits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one operation and takes in what it made."""
        if func is DEVICE_OF:
            return func(*args)
        for tensor in _tensors(args) if not kwargs else _tensors([*args, *kwargs.values()]):
            self._meet(tensor, counts=False)
        made = func(*args, **(kwargs or {}))
        for tensor in _tensors((made,)):
            self._meet(tensor, counts=True)
        return made

    def _meet(self, tensor: Tensor, *, counts: bool) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        size = size if counts and isinstance(size, int) else 0
        logits = size if tensor.ndim > 1 and tensor.shape[-1] == self._vocabulary else 0
        weakref.finalize(storage, self._forget, key, size, logits)
        self.alive += size
        self._alive_logits += logits
        if self.alive > self.peak:
            self.peak, self.logits = self.alive, self._alive_logits

    def _forget(self, key: int, size: int, logits: int) -> None:
        self._seen.discard(key)
        self.alive -= size
        self._alive_logits -= logits


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Those among the arguments or results of an operation, which have lists in them at most."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
