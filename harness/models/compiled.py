"""The layers of a transformer compiled by torch: fewer and larger kernels, whose results differ by rounding alone.
Dropout draws what it draws without.

A layer is compiled in the first pass, for all sizes at once but a batch of one, and all layers share what comes of it.
With gradient, with a cache, with a mask, and with other adapters it is another function, compiled when first needed.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Protocol

import torch

from harness.errors import UserError
from harness.models.diffusion_lm import DiffusionLM
from harness.models.flops import ModelShape
from harness.models.key_values import KeyValueCache
from harness.models.packing import check_packable
from harness.models.predictor import MaskedPredictor

INDUCTOR = "inductor"
VARIANTS = 64
"""How many functions a layer may be compiled to; torch's own limit of 8 leaves later ones as they are."""


class Chosen(Protocol):
    """What is to make passes faster, as in Execution."""

    @property
    def cuda_graphs(self) -> bool: ...

    @property
    def compile(self) -> bool: ...

    @property
    def pack_weights(self) -> bool: ...


def speed_up(lm: DiffusionLM, chosen: Chosen) -> None:
    """Has passes of the model captured, its layers compiled, or its weights packed while it generates. Raises UserError
    where they cannot be."""
    if chosen.cuda_graphs:
        lm.graphs.capture(lm.predictor, lm.shape)
    if chosen.compile:
        compile_layers(lm)
    if chosen.pack_weights:
        check_packable(lm.predictor)
    lm.packs_weights = chosen.pack_weights


def compile_layers(lm: DiffusionLM, backend: str = INDUCTOR) -> None:
    """From now on the layers of the model, and of its reference policy, run compiled. backend: torch's name of what
    compiles.

    Raises UserError where they cannot be.
    """
    check_compilable(lm.predictor, lm.shape)
    if backend == INDUCTOR:
        _check_compiler(lm.device)
        torch._inductor.config.fallback_random = True  # else kernels draw their dropout from a generator of their own
    _share_between_layers()
    for predictor in (lm.predictor, lm.reference):
        for layer in [] if predictor is None else predictor.transformer.model.layers:
            if layer._compiled_call_impl is None:
                layer.compile(dynamic=True, backend=backend, recompile_limit=VARIANTS)


def check_compilable(predictor: MaskedPredictor, shape: ModelShape) -> None:
    """Raises UserError for layers that compiling would break into pieces."""
    if shape.experts is not None:
        reason = "which experts a mixture uses depends on its input"
    elif not all(weight.is_floating_point() for weight in predictor.parameters()):
        reason = "passes of quantized weights are not compiled"
    else:
        return
    raise UserError(f"Layers cannot be compiled: {reason}. Leave out --compile, or set execution.compile=false.")


def _check_compiler(device: torch.device) -> None:
    """Raises UserError where torch finds no compiler for its kernels, or on a GPU for what starts them."""
    if device.type == "cpu":
        variable, names = "CXX", ["clang++" if sys.platform == "darwin" else "g++"]
    else:
        variable, names = "CC", ["gcc", "clang"]
    names = [os.environ[variable]] if variable in os.environ else names
    if not any(map(shutil.which, names)):
        raise UserError(
            f"Compiled layers need a compiler, and {' or '.join(names)} is not on this machine: install one, name it "
            f"in the environment variable {variable}, or leave out --compile (execution.compile=true)."
        )


def _share_between_layers() -> None:
    """Keeps torch from compiling every layer for its own number, by which it finds its keys and values."""
    torch._dynamo.config.allow_unspec_int_on_nn_module = True
    if not hasattr(KeyValueCache.update, "_torchdynamo_disable"):
        setattr(KeyValueCache, "update", torch.compiler.disable(KeyValueCache.update))  # noqa: B010
