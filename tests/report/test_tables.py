from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from harness.report.collect import collect
from harness.report.groups import make_groups
from harness.report.rows import Row
from harness.report.tables import MetricRows, all_rows, escape_markdown, make_table, markdown, table_csv


def tables(synthetic: Any, **options: Any) -> list[MetricRows]:
    return all_rows(make_groups(collect([synthetic.root]).runs), **options)


def rows(synthetic: Any, metric: str = "exact_match") -> list[Row]:
    return [row for found in tables(synthetic) if found.metric == metric for row in found.rows]


def ends(synthetic: Any, base: int, last: int, **changes: Any) -> list[Any]:
    return [
        synthetic.evaluation("base", 0, synthetic.metrics(base), **changes),
        synthetic.evaluation("last", 24, synthetic.metrics(last), **changes),
    ]


def test_a_row_is_the_mean_over_seeds_with_students_interval(synthetic: Any) -> None:
    for seed, solved in enumerate((128, 144, 160)):
        synthetic.run(seed=seed, records=ends(synthetic, 32, solved))
    (row,) = rows(synthetic)
    assert row.seeds == (0, 1, 2)
    assert (row.value, row.base, row.gain) == (0.5625, 0.125, 0.4375)
    # s = 0.0625, t(2) = 4.3026527: half 0.1552586.
    assert row.over == "seeds"
    assert row.interval is not None
    assert (row.interval.low, row.interval.high) == pytest.approx((0.4072414, 0.7177586), abs=1e-6)
    assert row.gain_interval is not None
    assert (row.gain_interval.low, row.gain_interval.high) == pytest.approx((0.2822414, 0.5927586), abs=1e-6)
    assert (row.n, row.samples, row.flops_total, row.seconds) == (256, 1536, 2.4e11, 12.0)


def test_costs_are_means_over_seeds(synthetic: Any) -> None:
    for seed, seconds in enumerate((3.0, 5.0)):
        last = synthetic.evaluation("last", 24, synthetic.metrics(9), seconds=seconds, flops_total=1e9 * (seed + 1))
        synthetic.run(seed=seed, records=[last])
    (row,) = rows(synthetic)
    assert (row.seconds, row.flops_total) == (4.0, 1.5e9)


def test_the_seed_interval_is_cut_at_1(synthetic: Any) -> None:
    for seed, solved in enumerate((200, 256)):
        synthetic.run(seed=seed, records=ends(synthetic, 32, solved))
    (row,) = rows(synthetic)
    assert row.interval is not None
    assert row.interval.high == 1.0


def test_one_seed_gets_the_interval_over_items_and_is_marked(synthetic: Any) -> None:
    synthetic.run(records=ends(synthetic, 32, 158))
    (row,) = rows(synthetic)
    assert row.over == "items"
    assert row.interval is not None
    assert (row.interval.low, row.interval.high) == pytest.approx((0.556328, 0.674581), abs=1e-6)
    assert (row.gain_interval, row.bootstrap) == (None, None)
    text = markdown(make_table(tables(synthetic)[0]))
    assert "61.7 [55.6, 67.5]‡" in text
    assert "‡ One seed" in text
    assert "mean over seeds" not in text


def test_without_a_base_there_is_no_gain(synthetic: Any) -> None:
    synthetic.run(seed=0, records=ends(synthetic, 32, 158))
    synthetic.run(seed=1, records=ends(synthetic, 32, 158)[1:])
    (row,) = rows(synthetic)
    assert (row.base, row.gain, row.gain_interval) == (None, None, None)
    cells = make_table(tables(synthetic)[0]).cells[0]
    assert cells[5] == "-"
    assert cells[7] == "-"


def test_the_headline_metric_comes_first_and_can_be_chosen(synthetic: Any) -> None:
    synthetic.run()
    assert [found.metric for found in tables(synthetic)] == ["exact_match", "cell_accuracy", "validity"]
    chosen = tables(synthetic, headline="validity")
    assert [found.metric for found in chosen] == ["validity", "cell_accuracy", "exact_match"]


def test_controls_are_rows_of_their_own_named_so_and_last(synthetic: Any) -> None:
    synthetic.demo()
    table = make_table(tables(synthetic)[0])
    assert [cells[:2] for cells in table.cells] == [
        ("EGSPO", "task"),
        ("EGSPO-SA", "task"),
        ("EGSPO-SA, random-reward control", "random"),
    ]


def test_runs_that_differ_in_a_setting_are_never_averaged(synthetic: Any) -> None:
    other = {**synthetic.settings, "method": {**synthetic.settings["method"], "num_selected": 4}}
    synthetic.run(seed=0)
    synthetic.run(seed=1, config_hash="ffffffff", settings=other, provenance={"method.num_selected": "command line"})
    plain, changed = rows(synthetic)
    assert (plain.seeds, changed.seeds) == ((0,), (1,))
    assert plain.group.label == "EGSPO-SA (num_selected=2)"
    assert changed.group.label == "EGSPO-SA (num_selected=4)"
    assert (plain.overrides, changed.overrides) == ("", "method.num_selected=4")
    table = make_table(tables(synthetic)[0])
    assert [cells[3] for cells in table.cells] == ["tiny", "tiny*"]
    assert any(note.startswith("* Recipe changed") for note in table.notes)


def test_runs_of_one_configuration_with_different_budgets_are_never_averaged(synthetic: Any) -> None:
    longer = {**synthetic.settings, "budget": {**synthetic.settings["budget"], "updates": 48}}
    synthetic.run(seed=0)
    synthetic.run(seed=1, settings=longer)
    synthetic.run(seed=2, settings=longer)
    assert [row.seeds for row in rows(synthetic)] == [(0,), (1, 2)]
    assert [row.group.variant for row in rows(synthetic)] == ["budget.updates=24", "budget.updates=48"]


def test_the_seed_and_the_device_do_not_make_a_variant(synthetic: Any) -> None:
    gpu = {**synthetic.settings, "seed": 1, "model": {"name": "tiny", "device": "cuda"}}
    synthetic.run(seed=0)
    synthetic.run(seed=1, settings=gpu)
    (row,) = rows(synthetic)
    assert row.seeds == (0, 1)
    assert row.group.variant == ""


def test_a_variant_names_what_matters_and_not_the_device(synthetic: Any) -> None:
    changes = {"model": {"name": "tiny", "device": "cuda"}, "optimizer": {"learning_rate": 0.001}}
    synthetic.run(seed=0)
    synthetic.run(seed=1, config_hash="ffffffff", settings={**synthetic.settings, **changes})
    assert [row.group.variant for row in rows(synthetic)] == [
        "optimizer.learning_rate=0.0003",
        "optimizer.learning_rate=0.001",
    ]


def test_two_protocols_are_two_numbered_rows_with_a_warning(synthetic: Any) -> None:
    papers = {"data": "dir:papers", "items_sha256": "feedbeef00", "ceiling": {"exact_match": 0.872}}
    synthetic.run(records=ends(synthetic, 32, 158) + ends(synthetic, 30, 120, **papers))
    table = make_table(tables(synthetic)[0])
    assert [cells[4] for cells in table.cells] == ["builtin† (1)", "dir:papers (2)"]
    assert table.notes[0].startswith("Evaluated on (1): builtin data, test split (items 01234567)")
    assert table.notes[1].startswith("Evaluated on (2): data folder papers, test split (items feedbeef)")
    assert any("do not rank" in note for note in table.notes)
    assert any("87.20 %" in note for note in table.notes)


@pytest.mark.parametrize(
    ("change", "together"),
    [
        ({"decoding": {"num_steps": 16, "temperature": 0.0}}, False),
        ({"items_sha256": "other"}, False),
        ({"split": "validation"}, False),
        ({"decoding": {"num_steps": 8, "temperature": 0.0, "batch_size": 1}}, True),
        ({"eval_seconds": 9.0, "tokens_per_second": 1.0}, True),
    ],
)
def test_seeds_join_only_under_one_protocol(synthetic: Any, change: dict[str, Any], together: bool) -> None:
    synthetic.run(seed=0, records=ends(synthetic, 32, 158))
    synthetic.run(seed=1, records=ends(synthetic, 32, 158, **change))
    assert len(rows(synthetic)) == (1 if together else 2)


def test_step_evaluations_under_another_protocol_make_no_row(synthetic: Any) -> None:
    step = synthetic.evaluation("step", 12, synthetic.metrics(90), split="validation")
    synthetic.run(records=[*ends(synthetic, 32, 158), step])
    assert len(rows(synthetic)) == 1


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
    synthetic.run(model=model, records=ends(synthetic, 32, 158, data=data))
    (row,) = rows(synthetic)
    assert row.labels == labels
    cells = make_table(tables(synthetic)[0]).cells[0]
    assert cells[2] == f"{model}†" if model == "tiny" else model
    assert cells[4] == ("builtin†" if data == "builtin" else "hub")


def test_the_cells_of_the_demo(synthetic: Any) -> None:
    synthetic.demo()
    table = make_table(tables(synthetic)[0])
    assert [column.title for column in table.columns][-4:] == ["Updates", "Samples", "GFLOP", "Train time, s"]
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
    )


def test_markdown_is_one_table_with_as_many_cells_in_every_line(synthetic: Any) -> None:
    synthetic.run(recipe="a|b*", method="x`y<z")
    table = make_table(tables(synthetic)[0])
    lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(table.cells)
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(table.columns) + 1}
    assert "a\\|b\\*" in lines[2]
    assert "x\\`y\\<z" in lines[2]


def test_markdown_text_stays_on_one_line_and_makes_no_link() -> None:
    assert escape_markdown("a\nb [c](d) snake_case 61.7 [55.6, 67.4]") == "a b [c]\\(d) snake_case 61.7 [55.6, 67.4]"


def test_the_csv_holds_fractions_and_survives_pandas(synthetic: Any) -> None:
    synthetic.demo()
    text = table_csv(tables(synthetic))
    frame = pd.read_csv(io.StringIO(text))
    assert len(frame) == 9
    row = next(csv.DictReader(io.StringIO(text)))
    assert (row["method"], row["metric"], row["checkpoint"], row["interval"]) == (
        "egspo",
        "exact_match",
        "last",
        "seeds",
    )
    # 140, 149, 158 of 256.
    assert row["value"] == "0.58203125"
    assert (row["base"], row["gain"]) == ("0.1484375", "0.43359375")
    assert (row["bootstrap_low"], row["bootstrap_high"]) == ("0.546875", "0.6171875")
    assert (row["seeds"], row["n"], row["samples"], row["flops_total"]) == ("0 1 2", "256", "1536", "240000000000")
    assert row["labels"] == "tiny model; builtin data"
    assert ((frame.low <= frame.value) & (frame.value <= frame.high)).all()


def test_a_ceiling_of_another_metric_is_not_told(synthetic: Any) -> None:
    records = [replace(record, ceiling={"exact_match": 0.872}) for record in ends(synthetic, 32, 158)]
    synthetic.run(records=records)
    by_metric = {found.metric: make_table(found).notes for found in tables(synthetic)}
    assert any("87.20 %" in note for note in by_metric["exact_match"])
    assert not any("perfect solver" in note for note in by_metric["cell_accuracy"])


def test_the_ceiling_of_the_published_sudoku_items_is_told_to_the_hundredth(synthetic: Any) -> None:
    records = [replace(record, ceiling={"cell_accuracy": 0.93437}) for record in ends(synthetic, 32, 158)]
    synthetic.run(records=records)
    by_metric = {found.metric: make_table(found).notes for found in tables(synthetic)}
    said = "A perfect solver is expected to reach 93.44 %: some items have several answers."
    assert said in by_metric["cell_accuracy"]
