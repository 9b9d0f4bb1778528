"""Recorded runs as data frames: the committed reference runs, unfinished runs, unreadable folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness import read_runs
from harness.errors import UserError

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"


def one_of(task: str, method: str) -> Path:
    return next(path for path in sorted((REFERENCE / task / method / "tiny").iterdir()) if path.name.endswith("seed0"))


def test_the_reference_runs_are_read_with_their_settings_evaluations_and_updates() -> None:
    frames = read_runs(REFERENCE)
    assert len(frames.runs) == 36
    assert set(frames.runs["state"]) == {"finished"}
    assert set(frames.runs["method"]) == {"agrpo", "d1", "egspo", "egspo-sa", "espo"}
    assert (frames.runs.loc[frames.runs["task"] == "countdown", "rollout.completion_length"] == 8).all()
    assert len(frames.skipped) == 0
    cell = (frames.evaluations["task"] == "countdown") & (frames.evaluations["method"] == "espo")
    base = frames.evaluations[cell & (frames.evaluations["checkpoint"] == "base") & (frames.evaluations["seed"] == 0)]
    accuracy = base.set_index("metric").loc["accuracy"]
    assert (accuracy["value"], accuracy["n"], accuracy["decoding.num_steps"]) == (60 / 256, 256, 8)
    updates = frames.metrics.groupby("folder")["update"].max()
    assert (frames.runs.set_index("folder")["updates"] == updates).all()
    assert "seconds.rollout" in frames.metrics.columns


def test_unfinished_runs_are_read_and_unreadable_folders_are_named(tmp_path: Path) -> None:
    good, bad, foreign = tmp_path / "good", tmp_path / "bad", tmp_path / "foreign"
    shutil.copytree(one_of("sudoku", "egspo"), good)
    status = json.loads((good / "status.json").read_text())
    (good / "status.json").write_text(json.dumps(status | {"state": "running", "updates": 3}))
    shutil.copytree(good, bad)
    (bad / "eval.jsonl").write_text("{\n{}\n")
    foreign.mkdir()
    (foreign / "eval.jsonl").write_text("{}\n")
    frames = read_runs(tmp_path)
    assert frames.runs[["folder", "state", "updates"]].to_numpy().tolist() == [[str(good), "running", 3]]
    assert dict(zip(frames.skipped["path"], frames.skipped["reason"], strict=True)).keys() == {"bad", "foreign"}
    assert set(frames.evaluations["folder"]) == set(frames.metrics["folder"]) == {str(good)}


@pytest.mark.parametrize(
    ("name", "words"), [("missing", "is neither a folder nor an archive of runs"), (".", "There are no runs in")]
)
def test_a_folder_without_runs_is_refused(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_runs(tmp_path / name)
