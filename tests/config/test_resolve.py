import hashlib
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.recipes import load_recipe
from harness.config.resolve import flatten, parse_budget, parse_settings, resolve
from harness.config.tree import BudgetConfig
from harness.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    num_selected: int = 2
    beta: float = 0.0
    name: str = ""


def resolved(recipe=None, **overrides):
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return resolve(
        method="m",
        method_config=Options,
        task="t",
        recipe="tiny",
        recipe_tree={"budget": {"updates": 10}} | (recipe or {}),
        overrides=keys,
    )


def test_the_command_line_beats_the_recipe_which_beats_the_default():
    result = resolved({"train": {"batch_size": 32}, "method": {"beta": 0.5}}, train__batch_size=16)
    assert result.config.train.batch_size == 16
    assert result.config.train.group_size == 8
    assert result.config.method.options == {"num_selected": 2, "beta": 0.5, "name": ""}
    assert result.provenance["train.batch_size"] == "command line"
    assert result.provenance["method.beta"] == "recipe"
    assert result.provenance["train.group_size"] == "default"


def test_a_budget_given_as_a_whole_replaces_the_recipes():
    config = resolved({"budget": {"samples": 100}}, budget={"updates": 4}).config
    assert config.budget == BudgetConfig(updates=4)


def test_whole_numbers_pass_as_fractions_and_the_reverse_only_when_exact():
    assert resolved(method__beta=1).config.method.options["beta"] == 1.0
    assert resolved(train__batch_size=16.0).config.train.batch_size == 16
    with pytest.raises(UserError, match=r"train.batch_size=16.5 is not a whole number"):
        resolved(train__batch_size=16.5)


@pytest.mark.parametrize("value", [True, "8", None, [8]])
def test_other_types_are_refused(value):
    with pytest.raises(UserError, match=r"train\.batch_size"):
        resolved(train__batch_size=value)


def test_a_section_is_no_value_and_a_value_no_section():
    with pytest.raises(UserError, match="'train' must hold keys"):
        resolved({"train": 3})
    with pytest.raises(UserError, match="reaches into 'seed'"):
        resolved({"seed": 1}, seed__deep=2)


def test_the_task_is_not_chosen_in_a_recipe():
    with pytest.raises(UserError, match="--task"):
        resolved({"task": "sudoku"})


def test_the_hash_ignores_seed_and_device_and_nothing_else():
    base = resolved().config.hash
    assert resolved(seed=5).config.hash == base
    assert resolved(model__device="cpu").config.hash == base
    others = [
        resolved(method__beta=0.1),
        resolved(reward="random"),
        resolved(optimizer__learning_rate=1e-5),
        resolved(budget={"updates": 11}),
    ]
    assert len({base, *(other.config.hash for other in others)}) == 5


def test_numbers_of_yaml_without_a_dot_are_read_as_numbers():
    assert parse_settings(["optimizer.learning_rate=3e-4"]) == {"optimizer.learning_rate": "3e-4"}
    assert resolved(optimizer__learning_rate="3e-4").config.optimizer.learning_rate == 3e-4
    assert parse_budget("samples=1536,minutes=2.5") == {"samples": 1536, "minutes": 2.5}


@given(st.text(max_size=30))
def test_any_text_is_a_setting_or_a_user_error(text):
    try:
        parsed = parse_settings([text])
    except UserError:
        return
    assert list(parsed) == [text.partition("=")[0].strip()]


@given(
    st.recursive(
        st.integers(), lambda inner: st.dictionaries(st.text("abc", min_size=1), inner, min_size=1), max_leaves=8
    )
)
def test_flattening_keeps_every_value(tree):
    if not isinstance(tree, dict):
        return

    def leaves(node):
        return [leaf for value in node.values() for leaf in (leaves(value) if isinstance(value, dict) else [value])]

    assert list(flatten(tree).values()) == leaves(tree)


def test_recipes_are_found_by_name_or_given_as_a_file(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "t.yaml").write_text("tiny: {seed: 3}\npaper:\n")
    assert load_recipe("tiny", method="m", task="t", folder=tmp_path) == {"seed": 3}
    assert load_recipe("paper", method="m", task="t", folder=tmp_path) == {}
    with pytest.raises(UserError, match=r"'big'.*paper, tiny"):
        load_recipe("big", method="m", task="t", folder=tmp_path)
    with pytest.raises(UserError, match=r"No recipe 'tiny' for method 'm' on task 'x'. Recipes exist for: m/t"):
        load_recipe("tiny", method="m", task="x", folder=tmp_path)
    own = tmp_path / "own.yaml"
    own.write_text("seed: 4")
    assert load_recipe(str(own), method="m", task="x", folder=tmp_path) == {"seed": 4}
    own.write_text("[1, 2]")
    with pytest.raises(UserError, match="mapping"):
        load_recipe(str(own), method="m", task="x", folder=tmp_path)
    own.write_text("a: [")
    with pytest.raises(UserError, match="not YAML"):
        load_recipe(str(own), method="m", task="x", folder=tmp_path)


def test_settings_younger_than_the_first_runs_count_in_the_hash_only_where_they_are_used():
    config = resolved().config
    tree = config.to_dict()
    assert tree["data"] == {"test": "", "train": "", "few_shot": 0, "prompts": ""}
    del tree["seed"], tree["model"]["device"], tree["data"]["few_shot"], tree["data"]["prompts"]
    assert config.hash == hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:8]
    used = [resolved(data__few_shot=1), resolved(data__few_shot=2), resolved(data__prompts="ab")]
    assert len({config.hash, *(other.config.hash for other in used)}) == 4
