"""Sandboxes of each kind, the processes that belong to them, and a deadline against tests that hang."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.scoring.sandbox import bubblewrap
from harness.scoring.sandbox.client import Sandbox, missing

NESTS = not missing() and bubblewrap.nests(str(bubblewrap.find()))


class Processes:
    """The processes that one has started, as this test sees them: by number and start, so that no other is meant."""

    def __init__(self, parent: int) -> None:
        parents = {pid: int(fields[1]) for pid in _pids() if (fields := _stat(pid))}
        self.pids = {pid for pid in parents if parent in _line(pid, parents)}
        self._starts = {pid: _stat(pid)[19:20] for pid in self.pids}

    def running(self, script: str) -> list[int]:
        """Those of Python that run a script of the sandbox, from inside."""
        return [
            pid for pid in self.alive() if any(script in word for word in _words(pid)) and "bwrap" not in _name(pid)
        ]

    @staticmethod
    def of_command(word: str) -> list[int]:
        """All processes with this in their command line that have not ended."""
        return [pid for pid in _pids() if any(word in one for one in _words(pid)) and _stat(pid)[:1] not in ([], ["Z"])]

    def alive(self) -> list[int]:
        """Those that have not ended."""
        return [pid for pid in self.pids if (now := _stat(pid)) and now[0] != "Z" and now[19:20] == self._starts[pid]]


def _line(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while pid in parents and (pid := parents[pid]) not in found:
        found.add(pid)
    return found


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; none for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _name(pid: int) -> str:
    return (_words(pid) or [""])[0]


@pytest.fixture
def processes() -> type[Processes]:
    return Processes


@pytest.fixture(params=["private", "plain", "unsafe"])
def sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """In name spaces of the broker's own, with bwrap alone, and without a sandbox; `default` is the best there is."""
    if request.param != "unsafe" and missing():
        pytest.skip(missing())
    if request.param == "private" and not NESTS:
        pytest.skip("sandboxes do not nest here")
    monkeypatch.setattr(bubblewrap, "nests", lambda bwrap: NESTS and request.param != "plain")
    made = Sandbox(None if request.param == "unsafe" else bubblewrap.find(), 2)
    yield made
    made.close()


@pytest.fixture
def image(processes: type[Processes]) -> Iterator:
    """The folder of a sandbox's image, as root or the owner of its name spaces sees it."""

    def find(sandbox: Sandbox) -> Path:
        broker = sandbox._broker
        assert broker is not None
        if broker.folder != bubblewrap.PRIVATE_FOLDER:
            return broker.folder / "image"
        (inner,) = processes(broker.process.pid).running("sandbox.broker")
        return Path(f"/proc/{inner}/root{broker.folder}/image")

    return find


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """Far more than any test here needs; what hangs fails."""

    def end(number: int, frame: object) -> None:
        raise TimeoutError("the sandbox does not answer")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
