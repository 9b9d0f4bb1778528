"""Analytic FLOPs of a bidirectional transformer: 2 per multiply-add. No torch.

Counted: linear layers, attention scores and values (both queries x keys, all heads), the head only at the positions
where it is computed, low-rank adapters; of a mixture of experts the router and the experts that a token goes through.
Not counted: norms, activations, softmax, embedding look-ups. Backward costs twice the forward, less the weight
gradients of frozen weights and the input gradients that nothing asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BLOCK_INPUT_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
HEAD = "lm_head"


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A mixture of experts in place of a block's MLP: each token takes `active` of `count` experts, whose MLPs are
    `intermediate` wide. dense_layers: blocks that keep their MLP."""

    count: int
    active: int
    intermediate: int
    dense_layers: int = 0


@dataclass(frozen=True, kw_only=True)
class LinearLayer:
    """A kind of linear layer. times: how often one token passes through such a layer in the whole trunk."""

    name: str
    inputs: int
    outputs: int
    times: int


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a trunk of the Llama and Qwen kind. experts: None where every block has one MLP. lora_ranks: projection
    name (or lm_head) to adapter rank; empty trains all weights. block_length: of a model that attends by blocks, 0
    where every token attends to every other; a pass over a sequence costs the same."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    experts: Experts | None = None
    lora_ranks: Mapping[str, int] = field(default_factory=dict)
    block_length: int = 0

    @property
    def linear_layers(self) -> list[LinearLayer]:
        """All kinds of linear layers of the trunk."""
        inner, key_value = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = {
            "q_proj": (self.hidden, inner),
            "k_proj": (self.hidden, key_value),
            "v_proj": (self.hidden, key_value),
            "o_proj": (inner, self.hidden),
        }
        layers = [
            LinearLayer(name=name, inputs=inputs, outputs=outputs, times=self.layers)
            for name, (inputs, outputs) in attention.items()
        ]
        if self.experts is None:
            return layers + self._mlp(self.intermediate, times=self.layers)
        sparse = self.layers - self.experts.dense_layers
        router = LinearLayer(name="gate", inputs=self.hidden, outputs=self.experts.count, times=sparse)
        experts = self._mlp(self.experts.intermediate, times=sparse * self.experts.active)
        return [*layers, router, *experts, *self._mlp(self.intermediate, times=self.experts.dense_layers)]

    def _mlp(self, width: int, *, times: int) -> list[LinearLayer]:
        return [
            LinearLayer(name="gate_proj", inputs=self.hidden, outputs=width, times=times),
            LinearLayer(name="up_proj", inputs=self.hidden, outputs=width, times=times),
            LinearLayer(name="down_proj", inputs=width, outputs=self.hidden, times=times),
        ]


def forward(shape: ModelShape, *, rows: int, queries: int, keys: int, head_positions: int) -> float:
    """FLOPs of one forward pass: `rows` sequences of `queries` tokens that attend to `keys` tokens, the head at
    `head_positions` positions in all."""
    tokens = rows * queries
    linear = sum(
        2 * tokens * layer.times * (layer.inputs * layer.outputs + _rank(shape, layer.name) * _ends(layer))
        for layer in shape.linear_layers
    )
    return float(linear + shape.layers * _attention(shape, tokens, keys) + head(shape, head_positions))


def backward(shape: ModelShape, *, rows: int, queries: int, keys: int, head_positions: int) -> float:
    """FLOPs of the backward pass that belongs to `forward`."""
    if not shape.lora_ranks:
        return 2 * forward(shape, rows=rows, queries=queries, keys=keys, head_positions=head_positions)
    tokens = rows * queries
    trunk = 2.0 * shape.layers * _attention(shape, tokens, keys)
    for layer in shape.linear_layers:
        rank = _rank(shape, layer.name)
        trunk += 2 * tokens * layer.times * (layer.inputs * layer.outputs + 2 * rank * _ends(layer))
        if layer.name in BLOCK_INPUT_PROJECTIONS:
            trunk -= 2 * tokens * (layer.inputs * layer.outputs + rank * layer.inputs)
    return trunk + head(shape, head_positions) + _head_adapter(shape, head_positions)


def head(shape: ModelShape, positions: int) -> float:
    """FLOPs of the output layer at `positions` positions, its adapter included."""
    return 2.0 * positions * shape.hidden * shape.vocabulary + _head_adapter(shape, positions)


def _head_adapter(shape: ModelShape, positions: int) -> float:
    return 2.0 * positions * _rank(shape, HEAD) * (shape.hidden + shape.vocabulary)


def _attention(shape: ModelShape, tokens: int, keys: int) -> float:
    return 4.0 * tokens * keys * shape.heads * shape.head_dim


def _ends(layer: LinearLayer) -> int:
    return layer.inputs + layer.outputs


def _rank(shape: ModelShape, name: str) -> int:
    return shape.lora_ranks.get(name, 0)
