"""The same global batch on one process, on two and on three, with whole weights and with parts: the same run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.distributed.shard import ALONE
from harness.records.jsonl import read_lines
from harness.records.run_folder import EVAL_FILE, METRICS_FILE, STATUS_FILE
from harness.rl.checkpoint import checkpoints

RUN_CELLS = Path(__file__).with_name("run_cells.py")
COMMON = {"train.batch_size": 24, "train.group_size": 4, "evaluation.items": 13, "execution.evaluation_batch_size": 4}
CELLS = {
    "egspo": {"method": "egspo", "method.beta": 0.1, "method.num_selected": 2},
    "egspo-sa": {"method": "egspo-sa", "method.beta": 0.1, "method.greedy": "lazy", "method.num_selected": 2},
    "d1": {"method": "d1", "method.inner_updates": 2},
    "agrpo": {"method": "agrpo", "method.beta": 0.1, "method.mc_samples": 2},
    "espo": {"method": "espo", "method.inner_updates": 2, "execution.micro_batch_size": 3},
    "adapters": {"method": "d1", "method.inner_updates": 2, "model.lora.rank": 2, "model.lora.targets": "all-and-head"},
    "merged": {
        "method": "agrpo", "method.beta": 0.1, "method.mc_samples": 2, "model.lora.rank": 2,
        "model.lora.targets": "all-and-head", "execution.merge_adapters": True,
    },
    "stops": {"method": "egspo", "method.num_selected": 2, "rollout.block_length": 4, "rollout.completion_length": 16},
}  # fmt: skip
OUT_OF_MEMORY = {
    "rollout": {"method": "egspo", "method.num_selected": 2, "fails": "rollout forward"},
    "prepare": {"method": "espo", "method.inner_updates": 2, "fails": "prepare forward"},
    "update": {"method": "egspo", "method.beta": 0.1, "method.num_selected": 2, "fails": "update forward"},
    "backward": {"method": "agrpo", "method.beta": 0.1, "method.mc_samples": 2, "fails": "update backward"},
    "evaluation": {"method": "d1", "method.inner_updates": 2, "fails": "eval forward"},
    "logits": {"method": "d1", "method.beta": 0.1, "method.inner_updates": 2, "fails": "update head"},
    "sampling": {"method": "espo", "fails": "rollout head"},
    "merged": {**CELLS["merged"], "fails": "rollout forward"},
}  # fmt: skip
LARGER_EVALUATIONS = {"cells": OUT_OF_MEMORY, "execution.evaluation_batch_size": 8, "evaluation.items": 24}
SHARINGS = {"2 whole": (2, "ddp"), "2 parts": (2, "fsdp2"), "3 whole": (3, "ddp"), "3 parts": (3, "fsdp2")}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node")


def run(forks, folder, processes, *, sharding="ddp", updates=2, cells=CELLS, launcher=(), **changes):
    """Runs the cells; a launcher starts Python anew, and its processes differ in the order of their sets."""
    settings = {**COMMON, "execution.sharding": sharding, "budget": {"updates": updates}, **changes}
    words = [str(RUN_CELLS), json.dumps({name: {**settings, **cell} for name, cell in cells.items()}), str(folder)]
    if launcher:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *launcher, str(processes), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        ended = forks.start(processes, *words).end(900)
        assert ended.codes == [0] * processes, ended.out + ended.err
    return folder


def found(runs, cell):
    """The folder of a cell's run."""
    return next((runs / cell).rglob(METRICS_FILE)).parent


def weights(runs, cell):
    return load_file(checkpoints(found(runs, cell) / "checkpoints")[-1] / "weights.safetensors")


def numbers(value, name=""):
    if isinstance(value, dict):
        return {key: item for part in value for key, item in numbers(value[part], f"{name}.{part}").items()}
    if isinstance(value, list):
        return {key: item for i, part in enumerate(value) for key, item in numbers(part, f"{name}.{i}").items()}
    return {} if "seconds" in name else {name: value}


def assert_same_runs(runs, expected, cell):
    assert json.loads((found(runs, cell) / STATUS_FILE).read_text())["state"] == "finished"
    records = [list(read_lines(found(one, cell) / METRICS_FILE)) for one in (runs, expected)]
    for shared, alone in zip(*records, strict=True):
        assert numbers(shared) == pytest.approx(numbers(alone), rel=1e-4, abs=1e-5)
    evaluations = [list(read_lines(found(one, cell) / EVAL_FILE)) for one in (runs, expected)]
    assert [one["metrics"] for one in evaluations[0]] == [one["metrics"] for one in evaluations[1]]
    mine, theirs = weights(runs, cell), weights(expected, cell)
    assert {name: weight.shape for name, weight in mine.items()} == {name: one.shape for name, one in theirs.items()}
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in mine) < 1e-5


@pytest.fixture(scope="module")
def alone(forks, tmp_path_factory):
    return run(forks, tmp_path_factory.mktemp("alone"), 1)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "sharding"), SHARINGS.values(), ids=SHARINGS)
def test_shared_runs_have_the_numbers_and_weights_of_runs_alone(forks, alone, tmp_path, processes, sharding):
    shared = run(forks, tmp_path, processes, sharding=sharding)
    for cell in CELLS:
        assert_same_runs(shared, alone, cell)


@pytest.fixture(scope="module")
def unlimited(forks, tmp_path_factory):
    return run(forks, tmp_path_factory.mktemp("unlimited"), 1, **LARGER_EVALUATIONS)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "sharding"), [(2, "ddp"), (2, "fsdp2"), (3, "fsdp2")])
def test_where_one_process_runs_out_of_memory_all_go_on_with_the_same_numbers(
    forks, unlimited, tmp_path, processes, sharding
):
    shared = run(forks, tmp_path, processes, sharding=sharding, **LARGER_EVALUATIONS)
    for cell in OUT_OF_MEMORY:
        assert_same_runs(shared, unlimited, cell)


@pytest.mark.slow
def test_a_run_goes_on_with_other_processes_and_another_sharding(forks, tmp_path):
    cells = {name: CELLS[name] for name in ("espo", "adapters")}
    expected = run(forks, tmp_path / "alone", 1, updates=6, cells=cells)
    run(forks, tmp_path / "moved", 2, sharding="fsdp2", updates=2, cells=cells)
    run(forks, tmp_path / "moved", 1, updates=4, cells=cells)
    run(forks, tmp_path / "moved", 3, sharding="fsdp2", updates=6, cells=cells, launcher=TORCHRUN)
    for cell in cells:
        mine, theirs = weights(tmp_path / "moved", cell), weights(expected, cell)
        assert max(float((mine[name] - theirs[name]).abs().max()) for name in mine) < 1e-5


def test_a_lone_process_sums_nothing():
    assert ALONE.sum(torch.tensor([2.5])).tolist() == [2.5]
