from __future__ import annotations

import math

import pytest

from harness.report.analysis.effects import (
    Effect,
    cost_ratio,
    detectable,
    deviation,
    difference,
    from_half,
    spread_ratio,
)
from harness.report.analysis.statistics import Interval

FIRST = {0: 0.5, 1: 0.6, 2: 0.7, 3: 0.9}
SECOND = {0: 0.4, 1: 0.45, 2: 0.55, 3: 0.5}


@pytest.mark.parametrize(("pairs", "effect"), [(3, 3.264), (5, 1.682), (10, 0.996), (20, 0.660)])
def test_the_smallest_difference_shown_is_that_of_the_tables_of_power(pairs: int, effect: float) -> None:
    """In standard deviations of the pairs, as G*Power has them for 80 %, 5 %, two-sided."""
    assert detectable(pairs) / math.sqrt(pairs) == pytest.approx(effect, abs=5e-4)


def test_a_difference_by_hand() -> None:
    found = difference({0: 0.11, 1: 0.22, 2: 0.33, 7: 0.9}, {0: 0.10, 1: 0.20, 2: 0.30, 9: 0.1})
    assert found is not None
    # Gaps of 1, 2 and 3 points: mean 2, deviation 1, t = 2 sqrt(3) on 2 degrees of freedom.
    assert (found.value, found.seeds, found.sign) == (pytest.approx(0.02), 3, 1)
    assert found.p == pytest.approx(0.0742, abs=5e-5)
    assert found.smallest == pytest.approx(0.03264, abs=5e-6)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(0.02 - 4.30265 * 0.01 / math.sqrt(3), abs=1e-6)


def test_two_shared_seeds_are_too_few() -> None:
    first, second = {0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.0, 1: 3.0, 5: 4.0}
    assert difference(first, second) is None
    assert cost_ratio(first, second) is None
    assert spread_ratio(first, second) is None
    assert from_half({0: 0.1, 1: 0.2}) is None


def test_equal_values_show_no_difference() -> None:
    found = difference({0: 0.1 + 0.2, 1: 0.5, 2: 0.6}, {0: 0.3, 1: 0.5, 2: 0.6})
    assert found == Effect(
        kind="difference", value=0.0, interval=Interval(low=0.0, high=0.0), p=1.0, smallest=0.0, seeds=3
    )
    assert found.sign == 0


def test_a_ratio_of_costs_by_hand() -> None:
    found = cost_ratio({0: 1.0, 1: 2.0, 2: 8.0}, {0: 2.0, 1: 8.0, 2: 64.0})
    assert found is not None
    # Logarithms to base 2 of -1, -2 and -3.
    assert (found.kind, found.value, found.sign) == ("ratio", pytest.approx(0.25), -1)
    assert found.p == pytest.approx(0.0742, abs=5e-5)
    assert found.smallest == pytest.approx(2**3.2640, rel=1e-4)


def test_where_a_seed_never_arrives_it_counts_who_was_first() -> None:
    first = {0: 1.0, 1: 2.0, 2: 3.0, 3: None, 4: None, 5: 4.0, 6: 1.0}
    second = {0: 2.0, 1: None, 2: None, 3: None, 4: 5.0, 5: 5.0, 6: 1.0}
    found = cost_ratio(first, second)
    # Sooner in 0, 1, 2 and 5, later in 4, ties in 3 and 6: 4 of 5 has 2 (1 + 5) / 32.
    assert found is not None
    assert (found.kind, found.value, found.sign, found.reached) == ("firsts", -3.0, -1, (5, 4))
    assert found.p == pytest.approx(0.375)
    assert found.smallest == 7  # 6 of 7 have 0.125


@pytest.mark.parametrize(("seeds", "enough"), [(3, None), (5, None), (6, 6.0), (10, 9.0)])
def test_few_pairs_show_nothing_by_who_was_first(seeds: int, enough: float | None) -> None:
    found = cost_ratio(dict.fromkeys(range(seeds), 1.0), dict.fromkeys(range(seeds), None))
    assert found is not None
    assert (found.smallest, found.p) == (enough, pytest.approx(2 / 2**seeds))


def test_a_level_reached_untrained_has_no_ratio() -> None:
    found = cost_ratio({0: 0.0, 1: 1.0, 2: 2.0}, {0: 1.0, 1: 2.0, 2: 4.0})
    assert found is not None
    assert (found.kind, found.value) == ("firsts", -3.0)


def test_the_test_of_spreads_is_pitmans() -> None:
    found = spread_ratio(FIRST, SECOND)
    assert found is not None
    # The correlation of sums and differences is 0.83984 on 2 degrees of freedom.
    assert found.value == pytest.approx(math.sqrt(7))
    assert found.p == pytest.approx(1 - 0.8398387664, abs=1e-9)
    assert found.smallest is not None
    assert found.smallest > 1


def test_the_interval_of_spreads_ends_where_the_test_rejects() -> None:
    found = spread_ratio(FIRST, SECOND)
    assert found is not None
    assert found.interval is not None
    for edge in (found.interval.low, found.interval.high):
        scaled = spread_ratio(FIRST, {seed: edge * value for seed, value in SECOND.items()})
        assert scaled is not None
        assert scaled.p == pytest.approx(0.05)


def test_spreads_that_are_none_or_known_exactly() -> None:
    assert spread_ratio(FIRST, dict.fromkeys(FIRST, 0.5)) is None
    same = spread_ratio(FIRST, FIRST)
    double = spread_ratio({seed: 2 * value for seed, value in FIRST.items()}, FIRST)
    assert same is not None
    assert double is not None
    assert (same.value, same.p, double.value, double.p) == (1.0, 1.0, pytest.approx(2.0), 0.0)


def test_a_place_is_held_against_the_middle() -> None:
    found = from_half({0: 0.4, 1: 0.3, 2: 0.2})
    assert found is not None
    assert (found.value, found.sign, found.p) == (pytest.approx(-0.2), -1, pytest.approx(0.0742, abs=5e-5))
    assert deviation([0.4, 0.3, 0.2]) == pytest.approx(0.1)
