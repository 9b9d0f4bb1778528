"""Runs that are killed at drawn moments, and jobs that collide: `python campaign.py kills 10 0 FOLDER`.

This process imports everything once and trains nothing; its children do, so that an attempt costs no start of Python.
A moment is the number of a call (a phase begins, a record is appended, a file is synced or renamed), so that a loaded
machine draws the same ones. Where one process of a job ends the others are told, as torchrun does.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.app import run
from harness.cli.main import main
from harness.records.jsonl import read_lines
from harness.records.run_folder import EVAL_FILE, METRICS_FILE, STATUS_FILE, TRACE_FILE
from harness.rl import loop
from harness.rl.ledger import Ledger

SETTINGS = (
    "train.batch_size=8",
    "train.group_size=4",
    "evaluation.items=4",
    "evaluation.every=4",
    "execution.checkpoint_every=1",
    "execution.timeout_minutes=5",
)
RUN = ["run", "--method", "egspo-sa", "--task", "sudoku", "--budget", "updates=8"]
RUN += [part for text in SETTINGS for part in ("--set", text)]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {signal.SIGKILL: (-9,), signal.SIGTERM: (143, -15), signal.SIGINT: (130, -2)}
"""Below 0: the signal came before the run listened to signals, or after it."""
TIMES = ("seconds", "eval_seconds", "tokens_per_second")
LAST_WORD = 30
"""Seconds from a first signal to a kill, as torchrun's."""


@dataclass(frozen=True, kw_only=True)
class Strike:
    """A signal that process `rank` sends itself at its call number `call`."""

    number: signal.Signals
    call: int
    rank: int = 0


def each_call(act: Callable[[], None]) -> None:
    """Lets `act` come before the calls that are counted as moments."""

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*arguments: Any, **options: Any) -> Any:
            act()
            return function(*arguments, **options)

        return acting

    for holder, name in (
        (os, "fsync"),
        (os, "replace"),
        (Ledger, "phase"),
        (run, "load_data"),
        (loop, "append_line"),
        (loop, "keep_lines"),
    ):
        setattr(holder, name, wrapped(getattr(holder, name)))


def child(arguments: Sequence[str], log: Path, place: dict[str, str], strike: Strike | None) -> None:
    """The life of one process of a job; never returns."""
    code = 1
    os.environ.update(place)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    calls = itertools.count(1)

    def act() -> None:
        number = next(calls)
        if strike and number == strike.call and int(place.get("RANK", "0")) == strike.rank:
            os.kill(os.getpid(), strike.number)

    each_call(act)
    try:
        code = main(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        if "count" in place:
            Path(place["count"]).write_text(str(next(calls) - 1))
        os._exit(code)


def start(arguments: Sequence[str], log: Path, processes: int, strike: Strike | None = None, **place: str) -> list[int]:
    """Forks a job; returns its processes."""
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    ids = []
    for rank in range(processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        ids.append(os.fork())
        if not ids[-1]:
            child(arguments, log, place | own, strike)
    return ids


def ends(jobs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Waits for every process of some jobs; returns their exit codes, those of signals below 0."""
    codes: dict[int, int] = {}
    told: dict[int, float] = {}
    while len(codes) < sum(map(len, jobs)):
        for job in jobs:
            for process in [one for one in job if one not in codes]:
                ended, status = os.waitpid(process, os.WNOHANG)
                if ended:
                    codes[process] = os.waitstatus_to_exitcode(status)
            if any(codes.get(process) for process in job):
                tell([process for process in job if process not in codes], told)
        time.sleep(0.02)
    return [[codes[process] for process in job] for job in jobs]


def tell(left: Sequence[int], told: dict[int, float]) -> None:
    """Asks the processes of a job that has lost one to end, and ends them where they do not."""
    for process in left:
        if process not in told:
            told[process] = time.monotonic()
            os.kill(process, signal.SIGTERM)
        elif time.monotonic() - told[process] > LAST_WORD:
            os.kill(process, signal.SIGKILL)


def outcome(runs: Path) -> dict[str, Any]:
    """By folder, all that a finished run leaves, but for times; None for one that has not finished."""
    found = {}
    for status in runs.rglob(STATUS_FILE):
        folder = status.parent
        state = json.loads(status.read_text())["state"]
        records = {
            name: [
                {key: value for key, value in line.items() if key not in TIMES} for line in read_lines(folder / name)
            ]
            for name in (METRICS_FILE, EVAL_FILE, TRACE_FILE)
        }
        weights = [path.read_bytes().hex() for path in sorted(folder.glob("checkpoints/*/weights.safetensors"))]
        is_whole = state == "finished" and len(weights) == 1
        found[folder.name] = {**records, "weights": weights[0]} if is_whole else None
    return found


def untimed(path: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key not in TIMES} for line in read_lines(path)]


def whole(folder: Path, processes: int, *arguments: str) -> tuple[dict[str, Any], int]:
    """What an undisturbed run leaves, and how many moments it has."""
    count = folder / f"count-{processes}"
    runs = folder / f"whole-{processes}"
    command = [*RUN, "--runs", str(runs), *arguments]
    codes = ends([start(command, folder / "whole.log", processes, count=str(count))])
    assert codes == [[0] * processes], (folder / "whole.log").read_text()
    return outcome(runs), int(count.read_text())


def is_right(strike: Strike, codes: Sequence[int]) -> bool:
    """Whether the struck process ended as its signal asks, or was told to after another had: both had agreed to end."""
    code, asked = codes[strike.rank], CODES[strike.number]
    return code in asked or (code in CODES[signal.SIGTERM] and any(other in asked for other in codes))


def kills(number: int, seed: int, folder: Path) -> dict[str, Any]:
    """Strikes runs of one and of two processes in turn until `number` strikes have hit; counts what came of it."""
    drawn = random.Random(seed)
    report: dict[str, Any] = {"kills": 0, "finished": 0, "wrong": [], "by": {}}
    for processes, share in ((1, number - number // 2), (2, number // 2)):
        expected, moments = whole(folder, processes)
        runs, left = folder / f"killed-{processes}", share
        while True:
            strike = Strike(
                number=drawn.choice(SIGNALS), call=drawn.randint(1, moments), rank=drawn.randrange(processes)
            )
            log = folder / f"attempt-{processes}-{share - left}.log"
            (codes,) = ends([start([*RUN, "--runs", str(runs)], log, processes, strike if left else None)])
            if any(codes):
                text = log.read_text()
                if not left or not is_right(strike, codes) or "--fresh" in text or "is not JSON" in text:
                    report["wrong"].append({"strike": str(strike), "codes": codes, "log": text[-3000:]})
                left -= 1
                report["kills"] += 1
                kind = f"{strike.number.name} of {processes}"
                report["by"][kind] = report["by"].get(kind, 0) + 1
                continue
            report["finished"] += 1
            if outcome(runs) != expected:
                report["wrong"].append({"strike": str(strike), "codes": codes, "log": "another result"})
            shutil.rmtree(runs)
            if not left:
                break
    return report


def collisions(number: int, seed: int, folder: Path) -> dict[str, Any]:
    """Starts two jobs of two processes at once on one folder, `number` times; counts what came of it."""
    drawn = random.Random(seed)
    expected, _ = whole(folder, 2, "--seed", "0,1")
    report: dict[str, Any] = {"collisions": 0, "skipped": 0, "finished": 0, "wrong": []}
    for turn in range(number):
        runs, jobs, logs = folder / f"runs-{turn}", [], []
        for job in range(2):
            logs.append(folder / f"job-{turn}-{job}.log")
            jobs.append(start([*RUN, "--seed", "0,1", "--runs", str(runs)], logs[-1], 2))
            time.sleep(drawn.uniform(0, 0.5))
        codes = ends(jobs)
        found, text = outcome(runs), "".join(log.read_text() for log in logs)
        report["collisions"] += 1
        report["skipped"] += text.count("skipped, another process is at work on it")
        report["finished"] += sum(one is not None for one in found.values())
        if found != expected or codes != [[0, 0], [0, 0]]:
            report["wrong"].append({"codes": codes, "log": text[-3000:]})
    return report


if __name__ == "__main__":
    import harness.models.checkpoints  # noqa: F401  (imported before the first fork)

    what, number, seed, place = sys.argv[1:]
    os.environ["OMP_NUM_THREADS"] = "1"
    Path(place).mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        print(json.dumps({"kills": kills, "collisions": collisions}[what](int(number), int(seed), Path(place))))
