"""The graders as a metric of `evaluate`, loaded by path and without network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.scoring.sandbox.client import missing

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
import evaluate
import harness.evaluation.metric
task, predictions, references, options = json.loads(sys.argv[1])
metric = evaluate.load(harness.evaluation.metric.__file__, task)
print(json.dumps(metric.compute(predictions=predictions, references=references, **options)))
"""
SUDOKU = json.dumps({"Puzzle": "2030012002100002", "Solution": "2431312442131342"})


def compute(tmp_path: Path, task: str, predictions: list[str], references: list[str], **options: object) -> dict:
    environment = os.environ | {
        "PYTHONPATH": str(CHECKOUT),
        "HF_HOME": str(tmp_path),
        "HF_EVALUATE_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    request = json.dumps([task, predictions, references, options])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, request], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_gsm8k_goes_by_the_same_graders(tmp_path):
    found = compute(tmp_path, "gsm8k", ["<answer>18</answer>", "\\boxed{1,234}"], ["18", "1,234"])
    assert (found["accuracy"], found["official_accuracy"]) == (1.0, 0.5)


@pytest.mark.slow
def test_math500_and_countdown_take_a_row_of_the_data_set(tmp_path):
    row = json.dumps({"problem": "p", "solution": "so $\\boxed{\\frac12}$", "answer": "\\frac12"})
    found = compute(tmp_path, "math500", ["<answer>0.5</answer>", "<answer>0.6</answer>"], [row, row])
    assert (found["accuracy"], found["official_accuracy"]) == (0.5, 0.0)
    row = json.dumps({"input": "3,4,5", "output": "17"})
    found = compute(tmp_path, "countdown", ["<answer>3*4+5</answer>", "<answer>3+4+5</answer>"], [row, row])
    assert (found["accuracy"], found["reward"]) == (0.5, 0.55)


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@pytest.mark.parametrize("name", ["mbpp", "humaneval"])
def test_programs_are_graded_in_the_sandbox(tmp_path, name):
    rows = {
        "mbpp": {"task_id": 11, "prompt": "Double.", "code": "def f(x): pass", "test_list": ["assert f(2) == 4"]},
        "humaneval": {
            "task_id": "HumanEval/0",
            "prompt": 'def f(x):\n    """Double."""\n',
            "entry_point": "f",
            "test": "def check(candidate):\n    assert candidate(2) == 4\n",
        },
    }
    texts = [f"<answer>\n```python\ndef f(x):\n    return x * {factor}\n```\n</answer>" for factor in (2, 3)]
    found = compute(tmp_path, name, texts, [json.dumps(rows[name])] * 2)
    assert (found["pass@1"], found["official_pass@1"]) == (0.5, 0.5)


@pytest.mark.slow
def test_a_reference_may_be_json_and_options_reach_the_task(tmp_path):
    found = compute(tmp_path, "countdown", ["3*4+5"], ["[[3, 4, 5], 17]"], bare_answers=True, profile="correctness")
    assert found == {"accuracy": 1.0, "official_accuracy": 1.0, "reward": 1.0}
    found = compute(tmp_path, "sudoku", ["<answer>2431312442131342</answer>"], [SUDOKU])
    assert (found["exact_match"], found["cell_accuracy"]) == (1.0, 1.0)
