"""Sudoku's data: generated splits, the published file, prompts, ceiling, demonstrations, leakage."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.data.sources import DataSource, sha256_of_text
from harness.errors import UserError
from harness.generators import sudoku as generated
from harness.registry import get_task
from harness.task.base import Example, LeakageReport

SUDOKU = get_task("sudoku")()
MODULE = sys.modules[type(SUDOKU).__module__]
BUILTIN = DataSource(kind="builtin")
FULL_WIDTH_2 = "\uff12"

# 2431 / 3124 / 4213 / 1342; nine blanks.
PUZZLE, SOLUTION = "2030012002100002", "2431312442131342"
# Swapping 1 and 3 in the four blanks gives the other valid grid.
TWO_WAYS, FIRST_WAY, SECOND_WAY = "0204040221434321", "1234341221434321", "3214143221434321"


@pytest.fixture
def published(data_folder) -> list[Example]:
    return SUDOKU.examples("test", DataSource(kind="dir", folder=data_folder))


def item(puzzle: str = PUZZLE, solution: str = SOLUTION) -> Example:
    return MODULE.make_example("hand", puzzle, solution)


def source_with(tmp_path: Path, text: str | bytes) -> DataSource:
    (tmp_path / "sudoku").mkdir()
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "sudoku" / "4x4_test_sudoku.csv").write_bytes(data)
    return DataSource(kind="dir", folder=tmp_path)


# Grids and generated splits


def test_there_are_288_grids_and_each_obeys_rows_columns_and_boxes():
    grids = generated.all_grids().reshape(-1, 4, 4)
    assert len({grid.tobytes() for grid in grids}) == 288
    boxes = grids.reshape(-1, 2, 2, 2, 2).swapaxes(2, 3).reshape(-1, 4, 4)
    for units in (grids, grids.swapaxes(1, 2), boxes):
        assert (np.sort(units, axis=2) == [1, 2, 3, 4]).all()


@pytest.mark.parametrize(("split", "size"), [("train", 4096), ("validation", 256), ("test", 512)])
def test_a_builtin_split_has_its_size_and_no_duplicates(split, size):
    questions = [one.question for one in SUDOKU.examples(split, BUILTIN)]
    assert len(questions) == len(set(questions)) == size


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_builtin_puzzle_has_the_stored_grid_as_its_only_solution(split):
    examples = SUDOKU.examples(split, BUILTIN)
    grids = generated.to_texts(generated.all_grids())
    for one in examples[::16]:
        fitting = [
            grid for grid in grids if all(clue in ("0", cell) for clue, cell in zip(one.question, grid, strict=True))
        ]
        assert fitting == [one.target["solution"]]
    solves = generated.keeps_clues(generated.to_cells([one.question for one in examples]))
    assert (solves.sum(axis=1) == 1).all()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_blanks_are_spread_evenly_from_6_to_11(split):
    examples = SUDOKU.examples(split, BUILTIN)
    counts = np.bincount([one.question.count("0") for one in examples], minlength=17)
    assert set(np.flatnonzero(counts)) == {6, 7, 8, 9, 10, 11}
    assert counts[6:12].max() - counts[6:12].min() <= 1


def test_no_solution_grid_belongs_to_two_splits():
    grids = [
        {one.target["solution"] for one in SUDOKU.examples(name, BUILTIN)} for name in ("train", "validation", "test")
    ]
    assert [len(split) for split in grids] == [192, 32, 64]
    assert len(set.union(*grids)) == 288


def test_the_builtin_items_are_the_same_on_every_machine():
    fingerprints = {
        name: sha256_of_text([one.question for one in SUDOKU.examples(name, BUILTIN)])[:16] for name in generated.PLANS
    }
    assert fingerprints == {
        "train": "a40ae49d1413b04c",
        "validation": "914ec18c494a295d",
        "test": "94ca33e9c19f6883",
    }


def test_generating_leaves_the_global_random_states_alone():
    states = random.getstate(), np.random.get_state()[1].tolist()
    generated.builtin_pairs.__wrapped__("validation")
    SUDOKU.demonstrations(5, random.Random(1))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


def test_an_unknown_split_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match="Did you mean 'train'"):
        SUDOKU.examples("trian", BUILTIN)


# The published file


def test_lost_leading_zeros_are_put_back(tmp_path):
    source = source_with(tmp_path, f"Puzzle,Solution\n234341221434321,{FIRST_WAY}\n")
    assert [one.question for one in SUDOKU.examples("test", source)] == ["0234341221434321"]


def test_a_file_of_another_length_keeps_its_order(tmp_path):
    source = source_with(tmp_path, f"\ufeffPuzzle,Solution\r\n{PUZZLE},{SOLUTION}\r\n{TWO_WAYS},{SECOND_WAY}\r\n")
    examples = SUDOKU.examples("test", source)
    assert [(one.id, one.target["solution"]) for one in examples] == [
        ("sudoku-test-000", SOLUTION),
        ("sudoku-test-001", SECOND_WAY),
    ]


def test_a_file_of_500_rows_is_put_in_the_published_order(tmp_path):
    rows = [f"{one.target['puzzle']},{one.target['solution']}" for one in SUDOKU.examples("test", BUILTIN)[:500]]
    examples = SUDOKU.examples("test", source_with(tmp_path, "\n".join(["Puzzle,Solution", *rows])))
    assert [one.id for one in examples[:3]] == ["d1-test-361", "d1-test-073", "d1-test-374"]
    assert len({one.id for one in examples}) == 500


@pytest.mark.parametrize(
    "row",
    [
        f"{PUZZLE}0,{SOLUTION}",
        f"203001200210000x,{SOLUTION}",
        f"5030012002100002,{SOLUTION}",
        f"{PUZZLE},243131244213134",
        f"{PUZZLE},2431312442131340",
        f"{PUZZLE}",
        f",{SOLUTION}",
        f"{PUZZLE},{SOLUTION},more",
        f"{PUZZLE},{FIRST_WAY}",
        f"{PUZZLE},2431312442131324",
        f"{FULL_WIDTH_2}{PUZZLE[1:]},{SOLUTION}",
    ],
)
def test_a_malformed_row_is_named_with_file_and_line(tmp_path, row):
    source = source_with(tmp_path, f"Puzzle,Solution\n{TWO_WAYS},{FIRST_WAY}\n{row}\n")
    with pytest.raises(UserError, match=r"4x4_test_sudoku\.csv line 3 has Puzzle"):
        SUDOKU.examples("test", source)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "line 1 does not name"),
        (f"puzzle,solution\n{PUZZLE},{SOLUTION}\n", "line 1 does not name"),
        ("Puzzle,Solution\n", "holds no puzzles"),
        (b"Puzzle,Solution\n\xff\xfe,1\n", "cannot be read as CSV"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path, content, reason):
    with pytest.raises(UserError, match=reason):
        SUDOKU.examples("test", source_with(tmp_path, content))


def test_a_folder_without_the_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="4x4_test_sudoku"):
        SUDOKU.examples("test", DataSource(kind="dir", folder=tmp_path))


def test_a_folder_s_training_file_is_read_in_its_order_and_puzzles_of_the_test_list_are_left_out(tmp_path):
    source = source_with(tmp_path, f"Puzzle,Solution\n{TWO_WAYS},{FIRST_WAY}\n")
    rows = f"Puzzle,Solution\n{PUZZLE},{SOLUTION}\n{TWO_WAYS},{SECOND_WAY}\n"
    (tmp_path / "sudoku" / "4x4_sudoku_unique_puzzles.csv").write_text(rows)
    train = SUDOKU.examples("train", source)
    assert [(one.id, one.question) for one in train] == [("sudoku-train-000", PUZZLE), ("sudoku-train-001", TWO_WAYS)]
    assert SUDOKU.without_test_items(train, SUDOKU.examples("test", source)) == train[:1]
    assert SUDOKU.origin("train", source)["file"] == "sudoku/4x4_sudoku_unique_puzzles.csv"


def test_a_training_file_of_500_rows_is_not_put_in_the_order_of_the_test_file(tmp_path):
    rows = [f"{one.target['puzzle']},{one.target['solution']}" for one in SUDOKU.examples("train", BUILTIN)[:500]]
    source = source_with(tmp_path, "")
    (tmp_path / "sudoku" / "4x4_sudoku_unique_puzzles.csv").write_text("\n".join(["Puzzle,Solution", *rows]))
    assert [one.id for one in SUDOKU.examples("train", source)[:2]] == ["sudoku-train-000", "sudoku-train-001"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_folder_without_the_split_names_the_way_out(tmp_path, split):
    with pytest.raises(UserError, match="--train-data builtin"):
        SUDOKU.examples(split, DataSource(kind="dir", folder=tmp_path))


def test_the_hub_is_refused_with_both_ways_out():
    with pytest.raises(UserError, match="--data DIR or --data builtin"):
        SUDOKU.examples("test", DataSource(kind="hub"))


def test_the_published_file_has_500_puzzles_of_8_blanks(published):
    assert len(published) == 500
    assert {one.question.count("0") for one in published} == {8}


def test_the_first_256_are_the_published_items_in_their_order(published, golden_folder):
    path = golden_folder / "llada8b_generations" / "sudoku_128.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = sorted((json.loads(line) for line in stream), key=lambda row: (row["index"], row["shard"]))
    assert [row["question"].split()[-1] for row in rows] == [one.question for one in published[:256]]
    assert [row["ground_truth"] for row in rows] == [one.target["solution"] for one in published[:256]]


# Prompts


def test_the_prompt_names_the_puzzle_the_tags_and_the_form_of_the_answer():
    (message,) = SUDOKU.prompt(item())
    assert message["role"] == "user"
    for piece in (f"Board: {PUZZLE}\n", "<reasoning>", "<answer>", "16 digits", "row", "column", "2x2"):
        assert piece in message["content"]


def test_the_compact_prompt_is_the_puzzle_and_a_newline():
    assert SUDOKU.compact_prompt(item()) == "2030012002100002\n"


# Ceiling, demonstrations, leakage


def test_a_puzzle_with_two_solutions_halves_what_a_perfect_solver_expects():
    assert SUDOKU.ceiling([item(TWO_WAYS, FIRST_WAY)]) == {"exact_match": 0.5, "cell_accuracy": 0.5}


def test_the_ceiling_averages_items_for_exact_match_and_blanks_for_cells():
    one_blank = item("0234341221434321", FIRST_WAY)
    assert SUDOKU.ceiling([item(TWO_WAYS, FIRST_WAY), one_blank]) == {
        "exact_match": 0.75,
        "cell_accuracy": 0.6,
    }


def test_without_ambiguous_items_there_is_no_ceiling_below_1():
    assert SUDOKU.ceiling(SUDOKU.examples("test", BUILTIN)) == {}
    assert SUDOKU.ceiling([]) == {}


def test_the_published_items_cap_a_perfect_solver_at_93_percent_of_cells(published):
    ceiling = SUDOKU.ceiling(published[:256])
    assert ceiling["cell_accuracy"] == pytest.approx(0.9344, abs=5e-5)
    assert ceiling["exact_match"] == pytest.approx(0.872, abs=1e-3)
    solutions = generated.keeps_clues(generated.to_cells([one.question for one in published])).sum(axis=1)
    assert [(solutions > 1).sum(), (solutions[:256] > 1).sum()] == [124, 63]


def test_a_sloppy_answer_fills_each_row_in_rising_order():
    assert generated.sloppy_solution("2030012002100002") == "2134312432141342"


def test_demonstrations_are_60_percent_sloppy_and_the_rest_right_over_train_grids():
    demonstrations = SUDOKU.demonstrations(4000, random.Random(7))
    train = {one.target["solution"] for one in SUDOKU.examples("train", BUILTIN)}
    right = 0
    for one in demonstrations:
        puzzle = one.prompt.removesuffix("\n")
        assert len(puzzle) == 16
        assert 6 <= puzzle.count("0") <= 11
        if one.completion in train:
            right += 1
            assert all(clue in ("0", cell) for clue, cell in zip(puzzle, one.completion, strict=True))
        else:
            assert one.completion == generated.sloppy_solution(puzzle)
    assert 0.38 < right / 4000 < 0.46


def test_demonstrations_follow_from_the_generator_alone():
    first, again, other = (SUDOKU.demonstrations(50, random.Random(seed)) for seed in (3, 3, 4))
    assert first == again != other


def test_an_item_over_a_train_grid_leaks_though_its_puzzle_is_new():
    train = [item(TWO_WAYS, FIRST_WAY)]
    test = [item("0234341221434321", FIRST_WAY), item(TWO_WAYS, SECOND_WAY), item()]
    assert SUDOKU.leakage(train, test) == LeakageReport(exact=1, normalised=1, structural=1)


def test_the_builtin_splits_do_not_leak():
    train, test = (SUDOKU.examples(split, BUILTIN) for split in ("train", "test"))
    assert SUDOKU.leakage(train, test) == LeakageReport(exact=0, normalised=0, structural=0)
