"""harness plan: what is shown, and what is refused."""

from __future__ import annotations

import inspect

import pytest
import torch

from harness.cli.main import main
from harness.cli.plan import plan_run
from harness.cli.run import run

TINY = ("plan", "--method", "espo", "--task", "sudoku", "--rate", "1")


def test_a_plan_shows_data_memory_compute_and_disk(tmp_path, capsys):
    assert main([*TINY, "--runs", str(tmp_path), "--config"]) == 0
    shown = capsys.readouterr().out
    assert "4,096 training examples (builtin), 256 evaluation items (builtin)" in shown
    assert "201,536 trainable weights" in shown
    assert "Prompts: 17 tokens (the longest training prompt)" in shown
    assert "Compute: 24 rollouts, 48 updates" in shown
    assert "1 TFLOP/s in updates, as stated" in shown
    assert "It fits" in shown
    assert "method.mc_samples" in shown
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_fit_is_refused_with_what_would_fit(tmp_path, capsys):
    assert main([*TINY, "--runs", str(tmp_path), "--memory", "0.1", "--set", "execution.device=cpu"]) == 2
    said = capsys.readouterr().err
    assert "It does not fit" in said
    assert "With --set execution.activation_checkpointing=true it takes 0.1 GiB" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_memory_of_a_gpu_that_is_not_here_needs_no_rate(tmp_path, capsys):
    assert main([*TINY[:-2], "--runs", str(tmp_path), "--memory", "24"]) == 0
    assert "matrix products on this machine: state the GPU's with --rate for its hours" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "execution.sharding=zero3"), "execution.sharding"),
        (("--devices", "7"), "train.batch_size=64 rows cannot be shared equally by 7 processes; start 4 or 8"),
        (("--model", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, capsys, options, said):
    assert main([*TINY, "--runs", str(tmp_path), *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--method", "espo,nope"), "Unknown method 'nope'"),
        (("--task", "sudoku,nope"), "Unknown task 'nope'"),
        (("--set", "reward=task,nope"), "Unknown reward 'nope'"),
        (("--recipe", "nope"), "Unknown recipe for espo on sudoku 'nope'"),
        (("--prompts", "PROMPTS"), "Prompts file 'PROMPTS' cannot be read"),
    ],
)
@pytest.mark.parametrize("command", [("plan",), ("run", "--dry-run")])
def test_what_is_wrong_with_any_cell_is_said_before_a_model_s_files_are_read(
    tmp_path, capsys, monkeypatch, command, options, said
):
    monkeypatch.chdir(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    cell = ["--method", "espo", "--task", "sudoku", "--model", str(broken), "--budget", "updates=1"]
    assert main([*command, *cell, *options]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert (shown.out, list(tmp_path.iterdir())) == ("", [broken])


def test_a_broken_model_is_said_where_everything_else_is_right(tmp_path, capsys):
    (tmp_path / "config.json").write_text("{")
    assert main([*TINY, "--model", str(tmp_path), "--budget", "updates=1", "--runs", str(tmp_path / "runs")]) == 2
    assert "config.json' is not readable JSON" in capsys.readouterr().err


def test_a_dry_run_shows_the_plan_of_every_cell_and_starts_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("harness.planning.device.matmul_rate", lambda device: 1e11)
    cells = ["--method", "egspo,espo", "--task", "sudoku", "--seed", "0,1", "--runs", str(tmp_path / "runs")]
    assert main(["plan", *cells, "--config", "--set", "execution.device=cpu"]) == 0
    planned = capsys.readouterr().out
    assert (
        main(["run", *cells, "--dry-run", "--launcher", "local", "--jobs", "2", "--set", "execution.device=cpu"]) == 0
    )
    shown = capsys.readouterr().out

    def without_disk(text):
        """What is free on the disk changes from moment to moment."""
        return [line for line in text.splitlines() if not line.startswith("Disk:")]

    assert without_disk(shown) == without_disk(planned)
    folders = [line for line in shown.splitlines() if line.startswith("egspo on sudoku, tiny: ")]
    assert [folder[-6:] for folder in folders] == ["-seed0", "-seed1"]
    assert shown.count("Compute: 24 rollouts, 48 updates") == 2
    assert "method.num_selected" in shown
    assert "method.mc_samples" in shown
    assert list(tmp_path.iterdir()) == []


def test_every_cell_is_shown_before_those_that_cannot_fit_are_refused(tmp_path, capsys):
    small = ["--memory", "0.1", "--set", "execution.device=cpu", "--set", "execution.micro_batch_size=0,1"]
    assert main([*TINY, "--runs", str(tmp_path), *small]) == 2
    shown = capsys.readouterr()
    assert shown.out.count("Memory per device") == 2
    assert shown.err.count("espo on sudoku, tiny: It does not fit") == 1


def test_plan_has_every_option_of_run_that_says_what_is_run():
    where = {"launcher", "jobs", "partition", "time", "nodes", "gpus_per_node", "sbatch", "dry_run"}
    own = {"devices", "memory", "rate", "show_config"}
    assert inspect.signature(plan_run).parameters.keys() - own == inspect.signature(run).parameters.keys() - where
