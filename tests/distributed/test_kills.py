"""Runs that are killed at any moment end as if nothing had happened, and jobs on one folder never mix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CAMPAIGN = Path(__file__).with_name("campaign.py")
ROOT = CAMPAIGN.parents[2]


def campaign(what: str, number: int, seed: int, folder: Path) -> dict[str, Any]:
    command = [sys.executable, str(CAMPAIGN), what, str(number), str(seed), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("number", [pytest.param(10, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.long)])
def test_runs_of_one_and_two_processes_that_are_killed_end_as_undisturbed_ones(tmp_path: Path, number: int) -> None:
    report = campaign("kills", number, 0, tmp_path)
    assert report["wrong"] == []
    assert report["kills"] == number
    assert report["finished"] >= 2


@pytest.mark.parametrize("number", [pytest.param(2, marks=pytest.mark.slow), pytest.param(10, marks=pytest.mark.long)])
def test_two_jobs_that_start_at_once_on_one_folder_finish_every_run_right(tmp_path: Path, number: int) -> None:
    report = campaign("collisions", number, 0, tmp_path)
    assert report["wrong"] == []
    assert (report["collisions"], report["finished"]) == (number, 2 * number)
