"""How many bytes of tensors are alive while code runs, whether their memory exists or not."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


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

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs one operation and takes in what it made."""
        for value in tree_iter((args, kwargs)):
            if isinstance(value, Tensor):
                self._meet(value, counts=False)
        made = func(*args, **(kwargs or {}))
        for value in tree_iter(made):
            if isinstance(value, Tensor):
                self._meet(value, counts=True)
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
