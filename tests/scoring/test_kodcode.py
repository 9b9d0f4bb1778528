"""KodCode's rows, written by hand in its schema: what is read, how it is asked, and what passes in the sandbox."""

from __future__ import annotations

import json

import pytest

from harness.data.sources import DataSource
from harness.errors import UserError
from harness.registry import get_task
from harness.scoring.kodcode import read_problems
from harness.scoring.sandbox.client import missing
from harness.task.base import TaskOptions

needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
CODE = "def half(number):\n    if number < 0:\n        raise ValueError('below zero')\n    return number / 2\n"
TESTS = """\
import pytest
from solution import half

def test_even():
    assert half(4) == 2

def test_odd():
    assert half(5) == pytest.approx(2.5)

def test_negative():
    with pytest.raises(ValueError, match="below"):
        half(-1)

@pytest.mark.parametrize("number", [1, 2])
def test_many(number):
    assert half(number) == number / 2
"""
ROW = {
    "question_id": "Prefill_1_I",
    "question": "Halve a number.",
    "test": TESTS,
    "solution": CODE,
    "test_info": [{"function_name": "half", "function_declaration": "def half(number):", "docstring": ""}],
    "style": "instruct",
}


def completion(code: str) -> str:
    return f"<reasoning>\nso\n</reasoning>\n<answer>\n```python\n{code}```\n</answer>"


def test_each_test_function_without_arguments_is_a_test():
    (example,) = read_problems([ROW])
    assert example.id == "kodcode-0"
    assert example.target["test_functions"] == ["test_even", "test_odd", "test_negative"]
    assert example.target["functions"] == ["half"]
    assert example.target["code"] == CODE


@pytest.mark.parametrize(
    "tests",
    [
        "def test_a():\n    assert True",
        "from solution import half\nassert half(2) == 1",
        "from solution import half\ndef test_a(x):\n    assert half(x)",
        "from other import half\ndef test_a():\n    assert half(2) == 1",
    ],
)
def test_rows_whose_tests_cannot_be_called_are_left_out(tests):
    assert [example.id for example in read_problems([ROW | {"test": tests}, ROW])] == ["kodcode-1"]


def test_a_row_of_another_form_is_named():
    with pytest.raises(UserError, match="lacks 'test'"):
        read_problems([{"question": "q", "solution": "s"}])
    with pytest.raises(UserError, match="KodCode row 2 are not Python"):
        read_problems([ROW, ROW | {"test": "def"}])


@pytest.mark.parametrize("name", ["mbpp", "humaneval"])
def test_both_code_tasks_train_on_a_folder_s_file(tmp_path, name):
    (tmp_path / "kodcode").mkdir()
    (tmp_path / "kodcode" / "train.jsonl").write_text(json.dumps(ROW) + "\n")
    task = get_task(name)()
    (example,) = task.examples("train", DataSource(kind="dir", folder=tmp_path))
    (message,) = task.prompt(example)
    assert "Halve a number." in message["content"]
    assert "def half(number):" in message["content"]
    assert "assert" not in message["content"]
    assert task.placeholders(example)["question"] == "Halve a number."


@needs_sandbox
@pytest.mark.parametrize("name", ["mbpp", "humaneval"])
def test_the_reference_passes_and_near_misses_fail(name):
    task = get_task(name)(TaskOptions(bare_answers=False))
    (example,) = read_problems([ROW])
    codes = [
        CODE,
        CODE.replace("/ 2", "// 2"),
        CODE.replace("'below zero'", "'no'"),
        CODE.replace("ValueError", "OSError"),
    ]
    scores = task.score([example] * 4, [completion(code) for code in codes])
    assert [score.correct for score in scores] == [True, False, False, False]
    assert [round(score.parts["correctness"], 3) for score in scores] == [1.0, 0.667, 0.667, 0.667]


@needs_sandbox
def test_the_worked_answer_of_a_row_passes():
    task = get_task("mbpp")(TaskOptions(bare_answers=False))
    (example,) = read_problems([ROW])
    (score,) = task.score([example], [task.worked_answer(example)])
    assert score.correct


@needs_sandbox
def test_tests_without_pytest_and_lists_to_approximate_work_as_well():
    tests = (
        "import pytest\nfrom solution import half as h\n"
        "def test_list():\n    assert [h(1), h(3)] == pytest.approx([0.5, 1.5])\n"
        "def test_none_raised():\n    with pytest.raises(ValueError):\n        h(1)\n"
    )
    plain = "from solution import half\ndef test_a():\n    assert half(2) == 1\n"
    examples = read_problems([ROW | {"test": tests}, ROW | {"test": plain}])
    verdicts = get_task("mbpp")().score(examples, [completion(CODE)] * 2)
    assert [score.correct for score in verdicts] == [False, True]
    assert verdicts[0].verdicts["robust"].reason.startswith("assertion failed: nothing of")
