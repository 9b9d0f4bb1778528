"""Which of several processes says what has ended them, where each has seen something else: the first that ends."""

from __future__ import annotations

import atexit
import os
import time
from typing import Any

from harness.distributed.processes import AGENT_STORE, count, is_main, is_one_of_several

ENDED = "harness/ended"
PATIENCE = 2.0
"""Seconds that the process which has the others' common store stays for them to look into it."""


def is_first_to_end() -> bool:
    """Whether no other process has asked this before. Each asks once, before it says why it ends.

    Where the store that they share is gone with the process that had it, nobody knows, and each is the first.
    """
    if not is_one_of_several():
        return True
    import torch.distributed as dist

    if not dist.is_initialized():
        return True
    store = dist.distributed_c10d._get_default_store()
    try:
        is_first = store.add(ENDED, 1) == 1
    except RuntimeError:
        return True
    if is_main() and os.environ.get(AGENT_STORE) != "True":
        atexit.register(_stay, store)
    return is_first


def _stay(store: Any) -> None:
    """Leaves the others, which then find that it is gone, and waits until they have ended too."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
    last = time.monotonic() + PATIENCE
    while store.add(ENDED, 0) < count() and time.monotonic() < last:
        time.sleep(0.02)
