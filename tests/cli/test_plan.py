"""harness plan: what is shown, and what is refused."""

from __future__ import annotations

import pytest

from harness.cli.main import main

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
