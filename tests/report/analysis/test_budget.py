from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest

from harness.report.analysis.budget import Costs, Spot, budget_points, make_costs, mean_height, reach
from harness.report.analysis.curves import make_panels
from harness.report.analysis.statistics import Interval
from harness.report.formats.csv import points_csv

LINE = (Spot(cost=0.0, value=0.1), Spot(cost=10.0, value=0.3), Spot(cost=20.0, value=0.2), Spot(cost=40.0, value=0.6))


@pytest.mark.parametrize(
    ("level", "cost"),
    [(0.05, 0.0), (0.1, 0.0), (0.2, 5.0), (0.3, 10.0), (0.4, 30.0), (0.6, 40.0), (0.61, None)],
)
def test_a_level_is_reached_where_the_line_first_comes_to_it(level: float, cost: float | None) -> None:
    assert reach(LINE, level) == (None if cost is None else pytest.approx(cost))


def test_no_checkpoint_reaches_nothing() -> None:
    assert reach((), 0.0) is None


def test_the_mean_height_by_hand() -> None:
    # 10 x 0.2 + 10 x 0.25 + 20 x 0.4 = 12.5 over 40.
    assert mean_height(LINE, Interval(low=0.0, high=40.0)) == pytest.approx(0.3125)
    # 5..10: mean of 0.2 and 0.3; 10..15: mean of 0.3 and 0.25.
    assert mean_height(LINE, Interval(low=5.0, high=15.0)) == pytest.approx(0.2625)


def rising(synthetic: Any, last: int, *, speed: float = 1.0, **identity: Any) -> None:
    """Exact match from 0 to `last` of 100 in four even steps; speed divides the FLOPs."""
    records = [
        synthetic.evaluation(
            {0: "base", 24: "last"}.get(update, "step"),
            update,
            synthetic.metrics(round(last * update / 24), n=100),
            flops_total=1e9 * update / speed,
        )
        for update in range(0, 25, 6)
    ]
    synthetic.run(records=records, **identity)


def d1(**identity: Any) -> dict[str, Any]:
    return {"method": "d1", "config_hash": "1b2c3d4e", **identity}


def costs(synthetic: Any) -> Costs:
    (panel,) = make_panels(synthetic.groups())
    found = make_costs(panel)
    assert found is not None
    return found


def test_twice_the_speed_is_half_the_flops_and_the_same_updates(synthetic: Any) -> None:
    for seed in range(3):
        rising(synthetic, 80, speed=2.0, seed=seed)
        rising(synthetic, 80, **d1(seed=seed))
    found = costs(synthetic)
    assert found.levels == (0.4, 0.6, 0.72)
    half = next(budget for budget in found.budgets if (budget.group.method, budget.level) == ("d1", 0.4))
    assert [need.value for need in half.over if need] == pytest.approx([12e9, 768.0, 12.0, 6.0])
    flops, samples, updates, _ = found.ratios[0].over
    assert flops is not None
    assert samples is not None
    assert updates is not None
    assert (flops.value, samples.value, updates.value) == pytest.approx((0.5, 1.0, 1.0))
    assert flops.differs_from_1
    assert not samples.differs_from_1


def test_areas_are_taken_over_the_stretch_that_every_run_covers(synthetic: Any) -> None:
    rising(synthetic, 80, speed=2.0)
    rising(synthetic, 80, **d1())
    found = costs(synthetic)
    assert found.stretch[0] == Interval(low=0.0, high=12e9)
    heights = {area.group.method: area.over[0].value for area in found.areas if area.over[0]}
    assert heights == {"egspo-sa": pytest.approx(0.4), "d1": pytest.approx(0.2)}


def test_a_seed_that_never_gets_there_leaves_no_mean_and_no_ratio(synthetic: Any) -> None:
    for seed, last in enumerate((80, 80, 20)):
        rising(synthetic, 80, seed=seed)
        rising(synthetic, last, **d1(seed=seed))
    found = costs(synthetic)
    missed = next(budget for budget in found.budgets if (budget.group.method, budget.level) == ("d1", 0.4))
    assert (missed.over[0], missed.reached) == (None, 2)
    assert found.ratios[0].over[0] is None


def test_a_level_that_the_base_holds_already_has_no_ratio(synthetic: Any) -> None:
    flat = [
        synthetic.evaluation(name, update, synthetic.metrics(80, n=100)) for name, update in (("base", 0), ("last", 24))
    ]
    synthetic.run(records=flat, method="egspo", config_hash="2c3d4e5f")
    rising(synthetic, 80, **d1())
    found = costs(synthetic)
    assert found.levels == (0.6, 0.7, 0.76)
    first = next(ratio for ratio in found.ratios if ratio.level == 0.6)
    assert first.over[0] is None


def test_without_d1_there_are_no_ratios_and_with_two_of_them_neither(synthetic: Any) -> None:
    rising(synthetic, 80)
    assert costs(synthetic).ratios == ()
    rising(synthetic, 80, **d1())
    assert len(costs(synthetic).ratios) == 3
    rising(synthetic, 80, **d1(config_hash="3d4e5f60"))
    assert costs(synthetic).ratios == ()


def test_no_rise_asks_for_no_level(synthetic: Any) -> None:
    rising(synthetic, 1)
    found = costs(synthetic)
    assert (found.levels, found.budgets) == ((), ())


def test_a_control_sets_no_level(synthetic: Any) -> None:
    rising(synthetic, 40)
    rising(synthetic, 100, reward="random", config_hash="4e5f6071")
    assert costs(synthetic).levels == (0.2, 0.3, 0.36)


def test_budgets_are_never_below_0(synthetic: Any) -> None:
    for seed, last in enumerate((40, 80, 100)):
        rising(synthetic, last, seed=seed)
    intervals = [need.interval for budget in costs(synthetic).budgets for need in budget.over if need]
    assert intervals
    assert all(interval is not None and interval.low >= 0 for interval in intervals)


def test_the_csv_survives_pandas(synthetic: Any) -> None:
    for seed in range(2):
        rising(synthetic, 80, speed=2.0, seed=seed)
        rising(synthetic, 80, **d1(seed=seed))
    frame = pd.read_csv(io.StringIO(points_csv(budget_points([costs(synthetic)]))))
    assert set(frame.quantity) == {"area", "budget", "ratio to d1"}
    ratio = frame[(frame.quantity == "ratio to d1") & (frame.axis == "flops_total") & (frame.level == 0.4)]
    assert list(ratio.value) == [0.5]
    assert list(ratio.bootstrap_low) == [0.5]
