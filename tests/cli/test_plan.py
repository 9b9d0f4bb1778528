"""harness plan: what is shown, and what is refused."""

from __future__ import annotations

import inspect

import pytest
import torch

from harness import registry
from harness.cli.main import main
from harness.cli.plan import plan_run
from harness.cli.run import run
from harness.models.small import fresh_small, save_small

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


def test_prompts_of_the_small_model_are_counted_in_its_own_tokens(tmp_path, capsys):
    save_small(fresh_small([registry.get_task("gsm8k")()], 0), tmp_path)
    words = ["plan", "--method", "espo", "--task", "gsm8k", "--model", str(tmp_path), "--recipe", "small"]
    assert main([*words, "--data", "builtin", "--rate", "1", "--runs", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert "Prompts: 17 tokens (the longest training prompt)" in shown
    assert "Compute: 16 rollouts, 32 updates" in shown


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
    cell = {"--method": "espo", "--task": "sudoku", "--model": str(broken), "--budget": "updates=1"}
    cell |= dict([options])
    assert main([*command, *(word for pair in cell.items() for word in pair)]) == 2
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
    small = ["--memory", "0.1", "--set", "execution.device=cpu"]
    small += ["--set", "execution.activation_checkpointing=false,true"]
    assert main([*TINY, "--runs", str(tmp_path), *small]) == 2
    shown = capsys.readouterr()
    assert shown.out.count("Memory per device") == 2
    assert shown.err.count("espo on sudoku, tiny: It does not fit") == 1


def test_plan_has_every_option_of_run_that_says_what_is_run():
    where = {"launcher", "jobs", "partition", "time", "nodes", "gpus_per_node", "sbatch", "dry_run"}
    own = {"recipe_file", "devices", "memory", "rate", "show_config", "as_json"}
    assert inspect.signature(plan_run).parameters.keys() - own == inspect.signature(run).parameters.keys() - where


def written(folder, text, name="own.yaml"):
    path = folder / name
    path.write_text(text)
    return str(path)


def test_a_recipe_of_a_file_that_says_its_method_and_task_is_planned(tmp_path, capsys):
    own = written(tmp_path, "extends: espo/sudoku:tiny\ntrain: {batch_size: 32}\nbudget: {samples: 64}\n")
    assert main(["plan", own, "--rate", "1", "--runs", str(tmp_path / "runs")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("espo on sudoku, tiny: ")
    assert "Compute: 2 rollouts, 4 updates" in shown


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("extends: espo/sudoku:tiny\nopimizer: {beta1: 0.5}\n", (), "Unknown configuration key 'opimizer"),
        ("extends: espo/sudoku:tiny\noptimizer: {beta3: 0.5}\n", (), "Unknown configuration key 'optimizer.beta3'"),
        (
            "extends: espo/sudoku:tiny\nmethod: {num_selected: 2}\n",
            (),
            "Unknown configuration key 'method.num_sel",
        ),
        (
            "extends: espo/sudoku:tiny\ntrain: {group_size: eight}\n",
            (),
            "train.group_size='eight' is not a whole",
        ),
        ("extends: espo/sudoku:tiny\nrollout: {remasking: nope}\n", (), "Unknown rollout.remasking 'nope'"),
        ("extends: espo/sudoku:tiny\nmethod: {name: d1}\n", (), "'method.name' is chosen by --method"),
        ("extends: esspo/sudoku:tiny\n", (), "Unknown method 'esspo'. Did you mean 'espo'?"),
        ("extends: espo/sudoku:tiny\n", ("--recipe", "tiny"), "are two recipes; leave out one of them"),
        ("budget: {updates: 1}\n", ("--task", "sudoku"), "does not say which method it is for"),
        ("- a list\n", (), "must be a YAML mapping"),
        ("tiny: {}\npaper: {budget: {updates: -1}}\n", ("--method", "espo"), "budget.updates=-1"),
        ("tiny: {extends: nope}\n", ("--method", "espo"), "Unknown recipe for espo on countdown 'nope'"),
    ],
)
def test_what_is_wrong_with_a_recipe_file_is_one_sentence(tmp_path, capsys, text, options, said):
    assert main(["plan", written(tmp_path, text), "--runs", str(tmp_path / "runs"), *options]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


def test_all_recipes_of_a_file_called_after_its_method_are_checked_for_every_task(tmp_path, capsys):
    own = written(tmp_path, "tiny: {method: {mc_samples: 1}}\npaper: {extends: espo:paper}\n", "espo.yaml")
    assert main(["plan", own, "--runs", str(tmp_path / "runs")]) == 0
    tasks = "countdown, gsm8k, humaneval, math500, mbpp, sudoku"
    assert capsys.readouterr().out == (
        f"Recipe {own}:tiny of espo is right on {tasks}; --task T shows what it takes.\n"
        f"Recipe {own}:paper of espo is right on {tasks}; --task T shows what it takes.\n"
    )


def test_a_command_without_a_method_or_a_task_says_so(capsys):
    assert main(["plan", "--task", "sudoku"]) == 2
    assert capsys.readouterr().err == "harness: --method is missing; harness list methods shows what there is.\n"
    assert main(["run", "--method", "espo"]) == 2
    assert capsys.readouterr().err == "harness: --task is missing; harness list tasks shows what there is.\n"
