"""Comparisons of checkpoints: exact p-values of known verdicts, the noise of the machine, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import harness
from harness import ComparisonRequest, EvaluationRequest, NoiseSettings
from harness.app.api import RunResult
from harness.app.compare import Comparison, resolve
from harness.errors import UserError
from harness.evaluation import completions
from harness.models.diffusion_lm import DiffusionLM
from harness.models.tiny import END_ID
from harness.records.jsonl import read_lines, read_samples, to_line, write_samples
from harness.records.schema import EvalRecord, MetricTotals
from harness.rollout import Rollout

SMALL = {"train.batch_size": 8, "train.group_size": 4, "evaluation.items": 8}
FLOAT32 = NoiseSettings(batch_sizes=(1, 8), dtypes=("float32",))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    runs = tmp_path_factory.mktemp("runs")
    return harness.run(method="egspo", task="sudoku", budget="updates=2", overrides=SMALL, runs=runs)


def compared(first: Any, *against: Any, all_pairs: bool = False, noise: Any = None, **options: Any) -> Comparison:
    evaluation = EvaluationRequest(**{"model": first, "tasks": ("sudoku",), "items": 12, **options})
    return harness.compare(ComparisonRequest(evaluation=evaluation, against=against, all_pairs=all_pairs, noise=noise))


def plant(folder: Path, right: Sequence[bool]) -> None:
    """Writes other verdicts into the one evaluation of a folder."""
    (line,) = read_lines(folder / "eval.jsonl")
    record = EvalRecord.from_json(line)
    parts = [float(verdict) for verdict in right]
    metrics = {**record.metrics, "exact_match": MetricTotals.of((part, 1.0) for part in parts)}
    (folder / "eval.jsonl").write_text(to_line(dataclasses.replace(record, metrics=metrics).to_json()))
    samples = list(read_samples(folder / str(record.samples_file)))
    for sample, part in zip(samples, parts, strict=True):
        sample["metrics"]["exact_match"]["part"] = part
    write_samples(folder / str(record.samples_file), samples)


def test_known_verdicts_of_recorded_evaluations_give_the_exact_p_after_holm(trained: RunResult, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    harness.export("tiny", mine)
    verdicts = {
        "tiny": [True] * 8 + [False] * 4,
        "mine": [False] * 7 + [True] + [False] * 3 + [True],
        f"egspo-{trained.folder.name}": [True] * 9 + [False] * 3,
    }
    for model, (label, right) in zip(("tiny", mine, trained.folder), verdicts.items(), strict=True):
        harness.evaluate(model, "sudoku", items=12, out=tmp_path / "out")
        plant(tmp_path / "out" / "sudoku" / label, right)
    found = compared("tiny", mine, trained.folder, all_pairs=True, out=tmp_path / "out")
    assert [one.label for one in found.measured] == list(verdicts)
    # Seven items against one, 2 (1 + 8) / 256; none against one, 1; one against eight, 2 (1 + 9) / 512.
    assert [(pair.gap.only_first, pair.gap.only_second) for pair in found.pairs] == [(7, 1), (0, 1), (1, 8)]
    assert [pair.gap.p for pair in found.pairs] == pytest.approx([18 / 256, 1.0, 20 / 512])
    assert [pair.adjusted for pair in found.pairs] == pytest.approx([2 * 18 / 256, 1.0, 3 * 20 / 512])
    assert [pair.gap.difference for pair in found.pairs] == pytest.approx([6 / 12, -1 / 12, -7 / 12])
    assert not any(pair.is_clear or pair.noise for pair in found.pairs)


def test_a_checkpoint_of_mine_is_compared_with_each_other_on_every_task_and_length(trained: RunResult) -> None:
    options = {"tasks": ("sudoku", "countdown", "sudoku"), "lengths": (8, 16), "items": 4}
    found = compared(trained.folder, "tiny", harness.load_model("tiny"), **options)
    own = f"egspo-{trained.folder.name}"
    cells = [(pair.first.task, pair.first.completion_length) for pair in found.pairs]
    assert cells == [(task, length) for task in ("sudoku", "countdown") for length in (8, 16) for _ in "ab"]
    assert [(pair.first.label, pair.second.label) for pair in found.pairs[:2]] == [(own, "tiny"), (own, "tiny-2")]


@pytest.mark.slow
def test_the_tiny_model_in_float32_is_the_same_at_every_batch_size(tmp_path: Path) -> None:
    harness.export("tiny", tmp_path / "mine")
    found = compared("tiny", tmp_path / "mine", items=64, noise=FLOAT32)
    for one in found.measured:
        assert [each.record.batch_size for each in one.evaluations] == [64, 1, 8]
        assert one.main.value > 0
        assert one.noise is not None
        assert (one.noise.flipped, one.noise.moved) == (0, 0.0)


@pytest.mark.slow
def test_a_model_whose_completions_depend_on_the_batch_size_is_found_and_its_differences_are_called_noise(
    trained: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_completed = completions.completed

    def completed(model: DiffusionLM, rollout: Rollout, rows: Sequence[int]) -> Any:
        if len(rows) == 1:
            ends = torch.full_like(rollout.completion_ids_BC, END_ID)
            rollout = dataclasses.replace(rollout, completion_ids_BC=ends)
        return true_completed(model, rollout, rows)

    monkeypatch.setattr(completions, "completed", completed)
    found = compared(trained.folder, "tiny", items=64, noise=FLOAT32)
    for one in found.measured:
        assert one.noise is not None
        assert one.noise.flipped == one.main.record.metrics["exact_match"].part > 0
        assert one.noise.moved == pytest.approx(one.main.value)
    (pair,) = found.pairs
    assert 0 < abs(pair.gap.difference) < max(one.main.value for one in found.measured)
    assert pair.is_noise
    assert found.tables[1].cells[0][-1] == "within the noise of this machine"


def test_noise_is_measured_at_one_and_in_the_other_of_two_dtypes_unless_told_otherwise() -> None:
    record = harness.evaluate("tiny", "sudoku", items=1, batch_size=4).record
    assert NoiseSettings().changes(record) == [{"batch_size": 1}, {"dtype": "bfloat16"}]
    single = dataclasses.replace(record, batch_size=1, dtype="bfloat16")
    assert NoiseSettings().changes(single) == [{"batch_size": 8}, {"dtype": "float32"}]
    with pytest.raises(UserError, match="a batch size other than 4 or a dtype other than float32"):
        NoiseSettings(batch_sizes=(4,), dtypes=("float32",)).changes(record)


def test_evaluations_are_recorded_those_of_noise_apart_and_not_done_again(trained: RunResult, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    request = ComparisonRequest(
        evaluation=EvaluationRequest(
            model=trained.folder, tasks=("sudoku",), items=4, batch_size=2, out=tmp_path / "evals"
        ),
        against=("tiny",),
        noise=NoiseSettings(batch_sizes=(4,), dtypes=("float64",), out=tmp_path / "noise"),
    )
    first = harness.compare(request, on_progress=lambda *told: seen.append(told))
    own = f"egspo-{trained.folder.name} (1 of 2)"
    assert seen[:4] == [
        (2, 4, f"{own}: sudoku, 16 tokens"),
        (4, 4, f"{own}: sudoku, 16 tokens"),
        (4, 4, f"{own}, batch size 4: sudoku, 16 tokens"),
        (2, 4, f"{own}, dtype float64: sudoku, 16 tokens"),
    ]
    for place, settings in {"evals": [(2, "float32")], "noise": [(4, "float32"), (2, "float64")]}.items():
        lines = read_lines(tmp_path / place / "sudoku" / "tiny" / "eval.jsonl")
        assert [(line["batch_size"], line["dtype"]) for line in lines] == settings
    seen.clear()
    assert harness.compare(request, on_progress=lambda *told: seen.append(told)) == first
    assert seen == []


def test_checkpoints_that_differ_in_dtype_or_prompts_are_refused_before_the_second_is_evaluated(
    tmp_path: Path,
) -> None:
    double, other = harness.load_model("tiny"), harness.load_model("tiny")
    double.predictor.double()
    with pytest.raises(UserError, match="'tiny' and 'tiny-2' are not evaluated alike on sudoku: dtype is float32 for"):
        compared("tiny", double, out=tmp_path)
    other.prompt_text = lambda task, example: f"{task.compact_prompt(example)} \n"  # type: ignore[method-assign]
    with pytest.raises(UserError, match="their prompts differ, in the items or in the chat template"):
        compared("tiny", other, out=tmp_path)
    assert len(list(read_lines(tmp_path / "sudoku" / "tiny" / "eval.jsonl"))) == 1


@pytest.mark.parametrize(
    ("against", "options", "words"),
    [
        ((), {}, "needs two checkpoints or more"),
        (("mine", "mine"), {}, "'mine' is named 2 times"),
        (("egspo-sq",), {}, "Unknown checkpoint 'egspo-sq'. Did you mean 'egspo-sa'?"),
        (("egspo-sa/gsm8q",), {}, "Unknown checkpoint 'egspo-sa/gsm8q'. Did you mean 'egspo-sa/gsm8k'?"),
        (("org/model", "gdsd-dream"), {"tasks": ("gsm8k",)}, "'gdsd-dream' has no published checkpoint for gsm8k"),
        (("org/model",), {}, "Model 'org/model' is not a folder, and could not be fetched from the hub"),
        (("mine",), {"tasks": ("sudokku",)}, "Did you mean 'sudoku'"),
        (("mine",), {"seeds": (0, 1)}, "takes one seed"),
        (("mine",), {"checkpoints": "all"}, "one checkpoint of a run"),
        (("mine",), {"noise": NoiseSettings(dtypes=("float12",))}, "Unknown noise.dtype 'float12'"),
        (("mine",), {"noise": NoiseSettings(batch_sizes=(0,))}, "noise.batch_size=0 must be above 0"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, against: Sequence[str], options: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError) as error:
        compared("tiny", *against, out=tmp_path / "out", **options)
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_checkpoint_is_refused_before_anything_is_evaluated(trained: RunResult, tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_bytes((trained.folder / "config.yaml").read_bytes())
    with pytest.raises(UserError, match="has no checkpoint yet"):
        compared("tiny", tmp_path / "begun", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_of_the_register_is_a_published_checkpoint_unless_a_folder_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("egspo-sa", "espo/sudoku", "llada-1.5"):
        assert resolve(name) == {"checkpoint": name}
    for name in ("tiny", "GSAI-ML/LLaDA-8B-Instruct"):
        assert resolve(name) == {"model": name, "checkpoint": ""}
    (tmp_path / "espo").mkdir()
    assert resolve("espo") == {"model": "espo", "checkpoint": ""}
