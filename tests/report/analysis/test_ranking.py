from __future__ import annotations

from dataclasses import replace

import pytest

from harness.report.analysis.ranking import noise, protocol_key, rank, solved
from harness.report.chapters.printed import reference_of
from harness.report.read.published import Value, load_published

PUBLISHED = load_published()
REFERENCE = reference_of("countdown", PUBLISHED)


def value(percentage: float, **changes: object) -> Value:
    return replace(REFERENCE, value=percentage, **changes)


def test_the_noise_of_two_shares_of_256_items_by_hand() -> None:
    # 1.959964 sqrt((0.785 0.215 + 0.758 0.242) / 256) = 0.072696.
    assert noise(78.5, 75.8, 256) == pytest.approx(7.2698, abs=1e-3)
    assert noise(100, 0, 256) == 0.0


def test_four_points_of_256_items_are_noise_and_thirty_are_not() -> None:
    best, near, far = value(78.5), value(75.8), value(42.2)
    (found,) = rank([near, far, best], PUBLISHED)
    assert (found.best, found.within, found.below, found.clear) == (best, (near,), (far,), False)
    (clear,) = rank([far, best], PUBLISHED)
    assert (clear.best, clear.within, clear.clear) == (best, (), True)


@pytest.mark.parametrize(
    "change",
    [
        {"shots": 3},
        {"tokens_per_step": 1},
        {"items": "mbpp-500"},
        {"checkpoint": "validation"},
        {"training": "full"},
        {"model": "Dream-v0-Instruct-7B"},
        {"metric": "exact_match"},
    ],
)
def test_values_of_two_protocols_are_never_ranked(change: dict[str, object]) -> None:
    assert rank([value(78.5), value(10.0, **change)], PUBLISHED) == []


@pytest.mark.parametrize(
    "change",
    [{"shots": None}, {"tokens_per_step": None}, {"items": ""}, {"checkpoint": ""}, {"training": ""}],
)
def test_two_values_with_the_same_gap_share_no_protocol(change: dict[str, object]) -> None:
    assert protocol_key(value(78.5, **change)) is None
    assert rank([value(78.5, **change), value(10.0, **change)], PUBLISHED) == []


def test_bases_are_not_ranked() -> None:
    untrained = {"checkpoint": "none", "training": "none"}
    assert rank([value(20.7, **untrained), value(10.0, **untrained)], PUBLISHED) == []


def test_solved_begins_two_standard_deviations_below_the_perfect_solver() -> None:
    sudoku = reference_of("sudoku", PUBLISHED)
    assert sudoku.value == 94.3
    assert solved(sudoku, PUBLISHED)
    assert solved(replace(sudoku, value=91.8), PUBLISHED)
    assert not solved(replace(sudoku, value=91.7), PUBLISHED)
    assert not solved(replace(sudoku, items="sudoku-spg"), PUBLISHED)


def test_two_solved_values_have_no_order() -> None:
    sudoku = reference_of("sudoku", PUBLISHED)
    # 100 against 92 is more than the noise of 256 items.
    (found,) = rank([replace(sudoku, value=100.0), replace(sudoku, value=92.0)], PUBLISHED)
    assert noise(100, 92, 256) < 8
    assert not found.clear
