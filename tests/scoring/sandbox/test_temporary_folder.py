"""A folder for temporary files that the sandbox cannot use: one sentence, exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from harness.scoring.sandbox import bubblewrap, client
from harness.scoring.sandbox.client import Sandbox, missing
from harness.scoring.sandbox.job import KNOWN_GOOD

NESTS = not missing() and bubblewrap.nests(str(bubblewrap.find()))
pytestmark = pytest.mark.skipif(not NESTS, reason="mounting a folder takes a sandbox around the test")
SCRIPT = """
import ctypes, sys
from harness.cli.main import main
from harness.scoring.sandbox import bubblewrap
place, flags, options, *arguments = sys.argv[1:]
mount = ctypes.CDLL(None).mount
assert mount(b"tmpfs", place.encode(), b"tmpfs", int(flags), options.encode()) == 0
bubblewrap.nests = lambda bwrap: False
sys.exit(main(arguments))
"""
READ_ONLY, NO_EXECUTION = 1, 8


def grade(tmp_path, flags: int, options: str, *arguments: str) -> subprocess.CompletedProcess:
    file, place = tmp_path / "one.jsonl", tmp_path / "temporary"
    place.mkdir()
    row = {"prompt": "Q", "completion": "```python\ndef f(x): return 2\n```", "target": ["assert f(1) == 2"]}
    file.write_text(json.dumps(row) + "\n")
    command = [sys.executable, "-c", SCRIPT, str(place), str(flags), options]
    command += ["grade", str(file), "--task", "mbpp", *arguments]
    return subprocess.run(
        [str(bubblewrap.find()), *bubblewrap.PRIVATE, "--", *command],
        env={**os.environ, "TMPDIR": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("flags", "options", "arguments", "said"),
    [
        (0, "size=4k", (), "No space left on device"),
        (0, "size=100k", (), "No space left on device"),
        (0, "size=4m", (), "No space left on device"),
        (0, "nr_inodes=20", (), "No space left on device"),
        (0, "nr_inodes=2", (), "No space left on device"),
        (0, "size=4k", ("--unsafe-local-exec",), "No space left on device"),
        (NO_EXECUTION, "", (), "is mounted noexec; set TMPDIR to a folder from which programs can be executed"),
        (NO_EXECUTION, "size=100m", (), "is mounted noexec"),
    ],
)
def test_a_folder_that_is_too_small_or_forbids_execution_is_named(tmp_path, flags, options, arguments, said):
    done = grade(tmp_path, flags, options, *arguments)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("harness: ")
    assert said in done.stderr
    assert "temporary" in done.stderr


def test_a_broker_in_name_spaces_of_its_own_needs_no_such_folder(monkeypatch):
    monkeypatch.setattr(client.tempfile, "mkdtemp", None)
    sandbox = Sandbox(bubblewrap.find(), 1)
    assert sandbox.run([KNOWN_GOOD])[0].passed
    sandbox.close()
