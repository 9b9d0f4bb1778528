"""Ranks of `srun`: hand-made environments as Slurm 22.05 and 23.11 give them to the tasks of a step."""

from __future__ import annotations

import os

import pytest

from harness.distributed.processes import is_main, is_one_of_several
from harness.distributed.slurm import first_host, take_ranks, tasks_per_node

STEP = {
    "SLURM_JOB_ID": "4242",
    "SLURM_STEP_ID": "1",
    "SLURM_STEP_NUM_TASKS": "20",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2),4",
    "SLURM_STEP_NODELIST": "gpu[07-08,11]",
    "SLURM_NODEID": "2",
    "SLURM_PROCID": "17",
    "SLURM_LOCALID": "1",
}
TAKEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """os.environ without any launcher's variables, put back at the end."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "CUDA_"))}
    found = {name: value for name, value in kept.items() if name not in TAKEN}
    monkeypatch.setattr(os, "environ", found)
    return found


def test_a_process_of_a_step_of_srun_takes_its_rank_from_slurm(environment: dict[str, str]) -> None:
    environment.update(STEP)
    take_ranks()
    assert {name: environment[name] for name in TAKEN} == {
        "RANK": "17",
        "WORLD_SIZE": "20",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "gpu07",
        "MASTER_PORT": "17251",
    }
    assert is_one_of_several()
    assert not is_main()


def test_a_process_with_one_gpu_to_itself_finds_it_under_index_0(environment: dict[str, str]) -> None:
    environment.update(STEP, CUDA_VISIBLE_DEVICES="3")
    take_ranks()
    assert environment["LOCAL_RANK"] == "0"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
        {**STEP, "SLURM_STEP_NUM_TASKS": "1"},
        {**STEP, "WORLD_SIZE": "16", "RANK": "3"},
    ],
    ids=["no Slurm", "a batch script without srun", "a step of one task", "torchrun in every task"],
)
def test_elsewhere_nothing_is_taken(environment: dict[str, str], given: dict[str, str]) -> None:
    environment.update(given)
    take_ranks()
    assert "MASTER_ADDR" not in environment
    assert environment.get("RANK") == given.get("RANK")


def test_lists_of_hosts_and_of_tasks_are_read_as_slurm_writes_them() -> None:
    hosts = ("node", "a1,a2", "gpu[07-09,12],login", "gpu[3]", "rack[1-2]-n[07-09].site,x")
    assert [first_host(text) for text in hosts] == ["node", "a1", "gpu07", "gpu3", "rack1-n07.site"]
    assert tasks_per_node("8") == [8]
    assert tasks_per_node("2(x3),1") == [2, 2, 2, 1]
