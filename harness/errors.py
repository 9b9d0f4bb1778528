"""The one exception that means "the user can fix this": shown as one sentence, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input from outside. The message names the value, the choices and the fix."""


def unknown_choice(kind: str, value: str, choices: Iterable[str], *, fix: str = "") -> UserError:
    """Builds the error for a name that is not one of `choices`, with the nearest name as a suggestion."""
    names = sorted(choices)
    near = difflib.get_close_matches(value, names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    listed = ", ".join(names) if names else "none"
    return UserError(f"Unknown {kind} '{value}'.{hint} Choices: {listed}.{' ' + fix if fix else ''}")


def require_positive(section: str, **values: float) -> None:
    """Raises UserError for the first value that is not above 0."""
    for name, value in values.items():
        if value <= 0:
            raise UserError(f"{section}.{name}={value} must be above 0.")


def require_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Raises UserError where `value` is not one of `choices`."""
    if value not in choices:
        raise unknown_choice(key, value, choices)
