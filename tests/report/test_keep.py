"""What our study keeps of its runs (results/study/keep.py)."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FIRST, OTHER, TENTH = (f"sudoku/d1/tiny/1a2b3c4d-seed{seed}" for seed in (0, 1, 10))
FILES = ("config.yaml", "samples-last.jsonl.gz", "samples-step000004.jsonl.gz", "samples-base.jsonl.gz", "traces.jsonl")
LINE = {
    "flops": 70870630400.0,
    "loss": -4.656612873077393e-09,
    "parts": {"ends": [0.38125000000000003, 2]},
    "nothing": None,
}


@pytest.fixture(scope="module")
def keep(study_script: Callable[[str], ModuleType]) -> ModuleType:
    return study_script("keep")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in (FIRST, OTHER, TENTH, "countdown/d1/tiny/1a2b3c4d-seed0"):
        folder = tmp_path / "runs" / name
        (folder / "checkpoints" / "000048").mkdir(parents=True)
        for file in (*FILES, ".lock", "checkpoints/000048/model.safetensors"):
            (folder / file).write_text("as it is")
        (folder / "metrics.jsonl").write_text(json.dumps(LINE) + "\n")
    return tmp_path / "runs"


def read(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as tar:
        return {one.name: tar.extractfile(one).read().decode() for one in tar.getmembers()}  # type: ignore[union-attr]


def test_the_first_seed_is_kept_whole_but_for_weights_and_earlier_completions(keep: ModuleType, runs: Path) -> None:
    keep.pack(runs, "sudoku", runs / "a.tar.xz")
    found = {Path(name).name: text for name, text in read(runs / "a.tar.xz").items() if name.startswith(f"{FIRST}/")}
    assert set(found) == {"config.yaml", "metrics.jsonl", "samples-last.jsonl.gz", "traces.jsonl"}
    assert json.loads(found["metrics.jsonl"]) == LINE


@pytest.mark.parametrize("folder", [OTHER, TENTH])
def test_other_seeds_keep_their_records_with_six_digits(keep: ModuleType, runs: Path, folder: str) -> None:
    keep.pack(runs, "sudoku", runs / "a.tar.xz")
    found = {Path(name).name: text for name, text in read(runs / "a.tar.xz").items() if name.startswith(f"{folder}/")}
    assert set(found) == {"config.yaml", "metrics.jsonl"}
    short = {"flops": 70870630400.0, "loss": -4.65661e-09, "nothing": None, "parts": {"ends": [0.38125, 2]}}
    assert json.loads(found["metrics.jsonl"]) == short


def test_what_is_left_out_by_name_is_left_out(keep: ModuleType, runs: Path) -> None:
    keep.pack(runs, "sudoku", runs / "a.tar.xz", without=["metrics", "traces", "samples"])
    assert set(read(runs / "a.tar.xz")) == {f"{name}/config.yaml" for name in (FIRST, OTHER, TENTH)}


def test_the_same_runs_give_the_same_bytes_whenever_they_are_packed(keep: ModuleType, runs: Path) -> None:
    keep.pack(runs, "sudoku", runs / "a.tar.xz")
    for file in runs.rglob("*.yaml"):
        os.utime(file, (1, 1))
        file.chmod(0o600)
    keep.pack(runs, "sudoku", runs / "b.tar.xz")
    assert (runs / "a.tar.xz").read_bytes() == (runs / "b.tar.xz").read_bytes()
