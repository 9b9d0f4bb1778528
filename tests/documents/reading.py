"""Commands of the pages, read by the command lines that they are written for: ours, make's, torchrun's, lm-eval's."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import re
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from harness.cli.lm_eval import without_include_paths
from harness.cli.main import SUBCOMMANDS, _Commands, _overview

from .pages import CHECKOUT, Command

OTHERS = {
    ("git", "clone"),
    ("cd", "diffusion-rl-harness"),
    ("hf", "download"),
    ("hf", "upload"),
    ("apt-get", "install"),
    ("pre-commit", "install"),
    ("tensorboard", "--logdir"),
}
"""First words of commands of other programs that are known to be right."""
EXTRAS = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
NAMES = {
    *(("run",), ("plan",), ("lm-eval",), ("data", "pull"), ("data", "prompts"), ("data", "verify")),
    ("sft", "--out", "DIR"),
}
"""Words after `harness` that name a command which needs more, though typer does not ask for it."""
SHELL = {("--install-completion",), ("--show-completion",)}
"""Words after `harness` that no test gives, as they are about the shell around it."""
Parameters = dict[str, Any]


class PartError(Exception):
    """The command is right as far as it goes; what it needs besides stands elsewhere, or is the reader's to say."""


@functools.cache
def parser_of(name: str) -> Any:
    """The parser of a subcommand."""
    return next(one for one in SUBCOMMANDS if one.name == name).built()


@functools.cache
def options_before() -> frozenset[str]:
    """The options that may stand before a subcommand, or in the place of one."""
    application = typer.Typer(cls=_Commands)
    application.callback()(_overview)
    command: Any = typer.main.get_command(application)
    return frozenset(option for one in command.get_params(typer.Context(command)) for option in one.opts)


@functools.cache
def parser_of_torchrun() -> Any:
    from torch.distributed.run import get_args_parser

    return get_args_parser()


@functools.cache
def parser_of_accelerate() -> Any:
    from accelerate.commands.launch import launch_command_parser

    return launch_command_parser()


@functools.cache
def parser_of_lm_eval() -> Any:
    from lm_eval._cli import HarnessCLI

    return HarnessCLI()._parser


def read(command: Command) -> Parameters:
    """What the command lines make of it. Raises PartError, or the error of the one that refuses it."""
    launched = read_launcher(command)
    return launched | read_harness(command.harness) if command.harness else launched


@functools.cache
def is_part(command: Command) -> bool:
    """Reads it, and says whether it is whole."""
    try:
        read(command)
    except PartError:
        return True
    return False


def read_harness(words: tuple[str, ...]) -> Parameters:
    """The options of a subcommand, by their names. Raises PartError, and typer's error for what it does not take."""
    if words == ("...",):
        raise PartError("any command")
    given = [word for word in words if word != "..."]
    while given and given[0].startswith("-"):
        assert given.pop(0) in options_before()
    if words in SHELL:
        raise PartError("changes the reader's shell")
    if not given:
        return {}
    name, *arguments = given
    try:
        found: Parameters = parser_of(name).make_context(name, arguments).params
    except typer.TyperException as error:
        is_unknown = hasattr(error, "possibilities")
        if hasattr(error, "param_type") or (hasattr(error, "option_name") and not is_unknown):
            raise PartError(error.format_message()) from error
        raise
    if "..." in words or words in NAMES:
        raise PartError("abridged")
    if name == "lm-eval":
        return vars(parser_of_lm_eval().parse_args(without_include_paths(arguments)[1]))
    return found


def read_launcher(command: Command) -> Parameters:
    """Reads what stands before `harness`, or a command of another program. Raises PartError, or the error
    of the program."""
    words, found = [*command.launcher[1:], *command.harness], {}
    match command.program:
        case "harness":
            return {}
        case "torchrun":
            found = vars(parser_of_torchrun().parse_args([*command.launcher[1:], "harness", *command.harness]))
        case "accelerate":
            found = vars(parser_of_accelerate().parse_args([*command.launcher[2:], "harness", *command.harness]))
        case "make":
            subprocess.run(["make", "--dry-run", *words], cwd=CHECKOUT, capture_output=True, check=True)
        case "python":
            read_python(words)
        case "pip":
            read_pip(words)
        case "srun":
            assert command.launcher[-2:] == ("python", "-m")
        case ".ci/run":
            assert (CHECKOUT / ".ci" / "run").is_file()
        case program:
            assert (program, words[0]) in OTHERS, f"{command} is of no known program"
    if not command.harness and (command.is_abridged or command.program == "accelerate"):
        raise PartError("abridged")
    return found


def read_python(words: Sequence[str]) -> None:
    """A module or a file that is there, with options that its text names, and files of the checkout."""
    place = importlib.util.find_spec(words[1]).origin if words[0] == "-m" else CHECKOUT / words[0]  # type: ignore[union-attr]
    text = Path(place).read_text(encoding="utf-8")
    for word in words[2 if words[0] == "-m" else 1 :]:
        if word.startswith("--"):
            assert f'"{word}"' in text, f"{place} has no option {word}"
        assert "/" not in word or (CHECKOUT / word).exists(), f"no {word}"


def read_pip(words: Sequence[str]) -> None:
    """An installation or a download whose extras and constraints are there."""
    assert words[0] in ("install", "download")
    for option, value in itertools.pairwise(words):
        assert option != "--constraint" or (CHECKOUT / value).is_file()
    for extra in re.findall(r"\[(.*?)\]", " ".join(words)):
        assert set(extra.split(",")) <= EXTRAS.keys()
