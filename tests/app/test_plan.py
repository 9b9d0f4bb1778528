"""From a request to a plan: what a run is made of when little is said."""

from pathlib import Path

import pytest

from harness import registry
from harness.app.plan import RunRequest, plan
from harness.config.tree import BudgetConfig
from harness.errors import UserError
from harness.models.tiny import fresh_tiny, save_tiny

METHOD = """
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.registry import method


@dataclass(frozen=True, kw_only=True)
class Config:
    weight: float = 2.0


@method("mine")
@dataclass(frozen=True, kw_only=True)
class Mine:
    Config: ClassVar[type] = Config
    config: Any = field(default_factory=Config)
    updates_per_step: ClassVar[int] = 1

    def check(self, decoding):
        pass

    def check_record(self, decoding):
        pass

    def check_learning(self, config):
        pass
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A method of the user's own, found; and the folder of its file."""
    monkeypatch.setattr(registry, "_included", [])
    (tmp_path / "mine.py").write_text(METHOD)
    registry.add_include_path(tmp_path)
    return tmp_path


def test_a_method_without_recipes_runs_by_the_protocol_with_its_own_defaults(mine):
    planned = plan(RunRequest(method="mine", task="sudoku", runs=mine / "runs"))
    config = planned.resolved.config
    assert config.method.options == {"weight": 2.0}
    assert (config.budget, config.rollout.num_steps) == (BudgetConfig(samples=1536), 4)
    assert planned.resolved.provenance["method.weight"] == "default"
    assert planned.resolved.provenance["budget.samples"] == "protocol"
    assert planned.identity.recipe == "tiny"


def test_a_large_model_has_the_paper_protocol_and_needs_a_budget(mine, tmp_path):
    model = tmp_path / "llada"
    model.mkdir()
    request = {"method": "mine", "task": "gsm8k", "model": str(model), "data": "builtin", "runs": mine / "runs"}
    with pytest.raises(UserError, match="The run has no budget; give --budget"):
        plan(RunRequest(**request))
    planned = plan(RunRequest(**request, overrides={"budget": {"updates": 3}}))
    config = planned.resolved.config
    assert (planned.identity.recipe, config.model.name, config.model.dtype) == ("paper", str(model), "bfloat16")
    assert (config.evaluation.items, config.evaluation.decoding.completion_length) == (1319, 256)


def test_a_file_of_one_s_own_extends_a_built_in_recipe(mine):
    own = mine / "own.yaml"
    own.write_text("extends: egspo-sa/sudoku:paper\nmodel: {name: tiny}\nexecution: {micro_batch_size: 2}\n")
    request = RunRequest(method="egspo-sa", task="sudoku", recipe=str(own), runs=mine / "runs")
    resolved = plan(request).resolved
    assert (resolved.config.optimizer.learning_rate, resolved.config.model.name) == (3e-5, "tiny")
    assert (resolved.execution.micro_batch_size, resolved.execution.checkpoint_every) == (2, 50)
    assert resolved.provenance["evaluation.items"] == "protocol"
    assert resolved.provenance["execution.checkpoint_every"] == "recipe"
    assert resolved.recipe == str(own)


def test_a_folder_that_fine_tuning_wrote_is_run_like_the_shipped_tiny_model(tmp_path):
    (tmp_path / "own").mkdir()
    save_tiny(fresh_tiny(0), tmp_path / "own")
    own = plan(RunRequest(method="egspo-sa", task="sudoku", model=str(tmp_path / "own"), runs=tmp_path))
    shipped = plan(RunRequest(method="egspo-sa", task="sudoku", runs=tmp_path))
    assert (own.resolved.recipe, own.test_source) == (shipped.resolved.recipe, shipped.test_source)
    assert own.task.options == shipped.task.options
    assert own.task.options.bare_answers


def test_a_folder_with_a_small_model_is_run_by_its_own_recipe_and_without_bare_answers(tmp_path):
    (tmp_path / "config.json").write_text('{"prompts": "compact"}')
    own = plan(RunRequest(method="egspo-sa", task="sudoku", model=str(tmp_path), runs=tmp_path / "runs"))
    assert (own.resolved.recipe, own.test_source.label) == ("small", "builtin")
    assert own.resolved.config.model.name == str(tmp_path)
    assert not own.task.options.bare_answers
