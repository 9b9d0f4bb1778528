"""The built-in recipes: legal, alike where methods are compared, and true to the published settings."""

import pytest

from harness import registry
from harness.config import load_recipe, resolve

TASK = "sudoku"
METHODS = ["egspo", "egspo-sa", "d1", "agrpo", "espo"]


def resolved(name, recipe):
    cls = registry.get_method(name)
    tree = load_recipe(recipe, method=name, task=TASK, folder=registry.recipes_folder())
    config = resolve(
        method=name, method_config=cls.Config, task=TASK, recipe=recipe, recipe_tree=tree, overrides={}
    ).config
    cls(config=cls.Config(**config.method.options)).check(config.rollout)
    return config


def test_every_method_has_recipes():
    assert sorted(METHODS) == registry.names("method")


@pytest.mark.parametrize("name", METHODS)
def test_tiny_runs_of_all_methods_start_alike_and_have_the_same_rollouts(name):
    config, first = resolved(name, "tiny"), resolved("egspo-sa", "tiny")
    assert config.rollout == first.rollout
    assert config.budget == first.budget
    assert config.budget.samples == 1536
    assert (config.train.batch_size, config.train.group_size) == (64, 8)
    assert config.evaluation.decoding == first.evaluation.decoding
    assert config.method.options["beta"] == 0


@pytest.mark.parametrize("name", METHODS)
def test_tiny_runs_are_evaluated_every_fourth_rollout(name):
    config = resolved(name, "tiny")
    cls = registry.get_method(name)
    updates = cls(config=cls.Config(**config.method.options)).updates_per_rollout()
    assert config.evaluation.every == 4 * updates


@pytest.mark.parametrize(
    ("name", "rate", "group_size", "clip", "rank"),
    [
        ("egspo", 3e-5, 8, 0.2, 128),
        ("egspo-sa", 3e-5, 8, 0.2, 128),
        ("d1", 3e-6, 6, 0.5, 128),
        ("espo", 3e-6, 6, 0.2, 128),
        pytest.param("agrpo", 5e-6, 8, 0.2, 64),
    ],
)
def test_paper_recipes_hold_the_published_settings(name, rate, group_size, clip, rank):
    config = resolved(name, "paper")
    options = config.method.options
    assert config.optimizer.learning_rate == rate
    assert config.train.group_size == group_size
    assert options.get("clip_low", options.get("clip")) == clip
    assert config.model.lora.rank == rank
    assert config.model.lora.targets == ("all" if name == "agrpo" else "official-subset")
    assert config.evaluation.decoding.num_steps * 2 == config.evaluation.decoding.completion_length


def test_published_options_of_single_methods():
    assert resolved("d1", "paper").method.options["inner_updates"] == 8
    assert resolved("espo", "paper").method.options["beta"] == 0.01
    stepwise = resolved("egspo-sa", "paper").method.options
    assert (stepwise["stepwise_lambda"], stepwise["num_selected"], stepwise["slots_per_update"]) == (0.5, 8, 2)
    assert resolved("egspo", "paper").method.options["stepwise_lambda"] == 0


def test_agrpo_s_rollouts_are_tempered_and_truncated():
    rollout = resolved("agrpo", "paper").rollout
    assert (rollout.temperature, rollout.top_k, rollout.top_p) == (0.6, 150, 0.99)
    assert (rollout.completion_length, rollout.block_length, rollout.num_steps) == (384, 12, 128)
