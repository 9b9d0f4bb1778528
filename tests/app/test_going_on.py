"""A run that goes on: to a longer budget, with less memory, and under the name that an earlier version gave it."""

import json
import shutil

import pytest
import torch
import yaml

from harness.app.plan import RunRequest, plan
from harness.app.run import execute
from harness.cli.main import main
from harness.errors import UserError
from harness.records.description import read_description
from harness.records.jsonl import read_lines
from harness.records.run_folder import (
    CHECKPOINT_FOLDER,
    CONFIG_FILE,
    EVAL_FILE,
    METRICS_FILE,
    STATUS_FILE,
    TRACE_FILE,
    read_status,
)
from harness.rl.loop import Updated

SMALL = {
    "train.batch_size": 8,
    "train.group_size": 4,
    "execution.checkpoint_every": 1,
    "evaluation.items": 8,
    "evaluation.every": 4,
    "optimizer.learning_rate": 3e-4,
}
TIMES = ("seconds", "eval_seconds", "tokens_per_second")


def planned(runs, method="egspo-sa", *, fresh=False, **overrides):
    return plan(RunRequest(method=method, task="sudoku", runs=runs, fresh=fresh, overrides=SMALL | overrides))


def run(runs, *arguments, **options):
    cell = planned(runs, *arguments, **options)
    execute(cell, lambda event: None)
    return cell.folder


def records(folder, name):
    """Without what is measured in seconds."""
    return [{key: value for key, value in line.items() if key not in TIMES} for line in read_lines(folder / name)]


def weights(folder):
    (file,) = (folder / CHECKPOINT_FOLDER).glob("*/weights.safetensors")
    return file.read_bytes()


def stages(folder):
    return [(line["checkpoint"], line["update"]) for line in read_lines(folder / EVAL_FILE)]


class StoppedError(Exception):
    pass


def stop_after(updates):
    """An observer that ends the process's work after so many updates."""
    seen = []

    def observe(event):
        seen.append(isinstance(event, Updated))
        if sum(seen) == updates:
            raise StoppedError

    return observe


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """A run with eight updates from the start."""
    return run(tmp_path_factory.mktemp("eight"), budget={"updates": 8})


def equal_but_for(evaluations, extended, whole):
    assert records(extended, METRICS_FILE) == records(whole, METRICS_FILE)
    assert records(extended, TRACE_FILE) == records(whole, TRACE_FILE)
    assert weights(extended) == weights(whole)
    further = [line for line in records(extended, EVAL_FILE) if line not in records(whole, EVAL_FILE)]
    assert [(line["checkpoint"], line["update"]) for line in further] == evaluations
    assert [line for line in records(extended, EVAL_FILE) if line not in further] == records(whole, EVAL_FILE)


def test_a_finished_run_goes_on_to_a_longer_budget_and_equals_one_that_had_it_from_the_start(eight, tmp_path):
    folder = run(tmp_path, budget={"updates": 6})
    assert stages(folder) == [("base", 0), ("step", 4), ("last", 6)]
    samples = (folder / "samples-last.jsonl.gz").read_bytes()
    assert run(tmp_path, budget={"updates": 8}) == folder
    assert folder.name == eight.name
    assert stages(folder) == [("base", 0), ("step", 4), ("step", 6), ("last", 8)]
    assert (folder / "samples-step000006.jsonl.gz").read_bytes() == samples
    assert records(folder, EVAL_FILE)[2]["samples_file"] == "samples-step000006.jsonl.gz"
    equal_but_for([("step", 6)], folder, eight)
    assert read_description(folder).config["budget"]["updates"] == 8
    assert (read_status(folder).state, read_status(folder).updates) == ("finished", 8)
    assert planned(tmp_path, budget={"updates": 8}).finished


def test_an_evaluation_that_was_due_anyway_is_no_further_one(eight, tmp_path):
    folder = run(tmp_path, budget={"updates": 4})
    run(tmp_path, budget={"samples": 32})
    equal_but_for([], folder, eight)


@pytest.mark.parametrize("after", [1, 2])
def test_an_extension_that_is_stopped_goes_on(eight, tmp_path, after):
    folder = run(tmp_path, budget={"updates": 6})
    with pytest.raises(StoppedError):
        execute(planned(tmp_path, budget={"updates": 8}), stop_after(after))
    assert read_status(folder).state == "running"
    assert not planned(tmp_path, budget={"updates": 8}).finished
    run(tmp_path, budget={"updates": 8})
    equal_but_for([("step", 6)], folder, eight)


def test_a_run_stopped_before_its_end_goes_on_to_another_budget(eight, tmp_path):
    with pytest.raises(StoppedError):
        execute(planned(tmp_path, budget={"updates": 20}), stop_after(5))
    folder = run(tmp_path, budget={"updates": 8})
    assert records(folder, EVAL_FILE) == records(eight, EVAL_FILE)
    assert weights(folder) == weights(eight)


@pytest.mark.parametrize("budget", [{"updates": 6}, {"samples": 24}, {"updates": 9, "flops": 1e3}, {"minutes": 1e-6}])
def test_a_budget_that_the_run_has_used_up_is_refused_and_changes_nothing(eight, budget):
    before = {path: path.read_bytes() for path in eight.iterdir() if path.is_file()}
    with pytest.raises(UserError, match=r"has already used up the budget .*: it made 8 updates \(32 samples\)"):
        planned(eight.parents[3], budget=budget)
    assert {path: path.read_bytes() for path in eight.iterdir() if path.is_file()} == before
    assert planned(eight.parents[3], fresh=True, budget=budget).folder == eight


def test_a_used_up_budget_is_one_sentence_on_the_command_line(eight, capsys):
    arguments = ["run", "--method", "egspo-sa", "--task", "sudoku", "--runs", str(eight.parents[3])]
    for key, value in SMALL.items():
        arguments += ["--set", f"{key}={value}"]
    assert main([*arguments, "--budget", "updates=6"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "used up the budget updates=6: it made 8 updates (32 samples) under updates=8; ask for a longer" in said
    assert main([*arguments, "--budget", "updates=8"]) == 0
    assert "already finished" in capsys.readouterr().out


def test_a_run_that_ended_among_the_updates_of_a_rollout_cannot_go_on(tmp_path):
    run(tmp_path, budget={"updates": 5})
    with pytest.raises(UserError, match=r"ended at updates=5, in the middle of a rollout's updates.*--fresh"):
        planned(tmp_path, budget={"updates": 8})


def test_a_finished_run_without_checkpoints_cannot_go_on(tmp_path):
    folder = run(tmp_path, budget={"updates": 2})
    shutil.rmtree(folder / CHECKPOINT_FOLDER)
    assert planned(tmp_path, budget={"updates": 2}).finished
    with pytest.raises(UserError, match="finished with the budget updates=2 and kept no checkpoint"):
        planned(tmp_path, budget={"updates": 4})


def test_where_the_learning_rate_follows_the_budget_another_budget_is_another_run(tmp_path):
    schedule = {"optimizer.schedule": "linear"}
    six, other = (planned(tmp_path, budget={"updates": updates}, **schedule) for updates in (6, 8))
    assert six.folder != other.folder


def test_settings_of_execution_never_change_the_folder(tmp_path):
    plain = planned(tmp_path, budget={"updates": 2})
    for key, value in {
        "device": "cpu",
        "micro_batch_size": 3,
        "checkpoint_every": 9,
        "evaluation_batch_size": 5,
    }.items():
        assert planned(tmp_path, budget={"updates": 2}, **{f"execution.{key}": value}).folder == plain.folder


def test_a_run_that_runs_out_of_memory_goes_on_with_smaller_micro_batches(eight, tmp_path, monkeypatch):
    whole_run = planned(tmp_path, budget={"updates": 8})
    loss, rows = type(whole_run.method).loss, []

    def limited(self, policy, part):
        rows.append(len(part.tokens_BL))
        if len(rows) > 4 and rows[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(self, policy, part)

    monkeypatch.setattr(type(whole_run.method), "loss", limited)
    execute(whole_run, lambda event: None)
    assert read_status(whole_run.folder).state == "finished"
    assert rows[:4] == [8] * 4
    assert max(rows[6:]) <= 3
    for mine, whole in zip(records(whole_run.folder, METRICS_FILE), records(eight, METRICS_FILE), strict=True):
        assert mine["loss"] == pytest.approx(whole["loss"], abs=1e-6)


OLD_NAME = "cc417718-seed0"
"""What the version before called the run of SMALL with 8 updates."""


def as_the_version_before_left_it(folder):
    """Moves a run to its old name and gives its files the old form."""
    old = folder.with_name(OLD_NAME)
    folder.rename(old)
    tree = yaml.safe_load((old / CONFIG_FILE).read_text())
    execution = tree.pop("execution")
    tree["config"]["model"]["device"] = execution["device"]
    tree["config"]["train"] |= {key: execution[key] for key in ("micro_batch_size", "checkpoint_every")}
    tree["config"]["evaluation"]["batch_size"] = execution["evaluation_batch_size"]
    tree["identity"] |= {"config_hash": OLD_NAME[:8], "checkpoint_choice": "last", "extra": {}}
    (old / CONFIG_FILE).write_text(yaml.safe_dump(tree))
    for state in (old / CHECKPOINT_FOLDER).glob("*/state.json"):
        checkpoint = json.loads(state.read_text())
        del checkpoint["progress"]["unmade_updates"]
        state.write_text(json.dumps(checkpoint))
    return old


def test_an_unfinished_run_under_its_old_name_goes_on_there(eight, tmp_path):
    stopped = planned(tmp_path, budget={"updates": 8})
    with pytest.raises(StoppedError):
        execute(stopped, stop_after(5))
    old = as_the_version_before_left_it(stopped.folder)
    again = planned(tmp_path, budget={"updates": 8})
    assert (again.folder, again.finished) == (old, False)
    execute(again, lambda event: None)
    assert records(old, METRICS_FILE) == records(eight, METRICS_FILE)
    assert records(old, EVAL_FILE) == records(eight, EVAL_FILE)
    assert weights(old) == weights(eight)
    assert read_description(old).identity.config_hash == OLD_NAME[:8]
    assert [path.name for path in old.parent.iterdir()] == [OLD_NAME]
    assert planned(tmp_path, budget={"updates": 8}).finished


def test_under_both_names_the_old_one_is_the_run_and_a_present_one_is_left_to_other_seeds(eight, tmp_path):
    place = tmp_path / "sudoku" / "egspo-sa" / "tiny"
    shutil.copytree(eight, place / OLD_NAME)
    assert planned(tmp_path, budget={"updates": 8}).folder.name == OLD_NAME
    assert planned(tmp_path, budget={"updates": 8}, seed=1).folder.name == OLD_NAME.replace("seed0", "seed1")
    (place / eight.name.replace("seed0", "seed1")).mkdir()
    assert planned(tmp_path, budget={"updates": 8}, seed=1).folder.name == eight.name.replace("seed0", "seed1")


def test_the_status_is_running_before_the_description_names_another_budget(tmp_path, monkeypatch):
    folder = run(tmp_path, budget={"updates": 2})

    def killed(*arguments):
        raise StoppedError

    monkeypatch.setattr("harness.app.run.write_description", killed)
    with pytest.raises(StoppedError):
        execute(planned(tmp_path, budget={"updates": 4}), lambda event: None)
    monkeypatch.undo()
    assert json.loads((folder / STATUS_FILE).read_text())["state"] == "running"
    for updates in (2, 4):
        assert not planned(tmp_path, budget={"updates": updates}).finished
