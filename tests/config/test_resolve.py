from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.resolve import Layer, flatten, parse_budget, parse_settings, recorded_config, resolve
from harness.config.tree import BudgetConfig, Execution, LoraConfig
from harness.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Options:
    num_selected: int = 2
    beta: float = 0.0
    label: str = ""


def resolved(recipe=None, protocol=None, **overrides):
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    layers = (
        Layer(source="protocol", values={"budget": {"updates": 10}} | (protocol or {}), file=Path("protocol.yaml")),
        Layer(source="recipe", values=recipe or {}, file=Path("recipe.yaml")),
    )
    return resolve(method="m", method_config=Options, task="t", recipe="tiny", layers=layers, overrides=keys)


def test_the_command_line_beats_the_recipe_which_beats_the_protocol_which_beats_the_default():
    result = resolved(
        {"train": {"batch_size": 32}, "method": {"beta": 0.5}},
        {"train": {"batch_size": 24, "group_size": 4}, "method": {"beta": 0.1}},
        train__batch_size=16,
    )
    assert (result.config.train.batch_size, result.config.train.group_size) == (16, 4)
    assert result.config.method.options == {"num_selected": 2, "beta": 0.5, "label": ""}
    assert result.provenance["train.batch_size"] == "command line"
    assert result.provenance["method.beta"] == "recipe"
    assert result.provenance["train.group_size"] == "protocol"
    assert result.provenance["train.max_prompt_length"] == "default"


def test_execution_is_resolved_like_all_values_and_stands_apart():
    result = resolved({"execution": {"checkpoint_every": 7}}, execution__micro_batch_size=4)
    assert result.execution == Execution(checkpoint_every=7, micro_batch_size=4)
    assert "execution" not in result.config.to_dict()
    assert result.provenance["execution.checkpoint_every"] == "recipe"
    assert result.provenance["execution.micro_batch_size"] == "command line"
    assert result.provenance["execution.device"] == "default"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model.device", "execution.device"),
        ("train.micro_batch_size", "execution.micro_batch_size"),
        ("train.checkpoint_every", "execution.checkpoint_every"),
        ("evaluation.batch_size", "execution.evaluation_batch_size"),
    ],
)
def test_a_key_that_has_moved_is_refused_with_its_present_name(old, new):
    section, name = old.split(".")
    for values in ({"recipe": {section: {name: 4}}}, {old.replace(".", "__"): 4}):
        with pytest.raises(UserError, match=f"^Configuration key '{old}' has moved to '{new}'.$"):
            resolved(**values)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("checkpoint_every", 0, "execution.checkpoint_every=0 must be above 0"),
        ("evaluation_batch_size", 0, "execution.evaluation_batch_size=0 must be above 0"),
        ("micro_batch_size", -1, "execution.micro_batch_size=-1 is negative"),
        ("micro_batch", 4, "Did you mean 'execution.micro_batch_size'"),
        ("device", 0, "execution.device=0 is not text"),
    ],
)
def test_bad_values_of_execution_are_refused(key, value, said):
    with pytest.raises(UserError, match=said):
        resolved({"execution": {key: value}})


def test_a_budget_given_as_a_whole_replaces_the_one_below():
    assert resolved({"budget": {"samples": 100}}).config.budget == BudgetConfig(samples=100)
    result = resolved({"budget": {"samples": 100}}, budget={"minutes": 4})
    assert result.config.budget == BudgetConfig(minutes=4.0)
    assert result.provenance["budget.updates"] == result.provenance["budget.samples"] == "default"
    assert resolved(budget__samples=5).config.budget == BudgetConfig(updates=10, samples=5)


def test_the_nearest_limit_says_how_much_of_a_budget_is_spent():
    used = {"updates": 6, "samples": 48, "flops": 1e9, "minutes": 1.0}
    assert BudgetConfig(updates=8).spent(**used) == 0.75
    assert BudgetConfig(updates=8, samples=40, flops=1e12).spent(**used) == 1.2
    assert str(BudgetConfig(updates=8, minutes=2.5)) == "updates=8,minutes=2.5"


def test_the_configuration_of_a_run_of_any_age_is_read_back():
    tree = resolved(train__batch_size=16, method__beta=0.5).config.to_dict()
    assert recorded_config(tree) == resolved(train__batch_size=16, method__beta=0.5).config
    tree["model"] |= {"device": "cuda:1", "lora": {"rank": 4}}
    tree["train"]["micro_batch_size"] = 3
    tree["gone"] = {"for": "good"}
    del tree["data"], tree["optimizer"]["beta1"]
    config = recorded_config(tree)
    assert config.model.lora == LoraConfig(rank=4)
    assert (config.train.batch_size, config.data.few_shot, config.optimizer.beta1) == (16, 0, 0.9)
    with pytest.raises(UserError, match="model"):
        recorded_config({"model": 3, "task": "t"})


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
    with pytest.raises(UserError, match="'train' must be a mapping of keys to values, not 3"):
        resolved({"train": 3})
    with pytest.raises(UserError, match="needs 'seed' to be a mapping"):
        resolved({"seed": 1}, seed__deep=2)


def test_the_task_is_not_chosen_in_a_recipe():
    with pytest.raises(UserError, match="--task"):
        resolved({"task": "sudoku"})


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


LAUGHS = ", ".join(f"&a{level} [{', '.join([f'*a{level - 1}'] * 9) if level else 1}]" for level in range(9))


@pytest.mark.parametrize("value", [f"[{LAUGHS}]", "[" * 900, "9" * 5000], ids=["aliases", "depth", "digits"])
def test_a_value_that_unfolds_to_more_than_memory_holds_is_refused(value: str) -> None:
    with pytest.raises(UserError, match=r"the value of 'train\.batch_size' is not valid YAML"):
        parse_settings([f"train.batch_size={value}"])
