"""4x4 Sudoku puzzles: all 288 solved grids, puzzles that one of them alone solves, and splits that share no grid.

Axes: N puzzles, G grids (288), C cells (16), I indicators, one per cell and digit (64).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from harness.task.base import SPLITS

CELLS = 16
MIN_BLANKS, MAX_BLANKS = 6, 11
SPLIT_SEED = 4288
DEMONSTRATIONS_AT_ONCE = 8192

Cells = NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """How many of the 288 solution grids a builtin split owns, how many puzzles it has, and their seed."""

    grids: int
    puzzles: int
    seed: int


PLANS: Mapping[str, SplitPlan] = {
    "train": SplitPlan(grids=192, puzzles=4096, seed=SPLIT_SEED + 1),
    "validation": SplitPlan(grids=32, puzzles=256, seed=SPLIT_SEED + 2),
    "test": SplitPlan(grids=64, puzzles=512, seed=SPLIT_SEED + 3),
}


def _obeys_boxes(upper: tuple[int, ...], lower: tuple[int, ...]) -> bool:
    return len({*upper[:2], *lower[:2]}) == len({*upper[2:], *lower[2:]}) == 4


@cache
def all_grids() -> Cells:
    """The 288 solved grids in rising order, int8 (G, C); read-only."""
    rows = list(permutations((1, 2, 3, 4)))
    bands = [band for band in product(rows, rows) if _obeys_boxes(*band)]
    stacks = (top + bottom for top, bottom in product(bands, bands))
    grids = [stack for stack in stacks if all(len(set(column)) == 4 for column in zip(*stack, strict=True))]
    grids_GC = np.array(grids, dtype=np.int8).reshape(-1, CELLS)
    grids_GC.setflags(write=False)
    return grids_GC


@cache
def legal_texts() -> frozenset[str]:
    """The 288 solved grids as 16-digit strings."""
    return frozenset(to_texts(all_grids()))


def to_texts(cells_NC: Cells) -> list[str]:
    """16-digit strings of (N, C) digits."""
    text = (cells_NC + ord("0")).astype(np.uint8).tobytes().decode("ascii")
    return [text[start : start + CELLS] for start in range(0, len(text), CELLS)]


def to_cells(texts: Sequence[str]) -> Cells:
    """Digits (N, C) of 16-digit strings."""
    joined = np.frombuffer("".join(texts).encode("ascii"), dtype=np.int8)
    return (joined - ord("0")).astype(np.int8).reshape(-1, CELLS)


def _indicators(cells_NC: Cells) -> NDArray[np.float32]:
    """(N, I): 1 where cell c holds digit d; a blank cell has none."""
    one_hot = cells_NC[:, :, None] == np.arange(1, 5)
    indicators_NI: NDArray[np.float32] = one_hot.reshape(-1, 4 * CELLS).astype(np.float32)
    return indicators_NI


def agreements(cells_NC: Cells) -> NDArray[np.float32]:
    """(N, G): how many filled cells of each row of `cells_NC` equal those of each grid."""
    product_NG: NDArray[np.float32] = _indicators(cells_NC) @ _indicators(all_grids()).T
    return product_NG


def keeps_clues(puzzles_NC: Cells) -> NDArray[np.bool_]:
    """(N, G): which grids solve each puzzle."""
    solves_NG: NDArray[np.bool_] = agreements(puzzles_NC) == (puzzles_NC != 0).sum(axis=1, keepdims=True)
    return solves_NG


def blank_out(
    solutions_NC: Cells, blanks_N: NDArray[np.int64], rng: np.random.RandomState, *, distinct: bool
) -> list[str]:
    """Blanks `blanks_N[i]` cells of solution i, drawn until no other solves it (`distinct`: and no puzzle recurs)."""
    assert (blanks_N <= MAX_BLANKS).all(), "beyond 12 blanks no puzzle is unique and drawing never ends"
    puzzles = [""] * len(solutions_NC)
    seen: set[str] = set()
    pending = np.arange(len(puzzles))
    while len(pending):
        rank_NC = rng.random_sample((len(pending), CELLS)).argsort(axis=1).argsort(axis=1)
        drawn_NC = np.where(rank_NC < blanks_N[pending, None], 0, solutions_NC[pending]).astype(np.int8)
        unique_N = keeps_clues(drawn_NC).sum(axis=1) == 1
        for index, puzzle in zip(pending[unique_N], to_texts(drawn_NC[unique_N]), strict=True):
            if not (distinct and puzzle in seen):
                puzzles[index] = puzzle
                seen.add(puzzle)
        pending = np.array([index for index in pending if not puzzles[index]], dtype=np.int64)
    return puzzles


@cache
def split_grids(split: str) -> Cells:
    """The solution grids that a builtin split owns, int8 (grids, C); no grid belongs to two splits."""
    # RandomState, not Generator: numpy freezes its streams, so every numpy version gives the same items.
    order = np.random.RandomState(SPLIT_SEED).permutation(len(all_grids()))
    ends = np.cumsum([PLANS[name].grids for name in SPLITS])
    return all_grids()[np.split(order, ends[:-1])[SPLITS.index(split)]]


@cache
def builtin_pairs(split: str) -> tuple[tuple[str, str], ...]:
    """The fixed puzzles of a builtin split with their solutions, spread evenly over its grids and over 6-11 blanks."""
    plan = PLANS[split]
    rng = np.random.RandomState(plan.seed)
    solutions_NC = split_grids(split)[rng.permutation(plan.puzzles) % plan.grids]
    blanks_N = MIN_BLANKS + rng.permutation(plan.puzzles) % (MAX_BLANKS - MIN_BLANKS + 1)
    puzzles = blank_out(solutions_NC, blanks_N, rng, distinct=True)
    return tuple(zip(puzzles, to_texts(solutions_NC), strict=True))


def sloppy_solution(puzzle: str) -> str:
    """Fills each row's blanks with the digits the row lacks in rising order, blind to columns and boxes."""
    filled = ""
    for start in range(0, CELLS, 4):
        row = puzzle[start : start + 4]
        missing = iter(sorted(set("1234") - set(row)))
        filled += "".join(next(missing) if cell == "0" else cell for cell in row)
    return filled


def training_pairs(count: int, rng: np.random.RandomState) -> Iterator[tuple[str, str]]:
    """`count` fresh (puzzle, solution) pairs over the train grids, 6-11 blanks."""
    grids_GC = split_grids("train")
    for start in range(0, count, DEMONSTRATIONS_AT_ONCE):
        size = min(DEMONSTRATIONS_AT_ONCE, count - start)
        solutions_NC = grids_GC[rng.randint(len(grids_GC), size=size)]
        blanks_N = rng.randint(MIN_BLANKS, MAX_BLANKS + 1, size=size)
        puzzles = blank_out(solutions_NC, blanks_N, rng, distinct=False)
        yield from zip(puzzles, to_texts(solutions_NC), strict=True)
