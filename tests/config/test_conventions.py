"""What published code does otherwise: refused where it does not fit, and part of a run's name only where used."""

import pytest

from harness.config.conventions import CHOICES, Conventions
from harness.config.legacy import legacy_hash
from harness.config.naming import config_hash
from harness.config.recipes import load_recipe
from harness.config.resolve import resolve
from harness.config.tree import Execution
from harness.errors import UserError
from harness.registry import get_method


def resolved(method="agrpo", recipe="tiny", **overrides):
    return resolve(
        method=method,
        method_config=get_method(method).Config,
        task="sudoku",
        recipe=recipe,
        layers=load_recipe(recipe, method=method, task="sudoku"),
        overrides={key.replace("__", "."): value for key, value in overrides.items()},
    )


@pytest.mark.parametrize("name", CHOICES)
def test_an_unknown_convention_is_refused_with_the_choices(name):
    with pytest.raises(UserError, match=f"conventions.{name} 'both'.*Choices"):
        resolved(**{f"conventions__{name}": "both"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"accumulated_batches": 2}, "needs conventions.micro_batch_rows"),
        ({"micro_batch_rows": 24}, "micro_batch_rows is 24, which does not divide train.batch_size=64"),
        ({"micro_batch_rows": 32, "accumulated_batches": 4}, "accumulated_batches is 128, which does not divide"),
        ({"attended_padding": 7}, "attended_padding is 7, which does not divide"),
        ({"attended_padding": -8}, "attended_padding is -8"),
        ({"prompt_stride": 0}, r"conventions.prompt_stride=0 must be above 0"),
        ({"accumulated_batches": 0}, r"conventions.accumulated_batches=0 must be above 0"),
    ],
)
def test_rows_that_do_not_divide_a_rollout_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        Conventions(**values).check(64)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"schedule": "cosine", "min_lr_rate": 1.0}, "min_lr_rate=1.0 is not from 0 to below 1"),
        ({"schedule": "linear", "min_lr_rate": -0.1}, "min_lr_rate=-0.1 is not from 0 to below 1"),
        ({"min_lr_rate": 0.1}, "is where a schedule ends, and optimizer.schedule=constant has no end"),
    ],
)
def test_a_lowest_rate_that_is_no_share_or_is_never_reached_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        resolved(**{f"optimizer__{name}": value for name, value in values.items()})


def test_fitting_rows_are_accepted():
    Conventions(micro_batch_rows=16, accumulated_batches=4, attended_padding=32, prompt_stride=8).check(64)


def test_a_convention_counts_in_the_name_of_a_run_once_it_is_another_than_ours():
    ours, theirs = resolved().config, resolved(conventions__warmup_start="zero").config
    assert config_hash(ours) == config_hash(resolved(conventions__warmup_start="first").config)
    assert config_hash(theirs) != config_hash(ours)
    assert legacy_hash(theirs, Execution()) != legacy_hash(ours, Execution())


def test_names_of_before_there_were_conventions_still_hold():
    found = {name: resolved(name, optimizer__learning_rate=3e-4).config for name in ("agrpo", "d1", "egspo-sa")}
    assert [config_hash(config) for config in found.values()] == ["07bd95ac", "61a986a5", "d692d357"]
    assert [legacy_hash(config, Execution()) for config in found.values()] == ["f99e0cbe", "1223f467", "dd997c60"]


WARMUP = {"warmup_start": "zero", "reward_text": "all", "end_tokens": "text"}


@pytest.mark.parametrize(
    ("method", "stated"),
    [
        ("egspo", {**WARMUP, "dropout_in_rollouts": True, "attended_padding": 6, "prompt_stride": 8}),
        ("egspo-sa", {**WARMUP, "dropout_in_rollouts": True, "attended_padding": 6, "prompt_stride": 8}),
        ("d1", {**WARMUP, "dropout_in_rollouts": True, "micro_batch_rows": 6, "accumulated_batches": 2}),
        ("espo", {**WARMUP, "dropout_in_rollouts": True, "attended_padding": 12, "micro_batch_rows": 3}),
        ("gdsd", {**WARMUP, "dropout_in_rollouts": True, "attended_padding": 40, "micro_batch_rows": 10}),
        ("dmpo", {**WARMUP, "dropout_in_rollouts": True, "micro_batch_rows": 8}),
        ("spg", {**WARMUP, "dropout_in_rollouts": True, "micro_batch_rows": 3}),
        ("wd1", {**WARMUP, "dropout_in_rollouts": True, "micro_batch_rows": 6}),
        ("agrpo", {**WARMUP, "decay_from": "warmup", "micro_batch_rows": 8, "accumulated_batches": 2}),
    ],
)
def test_paper_recipes_have_the_conventions_of_the_published_code_and_tiny_ones_ours(method, stated):
    assert resolved(method, "paper").config.conventions == Conventions(**stated)
    assert resolved(method, "tiny").config.conventions == Conventions()
    sources = resolved(method, "paper").provenance
    assert {key for key, source in sources.items() if key.startswith("conventions.") and source == "recipe"} == {
        f"conventions.{name}" for name in stated
    }
