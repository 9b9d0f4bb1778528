from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from harness.records.jsonl import write_samples
from harness.report.analysis.comparisons import compare
from harness.report.analysis.rows import all_rows
from harness.report.chapters.pairs import comparison_table
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
    assert "Behind it with this seed, other seeds unknown: ESPO at 30.0 % (-60.0 points)." in sentences(synthetic)


def test_without_the_items_nothing_is_told_apart(synthetic: Any) -> None:
    run(synthetic, [90, 91, 92], samples=False, method="egspo")
    run(synthetic, [30, 31, 32], samples=False, method="espo")
    text = sentences(synthetic)
    assert "Not compared with it: ESPO at 31.0 % (-60.0 points [-60.0, -60.0], no samples kept)." in text


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
    assert "its gain comes from the reward." in text
    assert "No other method was run." in text


def test_a_gain_that_holds_as_a_single_pair_is_not_said_to_come_from_the_reward_outright(synthetic: Any) -> None:
    # Differences of 50, 43 and 36: t = 10.6, p = 0.009, and more than 0.05 among the ten pairs of five groups.
    run(synthetic, [75, 68, 61])
    run(synthetic, [25, 25, 25], reward="random", config_hash="1b2c3d4e")
    for number in range(3):
        run(synthetic, [26, 24, 25], method="egspo", config_hash=f"0000000{number}")
    groups = synthetic.groups()
    cells = comparison_table(compare(groups)[0]).cells
    assert {row[-1] for row in cells if "random-reward" in row[0] + row[1] and "EGSPO-SA" in (row[0], row[1])} == {
        "EGSPO-SA above as a single pair"
    }
    said = "its gain comes from the reward is shown as a single pair, but not after adjusting for the number of pairs."
    assert said in sentences(synthetic)


@pytest.mark.parametrize(
    ("own", "control", "samples", "said"),
    [
        ([75], [25], True, ": that its gain comes from the reward is shown for this seed; other seeds are unknown."),
        ([75, 76], [25, 24], False, ": its gain is not shown to come from the reward (no samples kept)."),
        ([75, 30, 50], [25, 26, 24], True, "not shown to come from the reward (within noise between seeds)."),
        ([75, 76], [74, 77], True, ": its gain is not shown to come from the reward (within noise)."),
        ([60, 61, 60], [90, 91, 90], True, "come from the reward (EGSPO-SA, random-reward control above)."),
        ([20, 21, 20], [5, 6, 5], True, ": with the task's reward it gained nothing either."),
    ],
)
def test_where_a_gain_comes_from_is_said_as_surely_as_the_pair_is_tested(
    synthetic: Any, own: list[int], control: list[int], samples: bool, said: str
) -> None:
    run(synthetic, own, samples=samples)
    run(synthetic, control, samples=samples, reward="random", config_hash="1b2c3d4e")
    assert said in sentences(synthetic)


def test_the_highest_mean_is_not_called_ahead_where_the_shared_seeds_say_otherwise(synthetic: Any) -> None:
    run(synthetic, [60, 61, 62, 99, 99, 99])
    run(synthetic, [70, 71, 72], method="egspo", config_hash="1b2c3d4e")
    text = sentences(synthetic)
    assert "EGSPO-SA reached 80.0 %" in text
    assert (
        "Ahead of it on the seeds that both have: EGSPO at 71.0 % (+10.0 points [+10.0, +10.0], EGSPO above)." in text
    )


def test_a_method_that_only_a_control_was_compared_with_is_not_called_alike(synthetic: Any) -> None:
    run(synthetic, [90], reward="random", config_hash="1b2c3d4e")
    for number in range(8):
        run(synthetic, [30 + number], method="egspo", config_hash=f"0000000{number}")
    assert "Not distinguishable" not in sentences(synthetic)
    assert "Not compared with it: EGSPO (configuration 00000006) at 36.0 %; " in sentences(synthetic)


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
