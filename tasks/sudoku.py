"""4x4 Sudoku, the logic task of d1 (Zhao et al. 2025, "d1: Scaling Reasoning in Diffusion LLMs") and EGSPO.

A puzzle is 16 digits, row by row, 0 for a blank cell; a solved grid has 1-4 once in every row, column and 2x2
box. There are 288 such grids, few enough to compare every puzzle with all of them: uniqueness and the ceiling
are computed that way.

    exact_match             the grid is the stored solution
    cell_accuracy           right blank cells / blank cells, summed over items before dividing
    validity                the grid is one of the 288 and keeps the clues, whether or not it is the stored one
    official_cell_accuracy  cells as d1's evaluation parser reads them, separators and all

Rewards by profile:
    official, espo  right blank cells / blank cells, against the stored solution
    agrpo           correctness 3 x right blanks / blanks of the answer's first 16 characters; form up to 1

Properties of the official reward:
  * all digits of the last answer block are joined; those after the 16th are ignored, missing ones are wrong, so
    a short, long or labelled answer can earn a part, or lose all by a shift;
  * only blanks are compared, so overwriting a clue costs nothing; digits of other scripts are wrong;
  * of several valid grids only the stored one is right; a puzzle without blanks earns 0.
Where the options let it, a completion of nothing but digits is read as it stands (the tiny model's output).
The first three metrics are strict: a grid is 16 digits, in one piece or in pieces of equal length, and no more.

Axes: N puzzles, G grids (288), C cells (16).
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.data.sources import DataSource
from harness.errors import UserError
from harness.generators.sudoku import (
    agreements,
    builtin_pairs,
    keeps_clues,
    legal_texts,
    sloppy_solution,
    to_cells,
    training_pairs,
)
from harness.registry import task
from harness.scoring.answers import bare_digits, official_digits
from harness.scoring.grids import (
    CELLS,
    SIXTEEN_DIGITS,
    agrpo_parts,
    keeps,
    official_correctness,
    official_grid,
    read_grid,
    right_blanks,
)
from harness.task.base import (
    OFFICIAL,
    ROBUST,
    Demonstration,
    Example,
    LeakageReport,
    Message,
    Ratio,
    TextTask,
    Verdict,
    require_split,
    required,
    worked,
)
from harness.task.rows import no_split

SLOPPY_SHARE = 0.6
TEST_FILE, TRAIN_FILE = "sudoku/4x4_test_sudoku.csv", "sudoku/4x4_sudoku_unique_puzzles.csv"
PUBLISHED_ROWS, PUBLISHED_SEED = 500, 42
USE_ORIGINAL = "use the file of dllm-reasoning/d1 as it is."

PROMPT = """\
Here is a Sudoku on a 4x4 board. Fill it in so that 1, 2, 3 and 4 each appear once in every row, once in \
every column and once in each of the four 2x2 boxes. The board is given as 16 digits, one row of four after \
another; 0 is a cell that you have to fill, and every other digit has to stay where it is.

Board: {puzzle}

Work it out between <reasoning> and </reasoning>. Then write the filled board between <answer> and \
</answer>, as 16 digits in the same order with nothing between them."""

PUZZLE_TEXT = re.compile(r"[0-4]{1,16}")
SOLUTION_TEXT = re.compile(r"[1-4]{16}")


def in_rows(grid: str) -> list[str]:
    """The four rows of 16 digits."""
    return re.findall("....", grid)


def make_example(identifier: str, puzzle: str, solution: str) -> Example:
    """An Example whose target has `puzzle` and `solution`, both of 16 digits."""
    return Example(id=identifier, question=puzzle, target={"puzzle": puzzle, "solution": solution})


# The published files


def _read_row(row: Mapping[str | None, str | None], *, place: str, identifier: str) -> Example:
    puzzle, solution = ((row[name] or "").strip() for name in ("Puzzle", "Solution"))
    found = f"{place} has Puzzle '{puzzle}' and Solution '{solution}'"
    if None in row or not PUZZLE_TEXT.fullmatch(puzzle) or not SOLUTION_TEXT.fullmatch(solution):
        raise UserError(f"{found}, not up to 16 digits 0-4 and 16 digits 1-4; {USE_ORIGINAL}")
    puzzle = puzzle.zfill(CELLS)
    if solution not in legal_texts() or not keeps(solution, puzzle):
        raise UserError(f"{found}, which does not solve it; {USE_ORIGINAL}")
    return make_example(identifier, puzzle, solution)


def read_file(path: Path, split: str) -> list[Example]:
    """The rows of a file of d1 in order, lost leading zeros put back. Raises UserError naming the line that is none."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if not {"Puzzle", "Solution"} <= set(reader.fieldnames or ()):
                raise UserError(f"{path} line 1 does not name Puzzle and Solution; {USE_ORIGINAL}")
            examples = [
                _read_row(row, place=f"{path} line {reader.line_num}", identifier=f"sudoku-{split}-{n:03d}")
                for n, row in enumerate(reader)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV ({error}); {USE_ORIGINAL}") from error
    if not examples:
        raise UserError(f"{path} holds no puzzles; {USE_ORIGINAL}")
    return examples


def in_published_order(examples: list[Example]) -> list[Example]:
    """All 500 rows in the order of d1's evaluation and named after it, so that the first 256 are the published subset.

    A file of another length keeps its own order and names: SPG's split of 256, which may lie in the same place.
    """
    if len(examples) != PUBLISHED_ROWS:
        return examples
    order = np.random.RandomState(PUBLISHED_SEED).permutation(PUBLISHED_ROWS)
    return [replace(examples[i], id=f"d1-test-{i:03d}") for i in order]


@task("sudoku", title="Sudoku")
class Sudoku(TextTask):
    """4x4 Sudoku. `Example.target` has `puzzle` and `solution`, strings of 16 digits."""

    name = "sudoku"
    metrics = ("exact_match", "cell_accuracy", "validity", "official_cell_accuracy")
    profiles = ("official", "agrpo", "espo", "correctness")
    files: ClassVar[Mapping[str, str]] = {"train": TRAIN_FILE, "test": TEST_FILE}
    prompt_fields = ("puzzle",)

    def examples(self, split: str, source: DataSource) -> list[Example]:
        """The builtin puzzles, or d1's files in a folder.

        builtin: 4096 / 256 / 512 puzzles with one solution and 6-11 blanks, splits disjoint by solution grid.
        A folder's test split: 500 puzzles of 8 blanks, 124 with several solutions; the first 256 are the published
        items. Its train split: the file that d1, EGSPO and ESPO train on. Raises UserError for the hub and for a
        folder's validation split.
        """
        require_split(split)
        if source.kind == "builtin":
            pairs = enumerate(builtin_pairs(split))
            return [make_example(f"builtin-{split}-{number:04d}", *pair) for number, pair in pairs]
        if source.kind == "hub" or split not in self.files:
            raise no_split(self, split, source)
        examples = read_file(source.file(self.files[split]), split)
        return in_published_order(examples) if split == "test" else examples

    def without_test_items(self, train: Sequence[Example], test: Sequence[Example]) -> list[Example]:
        """Leaves out the puzzles of the test list; the published code does not."""
        known = {example.question for example in test}
        return [example for example in train if example.question not in known]

    def prompt(self, example: Example) -> list[Message]:
        """One user message: the rules, the puzzle, and where reasoning and answer go."""
        return [{"role": "user", "content": PROMPT.format(puzzle=example.target["puzzle"])}]

    def worked_answer(self, example: Example) -> str:
        """The rows of the solution, and the solution."""
        rows = in_rows(example.target["solution"])
        return worked(f"With every row, column and box complete, the rows are {', '.join(rows)}.", "".join(rows))

    def compact_prompt(self, example: Example) -> str:
        """The 16 digits of the puzzle and a newline."""
        return f"{example.target['puzzle']}\n"

    def read_row(self, row: Mapping[str, Any]) -> Example:
        """A row of d1's file: `Puzzle`, leading zeros lost, and `Solution`."""
        puzzle, solution = required(row, "Puzzle", "Solution")
        return self.example_for(str(puzzle).zfill(CELLS), solution)

    def example_for(self, question: str, target: Any) -> Example:
        """question: a text with the puzzle's 16 digits in it; target: the solution's."""
        found = SIXTEEN_DIGITS.search(question)
        solution = str(target).strip()
        if not found or not PUZZLE_TEXT.fullmatch(found.group()) or not SOLUTION_TEXT.fullmatch(solution):
            raise UserError(f"'{question[-40:]}' with '{solution[:40]}' is no puzzle with its solution.")
        return make_example(question, found.group(), solution)

    def grade(self, example: Example, completion: str, grader: str) -> Verdict:
        """Cells as d1's parser reads them, or of an answer that is a grid; correct is the stored solution."""
        puzzle, solution = example.target["puzzle"], example.target["solution"]
        if grader == OFFICIAL:
            grid = official_grid(completion)
            right = right_blanks(grid, puzzle, solution)
            correct = 0 < puzzle.count("0") == right
        else:
            grid = read_grid(completion, bare=self.options.bare_answers) or ""
            right = right_blanks(grid, puzzle, solution)
            correct = grid == solution
        wrong = f"{puzzle.count('0') - right} of {puzzle.count('0')} cells wrong" if grid else "no grid"
        return Verdict(
            correct=correct,
            extracted=grid or None,
            ratio=Ratio(part=right, whole=puzzle.count("0")),
            reason="" if correct else wrong,
        )

    def reward_parts(self, example: Example, completion: str) -> Mapping[str, float]:
        """See the head of this file."""
        puzzle, solution = example.target["puzzle"], example.target["solution"]
        if self.options.profile == "agrpo":
            return agrpo_parts(completion, puzzle, solution)
        digits = official_digits(completion)
        digits = bare_digits(completion) if digits is None and self.options.bare_answers else digits
        return {"correctness": official_correctness(digits, puzzle, solution)}

    def measure(self, example: Example, verdicts: Mapping[str, Verdict]) -> Mapping[str, Ratio]:
        """Adds validity: a legal grid that keeps the clues."""
        robust = verdicts[ROBUST]
        grid = robust.extracted
        valid = grid in legal_texts() and keeps(grid, example.target["puzzle"]) if grid else False
        return {
            "exact_match": Ratio(part=float(robust.correct)),
            "cell_accuracy": robust.ratio,
            "validity": Ratio(part=float(valid)),
            "official_cell_accuracy": verdicts[OFFICIAL].ratio,
        }

    def ceiling(self, examples: Sequence[Example]) -> dict[str, float]:
        """Expectation of a solver that picks any valid grid at random; metrics where it is 1 are left out."""
        puzzles_NC = to_cells([example.target["puzzle"] for example in examples])
        solutions_NC = to_cells([example.target["solution"] for example in examples])
        blanks_N = (puzzles_NC == 0).sum(axis=1)
        solves_NG = keeps_clues(puzzles_NC)
        right_NG = agreements(np.where(puzzles_NC == 0, solutions_NC, 0).astype(np.int8))
        choices_N = solves_NG.sum(axis=1)
        exact = ((solves_NG & (right_NG == blanks_N[:, None])).sum(axis=1) / choices_N).sum()
        right = ((solves_NG * right_NG).sum(axis=1, dtype=np.float64) / choices_N).sum()
        pairs = {"exact_match": (exact, len(examples)), "cell_accuracy": (right, blanks_N.sum())}
        return {name: float(part / whole) for name, (part, whole) in pairs.items() if part < whole}

    def demonstrations(self, count: int, rng: random.Random) -> list[Demonstration]:
        """Puzzles over the train grids, 60 % answered by `sloppy_solution`, the rest by the right grid.

        The base learns the form of an answer and a part of the rule, and leaves room for training by reward.
        """
        return [
            Demonstration(
                prompt=f"{puzzle}\n",
                completion=sloppy_solution(puzzle) if rng.random() < SLOPPY_SHARE else solution,
            )
            for puzzle, solution in training_pairs(count, np.random.RandomState(rng.getrandbits(32)))
        ]

    def worked_demonstrations(
        self, count: int, rng: random.Random, careless: float = SLOPPY_SHARE
    ) -> list[Demonstration]:
        """The same with the rows before the answer."""
        found = []
        for puzzle, solution in training_pairs(count, np.random.RandomState(rng.getrandbits(32))):
            grid = sloppy_solution(puzzle) if rng.random() < careless else solution
            found.append(Demonstration(prompt=f"{puzzle}\n", completion=worked(" ".join(in_rows(grid)), grid)))
        return found

    def leakage(self, train: Sequence[Example], test: Sequence[Example]) -> LeakageReport:
        """Adds the test items whose solution grid is also the solution of a train item."""
        grids = {example.target["solution"] for example in train}
        structural = sum(example.target["solution"] in grids for example in test)
        return replace(super().leakage(train, test), structural=structural)
