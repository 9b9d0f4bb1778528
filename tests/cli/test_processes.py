"""Two processes that share what a command does: they leave what one leaves, and speak with one voice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from harness.records.jsonl import read_lines

COSTS = ("eval_seconds", "tokens_per_second", "eval_flops")
"""What a machine spent; FLOPs depend on the padding, so on the rows that share a batch."""
PAIRS = '{"prompt": "12+3=", "answer": "15"}\n{"prompt": "7*8=", "answer": "56"}\n{"prompt": "a", "answer": "b"}\n'
SFT = ("--model", "tiny", "--steps", "60", "--learning-rate", "1e-3", "--set", "execution.checkpoint_every=7")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Exit codes of the processes, and what all of them printed."""

    codes: list[int]
    out: str
    err: str


def start(count: int, *arguments: object) -> list[subprocess.Popen[str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    command = [sys.executable, "-W", "ignore", "-m", "harness", *map(str, arguments)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environments = [
        {**os.environ, "OMP_NUM_THREADS": "1"}
        | (place | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {})
        for rank in range(count)
    ]
    return [subprocess.Popen(command, env=environment, **pipes) for environment in environments]


def harness(count: int, *arguments: object) -> Ended:
    processes = start(count, *arguments)
    outputs = [process.communicate(timeout=500) for process in processes]
    out, err = ("".join(output[stream] for output in outputs) for stream in (0, 1))
    return Ended(codes=[process.returncode for process in processes], out=out, err=err)


def records(folder: Path) -> dict[str, Any]:
    """Everything below a folder but costs: records as mappings, other files as bytes."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        lines = (
            [{name: line[name] for name in line.keys() - {*COSTS}} for line in read_lines(path)]
            if (path.name == "eval.jsonl")
            else path.read_bytes()
        )
        found[str(path.relative_to(folder))] = lines
    return found


@pytest.mark.slow
def test_two_processes_evaluate_as_one_does(tmp_path: Path) -> None:
    options = ("eval", "--task", "sudoku,mbpp", "--items", 21, "--batch-size", 4, "--out")
    one, two = (harness(count, *options, tmp_path / str(count)) for count in (1, 2))
    assert (one.codes, two.codes) == ([0], [0, 0])
    found = [records(tmp_path / name) for name in ("1", "2")]
    assert found[0] == found[1]
    assert len([name for name in found[0] if "samples" in name]) == 2
    assert two.out.count("exact_match") == 1


@pytest.mark.slow
def test_two_processes_compare_as_one_does(tmp_path: Path) -> None:
    tuned = harness(1, "sft", "--task", "sudoku", "--steps", 2, "--batch-size", 4, "--out", tmp_path / "mine")
    assert tuned.codes == [0]
    options = (
        "compare",
        "--task",
        "sudoku",
        "--against",
        "tiny",
        "--mine",
        tmp_path / "mine",
        "--items",
        12,
        "--noise",
    )
    ends = []
    for count in (1, 2):
        places = ("--evaluations", tmp_path / f"evals-{count}", "--out", tmp_path / f"out-{count}")
        ends.append(harness(count, *options, *places))
    assert [end.codes for end in ends] == [[0], [0, 0]]
    assert ends[1].out.replace("-2", "-1") == ends[0].out.replace("-2", "-1")
    for name in ("evals", "out"):
        assert records(tmp_path / f"{name}-1") == records(tmp_path / f"{name}-2")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["gsm8k", "mbpp"])
def test_two_processes_grade_as_one_does(tmp_path: Path, task: str) -> None:
    rows = {
        "gsm8k": [{"prompt": "q", "target": "7", "completion": f"<answer>{n % 9}</answer>"} for n in range(701)],
        "mbpp": [
            {"prompt": "q", "target": ["assert f(2) == 4"], "completion": f"```python\ndef f(x): return x * {n}\n```"}
            for n in range(5)
        ],
    }[task]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, two = (harness(count, "grade", file, "--task", task, "--out", tmp_path / str(count)) for count in (1, 2))
    assert (one.codes, two.codes) == ([0], [0, 0]), two.err
    assert (two.out, two.err) == (one.out, one.err)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert (tmp_path / "1").read_text().count("\n") == len(rows)


@pytest.mark.slow
def test_processes_fine_tune_as_one_does(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(PAIRS)
    ends = [
        harness(count, "sft", "--data", tmp_path / "pairs.jsonl", *SFT, "--out", tmp_path / str(count))
        for count in (1, 2, 3)
    ]
    assert [end.codes for end in ends] == [[0], [0, 0], [0, 0, 0]], ends[-1].err
    assert [end.out.count("mean loss") for end in ends] == [1, 1, 1]
    one, two, three = (load_file(tmp_path / name / "model.safetensors") for name in ("1", "2", "3"))
    for name, weight in one.items():
        assert (two[name] - weight).abs().max() < 1e-5
        assert (three[name] - weight).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("number", "codes"), [(signal.SIGKILL, {-9}), (signal.SIGTERM, {143}), (signal.SIGINT, {130})])
@pytest.mark.parametrize("count", [1, 2])
def test_fine_tuning_that_is_stopped_goes_on_to_the_same_weights(
    tmp_path: Path, number: signal.Signals, codes: set[int], count: int
) -> None:
    (tmp_path / "pairs.jsonl").write_text(PAIRS)
    command = ("sft", "--data", tmp_path / "pairs.jsonl", *SFT)
    assert set(harness(count, *command, "--out", tmp_path / "whole").codes) == {0}
    processes = start(count, *command, "--out", tmp_path / "cut")
    losses, deadline = tmp_path / ".cut.sft" / "metrics.jsonl", time.monotonic() + 300
    while not losses.exists() or losses.read_bytes().count(b"\n") < 20:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.005)
    for process in processes:
        process.send_signal(number)
    outputs = [process.communicate(timeout=300) for process in processes]
    assert {process.returncode for process in processes} == codes, outputs
    said = "".join(err for _, err in outputs)
    assert said.count("the same command goes on from the last checkpoint") == (number != signal.SIGKILL), said
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    assert set(harness(count, *command, "--out", tmp_path / "cut").codes) == {0}
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]
    assert not (tmp_path / ".cut.sft").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "--task", "sudoko"), "Did you mean 'sudoku'"),
        (("eval", "--task", "sudoku", "--batch", "3"), "No such option: --batch"),
        (("eval", "--task", "sudoku", "--model", "/no/such", "--data", "builtin"), "Model '/no/such' is neither"),
        (("compare", "--task", "sudoku", "--against", "nope"), "Unknown checkpoint 'nope'"),
        (("grade", "/no/such", "--task", "gsm8k"), "No file '/no/such' to grade"),
        (("sft", "--model", "tiny", "--data", "/no/such", "--out", "x"), "Cannot read '/no/such'"),
        (("sft", "--task", "sudoku", "--batch-size", "1", "--out", "x"), "1 rows per step cannot be shared among 2"),
    ],
)
def test_what_is_wrong_ends_both_processes_with_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    ended = harness(2, *arguments)
    assert ended.codes == [2, 2]
    assert said in ended.err
    assert ended.err.count("harness:") == 1
    assert ended.err.count("\n") == 1
    assert ended.out == ""
