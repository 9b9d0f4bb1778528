"""The account of compute: a model counts its own passes, so that nobody who calls it has to.

Forward passes are counted when they are made, backward passes when a gradient arrives: a pass whose output is never
differentiated has none. The reference policy counts without its adapters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from harness.models import flops


@dataclass(kw_only=True)
class Cost:
    """forwards, backwards: rows times passes. forward_flops, backward_flops: as harness/models/flops.py counts them."""

    forwards: int = 0
    backwards: int = 0
    forward_flops: float = 0.0
    backward_flops: float = 0.0

    @property
    def flops(self) -> float:
        """Forward and backward passes together."""
        return self.forward_flops + self.backward_flops


class Meter:
    """Running totals of one model, on this process."""

    def __init__(self) -> None:
        self._total = Cost()
        self._counts = True

    @contextmanager
    def measure(self) -> Iterator[Cost]:
        """What is spent inside; the cost is filled in at the end of the block. Blocks may be nested."""
        cost, before = Cost(), Cost(**vars(self._total))
        try:
            yield cost
        finally:
            for name, value in vars(self._total).items():
                setattr(cost, name, value - getattr(before, name))

    @contextmanager
    def forgetting_failures(self) -> Iterator[None]:
        """What is spent inside counts for nothing where the block raises."""
        before = Cost(**vars(self._total))
        try:
            yield
        except BaseException:
            vars(self._total).update(vars(before))
            raise

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is spent inside counts for nothing: passes that are repeated to save memory."""
        counts, self._counts = self._counts, False
        try:
            yield
        finally:
            self._counts = counts

    def count(
        self, output: Tensor, shape: flops.ModelShape, *, rows: int, queries: int, keys: int, head_positions: int
    ) -> Tensor:
        """Counts the forward pass that gave `output`, and its backward pass once it happens; returns `output`.

        rows: 0 where only the head ran.
        """
        if not self._counts:
            return output
        sizes = {"rows": rows, "queries": queries, "keys": keys, "head_positions": head_positions}
        self._total.forwards += rows
        self._total.forward_flops += flops.forward(shape, **sizes)
        if output.requires_grad:
            backward = flops.backward(shape, **sizes)
            output.register_hook(lambda gradient: self._count_backward(rows, backward))
        return output

    def _count_backward(self, rows: int, spent: float) -> None:
        self._total.backwards += rows
        self._total.backward_flops += spent
