"""Evaluations with caches and thresholds: what they change is told, recorded, and taken from what is there already."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.app.compare import ComparisonRequest, compare
from harness.app.evaluate import EvaluationRequest, evaluate_all
from harness.records.jsonl import read_lines, read_samples, write_samples
from harness.records.schema import EvalRecord

BLOCKS: dict[str, Any] = {"block_length": 4, "num_steps": 8}
DUAL = BLOCKS | {"cache": "dual"}


def evaluated(out: Path | None, decoding: dict[str, Any], **options: Any) -> Any:
    return harness.evaluate("tiny", "sudoku", decoding=decoding, items=40, out=out, **options)


def records(out: Path) -> list[EvalRecord]:
    return [EvalRecord.from_json(line) for line in read_lines(out / "sudoku" / "tiny" / "eval.jsonl")]


def test_a_cached_evaluation_records_its_agreement_and_the_exact_evaluation_beside_it(tmp_path: Path) -> None:
    done = evaluated(tmp_path, DUAL)
    exact, cached = sorted(records(tmp_path), key=lambda one: one.agreement is not None)
    assert cached == done.record
    assert exact.decoding == {name: value for name, value in cached.decoding.items() if name != "cache"}
    found = done.record.agreement
    assert found.exact == exact.identity
    assert found.metric == "exact_match"
    assert found.exact_value == exact.metrics["exact_match"].value
    assert found.difference == pytest.approx(cached.metrics["exact_match"].value - found.exact_value)
    assert found.low <= found.difference <= found.high
    assert found.cost == cached.eval_flops / exact.eval_flops
    assert 0.3 < found.cost < 0.8
    assert found.gap_tokens == 32 * 16
    assert 0 < found.gap_mean < found.gap_largest


def test_the_shares_of_equal_tokens_and_completions_are_those_of_the_samples(tmp_path: Path) -> None:
    found = evaluated(tmp_path, DUAL).record.agreement
    exact, cached = ([sample["ids"] for sample in evaluated(tmp_path, decoding).samples] for decoding in (BLOCKS, DUAL))
    assert {len(ids) for ids in (*exact, *cached)} == {16}
    places = [
        one == other
        for ours, theirs in zip(cached, exact, strict=True)
        for one, other in zip(ours, theirs, strict=True)
    ]
    assert found.tokens == sum(places) / len(places) < 1
    assert found.completions == sum(ours == theirs for ours, theirs in zip(cached, exact, strict=True)) / 40


def notes(out: Path | None, decoding: dict[str, Any], **options: Any) -> list[str]:
    """What was evaluated, not what was there already."""
    seen: dict[str, None] = {}
    request = EvaluationRequest(model="tiny", tasks=("sudoku",), decodings=(decoding,), items=40, out=out, **options)
    list(evaluate_all(request, on_progress=lambda done, total, note: seen.setdefault(note)))
    return list(seen)


CACHED, EXACT = "sudoku, 16 tokens, approximate", "sudoku, 16 tokens"
GAP = "sudoku, exact log-probabilities"


@pytest.mark.slow
def test_what_is_there_already_is_not_evaluated_again(tmp_path: Path) -> None:
    assert notes(tmp_path, BLOCKS) == [EXACT]
    assert notes(tmp_path, DUAL) == [CACHED, GAP]
    assert notes(tmp_path, DUAL) == []
    assert notes(tmp_path, BLOCKS | {"threshold": 0.9}) == [CACHED]
    assert notes(tmp_path, DUAL, fresh=True) == [CACHED, EXACT, GAP]


def test_an_evaluation_without_agreement_gets_it_when_it_is_asked_for(tmp_path: Path) -> None:
    assert evaluated(tmp_path, DUAL, agreement=False).record.agreement is None
    assert len(records(tmp_path)) == 1
    assert notes(tmp_path, DUAL) == [EXACT, GAP]
    again = evaluated(tmp_path, DUAL)
    assert again.known
    assert again.record.agreement is not None
    assert len(records(tmp_path)) == 2


def test_an_exact_evaluation_whose_samples_lack_ids_is_done_again(tmp_path: Path) -> None:
    old = evaluated(tmp_path, BLOCKS)
    path = old.folder / old.record.samples_file
    write_samples(path, [{name: value for name, value in row.items() if name != "ids"} for row in read_samples(path)])
    assert notes(tmp_path, BLOCKS) == []
    assert notes(tmp_path, DUAL) == [CACHED, EXACT, GAP]
    assert all("ids" in row for row in read_samples(path))
    assert len(records(tmp_path)) == 2


def test_a_threshold_leaves_no_gap_to_whole_passes(tmp_path: Path) -> None:
    found = evaluated(None, BLOCKS | {"threshold": 0.9}).record.agreement
    assert (found.gap_mean, found.gap_largest, found.gap_tokens) == (None, None, 0)
    assert found.tokens < 1


def test_exact_decodings_and_comparisons_tell_nothing() -> None:
    assert evaluated(None, BLOCKS).record.agreement is None
    first, second = (harness.load_model("tiny", task="sudoku") for _ in range(2))
    request = EvaluationRequest(model=first, tasks=("sudoku",), decodings=(DUAL,), items=8)
    found = compare(ComparisonRequest(evaluation=request, against=[second]))
    assert [one.main.record.agreement for one in found.measured] == [None, None]


@pytest.mark.slow
def test_two_processes_tell_what_one_tells(tmp_path: Path, forks: Any) -> None:
    one = evaluated(None, DUAL).record.agreement
    settings = [word for name, value in DUAL.items() for word in ("--set", f"{name}={value}")]
    command = ("eval", "--task", "sudoku", "--items", 40, "--out", tmp_path, *settings)
    ended = forks.run(2, "-m", "harness", *command)
    assert ended.codes == [0, 0], ended.out + ended.err
    (two,) = (record.agreement for record in records(tmp_path) if record.agreement)
    assert astuple(two) == tuple(
        pytest.approx(value, abs=1e-4) if isinstance(value, float) else value for value in astuple(one)
    )
