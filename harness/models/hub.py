"""Where a named checkpoint or adapter lies: a folder, or the Hugging Face hub's cache, filled where it is empty.

Only weights, configuration and tokenizer files are fetched; code never is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from harness.errors import UserError

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
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
# Among the bases is the error of whichever library the hub's client talks through; it raises that one, too.
HUB_ERRORS: tuple[type[BaseException], ...] = (OSError, ValueError, EntryNotFoundError, *HfHubHTTPError.__bases__)
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def model_folder(name: str) -> Path:
    """The folder of a model given by path or hub id. Raises UserError where it is neither here nor to be had."""
    return _folder(name, "Model", (*MODEL_FILES, *TOKENIZER_FILES))


def adapter_folder(name: str, subfolder: str) -> Path:
    """The folder of an adapter given by path or hub id, and where in it it lies. Raises UserError as `model_folder`."""
    prefix = f"{subfolder.strip('/')}/" if subfolder else ""
    folder = _folder(name, "Adapter", [prefix + file for file in ADAPTER_FILES]) / prefix
    if not folder.is_dir():
        raise UserError(f"Adapter '{name}' has no subfolder '{subfolder}'.")
    return folder


def _folder(name: str, what: str, files: Sequence[str]) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_ID.fullmatch(name):
        raise UserError(f"{what} '{name}' is neither a folder nor a hub id such as GSAI-ML/LLaDA-8B-Instruct.")
    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except HUB_ERRORS as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise UserError(
            f"{what} '{name}' is no folder here and cannot be had from the hub ({reason}); name a local folder, or set "
            "HF_HOME to a cache that holds it."
        ) from error
