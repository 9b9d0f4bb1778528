"""README's table of methods and tasks, beside the published values and the methods' own files."""

from __future__ import annotations

import re
from pathlib import Path

from harness import registry
from harness.config.recipes import load_recipe
from harness.report.read.published import load_published

CHECKOUT = Path(__file__).resolve().parents[3]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
TASKS = ("gsm8k", "math500", "sudoku", "countdown", "mbpp", "humaneval")
CODE = {"evalplus": ("mbpp", "humaneval")}
"""Benchmarks made of several tasks."""


def rows() -> dict[str, list[str]]:
    """The cells of the table by the title of the method."""
    table = README.partition("## Methods and tasks")[2].partition("\n## ")[0]
    return {row[0]: list(row[1:]) for row in re.findall(r"^\| \[(.+?)\]\((.+?)\) \|(.+)\|$", table, re.M)}


def test_the_table_of_methods_and_tasks_says_which_papers_print_results() -> None:
    published = load_published()
    own: dict[str, set[str]] = {name: set() for name in registry.names("method")}
    for value in published.values:
        if value.whose == "own" and (method := published.method_here(value)):
            own[method].update(CODE.get(value.task, (value.task,)))
    expected = {}
    for name, tasks in own.items():
        entry = registry.entry("method", name)
        assert entry is not None
        expected[entry.title] = "".join("●" if task in tasks else "○" for task in TASKS)
    assert {title: "".join(re.findall("[●○]", cells)) for title, (_, cells) in rows().items()} == expected
    assert len(expected) == 15


def test_each_row_links_to_the_method_s_file_and_names_its_paper() -> None:
    for title, (file, cells) in rows().items():
        number = re.findall(r"\d{4}\.\d{5}", cells)
        assert len(number) == 1, title
        assert number[0] in (CHECKOUT / file).read_text(encoding="utf-8"), title


def test_every_pair_has_the_three_recipes_that_the_text_below_the_table_names() -> None:
    for method in registry.names("method"):
        for task in TASKS:
            assert all(load_recipe(recipe, method=method, task=task) for recipe in ("tiny", "small", "laptop", "paper"))
