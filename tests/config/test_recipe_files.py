"""Several recipes in one file, and what the name of a recipe says."""

import pytest

from harness.config.recipe_files import Named, named_in, recipes_in
from harness.config.recipes import load_recipe
from harness.errors import UserError

SEVERAL = """
tiny:
  seed: 3
  tasks: {gsm8k: {seed: 4}}
paper:
  extends: d1:tiny
  seed: 5
mine: {seed: 6}
"""


@pytest.fixture
def several(tmp_path):
    path = tmp_path / "several.yaml"
    path.write_text(SEVERAL)
    return path


def seeds(name, task="sudoku"):
    return [layer.values["seed"] for layer in load_recipe(name, method="espo", task=task) if "seed" in layer.values]


def test_one_of_several_recipes_stands_on_the_protocol_of_its_name_or_on_what_it_extends(several):
    protocol, own = load_recipe(f"{several}:tiny", method="espo", task="sudoku")
    assert (protocol.source, protocol.section, protocol.file.name) == ("protocol", "tiny", "sudoku.yaml")
    assert (own.source, own.section, own.file, own.values) == ("recipe", "tiny", several, {"seed": 3})
    assert seeds(f"{several}:tiny", "gsm8k") == [3, 4]
    assert [layer.file.name for layer in load_recipe(f"{several}:paper", method="espo", task="math500")] == [
        "math500.yaml",
        "d1.yaml",
        "several.yaml",
    ]
    (alone,) = load_recipe(f"{several}:mine", method="espo", task="sudoku")
    assert alone.values == {"seed": 6}


def test_a_file_with_a_usual_section_holds_several_and_any_other_is_one(several, tmp_path):
    assert recipes_in(several) == ("tiny", "paper", "mine")
    for text in ("seed: 3", "train: {batch_size: 8}", "extends: tiny\npaper: {}", "tiny: 3"):
        (tmp_path / "one.yaml").write_text(text)
        assert recipes_in(tmp_path / "one.yaml") == ()


def test_a_file_may_extend_one_of_several(several, tmp_path):
    (tmp_path / "above.yaml").write_text("extends: several.yaml:mine\nbudget: {updates: 1}")
    assert seeds(str(tmp_path / "above.yaml")) == [6]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "several.yaml",
            "holds several recipes; name one of them: several.yaml:tiny, several.yaml:paper",
        ),
        ("several.yaml:papper", "Unknown recipe in 'several.yaml' 'papper'. Did you mean 'paper'?"),
        ("one.yaml:tiny", "'one.yaml' is one recipe and has no 'tiny'; name the file alone."),
        ("loop.yaml", "extends itself"),
    ],
)
def test_a_recipe_that_a_file_does_not_hold_is_refused(several, tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text("seed: 3")
    (tmp_path / "loop.yaml").write_text("tiny: {extends: loop.yaml:tiny}")
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        load_recipe(name if name != "loop.yaml" else "loop.yaml:tiny", method="espo", task="sudoku")
    with pytest.raises(UserError):
        named_in(name if name != "loop.yaml" else "loop.yaml:tiny")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("paper", ("", "", "paper")),
        ("espo:paper", ("espo", "", "paper")),
        ("espo/sudoku:tiny", ("espo", "sudoku", "tiny")),
        ("several.yaml:paper", ("d1", "", "tiny")),
        ("several.yaml:tiny", ("", "", "tiny")),
        ("one.yaml", ("", "", "")),
        ("two.yaml", ("d1", "", "tiny")),
    ],
)
def test_the_name_of_a_recipe_says_method_task_and_section(several, tmp_path, monkeypatch, name, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.yaml").write_text("seed: 3")
    (tmp_path / "two.yaml").write_text("extends: several.yaml:paper")
    method, task, section = expected
    assert named_in(name) == Named(method=method, task=task, section=section)
