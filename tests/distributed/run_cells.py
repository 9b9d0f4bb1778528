"""Executes runs one after another in one process or, under torchrun, in several: cells as JSON, then the folder."""

import json
import sys
from pathlib import Path

from harness.app.plan import RunRequest, plan
from harness.app.run import execute


def main(cells: str, runs: str) -> None:
    for name, cell in json.loads(cells).items():
        overrides = {key: value for key, value in cell.items() if key != "method"}
        request = RunRequest(method=cell["method"], task="sudoku", runs=Path(runs) / name, overrides=overrides)
        execute(plan(request), lambda event: None, lambda text: print(text, file=sys.stderr))


if __name__ == "__main__":
    main(*sys.argv[1:])
