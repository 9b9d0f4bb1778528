"""Linear layers that multiply by weights in the order in which a processor reads them (oneDNN's packed layout).

Torch's float32 products reorder the weights in every call, which in a pass over few tokens takes longer than the
product itself. While completions are generated the weights stand still, so they are reordered once. Results differ from
those of the layers by rounding alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

from harness.errors import UserError
from harness.models.predictor import MaskedPredictor

SMALLEST = 1 << 18
"""Weights of a layer below which the products are too short to gain."""


@register_flop_formula(torch.ops.mkldnn._linear_pointwise)
def _flops(input_shape: torch.Size, weight_shape: torch.Size, *_: object, **__: object) -> int:
    """For torch's counter, which knows no packed products: 2 FLOPs per row and weight."""
    rows = input_shape[:-1].numel()
    return 2 * rows * weight_shape[0] * weight_shape[1]


def check_packable(predictor: MaskedPredictor) -> None:
    """Raises UserError where packed weights would not be faster, or there are none."""
    weights = list(predictor.parameters())
    if weights[0].device.type != "cpu":
        reason = f"the model is on {weights[0].device}; they are for processors"
    elif any(weight.dtype != torch.float32 for weight in weights):
        reason = "the weights are not all float32, and torch packs others by itself"
    elif not torch.backends.mkldnn.is_available():
        reason = "this build of torch has no oneDNN"
    else:
        return
    raise UserError(
        f"Weights cannot be packed: {reason}. Leave out --pack-weights, or set execution.pack_weights=false."
    )


def packed_layers(predictor: MaskedPredictor) -> list[nn.Linear]:
    """Those that gain: linear layers without a bias, adapters' base layers among them, of SMALLEST weights or more."""
    layers = [module for module in predictor.modules() if type(module) is nn.Linear]
    return [layer for layer in layers if not _has_bias(layer) and layer.weight.numel() >= SMALLEST]


def _has_bias(layer: nn.Module) -> bool:
    return layer.bias is not None


def packed_bytes(predictor: MaskedPredictor) -> int:
    """Of the second copy of the weights."""
    return sum(layer.weight.nbytes for layer in packed_layers(predictor))


@contextlib.contextmanager
def packed(*predictors: MaskedPredictor) -> Iterator[None]:
    """Passes without gradient multiply by packed copies of the weights, which must not change meanwhile."""
    layers = {id(layer): layer for predictor in predictors for layer in packed_layers(predictor)}
    chosen = [layer for layer in layers.values() if not isinstance(layer.forward, _Packed)]
    for layer in chosen:
        layer.forward = _Packed(layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in chosen:
            del layer.forward


class _Packed:
    """The product with one layer's weight."""

    def __init__(self, layer: nn.Linear) -> None:
        self.weight = layer.weight
        with torch.no_grad():
            self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)

    def __call__(self, input: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        if torch.is_grad_enabled():
            return nn.functional.linear(input, self.weight)
        return torch.ops.mkldnn._linear_pointwise(input, self.packed, None, "none", [], "")
