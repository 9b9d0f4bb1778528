"""The `harness` command. Each subcommand is one function in a file of this folder, imported when asked for.

Exit codes: 0 done, 2 bad input, a place that cannot be written to or a sandbox that fails (one sentence on stderr), 130
or 143 interrupted. Any other exception is a fault of the harness and shows its traceback.
"""

from __future__ import annotations

import ast
import errno
import functools
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from harness import __version__
from harness.cli.terminal import help as helping
from harness.cli.terminal.feedback import QUIET, VERBOSE, echo, speaking
from harness.distributed.ending import is_first_to_end
from harness.distributed.processes import is_agreed, is_main, is_one_of_several, mark_agreed
from harness.distributed.shard import FAULTS, is_loss_of_a_process, raise_together
from harness.distributed.slurm import take_ranks
from harness.errors import Interruption, SandboxError, UserError, printable, unknown_choice
from harness.records.jsonl import RecordError

FAULT = 1
BAD_INPUT = 2
INTERRUPTED = 130

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}
LOUDNESS = (QUIET, "-q", VERBOSE, "-v")
Quiet = Annotated[bool, typer.Option("-q", QUIET, help="Say results and errors alone.")]
Verbose = Annotated[bool, typer.Option("-v", VERBOSE, help="Say more: what is decided and why, and what it takes.")]
NO_TEMPORARY_FOLDER = "temporary directory"
"""In the messages of Python's tempfile and of matplotlib where no folder for temporary files can be written to."""

NO_WRITING = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
NO_SUCH_PLACE = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP)


@dataclass(frozen=True, kw_only=True)
class Subcommand:
    """The function behind `harness <name>`. Its docstring is the help text.

    passes_on: whether it takes any arguments and hands them on to another program. is_shared: whether all processes
    that a launcher started take part; otherwise the first does it alone.
    """

    name: str
    module: str
    function: str
    passes_on: bool = False
    is_shared: bool = False

    def load(self) -> Callable[..., Any]:
        """Imports the function."""
        function: Callable[..., Any] = getattr(importlib.import_module(self.module), self.function)
        return function

    def built(self) -> TyperCommand:
        """The command with what all commands have: its help, --quiet and --verbose, values that the shell completes."""
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        function = self.load() if self.passes_on else _with_manners(self.load())
        kind, settings = (helping.PassingOn, PASS_ON) if self.passes_on else (helping.Command, {})
        alone.command(self.name, cls=kind, context_settings=helping.SETTINGS | settings)(function)
        command: Any = typer.main.get_command(alone)
        return command

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring, read from the file: an overview that imports nothing is quick."""
        spec = importlib.util.find_spec(self.module)
        assert spec is not None
        assert spec.origin is not None
        tree = ast.parse(Path(spec.origin).read_bytes())
        (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == self.function)
        return (ast.get_docstring(function) or "").partition("\n\n")[0]


SUBCOMMANDS = (
    Subcommand(name="new", module="harness.cli.new", function="new"),
    Subcommand(name="run", module="harness.cli.run", function="run", is_shared=True),
    Subcommand(name="plan", module="harness.cli.plan", function="plan_run"),
    Subcommand(name="eval", module="harness.cli.eval", function="evaluate", is_shared=True),
    Subcommand(name="compare", module="harness.cli.compare", function="compare", is_shared=True),
    Subcommand(name="grade", module="harness.cli.grade", function="grade", is_shared=True),
    Subcommand(name="reproduce", module="harness.cli.reproduce", function="reproduce"),
    Subcommand(name="report", module="harness.cli.report", function="report"),
    Subcommand(name="list", module="harness.cli.list", function="list_runs"),
    Subcommand(name="show", module="harness.cli.show", function="show"),
    Subcommand(name="data", module="harness.cli.data", function="data"),
    Subcommand(name="doctor", module="harness.cli.doctor", function="doctor"),
    Subcommand(name="bench", module="harness.cli.bench", function="measure"),
    Subcommand(name="diagnose", module="harness.cli.diagnose", function="diagnose"),
    Subcommand(name="sft", module="harness.cli.sft", function="sft", is_shared=True),
    Subcommand(name="export", module="harness.cli.export", function="export"),
    Subcommand(name="lm-eval", module="harness.cli.lm_eval", function="lm_eval", passes_on=True, is_shared=True),
)


class _Commands(helping.Group):
    """The commands of the table; only the one that is asked for is imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names."""
        return [command.name for command in SUBCOMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand:
        """One with its sentence alone, for lists."""
        return helping.Command(cmd_name, help=_named(cmd_name).summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the words begin with, and the others; none where a shell completes what is no command."""
        if ctx.resilient_parsing and args[0] not in self.list_commands(ctx):
            return None, None, args
        return args[0], _named(args[0]).built(), args[1:]


def _with_manners(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of a command with --quiet and --verbose, and with parameters that the shell completes."""
    from harness.cli.options.completion import completed

    @functools.wraps(function)
    def called(*, quiet: bool, verbose: bool, **given: Any) -> Any:
        with speaking(quiet=quiet, verbose=verbose):
            return function(**given)

    own = map(completed, inspect.signature(function, eval_str=True).parameters.values())
    loudness = (
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)
        for name, annotation in (("quiet", Quiet), ("verbose", Verbose))
    )
    keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    called.__signature__ = inspect.Signature([*keyword_only, *loudness])  # type: ignore[attr-defined]
    return called


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code. `arguments` defaults to those of the process."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if all(word in LOUDNESS for word in given):
        given.append("--help")
    take_ranks()
    try:
        code = _execute_together(given)
    except Interruption as asked:
        if is_main():
            _say(str(asked))
        return asked.exit_code
    except Exception as error:
        sentence = _sentence(error)
        is_told = not is_main() if is_agreed(error) else not is_first_to_end()
        if sentence is None and not is_told:
            raise
        if sentence is not None and not is_told:
            _say(sentence)
        return FAULT if sentence is None else BAD_INPUT
    if code == INTERRUPTED and is_main():
        _say("interrupted")
    return code


def _sentence(error: Exception) -> str | None:
    """What to say of an error; None of a fault of the harness, which shows its traceback."""
    if isinstance(error, UserError | SandboxError | RecordError):
        return str(error)
    if isinstance(error, OSError):
        if NO_TEMPORARY_FOLDER in str(error):
            return f"No folder for temporary files can be used: {error.strerror or error}. Set TMPDIR to one."
        return _describe(error) if error.errno in NO_WRITING + NO_SUCH_PLACE else None
    if is_one_of_several() and isinstance(error, RuntimeError) and is_loss_of_a_process(error):
        return "Another process has ended; the same command goes on with what is left."
    return None


def _execute_together(arguments: list[str]) -> int:
    """Executes a command; of several processes that share it none ends before all know what the first that failed has
    seen, and where they do not share it, only the first does anything."""
    named = next((word for word in arguments if not word.startswith("-")), "")
    is_shared = any(command.name == named and command.is_shared for command in SUBCOMMANDS)
    if not is_shared and not is_main():
        return 0
    try:
        return _execute(arguments)
    except FAULTS as error:
        fault: Exception = error
    except typer.TyperException as error:
        from harness.cli.terminal.mistakes import explained

        fault = explained(error, arguments)
    if is_shared:
        raise_together(fault)
    mark_agreed(fault)
    raise fault


def _execute(arguments: list[str]) -> int:
    if arguments[0] == "--":
        raise UserError("The command comes first: harness COMMAND [OPTIONS]. See harness --help.")
    application = typer.Typer(cls=_Commands, pretty_exceptions_enable=False, rich_markup_mode=None)
    application.callback(context_settings=helping.SETTINGS)(_overview)
    result = typer.main.get_command(application).main(args=arguments, prog_name="harness", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _named(name: str) -> Subcommand:
    for command in SUBCOMMANDS:
        if command.name == name:
            return command
    raise unknown_choice("command", name, (command.name for command in SUBCOMMANDS), fix="See harness --help.")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harness {__version__}")
        raise typer.Exit


def _overview(
    context: typer.Context,
    quiet: Quiet = False,
    verbose: Verbose = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Reinforcement learning of masked diffusion language models, compared under one harness.

    A first run: harness run --method egspo-sa --task sudoku, then harness report.
    """
    context.with_resource(speaking(quiet=quiet, verbose=verbose))


def _describe(error: OSError) -> str:
    place = f"'{error.filename}'" if error.filename else "a file"
    return f"Cannot read or write {place}: {error.strerror}. Make room, fix its permissions, or choose another folder."


def _say(message: str) -> None:
    echo(f"harness: {' '.join(printable(message).split())}", err=True)
