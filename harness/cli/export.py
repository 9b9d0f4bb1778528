"""harness export: write a model or an adapter in the layout that its checkpoint was published in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harness.app.models import NamedModel, named_model
from harness.config.tree import ModelConfig
from harness.errors import UserError

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def export(
    model: Annotated[str, typer.Argument(help="tiny, a folder, a hub id, or a run folder: its last checkpoint.")],
    out: Annotated[Path, typer.Option(help="New folder to write.")],
    merge: Annotated[bool, typer.Option("--merge", help="Add the adapter to the weights; write all of them.")] = False,
    adapter: Annotated[str, typer.Option(help="Adapter to put on the model: a folder or a hub id.")] = "",
    adapter_subfolder: Annotated[str, typer.Option(help="Where in it the adapter lies.")] = "",
    max_shard_size: Annotated[str, typer.Option(help="Size above which weights are split: 500MB, 5GB.")] = "5GB",
    task: Annotated[str, typer.Option(help="Task of the tiny model's weights.")] = "sudoku",
) -> None:
    """Write a run's model or adapter in the official layout: RUN --out DIR.

    A model with adapters gives the adapter alone, or with --merge the whole model.
    """
    most = parse_size(max_shard_size)
    config = ModelConfig(adapter=adapter, adapter_subfolder=adapter_subfolder)
    named = named_model(model, config, task)
    check(named, merge=merge)

    from harness.models.adapters import merge_adapter
    from harness.models.checkpoints import locate
    from harness.models.export import export_adapter, export_model, refuse_taken

    source = locate(named.config.name, named.task)
    refuse_taken(out)
    whole = replace(named, config=replace(named.config, quantization=""))
    loaded = whole.load(device="cpu", stored_dtype=True)
    if merge:
        merge_adapter(loaded)
    if named.has_adapter and not merge:
        done = export_adapter(loaded, source, out, trained_on=named.config.name)
    else:
        done = export_model(loaded, source, out, max_shard_size=most)
    typer.echo(f"{done.tensors} tensors, {done.size:,} bytes, in {out}: {', '.join(done.files)}")


def check(named: NamedModel, *, merge: bool) -> None:
    """Raises UserError where there is nothing to merge, or where an adapter alone would belong to no published base."""
    if merge and not named.has_adapter:
        raise UserError(f"'{named.run or named.config.name}' has no adapter to merge; leave out --merge.")
    if named.config.adapter and named.config.lora.rank and not merge:
        raise UserError(
            f"Run '{named.run}' was trained on '{named.config.adapter}' merged into '{named.config.name}'; its own "
            "adapter fits no published model, export with --merge."
        )


def parse_size(text: str) -> int:
    """Bytes of `5GB`, `1.5 GiB` or a plain number of bytes. Raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    size = int(float(match[1]) * UNITS.get(match[2] or "B", 0)) if match else 0
    if size < 1:
        raise UserError(f"--max-shard-size '{text}' is no size; give 500MB, 5GB, or a number of bytes.")
    return size
