"""The processes of an `srun` step, under the names that torch's own launcher gives theirs. No torch."""

from __future__ import annotations

import os
import re

FIRST_PORT, PORTS = 12_000, 20_000
"""Ports below those that Linux hands out by itself."""


def take_ranks() -> None:
    """Sets RANK, WORLD_SIZE and what else torch asks for where `srun` started several processes and no other launcher
    runs in between.

    A process that has one GPU to itself (`--gpus-per-task`) finds it under index 0.
    """
    given = os.environ
    if int(given.get("SLURM_STEP_NUM_TASKS", "1")) < 2 or "WORLD_SIZE" in given:
        return
    node = int(given["SLURM_NODEID"])
    has_own_gpu = given.get("CUDA_VISIBLE_DEVICES", "").isdecimal()
    step = int(given["SLURM_JOB_ID"]) + 1009 * int(given["SLURM_STEP_ID"])
    os.environ.update(
        RANK=given["SLURM_PROCID"],
        WORLD_SIZE=given["SLURM_STEP_NUM_TASKS"],
        LOCAL_RANK="0" if has_own_gpu else given["SLURM_LOCALID"],
        LOCAL_WORLD_SIZE=str(tasks_per_node(given["SLURM_STEP_TASKS_PER_NODE"])[node]),
        MASTER_ADDR=first_host(given["SLURM_STEP_NODELIST"]),
        MASTER_PORT=str(FIRST_PORT + step % PORTS),
    )


def first_host(hosts: str) -> str:
    """The first of Slurm's list of hosts: `rack1-n07` of `rack[1-2]-n[07-09,12],login`."""
    found = re.match(r"(?:[^,\[]|\[[^]]*\])+", hosts)
    return re.sub(r"\[([^],-]+)[^]]*\]", r"\1", found[0]) if found else hosts


def tasks_per_node(counts: str) -> list[int]:
    """The number of tasks of every node: 8, 8 and 4 of Slurm's `8(x2),4`."""
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", counts)
    return [int(count) for count, times in parts for _ in range(int(times or 1))]
