from __future__ import annotations

import copy
from typing import Any

import pytest

from harness.report.analysis.searches import find_searches, tried
from harness.report.chapters.document import make_document
from harness.report.chapters.searches import search_sections, search_table
from harness.report.chapters.table import Table
from harness.report.labels import method_colours
from harness.report.read.runs import collect

RATE = "optimizer.learning_rate"


def run(synthetic: Any, rate: float, solved: int, **options: Any) -> None:
    """A run with seed 100 at a learning rate, with `solved` of 256 validation grids and 160 test grids at its end."""
    settings = copy.deepcopy(dict(synthetic.settings)) | {"evaluation": {"validation_items": 256}, "seed": 100}
    settings["optimizer"] = {"learning_rate": rate}
    held_out = {"split": "validation", "items_sha256": "validation-items"}
    records = [
        *synthetic.learning(40, 160),
        synthetic.evaluation("last", 24, synthetic.metrics(solved), **held_out),
    ]
    name = str(rate).replace(".", "p")
    synthetic.run(
        settings=settings, provenance={RATE: "command line"}, config_hash=name, seed=100, records=records, **options
    )


def table_of(synthetic: Any) -> Table:
    return search_table(find_searches(tried(collect([synthetic.root])), {"sudoku": "exact_match"}))


def test_all_tries_are_rows_and_the_chosen_one_is_marked(synthetic: Any) -> None:
    run(synthetic, 1e-4, 64)
    run(synthetic, 1e-3, 128)
    run(synthetic, 3e-3, 128, state="failed", reason="loss became NaN", updates=7)
    table = table_of(synthetic)
    assert table.title == "Sudoku, tiny model: optimizer.learning_rate chosen on validation"
    assert table.cells == (
        ("EGSPO-SA", "tiny", "0.0001", "25.0 [20.1, 30.6]‡", "100", "256", "24", "-", "-"),
        ("EGSPO-SA", "tiny", "0.001", "50.0 [43.9, 56.1]‡", "100", "256", "24", "chosen", "-"),
        (
            *("EGSPO-SA", "tiny", "0.003", "no validation score", "-", "-", "-", "-"),
            "sudoku/egspo-sa/tiny/0p003-seed100: unfinished (failed: loss became NaN), 7 updates, 8 evaluations",
        ),
    )
    assert table.bold == {(1, 3)}
    assert table.supports == (
        "EGSPO-SA: 0.001 is chosen of 2 values with 50.0 %. It is at an end of the values tried: a better one may lie "
        "beyond.",
        "EGSPO-SA: 1 of 3 values without a score, not counted.",
    )


def test_a_tie_and_an_overlap_are_told(synthetic: Any) -> None:
    for rate, solved in ((1e-4, 120), (3e-4, 128), (1e-3, 128), (3e-3, 20)):
        run(synthetic, rate, solved)
    assert table_of(synthetic).supports == (
        "EGSPO-SA: 0.0003 is chosen of 4 values with 50.0 %. 0.001 has the same score, and the smallest is chosen. Its "
        "interval overlaps with that of 0.0001.",
    )


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ((1e-4, 1e-3), "Every method has 2 tries, of the same values: 0.0001 and 0.001."),
        ((1e-4, 3e-3), "Every method has 2 tries, not of the same values."),
        (
            (1e-4, 1e-3, 3e-3),
            "The numbers of tries are not equal: EGSPO 3 and EGSPO-SA 2. More tries are more chances of a high score.",
        ),
    ],
)
def test_whether_methods_had_as_many_tries_is_told(synthetic: Any, rates: tuple[float, ...], told: str) -> None:
    for method, tries in (("egspo", rates), ("egspo-sa", (1e-4, 1e-3))):
        for rate in tries:
            run(synthetic, rate, 64, method=method)
    assert table_of(synthetic).supports[-1] == told


def test_one_score_chooses_nothing(synthetic: Any) -> None:
    run(synthetic, 1e-4, 64)
    run(synthetic, 1e-3, 64, state="running")
    assert table_of(synthetic).supports[0] == "EGSPO-SA: nothing is chosen, as 1 of the values counts."


def test_the_command_runs_all_tries(synthetic: Any) -> None:
    run(synthetic, 1e-3, 128)
    run(synthetic, 3e-5, 64)
    searches = find_searches(tried(collect([synthetic.root])), {"sudoku": "exact_match"})
    (chapter, part) = search_sections(searches, method_colours(["egspo-sa"]))
    assert (chapter.title, len(part.figures)) == ("Chosen on validation", 1)
    (command,) = part.commands
    assert command.text.endswith(
        "--seed 100 --data builtin --train-data builtin --set optimizer.learning_rate=3.0e-05,0.001"
    )
    assert search_sections([], {}) == []


def test_the_other_tables_have_the_chosen_value_alone(synthetic: Any) -> None:
    for rate, solved in ((1e-4, 64), (1e-3, 128), (3e-3, 32)):
        run(synthetic, rate, solved)
    document = make_document(collect([synthetic.root]))
    sections = {section.title: section for section in document.sections}
    assert "Chosen on validation" in sections["Overview"].text[-1]
    (cells,) = sections["Exact match"].tables[0].cells
    assert cells[0] == "EGSPO-SA"
    assert [section.title for section in document.sections if section.level == 2][1:3] == [
        "Sudoku",
        "Chosen on validation",
    ]
    assert [command.label for command in sections["How to reproduce each row"].commands] == ["Sudoku, EGSPO-SA, tiny"]
    assert "How the configurations differ" not in sections
    # What was not chosen is still in the files of all rows and in the tables of the terminal.
    assert len(document.headlines[0].cells) == 3
