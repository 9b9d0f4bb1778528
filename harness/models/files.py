"""The files of a checkpoint as they lie on disk: JSON, shards and their index, headers, and a hash over their bytes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.errors import UserError
from harness.records.small import read_small

INDEX_FILE = "model.safetensors.index.json"
WEIGHTS_FILE = "model.safetensors"
OS_ERROR = re.compile(r"os error (\d+)")
LARGEST_JSON = 1 << 26
FLOATS = ("F64", "F32", "F16", "BF16")


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object. Raises UserError where it cannot be read as one."""
    try:
        content = json.loads(read_small(path, LARGEST_JSON).decode("utf-8"))
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{path}' is not readable JSON: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"'{path}' does not hold a JSON object; put the published file in its place.")
    return content


def is_set(value: object) -> bool:
    """Whether a value of a configuration says anything: null, false and what is empty do not."""
    return not (value is None or value is False or value in ({}, [], ""))


def shown(value: object) -> str:
    """A value of a configuration as an error message shows it, shortened where it is long."""
    return reprlib.repr(value)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, sharded or not. Raises UserError where one is missing."""
    index = folder / INDEX_FILE
    if not index.is_file():
        single = folder / WEIGHTS_FILE
        if not single.is_file():
            raise UserError(f"Model '{folder}' has neither {WEIGHTS_FILE} nor {INDEX_FILE}.")
        return [single]
    weight_map = read_json(index).get("weight_map")
    named = weight_map.values() if isinstance(weight_map, dict) else []
    shards = sorted({shard for shard in named if isinstance(shard, str) and shard == Path(shard).name})
    if not shards or not all(shard in shards for shard in named):
        raise UserError(f"'{index}' has no weight_map of tensor names to file names; fetch it again.")
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise UserError(f"Model '{folder}' lacks the shard(s) {', '.join(missing)} that its index names.")
    return [folder / shard for shard in shards]


def check_headers(files: Sequence[Path], expected: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Compares the files' headers with what the configuration asks for. Raises UserError for the first difference."""
    found: dict[str, tuple[int, ...]] = {}
    for path in files:
        header = read_header(path)
        twice = sorted(found.keys() & header.keys())
        if twice:
            raise UserError(f"Tensor {twice[0]} stands in more than one file of '{folder}'.")
        found |= header
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing:
        raise UserError(f"Model '{folder}' lacks {len(missing)} tensor(s), the first is {missing[0]}.")
    if unknown:
        raise UserError(
            f"Model '{folder}' has {len(unknown)} tensor(s) that config.json does not ask for, the first is "
            f"{unknown[0]}."
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise UserError(f"Tensor {name} of '{folder}' has shape {found[name]}, config.json asks for {shape}.")


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor names and shapes of a safetensors file. Raises UserError where it is damaged or holds no floats."""
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118
                part = handle.get_slice(name)
                if part.get_dtype() not in FLOATS:
                    raise UserError(f"Tensor {name} of '{path}' is {part.get_dtype()}; {', '.join(FLOATS)} are known.")
                shapes[name] = tuple(part.get_shape())
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' is not a readable safetensors file: {error}; fetch it again.") from error
    return shapes


def save_tensors(weights: Mapping[str, Tensor], path: Path) -> None:
    """Replaces `path` by a safetensors file of the weights in one step. Raises OSError where it cannot be written."""
    on_cpu = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(on_cpu, temporary, metadata={"format": "pt"})
        sync(temporary)
        os.replace(temporary, path)
    except SafetensorError as error:
        number = OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Returns when a file or folder is on the disk, and not only on its way there. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fingerprint(files: Sequence[Path]) -> str:
    """Sixteen hex digits over the bytes of the weight files, those of the adapter among them."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()[:16]
