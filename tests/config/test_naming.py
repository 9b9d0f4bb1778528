"""What names a run's folder: frozen values, neither seed nor execution, and the names of earlier versions."""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from harness import registry
from harness.app.plan import RunRequest, plan
from harness.config import frozen
from harness.config.legacy import legacy_hash
from harness.config.naming import config_hash
from harness.config.resolve import flatten, recorded_config
from harness.config.tree import (
    BudgetConfig,
    DataConfig,
    Execution,
    MethodConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
)
from harness.records.description import RunDescription

# Runs of the first version, under the names that it gave: settings, state and evaluations.
OLD_RUNS = Path(__file__).resolve().parents[1] / "old_runs"
OLD_RATES = {"sudoku": 3e-4, "countdown": 2e-4}
RUN = RunConfig(method=MethodConfig(name="mine", options={"weight": 1.0}), task="sudoku")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "2da5a08b"),
        ({"seed": 7}, "2da5a08b"),
        ({"budget": BudgetConfig(updates=8)}, "2da5a08b"),
        ({"reward": "random"}, "6cae95cb"),
        ({"task": "gsm8k"}, "710581b3"),
        ({"method": MethodConfig(name="mine", options={"weight": 2.0})}, "bc928c25"),
        ({"data": DataConfig(few_shot=1)}, "068383ba"),
        ({"data": DataConfig(allow_packages=("numpy",))}, "3439cd11"),
        ({"model": ModelConfig(dtype="bfloat16")}, "e868c180"),
        ({"optimizer": OptimizerConfig(schedule="cosine")}, "63b5bd3d"),
        ({"optimizer": OptimizerConfig(schedule="cosine"), "budget": BudgetConfig(updates=8)}, "af22f774"),
    ],
)
def test_the_hash_of_a_configuration_never_changes(changes, name):
    assert config_hash(dataclasses.replace(RUN, **changes)) == name


def test_the_hash_is_of_the_values_that_differ_from_the_frozen_ones():
    text = '{"method.name": "mine", "method.weight": 1.0, "reward": "random", "task": "sudoku"}'
    assert config_hash(dataclasses.replace(RUN, reward="random")) == hashlib.sha256(text.encode()).hexdigest()[:8]


@pytest.mark.parametrize(
    ("method", "task", "recipe", "name"),
    [
        ("egspo-sa", "sudoku", "tiny", "efc1bdbd"),
        ("egspo", "sudoku", "tiny", "3d560de1"),
        ("d1", "sudoku", "paper", "06c67fe7"),
        ("agrpo", "gsm8k", "paper", "eeb8978a"),
        ("espo", "mbpp", "paper", "a1ef8e5b"),
    ],
)
def test_the_hash_of_a_recipe_never_changes(tmp_path, method, task, recipe, name):
    request = RunRequest(method=method, task=task, recipe=recipe, data="builtin", runs=tmp_path)
    assert plan(request).identity.config_hash == name


def test_a_setting_added_with_its_default_renames_no_run(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Younger(RunConfig):
        cache: str = "none"

    monkeypatch.setattr(frozen, "VALUES", {**frozen.VALUES, "cache": "none"})
    values = {field.name: getattr(RUN, field.name) for field in dataclasses.fields(RUN)}
    assert config_hash(Younger(**values)) == config_hash(RUN)
    assert config_hash(Younger(**values, cache="dual")) != config_hash(RUN)


def test_a_default_that_changes_leaves_old_runs_their_names_and_gives_new_ones_their_own():
    @dataclass(frozen=True, kw_only=True)
    class Changed(RunConfig):
        reward: str = "official"

    values = {"method": RUN.method, "task": RUN.task}
    assert config_hash(Changed(**values, reward="task")) == config_hash(RUN)
    assert config_hash(Changed(**values)) == config_hash(dataclasses.replace(RUN, reward="official"))
    assert config_hash(Changed(**values)) != config_hash(RUN)


def test_every_setting_has_a_frozen_value():
    settings = set(flatten(RUN.to_dict())) - {"method.name", "method.weight", "task", "seed"}
    assert settings == set(frozen.VALUES)
    for name in registry.names("method"):
        options = {field.name for field in dataclasses.fields(registry.get_method(name).Config)}
        assert options <= set(frozen.OPTIONS[name]), f"add the new options of {name} to harness/config/frozen.py"


def recorded(folder):
    description = RunDescription.from_record(yaml.safe_load((folder / "config.yaml").read_text()))
    return recorded_config(description.config), Execution(**description.execution)


@pytest.mark.parametrize("folder", sorted(OLD_RUNS.glob("*/*/*/*-seed0")), ids=lambda folder: folder.name)
def test_the_earlier_hash_is_the_name_of_the_old_runs(folder):
    assert f"{legacy_hash(*recorded(folder))}-seed0" == folder.name


def test_the_earlier_hash_covered_micro_batches_and_the_budget_and_not_the_device():
    config, execution = recorded(next(OLD_RUNS.glob("sudoku/espo/tiny/fb3037ce-seed0")))
    longer = dataclasses.replace(config, budget=BudgetConfig(updates=8))
    assert legacy_hash(config, dataclasses.replace(execution, device="cpu")) == "fb3037ce"
    assert legacy_hash(longer, execution) != "fb3037ce"
    assert legacy_hash(config, dataclasses.replace(execution, micro_batch_size=4)) != "fb3037ce"
    assert legacy_hash(dataclasses.replace(config, data=DataConfig(few_shot=2)), execution) != "fb3037ce"


@pytest.mark.parametrize("method", ["agrpo", "d1", "egspo", "egspo-sa", "espo"])
@pytest.mark.parametrize("task", ["sudoku", "countdown"])
def test_old_runs_are_found_finished_under_their_old_names(method, task):
    rate = {"optimizer.learning_rate": OLD_RATES[task]}
    planned = plan(RunRequest(method=method, task=task, seed=0, runs=OLD_RUNS, overrides=rate))
    assert planned.finished
    assert planned.folder.is_dir()
    assert planned.identity.config_hash in planned.folder.name


def test_a_further_seed_stands_beside_those_under_the_old_name_and_another_configuration_does_not():
    rate = {"optimizer.learning_rate": OLD_RATES["sudoku"]}
    further = plan(RunRequest(method="espo", task="sudoku", seed=3, runs=OLD_RUNS, overrides=rate))
    assert further.folder.name == "fb3037ce-seed3"
    assert not further.finished
    changed = {**rate, "method.beta": 0.5}
    other = plan(RunRequest(method="espo", task="sudoku", seed=0, runs=OLD_RUNS, overrides=changed))
    assert "fb3037ce" not in other.folder.name
