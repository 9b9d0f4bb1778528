"""A style file of matplotlib's: which of its settings figures take over."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

from harness.errors import UserError
from harness.report.figures.frame import FIXED


def read_style(path: Path) -> Mapping[str, Any]:
    """The settings of the file. Raises UserError for one that cannot be read, unknown names and wrong values."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(
            f"The style '{path}' cannot be read ({reason}); name a matplotlib style file (.mplstyle)."
        ) from error
    settings: Any = mpl.RcParams()
    for number, line in enumerate(lines, start=1):
        text = _without_comment(line)
        if text:
            _set(settings, text, f"'{path}', line {number}")
    return dict(settings)


def _without_comment(line: str) -> str:
    """matplotlib's rule: a # begins a comment outside double quotes."""
    inside = False
    for place, letter in enumerate(line):
        if letter == '"':
            inside = not inside
        elif letter == "#" and not inside:
            return line[:place].strip()
    return line.strip()


def _set(settings: Any, text: str, where: str) -> None:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon:
        raise UserError(f"The style {where}: '{text}' is not a setting; write it as 'name: value'.")
    if name not in mpl.rcParamsDefault:
        near = difflib.get_close_matches(name, mpl.rcParamsDefault, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "leave the line out."
        raise UserError(f"The style {where}: matplotlib has no setting '{name}'; {hint}")
    if name in FIXED:
        raise UserError(f"The style {where} sets {name}, which is the same in every report; leave the line out.")
    try:
        settings[name] = value.removeprefix('"').removesuffix('"')
    except ValueError as error:
        raise UserError(f"The style {where}: {name} cannot be '{value}' ({error}).") from error
