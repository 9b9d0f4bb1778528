"""Python processes that cost no start of Python: forked from one that has imported the harness and computed nothing.

`Forks().start(2, "-m", "harness", "eval", ...)` takes the words of `python`. Tests import this file; run as a script it
is the process that forks, which reads a request per line and answers with one, both JSON.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

CHECKOUT = Path(__file__).resolve().parents[1]
IMPORTED = (
    *(f"harness.cli.{name}" for name in ("main", "run", "eval", "compare", "grade", "sft")),
    *("harness.app.run", "harness.app.evaluate", "harness.app.sft", "harness.models.checkpoints", "harness.rl.loop"),
    *("accelerate", "accelerate.utils", "torch.distributed.fsdp", "torch.distributed.checkpoint.state_dict"),
)
DEADLINE = 500
"""Seconds for a job, on a machine that is busy with much else."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Exit codes of a job's processes, below 0 by signals, and what all of them printed."""

    codes: list[int]
    out: str
    err: str


@dataclass(kw_only=True)
class Job:
    """Processes at work. ids: by rank."""

    forks: Forks
    ids: list[int]
    files: list[tuple[Path, Path]]
    codes: dict[int, int] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether none of the processes has ended."""
        self._look(seconds=0)
        return not self.codes

    def signal(self, number: signal.Signals) -> None:
        """Sends it to every process."""
        for process in self.ids:
            os.kill(process, number)

    def end(self, seconds: float = DEADLINE) -> Ended:
        """Waits for every process; those that have not ended in time are killed, and that is an error."""
        self._look(seconds)
        if len(self.codes) < len(self.ids):
            self.signal(signal.SIGKILL)
            self._look(DEADLINE)
            raise TimeoutError(f"not ended within {seconds} s: {self._said(0)}{self._said(1)}")
        return Ended(codes=[self.codes[one] for one in self.ids], out=self._said(0), err=self._said(1))

    def _look(self, seconds: float) -> None:
        left = [process for process in self.ids if process not in self.codes]
        found = self.forks.ask({"ends": left, "seconds": seconds})
        self.codes |= {int(process): code for process, code in found.items()}

    def _said(self, stream: int) -> str:
        return "".join(files[stream].read_text() for files in self.files)


class Forks:
    """The process that forks, started with the first job. around: words of a command to run it in, as bwrap's."""

    def __init__(self, around: Sequence[str] = ()) -> None:
        self._around, self._count = list(around), 0
        self._server: subprocess.Popen[str] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="forks-"))

    def run(self, count: int, *words: object, **options: Any) -> Ended:
        """A job from its start to its end."""
        return self.start(count, *words, **options).end()

    def start(self, count: int, *words: object, cwd: Path = CHECKOUT, **environment: str) -> Job:
        """A job of so many processes, which find each other as those of a launcher do."""
        place = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        if count > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
            place |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        ids, files = [], []
        for rank in range(count):
            self._count += 1
            files.append((self._folder / f"{self._count}.out", self._folder / f"{self._count}.err"))
            own = place | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {})
            request = {"words": list(map(str, words)), "cwd": str(cwd), "environment": own}
            ids.append(self.ask(request | {"files": list(map(str, files[-1]))}))
        return Job(forks=self, ids=ids, files=files)

    def ask(self, request: Mapping[str, Any]) -> Any:
        """The answer to a request."""
        if self._server is None:
            environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
            self._server = subprocess.Popen(
                [*self._around, sys.executable, "-W", "ignore", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
            )
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        """Ends the process that forks, and all that it has forked."""
        if self._server is not None:
            self._server.communicate()
        shutil.rmtree(self._folder)


def serve() -> None:
    """Forks and waits as asked, until there is nobody left to ask."""
    ids: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if "words" in request:
            process = os.fork()
            if not process:
                child(request)
            ids.add(process)
            answer: Any = process
        else:
            answer = ends(request["ends"], request["seconds"])
            ids.difference_update(answer)
        print(json.dumps(answer), flush=True)
    for process in ids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def ends(ids: Sequence[int], seconds: float) -> dict[int, int]:
    """The exit codes of those that have ended when all have, or when the time is over."""
    codes: dict[int, int] = {}
    last = time.monotonic() + seconds
    while True:
        for process in [one for one in ids if one not in codes]:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                codes[process] = os.waitstatus_to_exitcode(status)
        if len(codes) == len(ids) or time.monotonic() >= last:
            return codes
        time.sleep(0.01)


def child(request: Mapping[str, Any]) -> NoReturn:
    """The life of a forked process: what `python` with those words would do."""
    code = 1
    try:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream, file in enumerate(request["files"], start=1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        python(request["words"])
        code = 0
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else int(asked.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def python(words: Sequence[str]) -> None:
    """Runs a module (-m), a program (-c) or a script with its arguments."""
    first, *rest = words
    sys.argv = [first, *rest] if first.endswith(".py") else rest
    if first == "-m":
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.path.insert(0, str(Path(first).parent))
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    serve()
