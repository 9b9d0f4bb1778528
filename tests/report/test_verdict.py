from __future__ import annotations

from typing import Any

import pytest

from harness.report.collect import collect
from harness.report.groups import make_groups
from harness.report.statistics import Interval
from harness.report.tables import Row, all_rows
from harness.report.verdict import difference, verdicts


def rows_of(synthetic: Any) -> tuple[Row, ...]:
    return all_rows(make_groups(collect([synthetic.root]).runs))[0].rows


def sentences(synthetic: Any) -> str:
    (verdict,) = verdicts(all_rows(make_groups(collect([synthetic.root]).runs))[:1])
    return " ".join(verdict.sentences)


def run(synthetic: Any, solved: int, **options: Any) -> None:
    base, end = synthetic.metrics(64), synthetic.metrics(solved)
    costs = options.pop("costs", {})
    records = [synthetic.evaluation("base", 0, base), synthetic.evaluation("last", 24, end, **costs)]
    synthetic.run(records=records, **options)


def test_the_interval_of_a_difference_adds_the_squares_of_the_sides(synthetic: Any) -> None:
    run(synthetic, 128, method="egspo")
    run(synthetic, 64, method="espo")
    first, second = rows_of(synthetic)
    assert (first.interval, second.interval) == (
        Interval(low=pytest.approx(0.4392, abs=5e-5), high=pytest.approx(0.5608, abs=5e-5)),
        Interval(low=pytest.approx(0.2009, abs=5e-5), high=pytest.approx(0.3065, abs=5e-5)),
    )
    gap = difference(first, second)
    assert gap is not None
    # 0.25 - sqrt(0.0608^2 + 0.0565^2) and 0.25 + sqrt(0.0608^2 + 0.0491^2).
    assert gap.low == pytest.approx(0.1670, abs=2e-4)
    assert gap.high == pytest.approx(0.3282, abs=2e-4)


def test_a_gap_beyond_the_noise_is_told_from_one_within(synthetic: Any) -> None:
    run(synthetic, 192, method="egspo-sa")
    run(synthetic, 188, method="egspo")
    run(synthetic, 100, method="espo")
    text = sentences(synthetic)
    assert "EGSPO-SA reached 75.0 % [69.4, 79.9] exact match, +50.0 points from 25.0 %, the highest of 3." in text
    assert "Not told apart from it: EGSPO at 73.4 % (-1.6 [" in text
    assert "Behind it by more than the noise: ESPO at 39.1 % (-35.9 [" in text


def test_a_control_that_learns_as_much_casts_doubt_on_the_reward(synthetic: Any) -> None:
    run(synthetic, 192)
    run(synthetic, 190, reward="random", config_hash="1b2c3d4e")
    assert "With random rewards EGSPO-SA reached 74.2 % [68.5, 79.2]: its gain is not shown to come" in sentences(
        synthetic
    )


def test_a_control_that_learns_nothing_shows_that_the_reward_teaches(synthetic: Any) -> None:
    run(synthetic, 192)
    run(synthetic, 64, reward="random", config_hash="1b2c3d4e")
    text = sentences(synthetic)
    assert "its gain comes from the reward" in text
    assert "No other method was run." in text


def test_the_cost_of_the_best_and_of_the_cheapest(synthetic: Any) -> None:
    run(synthetic, 192, method="egspo", costs={"flops_total": 3e12, "samples": 2048, "seconds": 41.5})
    run(synthetic, 100, method="espo", costs={"flops_total": 2e11})
    text = sentences(synthetic)
    assert (
        "EGSPO cost 3.00 TFLOP, 2,048 samples and 41.5 s of training per seed; the fewest FLOPs took ESPO, 200 GFLOP"
        in text
    )


def test_data_seeds_and_checkpoint_are_named_and_a_toy_setting_is_called_one(synthetic: Any) -> None:
    run(synthetic, 192)
    assert (
        "Measured on the 256 items of the test split of builtin data, 1 seed each, last checkpoint. A toy setting, "
        "not to be set beside published numbers." in sentences(synthetic)
    )


def test_another_model_is_another_verdict(synthetic: Any) -> None:
    run(synthetic, 192)
    run(synthetic, 100, model="GSAI-ML/LLaDA-8B-Instruct", recipe="paper")
    found = verdicts(all_rows(make_groups(collect([synthetic.root]).runs))[:1])
    assert [item.title for item in found] == ["Sudoku, GSAI-ML/LLaDA-8B-Instruct model", "Sudoku, tiny model"]
