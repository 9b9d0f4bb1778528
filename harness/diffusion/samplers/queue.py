"""Which rows are computed next. The batch is made anew for every block: rows that are finished leave, and others take
their places.

All rows of a batch are at the same block, so they keep step whatever the schedule and the cache.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


class BlockQueue:
    """Rows by the block that they wait for, in the order in which they came to it."""

    def __init__(self, rows: Sequence[int], blocks: int) -> None:
        self._waiting: list[list[int]] = [list(rows), *([] for _ in range(blocks - 1))]

    def __bool__(self) -> bool:
        """Whether any row is unfinished."""
        return any(self._waiting)

    def next(self, most: int) -> tuple[int, list[int]]:
        """A block and up to `most` rows that wait for it: the last block that fills a batch, so that rows are finished
        soon; where none does, the first that any row waits for, so that those further on are joined by others."""
        waited_for = [block for block, rows in enumerate(self._waiting) if rows]
        full = [block for block in waited_for if len(self._waiting[block]) >= most]
        block = full[-1] if full else waited_for[0]
        return block, self._waiting[block][:most]

    def advance(self, block: int, rows: Collection[int], going_on: Sequence[int]) -> None:
        """`rows` have finished a block, of which some go on with the next."""
        self._waiting[block] = [row for row in self._waiting[block] if row not in rows]
        if going_on:
            self._waiting[block + 1] += going_on
