"""Lists on the command line: values separated by commas."""

from __future__ import annotations

from harness.errors import UserError


def any_names(text: str | None) -> list[str]:
    """`sudoku,countdown` as a list, which may be empty."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def names(text: str) -> list[str]:
    """`sudoku,countdown` as a list. Raises UserError where nothing is named."""
    found = any_names(text)
    if not found:
        raise UserError(f"'{text}' names nothing; give one name, or several separated by commas.")
    return found


def whole_numbers(option: str, text: str) -> list[int]:
    """`0,1,2` as numbers. Raises UserError where one is no whole number; `option` is named in it."""
    try:
        return [int(part) for part in names(text)]
    except ValueError as error:
        raise UserError(
            f"{option} '{text}' is neither a whole number nor a list of whole numbers such as 0,1,2."
        ) from error
