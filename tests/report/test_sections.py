from __future__ import annotations

from typing import Any

from harness.report.collect import collect
from harness.report.document import Document, make_document
from harness.report.figures.drawing import Picture
from harness.report.groups import make_groups
from harness.report.labels import method_colours
from harness.report.page import document_markdown
from harness.report.sections import Command, Figure, Section, section_markdown
from harness.report.tables import Column, Table, all_rows

FIGURE = Figure(
    stem="sudoku-bars",
    title="Bars",
    caption="All of them.",
    csv="a\n1\n",
    draw=lambda: Picture(png=b"", svg=b""),
)


def document_of(synthetic: Any) -> Document:
    collection = collect([synthetic.root])
    groups = make_groups(collection.runs)
    return make_document(collection, groups, all_rows(groups), method_colours(group.method for group in groups))


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
        "Bars. All of them. [SVG](figures/sudoku-bars.svg), [points](figures/sudoku-bars.csv).",
        "",
        "Again:",
        "",
        "```sh",
        "harness run",
        "```",
    ]


def test_the_chapters_stand_in_their_order(synthetic: Any) -> None:
    synthetic.demo()
    synthetic.run(method="espo", state="failed")
    chapters = [section.title for section in document_of(synthetic).sections if section.level == 2]
    assert chapters == [
        "Overview",
        "Sudoku",
        "How sure, at what cost",
        "The papers' tables, measured here",
        "The papers' tables, as published",
        "Every published value",
        "How the configurations differ",
        "How to reproduce each row",
        "Left out",
    ]


def test_what_is_too_long_to_read_is_left_out_of_the_text(synthetic: Any) -> None:
    synthetic.demo()
    document = document_of(synthetic)
    text = document_markdown(document)
    assert "## How sure, at what cost" in text
    assert "Every published value" not in text
    assert any(section.folded and section.tables for section in document.sections)


def test_several_tasks_are_chapters_in_the_order_of_their_names_and_in_the_title(synthetic: Any) -> None:
    synthetic.run()
    synthetic.run(task="countdown")
    document = document_of(synthetic)
    assert document.title == "Report: Countdown, Sudoku"
    assert [verdict.title for verdict in document.verdicts] == ["Countdown, tiny model", "Sudoku, tiny model"]
