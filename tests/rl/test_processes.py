"""Two processes that share a run: what they record is what one process records."""

import json
import os
import subprocess
import sys

import pytest

from harness.distributed.shard import Shard
from harness.records.run_folder import EVAL_FILE, METRICS_FILE

CASES = {
    "stepwise advantages": ("egspo-sa",),
    "steps drawn at random, random rewards": ("egspo", "--set", "method.selection=random", "--reward", "random"),
    "tokens counted over the batch": ("d1",),
}
LAUNCHED = "stepwise advantages"
"""The case that torchrun starts, whose processes differ in the order of their sets."""
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def words(runs, method, *options):
    command = ["-m", "harness", "run", "--method", method, "--task", "sudoku", "--runs", str(runs), *options]
    return [*command, "--budget", "updates=3", "--set", "evaluation.items=33"]


def run(forks, count, runs, method, *options):
    ended = forks.run(count, *words(runs, method, *options))
    assert ended.codes == [0] * count, ended.out + ended.err
    assert ended.out.count(f"{method} ") == 1
    return next(runs.rglob(METRICS_FILE)).parent


def launched(runs, method, *options):
    command = [*TORCHRUN, *words(runs, method, *options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(f"{method} ") == 1
    return next(runs.rglob(METRICS_FILE)).parent


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def flat(value, name=""):
    if isinstance(value, dict):
        return {key: item for part in value for key, item in flat(value[part], f"{name}.{part}").items()}
    if isinstance(value, list):
        return {key: item for i, part in enumerate(value) for key, item in flat(part, f"{name}.{i}").items()}
    return {name: value}


def measured(path):
    return [{key: value for key, value in flat(line).items() if "seconds" not in key} for line in lines(path)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_record_what_one_does(tmp_path, forks, case):
    one = run(forks, 1, tmp_path / "one", *CASES[case])
    two = tmp_path / "two"
    two = launched(two, *CASES[case]) if case == LAUNCHED else run(forks, 2, two, *CASES[case])
    assert len(lines(two / METRICS_FILE)) == 3
    for alone, shared in zip(measured(one / METRICS_FILE), measured(two / METRICS_FILE), strict=True):
        assert shared == pytest.approx(alone, rel=1e-4, abs=1e-7)
    for alone, shared in zip(lines(one / EVAL_FILE), lines(two / EVAL_FILE), strict=True):
        assert shared["metrics"] == alone["metrics"]
        assert shared["items_sha256"] == alone["items_sha256"]


def test_a_lone_process_holds_all_rows_and_sums_nothing():
    import torch

    shard = Shard()
    assert shard.mine(torch.arange(4)).tolist() == [0, 1, 2, 3]
    assert shard.gather_values(torch.tensor([2.0, 5.0])).tolist() == [2.0, 5.0]
    assert shard.gather_items(["a"]) == ["a"]
    assert shard.total(2.5) == 2.5


def test_values_of_different_number_are_gathered_without_their_padding():
    import torch

    other = torch.tensor([7.0, 8.0, 9.0])

    def all_gather(mine):
        if mine.dtype == torch.int64:
            return torch.cat([mine, torch.tensor([3])])
        return torch.cat([mine, other])

    shard = Shard(all_gather=all_gather, index=0, count=2)
    assert shard.gather_values(torch.tensor([1.0])).tolist() == [1.0, 7.0, 8.0, 9.0]
