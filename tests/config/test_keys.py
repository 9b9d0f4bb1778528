"""All configuration keys: what their docstrings and checks say about them, and that nothing is left unsaid."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

from harness import registry
from harness.config.keys import all_sections, common_sections, find_keys, method_section, shown
from harness.config.meanings import first_sentence, meanings, summary
from harness.config.naming import config_hash
from harness.config.tree import BudgetConfig, MethodConfig, RunConfig
from harness.errors import UserError

FREE_TEXTS = {
    "model.name",
    "model.adapter",
    "model.adapter_subfolder",
    "data.test",
    "data.train",
    "data.prompts",
    "execution.device",
    "execution.keep",
}
"""What is no choice among a few names."""
CHOICES = {"kind": ("soft", "hard")}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a method: ours. And a second sentence.

    size: samples per row. At least 1. low, high: between which
    they lie; kind: how; where not stated: nothing.

    unknown: is no field, so this belongs to nothing.
    """

    size: int = 1
    low: float = 0.0
    high: float = 1.0
    kind: str = "soft"
    silent: bool = True


@dataclass(frozen=True, kw_only=True)
class MoreOptions(Options):
    """kind: of another class. silent: said here alone."""

    kind: str = "hard"


@dataclass(frozen=True, kw_only=True)
class Undocumented:
    size: int = 1


@pytest.fixture(scope="module")
def keys():
    return [key for section in all_sections() for key in section.keys]


def test_a_label_begins_a_sentence_and_its_text_goes_on_to_the_next_or_to_the_end_of_the_paragraph():
    assert meanings(Options) == {
        "size": "samples per row. At least 1.",
        "low": "between which they lie.",
        "high": "between which they lie.",
        "kind": "how; where not stated: nothing.",
    }
    assert summary(Options) == "Options of a method: ours. And a second sentence."
    assert first_sentence("samples per row. At least 1.") == "samples per row."


def test_a_class_has_the_meanings_of_what_it_is_made_from_and_its_own_replace_them():
    assert meanings(MoreOptions) == meanings(Options) | {"kind": "of another class.", "silent": "said here alone."}
    assert summary(MoreOptions) == ""


def test_a_class_without_a_docstring_says_nothing():
    assert (meanings(Undocumented), summary(Undocumented)) == ({}, "")


def test_every_key_has_a_meaning(keys):
    assert len(keys) > 180
    assert [(key.method, key.name) for key in keys if len(key.meaning) < 8] == []


def test_every_text_is_free_or_has_choices_and_its_default_is_one_of_them(keys):
    texts = [key for key in keys if key.type == "text"]
    assert {key.name for key in texts if not key.choices} == FREE_TEXTS
    assert [key.name for key in texts if key.choices and key.default not in key.choices] == []
    assert [key.name for key in keys if key.choices and key.type != "text"] == []


def test_every_choice_is_taken_and_no_other_value_is():
    run = RunConfig(method=MethodConfig(name="espo"), task="sudoku", budget=BudgetConfig(updates=1))
    for section in common_sections():
        for key in section.keys:
            for value in key.choices if section.name in ("rollout", "optimizer", "conventions") else ():
                if value not in ("dream", "p2"):  # they ask for other values beside them
                    changed(run, key.name, value).check()
            if key.choices and section.name != "execution":
                with pytest.raises(UserError, match=f"Unknown {key.name} 'nonsense'"):
                    changed(run, key.name, "nonsense").check()


def changed(config: Any, name: str, value: Any) -> Any:
    """The configuration with one dotted key changed."""
    first, _, rest = name.partition(".")
    return dataclasses.replace(config, **{first: changed(getattr(config, first), rest, value) if rest else value})


def other(value: Any) -> Any:
    return {int: 7, float: 0.625, bool: not value, str: "x", tuple: ("x",)}[type(value)]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_what_is_said_to_count_in_the_name_of_a_run_does(schedule):
    run = changed(RunConfig(method=MethodConfig(name="mine"), task="sudoku"), "optimizer.schedule", schedule)
    counts = {"yes": True, "beside the hash": False, "under a schedule": schedule == "cosine"}
    for section in common_sections():
        for key in section.keys if section.name != "execution" else ():
            renamed = config_hash(changed(run, key.name, other(key.default))) != config_hash(run)
            assert renamed == counts[key.counts], key.name
    assert {key.counts for section in common_sections() for key in section.keys if section.name == "execution"} == {
        "no"
    }


def test_a_key_is_found_by_its_name_its_section_its_last_part_or_its_method():
    (rate,) = find_keys("optimizer.learning_rate")
    assert (rate.type, rate.default, rate.choices, rate.counts) == ("number", 3e-4, (), "yes")
    assert rate.meaning == "the highest of the run."
    assert [key.name for key in find_keys("train")] == [
        "train.batch_size",
        "train.group_size",
        "train.max_prompt_length",
    ]
    lengths = [(key.name, key.method) for key in find_keys("block_length")]
    assert lengths == [
        ("rollout.block_length", ""),
        ("evaluation.decoding.block_length", ""),
        ("method.block_length", "spg"),
    ]
    assert find_keys("diffu-grpo")[0].name == "method.inner_updates"
    assert {key.method for key in find_keys("method.selection")} == {"egspo", "egspo-sa"}
    assert find_keys("nonsense") == ()


def test_a_method_that_inherits_options_has_defaults_of_its_own():
    defaults = {name: find_keys(name) for name in ("egspo", "egspo-sa")}
    weights = [key.default for keys in defaults.values() for key in keys if key.name == "method.stepwise_lambda"]
    assert weights == [0.0, 0.5]


def test_choices_of_a_method_are_those_of_its_file():
    (importance,) = (key for key in method_section("agrpo").keys if key.name == "method.importance")
    assert importance.choices == ("uniform", "entropy")
    assert importance.takes == "uniform, entropy"


def test_values_are_shown_as_a_recipe_has_them():
    values = ("", "a b", True, 3e-4, (), (1, 2))
    assert [shown(value) for value in values] == ["''", "a b", "true", "0.0003", "[]", "[1, 2]"]


def test_an_option_without_a_default_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_included", [])
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom harness.registry import method\n\n"
        "@dataclass(frozen=True)\nclass Options:\n    size: int\n\n"
        '@method("mine")\nclass Mine:\n    Config = Options\n'
    )
    registry.add_include_path(tmp_path)
    with pytest.raises(UserError, match="The options of method 'mine' need defaults, and size of its Config have none"):
        method_section("mine")
