"""A grid under Slurm, by submitit: a job of its own for each cell, in job arrays.

Slurm puts a job that it preempts back into the queue by itself; one whose time runs out does it here. Either way the
cell goes on from its last checkpoint. <runs>/.slurm/ holds what submitit needs, the jobs' logs and `jobs.jsonl`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.app.plan import PlannedRun, RunRequest, plan
from harness.app.run import clear, execute, locked
from harness.config.together import check_processes
from harness.distributed.processes import is_main
from harness.distributed.slurm import take_ranks
from harness.errors import Interruption, SandboxError, UserError
from harness.records.jsonl import append_line, read_lines
from harness.records.run_folder import CHECKPOINT_FOLDER, EVAL_FILE

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

SUBMISSIONS, JOBS_FILE = ".slurm", "jobs.jsonl"
LONGEST_ARRAY = 1000
"""Jobs of an array; clusters allow 1001 unless they say otherwise."""
SECONDS_TO_SAVE = 60
"""From the end of what a run is busy with to the end of a job's time, for the checkpoint and the way back into the
queue."""

SECONDS_TO_ANSWER = 20


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What the job of a cell asks for.

    gpus_per_node: a process for each; 0 is a single process per node without. at_a_time: jobs that run together, 0 for
    no limit. sbatch: whatever else sbatch takes, as `account` or `cpus-per-task`, over what is set here.
    """

    partition: str = ""
    minutes: int = 60
    nodes: int = 1
    gpus_per_node: int = 0
    at_a_time: int = 0
    sbatch: Mapping[str, str] = field(default_factory=dict)

    @property
    def processes_per_node(self) -> int:
        """Processes that share a cell on each of its nodes."""
        return max(1, self.gpus_per_node)


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A cell in Slurm's queue. folder: of the run, below `runs`."""

    folder: Path
    job: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What every process of a job does; submitit pickles it."""

    request: RunRequest
    include_paths: Sequence[Path]

    def __call__(self) -> None:
        """Runs the cell. Ends the process after a signal, and with one sentence for anything wrong."""
        take_ranks()
        registry.add_include_paths(self.include_paths)
        try:
            planned = plan(self.request)
            before = _progress(planned)
            execute(planned, lambda event: None, warnings.warn)
        except (UserError, SandboxError) as error:
            sys.exit(f"harness: {error}")
        except Interruption as asked:
            if asked.number != signal.SIGUSR1:
                sys.exit(asked.exit_code)
            if is_main():  # the others end well: Slurm may end the whole job for one that does not
                _requeue(planned, has_progressed=_progress(planned) != before)

    def checkpoint(self) -> DelayedSubmission:
        """What submitit runs next time where the signal comes before the cell has begun."""
        from submitit.core.utils import DelayedSubmission

        return DelayedSubmission(self)


def submit(requests: Sequence[RunRequest], planned: Sequence[PlannedRun], options: SlurmOptions) -> list[Submitted]:
    """Submits a job for each cell that is neither finished nor in the queue.

    With `fresh` their folders are emptied first. Raises UserError where the rows of a cell cannot be shared among the
    processes, Slurm is not here, or it refuses a job.
    """
    waiting = _waiting(requests, planned, options)
    if not waiting:
        return []
    if shutil.which("sbatch") is None:
        raise UserError(
            "Slurm's sbatch was not found; submit from a login node of the cluster, see the scripts with --dry-run, or "
            "run the cells here with --launcher local."
        )
    for request, cell in waiting:
        if request.fresh:
            with locked(cell.folder):
                clear(cell.folder)
    found: list[Submitted] = []
    for first in range(0, len(waiting), LONGEST_ARRAY):
        found += _submit_array(waiting[first : first + LONGEST_ARRAY], options)
    return found


def scripts(requests: Sequence[RunRequest], planned: Sequence[PlannedRun], options: SlurmOptions) -> Iterator[str]:
    """The scripts that `submit` would hand to sbatch. Raises UserError as it does; Slurm need not be here."""
    from submitit.slurm.slurm import _make_sbatch_string

    waiting = _waiting(requests, planned, options)
    for first in range(0, len(waiting), LONGEST_ARRAY):
        cells = waiting[first : first + LONGEST_ARRAY]
        folder = _submissions(cells[0][0].runs)
        yield _make_sbatch_string(
            command=shlex.join([sys.executable, "-u", "-m", "submitit.core._submit", str(folder)]),
            folder=folder,
            map_count=len(cells) if len(cells) > 1 else None,
            **_parameters(cells, options),
        )


def in_queue(runs: Path) -> dict[Path, str]:
    """The cells below `runs` that Slurm has in its queue, by run folder: `job 17_3, pending`."""
    states = _states()
    lines = read_lines(_submissions(runs) / JOBS_FILE) if states else ()
    return {
        runs / line["folder"]: f"job {line['job']}, {states[line['job']]}" for line in lines if line["job"] in states
    }


def minutes(text: str) -> int:
    """A time as Slurm writes it, in minutes, rounded up: `90`, `4:00:00`, `2-12`. Raises UserError for another form."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if found is None:
        raise UserError(f"--time '{text}' is not a time; give minutes, HOURS:MINUTES:SECONDS or DAYS-HOURS.")
    days, *parts = (None if part is None else int(part) for part in found.groups())
    given = [part for part in parts if part is not None]
    if days is None and len(given) < 3:  # then minutes come first, not hours
        given = [0, *given]
    hours, whole, seconds = [*given, 0, 0][:3]
    total = (days or 0) * 1440 + hours * 60 + whole + -(-seconds // 60)
    if not total:
        raise UserError(f"--time '{text}' is no time at all; give at least a minute.")
    return total


def _waiting(
    requests: Sequence[RunRequest], planned: Sequence[PlannedRun], options: SlurmOptions
) -> list[tuple[RunRequest, PlannedRun]]:
    """The cells that are neither finished nor in the queue."""
    for cell in planned:
        check_processes(cell.resolved.config, cell.resolved.execution, options.nodes * options.processes_per_node)
    busy = in_queue(requests[0].runs)
    pairs = zip(requests, planned, strict=True)
    return [(request, cell) for request, cell in pairs if not cell.finished and cell.folder not in busy]


def _submit_array(cells: Sequence[tuple[RunRequest, PlannedRun]], options: SlurmOptions) -> list[Submitted]:
    import submitit
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    runs = cells[0][0].runs
    folder = _submissions(runs)
    executor = submitit.SlurmExecutor(folder)
    executor.update_parameters(**_parameters(cells, options))
    paths = [path.resolve() for path in registry.include_paths()]
    try:
        with executor.batch():
            jobs = [
                executor.submit(Cell(request=replace(request, fresh=False), include_paths=paths))
                for request, _ in cells
            ]
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"Slurm refused the jobs: {str(error).strip()}") from error
    found = [
        Submitted(folder=cell.folder.relative_to(runs), job=job.job_id)
        for (_, cell), job in zip(cells, jobs, strict=True)
    ]
    for one in found:
        append_line(folder / JOBS_FILE, {"folder": one.folder.as_posix(), "job": one.job})
    return found


def _parameters(cells: Sequence[tuple[RunRequest, PlannedRun]], options: SlurmOptions) -> dict[str, Any]:
    """As submitit takes them. SIGUSR1 asks a run to end in time; submitit is told of it, for what comes before."""
    grace = max(cell.resolved.execution.grace_seconds for _, cell in cells)
    given: dict[str, Any] = {
        "job_name": "harness",
        "time": options.minutes,
        "nodes": options.nodes,
        "ntasks_per_node": options.processes_per_node,
        "array_parallelism": options.at_a_time or LONGEST_ARRAY,
        "stderr_to_stdout": True,
        "setup": [
            "export SUBMITIT_PREEMPT_SIGNAL=USR1",
            # Since Slurm 22.05 srun does not take it from sbatch.
            '[ -z "$SLURM_CPUS_PER_TASK" ] || export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
        ],
        "additional_parameters": {
            "requeue": True,
            "signal": f"USR1@{round(grace) + SECONDS_TO_SAVE}",
            **options.sbatch,
        },
    }
    if options.partition:
        given["partition"] = options.partition
    if options.gpus_per_node:
        given["gpus_per_node"] = options.gpus_per_node
    return given


def _submissions(runs: Path) -> Path:
    return runs.resolve() / SUBMISSIONS


def _states() -> dict[str, str]:
    """The user's jobs in Slurm's queue with their states; none where Slurm is not here or does not answer."""
    if shutil.which("squeue") is None:
        return {}
    command = ["squeue", "--me", "--noheader", "--array", "--format", "%i %T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS_TO_ANSWER)
    except subprocess.TimeoutExpired:
        return {}
    return {job: state.lower() for job, state in (line.split() for line in done.stdout.splitlines())}


def _progress(planned: PlannedRun) -> tuple[list[str], int]:
    """What a run has gained: the names of its checkpoints, and its evaluations."""
    from harness.rl.checkpoint import checkpoints

    saved = [place.name for place in checkpoints(planned.folder / CHECKPOINT_FOLDER)]
    return saved, sum(1 for _ in read_lines(planned.folder / EVAL_FILE))


def _requeue(planned: PlannedRun, *, has_progressed: bool) -> None:
    """Puts this job back into the queue, which ends it. Ends it for good where the time did not suffice for a
    checkpoint, as it would not the next time either, or where Slurm refuses."""
    if not has_progressed:
        sys.exit(f"harness: '{planned.folder}' came to no checkpoint in the job's time; give more with --time.")
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_TASK_ID" in os.environ:  # an array's last job has the number of the whole array
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(
            f"harness: job {job} could not be put back into the queue ({done.stderr.strip()}); the same command goes on"
        )
