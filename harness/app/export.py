"""Writing a model, or the adapter of a run, in the layout that its checkpoint was published in, with its model card."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.app.models import TINY_TASK, LoadedModel, NamedModel, named_model
from harness.app.push import check_repository
from harness.app.push import push as push_folder
from harness.errors import UserError

if TYPE_CHECKING:
    from harness.models.export import Exported

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
SHARD_SIZE = "5GB"


def export(
    model: str | Path,
    out: str | Path,
    *,
    merge: bool = False,
    max_shard_size: str | int = SHARD_SIZE,
    adapter: str = "",
    adapter_subfolder: str = "",
    task: str = TINY_TASK,
    push: str = "",
    private: bool = False,
    on_warning: Callable[[str], None] = warnings.warn,
) -> Exported:
    """Writes a model into the new folder `out`: tensors and configuration under the official names, and README.md, the
    model card, which says what is recorded of the run.

    model: `tiny`, a folder, a hub id, or a run folder, whose last checkpoint is taken. A model with adapters gives the
    adapter alone, or with merge the whole model. max_shard_size: bytes, or a text such as 500MB, above which weights
    are split into files. adapter: folder or hub id of adapters to put on the model. task: of the tiny model's weights.
    push: a repository on the Hugging Face hub, OWNER/NAME, to upload the folder to, with the environment's token;
    private: where only its owner sees it. Raises UserError where `out` is taken or the model cannot be written so, and
    nothing is written then; and where it cannot be uploaded, and the folder stays then.
    """
    out, most = Path(out), parse_size(str(max_shard_size))
    named = named_model(model, task=task, device="cpu", adapter=adapter, adapter_subfolder=adapter_subfolder)
    _check(named, merge=merge)
    if push:
        check_repository(push)
    elif private:
        raise UserError("--private is about a repository on the hub; name it with --push OWNER/NAME, or leave it out.")
    done = _write(named, out, merge=merge, most=most, on_warning=on_warning)
    return replace(done, pushed=push_folder(out, push, private=private)) if push else done


def _write(named: NamedModel, out: Path, *, merge: bool, most: int, on_warning: Callable[[str], None]) -> Exported:
    from harness.models.adapters import merge_adapter
    from harness.models.checkpoints import locate
    from harness.models.export import export_adapter, export_model, refuse_taken
    from harness.models.hub import repository

    source = locate(named.config.name, named.task)
    refuse_taken(out)
    loaded = replace(named, config=replace(named.config, quantization="")).load(stored_dtype=True)
    for warning in loaded.model.warnings:
        on_warning(warning)
    card = _card(named, loaded, merge=merge)
    if merge:
        merge_adapter(loaded.model)
    if named.has_adapter and not merge:
        return export_adapter(loaded.model, source, out, trained_on=repository(named.config.name), card=card)
    return export_model(loaded.model, source, out, max_shard_size=most, card=card)


def _card(named: NamedModel, loaded: LoadedModel, *, merge: bool) -> str:
    from harness.models.hub import HUB_ID, repository
    from harness.report.formats.card import ADAPTER, ALL, MERGED, Weights, model_card
    from harness.report.read.runs import load_run

    config = named.config
    is_on_hub = HUB_ID.fullmatch(config.name) is not None and not Path(config.name).expanduser().is_dir()
    weights = Weights(
        base=config.name,
        hub_base=repository(config.name) if is_on_hub else "",
        adapter=config.adapter,
        form=MERGED if merge else ADAPTER if named.has_adapter else ALL,
        task=named.task,
        is_tiny=named.is_tiny,
        update=loaded.progress.update,
    )
    run = None if named.run is None else named.run.resolve()
    return model_card(weights, None if run is None else load_run(run, run.name))


def _check(named: NamedModel, *, merge: bool) -> None:
    """Raises UserError where there is nothing to merge, or where an adapter alone would belong to no published base."""
    if merge and not named.has_adapter:
        raise UserError(f"'{named.run or named.config.name}' has no adapter to merge; leave out --merge.")
    if named.config.adapter and named.config.lora.rank and not merge:
        raise UserError(
            f"Run '{named.run}' was trained on '{named.config.adapter}' merged into '{named.config.name}'; its own "
            "adapter fits no published model. Export the whole model with --merge."
        )


def parse_size(text: str) -> int:
    """Bytes of `5GB`, `1.5 GiB` or a plain number of bytes. Raises UserError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    size = int(float(match[1]) * UNITS.get(match[2] or "B", 0)) if match else 0
    if size < 1:
        raise UserError(f"--max-shard-size '{text}' is not a size; give 500MB, 5GB, or a number of bytes.")
    return size
