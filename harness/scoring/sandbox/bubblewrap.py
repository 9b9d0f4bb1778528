"""The command lines of the sandboxes: bubblewrap with a read-only root that holds only what Python needs.

    /                 copies of the interpreter, its shared libraries and the scripts of the sandbox
    /python/lib/..    the standard library, without site-packages
    /packages         packages that the user allows, none by default
    /tmp              a tmpfs of limited size and number of files, gone with the sandbox
    /dev/null         and no other device; no /proc, no /etc, no home

No network, no environment, no capabilities; a user, process, IPC and host name space of its own; a seccomp filter.

Where the machine lets sandboxes nest, the broker runs in one too, which takes nothing from it. Its files are out of
reach of others, it may mount folders with a bound on the number of files, and the kernel ends everything that it has
started when it ends, in whatever way.
"""

from __future__ import annotations

import functools
import importlib
import os
import platform
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.scoring.sandbox import packages, seccomp
from harness.scoring.sandbox.job import Limits

SCRIPTS = ("candidate.py", "judge.py", "frames.py", "values.py")
# Modules of the standard library that bring shared libraries of the system along.
LIBRARY_USERS = ("_bz2", "_ctypes", "_decimal", "_hashlib", "_lzma", "_sqlite3", "_ssl", "_uuid", "zlib")
FLAGS = ("-I", "-S", "-B", "-X", "utf8")
SIZED_TMPFS = (0, 7)
NOBODY = "65534"
PACKAGES = "/packages"
PRIVATE_FOLDER = Path("/sys")
"""Of the broker alone. Every Linux has it, and nothing in the sandboxes needs what is there otherwise."""

PRIVATE = (
    *("--unshare-user", "--uid", "0", "--gid", "0", "--unshare-pid", "--dev-bind", "/", "/", "--proc", "/proc"),
    # CAP_SETFCAP: without it, the kernel lets nobody map the first user into a name space inside.
    *("--tmpfs", str(PRIVATE_FOLDER), "--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETFCAP"),
)

# No --new-session: the broker's children have no terminal, and end as a group at whatever moment of their start.
ISOLATION = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox", "--cap-drop", "ALL"),
    *("--die-with-parent", "--as-pid-1", "--clearenv", "--setenv", "LD_LIBRARY_PATH", "/libs"),
    # Numerical libraries start a thread per core otherwise, each with its share of the address space.
    *("--setenv", "OPENBLAS_NUM_THREADS", "1"),
)


def find() -> str | None:
    """The path of bwrap, None where it is not installed."""
    return shutil.which("bwrap")


def version(bwrap: str) -> tuple[int, ...]:
    """(0, 8, 0); empty where it does not say."""
    done = subprocess.run([bwrap, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


@functools.cache
def nests(bwrap: str) -> bool:
    """Whether a sandbox may start others, so that the broker can have name spaces of its own."""
    inner = [bwrap, *ISOLATION, "--ro-bind", "/", "/", "--", "true"]
    return subprocess.run([bwrap, *PRIVATE, "--", *inner], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True, kw_only=True)
class Image:
    """What the sandboxes' root is made of: a folder with copies, and the standard library's own folder.

    bwrap: None runs everything as plain processes, without a sandbox. contents: size and time of each file. packages:
    what programs may import beside the standard library, files and folders.
    """

    folder: Path
    bwrap: str | None
    sized_tmpfs: bool
    contents: Mapping[Path, tuple[int, int]]
    packages: Sequence[Path]

    def script(self, name: str, *arguments: object) -> list[str]:
        """Python running candidate or judge, as seen from inside."""
        python, scripts = (
            ("/python/bin/python", "/scripts") if self.bwrap else (_interpreter(), self.folder / "scripts")
        )
        return [str(python), *FLAGS, f"{scripts}/{name}.pyc", *(str(argument) for argument in arguments)]

    def package_folder(self) -> list[str]:
        """Where the allowed packages are, as seen from inside; nothing without any."""
        return [PACKAGES if self.bwrap else str(self.folder / "packages")] if self.packages else []

    def command(
        self, script: Sequence[str], *, limits: Limits, scratch: Path | None, filter_descriptor: int
    ) -> list[str]:
        """The whole command line.

        scratch: a folder to be /tmp; None for one of bwrap's, without a bound on the number of its files.
        filter_descriptor: an open file with the seccomp filter, read to its end.
        """
        if self.bwrap is None:
            return list(script)
        site = _standard_library() / "site-packages"
        options = ["--ro-bind", str(self.folder), "/"]
        options += ["--ro-bind", str(_standard_library()), self._inside(_standard_library())]
        options += ["--dev-bind", "/dev/null", "/dev/null"]
        if site.is_dir():
            options += ["--tmpfs", self._inside(site), "--remount-ro", self._inside(site)]
        for package in self.packages:
            options += ["--ro-bind", str(package), f"{PACKAGES}/{package.name}"]
        if scratch is not None:
            options += ["--bind", str(scratch), "/tmp"]
        elif self.sized_tmpfs:
            options += ["--size", str(limits.tmp_mb << 20), "--tmpfs", "/tmp"]
        return [self.bwrap, *ISOLATION, *options, "--chdir", "/tmp", "--seccomp", str(filter_descriptor), "--", *script]

    def damage(self) -> str:
        """The first file of the image that is not as it was made; empty where all are."""
        return next((str(path) for path, was in self.contents.items() if _state(path) != was), "")

    def _inside(self, path: Path) -> str:
        return str(Path("/python") / path.relative_to(sys.base_prefix))


def build_image(folder: Path, bwrap: str | None, allowed: Sequence[str]) -> Image:
    """Fills `folder` with the compiled scripts and, with bwrap, the root of the sandboxes (about 20 MB).

    allowed: names of packages. Raises UserError for one that programs cannot have, OSError where there is no room.
    """
    entries = packages.locate(allowed)
    for name in ("scripts", "tmp", "packages"):
        (folder / name).mkdir()
    for name in SCRIPTS:
        source = Path(__file__).with_name(name)
        py_compile.compile(str(source), cfile=str(folder / "scripts" / f"{source.stem}.pyc"), dfile=name, doraise=True)
    if bwrap is None:
        for entry in entries:
            (folder / "packages" / entry.name).symlink_to(entry)
    else:
        _fill_root(folder, entries)
    return Image(
        folder=folder,
        bwrap=bwrap,
        sized_tmpfs=bwrap is not None and version(bwrap) >= SIZED_TMPFS,
        contents={path: _state(path) for path in folder.rglob("*") if path.is_file()},
        packages=entries,
    )


def _fill_root(folder: Path, entries: Sequence[Path]) -> None:
    for name in ("dev", "libs", "lib", "lib64", "python/bin"):
        (folder / name).mkdir(parents=True)
    (folder / "python" / _standard_library().relative_to(sys.base_prefix)).mkdir(parents=True)
    (folder / "dev/null").touch()
    for entry in entries:
        mount_point = folder / "packages" / entry.name
        mount_point.mkdir() if entry.is_dir() else mount_point.touch()
    shutil.copy(_interpreter(), folder / "python/bin/python")
    for library in sorted({*loaded_libraries(), *_system_libraries(packages.shared_libraries(entries))}):
        # The loader is found under the path that the interpreter's header names, all others by LD_LIBRARY_PATH.
        for place in ("lib", "lib64") if library.name.startswith("ld-") else ("libs",):
            shutil.copy(library, folder / place / library.name)
            for name in shorter_names(library.name):
                link = folder / place / name
                link.unlink(missing_ok=True)
                link.symlink_to(library.name)


def _state(path: Path) -> tuple[int, int]:
    """Size and time of last change; unlike any other where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


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
    return _system_libraries(packages.mapped_libraries(Path("/proc/self/maps").read_text()))


def _system_libraries(libraries: Iterable[Path]) -> list[Path]:
    return [path for path in libraries if not path.is_relative_to(_standard_library())]


def filter_bytes(*, judge: bool) -> bytes:
    """The seccomp filter for this machine. Raises UserError where there is none for its processor."""
    return seccomp.filter_program(platform.machine(), judge=judge)


def _interpreter() -> Path:
    return Path(os.path.realpath(sys.executable))


def _standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))
