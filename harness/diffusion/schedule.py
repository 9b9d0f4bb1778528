"""How many positions each unmasking step reveals."""

from __future__ import annotations

from itertools import pairwise

from harness.config.decoding import Decoding

DREAM_LAST_TIME = 1e-3


def reveal_counts(decoding: Decoding) -> list[list[int]]:
    """Per block, the number of positions that each of its steps reveals.

    Evenly, the steps are shared among the blocks and each block's positions among its steps: 8 tokens in blocks of 4
    with 5 steps give [[2, 1, 1], [2, 2]]. Dream's schedule has one block.
    """
    if decoding.schedule == "dream":
        return [dream_counts(decoding.completion_length, decoding.num_steps)]
    blocks = decoding.completion_length // decoding.block_length
    return [share_evenly(decoding.block_length, steps) for steps in share_evenly(decoding.num_steps, blocks)]


def share_evenly(total: int, parts: int) -> list[int]:
    """`total` in `parts` near-equal shares, the first total mod parts one larger (LLaDA's transfer table, per
    block)."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def dream_counts(length: int, num_steps: int) -> list[int]:
    """Dream: time falls evenly from 1 to 0.001; step i reveals the whole part of masked * (1 - t[i+1] / t[i]), the
    last all."""
    times = [1 + (DREAM_LAST_TIME - 1) * index / num_steps for index in range(num_steps + 1)]
    counts: list[int] = []
    for now, following in pairwise(times[:-1]):
        counts.append(int((length - sum(counts)) * (1 - following / now)))
    return [*counts, length - sum(counts)]
