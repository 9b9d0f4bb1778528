"""harness lm-eval: lm-eval's own command line with our model type `diffusion_lm` and our tasks `harness_*`."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer

from harness import registry
from harness.errors import UserError

MODEL = "diffusion_lm"
PACKAGE = "lm_eval"
INCLUDE_PATH = "--include-path"


def lm_eval(context: typer.Context) -> int:
    """lm-eval with our model type and tasks: harness lm-eval run --model diffusion_lm --tasks harness_sudoku.

    --include-path DIR brings tasks of your own. All other arguments are lm-eval's: see harness lm-eval run --help, and
    harness lm-eval ls tasks.
    """
    from lm_eval.__main__ import cli_evaluate

    import harness.lmeval.model  # noqa: F401  (registers)
    from harness.lmeval import code_eval
    from harness.lmeval.saving import saved

    folders, arguments = without_include_paths(context.args)
    registry.add_include_paths(folders)
    code_eval.install()

    # lm-eval reads the arguments of the process.
    own = sys.argv
    sys.argv = ["lm-eval", *with_device(arguments)]
    try:
        with saved():
            cli_evaluate()
    except ValueError as error:
        if isinstance(error, UserError) or not raised_in(PACKAGE, error):
            raise
        raise UserError(str(error)) from error
    except SystemExit as done:  # its way of ending after --help and wrong options
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    finally:
        sys.argv = own
    return 0


def without_include_paths(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The folders of --include-path among the arguments, and what is left. lm-eval's own --include_path, of folders of
    YAML files, stays. Raises UserError where a folder is missing."""
    folders, left, waiting = [], [], [*arguments]
    while waiting:
        option, is_joined, value = waiting.pop(0).partition("=")
        if option != INCLUDE_PATH:
            left.append(f"{option}{is_joined}{value}")
        elif is_joined or waiting:
            folders.append(Path(value if is_joined else waiting.pop(0)))
        else:
            raise UserError(f"{INCLUDE_PATH} needs a folder behind it.")
    return folders, left


def with_device(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--device auto` before all others where our model runs.

    lm-eval's own default is cuda:0, which a machine without a GPU does not have. A device among the arguments comes
    later and wins; one in a configuration file would not, so with such a file nothing is added.
    """
    given = list(arguments)
    has_file = any(one.startswith(("--config", "-C")) for one in given)
    if has_file or not any(MODEL in one for one in given):
        return given
    first = 1 if given[0] == "run" else 0
    return [*given[:first], "--device", "auto", *given[first:]]


def raised_in(package: str, error: Exception) -> bool:
    """Whether the package's own code raised the error: lm-eval refuses arguments with ValueError."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return package in Path(frame.filename).parts
