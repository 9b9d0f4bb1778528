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
    assert ratios.cells[0][-1] == "no ratio: a seed on either side never reaches the level"
    assert ratios.supports[0].endswith("EGSPO-SA, no ratio: a seed on either side never reaches the level.")


def test_a_ratio_that_is_missing_for_another_reason_is_not_called_out_of_reach(synthetic: Any) -> None:
    rising(synthetic, 80)
    rising(synthetic, 80, method="d1", config_hash="1b2c3d4e", seed=1)
    assert tables(synthetic)[2].cells[0][-1] == "no ratio: no shared seed"
    flat = [
        synthetic.evaluation(name, update, synthetic.metrics(60, n=100)) for name, update in (("base", 0), ("last", 24))
    ]
    synthetic.run(records=flat, method="egspo", config_hash="2c3d4e5f", seed=1)
    supports = tables(synthetic)[2].supports
    assert any("EGSPO, no ratio: a seed on either side reaches the level before training" in text for text in supports)


def test_the_sentence_about_a_ratio_is_the_verdict_of_its_row(synthetic: Any) -> None:
    for seed, speed in enumerate((2.0, 2.02, 1.98)):
        rising(synthetic, 80, speed=speed, seed=seed)
        rising(synthetic, 80, speed=1.5 + seed, seed=seed, method="egspo", config_hash="2c3d4e5f")
        rising(synthetic, 80, method="d1", config_hash="1b2c3d4e", seed=seed)
    ratios = tables(synthetic)[2]
    verdicts = {cells[0]: cells[-1] for cells in ratios.cells}
    assert verdicts == {"EGSPO-SA": "different from 1", "EGSPO": "not shown to differ from 1"}
    for label, verdict in verdicts.items():
        assert all(f"{label} 0." in text and f"], {verdict}" in text for text in ratios.supports)


def test_a_curve_of_one_seed_is_not_said_to_lie_within_anothers_interval(synthetic: Any) -> None:
    for seed in range(2):
        rising(synthetic, 80, seed=seed)
    rising(synthetic, 20, method="d1", config_hash="1b2c3d4e")
    supports = tables(synthetic)[0].supports
    assert supports == (
        "Over FLOPs EGSPO-SA has the highest mean.",
        "Other seeds unknown, for one of the two has no interval: diffu-GRPO (d1).",
    )


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
    assert ratios.cells[0][-1] == "other seeds unknown"
    assert "EGSPO-SA 0.500, other seeds unknown" in ratios.supports[0]
