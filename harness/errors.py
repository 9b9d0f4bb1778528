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
