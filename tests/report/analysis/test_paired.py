"""Paired differences of checkpoints, and the noise floor that they are held against."""

from __future__ import annotations

from typing import Any

import pytest

from harness.report.analysis.paired import Gap, Noise, pairs_of


def test_verdicts_are_tested_by_mcnemars_exact_test(scored: Any) -> None:
    first, second = scored.outcomes([1] * 8 + [0] * 4), scored.outcomes([0] * 7 + [1] + [0] * 3 + [1])
    gap = Gap.between(first, second)
    # Seven items against one: 2 (1 + 8) / 256.
    assert (gap.only_first, gap.only_second, gap.changed) == (7, 1, 8)
    assert gap.p == pytest.approx(0.0703125)
    assert gap.difference == pytest.approx(0.5)


def test_the_interval_of_a_difference_is_over_items_and_needs_the_same_weights(scored: Any) -> None:
    gap = Gap.between(scored.outcomes([1, 1, 1, 0, 0, 0, 1, 1]), scored.outcomes([0, 0, 0, 1, 0, 0, 1, 1]))
    assert gap.interval is not None
    # As in test_the_interval_of_a_paired_difference_by_hand.
    assert (gap.interval.low, gap.interval.high) == pytest.approx((-0.3642812, 0.7642812), abs=1e-6)
    assert Gap.between(scored.outcomes([3.0], [4.0]), scored.outcomes([3.0], [5.0])).interval is None


def test_a_ratio_is_tested_by_flipping_the_signs_of_its_items_differences(scored: Any) -> None:
    gap = Gap.between(scored.outcomes([8, 8, 6], [8, 8, 8]), scored.outcomes([4, 6, 7], [8, 8, 8]))
    # +4 +2 -1 of all sums of +-4 +-2 +-1: 5 and 7, and the same below 0.
    assert gap.p == pytest.approx(4 / 8)
    assert gap.difference == pytest.approx(5 / 24)


@pytest.mark.parametrize(
    ("first", "second"),
    [(([0.5, 1.0],), ([0.0, 1.0],)), (([3.0, 1.0], [4.0, 4.0]), ([3.0, 2.0], [4.0, 5.0]))],
    ids=["fractions", "other wholes"],
)
def test_without_whole_numbers_of_one_weight_there_is_no_exact_test(scored: Any, first: Any, second: Any) -> None:
    assert Gap.between(scored.outcomes(*first), scored.outcomes(*second)).p is None


def test_equal_differences_come_out_equal(scored: Any) -> None:
    # 0.3 - 0.2 and 0.1 - 0 are two numbers to a computer.
    ten = [[1] * right + [0] * (10 - right) for right in range(4)]
    gaps = [Gap.between(scored.outcomes(ten[more]), scored.outcomes(ten[less])) for more, less in ((3, 2), (1, 0))]
    assert gaps[0].difference == gaps[1].difference == 0.1


def test_the_noise_is_the_most_between_any_two_settings(scored: Any) -> None:
    # From the first: two items each way, 0 points; from the second to the third three items, all the same way.
    found = scored.checkpoint("a", [1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]).noise
    assert found == Noise(flipped=5, moved=1.0)
    assert scored.checkpoint("a", [1, 1, 0, 0], [0, 0, 1, 1]).noise == Noise(flipped=4, moved=0.0)
    assert scored.checkpoint("a", [1, 0]).noise is None


@pytest.mark.parametrize(("second", "is_noise"), [([1, 1, 0, 0], True), ([1, 0, 0, 0], False), ([1, 1, 1, 0], False)])
def test_a_difference_is_noise_up_to_the_floor_of_either_checkpoint(
    scored: Any, second: list[float], is_noise: bool
) -> None:
    mine = scored.checkpoint("mine", [1, 1, 1, 0], [1, 1, 1, 0])
    other = scored.checkpoint("other", second, [1 - second[0], *second[1:]])
    (pair,) = pairs_of([mine, other], against_first=True)
    assert pair.noise == Noise(flipped=1, moved=0.25)
    assert pair.is_noise is is_noise


def test_a_significant_difference_within_the_noise_is_not_clear(scored: Any) -> None:
    right, wrong = [1.0] * 12, [0.0] * 12
    (quiet,) = pairs_of([scored.checkpoint("a", right), scored.checkpoint("b", wrong)], against_first=False)
    assert quiet.adjusted == pytest.approx(2 / 2**12)
    assert (quiet.is_clear, quiet.above.label) == (True, "a")
    (noisy,) = pairs_of([scored.checkpoint("a", right), scored.checkpoint("b", wrong, right)], against_first=False)
    assert (noisy.adjusted, noisy.is_noise, noisy.is_clear) == (quiet.adjusted, True, False)


def test_pairs_are_all_or_those_with_the_first_on_each_task_in_one_family_of_tests(scored: Any) -> None:
    scores = {"a": [1.0] * 9, "b": [0.0] * 9, "c": [1.0] * 8 + [0.0]}
    found = [
        scored.checkpoint(label, parts, task=task) for task in ("sudoku", "gsm8k") for label, parts in scores.items()
    ]
    every = pairs_of(found, against_first=False)
    assert [(pair.first.label, pair.second.label) for pair in every] == [("a", "b"), ("a", "c"), ("b", "c")] * 2
    # 2 / 512 twice, 2 / 256 twice and 1 twice: six tests.
    assert every[0].adjusted == pytest.approx(6 * 2 / 512)
    assert every[2].adjusted == pytest.approx(4 * 2 / 256)
    assert every[1].adjusted == 1.0
    assert [pair.second.label for pair in pairs_of(found, against_first=True)] == ["b", "c"] * 2
