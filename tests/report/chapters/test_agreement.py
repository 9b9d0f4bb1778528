"""The table of what caches and thresholds change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.records.agreement import Agreement
from harness.report.chapters.agreement import agreement_tables, difference_text, gap_text
from harness.report.chapters.document import make_document
from harness.report.read.runs import collect

CACHED = Agreement(
    exact="0123abcd",
    tokens=0.9844,
    completions=0.75,
    metric="exact_match",
    exact_value=0.5,
    difference=-0.03125,
    low=-0.091,
    high=0.0296,
    p=0.375,
    cost=0.5566,
    gap_mean=0.01234,
    gap_largest=2.5,
    gap_tokens=2048,
)
BY_THRESHOLD = Agreement(
    **{**vars(CACHED), "low": None, "high": None, "p": None, "gap_mean": None, "gap_largest": None, "gap_tokens": 0}
)


def written(synthetic: Any) -> None:
    for decoding, agreement in (
        ({"cache": "dual"}, CACHED),
        ({"threshold": 0.9}, BY_THRESHOLD),
        ({}, None),
    ):
        changes = {"decoding": {"num_steps": 8, **decoding}, "agreement": agreement}
        name = "".join(decoding) or "exact"
        config = {"config_hash": {"cache": "0a0a0a0a", "threshold": "0b0b0b0b", "exact": "0c0c0c0c"}[name]}
        synthetic.run(records=synthetic.ends(64, 128, **changes), **config)


def test_a_row_has_what_was_recorded_and_exact_decodings_have_none(synthetic: Any) -> None:
    written(synthetic)
    (table,) = agreement_tables(synthetic.groups())
    assert table.title == "Sudoku: what caches and thresholds change"
    measured = ("exact match", "98.4", "75.0", "50.0")
    assert sorted(row[2:] for row in table.cells) == [
        ("0", "cache dual", *measured, "-3.1 [-9.1, +3.0]", "0.375", "0.0123", "2.50", "0.56"),
        ("0", "threshold 0.9", *measured, "-3.1", "-", "-", "-", "0.56"),
    ]
    assert {len(row) for row in table.cells} == {len(table.columns)}


def test_the_report_has_the_table_where_there_is_one(synthetic: Any) -> None:
    synthetic.run(records=synthetic.ends(64, 128))
    assert agreement_tables(synthetic.groups()) == []
    written(synthetic)
    titles = [section.title for section in make_document(collect([synthetic.root])).sections]
    assert titles.count("Caches and thresholds") == 1


def test_the_terminal_is_told_the_same_in_words() -> None:
    assert difference_text(CACHED) == "-3.1 [-9.1, +3.0] points of exact_match, p = 0.375"
    assert difference_text(replace(CACHED, p=1e-9)).endswith("exact_match, p < 0.001")
    assert difference_text(BY_THRESHOLD) == "-3.1 points of exact_match, no exact test"
    assert gap_text(CACHED) == "mean 0.0123, largest 2.50 nats over 2,048 tokens"
    assert gap_text(BY_THRESHOLD) == "none: every pass is whole"


def test_a_record_with_an_impossible_agreement_is_left_out_of_the_report(synthetic: Any) -> None:
    folder = synthetic.run(records=synthetic.ends(64, 128, agreement=CACHED))
    file = folder / "eval.jsonl"
    file.write_text(file.read_text().replace('"tokens": 0.9844', '"tokens": 1e300'))
    (skipped,) = collect([synthetic.root]).skipped
    assert skipped.reason == "corrupt: the agreement of an evaluation has a value of a wrong kind in 'tokens'"
