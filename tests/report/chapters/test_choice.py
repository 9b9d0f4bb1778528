from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UserError
from harness.report.chapters.choice import Choice
from harness.report.chapters.document import Document, make_document
from harness.report.read.runs import collect


def document_of(synthetic: Any, **choice: Any) -> Document:
    return make_document(collect([synthetic.root]), Choice(**choice))


def test_the_command_of_a_figure_names_what_was_chosen_quoted_for_a_shell() -> None:
    assert Choice().command("bars") == "harness report --figures bars"
    choice = Choice(metric="accuracy", methods=("d1", "espo"), style=Path("my style"), runs=("a", "b c"))
    assert choice.command("curves") == (
        "harness report a 'b c' --metric accuracy --methods d1,espo --figures curves --style 'my style'"
    )


def test_chosen_figures_keep_their_names_and_the_tables_stay(synthetic: Any) -> None:
    synthetic.demo()
    whole, bars = document_of(synthetic), document_of(synthetic, figures=("bars", "steps"))
    assert [figure.stem for figure in bars.figures] == ["bars-tiny", "sudoku-tiny-steps"]
    assert {figure.stem for figure in bars.figures} < {figure.stem for figure in whole.figures}
    assert bars.tables == whole.tables
    assert "One completion" not in [section.title for section in bars.sections]


def test_only_runs_of_the_chosen_methods_are_reported(synthetic: Any) -> None:
    synthetic.demo()
    document = document_of(synthetic, methods=("egspo",))
    assert [cells[0] for cells in document.headlines[0].cells] == ["EGSPO"]
    assert document.intro.startswith("Finished runs: 3;")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"methods": ("egspo_sa",)}, r"Unknown method 'egspo_sa'\. Did you mean 'egspo-sa'\?"),
        (
            {"figures": ("curve",)},
            r"Unknown kind of figures 'curve'\. Did you mean 'curves'\? Choices: ablations, bars,",
        ),
    ],
)
def test_an_unknown_choice_is_one_sentence(synthetic: Any, choice: dict[str, Any], message: str) -> None:
    synthetic.run()
    with pytest.raises(UserError, match=message):
        document_of(synthetic, **choice)


def test_metrics_that_agree_in_every_row_share_a_table_and_a_near_miss_does_not(synthetic: Any) -> None:
    for seed in (0, 1):
        metrics = {**synthetic.metrics(100 + seed), "official": synthetic.metrics(100 + seed)["exact_match"]}
        metrics["nearly"] = synthetic.metrics(100)["exact_match"]
        synthetic.run(seed=seed, records=[synthetic.evaluation("last", 24, metrics)])
    titles = [table.title for table in document_of(synthetic).tables]
    assert "Sudoku, exact match and official" in titles
    assert "Sudoku, nearly" in titles
    (table,) = document_of(synthetic).headlines
    assert table.notes[0] == "Exact match and official agree in every row: one table stands for all."
