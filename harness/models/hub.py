"""Where a named checkpoint or adapter lies: a folder, or the Hugging Face hub's cache, filled where it is empty.

Only weights, configuration and tokenizer files are fetched; code never is. `org/name@revision` is a commit, tag or
branch, `org/name` the hub's newest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from harness.config.published.checkpoints import published_checkpoints
from harness.data.hub import fetching
from harness.errors import UserError, did_you_mean, nearest, nearest_path

TINY = "tiny"
ALIKE = 0.75
"""How alike a known hub id has to be to what was given, from 0 to 1."""
HUB_ID = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?")
SNAPSHOT = re.compile(r"[/\\]snapshots[/\\]([0-9a-f]{40})([/\\]|$)")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
MODEL_FILES = ("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def model_folder(name: str, *, cache: Path | None = None) -> Path:
    """The folder of a model given by path or hub id. cache: where hub files are kept, by default where HF_HOME says.

    Raises UserError where it is neither, or cannot be fetched.
    """
    return _folder(name, "Model", (*MODEL_FILES, *TOKENIZER_FILES), cache)


def adapter_folder(name: str, subfolder: str, *, cache: Path | None = None) -> Path:
    """The folder of an adapter given by path or hub id, and by its place in there. Raises UserError as `model_folder`,
    and where the place is outside."""
    if ".." in Path(subfolder).parts:
        raise UserError(f"Adapter subfolder '{subfolder}' leads out of '{name}'; name a folder inside it.")
    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    folder = _folder(name, "Adapter", [prefix + file for file in ADAPTER_FILES], cache) / prefix
    if not folder.is_dir():
        raise UserError(f"Adapter '{name}' has no subfolder '{subfolder}'.")
    return folder


def config_folder(name: str) -> Path:
    """The folder that has the config.json of a model given by path or hub id; of the latter no more is fetched. Raises
    UserError as `model_folder`."""
    return _folder(name, "Model", MODEL_FILES[:1], None)


def _folder(name: str, what: str, files: Sequence[str], cache: Path | None) -> Path:
    place = os.path.expanduser(name)
    if os.path.isdir(place):
        return Path(place)
    if what == "Model":
        _refuse_checkpoint(name)
    hub_id, near = HUB_ID.fullmatch(name), nearest_path(place) or _nearest_id(name, what)
    if not hub_id:
        hint = " Name one of them." if "," in name else did_you_mean(near)
        raise UserError(f"{what} '{name}' is neither a folder nor a hub id such as GSAI-ML/LLaDA-8B-Instruct.{hint}")
    fix = f"did you mean '{near}'? Otherwise " if near else ""
    fix += "name a local folder, or set HF_HOME to a cache that holds it"
    with fetching(f"{what} '{name}' is not a folder, and", fix=fix):
        revision, patterns = hub_id["revision"], list(files)
        return Path(
            snapshot_download(hub_id["repository"], revision=revision, allow_patterns=patterns, cache_dir=cache)
        )


def _refuse_checkpoint(name: str) -> None:
    """Raises UserError for the name of a published checkpoint, which is a model and often an adapter to put on it."""
    for one in published_checkpoints():
        if name in (one.name, one.name.partition("/")[0]):
            raise UserError(
                f"'{name}' is a published checkpoint, not a model: evaluate it with --checkpoint {name}; harness list "
                "checkpoints shows where it lies."
            )


def _nearest_id(name: str, what: str) -> str:
    """The known hub id that a name is most likely meant to be, as a whole or by its last part; empty where none is
    near, or where it is one of them."""
    asked, known = repository(name), _known_ids(what)
    if asked in known:
        return ""
    last = {hub_id.rpartition("/")[2]: hub_id for hub_id in sorted(known)}
    return nearest(asked, known, cutoff=ALIKE) or last.get(nearest(asked, last, cutoff=ALIKE), "")


def _known_ids(what: str) -> set[str]:
    """Those of the register of published checkpoints and, of models, of the families; `tiny` beside them."""
    from harness.models.layouts import LAYOUTS

    if what != "Model":
        return {one.hub for one in published_checkpoints() if one.kind != "full"}
    known = {one.hub if one.kind == "full" else one.base for one in published_checkpoints()}
    return {TINY, *known, *(hub_id for layout in LAYOUTS.values() for hub_id in layout.hub_ids)}


def repository(name: str) -> str:
    """A hub id without its revision; a folder as it is."""
    hub_id = HUB_ID.fullmatch(name)
    return hub_id["repository"] if hub_id and not os.path.isdir(os.path.expanduser(name)) else name


def commit(place: Path) -> str:
    """The commit of what lies in the hub's cache, empty for any other place."""
    found = SNAPSHOT.search(str(place))
    return found[1] if found else ""
