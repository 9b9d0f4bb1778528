"""The graders as a metric of `evaluate`, loaded by path and without network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.scoring.sandbox.client import missing

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
import evaluate
import harness.evaluation.metric

def compute(task, predictions, references, options={}):
    metric = evaluate.load(harness.evaluation.metric.__file__, task)
    return metric.compute(predictions=predictions, references=references, **options)

print(json.dumps({name: compute(*request) for name, request in json.loads(sys.argv[1]).items()}))
"""
PROBLEM = json.dumps({"problem": "p", "solution": "so $\\boxed{\\frac12}$", "answer": "\\frac12"})
NUMBERS = json.dumps({"input": "3,4,5", "output": "17"})
SUDOKU = json.dumps({"Puzzle": "2030012002100002", "Solution": "2431312442131342"})
MBPP = {"task_id": 11, "prompt": "Double.", "code": "def f(x): pass", "test_list": ["assert f(2) == 4"]}
HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def f(x):\n    """Double."""\n',
    "entry_point": "f",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}
PROGRAMS = [f"<answer>\n```python\ndef f(x):\n    return x * {factor}\n```\n</answer>" for factor in (2, 3)]
REQUESTS: dict[str, list[Any]] = {
    "gsm8k": ["gsm8k", ["<answer>18</answer>", "\\boxed{1,234}"], ["18", "1,234"]],
    "math500": ["math500", ["<answer>0.5</answer>", "<answer>0.6</answer>"], [PROBLEM] * 2],
    "countdown": ["countdown", ["<answer>3*4+5</answer>", "<answer>3+4+5</answer>"], [NUMBERS] * 2],
    "options": ["countdown", ["3*4+5"], ["[[3, 4, 5], 17]"], {"bare_answers": True, "profile": "correctness"}],
    "sudoku": ["sudoku", ["<answer>2431312442131342</answer>"], [SUDOKU]],
}
IN_SANDBOX = {
    "mbpp": ["mbpp", PROGRAMS, [json.dumps(MBPP)] * 2],
    "humaneval": ["humaneval", PROGRAMS, [json.dumps(HUMANEVAL)] * 2],
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """What the metric computes for each request, in a Python of its own without network."""
    environment = os.environ | {
        "PYTHONPATH": str(CHECKOUT),
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "HF_EVALUATE_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    requests = json.dumps(REQUESTS | ({} if missing() else IN_SANDBOX))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, requests], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    values: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return values


@pytest.mark.slow
def test_gsm8k_goes_by_the_same_graders(found):
    assert (found["gsm8k"]["accuracy"], found["gsm8k"]["official_accuracy"]) == (1.0, 0.5)


@pytest.mark.slow
def test_math500_and_countdown_take_a_row_of_the_data_set(found):
    assert (found["math500"]["accuracy"], found["math500"]["official_accuracy"]) == (0.5, 0.0)
    assert (found["countdown"]["accuracy"], found["countdown"]["reward"]) == (0.5, 0.55)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@pytest.mark.parametrize("name", IN_SANDBOX)
def test_programs_are_graded_in_the_sandbox(found, name):
    assert (found[name]["pass@1"], found[name]["official_pass@1"]) == (0.5, 0.5)


@pytest.mark.slow
def test_a_reference_may_be_json_and_options_reach_the_task(found):
    assert found["options"] == {"accuracy": 1.0, "official_accuracy": 1.0, "reward": 1.0}
    assert (found["sudoku"]["exact_match"], found["sudoku"]["cell_accuracy"]) == (1.0, 1.0)
