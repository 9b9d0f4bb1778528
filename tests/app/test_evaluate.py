"""Evaluations: one record each, none in the place of another, and the same one done again in its own place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import harness
from harness.app.api import RunResult
from harness.errors import UserError
from harness.records.jsonl import read_lines, read_samples
from harness.records.schema import EvalRecord

SMALL = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 8}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    runs = tmp_path_factory.mktemp("runs")
    return harness.run(method="egspo", task="sudoku", budget="updates=2", overrides=SMALL, runs=runs)


def records(folder: Path) -> list[EvalRecord]:
    return [EvalRecord.from_json(line) for line in read_lines(folder / "eval.jsonl")]


def test_a_result_is_a_record_with_one_sample_per_item_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[tuple[int, int]] = []
    done = harness.evaluate("tiny", "sudoku", items=5, batch_size=2, on_progress=lambda *counts: seen.append(counts))
    record = done.record
    assert (record.checkpoint, record.update, record.flops_total, record.seconds) == ("base", 0, 0, 0)
    assert (record.batch_size, record.dtype, record.data, record.split) == (2, "float32", "builtin", "test")
    assert record.metrics["exact_match"].n == len(done.samples) == 5
    assert record.metrics["exact_match"].part == sum(sample["correct"] for sample in done.samples)
    assert record.prompts == {"sha256": None, "few_shot": 0, "train_data": None}
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert (done.folder, record.samples_file) == (None, None)
    assert list(tmp_path.iterdir()) == []


def test_another_batch_size_or_dtype_is_a_record_of_its_own_with_samples_of_its_own(tmp_path: Path) -> None:
    conditions = ((4, "float32"), (8, "float32"), (4, "float64"))
    for batch_size, dtype in conditions:
        done = harness.evaluate("tiny", "sudoku", items=8, batch_size=batch_size, dtype=dtype, out=tmp_path)
        assert done.folder == tmp_path / "sudoku" / "tiny"
        assert list(read_samples(done.folder / str(done.record.samples_file))) == done.samples
    kept = records(tmp_path / "sudoku" / "tiny")
    assert [(record.batch_size, record.dtype) for record in kept] == list(conditions)
    assert len({record.samples_file for record in kept}) == len(list(tmp_path.rglob("samples-*.jsonl.gz"))) == 3


def test_an_evaluation_that_is_there_is_returned_and_with_fresh_done_again_in_its_own_place(tmp_path: Path) -> None:
    folder = tmp_path / "sudoku" / "tiny"
    first, second = (harness.evaluate("tiny", "sudoku", items=size, out=tmp_path).record for size in (4, 6))
    (folder / "eval.jsonl").write_text((folder / "eval.jsonl").read_text().replace('"nfe": 8.0', '"nfe": 1.0'))
    again = harness.evaluate("tiny", "sudoku", items=4, out=tmp_path)
    assert (again.known, again.record.nfe, len(again.samples)) == (True, 1.0, 4)
    assert not harness.evaluate("tiny", "sudoku", items=4, out=tmp_path, fresh=True).known
    assert [(record.samples_file, record.nfe) for record in records(folder)] == [
        (second.samples_file, 1.0),
        (first.samples_file, 8.0),
    ]


def test_a_line_of_an_earlier_version_stays(tmp_path: Path) -> None:
    folder = tmp_path / "sudoku" / "tiny"
    folder.mkdir(parents=True)
    old = {"config": {"batch_size": 64}, "metrics": {}, "weights": "abc"}
    (folder / "eval.jsonl").write_text(json.dumps(old) + "\n")
    harness.evaluate("tiny", "sudoku", items=2, out=tmp_path)
    assert [line.get("schema") for line in read_lines(folder / "eval.jsonl")] == [None, 1]
    assert next(read_lines(folder / "eval.jsonl")) == old


def test_a_run_is_evaluated_as_it_evaluates_itself_and_says_how_far_it_was(trained: RunResult) -> None:
    own, record = trained.evaluation, harness.evaluate(trained.folder, "sudoku", items=8).record
    for name in ("checkpoint", "update", "samples", "flops_total", "items_sha256", "decoding", "metrics", "nfe"):
        assert getattr(record, name) == getattr(own, name)
    assert record.seconds == pytest.approx(own.seconds)
    base = harness.evaluate("tiny", "sudoku", items=8).record
    assert record.weights.startswith(f"{base.weights}+")
    assert record.identity != base.identity


def test_a_run_says_whether_its_training_prompts_are_as_published(trained: RunResult) -> None:
    found = json.loads((trained.folder / "environment.json").read_text())["prompts"]["training"]
    assert found == {
        "published": "unverified",
        "protocols": [],
        "because": "no published hash of a training prompt of these items",
    }


def test_a_run_is_evaluated_in_another_dtype_when_asked(trained: RunResult) -> None:
    done = harness.evaluate(trained.folder, "sudoku", items=2, dtype="float64")
    assert (done.record.dtype, done.record.checkpoint) == ("float64", "last")


def test_an_unfinished_run_is_not_said_to_be_at_its_last_checkpoint(trained: RunResult, tmp_path: Path) -> None:
    copy = tmp_path / trained.folder.name
    shutil.copytree(trained.folder, copy)
    status = json.loads((copy / "status.json").read_text())
    (copy / "status.json").write_text(json.dumps(status | {"state": "running"}))
    assert harness.evaluate(copy, "sudoku", items=2).record.checkpoint == "step"


def test_a_given_model_is_told_from_another_by_its_tensors(tmp_path: Path) -> None:
    model = harness.load_model("tiny")
    first = harness.evaluate(model, harness.load_task("sudoku"), items=8, out=tmp_path).record
    assert first.checkpoint == "given"
    assert first.metrics == harness.evaluate("tiny", "sudoku", items=8).record.metrics
    with torch.no_grad():
        next(model.predictor.parameters()).add_(1.0)
    harness.evaluate(model, "sudoku", items=8, out=tmp_path)
    assert len({record.weights for record in records(tmp_path / "sudoku" / "tiny")}) == 2


def test_a_tiny_model_in_a_folder_is_evaluated_as_the_tiny_model_is(tmp_path: Path) -> None:
    harness.export("tiny", tmp_path / "mine")
    mine, shipped = (harness.evaluate(name, "sudoku", items=8).record for name in (tmp_path / "mine", "tiny"))
    assert (mine.data, mine.decoding, mine.metrics) == (shipped.data, shipped.decoding, shipped.metrics)


def test_warnings_about_the_model_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    model = harness.load_model("tiny")
    model.warnings = ("It looks odd.",)
    with pytest.warns(UserWarning, match="It looks odd"):
        harness.evaluate(model, "sudoku", items=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"items": -1}, "--items -1, but split 'test' of sudoku from 'builtin' has 512"),
        ({"batch_size": 0}, "evaluation.batch_size=0 must be above 0"),
        ({"decoding": {"num_step": 8}}, "Did you mean 'evaluation.decoding.num_steps'"),
        ({"few_shot": 1}, "The tiny model reads short fixed prompts"),
        ({"dtype": "float12"}, "float12"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_written(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(UserError) as error:
        harness.evaluate("tiny", "sudoku", out=tmp_path / "out", **options)
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options", [{"dtype": "float32"}, {"device": "cpu"}, {"adapter": "me/lora"}])
def test_options_of_loading_do_not_go_with_a_loaded_model(options: dict[str, str]) -> None:
    with pytest.raises(UserError, match="already loaded"):
        harness.evaluate(harness.load_model("tiny"), "sudoku", **options)
