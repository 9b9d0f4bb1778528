"""Trackers: told of everything, recorded in no name, and never in the way of a run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from accelerate import tracking

from harness.app.plan import PlannedRun, RunRequest, plan
from harness.app.run import execute
from harness.cli.main import main
from harness.records.description import read_description
from harness.records.jsonl import read_lines
from harness.records.run_folder import METRICS_FILE, read_status

SMALL = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 4, "budget": {"updates": 2}}


def planned(runs: Path, track: str) -> PlannedRun:
    overrides = SMALL | {"execution.track": track}
    return plan(RunRequest(method="egspo", task="sudoku", runs=runs, overrides=overrides))


class Recorder(tracking.GeneralTracker):  # type: ignore[misc]
    """Stands for Trackio, which is not among the test dependencies: it needs a web server of its own."""

    name, requires_logging_directory, made = "trackio", False, []  # type: ignore[var-annotated]
    fails_at: int | None = None

    def __init__(self, project: str, **options: Any) -> None:
        super().__init__()
        self.project, self.options, self.logged, self.ended = project, options, [], 0
        self.made.append(self)

    @property
    def tracker(self) -> Any:
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, Any], step: int | None = None, **options: Any) -> None:
        if step == self.fails_at:
            raise ConnectionError("no route to host")
        self.logged.append((step, values))

    def finish(self) -> None:
        self.ended += 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "trackio", Recorder)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(Recorder, "fails_at", None)
    return Recorder


def test_a_tracker_is_told_of_every_update_and_evaluation(tmp_path: Path, recorder: type[Recorder]) -> None:
    run = planned(tmp_path, "trackio")
    execute(run, lambda event: None)
    (told,) = recorder.made
    assert (told.project, told.ended) == ("harness", 1)
    assert told.options == {"name": run.identity.folder.as_posix(), "resume": "allow"}
    assert told.settings["train.batch_size"] == 8
    assert [step for step, _ in told.logged] == [0, 1, 2, 2]
    kinds = [min(values).partition("/")[0] for _, values in told.logged]
    assert kinds == ["eval-test-16-8", "train", "train", "eval-test-16-8"]
    for line, (_, values) in zip(read_lines(run.folder / METRICS_FILE), told.logged[1:3], strict=True):
        assert values["train/loss"] == line["loss"]
        assert values["train/reward_parts/correctness"] == line["reward_parts"]["correctness"]


def test_a_tracker_that_fails_is_warned_of_once_and_the_run_goes_on(tmp_path: Path, recorder: type[Recorder]) -> None:
    recorder.fails_at = 1
    run, warnings = planned(tmp_path, "trackio"), []
    execute(run, lambda event: None, warnings.append)
    reason = "trackio failed and is told of nothing more (no route to host); the run folder has everything"
    assert warnings == [reason]
    status = read_status(run.folder)
    assert status is not None
    assert (status.state, status.updates) == ("finished", 2)
    (told,) = recorder.made
    assert [step for step, _ in told.logged] == [0]
    assert told.ended == 0


def test_the_tracker_is_recorded_and_no_part_of_a_run_s_name(tmp_path: Path, recorder: type[Recorder]) -> None:
    with_one, without = planned(tmp_path, "trackio"), planned(tmp_path, "")
    assert with_one.folder == without.folder
    execute(with_one, lambda event: None)
    description = read_description(with_one.folder)
    assert description is not None
    assert description.execution["track"] == "trackio"
    assert without.finished


def test_tensorboard_has_the_numbers_of_the_run_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = planned(tmp_path, "tensorboard")
    execute(run, lambda event: None)
    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    losses = [(one.step, one.value) for one in events.Scalars("train/loss")]
    lines = read_lines(run.folder / METRICS_FILE)
    assert losses == [(line["update"], pytest.approx(line["loss"], rel=1e-6)) for line in lines]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("trackio", "--track trackio needs a package that is not installed: pip install trackio"),
        ("tensorbord", "tensorboard"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_before_anything_runs(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["run", "--method", "egspo", "--task", "sudoku", "--track", name, "--runs", str(tmp_path)]) == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
