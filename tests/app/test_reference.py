"""The pages of docs/ that are made from the code are what the code says today."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.app.reference import COMMAND, PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_its_command_writes(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), f"run {COMMAND}"


def test_the_page_of_keys_has_every_section_and_every_method() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert "| `learning_rate` | number | `0.0003` | the highest of the run. | yes |" in page
    assert "## evaluation.decoding\n" in page
    assert "The keys are those of [rollout](#rollout). Other defaults: `num_steps` 8, `temperature` 0.0." in page
    assert "| `selection` | entropy, uniform, random, random-official | `entropy` | which steps these are. |" in page


def test_the_page_of_recipes_names_tasks_model_and_sources() -> None:
    page = (DOCS / "recipes.md").read_text(encoding="utf-8")
    tasks = "countdown, gsm8k, humaneval, math500, mbpp, sudoku"
    assert f"| `espo:tiny` | {tasks} | tiny | ours |" in page
    assert f"| `espo:paper` | {tasks} | GSAI-ML/LLaDA-8B-Instruct | " in page
