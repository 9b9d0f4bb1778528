"""How many positions each unmasking step reveals."""

from __future__ import annotations


def share_evenly(total: int, parts: int) -> list[int]:
    """`total` in `parts` near-equal shares, the first total mod parts one larger (LLaDA's transfer table, per
    block)."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def reveal_counts(completion_length: int, block_length: int, num_steps: int) -> list[list[int]]:
    """Per block, the number of positions that each of its steps reveals; the steps are shared evenly among the blocks.

    Example: 8 tokens in blocks of 4 with 5 steps give [[2, 1, 1], [2, 2]].
    """
    blocks = completion_length // block_length
    return [share_evenly(block_length, steps) for steps in share_evenly(num_steps, blocks)]
