from __future__ import annotations

from typing import Any

from harness.report.analysis.points import make_points
from harness.report.analysis.rows import all_rows
from harness.report.chapters.document import make_document
from harness.report.chapters.results import make_table
from harness.report.chapters.sections import Command, Section
from harness.report.chapters.table import Column, Table
from harness.report.figures.frame import Figure, Picture
from harness.report.formats.markdown import document_markdown, escape_markdown, section_markdown, table_markdown
from harness.report.read.runs import collect

FIGURE = Figure(
    kind="bars",
    stem="sudoku-bars",
    title="Bars",
    caption="All of them.",
    points=make_points("a", [{"a": 1}]),
    command="harness report --figures bars",
    draw=lambda: Picture(png=b"", svg=b"", pdf=b""),
)


def test_a_section_is_written_in_its_order() -> None:
    table = Table(title="T", columns=(Column(title="A"),), cells=(("x",),), notes=("n",))
    section = Section(
        title="Chapter*",
        text=("First.",),
        tables=(table,),
        figures=(FIGURE,),
        commands=(Command(label="Again", text="harness run"),),
    )
    assert section_markdown(section).splitlines() == [
        "## Chapter\\*",
        "",
        "First.",
        "",
        "| A |",
        "| --- |",
        "| x |",
        "",
        "- n",
        "",
        "![Bars](figures/sudoku-bars.png)",
        "",
        "Bars. All of them. [PDF](figures/sudoku-bars.pdf), [SVG](figures/sudoku-bars.svg), "
        "[points](figures/sudoku-bars.csv). Made by `harness report --figures bars`.",
        "",
        "Again:",
        "",
        "```sh",
        "harness run",
        "```",
    ]


def test_what_is_too_long_to_read_is_linked_and_short_evidence_keeps_its_sentences(synthetic: Any) -> None:
    synthetic.demo()
    document = make_document(collect([synthetic.root]))
    text = document_markdown(document)
    assert "## How certain, and at what cost" in text
    assert "- GSM8K, every published value: [table](tables/gsm8k-every-published-value.md), [CSV](" in text
    (pairs,) = [line for line in text.splitlines() if line.startswith("- Sudoku, exact match: pairs of methods")]
    assert ".csv). " in pairs
    assert "| First | Second |" not in text
    assert len(text.split()) < 4000
    assert any(section.folded and section.tables for section in document.sections)


def test_markdown_is_one_table_with_as_many_cells_in_every_line(synthetic: Any) -> None:
    synthetic.run(recipe="a|b*", method="x`y<z")
    table = make_table(all_rows(synthetic.groups())[0])
    lines = [line for line in table_markdown(table).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(table.cells)
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(table.columns) + 1}
    assert "a\\|b\\*" in lines[2]
    assert "x\\`y\\<z" in lines[2]


def test_markdown_text_stays_on_one_line_and_makes_no_link() -> None:
    assert escape_markdown("a\nb [c](d) snake_case 61.7 [55.6, 67.4]") == "a b [c]\\(d) snake_case 61.7 [55.6, 67.4]"
