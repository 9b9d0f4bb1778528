"""Grids of evaluations: one record each, resumed after a kill, shared among processes, read like a run's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import harness
from harness.app.api import RunResult
from harness.app.evaluate import EvaluationRequest, evaluate_all
from harness.app.evaluations import Evaluated
from harness.cli.main import main
from harness.errors import UserError
from harness.records.jsonl import read_lines
from harness.records.schema import EvalRecord

SMALL = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 8, "evaluation.every": 2}
TIMES = ("seconds", "eval_seconds", "tokens_per_second")


def evaluated(out: Path | None, tasks: tuple[str, ...] = ("sudoku",), **options: Any) -> list[Evaluated]:
    request = EvaluationRequest(**{"model": "tiny", "tasks": tasks, "items": 8, "out": out, **options})
    return list(evaluate_all(request))


def records(folder: Path) -> list[EvalRecord]:
    return [EvalRecord.from_json(line) for line in read_lines(folder / "eval.jsonl")]


def untimed(folder: Path) -> list[dict[str, Any]]:
    return [{key: line[key] for key in line if key not in TIMES} for line in read_lines(folder / "eval.jsonl")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    changes = SMALL | {"execution.keep": "all", "execution.checkpoint_every": 1}
    return harness.run(
        method="egspo", task="sudoku", budget="updates=4", overrides=changes, runs=tmp_path_factory.mktemp("runs")
    )


def test_three_lengths_are_three_records_with_the_tokens_per_step_of_the_recipe(tmp_path: Path) -> None:
    evaluated(tmp_path, lengths=(8, 16, 32))
    kept = records(tmp_path / "sudoku" / "tiny")
    assert [(one.decoding["completion_length"], one.decoding["num_steps"]) for one in kept] == [
        (8, 4),
        (16, 8),
        (32, 16),
    ]
    assert len({one.samples_file for one in kept}) == 3
    assert [one.nfe for one in kept] == [4, 8, 16]


def test_tasks_decodings_and_seeds_make_a_grid_and_each_task_has_weights_of_its_own(tmp_path: Path) -> None:
    done = evaluated(tmp_path, ("sudoku", "countdown"), decodings=({"num_steps": 4}, {}), seeds=(0, 1))
    folders = [str(one.folder and one.folder.relative_to(tmp_path)) for one in done]
    assert folders == ["sudoku/tiny"] * 4 + ["countdown/tiny"] * 4
    assert [one.record.seed for one in done] == [0, 1] * 4
    assert len({one.record.weights for one in done}) == 2


def test_a_seed_changes_what_is_drawn_and_nothing_that_is_greedy() -> None:
    drawn = evaluated(None, decodings=({"temperature": 1.0},), seeds=(0, 1, 0))
    texts = [[sample["text"] for sample in one.samples] for one in drawn]
    assert texts[0] == texts[2] != texts[1]
    greedy = evaluated(None, seeds=(0, 1))
    assert [sample["text"] for sample in greedy[0].samples] == [sample["text"] for sample in greedy[1].samples]


class StoppedError(Exception):
    """Stands for a kill."""


def test_an_evaluation_that_was_cut_off_goes_on_and_equals_a_whole_one(tmp_path: Path) -> None:
    counts: list[int] = []

    def stop(done: int, total: int, note: str) -> None:
        counts.append(done)
        if done == 4:
            raise StoppedError

    options: dict[str, Any] = {"model": "tiny", "tasks": ("sudoku",), "items": 8, "batch_size": 2}
    decodings = ({}, {"temperature": 1.0})
    whole = EvaluationRequest(**options, decodings=decodings, out=tmp_path / "whole")
    cut = EvaluationRequest(**options, decodings=decodings, out=tmp_path / "cut")
    list(evaluate_all(whole))
    with pytest.raises(StoppedError):
        list(evaluate_all(cut, on_progress=stop))
    assert counts == [2, 4]
    assert not (tmp_path / "cut/sudoku/tiny/eval.jsonl").exists()
    list(evaluate_all(cut, on_progress=lambda done, total, note: counts.append(done)))
    assert counts == [2, 4, 6, 8, 2, 4, 6, 8]
    assert untimed(tmp_path / "cut/sudoku/tiny") == untimed(tmp_path / "whole/sudoku/tiny")
    assert not list((tmp_path / "cut").rglob(".partial-*"))


def test_with_fresh_what_an_evaluation_that_was_cut_off_had_made_is_made_again(tmp_path: Path) -> None:
    def stop(done: int, total: int, note: str) -> None:
        raise StoppedError

    request = EvaluationRequest(model="tiny", tasks=("sudoku",), items=8, batch_size=2, out=tmp_path, fresh=True)
    with pytest.raises(StoppedError):
        list(evaluate_all(request, on_progress=stop))
    counts: list[int] = []
    list(evaluate_all(request, on_progress=lambda done, total, note: counts.append(done)))
    assert counts == [2, 4, 6, 8]


def test_all_checkpoints_that_a_run_kept_are_evaluated_as_the_run_evaluated_them(
    trained: RunResult, tmp_path: Path
) -> None:
    done = evaluated(tmp_path, model=trained.folder, checkpoints="all")
    own = {one.update: one for one in records(trained.folder)}
    assert [(one.record.checkpoint, one.record.update) for one in done] == [("step", 2), ("last", 4)]
    for one in done:
        assert one.record.metrics == own[one.record.update].metrics
    best = max(one.record.metrics["exact_match"].value for one in done)
    assert best == max(own[update].metrics["exact_match"].value for update in (2, 4))


def test_one_checkpoint_is_named_by_its_folder(trained: RunResult, tmp_path: Path) -> None:
    (done,) = evaluated(tmp_path, model=trained.folder / "checkpoints" / "update-000002")
    assert (done.record.checkpoint, done.record.update) == ("step", 2)
    assert done.folder == tmp_path / "sudoku" / f"egspo-{trained.folder.name}"


def test_the_folder_says_which_run_its_model_comes_from(trained: RunResult, tmp_path: Path) -> None:
    (done,) = evaluated(tmp_path, model=trained.folder)
    assert done.folder is not None
    described = yaml.safe_load((done.folder / "evaluated.yaml").read_text())
    assert described["identity"] == yaml.safe_load((trained.folder / "config.yaml").read_text())["identity"]


def test_the_folder_of_a_model_that_no_run_trained_says_so(tmp_path: Path) -> None:
    evaluated(tmp_path)
    described = yaml.safe_load((tmp_path / "sudoku/tiny/evaluated.yaml").read_text())
    identity = described["identity"]
    assert (identity["task"], identity["method"], identity["model"]) == ("sudoku", "none", "tiny")
    assert described["config"]["model"]["name"] == "tiny"


def test_all_tasks_are_checked_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="but split 'test' of mbpp"):
        evaluated(tmp_path, ("sudoku", "mbpp"), items=500)
    assert not list(tmp_path.iterdir())


def test_other_checkpoints_than_those_that_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Unknown --checkpoints 'best'"):
        evaluated(tmp_path, checkpoints="best")


def test_the_command_line_takes_lists_and_shows_each_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["eval", "tiny", "--task", "sudoku,countdown", "--items", "4", "--length", "8,16", "--out", str(tmp_path)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.endswith("tokens:")] == [
        f"{task}, {length} tokens:" for task in ("sudoku", "countdown") for length in (8, 16)
    ]
    assert main(["eval", "--task", "sudoku", "--length", "8,x", "--out", str(tmp_path)]) == 2
    assert "--length '8,x' is neither a whole number" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_share_an_evaluation_and_record_what_one_does(tmp_path: Path, forks: Any) -> None:
    options = ["--task", "sudoku,mbpp", "--items", "9", "--batch-size", "2"]
    for name, count in (("one", 1), ("two", 2)):
        ended = forks.run(count, "-m", "harness", "eval", "--out", tmp_path / name, *options)
        assert (ended.codes, ended.out.count("NFE")) == ([0] * count, 2), ended.err
    for task in ("sudoku", "mbpp"):
        (one,), (two,) = (records(tmp_path / name / task / "tiny") for name in ("one", "two"))
        assert (two.metrics, two.identity, two.nfe) == (one.metrics, one.identity, one.nfe)
