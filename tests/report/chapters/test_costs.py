from __future__ import annotations

from typing import Any

from harness.report.analysis.budget import all_costs
from harness.report.analysis.curves import make_panels
from harness.report.chapters.costs import budget_tables
from harness.report.chapters.table import Table


def tables(synthetic: Any) -> list[Table]:
    (costs,) = all_costs(make_panels(synthetic.groups()))
    return budget_tables(costs)


def rising(synthetic: Any, last: int, *, speed: float = 1.0, **identity: Any) -> None:
    """Exact match from 0 to `last` of 100 in one even step; speed divides the FLOPs."""
    records = [
        synthetic.evaluation(name, update, synthetic.metrics(right, n=100), flops_total=1e9 * update / speed)
        for name, update, right in (("base", 0, 0), ("last", 24, last))
    ]
    synthetic.run(records=records, **identity)


def test_without_the_reference_method_there_is_no_table_of_ratios(synthetic: Any) -> None:
    rising(synthetic, 80)
    assert [table.title.split(": ")[1].split(",")[0] for table in tables(synthetic)] == [
        "mean height of the curve",
        "cost of a level",
    ]


def test_a_seed_that_never_gets_there_is_said_in_the_cell_and_below_the_ratios(synthetic: Any) -> None:
    for seed, last in enumerate((80, 80, 20)):
        rising(synthetic, 80, seed=seed)
        rising(synthetic, last, seed=seed, method="d1", config_hash="1b2c3d4e")
    _, levels, ratios = tables(synthetic)
    assert "not reached (2 of 3 seeds)" in {cell for cells in levels.cells for cell in cells}
    assert ratios.supports[0].endswith("no ratio for EGSPO-SA: a seed on either side never reaches the level.")


def test_no_rise_asks_for_no_level_and_says_so(synthetic: Any) -> None:
    rising(synthetic, 1)
    (table,) = tables(synthetic)
    assert "No levels are set: no group rises by 2 points." in table.notes


def test_one_seed_has_no_interval_and_says_so(synthetic: Any) -> None:
    rising(synthetic, 80, speed=2.0)
    rising(synthetic, 80, method="d1", config_hash="1b2c3d4e")
    ratios = tables(synthetic)[2]
    assert ratios.title.startswith("Sudoku, exact match: cost of a level over that of diffu-GRPO (d1)")
    assert ratios.cells[0][3] == "0.500"
    assert "EGSPO-SA 0.500, other seeds unknown" in ratios.supports[0]
