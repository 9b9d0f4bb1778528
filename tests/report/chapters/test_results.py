from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.report.analysis.rows import Row, all_rows
from harness.report.analysis.statistics import Interval
from harness.report.chapters.results import interval_supports, make_table
from harness.report.chapters.table import condense
from harness.report.formats.markdown import table_markdown


def test_one_seed_gets_the_interval_over_items_and_is_marked(synthetic: Any) -> None:
    synthetic.run(records=synthetic.ends(32, 158))
    (row,) = synthetic.rows()
    assert row.over == "items"
    assert row.interval is not None
    assert (row.interval.low, row.interval.high) == pytest.approx((0.556328, 0.674581), abs=1e-6)
    assert (row.gain_interval, row.bootstrap) == (None, None)
    text = table_markdown(make_table(synthetic.tables()[0]))
    assert "61.7 [55.6, 67.5]‡" in text
    assert "‡ One seed" in text
    assert "mean over seeds" not in text


def test_without_a_base_there_is_no_gain(synthetic: Any) -> None:
    synthetic.run(seed=0, records=synthetic.ends(32, 158))
    synthetic.run(seed=1, records=synthetic.ends(32, 158)[1:])
    (row,) = synthetic.rows()
    assert (row.base, row.gain, row.gain_interval) == (None, None, None)
    cells = make_table(synthetic.tables()[0]).cells[0]
    assert cells[5] == "-"
    assert cells[7] == "-"


def test_controls_are_rows_of_their_own_named_so_and_last(synthetic: Any) -> None:
    synthetic.demo()
    table = make_table(synthetic.tables()[0])
    assert [cells[:2] for cells in table.cells] == [
        ("EGSPO", "task"),
        ("EGSPO-SA", "task"),
        ("EGSPO-SA, random-reward control", "random"),
    ]


def test_runs_that_differ_in_a_setting_are_never_averaged(synthetic: Any) -> None:
    other = {**synthetic.settings, "method": {**synthetic.settings["method"], "num_selected": 4}}
    synthetic.run(seed=0)
    synthetic.run(seed=1, config_hash="ffffffff", settings=other, provenance={"method.num_selected": "command line"})
    plain, changed = synthetic.rows()
    assert (plain.seeds, changed.seeds) == ((0,), (1,))
    assert plain.group.label == "EGSPO-SA (num_selected=2)"
    assert changed.group.label == "EGSPO-SA (num_selected=4)"
    assert (plain.overrides, changed.overrides) == ("", "method.num_selected=4")
    table = make_table(synthetic.tables()[0])
    assert [cells[3] for cells in table.cells] == ["tiny", "tiny*"]
    assert any(note.startswith("* Recipe changed") for note in table.notes)


def test_runs_of_one_configuration_with_different_budgets_are_never_averaged(synthetic: Any) -> None:
    longer = {**synthetic.settings, "budget": {**synthetic.settings["budget"], "updates": 48}}
    synthetic.run(seed=0)
    synthetic.run(seed=1, settings=longer)
    synthetic.run(seed=2, settings=longer)
    assert [row.seeds for row in synthetic.rows()] == [(0,), (1, 2)]
    assert [row.group.variant for row in synthetic.rows()] == ["budget.updates=24", "budget.updates=48"]


def test_two_protocols_are_two_numbered_rows_with_a_warning(synthetic: Any) -> None:
    papers = {"data": "dir:papers", "items_sha256": "feedbeef00", "ceiling": {"exact_match": 0.872}}
    synthetic.run(records=synthetic.ends(32, 158) + synthetic.ends(30, 120, **papers))
    table = make_table(synthetic.tables()[0])
    assert [cells[4] for cells in table.cells] == ["builtin† (1)", "dir:papers (2)"]
    assert table.notes[0].startswith("Evaluated on (1): builtin data, test split (items 01234567)")
    assert table.notes[1].startswith("Evaluated on (2): data folder papers, test split (items feedbeef)")
    assert any("do not rank" in note for note in table.notes)
    assert any("87.20 %" in note for note in table.notes)


@pytest.mark.parametrize(
    ("model", "data", "labels"),
    [
        ("tiny", "builtin", ["tiny model", "builtin data"]),
        ("tiny", "hub", ["tiny model"]),
        ("GSAI-ML/LLaDA-8B-Instruct", "builtin", ["builtin data"]),
        ("GSAI-ML/LLaDA-8B-Instruct", "hub", []),
    ],
)
def test_toy_settings_are_labelled(synthetic: Any, model: str, data: str, labels: list[str]) -> None:
    synthetic.run(model=model, records=synthetic.ends(32, 158, data=data))
    (row,) = synthetic.rows()
    assert row.group.toy_reasons == labels
    cells = make_table(synthetic.tables()[0]).cells[0]
    assert cells[2] == f"{model}†" if model == "tiny" else model
    assert cells[4] == ("builtin†" if data == "builtin" else "hub")


def test_the_cells_of_the_demo(synthetic: Any) -> None:
    synthetic.demo()
    table = make_table(synthetic.tables()[0])
    assert [column.title for column in table.columns][-6:-2] == ["Updates", "Samples", "GFLOP", "Train time, s"]
    assert table.cells[1] == (
        "EGSPO-SA",
        "task",
        "tiny†",
        "tiny",
        "builtin†",
        "14.8",
        "63.3 [59.4, 67.2]",
        "+48.4",
        "256",
        "3",
        "24",
        "1,536",
        "240",
        "12.0",
        "unverified",
        "unverified",
    )


def test_a_ceiling_of_another_metric_is_not_told(synthetic: Any) -> None:
    records = [replace(record, ceiling={"exact_match": 0.872}) for record in synthetic.ends(32, 158)]
    synthetic.run(records=records)
    by_metric = {found.metric: make_table(found).notes for found in synthetic.tables()}
    assert any("87.20 %" in note for note in by_metric["exact_match"])
    assert not any("perfect solver" in note for note in by_metric["cell_accuracy"])


def test_the_ceiling_of_the_published_sudoku_items_is_told_to_the_hundredth(synthetic: Any) -> None:
    records = [replace(record, ceiling={"cell_accuracy": 0.93437}) for record in synthetic.ends(32, 158)]
    synthetic.run(records=records)
    by_metric = {found.metric: make_table(found).notes for found in synthetic.tables()}
    said = "A perfect solver is expected to reach 93.44 %: some items have several answers."
    assert said in by_metric["cell_accuracy"]


def demo_rows(synthetic: Any) -> list[Row]:
    synthetic.demo()
    return synthetic.rows()


def with_value(row: Row, value: float, half: float, **changes: Any) -> Row:
    return replace(row, value=value, interval=Interval(low=value - half, high=value + half), **changes)


def test_the_highest_and_what_overlaps_with_it_are_named_and_controls_are_not(synthetic: Any) -> None:
    egspo, sa, control = demo_rows(synthetic)
    near = [with_value(egspo, 0.6, 0.05), with_value(sa, 0.65, 0.05), with_value(control, 0.9, 0.01)]
    assert interval_supports(near) == [
        "The highest is EGSPO-SA with 65.0 %.",
        "Its interval overlaps with EGSPO: the intervals do not tell them apart.",
    ]
    far = [with_value(egspo, 0.5, 0.05), with_value(sa, 0.65, 0.05)]
    assert interval_supports(far)[1] == "Its interval lies above EGSPO."


def test_solved_needs_a_value_near_the_ceiling_and_not_only_a_wide_interval(synthetic: Any) -> None:
    egspo, sa, _ = demo_rows(synthetic)
    # Wilson's interval of 87.2 % of 256 begins at 82.6 %.
    solved = with_value(egspo, 0.85, 0.03, ceiling=0.872)
    wide = with_value(sa, 0.6, 0.4, ceiling=0.872)
    texts = interval_supports([solved, wide])
    assert (
        texts[-1]
        == "EGSPO 85.0: not distinguishable from the 87.2 % expected of a perfect solver: solved, not a ranking."
    )
    assert not any("solved" in text for text in interval_supports([wide]))
    assert not any("solved" in text for text in interval_supports([with_value(egspo, 0.85, 0.01, ceiling=0.872)]))


def test_two_evaluations_are_never_ranked_together(synthetic: Any) -> None:
    egspo, sa, _ = demo_rows(synthetic)
    other = replace(sa.group, protocol=replace(sa.group.protocol, split="validation"))
    assert interval_supports([egspo, replace(sa, group=other)]) == []


def test_the_sentences_stand_under_the_table(synthetic: Any) -> None:
    synthetic.demo()
    found = all_rows(synthetic.groups())[0]
    text = table_markdown(make_table(found))
    assert "What the numbers support:\n\n- The highest is EGSPO-SA with 63.3 %.\n" in text
    assert "\n\nNotes:\n\n- Evaluated on" in text


def test_a_row_says_which_prompts_it_was_trained_on_and_evaluated_with(synthetic: Any) -> None:
    published = {"protocol": "d1", "prompts": {"published": "as published", "because": "the same sha256"}}
    synthetic.run(prompts="ours", records=synthetic.ends(32, 158, **published))
    synthetic.run(method="egspo", prompts="as published", records=synthetic.ends(32, 158))
    synthetic.run(method="espo", records=synthetic.ends(32, 158))
    synthetic.run(method="none", records=synthetic.ends(32, 158)[1:])
    table = make_table(synthetic.tables()[0])
    assert [column.title for column in table.columns[-2:]] == ["Training prompts", "Evaluation prompts"]
    assert {cells[0]: cells[-2:] for cells in table.cells} == {
        "EGSPO-SA": ("ours", "as published (d1)"),
        "EGSPO": ("as published", "unverified"),
        "ESPO": ("unverified", "unverified"),
        "not trained here": ("-", "unverified"),
    }


def test_seeds_with_different_prompts_are_said_to_be_so_and_equal_ones_are_one_sentence(synthetic: Any) -> None:
    for seed, prompts in enumerate(("ours", "unverified")):
        synthetic.run(seed=seed, prompts=prompts)
        synthetic.run(seed=seed, method="egspo", prompts=prompts)
    (*_, training, _), _ = make_table(synthetic.tables()[0]).cells
    assert training == "ours, unverified"
    shared = condense(make_table(synthetic.tables()[0]), numbers=True).shared
    assert shared[-2:] == ("training prompts ours, unverified", "evaluation prompts unverified")


@pytest.mark.parametrize("content", ["[]", '{"prompts": 7}', '{"prompts": {"training": {"published": ["ours"]}}}'])
def test_a_record_that_says_nothing_of_prompts_leaves_them_unverified(synthetic: Any, content: str) -> None:
    (synthetic.run() / "environment.json").write_text(content, encoding="utf-8")
    assert synthetic.groups()[0].training_prompts == "unverified"
