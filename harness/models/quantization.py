"""Frozen linear layers in 4 bits (NF4 with doubly quantised scales: QLoRA, arXiv 2305.14314), through bitsandbytes.

It is not among the harness's requirements: it serves memory on GPUs, and nothing else needs it.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import nn
from transformers import PreTrainedModel

from harness.errors import UserError


def check_available(device: torch.device) -> None:
    """Raises UserError where bitsandbytes is not installed, or `device` is no GPU.

    On a processor bitsandbytes repacks the weights at the first prediction, and no gradient passes them afterwards.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "model.quantization=nf4 needs the package bitsandbytes, which is not installed; pip install bitsandbytes, "
            "or leave quantization empty."
        )
    if device.type != "cuda":
        raise UserError(f"model.quantization=nf4 needs a GPU, and the device is '{device}'; leave quantization empty.")


def to_nf4(model: PreTrainedModel, *, compute_dtype: torch.dtype) -> PreTrainedModel:
    """Replaces the blocks' linear layers by 4-bit ones; moving the model to its device then quantises their weights.

    The embedding, the norms and the output layer keep their dtype, as in the published runs.
    """
    import bitsandbytes

    for name, linear in list(model.model.named_modules()):
        if not isinstance(linear, nn.Linear):
            continue
        quantized = bitsandbytes.nn.Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=compute_dtype,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        quantized.weight = bitsandbytes.nn.Params4bit(
            linear.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4", module=quantized
        )
        quantized.bias = linear.bias
        parent, _, child = name.rpartition(".")
        setattr(model.model.get_submodule(parent), child, quantized)
    return model.requires_grad_(False)
