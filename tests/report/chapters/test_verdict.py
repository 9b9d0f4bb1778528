from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.records.jsonl import write_samples
from harness.report.analysis.comparisons import compare
from harness.report.analysis.rows import all_rows
from harness.report.chapters.sections import Section
from harness.report.chapters.verdict import verdicts

ITEMS = 100


def found(synthetic: Any) -> list[Section]:
    groups = synthetic.groups()
    return verdicts(all_rows(groups)[:1], compare(groups))


def sentences(synthetic: Any) -> str:
    (verdict,) = found(synthetic)
    return " ".join(verdict.text)


def run(synthetic: Any, right: Sequence[int], *, samples: bool = True, **options: Any) -> None:
    """A run per seed that gets the first `right` of 100 items right, after 25 before training."""
    costs = options.pop("costs", {})
    for seed, count in enumerate(right):
        verdict = [{"exact_match": {"part": float(item < count), "whole": 1.0}} for item in range(ITEMS)]
        ends = [
            synthetic.evaluation(
                name,
                update,
                {"exact_match": synthetic.metrics(solved, n=ITEMS)["exact_match"]},
                samples_file="samples-last.jsonl.gz",
                **(costs if name == "last" else {}),
            )
            for name, update, solved in (("base", 0, 25), ("last", 24, count))
        ]
        folder = synthetic.run(records=ends, seed=seed, **options)
        if samples:
            rows = [{"id": f"item-{item}", "metrics": metrics} for item, metrics in enumerate(verdict)]
            write_samples(folder / "samples-last.jsonl.gz", rows)


def test_a_gap_beyond_the_noise_is_told_from_one_within(synthetic: Any) -> None:
    run(synthetic, [74, 75, 76], method="egspo-sa")
    run(synthetic, [73, 76, 70], method="egspo")
    run(synthetic, [39, 40, 41], method="espo")
    text = sentences(synthetic)
    # Student t, 2 degrees of freedom: 4.303 * 1 / sqrt(3) = 2.5 points.
    assert "EGSPO-SA reached 75.0 % [72.5, 77.5] exact match, +50.0 points from 25.0 %, the highest of 3." in text
    # Seed by seed -1, +1, -6: mean -2, 4.303 * 3.606 / sqrt(3) = 9.0.
    assert "Not distinguishable from it: EGSPO at 73.0 % (-2.0 points [-11.0, +7.0], within noise)." in text
    # Every seed is 35 points behind.
    assert "Behind it, both on the items and over the seeds: ESPO at 40.0 % (-35.0 points [-35.0, -35.0])." in text


def test_one_seed_never_makes_a_method_better(synthetic: Any) -> None:
    run(synthetic, [90], method="egspo")
    run(synthetic, [30], method="espo")
    assert (
        "Not distinguishable from it: ESPO at 30.0 % (-60.0 points, EGSPO above with this seed; other seeds unknown)."
        in sentences(synthetic)
    )


def test_without_the_items_nothing_is_told_apart(synthetic: Any) -> None:
    run(synthetic, [90, 91, 92], samples=False, method="egspo")
    run(synthetic, [30, 31, 32], samples=False, method="espo")
    assert "ESPO at 31.0 % (-60.0 points [-60.0, -60.0], no samples kept)" in sentences(synthetic)


def test_a_control_that_learns_as_much_casts_doubt_on_the_reward(synthetic: Any) -> None:
    run(synthetic, [75, 76, 77])
    run(synthetic, [74, 77, 75], reward="random", config_hash="1b2c3d4e")
    assert "With random rewards EGSPO-SA reached 75.3 % [71.5, 79.1]: its gain is not shown to come" in sentences(
        synthetic
    )


def test_a_control_that_learns_nothing_shows_that_the_reward_teaches(synthetic: Any) -> None:
    run(synthetic, [75, 76, 77])
    run(synthetic, [25, 24, 26], reward="random", config_hash="1b2c3d4e")
    text = sentences(synthetic)
    assert "its gain comes from the reward" in text
    assert "No other method was run." in text


def test_the_cost_of_the_best_and_of_the_cheapest(synthetic: Any) -> None:
    run(synthetic, [75], method="egspo", costs={"flops_total": 3e12, "samples": 2048, "seconds": 41.5})
    run(synthetic, [39], method="espo", costs={"flops_total": 2e11})
    text = sentences(synthetic)
    assert "EGSPO cost 3.00 TFLOP, 2,048 samples and 41.5 s of training per seed; ESPO needed the fewest FLOPs" in text
    assert "FLOPs: 200 GFLOP, 1,536 samples and 12.0 s of training." in text


def test_data_seeds_and_checkpoint_are_named_and_a_toy_setting_is_called_one(synthetic: Any) -> None:
    run(synthetic, [75])
    assert (
        "Measured on the 100 items of the test split of builtin data, 1 seed each, last checkpoint. A toy setting, "
        "not comparable with published numbers." in sentences(synthetic)
    )


def test_another_model_is_another_verdict(synthetic: Any) -> None:
    run(synthetic, [75])
    run(synthetic, [40], model="GSAI-ML/LLaDA-8B-Instruct", recipe="paper")
    titles = [item.title for item in found(synthetic)]
    assert titles == ["Sudoku, GSAI-ML/LLaDA-8B-Instruct model", "Sudoku, tiny model"]
