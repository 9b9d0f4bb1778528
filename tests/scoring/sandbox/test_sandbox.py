"""The sandbox as its users see it: verdicts per test, what crosses, restarts, refusals."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.scoring.sandbox import bubblewrap, client, seccomp
from harness.scoring.sandbox.client import Sandbox, missing, open_sandbox
from harness.scoring.sandbox.job import Limits, Outcome, Program, ProgramVerdict

needs_bwrap = pytest.mark.skipif(bool(missing()), reason=missing() or "-")
ADD = "def add(a, b):\n    return a + b\n"


@pytest.fixture(scope="module", params=["bubblewrap", "unsafe"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    if request.param == "bubblewrap" and missing():
        pytest.skip(missing())
    return open_sandbox(unsafe_local_exec=request.param == "unsafe")


def judge(sandbox: Sandbox, source: str, *tests: str, setup: str = "", **functions: str) -> ProgramVerdict:
    names = functions or {"add": "add"}
    return sandbox.run([Program(source=source, tests=tests, setup=setup, functions=names)])[0]


def test_each_test_has_its_own_outcome(sandbox):
    verdict = judge(sandbox, ADD, "assert add(1, 2) == 3", "assert add(1, 2) == 4", "assert add('a', b='b') == 'ab'")
    assert [outcome.passed for outcome in verdict.outcomes] == [True, False, True]
    assert verdict.outcomes[1] == Outcome(passed=False, reason="assertion failed")
    assert (verdict.passed, verdict.fraction) == (False, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    "source",
    [
        "def add(a: List[int], b):\n    return a + b\n",
        "def add(a, b) -> Optional[int]:\n    return a + b\n",
        "class Box:\n    items: Dict[str, int] = {}\n\n\ndef add(a, b):\n    return a + b\n",
        "def add(a, b: 'int' | None):\n    return a + b\n",
        "from typing import List\n\n\ndef add(a: List[Missing], b):\n    return a + b\n",
    ],
)
def test_annotations_are_evaluated_as_plain_python_does(sandbox, source):
    """The sandbox's own `from __future__ import annotations` is not the program's."""
    verdict = judge(sandbox, source, "assert add(1, 2) == 3")
    assert not verdict.passed
    assert verdict.outcomes[0].reason.startswith(("NameError", "TypeError"))


@pytest.mark.parametrize(
    "source",
    [
        "from __future__ import annotations\n\n\ndef add(a: List[int], b):\n    return a + b\n",
        "def add(a: int, b):\n    return a + b if add.__annotations__['a'] is int else 0\n",
        "from typing import get_type_hints\n\n\ndef add(a: int, b):\n    return a + b if get_type_hints(add) else 0\n",
    ],
)
def test_a_program_that_imports_or_reads_annotations_is_right(sandbox, source):
    assert judge(sandbox, source, "assert add(1, 2) == 3").passed


def test_a_program_without_tests_has_passed_nothing(sandbox):
    assert not judge(sandbox, ADD).passed


def test_the_program_s_exception_reaches_the_test_as_its_own_type(sandbox):
    test = "try:\n    add(1, None)\nexcept TypeError as error:\n    assert 'unsupported' in str(error)\n"
    test += "else:\n    assert False"
    assert judge(sandbox, ADD, test).passed


def test_an_exception_of_the_program_s_own_class_is_named(sandbox):
    source = "class Own(Exception): pass\ndef add(a, b): raise Own('no')"
    assert judge(sandbox, source, "add(1, 2)").reason == "Own: no"


def test_a_program_that_ends_is_started_again_for_the_tests_left(sandbox):
    source = "import os\ndef add(a, b):\n    if a == 0: os._exit(3)\n    return a + b"
    verdict = judge(sandbox, source, "add(0, 0)", "assert add(1, 2) == 3", "add(0, 1)", "assert add(2, 2) == 4")
    assert [outcome.passed for outcome in verdict.outcomes] == [False, True, False, True]
    assert verdict.outcomes[0].reason == "the program ended early (with status 3)"


def test_a_test_that_catches_everything_does_not_pass_without_the_program(sandbox):
    source = "import os\ndef add(a, b): os._exit(0)"
    assert not judge(sandbox, source, "try:\n    add(1, 2)\nexcept BaseException:\n    pass").passed


def test_the_wrong_program_text_fails_every_test(sandbox):
    verdict = judge(sandbox, "def add(a, b) return a", "assert True", "assert add(1, 2)")
    assert [outcome.passed for outcome in verdict.outcomes] == [False, False]
    assert verdict.reason.startswith("SyntaxError")


def test_helpers_come_from_the_setup_and_the_program_s_function_goes_before(sandbox):
    setup = "def twice(x): return 2 * x\ndef add(a, b): return 'the stand-in of the prompt'"
    assert judge(sandbox, ADD, "assert twice(add(1, 2)) == 6", setup=setup).passed


def test_a_setup_that_fails_is_named_as_the_tests_fault(sandbox):
    assert judge(sandbox, ADD, "add(1, 2)", setup="1 / 0").reason.startswith("the tests' own setup fails")


def test_functions_may_have_another_name_in_the_program(sandbox):
    assert judge(sandbox, "def plus(a, b): return a + b", "assert add(1, 2) == 3", add="plus").passed
    assert judge(sandbox, ADD, "from solution import total\nassert total(1, 2) == 3", total="add").passed


def test_an_argument_outside_the_closed_set_is_the_test_s_fault(sandbox):
    assert "the tests pass a value of type 'function'" in judge(sandbox, ADD, "add(lambda: 1, 2)").reason


def test_one_test_does_not_change_the_interpreter_of_the_next(sandbox):
    patch = "import math; math.pi = 3; import builtins; builtins.sorted = None"
    assert judge(sandbox, ADD, patch).passed
    assert judge(sandbox, ADD, "import math; assert math.pi > 3.14 and sorted([2, 1]) == [1, 2]").passed


def test_verdicts_come_in_the_order_of_the_programs(sandbox):
    programs = [
        Program(source=f"def f(): return {n}", tests=(f"assert f() == {n % 7}",), functions={"f": "f"})
        for n in range(40)
    ]
    assert [verdict.passed for verdict in sandbox.run(programs)] == [n < 7 for n in range(40)]


def test_time_by_the_clock_ends_what_uses_no_processor(sandbox):
    slow = Program(
        source="import time\ndef f(): time.sleep(60)",
        tests=("f()", "f()"),
        functions={"f": "f"},
        limits=Limits(wall_seconds=0.5),
    )
    reasons = [outcome.reason for outcome in sandbox.run([slow])[0].outcomes]
    assert reasons == ["out of time", "out of time"]


def test_without_bubblewrap_nothing_runs_and_both_ways_out_are_named(monkeypatch):
    monkeypatch.setattr(bubblewrap, "find", lambda: None)
    with pytest.raises(UserError, match=r"apt-get install bubblewrap.*--unsafe-local-exec"):
        client.open_sandbox.__wrapped__()


def test_another_system_than_linux_is_refused(monkeypatch):
    monkeypatch.setattr(client.platform, "system", lambda: "Darwin")
    assert missing() == "bubblewrap runs on Linux, this is Darwin"
    with pytest.raises(UserError, match="runs on Linux alone, with --unsafe-local-exec too, and this is Darwin"):
        open_sandbox(unsafe_local_exec=True, workers=3)


def test_another_processor_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr(client.platform, "machine", lambda: "riscv64")
    assert "riscv64" in missing()
    with pytest.raises(UserError, match="aarch64, x86_64"):
        seccomp.filter_program("riscv64")


@needs_bwrap
def test_a_bubblewrap_that_may_not_make_name_spaces_is_refused_with_its_own_words(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(bubblewrap, "find", lambda: str(fake))
    assert "uid map: Permission denied" in missing()


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_whole_instructions_and_jumps_within_itself(machine):
    for judge_filter in (False, True):
        program = seccomp.filter_program(machine, judge=judge_filter)
        steps = [program[start : start + 8] for start in range(0, len(program), 8)]
        assert all(len(step) == 8 for step in steps)
        assert all(place + 1 + max(step[2], step[3]) < len(steps) for place, step in enumerate(steps) if step[0] != 6)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_no_call_stands_twice_in_the_filter(machine):
    kinds = [seccomp.calls(machine, allowed) for allowed in ("always", "judge", "threads", "below 128")]
    numbers = [number for kind in kinds for number in kind.values()]
    assert all(kinds)
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    "name", ["socket", "connect", "fork", "vfork", "clone3", "ptrace", "mount", "unshare", "kill", "bpf"]
)
def test_calls_that_lead_out_are_not_on_the_program_s_list(name):
    assert name not in seccomp.calls("x86_64", "always")
