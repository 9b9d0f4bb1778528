"""Two processes that share what a command does: they leave what one leaves, and speak with one voice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from harness.records.jsonl import read_lines

COSTS = ("eval_seconds", "tokens_per_second", "eval_flops")
"""What a machine spent; FLOPs depend on the padding, so on the rows that share a batch."""
PAIRS = '{"prompt": "12+3=", "answer": "15"}\n{"prompt": "7*8=", "answer": "56"}\n{"prompt": "a", "answer": "b"}\n'
SFT = ("--model", "tiny", "--steps", "60", "--learning-rate", "1e-3", "--set", "execution.checkpoint_every=7")
ODD = ("--set", "train.batch_size=15", "--set", "train.group_size=5", "--set", "execution.sharding=ddp")

SMALL = ("--set", "train.batch_size=8", "--set", "train.group_size=4", "--set", "evaluation.items=8")
FAULTY = """
import os, sys
import harness.evaluation.completions as completions, harness.rl.evaluator as evaluator
from harness.cli.main import main
from harness.errors import UserError

whole = completions.complete

def complete(*given, **options):
    for batch in whole(*given, **options):
        yield batch
        if os.environ["RANK"] in sys.argv[1].split(","):
            raise UserError("Strange.") if sys.argv[2] == "user" else ValueError("odd")

completions.complete = evaluator.complete = complete
sys.exit(main(sys.argv[3:]))
"""
"""A command that fails behind the first batch of an evaluation, in the processes of some ranks."""
Harness = Callable[..., Any]
Tuned = Callable[[int], tuple[tuple[Any, ...], Path]]


@pytest.fixture(scope="session")
def harness(forks: Any) -> Harness:
    """A command by so many processes: their exit codes, and what all of them printed."""
    return lambda count, *arguments: forks.run(count, "-m", "harness", *arguments)


@pytest.fixture(scope="module")
def tuned(harness: Harness, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """The fine-tuning command without its --out, and what it leaves, by the number of processes."""
    folder = tmp_path_factory.mktemp("tuned")
    (folder / "pairs.jsonl").write_text(PAIRS)
    command = ("sft", "--data", folder / "pairs.jsonl", *SFT)

    def whole(count: int) -> tuple[tuple[Any, ...], Path]:
        out = folder / str(count)
        if not out.exists():
            ended = harness(count, *command, "--out", out)
            assert (ended.codes, ended.out.count("mean loss")) == ([0] * count, 1), ended.err
        return command, out / "model.safetensors"

    return whole


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
def test_two_processes_evaluate_as_one_does(tmp_path: Path, harness: Harness) -> None:
    options = ("eval", "--task", "sudoku,mbpp", "--items", 21, "--batch-size", 4, "--out")
    one, two = (harness(count, *options, tmp_path / str(count)) for count in (1, 2))
    assert (one.codes, two.codes) == ([0], [0, 0])
    found = [records(tmp_path / name) for name in ("1", "2")]
    assert found[0] == found[1]
    assert len([name for name in found[0] if "samples" in name]) == 2
    assert two.out.count("exact_match") == 1
    again = harness(2, *options, tmp_path / "2", "--json")
    assert [one["already_there"] for one in json.loads(again.out)] == [True, True]


@pytest.mark.slow
def test_two_processes_compare_as_one_does(tmp_path: Path, harness: Harness) -> None:
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
def test_two_processes_grade_as_one_does(tmp_path: Path, harness: Harness, task: str) -> None:
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
def test_processes_fine_tune_as_one_does(tuned: Tuned) -> None:
    one, two, three = (load_file(tuned(count)[1]) for count in (1, 2, 3))
    for name, weight in one.items():
        assert (two[name] - weight).abs().max() < 1e-5
        assert (three[name] - weight).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("number", "codes"), [(signal.SIGKILL, {-9}), (signal.SIGTERM, {143}), (signal.SIGINT, {130})])
@pytest.mark.parametrize("count", [1, 2])
def test_fine_tuning_that_is_stopped_goes_on_to_the_same_weights(
    tmp_path: Path,
    harness: Harness,
    forks: Any,
    tuned: Tuned,
    number: signal.Signals,
    codes: set[int],
    count: int,
) -> None:
    command, whole = tuned(count)
    job = forks.start(count, "-m", "harness", *command, "--out", tmp_path / "cut")
    losses, deadline = tmp_path / ".cut.sft" / "metrics.jsonl", time.monotonic() + 300
    while not losses.exists() or losses.read_bytes().count(b"\n") < 20:
        assert time.monotonic() < deadline
        assert job.is_whole
        time.sleep(0.005)
    job.signal(number)
    ended = job.end()
    assert set(ended.codes) == codes, ended
    assert ended.err.count("the same command goes on from the last checkpoint") == (number != signal.SIGKILL), ended
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    assert set(harness(count, *command, "--out", tmp_path / "cut").codes) == {0}
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == whole.read_bytes()
    assert not (tmp_path / ".cut.sft").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "--task", "sudoko"), "Did you mean 'sudoku'"),
        (
            ("eval", "--task", "sudoku", "--batch", "3"),
            "harness eval has no option --batch. Did you mean '--batch-size'?",
        ),
        (("eval", "--task", "sudoku", "--model", "/no/such", "--data", "builtin"), "Model '/no/such' is neither"),
        (("compare", "--task", "sudoku", "--against", "nope,nada"), "Unknown checkpoint 'nope'"),
        (("grade", "/no/such", "--task", "gsm8k"), "No file '/no/such' to grade"),
        (("sft", "--model", "tiny", "--data", "/no/such", "--out", "x"), "Cannot read '/no/such'"),
        (("sft", "--task", "sudoku", "--batch-size", "1", "--out", "x"), "1 rows per step cannot be shared among 2"),
        (("run", "--method", "espo", "--task", "sudoku", "--dry-run", *ODD), "rows cannot be shared equally by 2"),
    ],
)
def test_what_is_wrong_ends_both_processes_with_one_sentence(
    harness: Harness, arguments: tuple[str, ...], said: str
) -> None:
    ended = harness(2, *arguments)
    assert ended.codes == [2, 2]
    assert said in ended.err
    assert ended.err.count("harness:") == 1
    assert ended.err.count("\n") == 1
    assert ended.out == ""


@pytest.mark.slow
@pytest.mark.parametrize("ranks", ["0", "1", "0,1"])
@pytest.mark.parametrize("kind", ["user", "fault"])
@pytest.mark.parametrize("command", ["eval", "run"])
def test_what_goes_wrong_at_work_in_one_process_or_in_both_is_said_once(
    tmp_path: Path, forks: Any, ranks: str, kind: str, command: str
) -> None:
    options = {
        "eval": ("--task", "sudoku", "--items", 16, "--batch-size", 4, "--out", tmp_path),
        "run": ("--method", "espo", "--task", "sudoku", "--budget", "updates=2", *SMALL, "--runs", tmp_path),
    }
    ended = forks.run(2, "-c", FAULTY, ranks, kind, command, *options[command])
    assert [ended.codes[int(rank)] for rank in ranks.split(",")] == [2 if kind == "user" else 1] * len(ranks.split(","))
    assert 0 not in ended.codes
    if kind == "user":
        assert ended.err == "harness: Strange.\n"
    else:
        assert (ended.err.count("Traceback"), ended.err.count("harness:")) == (1, 0), ended.err
        assert ended.err.endswith("ValueError: odd\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan", "--nope"), "harness plan has no option --nope."),
        (("plan", "--method", "nope", "--task", "sudoku"), "Unknown method 'nope'."),
        (("report", "/no/such"), "'/no/such' is neither a folder nor an archive of runs"),
        (("reproduce",), "harness reproduce needs PAPER"),
        (("reproduce", "2603.12554"), "harness reproduce starts processes of its own; leave torchrun out"),
        (("nope",), "Unknown command 'nope'."),
        (("--nope",), "harness has no option --nope."),
    ],
)
def test_a_command_that_processes_do_not_share_is_the_first_one_s_alone(
    harness: Harness, arguments: tuple[str, ...], said: str
) -> None:
    ended = harness(2, *arguments)
    assert (ended.codes, ended.out, ended.err.count("\n")) == ([2, 0], "", 1)
    assert ended.err.startswith(f"harness: {said}")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("run", "--method"), ("eval",), ("sft", "--steps", "x"), ("compare", "--nope")])
def test_a_wrong_option_of_a_shared_command_is_said_once(harness: Harness, arguments: tuple[str, ...]) -> None:
    ended = harness(2, *arguments)
    assert (ended.codes, ended.out) == ([2, 2], "")
    assert (ended.err.count("harness: "), ended.err.count("\n")) == (1, 1)


@pytest.mark.slow
def test_a_plan_by_two_processes_is_printed_once(harness: Harness) -> None:
    ended = harness(2, "plan", "--method", "espo", "--task", "sudoku", "--rate", 1, "--memory", 8)
    assert (ended.codes, ended.err) == ([0, 0], "")
    assert ended.out.count("Memory per device") == 1
