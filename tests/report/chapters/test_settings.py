from __future__ import annotations

import copy
import itertools
import json
import shlex
from typing import Any

import pytest
import yaml

from harness.config.resolve import parse_budget, parse_settings
from harness.records.run_folder import ENVIRONMENT_FILE
from harness.report.chapters.settings import command, difference_tables
from harness.report.chapters.table import Table


def tables_of(synthetic: Any) -> list[Table]:
    return difference_tables(synthetic.groups())


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


def words(synthetic: Any, place: int = 0) -> list[str]:
    return shlex.split(command(synthetic.groups()[place]))


def settings_with(synthetic: Any, **changes: Any) -> dict[str, Any]:
    return {**synthetic.settings, **changes}


def test_a_plain_run_names_everything_that_identifies_it(synthetic: Any) -> None:
    for seed in (2, 0, 1):
        synthetic.run(seed=seed)
    assert " ".join(words(synthetic)) == (
        "harness run --method egspo-sa --task sudoku --model tiny --recipe tiny --seed 0,1,2 "
        "--data builtin --train-data builtin"
    )


def test_a_control_says_reward_random(synthetic: Any) -> None:
    synthetic.run(reward="random")
    assert words(synthetic)[-6:-4] == ["--reward", "random"]


def test_default_data_sources_are_left_to_the_default(synthetic: Any) -> None:
    synthetic.run(settings=settings_with(synthetic, data={"test": "", "train": ""}))
    assert "--data" not in words(synthetic)
    assert "--train-data" not in words(synthetic)


def test_only_values_from_the_command_line_are_set_again(synthetic: Any) -> None:
    sources = {
        "method.num_selected": "command line",
        "method.stepwise_weight": "recipe",
        "optimizer.learning_rate": "default",
        "seed": "command line",
        "model.name": "command line",
        "data.test": "command line",
    }
    synthetic.run(provenance=sources)
    assert words(synthetic)[-2:] == ["--set", "method.num_selected=2"]
    assert words(synthetic).count("--set") == 1


def test_a_budget_from_the_command_line_replaces_the_recipes_whole_budget(synthetic: Any) -> None:
    budget = {"updates": 4, "samples": 0, "flops": 1e12, "minutes": 0.0}
    synthetic.run(settings=settings_with(synthetic, budget=budget), provenance={"budget.updates": "command line"})
    given = words(synthetic)[words(synthetic).index("--budget") + 1]
    assert parse_budget(given) == {"updates": 4, "flops": 1e12}
    assert "--set" not in words(synthetic)


@pytest.mark.parametrize("value", [3e-5, 1e-12, True, None, "1", "true", "a b", "it's", 7, [1, 2], "", "x: y", "null"])
def test_set_values_read_back_as_they_were(synthetic: Any, value: Any) -> None:
    method = {"name": "egspo-sa", "option": value}
    synthetic.run(settings=settings_with(synthetic, method=method), provenance={"method.option": "command line"})
    assert parse_settings([words(synthetic)[-1]]) == {"method.option": value}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"method": {"folder": "own"}, "task": {"folder": "own"}}, ["own"]),
        ({"method": {"folder": "my methods"}, "task": {"folder": "/else"}}, ["my methods", "/else"]),
        ({}, []),
        ({"method": {"folder": 3}, "task": {"folder": "a\nb"}}, []),
        ({"method": "own"}, []),
        (["own"], []),
    ],
)
def test_the_folders_of_own_files_are_named(synthetic: Any, files: Any, expected: list[str]) -> None:
    (synthetic.run() / ENVIRONMENT_FILE).write_text(json.dumps({"own_files": files}))
    found = words(synthetic)
    assert [after for before, after in itertools.pairwise(found) if before == "--include-path"] == expected


def test_odd_names_are_quoted_for_the_shell(synthetic: Any) -> None:
    synthetic.run(recipe="my recipe; rm -rf.yaml")
    assert "my recipe; rm -rf.yaml" in words(synthetic)


def test_the_text_is_one_line(synthetic: Any) -> None:
    method = {"name": "egspo-sa", "option": "word " * 60}
    synthetic.run(settings=settings_with(synthetic, method=method), provenance={"method.option": "command line"})
    text = command(synthetic.groups()[0])
    assert "\n" not in text
    assert yaml.safe_load(shlex.split(text)[-1].partition("=")[2]) == "word " * 60


def test_packages_are_allowed_again(synthetic: Any) -> None:
    data = {"test": "builtin", "train": "builtin", "allow_packages": ["numpy", "scipy"]}
    sources = {"data.allow_packages": "command line"}
    synthetic.run(settings=settings_with(synthetic, data=data), provenance=sources)
    assert words(synthetic)[-4:] == ["--allow-packages", "numpy", "--allow-packages", "scipy"]
    assert "--set" not in words(synthetic)


def test_prompts_and_worked_examples_are_asked_for_again(synthetic: Any) -> None:
    data = {"test": "builtin", "train": "builtin", "few_shot": 3, "prompts": "ab" * 32}
    sources = {"data.few_shot": "command line", "data.prompts": "command line"}
    synthetic.run(settings=settings_with(synthetic, data=data), provenance=sources)
    said = " ".join(words(synthetic))
    assert said.endswith("--few-shot 3 --prompts FILE-WITH-SHA256-abababababab")
    assert "--set" not in said
