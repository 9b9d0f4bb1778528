"""The tiny recipes of Countdown, GSM8K and MATH-500: legal, with the same rollouts for all methods; one run."""

import dataclasses
import json

import pytest

from harness import registry
from harness.cli.main import main
from harness.config.recipes import load_recipe
from harness.config.resolve import resolve

METHODS = registry.names("method")
LENGTHS = {"countdown": 8, "gsm8k": 12, "math500": 12}
REWARDS = {"countdown": "task", "gsm8k": "correctness", "math500": "correctness"}


def resolved(name, task):
    cls = registry.get_method(name)
    layers = load_recipe("tiny", method=name, task=task)
    config = resolve(
        method=name, method_config=cls.Config, task=task, recipe="tiny", layers=layers, overrides={}
    ).config
    cls(config=cls.Config(**config.method.options)).check(config.rollout)
    return config


@pytest.mark.parametrize("task", LENGTHS)
@pytest.mark.parametrize("name", METHODS)
def test_every_tiny_recipe_is_legal_and_all_methods_have_the_same_rollouts(name, task):
    config, first = resolved(name, task), resolved("egspo-sa", task)
    assert config.model.name == "tiny"
    assert config.reward == REWARDS[task]
    assert config.rollout.completion_length == config.evaluation.decoding.completion_length == LENGTHS[task]
    assert config.evaluation.items == 256
    assert config.evaluation.decoding.temperature == 0
    assert 1536 <= config.budget.samples <= 3072
    expected = first.rollout
    if name == "justgrpo":  # from left to right
        expected = dataclasses.replace(expected, block_length=1, num_steps=expected.completion_length)
    assert (config.rollout, config.budget, config.train) == (expected, first.budget, first.train)
    assert config.evaluation.decoding == first.evaluation.decoding


def test_two_updates_from_the_shipped_base_are_recorded(tmp_path):
    task = "countdown"
    command = ["run", "--method", "egspo-sa", "--task", task, "--runs", str(tmp_path), "--budget", "updates=2"]
    for setting in ("train.batch_size=16", "evaluation.items=16", "evaluation.every=0"):
        command += ["--set", setting]
    assert main(command) == 0
    (folder,) = tmp_path.glob(f"{task}/egspo-sa/tiny/*-seed0")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [1, 2]
    evaluations = [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]
    assert [evaluation["checkpoint"] for evaluation in evaluations] == ["base", "last"]
    assert evaluations[0]["metrics"]["accuracy"]["n"] == 16
    data = json.loads((folder / "environment.json").read_text())["data"]
    assert data["leakage"] == {"exact": 0, "normalised": 0, "structural": 0}
    assert (data["train"]["items"], data["test"]["items"]) == (4096, 16)
