"""One short run of every rival through the command line: it trains, evaluates, records, and is not run again."""

import json

import pytest

from harness.cli.main import main
from harness.models.tiny import fresh_tiny, save_tiny
from harness.scoring.sandbox.client import missing


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
