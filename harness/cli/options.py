"""Options that several subcommands have, each worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[str, typer.Option(help="builtin, hub, or a folder.")]
TrainData = Annotated[str, typer.Option(help="Source of training and worked examples, if it is another.")]
Prompts = Annotated[Path | None, typer.Option(help="YAML file with prompts of your own: task to messages.")]
FewShot = Annotated[int, typer.Option(min=0, help="Worked training examples before each question.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Adapter = Annotated[str, typer.Option(help="Adapter to put on the model: a folder or a hub id.")]
AdapterSubfolder = Annotated[str, typer.Option(help="Where in it the adapter lies.")]
IncludePath = Annotated[list[Path] | None, typer.Option(help="Folder with methods or tasks of your own; repeatable.")]
AllowPackages = Annotated[
    list[str] | None,
    typer.Option("--allow-packages", help="Installed package that model-written code may import; repeatable."),
]
UnsafeLocalExec = Annotated[bool, typer.Option("--unsafe-local-exec", help="Run model-written code without a sandbox.")]
