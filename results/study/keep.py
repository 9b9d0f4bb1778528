"""Packs the run folders of a task into one archive, the same bytes whenever it is made (`make study` and its kin).

Left out: weights, locks and completions of checkpoints other than the last. Of seeds but the first also traces and all
completions, and their metrics have six significant digits: a number as it was written takes most of the room.
"""

import argparse
import io
import json
import lzma
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NEVER = ("samples-step", "samples-base", ".lock")
OF_THE_FIRST_SEED = ("samples-", "traces.jsonl")
OTHER_SEED = re.compile(r"-seed[1-9]\d*$")
METRICS = "metrics.jsonl"
DIGITS = 6


def pack(folder: Path, task: str, archive: Path, without: Sequence[str] = ()) -> None:
    """Writes `folder`/`task` to `archive`, a .tar.xz, without the files whose names begin with one of `without`."""
    files = sorted(file for file in (folder / task).rglob("*") if file.is_file() and is_kept(file, without))
    with tarfile.open(archive, "w:xz", preset=9 | lzma.PRESET_EXTREME) as tar:
        for file in files:
            content = file.read_bytes()
            if file.name == METRICS and OTHER_SEED.search(file.parent.name):
                content = shortened(content)
            info = tarfile.TarInfo(file.relative_to(folder).as_posix())
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def is_kept(file: Path, without: Sequence[str] = ()) -> bool:
    """Whether a file of a run folder goes into the archive."""
    left = (*NEVER, *without, *(OF_THE_FIRST_SEED if OTHER_SEED.search(file.parent.name) else ()))
    return "checkpoints" not in file.parts and not file.name.startswith(left)


def shortened(lines: bytes) -> bytes:
    """JSON lines with floats of six significant digits; whole numbers as they are."""
    rows = [_short(json.loads(line)) for line in lines.splitlines()]
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows).encode()


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    is_long = isinstance(value, float) and not value.is_integer()
    return float(f"{value:.{DIGITS}g}") if is_long else value


def main() -> None:
    """`python keep.py FOLDER TASK ARCHIVE [--without PREFIX ...]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("task")
    parser.add_argument("archive", type=Path)
    parser.add_argument("--without", nargs="+", default=(), metavar="PREFIX")
    given = parser.parse_args()
    pack(given.folder, given.task, given.archive, given.without)


if __name__ == "__main__":
    main()
