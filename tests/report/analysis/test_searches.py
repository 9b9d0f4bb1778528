from __future__ import annotations

import copy
from typing import Any

import pytest

from harness.report.analysis.searches import Search, find_searches, passed_over, search_sweeps, tried
from harness.report.read.runs import collect

RATE = "optimizer.learning_rate"
METRICS = {"sudoku": "exact_match"}


def run(
    synthetic: Any,
    rate: float,
    solved: int | None,
    *,
    seed: int = 100,
    changed: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """A run at a learning rate that solves `solved` of 256 validation grids, None without validation items, and the
    more test grids the lower the rate is."""
    every = {RATE: rate, **(changed or {})}
    settings = copy.deepcopy(dict(synthetic.settings)) | {"seed": seed, "evaluation": {"validation_items": 256}}
    for key, value in every.items():
        above, _, name = key.partition(".")
        settings[above] = {**settings[above], name: value}
    records = synthetic.ends(40, round(0.02 / rate))
    if solved is not None:
        held_out = {"split": "validation", "items_sha256": options.pop("items", "validation-items")}
        records += [
            synthetic.evaluation("base", 0, synthetic.metrics(40), **held_out),
            synthetic.evaluation("last", 24, synthetic.metrics(solved), **held_out),
        ]
    name = "-".join(str(value).replace(".", "p") for value in (rate, *(changed or {}).values()))
    provenance = dict.fromkeys([RATE, *(changed or {})], "command line")
    synthetic.run(
        settings=settings,
        provenance=provenance,
        config_hash=name,
        seed=seed,
        records=options.pop("records", records),
        **options,
    )


def searches_of(synthetic: Any, *methods: str) -> list[Search]:
    return find_searches(tried(collect([synthetic.root]), methods), METRICS)


def scores(search: Search) -> dict[float, float | None]:
    return {one.setting: one.row.value if one.row else None for one in search.tries}


def test_the_value_with_the_highest_validation_score_is_chosen_whatever_the_test_items_say(synthetic: Any) -> None:
    run(synthetic, 1e-3, 64)
    run(synthetic, 1e-4, 32)
    run(synthetic, 3e-4, 128)
    (search,) = searches_of(synthetic)
    assert (search.key, search.method, search.label) == (RATE, "egspo-sa", "EGSPO-SA")
    # 32, 128 and 64 of 256, by rising rate; on the test items the lowest rate is best (200 of 256).
    assert scores(search) == {1e-4: 0.125, 3e-4: 0.5, 1e-3: 0.25}
    assert search.chosen is not None
    assert search.chosen.setting == 3e-4
    assert not search.is_at_an_end
    (low, high) = (search.chosen.row.interval.low, search.chosen.row.interval.high)
    # Wilson: (128 + z^2 / 2) / (256 + z^2) -+ z / (256 + z^2) sqrt(64 + z^2 / 4) with z = 1.96: 0.5 -+ 0.0608.
    assert (low, high) == pytest.approx((0.4392, 0.5608), abs=1e-4)


def test_of_equal_scores_the_smaller_value_is_chosen(synthetic: Any) -> None:
    for rate, solved in ((1e-2, 128), (3e-3, 128), (1e-3, 64), (1e-1, 127)):
        run(synthetic, rate, solved)
    (search,) = searches_of(synthetic)
    assert search.chosen is not None
    assert search.chosen.setting == 3e-3
    assert [one.setting for one in search.equals] == [1e-2]


def test_an_unfinished_run_is_named_and_does_not_count(synthetic: Any) -> None:
    run(synthetic, 1e-4, 32)
    run(synthetic, 3e-4, 64)
    run(synthetic, 1e-3, 200, state="interrupted", reason="SIGTERM", updates=20)
    (search,) = searches_of(synthetic)
    assert scores(search) == {1e-4: 0.125, 3e-4: 0.25, 1e-3: None}
    assert search.chosen is not None
    assert search.chosen.setting == 3e-4
    assert search.is_at_an_end
    assert search.tries[2].uncounted == (
        "sudoku/egspo-sa/tiny/0p001-seed100: unfinished (interrupted: SIGTERM), 20 updates, 4 evaluations",
    )


def test_a_run_without_a_validation_score_says_so(synthetic: Any) -> None:
    run(synthetic, 1e-4, 32)
    run(synthetic, 3e-4, 64)
    run(synthetic, 1e-3, None)
    run(synthetic, 3e-3, 99, items="other-items")
    run(synthetic, 1e-2, None, records=[synthetic.evaluation("base", 0, synthetic.metrics(40))])
    (search,) = searches_of(synthetic)
    assert [one.uncounted for one in search.tries] == [
        (),
        (),
        ("sudoku/egspo-sa/tiny/0p001-seed100: no validation score",),
        ("sudoku/egspo-sa/tiny/0p003-seed100: evaluated on other validation items or otherwise",),
        ("sudoku/egspo-sa/tiny/0p01-seed100: finished, but its last checkpoint has no evaluation",),
    ]
    assert len(search.scored) == 2


def test_values_are_compared_on_the_items_that_most_runs_have(synthetic: Any) -> None:
    run(synthetic, 1e-4, 200, items="other-items")
    for rate, solved in ((3e-4, 64), (1e-3, 32)):
        run(synthetic, rate, solved)
    (search,) = searches_of(synthetic)
    assert scores(search) == {1e-4: None, 3e-4: 0.25, 1e-3: 0.125}


def test_one_score_is_no_choice_and_no_score_is_a_search_only_with_validation_items(synthetic: Any) -> None:
    run(synthetic, 1e-4, 32)
    run(synthetic, 1e-3, None)
    run(synthetic, 1e-4, None, method="egspo")
    run(synthetic, 1e-3, None, method="egspo")
    without = {"evaluation.validation_items": 0}
    run(synthetic, 1e-4, None, method="espo", changed=without)
    run(synthetic, 1e-3, None, method="espo", changed=without)
    found = searches_of(synthetic)
    assert [(search.method, len(search.scored), search.chosen) for search in found] == [
        ("egspo", 0, None),
        ("egspo-sa", 1, None),
    ]
    assert not passed_over(found)


def test_values_are_compared_over_the_seeds_that_all_have(synthetic: Any) -> None:
    for seed, solved in ((100, 64), (101, 128), (102, 256)):
        run(synthetic, 1e-4, solved, seed=seed)
    for seed, solved in ((100, 96), (101, 112)):
        run(synthetic, 1e-3, solved, seed=seed)
    (search,) = searches_of(synthetic)
    # (64 + 128) / 2 and (96 + 112) / 2 of 256; with its third seed 1e-4 would be the higher one.
    assert scores(search) == {1e-4: 0.375, 1e-3: 0.40625}
    assert search.tries[0].uncounted == ("sudoku/egspo-sa/tiny/0p0001-seed102: not every value has this seed",)
    assert search.chosen is not None
    assert (search.chosen.setting, search.chosen.row.seeds) == (1e-3, (100, 101))


def test_without_a_common_seed_scores_are_shown_and_nothing_is_chosen(synthetic: Any) -> None:
    run(synthetic, 1e-4, 64, seed=100)
    run(synthetic, 1e-3, 128, seed=101)
    (search,) = searches_of(synthetic)
    assert scores(search) == {1e-4: 0.25, 1e-3: 0.5}
    assert search.chosen is None


def test_runs_that_differ_in_a_second_setting_are_searches_of_their_own(synthetic: Any) -> None:
    for weight in (0.25, 0.5):
        for rate, solved in ((1e-4, 64), (1e-3, 128)):
            run(synthetic, rate, solved, changed={"method.stepwise_weight": weight})
    found = searches_of(synthetic)
    assert [(search.key, search.label) for search in found] == [
        ("method.stepwise_weight", "EGSPO-SA (optimizer.learning_rate=0.0001)"),
        ("method.stepwise_weight", "EGSPO-SA (optimizer.learning_rate=0.001)"),
        (RATE, "EGSPO-SA (stepwise_weight=0.25)"),
        (RATE, "EGSPO-SA (stepwise_weight=0.5)"),
    ]


def test_another_budget_or_reward_is_no_try_of_the_same_search(synthetic: Any) -> None:
    run(synthetic, 1e-4, 64)
    run(synthetic, 1e-3, 64, changed={"budget.updates": 48})
    run(synthetic, 3e-3, 64, reward="random")
    assert searches_of(synthetic) == []


def test_runs_of_other_methods_are_left_out_where_methods_are_named(synthetic: Any) -> None:
    for method in ("egspo", "egspo-sa"):
        run(synthetic, 1e-4, 64, method=method)
        run(synthetic, 1e-3, 64, method=method, state="failed")
    assert [search.method for search in searches_of(synthetic, "egspo")] == ["egspo"]


def test_what_was_not_chosen_is_passed_over_save_in_ablations(synthetic: Any) -> None:
    run(synthetic, 1e-4, 64)
    run(synthetic, 1e-3, 128)
    run(synthetic, 1e-3, 32, changed={"method.num_selected": 4})
    found = searches_of(synthetic)
    assert [search.key for search in found] == ["method.num_selected", RATE]
    assert {folder.name for folder in passed_over(found)} == {"0p0001-seed100"}


def test_the_figure_has_a_line_per_method_and_sets_values_side_by_side(synthetic: Any) -> None:
    for method, rates in (("egspo", (1e-4, 3e-3)), ("egspo-sa", (1e-4, 1e-3))):
        for number, rate in enumerate(rates):
            run(synthetic, rate, 64 + 64 * number, method=method)
    (sweep,) = search_sweeps(searches_of(synthetic))
    assert (sweep.title, sweep.metric) == ("optimizer.learning_rate, validation items", "exact_match")
    assert [[(point.x, point.setting) for point in line.points] for line in sweep.lines] == [
        [(0.0, 1e-4), (2.0, 3e-3)],
        [(0.0, 1e-4), (1.0, 1e-3)],
    ]
    assert [line.reference.variant for line in sweep.lines] == ["learning_rate=0.003", "learning_rate=0.001"]
