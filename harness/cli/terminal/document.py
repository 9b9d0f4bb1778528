"""What --json prints: one JSON document on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import Any

import typer


def clear_output(wanted: bool) -> AbstractContextManager[Any]:
    """Inside, what is printed goes to standard error where a document is wanted: a user's own task may print too."""
    return redirect_stdout(sys.stderr) if wanted else nullcontext()


def show_document(document: object) -> None:
    """Prints it, of several processes the first. NaN and the infinities, for which JSON has no numbers, are null."""
    from harness.distributed.processes import is_main

    if is_main():
        typer.echo(json.dumps(_plain(document), indent=2, default=str, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
