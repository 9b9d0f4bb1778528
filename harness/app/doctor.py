"""What this machine supports, and what to install for the rest."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.data.sources import DATA_VARIABLE
from harness.distributed.environment import PACKAGES
from harness.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something the harness depends on. fix: what to do about it; empty where it is in order."""

    name: str
    state: str
    fix: str = ""


def examine() -> Iterator[Finding]:
    """Looks at the system, Python, the packages, the machine, its accelerator, the sandbox and the data folder, in this
    order."""
    yield _system()
    new_enough = sys.version_info >= (3, 11)
    yield Finding(name="Python", state=platform.python_version(), fix="" if new_enough else "use Python 3.11 or newer")
    yield from map(_package, PACKAGES)
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Finding(name="machine", state=f"{platform.machine()}, {os.cpu_count()} cores, {free:.0f} GB free here")
    yield _accelerator()
    yield from _sandbox()
    yield _data()


def _system() -> Finding:
    """What works without bubblewrap, which is for Linux alone."""
    system = platform.system()
    if system == "Linux":
        return Finding(name="system", state=f"Linux {platform.release()}")
    if system == "Windows":
        fix = "use WSL 2, which is Linux: runs need the file locks and process limits of Unix"
        return Finding(name="system", state=system, fix=fix)
    state = f"{system}, where nothing was tested: all is expected to work but model-written code (MBPP, HumanEval)"
    return Finding(name="system", state=state, fix="evaluate code tasks on Linux or in a container")


def _package(name: str) -> Finding:
    try:
        return Finding(name=name, state=version(name))
    except PackageNotFoundError:
        return Finding(name=name, state="missing", fix=f"pip install {name}")


def _accelerator() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(name="accelerator", state="none: the tiny model runs, 8B models need a GPU")
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Finding(name="accelerator", state=names)


def _sandbox() -> Iterator[Finding]:
    """bubblewrap, the right to use it, and one program through the whole sandbox."""
    from harness.scoring.sandbox import bubblewrap
    from harness.scoring.sandbox.client import missing, open_sandbox

    problem = missing()
    bwrap = bubblewrap.find()
    numbers = ".".join(map(str, bubblewrap.version(bwrap))) if bwrap else "missing"
    yield Finding(name="bubblewrap", state=numbers, fix=problem)
    if problem:
        return
    try:
        open_sandbox()
    except UserError as error:
        yield Finding(name="sandbox", state="does not start", fix=str(error))
        return
    yield Finding(name="sandbox", state=f"works; {_files_bound(bwrap or '')}")


def _files_bound(bwrap: str) -> str:
    """What bounds the files that a program makes."""
    from harness.scoring.sandbox import bubblewrap
    from harness.scoring.sandbox.job import Limits

    limits = Limits()
    if bubblewrap.nests(bwrap):
        return f"a program has a tmpfs of {limits.tmp_mb} MB and {limits.tmp_files:,} files for itself"
    if bubblewrap.version(bwrap) >= bubblewrap.SIZED_TMPFS:
        return (
            f"a program's files are bounded to {limits.tmp_mb} MB but not in number, since bubblewrap may not start "
            "another inside with a /proc of its own"
        )
    return "programs cannot write files (that takes bubblewrap 0.7 or newer)"


def _data() -> Finding:
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        return Finding(name=DATA_VARIABLE, state="not set: builtin or hub data")
    found = Path(folder).expanduser().is_dir()
    return Finding(name=DATA_VARIABLE, state=folder, fix="" if found else "is not a folder; correct it or unset it")
