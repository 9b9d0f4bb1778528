"""lm-eval's code metric in our sandbox."""

import gzip
import json
import os
from pathlib import Path

import evaluate
import pytest

from harness.lmeval import code_eval
from harness.lmeval.code_eval import CodeEval, free_names, program
from harness.scoring.sandbox.client import missing

DATA = os.environ.get("HARNESS_DATA", "")
needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
needs_data = pytest.mark.skipif(not DATA, reason="HARNESS_DATA names no folder")
ADD = "assert add(2, 3) == 5"


@needs_sandbox
def test_right_and_wrong_programs_are_told_apart():
    codes = [["def add(a, b): return a + b", "def add(a, b): return a * b"], ["def add(a, b): return 5"]]
    scores, results = CodeEval().compute(references=[ADD, f"{ADD}\nassert add(1, 1) == 2"], predictions=codes, k=[1])
    assert scores == {"pass@1": 0.25}
    assert [[one["passed"] for _, one in found] for found in results.values()] == [[True, False], [False]]


@needs_sandbox
def test_what_the_published_metric_lets_pass_fails():
    cheats = [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "class Yes:\n    def __eq__(self, other): return True\ndef add(a, b): return Yes()",
        "raise SystemExit",
    ]
    scores, _ = CodeEval().compute(references=[ADD], predictions=[cheats], k=[1])
    assert scores == {"pass@1": 0.0}


@needs_sandbox
def test_programs_that_are_no_python_fail_and_the_others_are_judged():
    codes = ["def add(a, b) return", "def add(a, b): return a + b"]
    _, results = CodeEval().compute(references=[ADD], predictions=[codes], k=[1])
    assert [one["passed"] for _, one in results[0]] == [False, True]


@needs_sandbox
def test_pass_at_k_is_the_unbiased_estimate_and_left_out_where_programs_are_few():
    right, wrong = "def add(a, b): return a + b", "def add(a, b): return 0"
    scores, _ = CodeEval().compute(references=[ADD], predictions=[[right, wrong, wrong]], k=[1, 2, 10])
    assert scores == {"pass@1": pytest.approx(1 / 3), "pass@2": pytest.approx(2 / 3)}


def test_the_names_that_tests_leave_open_are_the_program_s():
    tests = "def check(f):\n    import re\n    for x in [1]:\n        assert f(x) == helper(x)\ncheck(add)"
    assert free_names(tests) == {"add", "helper"}
    made = program("", "assert math.isclose(sum(add([0.1, 0.2])), 0.3)")
    assert (made.setup, dict(made.functions)) == ("import math", {"add": "add"})


def test_a_program_may_replace_a_function_of_python():
    assert dict(program("def sum(a, b):\n    return 6\n", "assert sum(10, 15) == 6").functions) == {"sum": "sum"}


def test_only_this_metric_is_replaced(monkeypatch):
    loaded = []
    monkeypatch.setattr(evaluate, "load", lambda path, *more: loaded.append((path, more)))
    code_eval.install()
    assert isinstance(evaluate.load("code_eval"), CodeEval)
    assert loaded == []
    evaluate.load("exact_match", "default")
    assert loaded == [("exact_match", ("default",))]


@pytest.mark.slow
@needs_sandbox
@needs_data
def test_the_published_solutions_pass():
    with gzip.open(Path(DATA) / "humaneval" / "HumanEval.jsonl.gz", "rt") as stream:
        rows = [json.loads(line) for line in stream]
    references = [f"{row['test']}\ncheck({row['entry_point']})" for row in rows]
    _, results = CodeEval().compute(
        references=references, predictions=[[row["prompt"] + row["canonical_solution"]] for row in rows], k=[1]
    )
    failed = {
        rows[task]["task_id"]: found[0][1]["result"] for task, found in results.items() if not found[0][1]["passed"]
    }
    assert failed == {}
    rows = json.loads((Path(DATA) / "mbpp" / "sanitized-mbpp.json").read_text())
    references = ["\n".join(row["test_list"]) for row in rows]
    _, results = CodeEval().compute(references=references, predictions=[[row["code"]] for row in rows], k=[1])
    failed = {
        rows[task]["task_id"]: found[0][1]["result"] for task, found in results.items() if not found[0][1]["passed"]
    }
    assert failed == {}
