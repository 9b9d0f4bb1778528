from __future__ import annotations

from typing import Any

from harness.report.chapters.table import Column, Table, condense


def table(*cells: tuple[str, ...], **changes: Any) -> Table:
    columns = (Column(title="Method"), Column(title="Model"), Column(title="GFLOP", numeric=True), Column(title="Last"))
    return Table(**{"title": "T", "columns": columns, "cells": cells, "notes": ("n",), **changes})


SAME = (("a", "tiny", "2", "1"), ("a", "tiny", "2", "3"))


def test_constant_columns_become_a_sentence_and_the_first_stays() -> None:
    found = condense(table(*SAME), numbers=True)
    assert [column.title for column in found.table.columns] == ["Method", "Last"]
    assert found.table.cells == (("a", "1"), ("a", "3"))
    assert found.shared == ("model tiny", "GFLOP 2")


def test_numbers_stay_where_they_are_not_asked_for() -> None:
    found = condense(table(*SAME), numbers=False)
    assert [column.title for column in found.table.columns] == ["Method", "GFLOP", "Last"]
    assert found.shared == ("model tiny",)


def test_a_single_row_stays_whole() -> None:
    assert condense(table(SAME[0]), numbers=True).table == table(SAME[0])


def test_cells_that_stand_out_keep_their_column_and_their_place() -> None:
    found = condense(table(*SAME, bold=frozenset({(0, 2), (1, 3)})), numbers=True)
    assert [column.title for column in found.table.columns] == ["Method", "GFLOP", "Last"]
    assert found.table.bold == {(0, 1), (1, 2)}
