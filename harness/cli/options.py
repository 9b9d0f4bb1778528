"""Options that several subcommands share."""

from __future__ import annotations

from typing import Annotated

import typer

UnsafeLocalExec = Annotated[bool, typer.Option("--unsafe-local-exec", help="Run model-written code without a sandbox.")]
AllowPackages = Annotated[
    list[str] | None,
    typer.Option("--allow-packages", help="Installed package that model-written code may import; repeatable."),
]
