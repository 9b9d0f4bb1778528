from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.report.analysis.budget import all_costs
from harness.report.analysis.comparisons import compare
from harness.report.analysis.curves import make_panels
from harness.report.chapters.document import Document, evidence_sections, make_document
from harness.report.chapters.sections import Section
from harness.report.read.runs import collect


def document_of(synthetic: Any) -> Document:
    return make_document(collect([synthetic.root]))


def evidence(synthetic: Any) -> list[Section]:
    groups = synthetic.groups()
    return evidence_sections(groups, compare(groups), all_costs(make_panels(groups)))


def test_the_chapters_stand_in_their_order(synthetic: Any) -> None:
    synthetic.demo()
    synthetic.run(method="espo", state="failed")
    chapters = [section.title for section in document_of(synthetic).sections if section.level == 2]
    assert chapters == [
        "Overview",
        "Sudoku",
        "The papers' claims at this scale",
        "How certain, and at what cost",
        "The papers' tables, measured here",
        "The papers' tables, as published",
        "Every published value",
        "How the configurations differ",
        "How to reproduce each row",
        "Left out",
    ]


def test_several_tasks_are_chapters_in_the_order_of_their_names_and_in_the_title(synthetic: Any) -> None:
    synthetic.run()
    synthetic.run(task="countdown")
    document = document_of(synthetic)
    assert document.title == "Report: Countdown, Sudoku"
    assert [verdict.title for verdict in document.verdicts] == ["Countdown, tiny model", "Sudoku, tiny model"]


def test_tables_of_runs_stand_before_published_ones_and_hold_no_published_number(synthetic: Any) -> None:
    synthetic.demo()
    sections = evidence(synthetic)
    titles = [section.title for section in sections if section.level == 2]
    assert titles == [
        "How certain, and at what cost",
        "The papers' tables, measured here",
        "The papers' tables, as published",
    ]
    place = next(number for number, section in enumerate(sections) if section.title == titles[-1])
    ours = [table for section in sections[:place] for table in section.tables]
    published = [table for section in sections[place:] for table in section.tables]
    assert all("published" in table.title for table in published)
    assert not any("published" in table.title for table in ours)
    assert not any("tiny" in cell for table in published for cells in table.cells for cell in cells)


def test_one_run_with_one_evaluation_has_no_chapter_of_statistics(synthetic: Any) -> None:
    synthetic.run(records=[synthetic.evaluation("last", 24, synthetic.metrics(128))])
    assert [section.title for section in evidence(synthetic) if section.level == 2] == [
        "The papers' tables, measured here",
        "The papers' tables, as published",
    ]


def test_without_a_count_of_forward_passes_there_is_no_figure_of_them_and_the_flops_say_so(synthetic: Any) -> None:
    synthetic.run()
    assert "sudoku-exact_match-forward-flops" in {figure.stem for figure in document_of(synthetic).figures}
    old = [replace(record, flops_forward=None) for record in synthetic.learning(40, 160)]
    synthetic.run(task="countdown", records=old)
    figures = {figure.stem: figure for figure in document_of(synthetic).figures}
    assert "countdown-exact_match-forward-flops" not in figures
    assert "not drawn against them alone: EGSPO-SA." in figures["countdown-exact_match-flops"].caption


def test_a_claims_yaml_beside_the_runs_is_held_against_them(synthetic: Any) -> None:
    for seed in range(3):
        synthetic.run(method="egspo", seed=seed, records=synthetic.ends(0, 128 + seed))
        synthetic.run(method="d1", seed=seed, records=synthetic.ends(0, 64 + 2 * seed))
    (synthetic.root / "claims.yaml").write_text(
        "mine: {paper: Ours, where: '', measure: last, direction: higher, first: {method: egspo},"
        " second: {method: d1}, says: It is so.}\n"
    )
    document = document_of(synthetic)
    (found,) = [table for table in document.tables if table.title == "Claims: Ours"]
    assert [row[0] for row in found.cells] == ["It is so."]
