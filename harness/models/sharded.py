"""A DiffusionLM of which each process holds a part."""

from __future__ import annotations

import copy
from datetime import timedelta

import torch
from peft import PeftModel
from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from harness.config.tree import AUTO, ModelConfig
from harness.distributed.in_step import InStep
from harness.distributed.sharding import mesh_of, shard
from harness.models.diffusion_lm import DiffusionLM
from harness.models.predictor import MaskedPredictor

ADAPTER = ".lora_"


def shard_model(
    lm: DiffusionLM, config: ModelConfig, device: torch.device, *, reference: bool, patience: timedelta
) -> None:
    """Puts this process's part of a model that is on the CPU, as its files have it, on `device` in the configured
    dtype.

    The files' tensors lie in pages that the processes share, and a layer is taken from them at a time, so that no
    process ever holds the model. reference: the present weights are the reference policy too, in parts of their own
    unless adapters can be switched off. patience: how long a process waits for another.
    """
    mesh = mesh_of(device)
    if reference and not isinstance(lm.predictor.model, PeftModel):
        lm.keep_reference(_sharing_weights(lm.predictor))
        assert lm.reference is not None
        _shard(lm.reference, config, mesh, reshard=True)
    # The weights outside of the layers stay whole after a pass without gradient: the head is asked again and again for
    # hidden states of one pass, by each process as often as it needs.
    _shard(lm.predictor, config, mesh, reshard=False)
    lm.go_in_step(InStep([root for root in (lm.predictor, lm.reference) if root is not None], patience=patience))


def _sharing_weights(predictor: MaskedPredictor) -> MaskedPredictor:
    """A copy with parameters of its own over the same memory."""
    memo = {id(weight): nn.Parameter(weight.detach(), requires_grad=False) for weight in predictor.parameters()}
    return copy.deepcopy(predictor, memo)


def _shard(predictor: MaskedPredictor, config: ModelConfig, mesh: DeviceMesh, *, reshard: bool) -> None:
    layers = predictor.transformer.model.layers
    inside = {id(weight) for layer in layers for weight in layer.parameters()}
    dtype = None if config.dtype == AUTO else getattr(torch, config.dtype)

    def converted(module: nn.Module, *, all_of_it: bool) -> nn.Module:
        for name, weight in module.named_parameters():
            if dtype is not None and (all_of_it or id(weight) not in inside):
                wanted = torch.promote_types(dtype, torch.float32) if ADAPTER in name else dtype
                weight.data = weight.data.to(wanted)
        return module

    shard(
        converted(predictor, all_of_it=False),
        (converted(layer, all_of_it=True) for layer in layers),
        mesh,
        forward_methods=("hidden", "head"),
        compute_dtype=getattr(torch, config.compute_dtype) if config.compute_dtype else None,
        reshard=reshard,
    )
