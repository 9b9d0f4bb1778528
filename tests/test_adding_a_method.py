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
from harness.models.tiny import tiny_weights

CHECKOUT = Path(__file__).resolve().parents[1]
CODE_FOLDERS = ("harness", "baselines", "tasks", "docs", "tests", "bench")
CODE_FILES = ("pyproject.toml", "constraints.txt", "README.md", "Makefile")
WRITTEN_BY_PYTHON = ("__pycache__", ".hypothesis", ".pytest_cache")

METHOD = '''
"""REINFORCE over all denoising steps, without ratio, clipping or KL term (Williams 1992)."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from harness.models import flops
from harness.errors import UserError
from harness.registry import method
from harness.rl.advantages import centre_in_group
from harness.diffusion.logprob import chosen_logprob
from harness.rl.method import LossOutput, LossPart, Method, Prepared, UpdateBatch


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """weight: of the whole loss."""

    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Step(LossPart):
    """One denoising step of every row."""

    tokens_BL: Tensor
    mask_BL: Tensor | None
    target_BC: Tensor
    is_revealed_BC: Tensor
    advantage_B: Tensor
    normaliser: float


@method("reinforce")
@dataclass(frozen=True, kw_only=True)
class Reinforce(Method):
    """REINFORCE with the mean of the group as its baseline."""

    Config: ClassVar[type] = ReinforceConfig
    config: ReinforceConfig = field(default_factory=ReinforceConfig)

    def check(self, decoding):
        if self.config.weight <= 0:
            raise UserError(f"method.weight={self.config.weight} must be above 0.")

    def updates_per_rollout(self):
        return 1

    def prepare(self, scored, policy, score, generator):
        rollout, shard = scored.rollout, scored.shard
        reward_B = shard.gather(scored.rewards.total_B)
        advantage_B = shard.mine(centre_in_group(reward_B[:, None], scored.group_size)[:, 0])
        parts = [self._step(scored, rollout.num_steps_B * 0 + step, advantage_B) for step in range(rollout.num_steps)]
        return Prepared(updates=[UpdateBatch(parts=parts)], advantages=advantage_B)

    def _step(self, scored, step_B, advantage_B):
        tokens_BL, mask_BL = scored.rollout.state_at(step_B)
        return Step(
            tokens_BL=tokens_BL,
            mask_BL=mask_BL,
            target_BC=scored.rollout.completion_ids_BC,
            is_revealed_BC=scored.rollout.revealed_at(step_B),
            advantage_B=advantage_B.float(),
            normaliser=scored.global_rows,
        )

    def loss(self, policy, part):
        rows, length = part.tokens_BL.shape
        positions = part.target_BC.shape[1]
        place_BC = torch.arange(length - positions, length, device=policy.device).expand_as(part.target_BC)
        logprob_BC = chosen_logprob(policy.logits(part.tokens_BL, part.mask_BL, place_BC), part.target_BC)
        step_B = torch.where(part.is_revealed_BC, logprob_BC, 0.0).sum(1)
        inactive_B = torch.zeros_like(step_B, dtype=torch.bool)
        return LossOutput(
            loss=-self.config.weight * (part.advantage_B * step_B).sum() / part.normaliser,
            ratio_N=torch.ones_like(step_B.detach()),
            kl_N=torch.zeros_like(step_B.detach()),
            clipped_low_N=inactive_B,
            clipped_high_N=inactive_B,
            forwards=rows,
            flops=flops.update(
                policy.shape, rows=rows, length=length, head_positions=rows * positions, reference=False
            ),
        )
'''

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


def test_a_method_is_one_new_file_and_touches_no_other(folder: Path) -> None:
    before = files_of_the_checkout()
    assert {"baselines/egspo.py", "harness/registry.py", "tests/test_adding_a_method.py"} <= before.keys()
    (folder / "reinforce.py").write_text(METHOD)
    records = run(folder, "{weight: 2.0}", "--method", "reinforce", "--task", "sudoku", "--model", "tiny")
    assert records["folder"].parts[:3] == ("sudoku", "reinforce", "tiny")
    assert [line["update"] for line in records["metrics"]] == [1, 2]
    assert all(line["gradient_norm"] > 0 for line in records["metrics"])
    assert records["metrics"][1]["forwards"] > records["metrics"][0]["forwards"]
    assert [line["checkpoint"] for line in records["eval"]] == ["base", "last"]
    assert files_of_the_checkout() == before


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
    (folder / "reinforce.py").write_text(METHOD)
    (folder / "recipe.yaml").write_text(RECIPE.replace("METHOD", "{weight: 0.0}"))
    options = ["--include-path", str(folder), "--recipe", str(folder / "recipe.yaml"), "--runs", str(folder / "runs")]
    assert main(["run", "--method", "reinforce", "--task", "sudoku", *options]) == 2
    assert "method.weight=0.0 must be above 0." in capsys.readouterr().err
    assert not (folder / "runs").exists()
