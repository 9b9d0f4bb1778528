"""A real Slurm of one node with two processors, on the loopback interface, for the tests that submit to it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEADLINE = 1800
"""Seconds, for a machine that is busy with much else."""
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldTimeout=600
SlurmdTimeout=600
MessageTimeout=100
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=300
MinJobAge=3600
SlurmdParameters=config_overrides
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000
PartitionName=low Nodes=node Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=node PriorityTier=2 PreemptMode=OFF
"""


class Slurm:
    """The running cluster, by its commands."""

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints; nothing where it fails."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
        return done.stdout if done.returncode == 0 else ""

    def await_that(self, condition: Callable[[], object], what: str) -> None:
        """Returns when the condition holds; fails where it does not in time. Jobs that Slurm put back into the queue,
        where it lets them wait for two minutes, start at once."""
        end = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"{what} did not happen within {DEADLINE} s")
            for job in self.ask("squeue", "-h", "--array", "--states", "PENDING", "--format", "%i").split():
                self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
            time.sleep(0.5)

    def restarts(self, job: str) -> int:
        """How often Slurm has started a job anew."""
        return int(self.ask("scontrol", "show", "job", job).partition("Restarts=")[2].split()[0])


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def _start(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Starts munge's daemon and Slurm's two, each when the one before it answers."""
    munge = folder / "munge"
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700)
    key = munge / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={munge / name}" for option, name in files.items()]
    for command in (["munged", "-F", "--force", *options], ["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", "node"]):
        with open(folder / f"{command[0]}.out", "wb") as log:
            yield subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        if command[0] == "munged":
            end = time.monotonic() + 60
            while not (munge / "socket").exists() and time.monotonic() < end:
                time.sleep(0.1)


def _end(daemons: list[subprocess.Popen[bytes]]) -> None:
    """Ends every job, then every daemon; those that do not end by themselves are killed."""
    cluster = Slurm()
    cluster.ask("scancel", "--user", "root", "--signal", "KILL")
    cluster.ask("scancel", "--user", "root")
    end = time.monotonic() + 120
    while cluster.ask("squeue", "--noheader") and time.monotonic() < end:
        time.sleep(0.3)
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """Slurm's commands reach a cluster of this test's own: partitions `low` and `high`, which preempts it."""
    if missing := [name for name in DAEMONS if shutil.which(name) is None]:
        pytest.skip(f"{missing[0]} is not installed (packages slurm-wlm and munge)")
    if os.geteuid():
        pytest.skip("Slurm's daemons need root")
    folder = tmp_path / "slurm"
    folder.mkdir()
    controller_port, node_port = _free_ports()
    host = socket.gethostname().partition(".")[0]
    values = {"host": host, "folder": folder, "controller_port": controller_port, "node_port": node_port}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    cluster = Slurm()
    with contextlib.ExitStack() as stack:
        daemons: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, daemons)
        for daemon in _start(folder):
            daemons.append(daemon)
        end = time.monotonic() + 120
        while "idle" not in cluster.ask("sinfo", "--noheader", "--format", "%T"):
            if time.monotonic() > end or any(daemon.poll() is not None for daemon in daemons):
                logs = (folder / f"{name}.out" for name in DAEMONS)
                last = " / ".join(path.read_text(errors="replace")[-200:] for path in logs if path.exists())
                pytest.skip(f"Slurm's daemons do not start here: {last}")
            time.sleep(0.3)
        yield cluster
