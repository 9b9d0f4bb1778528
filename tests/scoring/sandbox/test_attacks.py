"""Hostile programs: each gets the right verdict, and the host, its files and the next program are unharmed."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.scoring.sandbox import bubblewrap
from harness.scoring.sandbox.client import Sandbox, missing
from harness.scoring.sandbox.job import Limits, Program

specification = importlib.util.spec_from_file_location("sandbox_attacks", Path(__file__).with_name("attacks.py"))
attacks = importlib.util.module_from_spec(specification)
sys.modules["sandbox_attacks"] = attacks
specification.loader.exec_module(attacks)

LIMITS = Limits(cpu_seconds=1, memory_mb=256, tmp_mb=16)
HONEST = Program(source="def f(x): return x + 7", tests=("assert f(3) == 10",), functions={"f": "f"})

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing() or "-"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of raw system calls are those of x86_64"),
]


@dataclass(frozen=True, kw_only=True)
class Host:
    sandbox: Sandbox
    sentinel: Path
    server: socket.socket


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A sandbox of its own, a file to leave alone, a server to leave alone, a secret in the environment."""
    sentinel = tmp_path_factory.mktemp("host") / "sentinel"
    sentinel.write_text("untouched")
    patch = pytest.MonkeyPatch()
    patch.setenv("HARNESS_SECRET", "secret")
    sandbox = Sandbox(bubblewrap.find(), 4)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield Host(sandbox=sandbox, sentinel=sentinel, server=server)
    sandbox.close()
    patch.undo()


def on_this_host(attack: attacks.Attack, host: Host) -> Program:
    names = {"SENTINEL": str(host.sentinel), "HOST": str(os.getpid()), "PORT": str(host.server.getsockname()[1])}
    source = re.sub("|".join(names), lambda found: names[found.group()], attack.source)
    return Program(source=source, tests=("assert f(3) == 10",), functions={"f": "f"}, limits=LIMITS)


def test_the_suite_has_more_than_forty_attacks_of_different_names():
    assert len(attacks.ATTACKS) > 40
    assert len({attack.name for attack in attacks.ATTACKS}) == len(attacks.ATTACKS)


@pytest.mark.parametrize("attack", attacks.ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_fails_for_its_reason_and_the_next_program_passes(host: Host, attack: attacks.Attack):
    attacked, honest = host.sandbox.run([on_this_host(attack, host), HONEST])
    assert not attacked.passed
    assert re.search(attack.reason, attacked.reason), attacked.reason
    assert honest.passed, honest.reason
    assert host.sentinel.read_text() == "untouched"
    with pytest.raises(BlockingIOError):
        host.server.accept()


def test_the_judge_goes_on_after_a_test_that_kills_it(host: Host):
    rogue = Program(source="def f(x): return 10", tests=("import os; os._exit(0)",), functions={"f": "f"})
    broken, honest = host.sandbox.run([rogue, HONEST])
    assert (broken.passed, honest.passed) == (False, True)


def test_threads_left_running_end_with_their_program(host: Host, processes):
    busy = "import threading\ndef spin():\n    while True: pass\ndef f(x):\n"
    busy += "    threading.Thread(target=spin).start()\n    return 10\n"
    (verdict,) = host.sandbox.run([Program(source=busy, tests=("assert f(3) == 10",), functions={"f": "f"})])
    assert verdict.passed
    end = time.monotonic() + 50
    while processes(os.getpid()).running("candidate.pyc") and time.monotonic() < end:
        time.sleep(0.05)
    assert processes(os.getpid()).running("candidate.pyc") == []
