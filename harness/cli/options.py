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
UnsafeLocalExec = Annotated[bool, typer.Option("--unsafe-local-exec", help="Run model-written code without a sandbox.")]
AllowPackages = Annotated[
    list[str] | None,
    typer.Option("--allow-packages", help="Installed package that model-written code may import; repeatable."),
]
Lengths = Annotated[
    str, typer.Option(help="Completion length in tokens, or several: 128,256,512; tokens per step stay the same.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Decoding over the recipe's: num_steps=8, temperature=0 ..."),
]
Dtype = Annotated[
    str,
    typer.Option(
        help="float32, bfloat16, float16 or float64; by default a run's own; else float32, the files' on a GPU."
    ),
]
Protocol = Annotated[str, typer.Option(help="A paper's decodings and items: d1, egspo, espo ...")]
Items = Annotated[int, typer.Option(min=0, help="Only the first so many items of the split; 0 is all.")]
Split = Annotated[str, typer.Option(help="test, validation or train.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Prompts per forward pass.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Do again what is there already.")]
