from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import pytest

from harness.report.analysis.training import (
    MOST_POINTS,
    History,
    TrainingCurve,
    read_history,
    smoothed,
    step_counts,
    step_points,
    training_curves,
    training_points,
)
from harness.report.formats.csv import points_csv


def histories_of(synthetic: Any) -> list[History]:
    return [read_history(group) for group in synthetic.groups()]


def channel(curves: Sequence[TrainingCurve], name: str) -> TrainingCurve:
    return next(curve for curve in curves if curve.channel.name == name)


def test_a_curve_is_the_mean_of_the_seeds_with_their_range(synthetic: Any) -> None:
    for seed, reward in enumerate((0.25, 0.5, 0.875)):
        synthetic.run(seed=seed, lines=[synthetic.line(1, reward_mean=reward)])
    (point,) = channel(training_curves(histories_of(synthetic)), "reward").points
    # (0.25 + 0.5 + 0.875) / 3.
    assert point.value == pytest.approx(0.5416666667)
    assert (point.update, point.low, point.high) == (1, 0.25, 0.875)


def test_an_update_that_a_seed_lacks_is_left_out(synthetic: Any) -> None:
    synthetic.run(seed=0, lines=[synthetic.line(1), synthetic.line(2), synthetic.line(3)])
    synthetic.run(seed=1, lines=[synthetic.line(1), synthetic.line(3)])
    points = channel(training_curves(histories_of(synthetic)), "reward").points
    assert [point.update for point in points] == [1, 3]


def test_the_clipped_share_is_the_sum_of_both_sides_in_per_cent_and_the_entropy_the_mean_of_the_steps(
    synthetic: Any,
) -> None:
    lines = [synthetic.line(1, clip_low=0.02, clip_high=0.01, step_entropy=[0.1, 0.2, 0.6]), synthetic.line(2)]
    synthetic.run(lines=[*lines, synthetic.line(3, clip_low=0.0)])
    curves = training_curves(histories_of(synthetic))
    assert channel(curves, "clip_fraction").points[0].value == pytest.approx(3.0)
    assert channel(curves, "entropy").points[0].value == pytest.approx(0.3)


def names(synthetic: Any) -> set[str]:
    return {curve.channel.name for curve in training_curves(histories_of(synthetic))}


@pytest.mark.parametrize("kl", [0.0, 0.25])
def test_a_channel_with_one_value_throughout_is_left_out_and_kept_where_one_group_differs(
    synthetic: Any, kl: float
) -> None:
    synthetic.run(lines=[synthetic.line(1, kl=kl), synthetic.line(2, kl=kl)])
    assert names(synthetic) == {"reward"}
    synthetic.run(method="d1", lines=[synthetic.line(1, kl=0.04)])
    assert names(synthetic) == {"reward", "kl"}
    own = [curve for curve in training_curves(histories_of(synthetic)) if curve.channel.name == "kl"]
    assert [(curve.group.method, curve.points[0].value) for curve in own] == [("d1", 0.04), ("egspo-sa", kl)]


def test_a_constant_mean_of_seeds_that_differ_is_no_constant_channel(synthetic: Any) -> None:
    for seed, reward in enumerate((0.25, 0.75)):
        synthetic.run(seed=seed, lines=[synthetic.line(update, reward_mean=reward) for update in (1, 2)])
    assert names(synthetic) == {"reward"}


def test_the_rewards_of_a_control_are_no_curve_but_its_other_channels_are(synthetic: Any) -> None:
    lines = [synthetic.line(update, kl=update / 10) for update in (1, 2)]
    synthetic.run(lines=lines)
    synthetic.run(lines=lines, reward="random", config_hash="2c3d4e5f")
    curves = training_curves(histories_of(synthetic))
    shown = [(curve.channel.name, curve.group.reward) for curve in curves]
    assert shown == [("reward", "task"), ("kl", "task"), ("kl", "random")]


def test_smoothing_is_the_mean_of_the_neighbours_and_of_fewer_at_the_ends() -> None:
    # ceil(0.08 * 5) = 1 neighbour on either side.
    assert smoothed([1.0, 2.0, 6.0, 4.0, 8.0]) == pytest.approx([1.5, 3.0, 4.0, 6.0, 6.0])
    assert smoothed([3.0]) == [3.0]
    # ceil(0.08 * 13) = 2.
    assert smoothed([float(place == 6) for place in range(13)]) == pytest.approx([0] * 4 + [0.2] * 5 + [0] * 4)


def test_long_runs_are_averaged_over_neighbouring_updates(synthetic: Any) -> None:
    synthetic.run(lines=[synthetic.line(update, reward_mean=update / 1000) for update in range(1, 2 * MOST_POINTS + 1)])
    points = channel(training_curves(histories_of(synthetic)), "reward").points
    assert len(points) == MOST_POINTS
    assert (points[0].update, points[0].value) == (1.5, pytest.approx(0.0015))


@pytest.mark.parametrize("value", ["much", None, [0.5], True, float("nan")])
def test_a_value_that_is_no_number_leaves_its_update_out(synthetic: Any, value: Any) -> None:
    lines = [synthetic.line(2, reward_mean=0.5), synthetic.line(3, reward_mean=0.75)]
    synthetic.run(lines=[synthetic.line(1, reward_mean=value), *lines])
    points = channel(training_curves(histories_of(synthetic)), "reward").points
    assert [point.update for point in points] == [2, 3]


def test_training_points_as_csv(synthetic: Any) -> None:
    synthetic.run(lines=[synthetic.line(1, reward_mean=1 / 3), synthetic.line(2, reward_mean=1)])
    rows = list(csv.DictReader(io.StringIO(points_csv(training_points(training_curves(histories_of(synthetic)))))))
    assert rows[0] == {
        "label": "EGSPO-SA",
        "method": "egspo-sa",
        "reward": "task",
        "channel": "reward",
        "seeds": "0",
        "update": "1",
        "mean": "0.3333333333",
        "smooth": "0.6666666667",
        "low": "0.3333333333",
        "high": "0.3333333333",
    }


def test_chosen_steps_count_every_rollout_once_and_all_seeds_together(synthetic: Any) -> None:
    for seed, counts in enumerate(([6, 2], [2, 6])):
        first = synthetic.line(1, chosen_steps=counts)
        again = synthetic.line(2, chosen_steps=counts, first_of_rollout=False)
        second = synthetic.line(3, chosen_steps=[0, 8])
        synthetic.run(seed=seed, lines=[first, again, second])
    counted = step_counts(histories_of(synthetic)[0])
    assert counted is not None
    # First rollout 8 and 8 of 16, second 0 and 16 of 16, together 8 and 24 of 32.
    assert counted.share_XT == ((0.5, 0.5), (0.0, 1.0))
    assert counted.total_T == (0.25, 0.75)
    assert counted.edges == (0, 2, 4)


def test_many_steps_share_cells(synthetic: Any) -> None:
    synthetic.run(lines=[synthetic.line(1, chosen_steps=[1] + [0] * 98 + [1])])
    counted = step_counts(histories_of(synthetic)[0])
    assert counted is not None
    assert (counted.num_steps, counted.steps_per_cell, len(counted.total_T)) == (100, 2, 50)
    assert (counted.total_T[0], counted.total_T[-1]) == (0.5, 0.5)


@pytest.mark.parametrize("counts", [[], None, "many", [1, "2"]])
def test_methods_without_chosen_steps_have_no_counts(synthetic: Any, counts: Any) -> None:
    synthetic.run(lines=[synthetic.line(1, chosen_steps=counts)])
    assert step_counts(histories_of(synthetic)[0]) is None


def test_seeds_with_different_numbers_of_steps_have_no_counts(synthetic: Any) -> None:
    synthetic.run(seed=0, lines=[synthetic.line(1, chosen_steps=[1, 2])])
    synthetic.run(seed=1, lines=[synthetic.line(2, chosen_steps=[1, 2, 3])])
    assert step_counts(histories_of(synthetic)[0]) is None


def test_chosen_steps_as_csv(synthetic: Any) -> None:
    synthetic.run(lines=[synthetic.line(1, chosen_steps=[3, 1])])
    counted = step_counts(histories_of(synthetic)[0])
    assert counted is not None
    assert points_csv(step_points([counted])).splitlines() == [
        "label,method,reward,from_update,to_update,step,share",
        "EGSPO-SA,egspo-sa,task,0,1,0,0.75",
        "EGSPO-SA,egspo-sa,task,0,1,1,0.25",
    ]
