from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config.published.claims import Claim, Side
from harness.report.analysis.claims import Held, Row, claim_points, hold
from harness.report.analysis.curves import FLOPS, FORWARD_FLOPS
from harness.report.analysis.groups import Group
from harness.report.analysis.measures import costs, drop, fewest_steps, last, level, position

D1, EGSPO = Side(method="d1"), Side(method="egspo")
UNIFORM = Side(method="egspo", set={"method.selection": "uniform"})


def claim(**changes: Any) -> Claim:
    values: dict[str, Any] = {"name": "mine", "paper": "Mine", "where": "", "says": "So.", "measure": "last"}
    return Claim(**{**values, "direction": "higher", "first": EGSPO, "second": D1, **changes})


def run(
    synthetic: Any,
    ends: list[int],
    *,
    changed: dict[str, Any] | None = None,
    source: dict[str, str] | None = None,
    **options: Any,
) -> None:
    """A run for each seed from 0, with so many of 256 grids solved at its end, and half of that in the middle.

    changed: settings given on the command line; source: where others come from.
    """
    settings = copy.deepcopy(dict(synthetic.settings))
    settings["method"] |= {"selection": "entropy"}
    for key, value in (changed or {}).items():
        section, name = key.split(".")
        settings[section][name] = value
    given = dict.fromkeys(changed or {}, "command line") | (source or {})
    for seed, solved in enumerate(ends):
        middle = synthetic.evaluation("step", 12, synthetic.metrics(solved // 2))
        records = [*synthetic.ends(0, solved), middle]
        synthetic.run(settings=settings, provenance=given, seed=seed, records=records, updates=2, **options)


@pytest.fixture(scope="module")
def groups(synthetic_below: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory) -> list[Group]:
    """EGSPO, with uniform steps and with another K too, diffu-GRPO and a control; one more method with two seeds."""
    made = synthetic_below(tmp_path_factory.mktemp("claims"))
    run(made, [128, 130, 132, 140], method="egspo", config_hash="entropy1")
    run(made, [64, 66, 69, 74], method="egspo", config_hash="uniform1", changed={"method.selection": "uniform"})
    other = {"method.selection": "uniform", "method.num_selected": 9}
    run(made, [256, 256, 256, 256], method="egspo", config_hash="uniform9", changed=other)
    rates = {"method.selection": "random", "optimizer.learning_rate": 1.0}
    run(made, [1, 2, 3, 4], method="egspo", config_hash="random01", changed=rates)
    run(made, [1, 2, 3, 4], method="egspo", config_hash="random02", changed={**rates, "optimizer.learning_rate": 2.0})
    run(made, [64, 80, 96], method="d1", config_hash="d1d1d1d1")
    run(made, [0, 1, 2, 3], method="egspo", config_hash="control1", reward="random")
    run(made, [99, 99], method="espo", config_hash="espoespo")
    found: list[Group] = made.groups()
    return found


def only(held: Held) -> Row:
    (row,) = held.rows
    return row


def of(groups: list[Group], config_hash: str) -> Group:
    return next(group for group in groups if group.config_hash == config_hash)


def test_a_claim_is_held_against_the_seeds_that_both_sides_have(groups: list[Group]) -> None:
    row = only(hold([claim()], groups))
    # 64, 50 and 36 of 256.
    assert (row.effect.seeds, row.effect.value) == (3, pytest.approx(50 / 256))
    assert (row.first.config_hash, row.second and row.second.config_hash) == ("entropy1", "d1d1d1d1")
    assert row.first.label == "EGSPO"
    assert row.adjusted == row.effect.p


def test_a_side_is_the_recipe_but_for_what_it_names(groups: list[Group]) -> None:
    row = only(hold([claim(second=UNIFORM)], groups))
    assert row.second is not None
    assert (row.second.config_hash, row.second.label) == ("uniform1", "EGSPO (selection=uniform)")
    assert row.effect.value == pytest.approx((64 + 64 + 63 + 66) / 4 / 256)


def test_a_side_that_several_configurations_fit_is_left_out_and_named(groups: list[Group]) -> None:
    held = hold([claim(second=Side(method="egspo", set={"method.selection": "random"}))], groups)
    assert held.rows == ()
    told = "EGSPO (selection=random): 2 configurations on sudoku, none of which stands for it"
    assert held.unclear == (told,)


@pytest.mark.parametrize(
    "changes",
    [{"second": Side(method="espo")}, {"second": Side(method="wd1")}, {"tasks": ("countdown",)}, {"measure": "chosen"}],
)
def test_a_claim_without_both_sides_on_three_seeds_has_no_row(changes: dict[str, Any], groups: list[Group]) -> None:
    assert hold([claim(**changes)], groups) == Held(rows=())


def test_other_conditions_are_no_other_side(synthetic: Any) -> None:
    run(synthetic, [1, 2, 3], method="egspo")
    run(synthetic, [1, 2, 3], method="d1", model="other")
    assert hold([claim()], synthetic.groups()).rows == ()


@pytest.mark.parametrize(
    ("direction", "first", "second", "verdict"),
    [
        ("higher", EGSPO, UNIFORM, "supported"),
        ("lower", EGSPO, UNIFORM, "contradicted"),
        ("higher", UNIFORM, EGSPO, "contradicted"),
        ("different", UNIFORM, EGSPO, "supported"),
        ("higher", D1, UNIFORM, "not visible"),
    ],
)
def test_the_verdict_goes_by_the_direction(
    direction: str, first: Side, second: Side, verdict: str, groups: list[Group]
) -> None:
    assert only(hold([claim(direction=direction, first=first, second=second)], groups)).verdict == verdict


def test_p_is_adjusted_for_all_rows_under_the_same_conditions(groups: list[Group]) -> None:
    claims = [claim(), claim(second=UNIFORM), claim(second=Side(method="egspo", reward="random"))]
    rows = hold(claims, groups).rows
    first, *others = sorted(rows, key=lambda row: row.effect.p)
    assert first.adjusted == pytest.approx(3 * first.effect.p)
    assert others[-1].adjusted == pytest.approx(max(others[-1].effect.p, 2 * others[0].effect.p))


def test_other_models_take_nothing_from_a_verdict(groups: list[Group]) -> None:
    claims = [claim(), claim(second=UNIFORM)]
    alone = hold(claims, groups).rows
    both = hold(claims, [*groups, *(replace(group, model="another") for group in groups)]).rows
    assert len(both) == 2 * len(alone) == 4
    assert [row.adjusted for row in both if row.first.model != "another"] == [row.adjusted for row in alone]


def test_a_side_has_the_reward_of_its_recipe_whatever_that_is(
    synthetic_below: Callable[[Path], Any], tmp_path: Path
) -> None:
    made = synthetic_below(tmp_path)
    own, given = {"reward": "protocol"}, {"reward": "command line"}
    run(made, [128, 130, 132], method="egspo", config_hash="ownown01", reward="correctness", source=own)
    run(made, [64, 66, 69], method="d1", config_hash="ownown02", reward="correctness", source=own)
    run(made, [1, 2, 3], method="egspo", config_hash="given001", reward="shaped", source=given)
    run(made, [0, 1, 2], method="egspo", config_hash="control1", reward="random", source=given)
    row = only(hold([claim()], made.groups()))
    assert (row.first.config_hash, row.second and row.second.config_hash) == ("ownown01", "ownown02")
    shaped = only(hold([claim(first=Side(method="egspo", reward="shaped"))], made.groups()))
    assert (shaped.first.config_hash, shaped.second and shaped.second.config_hash) == ("given001", "ownown02")


def test_the_task_s_own_reward_stands_for_a_recipe_that_has_no_runs(
    synthetic_below: Callable[[Path], Any], tmp_path: Path
) -> None:
    made = synthetic_below(tmp_path)
    given = {"reward": "command line"}
    run(made, [128, 130, 132], method="egspo", config_hash="given001", source=given)
    run(made, [64, 66, 69], method="d1", config_hash="d1d1d1d1")
    assert only(hold([claim()], made.groups())).first.config_hash == "given001"
    run(made, [64, 66, 69], method="egspo", config_hash="ownown01", reward="shaped", source={"reward": "protocol"})
    assert only(hold([claim()], made.groups())).first.config_hash == "ownown01"


def test_every_method_with_a_control_has_a_row(groups: list[Group]) -> None:
    every = claim(first=Side(method="*"), second=Side(method="*", reward="random"))
    row = only(hold([every], groups))
    assert (row.first.method, row.second and row.second.is_control) == ("egspo", True)
    assert row.effect.value == pytest.approx((128 + 129 + 130 + 137) / 4 / 256)


def test_the_cost_of_a_level_lies_on_the_lines_between_checkpoints(groups: list[Group]) -> None:
    d1, egspo = of(groups, "d1d1d1d1"), of(groups, "entropy1")
    # d1 ends at 80 of 256 on average, from none.
    height = level(d1, "exact_match", [0, 1, 2])
    assert height == pytest.approx(60 / 256)
    assert height is not None
    # The first 12 updates bring half of the end: 64 in 12 x 1e10 FLOPs, so 60 in 11.25.
    assert costs(egspo, "exact_match", FLOPS, height)[0] == pytest.approx(11.25e10)
    assert costs(egspo, "exact_match", FORWARD_FLOPS, height)[0] == pytest.approx(11.25 * 4e9)
    row = only(hold([claim(measure="cost", along="samples", direction="lower")], groups))
    assert (row.effect.kind, row.level) == ("ratio", pytest.approx(60 / 256))
    # d1 needs 22.5, 18 and 15 updates, EGSPO 11.25, 720 / 65 and 720 / 66.
    assert row.effect.value == pytest.approx((11.25 * 720 / 65 * 720 / 66 / (22.5 * 18 * 15)) ** (1 / 3))


def test_a_reference_that_does_not_rise_has_no_level(groups: list[Group]) -> None:
    control = Side(method="egspo", reward="random")
    assert level(of(groups, "control1"), "exact_match", [0, 1, 2]) is None
    assert hold([claim(measure="cost", along="update", second=control)], groups).rows == ()


def test_a_fall_is_counted_from_the_highest_checkpoint(synthetic: Any) -> None:
    high = synthetic.evaluation("step", 12, synthetic.metrics(192))
    synthetic.run(records=[*synthetic.ends(64, 128), high], seed=0)
    synthetic.run(records=synthetic.ends(64, 128), seed=1)
    (group,) = synthetic.groups()
    assert drop(group, "exact_match") == {0: 0.25, 1: 0.0}
    assert last(group, "exact_match") == {0: 0.5, 1: 0.5}


def test_a_position_weighs_the_steps_by_how_often_they_were_chosen(synthetic: Any) -> None:
    lines = [
        synthetic.line(1, chosen_steps=[3, 0, 0, 1]),
        synthetic.line(2, chosen_steps=[0, 0, 0, 9], first_of_rollout=False),
        synthetic.line(3, chosen_steps=[0, 0, 4, 0]),
    ]
    synthetic.run(lines=lines, seed=0)
    synthetic.run(lines=[synthetic.line(1, chosen_steps=[])], seed=1)
    (group,) = synthetic.groups()
    # Places 1/8, 3/8, 5/8 and 7/8: (3 x 1/8 + 7/8 + 4 x 5/8) / 8.
    assert position(group) == {0: pytest.approx(3.75 / 8)}


def test_chosen_steps_are_held_against_even_ones(groups: list[Group]) -> None:
    row = only(hold([claim(measure="position", second=None, direction="different")], groups))
    # One choice at 1/4 and two at 3/4 in every update of every seed.
    assert (row.effect.value, row.verdict) == (pytest.approx(7 / 12 - 0.5), "supported")


def test_fewer_steps_are_evaluations_of_the_same_runs(synthetic: Any) -> None:
    for method, full, few in (("egspo", (128, 130, 126), (120, 123, 117)), ("d1", (96, 96, 99), (64, 66, 68))):
        for seed in range(3):
            other = {"decoding": {"num_steps": 2, "temperature": 0.0}}
            records = [*synthetic.ends(0, full[seed]), *synthetic.ends(0, few[seed], **other)]
            settings = {**synthetic.settings, "evaluation": {"decoding": {"num_steps": 8}}}
            synthetic.run(records=records, method=method, seed=seed, settings=settings)
    groups = synthetic.groups()
    fewer = [fewest_steps(group, groups, "exact_match") for group in groups]
    assert sorted(group.settings["evaluation.decoding.num_steps"] for group in fewer if group) == [2, 2]
    held = hold([claim(measure="fewer_steps"), claim(measure="lost_with_fewer_steps", direction="lower")], groups)
    ahead, lost = held.rows
    assert (ahead.steps, ahead.effect.value) == (2, pytest.approx((56 + 57 + 49) / 3 / 256))
    assert lost.effect.value == pytest.approx(((8 - 32) + (7 - 30) + (9 - 31)) / 3 / 256)


def test_the_records_hold_numbers_and_whose_they_are(groups: list[Group]) -> None:
    points = claim_points(hold([claim(), claim(measure="cost", along="samples")], groups))
    first, second = ({name: record.get(name) for name in points.columns} for record in points.records)
    assert (first["claim"], first["task"], first["first"], first["seeds"], first["kind"]) == (
        "mine",
        "sudoku",
        "EGSPO",
        3,
        "difference",
    )
    assert (first["level"], second["level"]) == (None, pytest.approx(60 / 256))
    assert second["verdict"] in ("supported", "contradicted", "not visible")


def test_a_chosen_checkpoint_counts_with_its_value_on_the_test_items(synthetic: Any) -> None:
    for method, better in (("egspo", 128), ("d1", 64)):
        for seed in range(3):
            middle = synthetic.evaluation("step", 12, synthetic.metrics(better))
            checked = [
                synthetic.evaluation(
                    "step", update, synthetic.metrics(solved), split="validation", items_sha256="other"
                )
                for update, solved in ((12, 200), (24, 100))
            ]
            records = [*synthetic.ends(0, 32), middle, *checked]
            synthetic.run(records=records, method=method, seed=seed)
    row = only(hold([claim(measure="chosen")], synthetic.groups()))
    assert (row.effect.seeds, row.effect.value) == (3, 0.25)


def test_results_on_validation_items_are_no_results(synthetic: Any) -> None:
    for method in ("egspo", "d1"):
        for seed in range(3):
            synthetic.run(method=method, seed=seed, records=synthetic.ends(0, 64 + seed, split="validation"))
    assert hold([claim()], synthetic.groups()) == Held(rows=())
