"""The tables of a comparison: every difference beside the noise of the machine, and what is called what."""

from __future__ import annotations

from typing import Any

from harness.report.analysis.paired import pairs_of
from harness.report.chapters.paired import NOT_MEASURED, evaluations_table, pair_points, pairs_table, verdict

RIGHT, WRONG = [1.0] * 12, [0.0] * 12
HALF = [1.0] * 6 + [0.0] * 6


def test_a_difference_stands_beside_its_test_and_the_noise(scored: Any) -> None:
    (pair,) = pairs_of(
        [scored.checkpoint("a", RIGHT, RIGHT), scored.checkpoint("b", WRONG, [1.0, *WRONG[1:]])], against_first=True
    )
    table = pairs_table([pair])
    assert table.cells == (
        ("Sudoku, 16 tokens", "a", "b", "+100.0", "12", "0", "<0.001", "<0.001", "1", "8.3", "a above"),
    )
    assert NOT_MEASURED not in table.notes
    (record,) = pair_points([pair]).records
    assert (record["difference"], record["p"], record["items"]) == (1.0, 2 / 2**12, 12)
    assert round(float(record["noise_floor"]), 4) == 0.0833
    assert (record["difference_low"], record["difference_high"]) == (pair.gap.interval.low, pair.gap.interval.high)
    assert record["difference_low"] > 0.5


def test_what_was_not_measured_is_empty_and_said(scored: Any) -> None:
    (pair,) = pairs_of([scored.checkpoint("a", RIGHT), scored.checkpoint("b", RIGHT)], against_first=True)
    table = pairs_table([pair])
    assert table.cells[0][-3:] == ("-", "-", "not shown to differ")
    assert NOT_MEASURED in table.notes
    assert pair_points([pair]).records[0]["noise_floor"] is None


def test_the_verdict_names_noise_before_significance_and_a_missing_test(scored: Any) -> None:
    pairs = {
        "within the noise of this machine": (scored.checkpoint("a", RIGHT), scored.checkpoint("b", WRONG, RIGHT)),
        "b above": (scored.checkpoint("a", WRONG), scored.checkpoint("b", RIGHT, RIGHT)),
        "not shown to differ": (
            scored.checkpoint("a", RIGHT),
            scored.checkpoint("b", [*RIGHT[1:], 0.0], [*RIGHT[1:], 0.0]),
        ),
        "no exact test of this metric": (scored.checkpoint("a", [0.5] * 12), scored.checkpoint("b", RIGHT)),
    }
    for said, two in pairs.items():
        (pair,) = pairs_of(two, against_first=True)
        assert verdict(pair) == said


def test_every_setting_is_a_row_and_counts_its_changes_from_the_first(scored: Any) -> None:
    table = evaluations_table([scored.checkpoint("a", HALF, [0.0, *HALF[1:]], [0.0, *HALF[1:11], 1.0])])
    assert [row[5:] for row in table.cells] == [
        ("50.0 [25.4, 74.6]", "12", "-", "-"),
        ("41.7 [19.3, 68.0]", "12", "1", "-8.3"),
        ("50.0 [25.4, 74.6]", "12", "2", "0.0"),
    ]
