from __future__ import annotations

import copy
from typing import Any

from harness.report.collect import collect
from harness.report.differences import difference_tables
from harness.report.groups import make_groups
from harness.report.tables import Table


def tables_of(synthetic: Any) -> list[Table]:
    return difference_tables(make_groups(collect([synthetic.root]).runs))


def changed(synthetic: Any, **method: Any) -> dict[str, Any]:
    settings = copy.deepcopy(dict(synthetic.settings))
    settings["method"] |= method
    return settings


def test_only_settings_that_differ_are_listed_and_a_missing_one_is_a_dash(synthetic: Any) -> None:
    synthetic.run()
    other = changed(synthetic, name="espo")
    del other["method"]["stepwise_weight"]
    synthetic.run(method="espo", settings=other, config_hash="1b2c3d4e")
    (table,) = tables_of(synthetic)
    assert table.title == "Sudoku, tiny model"
    assert [column.title for column in table.columns] == ["Setting", "EGSPO-SA", "ESPO"]
    assert table.cells == (("method.name", "egspo-sa", "espo"), ("method.stepwise_weight", "0.5", "-"))


def test_what_the_command_line_changed_is_marked_and_the_mark_explained(synthetic: Any) -> None:
    synthetic.run()
    settings = changed(synthetic, num_selected=4)
    synthetic.run(settings=settings, config_hash="1b2c3d4e", provenance={"method.num_selected": "command line"})
    (table,) = tables_of(synthetic)
    assert table.cells == (("method.num_selected", "2", "4*"),)
    assert any(note.startswith("* ") for note in table.notes)


def test_seeds_alone_are_no_difference(synthetic: Any) -> None:
    synthetic.run(seed=0)
    synthetic.run(seed=1)
    assert tables_of(synthetic) == []


def test_another_task_is_another_table(synthetic: Any) -> None:
    for task in ("sudoku", "countdown"):
        synthetic.run(task=task)
        synthetic.run(task=task, config_hash="1b2c3d4e", settings=changed(synthetic, num_selected=4))
    assert [table.title for table in tables_of(synthetic)] == ["Countdown, tiny model", "Sudoku, tiny model"]
