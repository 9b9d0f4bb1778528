"""Packages beside the standard library that the user lets programs import."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from harness.errors import UserError

SHOW_MAP = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(open("/proc/self/maps").read())
"""


def locate(names: Sequence[str]) -> list[Path]:
    """The files and folders in site-packages that the named packages consist of.

    Raises UserError for a name that is not that of an installed package.
    """
    return sorted({entry for name in names for entry in _entries(name)})


def versions(names: Sequence[str]) -> dict[str, str]:
    """The versions of the named packages by their own names, in order. Raises UserError as `locate` does."""
    return dict(sorted((found.metadata["Name"], found.version) for found in map(_installed, names)))


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError) as error:
        raise UserError(f"--allow-packages: '{name}' is not an installed package; pip install it.") from error


def _entries(name: str) -> list[Path]:
    found = _installed(name)
    site = Path(str(found.locate_file("")))
    tops = {file.parts[0] for file in found.files or ()} - {"..", "/", "__pycache__"}
    if not tops:
        raise UserError(f"--allow-packages: '{name}' has no list of its files; pip install it again.")
    return [site / top for top in tops]


def shared_libraries(entries: Sequence[Path]) -> list[Path]:
    """The system's shared libraries that these packages load when they are imported.

    Raises UserError where one cannot be imported.
    """
    modules = sorted({entry.name.partition(".")[0] for entry in entries if (entry / "__init__.py").is_file()})
    if not modules:
        return []
    done = subprocess.run([sys.executable, "-c", SHOW_MAP, *modules], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise UserError(f"--allow-packages: {', '.join(modules)} cannot be imported: {last}.")
    folders = {entry.parent for entry in entries}
    mapped = mapped_libraries(done.stdout)
    return [path for path in mapped if not any(path.is_relative_to(folder) for folder in folders)]


def mapped_libraries(memory_map: str) -> list[Path]:
    """The shared libraries in the text of /proc/PID/maps."""
    names = {line.split(maxsplit=5)[-1].strip() for line in memory_map.splitlines() if line.strip()}
    return sorted(Path(name) for name in names if name.startswith("/") and re.search(r"\.so(\.|$)", name))
