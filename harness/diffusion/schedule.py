"""How many positions each unmasking step reveals."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate, pairwise

import torch

from harness.config.decoding import Decoding
from harness.models.attention import COMPLETION, FULL, Attention

DREAM_LAST_TIME = 1e-3


def reveal_counts(decoding: Decoding) -> list[list[int]]:
    """Per block, the number of positions that each of its steps reveals.

    Evenly, the steps are shared among the blocks and each block's positions among its steps: 8 tokens in blocks of 4
    with 5 steps give [[2, 1, 1], [2, 2]]. Dream's schedule has one block, with a cache several. dllm's gives every
    block as many steps, rounded up, and its last block may be short.
    """
    return [step_counts(decoding, block, length) for block, length in enumerate(block_lengths(decoding))]


def step_counts(decoding: Decoding, block: int, masked: int) -> list[int]:
    """The same of block number `block` where `masked` of its positions are masked, in at most as many steps."""
    blocks = len(block_lengths(decoding))
    if not masked:
        return []
    if decoding.schedule == "dllm":
        return dllm_counts(masked, -(-decoding.num_steps // blocks))
    steps = share_evenly(decoding.num_steps, blocks)[block]
    if decoding.schedule == "dream":
        return dream_counts(masked, steps) if decoding.cache == "none" else dream_cached_counts(masked, steps)
    return share_evenly(masked, steps)


def block_lengths(decoding: Decoding) -> list[int]:
    """Tokens of each block."""
    starts = range(0, decoding.completion_length, decoding.block_length)
    return [min(decoding.block_length, decoding.completion_length - start) for start in starts]


def block_bounds(decoding: Decoding, block: int) -> tuple[int, int]:
    """Where a block begins and ends in the completion."""
    first = block * decoding.block_length
    return first, min(first + decoding.block_length, decoding.completion_length)


def most_steps(decoding: Decoding, attention: Attention = FULL) -> int:
    """The steps that a completion takes without an early stop or, where rows have steps of their own, the most that it
    may take."""
    length = decoding.completion_length
    if decoding.entropy_bound or (decoding.adaptive and not attention.block_length):
        return length
    if not attention.block_length:
        return sum(map(len, reveal_counts(decoding)))
    if attention.blocks_from == COMPLETION:
        return sum(len(block_diffusion_counts(decoding, block)) for block in block_lengths(decoding))
    revealed = list(accumulate(block_diffusion_counts(decoding, attention.block_length)))
    return max(_steps_after(begun, length, revealed) for begun in range(attention.block_length))


def _steps_after(begun: int, length: int, revealed: list[int]) -> int:
    """Steps of `length` tokens whose first block begins with `begun` tokens of the prompt. revealed: how many tokens of
    a block are, after each of its steps."""
    size = revealed[-1]
    first = min(size - begun, length)
    whole, last = divmod(length - first, size)
    return bisect_left(revealed, first) + 1 + whole * len(revealed) + (bisect_left(revealed, last) + 1 if last else 0)


def block_diffusion_counts(decoding: Decoding, length: int) -> list[int]:
    """At least how many of the `length` tokens of a block each of its steps reveals: all blocks have as many steps, and
    one that reveals nothing is left out."""
    steps = -(-decoding.num_steps // len(block_lengths(decoding)))
    counts = dllm_counts(length, steps) if decoding.schedule == "dllm" else share_evenly(length, steps)
    return [count for count in counts if count]


def share_evenly(total: int, parts: int) -> list[int]:
    """`total` in `parts` near-equal shares, the first total mod parts one larger (LLaDA's transfer table, per
    block)."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def dllm_counts(length: int, num_steps: int) -> list[int]:
    """dllm: with j steps left, the part 1 - ((j-1)/T) / (j/T) of what is masked, rounded half to even; steps that
    reveal nothing are left out. 8 tokens in 3 steps give 3, 2, 3.

    The part is float32, with times counted down from 1, and its product with the masked positions float64: this decides
    what is half.
    """
    left_T = torch.arange(num_steps, 0, -1, dtype=torch.float32)
    part_T = 1 - (1 - (1 - (left_T - 1) / num_steps)) / (1 - (1 - left_T / num_steps))
    counts: list[int] = []
    for part in part_T.tolist():
        counts.append(round((length - sum(counts)) * part))
    return [count for count in counts if count]


def dream_counts(length: int, num_steps: int) -> list[int]:
    """Dream: time falls evenly from 1 to 0.001; step i reveals the whole part of masked * (1 - t[i+1] / t[i]), the
    last all."""
    return _dream(length, num_steps, [])


def dream_cached_counts(length: int, num_steps: int) -> list[int]:
    """Dream with a cache: step 0, the pass over the whole sequence, reveals one position, the others as ever."""
    return _dream(length, num_steps, [1][: num_steps - 1])


def _dream(length: int, num_steps: int, counts: list[int]) -> list[int]:
    """`counts` of the first steps and Dream's of the others."""
    times = [1 + (DREAM_LAST_TIME - 1) * index / num_steps for index in range(num_steps + 1)]
    for now, following in list(pairwise(times[:-1]))[len(counts) :]:
        counts.append(int((length - sum(counts)) * (1 - following / now)))
    return [*counts, length - sum(counts)]
