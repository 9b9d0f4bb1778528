"""The options of every command that evaluates, listed once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from harness import registry
from harness.cli.options import shared as options
from harness.cli.options.lists import whole_numbers
from harness.config.resolve import DECODING, full_key, parse_settings
from harness.config.served import Server
from harness.errors import UserError

OPTION_OF = {
    "data.few_shot": "--few-shot",
    "data.test": "--data",
    "data.train": "--train-data",
    "evaluation.items": "--items",
    "evaluation.lengths": "--length",
    "evaluation.split": "--split",
    "execution.compile": "--compile",
    "execution.cuda_graphs": "--cuda-graphs",
    "execution.device": "--device",
    "execution.evaluation_batch_size": "--batch-size",
    "model.dtype": "--dtype",
    "seed": "--seed",
}
"""Keys of a run that are options of their own where nothing is trained."""


def shared_fields(
    *,
    protocol: options.Protocol = "",
    length: options.Lengths = "",
    data: options.Data = "",
    train_data: options.TrainData = "",
    prompts: options.Prompts = None,
    few_shot: options.FewShot = 0,
    items: options.Items = 0,
    split: options.Split = "test",
    batch_size: options.BatchSize = 64,
    settings: options.Settings = None,
    dtype: options.Dtype = "",
    device: options.Device = "auto",
    cuda_graphs: options.CudaGraphs = False,
    compile: options.Compile = False,
    pack_weights: options.PackWeights = False,
    include_path: options.IncludePath = None,
    unsafe_local_exec: options.UnsafeLocalExec = False,
    allow_packages: options.AllowPackages = None,
    fresh: options.Fresh = False,
    server: options.Server = "",
    endpoint: options.Endpoint = None,
    concurrency: options.Concurrency = None,
    retries: options.Retries = None,
    timeout: options.Timeout = None,
) -> dict[str, Any]:
    """The options as fields of an EvaluationRequest. Raises UserError for a list or setting of another form."""
    registry.add_include_paths(include_path or [])
    return {
        "protocol": protocol,
        "lengths": whole_numbers("--length", length) if length else (),
        "data": data,
        "train_data": train_data,
        "prompts": prompts,
        "few_shot": few_shot,
        "items": items,
        "split": split,
        "batch_size": batch_size,
        "decodings": [decoding_options(settings or [])],
        "dtype": dtype,
        "device": device,
        "cuda_graphs": cuda_graphs,
        "compile": compile,
        "pack_weights": pack_weights,
        "unsafe_local_exec": unsafe_local_exec,
        "allow_packages": allow_packages or (),
        "fresh": fresh,
        "server": _server(server, endpoint=endpoint, concurrency=concurrency, retries=retries, timeout=timeout),
    }


def _server(url: str, **asked: Any) -> Server | None:
    """Raises UserError for options of a server where none is named."""
    given = {name: value for name, value in asked.items() if value is not None}
    if url:
        return Server(url=url, **given)
    for name, value in given.items():
        raise UserError(f"--{name} {value} says how a server is asked; name one with --server, or leave it out.")
    return None


def decoding_options(settings: Sequence[str]) -> dict[str, Any]:
    """Options of the decoding by their own names, or by those that they have in a run: `evaluation.num_steps`.

    Raises UserError for a key that is an option of the command itself.
    """
    found = {}
    for key, value in parse_settings(settings).items():
        name = full_key(key).removeprefix(f"{DECODING}.")
        if option := OPTION_OF.get(name):
            raise UserError(f"--set takes options of the decoding where nothing is trained; use {option} for '{key}'.")
        found[name] = value
    return found


def evaluates(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `shared_fields` beside its own; it gets them in its last parameter, `shared`."""
    *own, _ = inspect.signature(command, eval_str=True).parameters.values()
    shared = inspect.signature(shared_fields, eval_str=True).parameters

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        fields = shared_fields(**{name: given.pop(name) for name in shared})
        command(**given, shared=fields)

    with_options.__signature__ = inspect.Signature([*own, *shared.values()])  # type: ignore[attr-defined]
    return with_options
