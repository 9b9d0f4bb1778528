"""Programs in completions, the functions that tests call, and rewards and verdicts of the code tasks."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.registry import get_task
from harness.scoring.code import (
    espo_form,
    first_block,
    functions_in,
    imports_of,
    official_program,
)
from harness.scoring.sandbox.client import missing
from harness.task.base import OFFICIAL, ROBUST, Example, TaskOptions

CODE = "def f(x):\n    return 2 * x\n"
BLOCK = f"```python\n{CODE}```"
WRONG = BLOCK.replace("2 *", "3 *")
needs_sandbox = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


def mbpp(**options):
    return get_task("mbpp")(TaskOptions(**options))


def item() -> Example:
    return mbpp().example_for("Double it.", ["assert f(1) == 2", "assert f(2) == 4", "assert f(0) == 0"])


def test_the_official_block_is_the_first_and_the_robust_one_the_last_of_the_answer():
    text = f"{WRONG}\n<answer>\n{BLOCK}\n</answer>"
    assert mbpp().read(item(), text, OFFICIAL).code == first_block(text) == CODE.replace("2 *", "3 *")
    assert mbpp().read(item(), text, ROBUST).code == CODE


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (BLOCK, True),
        (BLOCK + "\n", True),
        ("Here: " + BLOCK, True),
        (BLOCK + " bye", False),
        (BLOCK * 2, False),
        ("", False),
    ],
)
def test_espo_wants_one_block_at_the_end(text, form):
    assert espo_form(text) is form


def test_functions_of_the_program_are_those_that_the_reference_binds_also_under_a_builtin_s_name():
    assert functions_in(["assert sum(1, 2) == 3"], "", "def sum(a, b): return a + b") == ("sum",)
    assert functions_in(["assert f(math.sqrt(4)) == g"], "", "import math\ndef f(x): pass\ng = 1") == ("f", "g")


def test_without_a_reference_they_are_the_called_names_that_nothing_else_binds():
    tests = ["import math\ndef helper(x): return x\nassert abs(f(helper(1))) == math.floor(1)"]
    assert functions_in(tests, "from re import match") == ("f",)


def test_the_imports_of_a_reference_are_the_tests_imports_too():
    assert (
        imports_of("import sys\nfrom re import match as m\ndef f(): import os")
        == "import sys\nfrom re import match as m"
    )


def test_egspo_takes_the_first_function_under_the_tests_name_unless_it_is_there():
    tests = "assert f(1) == 2"
    assert official_program("def g(x): pass\n", tests).functions == {"f": "g"}
    assert official_program("def g(x): pass\ndef f(x): pass\n", tests).functions == {"f": "f"}
    assert official_program("f = abs\n", tests) is None
    assert official_program("def f(x): pass", tests) is None
    assert official_program(CODE, "x = 1") is None


def test_tests_that_call_nothing_are_refused():
    with pytest.raises(UserError, match="call no function"):
        mbpp().example_for("Nothing.", ["assert True"])
    with pytest.raises(UserError, match="not Python"):
        mbpp().example_for("Broken.", ["assert f("])


@needs_sandbox
def test_the_official_reward_adds_the_share_of_tests_the_place_and_the_tags():
    half = "def f(x):\n    return 2 if x == 1 else 7\n"
    texts = [f"<answer>\n{BLOCK}\n</answer>", BLOCK, f"```python\n{half}```", "none"]
    rewards = mbpp().rewards([item()] * 4, texts)
    assert [reward.parts["correctness"] for reward in rewards] == [1.0, 1.0, pytest.approx(1 / 3), 0.0]
    assert [reward.parts["in_answer"] for reward in rewards] == [0.5, 0.0, 0.0, 0.0]


@needs_sandbox
def test_both_verdicts_stand_in_the_score_and_say_why():
    right, wrong, none = mbpp(bare_answers=False).score(
        [item()] * 3, [f"<answer>{BLOCK}</answer>", f"{WRONG} <answer>\n{BLOCK}\n</answer>", CODE]
    )
    assert (right.correct, right.verdicts["official"].correct) == (True, True)
    assert (wrong.correct, wrong.verdicts["official"].correct) == (True, False)
    assert wrong.verdicts["official"].reason == "assertion failed"
    assert none.verdicts["robust"].reason == "no program: no code block and no answer block"
    assert set(right.metrics) == {"pass@1", "official_pass@1"}


@needs_sandbox
@pytest.mark.parametrize(
    ("text", "parts"), [(BLOCK, (1.0, 1.0)), ("```python\ndef f(x) 2\n```", (0.0, 0.5)), ("x", (0, 0))]
)
def test_espo_rewards_the_tests_only_in_good_form(text, parts):
    (reward,) = mbpp(profile="espo").rewards([item()], [text])
    assert (reward.parts["correctness"], reward.parts["form"]) == parts


@needs_sandbox
def test_the_correctness_profile_is_1_or_0():
    rewards = mbpp(profile="correctness").rewards([item()] * 2, [BLOCK, WRONG])
    assert [reward.total for reward in rewards] == [1.0, 0.0]


def test_agrpo_has_no_reward_for_code():
    with pytest.raises(UserError, match="reward profile of mbpp 'agrpo'"):
        mbpp(profile="agrpo")
