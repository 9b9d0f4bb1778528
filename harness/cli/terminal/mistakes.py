"""What is said of words that a command does not take, with what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import typer

from harness import registry
from harness.config.near import keys_called, leaf_keys
from harness.config.resolve import DECODING_OPTIONS
from harness.config.tree import Execution, RunConfig
from harness.errors import UserError, did_you_mean, nearest

PROCESSES = {"nproc", "nproc_per_node", "nprocs", "num_processes", "world_size", "gpus", "ngpus", "num_gpus", "n_gpus"}
"""How other programs call the number of processes, which here torchrun is told."""
SHARED = {"harness run", "harness eval", "harness compare", "harness sft"}
"""The commands that several processes can share."""
ALIKE = ({"out", "output", "output_dir", "runs"}, {"items", "limit", "num_items"})
"""Words for the same in other commands and programs."""
EXTRA = "unexpected extra argument"


def explained(error: typer.TyperException, arguments: Sequence[str]) -> UserError:
    """The error for a command line that typer refuses. arguments: the command line."""
    context: Any = getattr(error, "ctx", None)
    if context is None:
        return UserError(error.format_message())
    if hasattr(error, "possibilities"):
        return _unknown_option(context, error.option_name, arguments)  # type: ignore[attr-defined]
    if hasattr(error, "param_type"):
        return _missing(context, error)
    if hasattr(error, "param_hint"):
        return _invalid(context, error, arguments)
    text = error.format_message()
    return _extra(context, text.rpartition(" (")[2].split()[0].rstrip(")")) if EXTRA in text else UserError(text)


def _unknown_option(context: Any, option: str, arguments: Sequence[str]) -> UserError:
    written = next((word.partition("=")[0] for word in arguments if word.startswith(option)), option)
    name, own = written.strip("-").replace("-", "_"), _options(context)
    command = context.command_path
    alike = [one for words in ALIKE if name in words for one in words & own.keys()]
    if name in own or alike:
        hint = did_you_mean(own[name if name in own else alike[0]])
    elif command == "harness":
        hint = " The command comes first: harness COMMAND [OPTIONS]."
    elif name in PROCESSES and command in SHARED:
        hint = f" Several processes are started by torchrun: torchrun --nproc-per-node N -m {command} ..."
    elif settings := _settings(command, {name, *(one for words in ALIKE if name in words for one in words)}):
        hint = f" Use {' or '.join(settings)}."
    else:
        hint = did_you_mean(own[near]) if (near := nearest(name, own)) else f" See {command} --help."
    return UserError(f"{command} has no option {written}.{hint}")


def _options(context: Any) -> dict[str, str]:
    """The options of the command as they are written, by their names with underscores."""
    written = [option for one in context.command.params for option in one.opts if option.startswith("--")]
    return {option.strip("-").replace("-", "_"): option for option in written}


def _settings(command: str, names: Iterable[str]) -> list[str]:
    """What sets a configuration key of one of these names in a command that has --set."""
    known: Iterable[str] = ()
    if command in ("harness run", "harness plan"):
        known = [*leaf_keys(RunConfig), *leaf_keys(Execution, "execution")]
    elif command in ("harness eval", "harness compare"):
        known = DECODING_OPTIONS
    keys = sorted({key for name in names for key in keys_called(name, known)})
    return [
        f"--budget {key.removeprefix('budget.')}=VALUE" if key.startswith("budget.") else f"--set {key}=VALUE"
        for key in keys
    ]


def _missing(context: Any, error: Any) -> UserError:
    parameter = error.param
    options = [option for option in parameter.opts if option.startswith("-")]
    name = options[0] if options else parameter.metavar or parameter.name.upper()
    meaning = (parameter.help or "").rstrip(".")
    return UserError(f"{context.command_path} needs {name}{f' ({meaning})' if meaning else ''}.")


def _invalid(context: Any, error: Any, arguments: Sequence[str]) -> UserError:
    """The error for a value that is none of its option's, with the value."""
    options = [option for option in getattr(error.param, "opts", ()) if option.startswith("-")]
    pairs = zip(arguments, [*arguments[1:], ""], strict=True)
    given = [
        f"{word} {value}" if word in options else word for word, value in pairs if word.partition("=")[0] in options
    ]
    if not given:
        return UserError(error.format_message())
    return UserError(
        f"{context.command_path} cannot take {given[-1]}: {error.message[:1].lower()}{error.message[1:].rstrip('.')}."
    )


def _extra(context: Any, word: str) -> UserError:
    own = _options(context)
    kinds: tuple[registry.Kind, ...] = ("task", "method")
    known = next((kind for kind in kinds if kind in own and registry.entry(kind, word)), "")
    fix = (
        f"name it with --{known} {word}"
        if known
        else "every value stands behind its option, several of one with commas between them"
    )
    return UserError(f"{context.command_path} cannot place '{word}': {fix}. See {context.command_path} --help.")
