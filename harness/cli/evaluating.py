"""The options of every command that evaluates, listed once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from harness import registry
from harness.cli import options
from harness.cli.lists import whole_numbers
from harness.config.resolve import parse_settings


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
        "decodings": [parse_settings(settings or [])],
        "dtype": dtype,
        "device": device,
        "cuda_graphs": cuda_graphs,
        "compile": compile,
        "pack_weights": pack_weights,
        "unsafe_local_exec": unsafe_local_exec,
        "allow_packages": allow_packages or (),
        "fresh": fresh,
    }


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
