"""Protocols, recipes and what they stand on: found by name or given as a file."""

from pathlib import Path

import pytest

from harness.config.decoding import Decoding
from harness.config.recipes import PROTOCOL, evaluation_decoding, load_recipe
from harness.config.resolve import Layer
from harness.errors import UserError

PROTOCOL_FILE = "tiny: {train: {batch_size: 16}, budget: {samples: 64}}\npaper: {train: {batch_size: 96}}\n"
RECIPE_FILE = """
tiny:
  method: {beta: 0.1}
  tasks:
    sudoku: {method: {beta: 0.2}}
paper: {extends: "egspo:tiny", seed: 5}
"""

NOWHERE = Path()


@pytest.fixture
def library(tmp_path):
    """Protocols of sudoku and gsm8k, recipes of egspo."""
    for folder, name, text in (
        ("protocols/tasks", "sudoku", PROTOCOL_FILE),
        ("protocols/tasks", "gsm8k", PROTOCOL_FILE.replace("16", "24")),
        ("recipes", "egspo", RECIPE_FILE),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / f"{name}.yaml").write_text(text)
    return tmp_path


def protocol(batch_size, **more):
    return Layer(source="protocol", values={"train": {"batch_size": batch_size}, **more}, file=NOWHERE)


def recipe(**values):
    return Layer(source="recipe", values=values, file=NOWHERE)


TINY_PROTOCOL = protocol(16, budget={"samples": 64})
TINY_EGSPO = (TINY_PROTOCOL, recipe(method={"beta": 0.1}), recipe(method={"beta": 0.2}))


def loaded(library, name, *, method="egspo", task="sudoku"):
    return load_recipe(str(name), method=method, task=task, folder=library)


def test_a_recipe_stands_on_the_protocol_of_the_task_with_its_own_values_for_the_task_last(library):
    assert loaded(library, "tiny") == TINY_EGSPO
    assert loaded(library, "tiny", task="gsm8k") == (protocol(24, budget={"samples": 64}), recipe(method={"beta": 0.1}))


def test_a_method_without_recipes_has_the_protocol(library):
    assert loaded(library, "tiny", method="mine") == (TINY_PROTOCOL,)
    assert loaded(library, "paper", method="mine") == (protocol(96),)


def test_a_recipe_that_extends_another_stands_on_that_one_with_its_protocol(library):
    assert loaded(library, "paper") == (*TINY_EGSPO, recipe(seed=5))


def test_recipes_of_other_methods_and_tasks_have_full_names(library):
    assert loaded(library, "egspo:tiny", method="mine") == TINY_EGSPO
    assert loaded(library, "egspo/sudoku:tiny", method="mine", task="mine") == TINY_EGSPO
    assert loaded(library, "egspo/sudoku:paper", task="gsm8k") == (*TINY_EGSPO, recipe(seed=5))


def test_a_file_stands_on_the_defaults_alone_unless_it_extends_something(library, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("seed: 4\ntasks: {gsm8k: {seed: 6}}")
    assert loaded(library, own) == (recipe(seed=4),)
    assert loaded(library, own, task="gsm8k") == (recipe(seed=4), recipe(seed=6))
    own.write_text("extends: tiny\nseed: 4")
    assert loaded(library, own) == (*TINY_EGSPO, recipe(seed=4))
    own.write_text("extends: egspo-sa/sudoku:paper\nseed: 4")
    assert loaded(library, own, task="one of my own") == (protocol(96), recipe(seed=4))


def test_a_file_extends_another_beside_it(library, tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "first.yaml").write_text("extends: ../second.yaml\nseed: 1")
    (tmp_path / "second.yaml").write_text("seed: 2\nreward: random")
    expected = (recipe(seed=2, reward="random"), recipe(seed=1))
    assert loaded(library, tmp_path / "deep" / "first.yaml") == expected
    monkeypatch.chdir(tmp_path)
    assert loaded(library, "deep/first.yaml") == expected


def test_a_circle_is_refused_with_one_sentence(library, tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    with pytest.raises(UserError, match=r"^Recipe '\S+a.yaml' extends itself: \S+a.yaml -> \S+b.yaml -> \S+a.yaml.$"):
        loaded(library, tmp_path / "a.yaml")
    (library / "recipes" / "d1.yaml").write_text("tiny: {extends: 'd1:tiny'}")
    with pytest.raises(UserError, match=r"^Recipe 'd1/sudoku:tiny' extends itself: d1/sudoku:tiny -> d1/sudoku:tiny.$"):
        loaded(library, "tiny", method="d1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "must be a YAML mapping"),
        ("a: [", "is not valid YAML"),
        ("extends: nowhere.yaml", "nowhere.yaml' does not exist"),
        ("extends: papper", "'papper'. Did you mean 'paper'"),
        ("extends: egspo-as:tiny", "Unknown method 'egspo-as'. Did you mean 'egspo-sa'"),
        ("extends: egspo/sudoko:tiny", "Unknown task 'sudoko'. Did you mean 'sudoku'"),
        ("tasks: {sudoko: {seed: 1}}", "Unknown task 'sudoko'. Did you mean 'sudoku'"),
        ("tasks: 3", "'tasks' of a recipe must be a mapping of keys to values, not 3"),
        ("tasks: {sudoku: 3}", "'tasks.sudoku' of a recipe must be a mapping of keys to values, not 3"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(library, tmp_path, text, said):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        loaded(library, tmp_path / "own.yaml")


def test_unknown_recipes_and_tasks_without_a_protocol_are_refused_with_the_choices(library):
    with pytest.raises(UserError, match=r"Unknown recipe for egspo on sudoku 'big'. Choices: paper, tiny"):
        loaded(library, "big")
    with pytest.raises(UserError, match=r"No recipe 'tiny' for task 'twice', which has no protocol.*: gsm8k, sudoku"):
        loaded(library, "tiny", task="twice")


def test_the_tiny_model_is_evaluated_as_its_protocol_says():
    assert evaluation_decoding("countdown", tiny=True) == Decoding(completion_length=8, block_length=2, num_steps=8)


def test_a_large_model_has_256_tokens_in_blocks_of_32_and_two_per_step():
    assert evaluation_decoding("sudoku", tiny=False) == PROTOCOL
    assert (PROTOCOL.completion_length, PROTOCOL.block_length, PROTOCOL.num_steps) == (256, 32, 128)


def test_a_task_without_a_protocol_has_the_defaults():
    assert evaluation_decoding("one of my own", tiny=True) == Decoding()
    assert evaluation_decoding("one of my own", tiny=False) == PROTOCOL
