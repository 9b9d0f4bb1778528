"""The exceptions that a command shows as one sentence, with its exit code and no traceback."""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path

LONGEST_NAME, MOST_SHOWN, MOST_CHOICES = 1024, 60, 20
GOES_ON = "the same command goes on from the last checkpoint"


class UserError(ValueError):
    """Bad input from outside. The message names the value, the choices and the fix, and can be shown in a terminal."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class SandboxError(RuntimeError):
    """The sandbox for model-written code has failed, which says nothing about any program. fault: how."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        return f"The sandbox has failed, so there is no verdict: {self.fault}."


class Interruption(BaseException):
    """A signal has ended the work, which the same command takes up again. number: the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return f"interrupted by {self.name}; {GOES_ON}"

    @property
    def name(self) -> str:
        """The signal's name."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, otherwise 143, which schedulers take for a job that was asked to end."""
        return 128 + (signal.SIGINT if self.number == signal.SIGINT else signal.SIGTERM)


def printable(text: str) -> str:
    """The text with what a terminal would act on or cannot show written as an escape: colours, bells, bare bytes."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def from_here(path: Path) -> str:
    """The path as a reader finds it: relative to the current folder where it lies below it."""
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def unknown_choice(kind: str, value: str, choices: Iterable[str], *, fix: str = "") -> UserError:
    """Builds the error for a name that is not one of `choices`, with the nearest name as a suggestion."""
    names = sorted(name for name in choices if name)
    parts = [part.strip() for part in value.split(",")]
    is_list = len(parts) > 1 and set(parts) <= set(names)
    hint = " Name one of them." if is_list else did_you_mean(nearest(value, names))
    listed = ", ".join(names[:MOST_CHOICES]) if names else "none"
    others = f" and {len(names) - MOST_CHOICES} more" if len(names) > MOST_CHOICES else ""
    return UserError(f"Unknown {kind} '{value}'.{hint} Choices: {listed}{others}.{' ' + fix if fix else ''}")


def did_you_mean(*names: str) -> str:
    """A question after a sentence, nothing where no name is given or the one that is given is empty."""
    quoted = " or ".join(f"'{name}'" for name in names if name)
    return f" Did you mean {quoted}?" if quoted else ""


def nearest(value: str, names: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The name that `value` is most likely meant to be, empty where none is near. Capitals count for nothing, and a
    dash is an underscore. cutoff: how alike the two have to be, from 0 to 1."""
    spelt = {_plain(name): name for name in names}
    near = difflib.get_close_matches(_plain(value), spelt, n=1, cutoff=cutoff)
    return spelt[near[0]] if near else ""


def nearest_path(path: str | os.PathLike[str]) -> str:
    """The file or folder whose name is nearest to that of a missing one, in the folder where it was looked for."""
    folder, name = os.path.split(os.path.normpath(path))
    try:
        beside = os.listdir(folder or ".")
    except (OSError, ValueError):
        return ""
    near = nearest(name, beside)
    return os.path.join(folder, near) if near else ""


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-")


def require_positive(section: str, **values: float) -> None:
    """Raises UserError for the first value that is not above 0."""
    for name, value in values.items():
        if value <= 0:
            raise UserError(f"{section}.{name}={value} must be above 0.")


def require_shares(section: str, **values: float) -> None:
    """Raises UserError for the first value outside 0..1."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"{section}.{name}={value} must lie between 0 and 1.")


def require_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Raises UserError where `value` is not one of `choices`."""
    if value not in choices:
        raise unknown_choice(key, value, choices)


def require_choices(section: str, options: object, choices: Mapping[str, Iterable[str]]) -> None:
    """Raises UserError for the first of the named attributes of `options` that is not one of its choices."""
    for name, allowed in choices.items():
        require_choice(f"{section}.{name}", getattr(options, name), allowed)


def require_name(key: str, value: str) -> None:
    """Raises UserError for a name that cannot be shown, or is too long for a path."""
    if not value.isprintable():
        raise UserError(f"{key}={value[:MOST_SHOWN]!r} contains characters that cannot be shown; rename the folder.")
    if len(value) > LONGEST_NAME:
        raise UserError(f"{key}={value[:MOST_SHOWN]}... has {len(value):,} characters, and the most is {LONGEST_NAME}.")
