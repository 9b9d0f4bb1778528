"""What a program may use up: files, processor time, time by the clock, and the turns of others."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from harness.scoring.sandbox import broker
from harness.scoring.sandbox.attempt import OUT_OF_TIME, USED_UP
from harness.scoring.sandbox.broker import NOT_RUN, Broker
from harness.scoring.sandbox.client import Sandbox
from harness.scoring.sandbox.job import KNOWN_GOOD, Limits, Outcome, Program

pytestmark = pytest.mark.slow


FILES = 1000
MAKERS = {
    "files": "open(name, 'w').close()",
    "folders": "os.mkdir(name)",
    "links": "os.symlink('/nowhere', name)",
    "hard links": "os.link('/tmp/0', name) if i else open(name, 'w').close()",
    "files in folders": "os.makedirs(f'{name}/a'); open(f'{name}/a/b', 'w').close()",
    "files of other names": "open(f'{name}{\"x\" * 200}', 'w').close()",
    "unlinked files": "kept.append(os.open(name, os.O_CREAT)); os.unlink(name)",
}


@pytest.mark.parametrize("sandbox", ["private"], indirect=True)
@pytest.mark.parametrize("maker", MAKERS)
def test_a_program_can_make_so_many_files_and_no_more(sandbox, maker):
    source = (
        "import os\nkept = []\ndef f(x):\n    for i in range(20_000):\n        name = f'/tmp/{i}'\n"
        f"        try:\n            {MAKERS[maker].replace('; ', chr(10) + ' ' * 12)}\n"
        "        except OSError as error:\n            return [i, error.errno]\n    return [i, 0]"
    )
    test = f"made, errno = f(1)\nassert 0 < made <= {FILES}, made\nassert errno in (28, 24), errno"
    assert sandbox.run([replace(KNOWN_GOOD, source=source, tests=(test,))])[0].reason == ""


@pytest.mark.parametrize("sandbox", ["private"], indirect=True)
def test_one_program_s_files_are_not_the_next_one_s(sandbox):
    source = (
        "import os\ndef f(x):\n    found = os.listdir('/tmp')\n    open('/tmp/mine', 'w').close()\n    return found"
    )
    program = replace(KNOWN_GOOD, source=source, tests=("assert f(1) == []", "assert f(1) == ['mine']"))
    assert all(verdict.passed for verdict in sandbox.run([program] * 5))


@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return 0",
        "def f(x): raise ValueError",
        "def f(x) return 0",
        "import os\ndef f(x): os._exit(0)",
        "def g(x): return 2",
    ],
)
def test_without_every_test_the_first_failure_is_the_last_test(sandbox, source):
    program = replace(KNOWN_GOOD, source=source, tests=KNOWN_GOOD.tests * 4, every_test=False)
    outcomes = sandbox.run([program])[0].outcomes
    assert [outcome.reason == NOT_RUN for outcome in outcomes] == [False, True, True, True]
    assert not any(outcome.passed for outcome in outcomes)


def test_without_every_test_a_right_program_passes_all(sandbox):
    program = replace(KNOWN_GOOD, tests=KNOWN_GOOD.tests * 4, every_test=False)
    assert [outcome.passed for outcome in sandbox.run([program])[0].outcomes] == [True] * 4


IDLE = {
    "sleeps": "import time\ndef f(x): time.sleep(99)",
    "sleeps while it is loaded": "import time\ntime.sleep(99)",
    "waits for a lock": "import threading\ndef f(x): threading.Lock().acquire() and threading.Event().wait()",
    "reads from a pipe": "import os\ndef f(x): os.read(os.pipe()[0], 1)",
    "naps": "import time\ndef f(x):\n    while True: time.sleep(0.05)",
    "answers a part": "import os, time\ndef f(x):\n    for d in range(3, 64):\n        try: os.write(d, bytes(7))\n"
    "        except OSError: pass\n    time.sleep(99)",
}
BUSY = {
    "computes": "def f(x):\n    while True: pass",
    "computes while it is loaded": "while True: pass",
    "computes in a thread": "import threading\ndef spin():\n    while True: pass\ndef f(x):\n"
    "    threading.Thread(target=spin).start()\n    threading.Event().wait()",
    "one long operation": "def f(x): return len(range(10 ** 9)) and sum(range(10 ** 10))",
    "never returns from a pattern": "import re\ndef f(x): return re.match('(a+)+$', 'a' * 99 + 'b')",
}


@pytest.mark.parametrize("sandbox", ["default"], indirect=True)
@pytest.mark.parametrize("kind", IDLE)
def test_a_program_that_does_nothing_is_out_of_time_long_before_the_clock(sandbox, kind):
    program = replace(KNOWN_GOOD, source=IDLE[kind], limits=Limits(wall_seconds=80), every_test=False)
    assert sandbox.run([program])[0].reason == OUT_OF_TIME


@pytest.mark.parametrize("sandbox", ["default"], indirect=True)
@pytest.mark.parametrize("kind", BUSY)
def test_a_program_that_computes_without_end_uses_up_its_processor_time(sandbox, kind):
    program = replace(KNOWN_GOOD, source=BUSY[kind], limits=Limits(wall_seconds=80), every_test=False)
    assert USED_UP in sandbox.run([program])[0].reason


@pytest.mark.parametrize("sandbox", ["default"], indirect=True)
def test_a_program_that_waits_for_a_processor_is_not_idle(sandbox):
    """Sixteen at a time, each for half a second of processor time: together far longer than a program may be idle."""
    source = "import time\ndef f(x):\n    while time.process_time() < 0.5: pass\n    return x + 1"
    many = Sandbox(sandbox._options[0], 16)
    try:
        assert [one.reason for one in many.run([replace(KNOWN_GOOD, source=source)] * 16)] == [""] * 16
    finally:
        many.close()


@pytest.mark.parametrize("sandbox", ["default"], indirect=True)
@pytest.mark.parametrize(
    "test",
    [
        "import time\ntime.sleep(1.5)\nassert f(1) == 2",
        "import time\nassert f(1) == 2\ntime.sleep(1.5)",
        "import time\nend = time.process_time() + 1.5\nwhile time.process_time() < end: pass\nassert f(1) == 2",
        "import threading\nthreading.Event().wait(1.5)\nassert f(1) == 2",
        "import time\nfor _ in range(3):\n    time.sleep(0.5)\n    assert f(1) == 2",
    ],
)
def test_what_the_tests_take_is_not_charged_to_the_program(sandbox, test):
    assert sandbox.run([replace(KNOWN_GOOD, tests=(test,))])[0].reason == ""


def test_after_two_tests_without_an_end_the_others_are_not_tried(sandbox):
    source = "def f(x):\n    while x: pass\n    return 2"
    tests = ("assert f(1) == 2", "assert f(0) == 2", "assert f(2) == 2", "assert f(0) == 2")
    outcomes = sandbox.run([replace(KNOWN_GOOD, source=source, tests=tests)])[0].outcomes
    assert [outcome.passed for outcome in outcomes] == [False, True, False, False]
    assert outcomes[3].reason == OUT_OF_TIME


class _Stage:
    """A whole image."""

    class image:  # noqa: N801
        @staticmethod
        def damage() -> str:
            return ""


@pytest.mark.parametrize("lingering", [1, 2])
def test_programs_that_linger_leave_their_turn_to_others(monkeypatch, lingering):
    """With one turn: the quick ones are done while the slow ones still run, which end only after them."""
    quick_done = threading.Event()

    class Attempt:
        def __init__(self, stage, job, first, seconds, give_way=lambda: None):
            self.slow, self.give_way = job.source == "slow", give_way

        def run(self) -> list[Outcome]:
            if self.slow:
                self.give_way()
                assert quick_done.wait(60)
            return [Outcome(passed=True, reason="")]

    monkeypatch.setattr(broker, "Attempt", Attempt)
    run = Broker(_Stage, workers=1).run
    slow = [
        threading.Thread(target=run, args=(Program(source="slow", tests=("t",)),), daemon=True)
        for _ in range(lingering)
    ]
    for thread in slow:
        thread.start()
    for _ in range(3):
        assert run(Program(source="quick", tests=("t",)))[0].passed
    assert all(thread.is_alive() for thread in slow)
    quick_done.set()
    for thread in slow:
        thread.join(60)
    assert not any(thread.is_alive() for thread in slow)
