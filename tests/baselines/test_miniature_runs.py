"""One short run of every method through the command line: it trains, evaluates, records, and is not run again."""

import importlib.util
import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.models.tiny import fresh_tiny, save_tiny
from harness.scoring.sandbox.client import missing

specification = importlib.util.spec_from_file_location("small_methods", Path(__file__).parents[1] / "small_methods.py")
small_methods = importlib.util.module_from_spec(specification)
specification.loader.exec_module(small_methods)


@pytest.mark.parametrize(("name", "updates"), [("d1", 4), ("agrpo", 2), ("espo", 4)])
def test_a_method_trains_and_records_its_updates(name, updates, tmp_path, capsys):
    command = ["run", "--method", name, "--task", "sudoku", "--budget", "samples=32", "--runs", str(tmp_path)]
    for setting in ("train.batch_size=16", "evaluation.items=8", "evaluation.every=0", "method.beta=0.01"):
        command += ["--set", setting]
    assert main(command) == 0
    (folder,) = tmp_path.glob(f"sudoku/{name}/tiny/*-seed0")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == list(range(1, updates + 1))
    first, last = lines[0], lines[-1]
    assert first["ratio_mean"] == pytest.approx(1, abs=1e-4)
    assert first["gradient_norm"] > 0
    # AGRPO's only update of a rollout is on-policy; the others' second is not.
    assert (last["ratio_max"] == pytest.approx(1, abs=1e-4)) == (name == "agrpo")
    assert last["kl"] >= 0
    assert last["forwards"] > first["forwards"]
    assert (first["chosen_steps"] == []) == (name != "agrpo")
    evaluations = [json.loads(line)["checkpoint"] for line in (folder / "eval.jsonl").read_text().splitlines()]
    assert evaluations == ["base", "last"]
    capsys.readouterr()
    assert main([*command, "--seed", "0,0"]) == 0
    assert "already finished" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", small_methods.NAMES)
def test_every_method_trains_with_its_small_options_and_a_second_run_is_the_same(name, tmp_path):
    options = {f"method.{key}": value for key, value in small_methods.OPTIONS.get(name, {}).items()}
    settings = {"train.batch_size": 16, "evaluation.items": 8, "evaluation.every": 0, **options}
    lines = []
    for folder in ("first", "second"):
        command = ["run", "--method", name, "--task", "sudoku", "--budget", "samples=32", "--runs"]
        command += [str(tmp_path / folder)]
        for key, value in settings.items():
            command += ["--set", f"{key}={value}"]
        assert main(command) == 0
        (metrics,) = (tmp_path / folder).glob("sudoku/*/*/*/metrics.jsonl")
        lines.append([json.loads(line) for line in metrics.read_text().splitlines()])
    first, second = lines
    assert [line["update"] for line in first] == list(range(1, len(first) + 1))
    assert {line["iteration"] for line in first} == {1, 2}
    assert any(line["gradient_norm"] > 0 for line in first)
    assert all(line["skipped_updates"] == 0 for line in first)
    for column in ("loss", "gradient_norm", "ratio_max", "kl", "values"):
        assert [line[column] for line in first] == [line[column] for line in second]


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing() or "-")
@pytest.mark.parametrize("task", ["mbpp", "humaneval"])
def test_egspo_sa_trains_on_builtin_code(task, tmp_path):
    model, runs = tmp_path / "model", tmp_path / "runs"
    model.mkdir()
    save_tiny(fresh_tiny(0), model)
    command = ["run", "--method", "egspo-sa", "--task", task, "--budget", "updates=2", "--runs", str(runs)]
    command += ["--model", str(model), "--recipe", "tiny", "--data", "builtin"]
    for setting in ("train.batch_size=16", "evaluation.items=16", "evaluation.every=0"):
        command += ["--set", setting]
    assert main(command) == 0
    (folder,) = runs.glob(f"{task}/egspo-sa/*/*-seed0")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == [1, 2]
    evaluations = [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]
    assert [record["checkpoint"] for record in evaluations] == ["base", "last"]
