from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from harness.records.schema import MetricTotals
from harness.report.analysis.statistics import (
    Interval,
    bootstrap_interval,
    holm,
    items_interval,
    mean,
    paired_interval,
    paired_t_test,
    ratio_interval,
    ratio_of_pairs,
    seed_interval,
    sign_flip_test,
    wilson_interval,
)


def bounds(interval: Interval | None) -> tuple[float, float]:
    assert interval is not None
    return interval.low, interval.high


def test_wilson_of_8_in_10_is_the_textbook_interval() -> None:
    # z = 1.959964: centre (0.8 + 0.1920729) / 1.3841459, half 1.959964 sqrt(0.016 + 0.0096036) / 1.3841459.
    assert bounds(wilson_interval(8, 10)) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_wilson_of_none_starts_at_0_and_of_all_ends_at_1_exactly() -> None:
    none, every = wilson_interval(0, 256), wilson_interval(256, 256)
    assert none.low == 0.0
    assert none.high == pytest.approx(3.8414588 / (256 + 3.8414588))
    assert every.high == 1.0
    assert every.low == pytest.approx(256 / (256 + 3.8414588))


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (3, 7), (158, 256), (255, 256), (500, 1319)])
def test_wilson_agrees_with_scipy_and_statsmodels(successes: int, n: int) -> None:
    ours = bounds(wilson_interval(successes, n))
    theirs = binomtest(successes, n).proportion_ci(method="wilson")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 4), (5, 4)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        wilson_interval(successes, n)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_contains_the_share_and_stays_inside_0_to_1(counts: tuple[int, int]) -> None:
    successes, n = counts
    interval = wilson_interval(successes, n)
    assert 0 <= interval.low <= successes / n <= interval.high <= 1


def test_the_ratio_interval_by_hand() -> None:
    # R = 12/20. Residuals 6 - 4.8, 2 - 4.8, 4 - 2.4: squares 1.44 + 7.84 + 2.56 = 11.84.
    # Error sqrt(11.84 * 3/2) / 20 = 0.2107131; t(2) = 4.3026527: half 0.9066: clipped on both sides.
    three = MetricTotals.of([(6, 8), (2, 8), (4, 4)])
    assert bounds(ratio_interval(three)) == (0.0, 1.0)
    # The same items 20 times: n = 60, squares 236.8, error sqrt(236.8 * 60/59) / 400 = 0.0387951, t(59) = 2.0009954.
    sixty = MetricTotals.of([(6, 8), (2, 8), (4, 4)] * 20)
    assert bounds(ratio_interval(sixty)) == pytest.approx((0.6 - 0.0776289, 0.6 + 0.0776289), abs=1e-6)


def test_correlated_cells_make_the_ratio_interval_wider_than_counting_cells_would() -> None:
    # 8 cells of an item are all right or all wrong: 100 trials, not 800.
    totals = MetricTotals.of([(8, 8)] * 50 + [(0, 8)] * 50)
    interval = ratio_interval(totals)
    # Error sqrt(100 * 16 * 100/99) / 800 = 0.0502519, t(99) = 1.9842170.
    assert bounds(interval) == pytest.approx((0.5 - 0.0997106, 0.5 + 0.0997106), abs=1e-6)
    as_cells = wilson_interval(400, 800)
    assert interval.high - interval.low > 2.5 * (as_cells.high - as_cells.low)


def test_a_perfect_ratio_is_not_certain() -> None:
    assert bounds(ratio_interval(MetricTotals.of([(8, 8)] * 256))) == bounds(wilson_interval(256, 256))
    assert bounds(ratio_interval(MetricTotals.of([(0, 8)] * 256))) == bounds(wilson_interval(0, 256))


def test_one_item_says_nothing_about_a_ratio() -> None:
    assert bounds(ratio_interval(MetricTotals.of([(6, 8)]))) == (0.0, 1.0)


def test_the_interval_of_a_paired_difference_by_hand() -> None:
    # 3 gained, 1 lost, 4 the same, and one each way: 2 of 10. Squares 6 - 10 * 0.2^2 = 5.6.
    # Error sqrt(5.6 * 10/9) / 10 = 0.2494438; t(9) = 2.2621572.
    changes = [(1, 1)] * 3 + [(-1, 1)] + [(0, 1)] * 4
    assert bounds(paired_interval(changes)) == pytest.approx((0.2 - 0.5642812, 0.2 + 0.5642812), abs=1e-6)
    # Weights 4, 8 and 12, so that those added weigh 8: 1 of 40. Residuals 1.9, -1.2, -0.3, 7.8, -8.2: squares 133.22.
    # Error sqrt(133.22 * 5/4) / 40 = 0.3226114; t(4) = 2.7764451.
    weighted = [(2, 4), (-1, 8), (0, 12)]
    assert bounds(paired_interval(weighted)) == pytest.approx((0.025 - 0.8957128, 0.025 + 0.8957128), abs=1e-6)


def test_items_that_all_agree_leave_room_for_a_difference() -> None:
    # Error sqrt(2 * 258/257) / 258, t(257) = 1.9692371.
    assert bounds(paired_interval([(0, 1)] * 256)) == pytest.approx((-0.0108153, 0.0108153), abs=1e-6)
    with pytest.raises(ValueError, match="whole"):
        paired_interval([(0, 0)])


def test_proportions_take_wilson_and_other_ratios_do_not() -> None:
    proportion = MetricTotals.of([(1, 1)] * 158 + [(0, 1)] * 98)
    assert bounds(items_interval(proportion)) == bounds(wilson_interval(158, 256))
    halves = MetricTotals.of([(0.5, 1)] * 4 + [(1, 1)] * 4)
    assert bounds(items_interval(halves)) == bounds(ratio_interval(halves))


def test_without_items_there_is_no_interval() -> None:
    assert items_interval(MetricTotals.of([])) is None
    with pytest.raises(ValueError, match="whole"):
        ratio_interval(MetricTotals.of([]))


def test_the_seed_interval_of_three_seeds_by_hand() -> None:
    # Mean 0.62, deviations -0.02, 0, 0.02: s = 0.02; t(2) = 4.3026527; half 4.3026527 * 0.02 / sqrt(3).
    half = 4.3026527 * 0.02 / math.sqrt(3)
    assert bounds(seed_interval([0.60, 0.62, 0.64])) == pytest.approx((0.62 - half, 0.62 + half), abs=1e-7)


def test_two_seeds_use_the_quantile_12_7() -> None:
    # t(1) = 12.7062047, s = 0.1 / sqrt(2): half 12.7062047 * 0.05; the interval is not clipped here.
    assert bounds(seed_interval([0.5, 0.6])) == pytest.approx((0.55 - 0.6353102, 0.55 + 0.6353102), abs=1e-6)


def test_one_seed_has_no_seed_interval_and_no_bootstrap() -> None:
    assert seed_interval([0.6]) is None
    assert seed_interval([]) is None
    assert bootstrap_interval([0.6], np.random.default_rng(0)) is None


def test_equal_seeds_give_a_point() -> None:
    assert bounds(seed_interval([0.25, 0.25, 0.25])) == (0.25, 0.25)


def test_the_bootstrap_of_two_seeds_is_their_range() -> None:
    # Means are 0.2, 0.4, 0.6 with chances 1/4, 1/2, 1/4: both 2.5 % quantiles lie at the ends.
    assert bounds(bootstrap_interval([0.2, 0.6], np.random.default_rng(0))) == pytest.approx((0.2, 0.6))


def test_the_bootstrap_of_many_seeds_approaches_the_normal_interval() -> None:
    values = [0.4] * 50 + [0.6] * 50
    # Standard error of the mean 0.1 / sqrt(100) = 0.01.
    assert bounds(bootstrap_interval(values, np.random.default_rng(1))) == pytest.approx((0.4804, 0.5196), abs=1e-3)


def test_the_bootstrap_follows_its_generator_alone() -> None:
    values = [0.1, 0.37, 0.52, 0.9]
    first = bootstrap_interval(values, np.random.default_rng(7), resamples=50)
    assert bootstrap_interval(values, np.random.default_rng(7), resamples=50) == first
    assert bootstrap_interval(values, np.random.default_rng(8), resamples=50) != first


def test_clipping_keeps_what_lies_inside() -> None:
    assert Interval(low=-0.2, high=0.4).clipped(0.0, 1.0) == Interval(low=0.0, high=0.4)
    assert Interval(low=0.3, high=1.4).clipped(0.0, 1.0) == Interval(low=0.3, high=1.0)


def test_the_mean_does_not_depend_on_the_order() -> None:
    assert mean([0.1, 0.2, 0.3]) == mean([0.3, 0.1, 0.2]) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="average"):
        mean([])


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (1, 0), (5, 1), (10, 10), (3, 12), (40, 11)])
def test_the_sign_flip_test_of_single_verdicts_is_mcnemars_exact_test(only_first: int, only_second: int) -> None:
    ours = sign_flip_test([1] * only_first + [-1] * only_second + [0] * 30)
    table = [[100, only_first], [only_second, 56]]
    assert ours == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-12)


def test_five_against_one_by_hand() -> None:
    # 2 (1 + 6) / 64.
    assert sign_flip_test([1, 1, 1, 1, 1, -1]) == 0.21875


def test_items_and_not_verdicts_are_the_unit_with_several_seeds() -> None:
    # Three items with two seeds each: of the 8 sums of +-2 two are 6 or more from 0; six free verdicts would give 2/64.
    assert sign_flip_test([2, 2, 2]) == 0.25
    # +-2 +-1: 3 and -3 of four.
    assert sign_flip_test([2, 1]) == 0.5
    assert sign_flip_test([2, -1]) == 1.0


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_the_sign_flip_test_agrees_with_all_flips_counted(differences: list[int]) -> None:
    flips = list(product((-1, 1), repeat=len(differences)))
    sums = [sum(sign * one for sign, one in zip(signs, differences, strict=True)) for signs in flips]
    far = sum(abs(total) >= abs(sum(differences)) for total in sums)
    assert sign_flip_test(differences) == pytest.approx(far / len(flips))


def test_holm_by_hand() -> None:
    # 3 x 0.01, 2 x 0.02, then 0.03 but no less than the one before.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("size", [1, 2, 7, 28])
def test_holm_agrees_with_statsmodels(size: int) -> None:
    chances = list(np.random.default_rng(size).random(size) ** 4)
    assert holm(chances) == pytest.approx(list(multipletests(chances, method="holm")[1]))


def test_the_ratio_of_pairs_is_the_geometric_mean() -> None:
    found = ratio_of_pairs([1.0, 8.0], [2.0, 4.0], np.random.default_rng(0))
    assert found.value == pytest.approx(1.0)
    assert bounds(found.bootstrap) == pytest.approx((0.5, 2.0))
    # Logarithms -0.6931 and 0.6931: s / sqrt(2) = 0.6931, t(1) = 12.7062.
    assert bounds(found.interval) == pytest.approx(
        (math.exp(-12.7062 * 0.693147), math.exp(12.7062 * 0.693147)), rel=1e-4
    )
    assert not found.differs_from_1


def test_one_pair_has_a_ratio_and_no_interval() -> None:
    found = ratio_of_pairs([3.0], [2.0], np.random.default_rng(0))
    assert (found.value, found.bootstrap, found.interval) == (pytest.approx(1.5), None, None)
    assert not found.differs_from_1


def test_a_ratio_differs_from_1_only_where_both_intervals_leave_it_out() -> None:
    rng = np.random.default_rng(0)
    assert ratio_of_pairs([50, 51, 49], [100, 100, 100], rng).differs_from_1
    assert ratio_of_pairs([200, 204, 196], [100, 100, 100], rng).differs_from_1
    # All three below 1, but Student's interval of so few reaches above it.
    wide = ratio_of_pairs([10, 50, 95], [100, 100, 100], rng)
    assert wide.bootstrap is not None
    assert wide.bootstrap.high < 1
    assert not wide.differs_from_1


@pytest.mark.parametrize(("numerators", "denominators"), [([0.0], [1.0]), ([1.0], [-1.0]), ([], [])])
def test_a_ratio_needs_values_above_0(numerators: list[float], denominators: list[float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        ratio_of_pairs(numerators, denominators, np.random.default_rng(0))


def test_the_paired_t_test_agrees_with_scipy() -> None:
    differences = [0.1, 0.25, -0.05, 0.3]
    assert paired_t_test(differences) == pytest.approx(ttest_1samp(differences, 0.0).pvalue)
    # t = 4 / (2 / sqrt(3)) with 2 degrees of freedom.
    assert paired_t_test([2.0, 4.0, 6.0]) == pytest.approx(0.0741799, abs=1e-6)


def test_the_paired_t_test_of_equal_differences() -> None:
    assert paired_t_test([0.5, 0.5]) == 0.0
    assert paired_t_test([0.0, 0.0]) == 1.0
    assert paired_t_test([0.5]) is None
