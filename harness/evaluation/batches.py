"""Rows of like length together, padded on the left to a multiple of PAD_MULTIPLE.

The padded length of a row depends on the row alone, never on its neighbours: a forward pass then sees the same numbers
at the same places whatever else is in the batch, which is what makes answers independent of batch size and order.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from harness.errors import UserError

PAD_MULTIPLE = 32
LARGEST_AUTO = 64

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)


def padded_length(length: int) -> int:
    """The next multiple of PAD_MULTIPLE, at least one."""
    return max(1, -(-length // PAD_MULTIPLE)) * PAD_MULTIPLE


class BatchSize:
    """How many rows a forward pass has: a number, or `auto`, which halves itself when memory runs out."""

    def __init__(self, value: int | str, largest: int = LARGEST_AUTO) -> None:
        """Raises UserError for anything but a number above 0 and `auto` (or lm-eval's auto:N, which means the same)."""
        text = str(value)
        self.is_auto = text == "auto" or text.startswith("auto:")
        if not self.is_auto and (not text.isdigit() or int(text) < 1):
            raise UserError(f"batch_size={value} is neither a number above 0 nor 'auto'.")
        if largest < 1:
            raise UserError(f"max_batch_size={largest} must be above 0.")
        self.rows = largest if self.is_auto else int(text)

    def fitting(self, wanted: int, attempt: Callable[[int], Result]) -> Result:
        """`attempt` with `wanted` rows or, where `auto` has found that these do not fit, with fewer."""
        while True:
            size = min(wanted, self.rows)
            try:
                return attempt(size)
            except torch.OutOfMemoryError:
                if not self.is_auto or size == 1:
                    raise
            self.rows = size // 2
            log.warning("Out of memory: the batch size is now %d.", self.rows)

    def run(
        self, items: Sequence[Item], function: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Iterator[tuple[Item, Result]]:
        """`function` of batches of the items, pair by pair as they are done."""
        rest = items
        while rest:
            results = self.fitting(len(rest), functools.partial(_of_the_first, function, rest))
            yield from zip(rest, results, strict=False)
            rest = rest[len(results) :]


def _of_the_first(function: Callable[[Sequence[Item]], Result], items: Sequence[Item], size: int) -> Result:
    return function(items[:size])
