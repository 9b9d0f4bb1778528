"""The command lines of the sandboxes: bubblewrap with a read-only root that holds only what Python needs.

    /                 copies of the interpreter, its shared libraries and the scripts of the sandbox
    /python/lib/..    the standard library, without site-packages
    /tmp              a tmpfs of limited size, gone with the sandbox
    /dev/null         and no other device; no /proc, no /etc, no home

No network, no environment, no capabilities; a user, process, IPC and host name space of its own; one session
per sandbox, so that signals to the process group stay inside; a seccomp filter.
"""

from __future__ import annotations

import importlib
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.scoring.sandbox import seccomp
from harness.scoring.sandbox.job import Limits

SCRIPTS = ("candidate.py", "judge.py", "frames.py", "values.py")
# Modules of the standard library that bring shared libraries of the system along.
LIBRARY_USERS = ("_bz2", "_ctypes", "_decimal", "_hashlib", "_lzma", "_sqlite3", "_ssl", "_uuid", "zlib")
FLAGS = ("-I", "-S", "-B", "-X", "utf8")
SIZED_TMPFS = (0, 7)
NOBODY = "65534"
SMALLEST_TMPFS = "4096"

ISOLATION = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox", "--cap-drop", "ALL"),
    *("--die-with-parent", "--new-session", "--as-pid-1", "--clearenv", "--setenv", "LD_LIBRARY_PATH", "/libs"),
)


def find() -> str | None:
    """The path of bwrap, None where it is not installed."""
    return shutil.which("bwrap")


def version(bwrap: str) -> tuple[int, ...]:
    """(0, 8, 0); empty where it does not say."""
    done = subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


@dataclass(frozen=True, kw_only=True)
class Image:
    """What the sandboxes' root is made of: a folder with copies, and the standard library's own folder.

    bwrap: None runs everything as plain processes, without a sandbox.
    """

    folder: Path
    bwrap: str | None
    sized_tmpfs: bool

    def script(self, name: str, *arguments: object) -> list[str]:
        """Python running candidate or judge, as seen from inside."""
        python, scripts = (
            ("/python/bin/python", "/scripts") if self.bwrap else (_interpreter(), self.folder / "scripts")
        )
        return [str(python), *FLAGS, f"{scripts}/{name}.pyc", *(str(argument) for argument in arguments)]

    def command(self, script: Sequence[str], *, limits: Limits, filter_descriptor: int) -> list[str]:
        """The whole command line. filter_descriptor: an open file with the seccomp filter, read to its end."""
        if self.bwrap is None:
            return list(script)
        packages = self._inside(_standard_library() / "site-packages")
        mounts = ["--ro-bind", str(self.folder), "/"]
        mounts += ["--ro-bind", str(_standard_library()), self._inside(_standard_library())]
        mounts += ["--dev-bind", "/dev/null", "/dev/null"]
        if (_standard_library() / "site-packages").is_dir():
            mounts += ["--tmpfs", packages, "--remount-ro", packages]
        if self.sized_tmpfs:
            mounts += ["--size", str(limits.tmp_mb << 20), "--tmpfs", "/tmp"]
        return [self.bwrap, *ISOLATION, *mounts, "--chdir", "/tmp", "--seccomp", str(filter_descriptor), "--", *script]

    def _inside(self, path: Path) -> str:
        return str(Path("/python") / path.relative_to(sys.base_prefix))


def build_image(folder: Path, bwrap: str | None) -> Image:
    """Fills `folder` with the compiled scripts and, with bwrap, the root of the sandboxes (about 20 MB)."""
    (folder / "scripts").mkdir()
    for name in SCRIPTS:
        source = Path(__file__).with_name(name)
        py_compile.compile(str(source), cfile=str(folder / "scripts" / f"{source.stem}.pyc"), dfile=name, doraise=True)
    (folder / "tmp").mkdir()
    if bwrap is None:
        return Image(folder=folder, bwrap=None, sized_tmpfs=False)
    for name in ("dev", "libs", "lib", "lib64", "python/bin"):
        (folder / name).mkdir(parents=True)
    (folder / "python" / _standard_library().relative_to(sys.base_prefix)).mkdir(parents=True)
    (folder / "dev/null").touch()
    shutil.copy(_interpreter(), folder / "python/bin/python")
    for library in loaded_libraries():
        # The loader is found under the path that the interpreter's header names, all others by LD_LIBRARY_PATH.
        for place in ("lib", "lib64") if library.name.startswith("ld-") else ("libs",):
            shutil.copy(library, folder / place / library.name)
            for name in shorter_names(library.name):
                (folder / place / name).symlink_to(library.name)
    return Image(folder=folder, bwrap=bwrap, sized_tmpfs=version(bwrap) >= SIZED_TMPFS)


def shorter_names(library: str) -> list[str]:
    """libz.so.1.2.13 is also asked for as libz.so.1.2, libz.so.1 and libz.so."""
    stem, suffix, numbers = library.partition(".so")
    parts = numbers.split(".")
    return [stem + suffix + ".".join(parts[:count]) for count in range(1, len(parts))]


def loaded_libraries() -> list[Path]:
    """The shared libraries that this interpreter and the standard library's extension modules use.

    Imports these modules and reads the memory map; extension modules themselves are left out.
    """
    for name in LIBRARY_USERS:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    mapped = (line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines())
    files = {Path(name) for name in mapped if name.startswith("/") and re.search(r"\.so(\.|$)", name)}
    return sorted(path for path in files if not path.is_relative_to(_standard_library()))


def filter_bytes(*, judge: bool) -> bytes:
    """The seccomp filter for this machine. Raises UserError where there is none for its processor."""
    return seccomp.filter_program(platform.machine(), judge=judge)


def _interpreter() -> Path:
    return Path(os.path.realpath(sys.executable))


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))
