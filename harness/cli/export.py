"""harness export: write a model or an adapter in the layout that its checkpoint was published in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness import registry
from harness.app.export import SHARD_SIZE
from harness.app.export import export as export_model
from harness.app.models import TINY_TASK
from harness.cli.options.shared import Adapter, AdapterSubfolder, IncludePath
from harness.cli.terminal.feedback import echo, say, warn


def export(
    model: Annotated[str, typer.Argument(help="tiny, a folder, a hub id, or a run folder: its last checkpoint.")],
    out: Annotated[Path, typer.Option(help="New folder to write.")],
    merge: Annotated[bool, typer.Option("--merge", help="Add the adapter to the weights; write all of them.")] = False,
    adapter: Adapter = "",
    adapter_subfolder: AdapterSubfolder = "",
    max_shard_size: Annotated[str, typer.Option(help="Size above which weights are split: 500MB, 5GB.")] = SHARD_SIZE,
    task: Annotated[str, typer.Option(help="Task of the tiny model's weights.")] = TINY_TASK,
    include_path: IncludePath = None,
    push: Annotated[str, typer.Option(help="Upload the folder to this repository on the hub: OWNER/NAME.")] = "",
    private: Annotated[bool, typer.Option("--private", help="Make that repository a private one.")] = False,
) -> None:
    """Write a run's model or adapter in the official layout, with its model card: RUN --out DIR.

    A model with adapters gives the adapter alone, or with --merge the whole model.
    """
    registry.add_include_paths(include_path or [])
    done = export_model(
        model,
        out,
        merge=merge,
        max_shard_size=max_shard_size,
        adapter=adapter,
        adapter_subfolder=adapter_subfolder,
        task=task,
        push=push,
        private=private,
        on_warning=warn,
    )
    echo(f"{done.tensors} tensors, {done.size:,} bytes, in {out}: {', '.join(done.files)}")
    say("README.md there is the model card; it states no licence, which is yours to add.")
    if done.pushed:
        echo(f"Uploaded to {done.pushed}")
