"""The broker's two kinds of process: the judge, which stays, and a program's sandbox, fresh for each start."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.scoring.sandbox import bubblewrap, mounts
from harness.scoring.sandbox.job import Limits
from harness.scoring.sandbox.processes import Child

# The kernel counts processor time for its own limit in whole ticks of the clock, so that limit is higher than ours.
SLACK_SECONDS = 1


@dataclass(frozen=True, kw_only=True)
class Actor:
    """A program's process, the judge's ends of its pipes, and the socket with its greeting."""

    child: Child
    greeting: socket.socket
    calls: int
    replies: int


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The judge's process, and our end of the socket to it."""

    child: Child
    control: socket.socket


class Stage:
    """Starts judge and programs, for several threads. Use as a context manager.

    folder: an empty one for its files; PRIVATE_FOLDER where this process has name spaces of its own (bubblewrap.py).
    """

    def __init__(self, bwrap: str | None, packages: Sequence[str], folder: Path) -> None:
        self._folder = folder
        self._private = folder == bubblewrap.PRIVATE_FOLDER
        self._lock = threading.Lock()
        self._running: set[Child] = set()
        self._numbers = itertools.count()
        (folder / "image").mkdir()
        self.image = bubblewrap.build_image(folder / "image", bwrap, packages)
        if bwrap is not None and os.statvfs(folder).f_flag & os.ST_NOEXEC:
            raise UserError(f"{folder} is mounted noexec; set TMPDIR to a folder from which programs can be executed")
        self._filters = {judge: _memory_file(judge=judge) for judge in (False, True) if bwrap}
        self._judge = self._start_judge()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *details: object) -> None:
        """Ends everything that runs and removes the folder."""
        for child in list(self._running):
            child.kill_group()
        if not self._private:
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def program(self, limits: Limits) -> Iterator[Actor]:
        """A fresh sandbox that waits for its program, gone afterwards. Raises OSError where it cannot be started."""
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(self._scratch(limits)) if self._private else None
            calls_out, calls_in = _pipe(stack)
            replies_out, replies_in = _pipe(stack)
            greeting, greeter = socket.socketpair()
            stack.enter_context(greeting)
            stack.enter_context(greeter)
            greeting.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            ends = (greeter.fileno(), calls_out.fileno(), replies_in.fileno())
            bounds = (limits.cpu_seconds + SLACK_SECONDS, limits.memory_mb << 20, limits.file_mb << 20)
            child = self._start("candidate", ends, bounds, limits, scratch)
            stack.callback(self._end, child)
            for end in (greeter, calls_out, replies_in):
                end.close()
            yield Actor(child=child, greeting=greeting, calls=calls_in.fileno(), replies=replies_out.fileno())

    def hand_over(self, *descriptors: int) -> Judge:
        """Gives a job's descriptors to the judge, and says to which one. Raises OSError where there is none."""
        with self._lock:
            try:
                socket.send_fds(self._judge.control, [b"j"], descriptors)
            except ConnectionError:  # it has been killed
                self._replace()
                socket.send_fds(self._judge.control, [b"j"], descriptors)
            return self._judge

    def replace(self, judge: Judge) -> None:
        """Starts a new judge in the place of one that has ended, once for all jobs that notice."""
        with self._lock:
            if self._judge is judge:
                self._replace()

    def _replace(self) -> None:
        self._end(self._judge.child)
        self._judge.control.close()
        self._judge = self._start_judge()

    def _start_judge(self) -> Judge:
        ours, theirs = socket.socketpair()
        with theirs:
            child = self._start("judge", (theirs.fileno(),), (), Limits(), None)
        return Judge(child=child, control=ours)

    def _start(
        self, name: str, descriptors: Sequence[int], bounds: Sequence[int], limits: Limits, scratch: Path | None
    ) -> Child:
        script = self.image.script(name, *descriptors, *bounds, *self.image.package_folder())
        with contextlib.ExitStack() as stack:
            more: tuple[int, ...] = ()
            if self._filters:
                # bwrap reads the filter to the end of its file, so each sandbox gets an opening of its own.
                path = f"/proc/self/fd/{self._filters[name == 'judge']}"
                filter_file = stack.enter_context(open(path, "rb", buffering=0))
                more = (filter_file.fileno(),)
                script = self.image.command(script, limits=limits, scratch=scratch, filter_descriptor=more[0])
            child = Child(
                subprocess.Popen(
                    script,
                    pass_fds=(*descriptors, *more),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    cwd=str(self.image.folder / "tmp"),
                    env={},
                    start_new_session=True,
                )
            )
        self._running.add(child)
        return child

    def _end(self, child: Child) -> None:
        self._running.discard(child)
        child.kill()

    def _scratch(self, limits: Limits) -> contextlib.AbstractContextManager[Path]:
        place = self._folder / f"scratch-{next(self._numbers)}"
        return mounts.bounded_folder(place, megabytes=limits.tmp_mb, files=limits.tmp_files)


def _pipe(stack: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    reader, writer = os.pipe()
    return stack.enter_context(io.FileIO(reader, "r")), stack.enter_context(io.FileIO(writer, "w"))


def _memory_file(*, judge: bool) -> int:
    descriptor = os.memfd_create("seccomp")
    os.write(descriptor, bubblewrap.filter_bytes(judge=judge))
    return descriptor
