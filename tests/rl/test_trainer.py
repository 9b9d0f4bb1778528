"""The training loop end to end on the tiny model: reproducible, resumable after a kill at any moment, guarded."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.cli.main import main
from harness.errors import UserError
from harness.records.jsonl import read_lines
from harness.records.run_folder import EVAL_FILE, METRICS_FILE, STATUS_FILE, TRACE_FILE
from harness.rl.loop import Trainer, Updated

SMALL = {
    "train.batch_size": 8,
    "train.group_size": 4,
    "execution.checkpoint_every": 1,
    "evaluation.items": 8,
    "evaluation.every": 4,
    "budget": {"updates": 8},
}
ROOT = Path(__file__).resolve().parents[2]


def request(runs, method="egspo-sa", seed=0, **overrides):
    return RunRequest(method=method, task="sudoku", seed=seed, runs=runs, overrides=SMALL | overrides)


def run(runs, **options):
    planned = plan(request(runs, **options))
    execute(planned, lambda event: None)
    return planned.folder


def metrics(folder):
    """metrics.jsonl without the times."""
    return [
        {key: value for key, value in line.items() if key != "seconds"} for line in read_lines(folder / METRICS_FILE)
    ]


def evaluations(folder):
    times = ("seconds", "eval_seconds", "tokens_per_second")
    return [{key: value for key, value in line.items() if key not in times} for line in read_lines(folder / EVAL_FILE)]


def traces(folder):
    return list(read_lines(folder / TRACE_FILE))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("uninterrupted"))


def test_a_run_leaves_every_record(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"config.yaml", "environment.json", METRICS_FILE, EVAL_FILE, STATUS_FILE, "checkpoints"} <= names
    assert {"samples-base.jsonl.gz", "samples-step000004.jsonl.gz", "samples-last.jsonl.gz"} <= names
    lines = metrics(finished)
    assert [line["update"] for line in lines] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [line["samples"] for line in lines] == [8, 8, 16, 16, 24, 24, 32, 32]
    assert [record["checkpoint"] for record in evaluations(finished)] == ["base", "step", "last"]
    assert all(sum(line["chosen_steps"]) == 16 for line in lines)
    assert all(line["flops_total"] == line["flops_rollout"] + line["flops_update"] for line in lines)
    assert json.loads((finished / STATUS_FILE).read_text())["state"] == "finished"
    environment = json.loads((finished / "environment.json").read_text())
    assert environment["data"]["leakage"] == {"exact": 0, "normalised": 0, "structural": 0}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(finished, tmp_path):
    again = run(tmp_path)
    assert metrics(again) == metrics(finished)
    assert evaluations(again) == evaluations(finished)
    assert traces(again) == traces(finished)
    assert metrics(run(tmp_path, seed=1)) != metrics(finished)


def test_micro_batches_change_no_result(finished, tmp_path):
    split = metrics(run(tmp_path, **{"execution.micro_batch_size": 3}))
    for ours, whole in zip(split, metrics(finished), strict=True):
        assert ours["loss"] == pytest.approx(whole["loss"], abs=1e-6)
        assert ours["gradient_norm"] == pytest.approx(whole["gradient_norm"], rel=1e-3, abs=1e-6)
        assert ours["ratio_max"] == pytest.approx(whole["ratio_max"], rel=1e-4)
        assert ours["samples"] == whole["samples"]


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_run_stopped_between_updates_goes_on_as_if_nothing_had_happened(finished, tmp_path, after):
    planned = plan(request(tmp_path))
    seen = []

    def stop(event):
        seen.append(event)
        if sum(isinstance(item, Updated) for item in seen) == after:
            raise StoppedError

    with pytest.raises(StoppedError):
        execute(planned, stop)
    execute(planned, lambda event: None)
    assert metrics(planned.folder) == metrics(finished)
    assert evaluations(planned.folder) == evaluations(finished)
    assert traces(planned.folder) == traces(finished)


def test_a_torn_last_line_is_dropped_on_resuming(finished, tmp_path, monkeypatch):
    planned = plan(request(tmp_path))
    original = Trainer._evaluate

    def stop_before_the_end(self, name):
        if name == "last":
            raise StoppedError
        yield from original(self, name)

    monkeypatch.setattr(Trainer, "_evaluate", stop_before_the_end)
    with pytest.raises(StoppedError):
        execute(planned, lambda event: None)
    monkeypatch.undo()
    with open(planned.folder / METRICS_FILE, "ab") as stream:
        stream.write(b'{"update": 9, "loss"')
    execute(planned, lambda event: None)
    assert metrics(planned.folder) == metrics(finished)
    assert evaluations(planned.folder) == evaluations(finished)
    assert traces(planned.folder) == traces(finished)


@pytest.mark.parametrize(
    "overrides",
    [
        {"model.lora.rank": 4, "model.lora.dropout": 0.1, "method.beta": 0.04},
        {"method.beta": 0.04, "method.kl": "exact", "method.aggregation": "mean"},
        {"method.baseline": "step", "method.greedy": "lazy", "method.selection": "random"},
        {"method.slots_per_update": 2, "optimizer.schedule": "cosine", "optimizer.warmup_updates": 3},
        {"rollout.num_steps": 5, "rollout.block_length": 8, "method.until_last_non_eos": True},
        {"reward": "random"},
    ],
    ids=lambda overrides: ",".join(overrides),
)
def test_every_kind_of_run_trains_resumes_and_repeats(tmp_path, overrides):
    overrides = {"budget": {"updates": 5}, **overrides}
    whole = run(tmp_path / "whole", **overrides)
    planned = plan(request(tmp_path / "stopped", **overrides))
    count = 0

    def stop(event):
        nonlocal count
        count += isinstance(event, Updated)
        if count == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        execute(planned, stop)
    execute(planned, lambda event: None)
    assert metrics(planned.folder) == metrics(whole)
    assert traces(planned.folder) == traces(whole)
    assert max(line["gradient_norm"] for line in metrics(whole)) > 1e-3


def test_a_budget_in_samples_flops_or_minutes_ends_the_run(tmp_path):
    by_samples = metrics(run(tmp_path / "samples", budget={"samples": 20}))
    assert by_samples[-1]["samples"] == 24
    by_flops = metrics(run(tmp_path / "flops", budget={"flops": 2e9}))
    assert by_flops[-1]["flops_total"] >= 2e9
    assert by_flops[-3]["flops_total"] < 2e9
    assert metrics(run(tmp_path / "minutes", budget={"minutes": 0.001}))


def test_the_learning_rate_follows_warm_up_and_schedule(tmp_path):
    overrides = {"optimizer.schedule": "linear", "optimizer.warmup_updates": 2, "optimizer.learning_rate": 8e-4}
    rates = [line["learning_rate"] for line in metrics(run(tmp_path, **overrides))]
    assert rates == pytest.approx([4e-4, 7e-4, 6e-4, 5e-4, 4e-4, 3e-4, 2e-4, 1e-4])


def test_updates_with_a_gradient_that_is_not_finite_are_skipped_and_counted_then_end_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.rl.update.MAX_BAD_UPDATES", 3)
    planned = plan(request(tmp_path))
    loss = type(planned.method).loss

    def poisoned(self, policy, part):
        value, named = loss(self, policy, part)
        return value * torch.nan, named

    monkeypatch.setattr(type(planned.method), "loss", poisoned)
    with pytest.raises(UserError, match=r"diverged.*3 updates in a row.*learning_rate"):
        execute(planned, lambda event: None)
    assert [line["skipped_updates"] for line in metrics(planned.folder)] == [1, 2]
    status = json.loads((planned.folder / STATUS_FILE).read_text())
    assert status["state"] == "failed"
    assert "diverged" in status["reason"]


def test_a_corrupt_checkpoint_is_named_and_fresh_starts_over(finished, tmp_path, capsys):
    arguments = ["run", "--method", "egspo-sa", "--task", "sudoku", "--runs", str(tmp_path), "--budget", "updates=2"]
    for key, value in SMALL.items():
        if key != "budget":
            arguments += ["--set", f"{key}={value}"]
    assert main(arguments) == 0
    (folder,) = (path.parent for path in tmp_path.rglob(STATUS_FILE))
    status = json.loads((folder / STATUS_FILE).read_text())
    (folder / STATUS_FILE).write_text(json.dumps(status | {"state": "running"}))
    (weights,) = folder.rglob("weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    before = (folder / METRICS_FILE).read_bytes()
    capsys.readouterr()
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert "corrupt" in message
    assert "--fresh" in message
    assert "Traceback" not in message
    assert (folder / METRICS_FILE).read_bytes() == before
    assert main([*arguments, "--fresh"]) == 0


@pytest.mark.long
def test_twenty_kills_at_random_moments_change_nothing(tmp_path):
    whole = run(tmp_path / "whole", budget={"updates": 24})
    runs = tmp_path / "killed"
    arguments = ["run", "--method", "egspo-sa", "--task", "sudoku", "--runs", str(runs), "--budget", "updates=24"]
    for key, value in SMALL.items():
        if key != "budget":
            arguments += ["--set", f"{key}={value}"]
    command = [sys.executable, "-m", "harness", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    moments = random.Random(0)
    kills = 0
    while kills < 20:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
        )
        # The first line comes when everything is imported and the work begins.
        process.stdout.readline()
        try:
            assert process.wait(moments.uniform(0.0, 2.5)) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            (folder,) = (path.parent for path in runs.rglob(STATUS_FILE))
            assert metrics(folder) == metrics(whole)
            shutil.rmtree(runs)
    assert subprocess.run(command, env=environment, check=False, stdout=subprocess.DEVNULL).returncode == 0
    (folder,) = (path.parent for path in runs.rglob(STATUS_FILE))
    assert metrics(folder) == metrics(whole)
    assert evaluations(folder) == evaluations(whole)
    assert traces(folder) == traces(whole)
