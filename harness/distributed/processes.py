"""Which of several processes this one is, as torchrun and accelerate launch tell by environment variables. No torch."""

from __future__ import annotations

import os


def is_main() -> bool:
    """Whether this is the only process, or the first of all: the one that writes and prints."""
    return os.environ.get("RANK", "0") == "0"


def local_index() -> int:
    """The place of this process among those of its machine: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))
