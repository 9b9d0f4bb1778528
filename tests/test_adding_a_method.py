"""A method, and a task, is one new file in a folder of one's own: it runs, and no file of the checkout changes."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import registry
from harness.cli.main import main
from harness.diagnose.estimators import all_candidates
from harness.diagnose.mdp import make_mdp
from harness.diagnose.measure import all_groups, measure
from harness.models.tiny import tiny_weights

CHECKOUT = Path(__file__).resolve().parents[1]
CODE_FOLDERS = ("harness", "baselines", "tasks", "docs", "tests", "bench")
CODE_FILES = ("pyproject.toml", "constraints.txt", "README.md", "Makefile")
WRITTEN_BY_PYTHON = ("__pycache__", ".hypothesis", ".pytest_cache")

METHOD = '''
"""REINFORCE over all unmasking steps, with the mean of the group as its baseline (Williams 1992)."""
from dataclasses import dataclass

import torch

from harness.diffusion.logprob import chosen_logprob
from harness.registry import method
from harness.rl.advantages import centre_in_group
from harness.rl.method import LossPart, Method, Prepared, UpdateBatch


@dataclass(frozen=True, kw_only=True)
class Step(LossPart):
    tokens_BL: torch.Tensor
    mask_BL: torch.Tensor | None
    ids_BC: torch.Tensor
    weight_BC: torch.Tensor


@method("reinforce", title="REINFORCE")
class Reinforce(Method):
    def prepare(self, scored, policy, score, draws):
        rollout, shard = scored.rollout, scored.shard
        reward_B1 = shard.gather(scored.rewards.total_B)[:, None]
        advantage_B1 = shard.mine(centre_in_group(reward_B1, scored.group_size)).float()
        parts = []
        for step_B in torch.arange(rollout.num_steps, device=policy.device)[:, None].expand(-1, rollout.num_rows):
            weight_BC = rollout.revealed_at(step_B) * advantage_B1 / scored.global_rows
            tokens_BL, mask_BL = rollout.state_at(step_B)
            ids_BC = rollout.completion_ids_BC
            parts.append(Step(tokens_BL=tokens_BL, mask_BL=mask_BL, ids_BC=ids_BC, weight_BC=weight_BC))
        return Prepared(updates=[UpdateBatch(parts=parts)], advantages=advantage_B1[:, 0])

    def loss(self, policy, part):
        logits_BCV = policy.completion_logits(part.tokens_BL, part.mask_BL, part.ids_BC.shape[1])
        return -(chosen_logprob(logits_BCV, part.ids_BC) * part.weight_BC).sum(), {}
'''

OPTIONS = """
from dataclasses import dataclass, field
from typing import ClassVar

from harness.errors import require_positive


@dataclass(frozen=True, kw_only=True)
class Options:
    weight: float = 1.0


@method("weighted")
@dataclass(frozen=True, kw_only=True)
class Weighted(Reinforce):
    Config: ClassVar[type] = Options
    config: Options = field(default_factory=Options)

    def check(self, decoding):
        require_positive("method", weight=self.config.weight)
"""

TASK = '''
"""Write a digit twice: 7 is answered with 77."""

from harness.registry import task
from harness.task.base import Example, Ratio, Score, Task


@task("twice")
class Twice(Task):
    """The reward is the share of the two characters that are right."""

    name = "twice"
    metrics = ("exact_match",)

    def examples(self, split, source):
        digits = {"train": "0123456789", "validation": "024", "test": "13579"}[split]
        return [Example(id=f"{split}-{digit}", question=digit, target={"answer": 2 * digit}) for digit in digits]

    def prompt(self, example):
        return [{"role": "user", "content": f"Write {example.question} twice."}]

    def compact_prompt(self, example):
        return f"{example.question}\\n"

    def score(self, examples, completions):
        return [self._score(example.target["answer"], text[:2]) for example, text in zip(examples, completions)]

    def _score(self, answer, text):
        share = sum(one == other for one, other in zip(answer, text)) / 2
        return Score(
            reward=share,
            correct=share == 1,
            parts={"correctness": share},
            metrics={"exact_match": Ratio(part=float(share == 1))},
            extracted=text,
        )
'''

RECIPE = """
rollout: {completion_length: 16, block_length: 16, num_steps: 4, temperature: 1.0}
train: {batch_size: 16, group_size: 4}
optimizer: {learning_rate: 1.0e-3, weight_decay: 0.0, max_gradient_norm: 1.0}
method: METHOD
budget: {updates: 2}
evaluation: {items: 4, decoding: {completion_length: 16, block_length: 16, num_steps: 4}}
"""


@pytest.fixture(autouse=True)
def registered_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Methods and tasks of the test are forgotten after it."""
    monkeypatch.setattr(registry, "_included", [])
    yield
    for module in [module for module in sys.modules if module.startswith("harness_leaf.own_")]:
        del sys.modules[module]
    for key in [key for key in registry._registered if key[0].startswith("harness_leaf.own_")]:
        del registry._registered[key]


def files_of_the_checkout() -> Mapping[str, str]:
    """Relative path to hash of every file that is code, text or weights."""
    paths = [CHECKOUT / name for name in CODE_FILES]
    paths += [path for folder in CODE_FOLDERS for path in (CHECKOUT / folder).rglob("*") if path.is_file()]
    return {
        str(path.relative_to(CHECKOUT)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if not set(path.parts).intersection(WRITTEN_BY_PYTHON)
    }


def run(folder: Path, recipe: str, *arguments: str) -> dict[str, Any]:
    """Runs harness with the files of `folder` and gives the records of the run."""
    (folder / "recipe.yaml").write_text(RECIPE.replace("METHOD", recipe))
    options = ("--include-path", str(folder), "--recipe", str(folder / "recipe.yaml"))
    assert main(["run", *arguments, *options, "--runs", str(folder / "runs"), "--data", "builtin"]) == 0
    (metrics,) = (folder / "runs").rglob("metrics.jsonl")
    return {
        name: [json.loads(line) for line in (metrics.parent / f"{name}.jsonl").read_text().splitlines()]
        for name in ("metrics", "eval")
    } | {"folder": metrics.parent.relative_to(folder / "runs")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "own"
    place.mkdir()
    return place


def test_a_method_takes_at_most_forty_lines() -> None:
    assert len(METHOD.strip().splitlines()) <= 40


def test_a_method_is_one_new_file_and_touches_no_other(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files_of_the_checkout()
    assert {"baselines/egspo.py", "harness/registry.py", "tests/test_adding_a_method.py"} <= before.keys()
    (folder / "reinforce.py").write_text(METHOD)
    records = run(folder, "{}", "--method", "reinforce", "--task", "sudoku", "--model", "tiny")
    assert records["folder"].parts[:3] == ("sudoku", "reinforce", "tiny")
    assert [line["update"] for line in records["metrics"]] == [1, 2]
    assert all(line["gradient_norm"] > 0 for line in records["metrics"])
    assert [line["terms"] for line in records["metrics"]] == [None, None]
    assert [line["checkpoint"] for line in records["eval"]] == ["base", "last"]
    assert files_of_the_checkout() == before


def test_a_method_that_counts_nothing_has_a_right_account(folder: Path) -> None:
    """Four states of 16 rows each per update, forward and backward, besides the rollout's own four passes."""
    (folder / "reinforce.py").write_text(METHOD)
    first, second = run(folder, "{}", "--method", "reinforce", "--task", "sudoku")["metrics"]
    assert (first["forwards"], second["forwards"]) == (16 * 4 * 2, 16 * 4 * 4)
    assert second["flops_update"] == 2 * first["flops_update"]
    assert first["flops_backward"] == 2 * (first["flops_update"] - first["flops_backward"])
    assert first["flops_total"] == first["flops_rollout"] + first["flops_update"]


def test_a_method_is_diagnosed_by_its_one_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """REINFORCE over all steps is the policy gradient itself, up to the scale that its file does not state."""
    (folder / "reinforce.py").write_text(METHOD)
    registry.add_include_path(folder)
    mdp = make_mdp(3, scale=1.5)
    (candidate,) = (item for item in all_candidates() if item.name == "reinforce")
    found = measure(mdp, all_groups(mdp), candidate, seed=0)
    assert found.bias < 1e-6
    assert found.forwards == 3
    assert "fitted scale" in found.options


def test_a_task_is_one_new_file_and_touches_no_other(folder: Path) -> None:
    before = files_of_the_checkout()
    (folder / "twice.py").write_text(TASK)
    names = ("--method", "egspo-sa", "--task", "twice", "--set", f"model.name={tiny_weights('sudoku')}")
    records = run(folder, "{num_selected: 2, slots_per_update: 2, beta: 0.0}", *names)
    assert records["folder"].parts[:3] == ("twice", "egspo-sa", "tiny-sudoku")
    assert [line["update"] for line in records["metrics"]] == [1, 2]
    assert [line["checkpoint"] for line in records["eval"]] == ["base", "last"]
    assert records["eval"][0]["metrics"]["exact_match"]["n"] == 4
    assert files_of_the_checkout() == before


def test_an_option_that_the_method_refuses_is_refused_in_its_own_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "reinforce.py").write_text(METHOD + OPTIONS)
    (folder / "recipe.yaml").write_text(RECIPE.replace("METHOD", "{weight: 0.0}"))
    options = ["--include-path", str(folder), "--recipe", str(folder / "recipe.yaml"), "--runs", str(folder / "runs")]
    assert main(["run", "--method", "weighted", "--task", "sudoku", *options]) == 2
    assert "method.weight=0.0 must be above 0." in capsys.readouterr().err
    assert not (folder / "runs").exists()
