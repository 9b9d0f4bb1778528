"""Analytic FLOPs of a bidirectional transformer: 2 per multiply-add. No torch.

Counted: linear layers, attention scores and values (both queries x keys, all heads), the head only at the positions
where it is computed, low-rank adapters. Not counted: norms, activations, softmax, embedding look-ups. Backward costs
twice the forward, less the weight gradients of frozen weights and the input gradients that nothing asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BLOCK_INPUT_PROJECTIONS = ("q_proj", "k_proj", "v_proj")
HEAD = "lm_head"


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes of a Llama or Qwen2 trunk. lora_ranks: projection name (or lm_head) to adapter rank; empty trains all
    weights."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    lora_ranks: Mapping[str, int] = field(default_factory=dict)

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of each linear layer of one block."""
        inner, key_value = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, inner),
            "k_proj": (self.hidden, key_value),
            "v_proj": (self.hidden, key_value),
            "o_proj": (inner, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def parameters(self) -> int:
        """Weights of the trunk's linear layers and of the head, adapters excluded."""
        block = sum(inputs * outputs for inputs, outputs in self.projections.values())
        return self.layers * block + self.hidden * self.vocabulary


def forward(shape: ModelShape, *, rows: int, queries: int, keys: int, head_positions: int) -> float:
    """FLOPs of one forward pass: `rows` sequences of `queries` tokens that attend to `keys` tokens, the head at
    `head_positions` positions in all."""
    tokens = rows * queries
    linear = sum(2 * tokens * (i * o + _rank(shape, name) * (i + o)) for name, (i, o) in shape.projections.items())
    return float(shape.layers * (linear + _attention(shape, tokens, keys)) + head(shape, head_positions))


def backward(shape: ModelShape, *, rows: int, queries: int, keys: int, head_positions: int) -> float:
    """FLOPs of the backward pass that belongs to `forward`."""
    if not shape.lora_ranks:
        return 2 * forward(shape, rows=rows, queries=queries, keys=keys, head_positions=head_positions)
    tokens = rows * queries
    block = 2.0 * _attention(shape, tokens, keys)
    unasked = 0.0
    for name, (inputs, outputs) in shape.projections.items():
        rank = _rank(shape, name)
        block += 2 * tokens * (inputs * outputs + 2 * rank * (inputs + outputs))
        if name in BLOCK_INPUT_PROJECTIONS:
            unasked += 2 * tokens * (inputs * outputs + rank * inputs)
    return shape.layers * block - unasked + head(shape, head_positions) + _head_adapter(shape, head_positions)


def head(shape: ModelShape, positions: int) -> float:
    """FLOPs of the output layer at `positions` positions, its adapter included."""
    return 2.0 * positions * shape.hidden * shape.vocabulary + _head_adapter(shape, positions)


def _head_adapter(shape: ModelShape, positions: int) -> float:
    return 2.0 * positions * _rank(shape, HEAD) * (shape.hidden + shape.vocabulary)


def _attention(shape: ModelShape, tokens: int, keys: int) -> float:
    return 4.0 * tokens * keys * shape.heads * shape.head_dim


def _rank(shape: ModelShape, name: str) -> int:
    return shape.lora_ranks.get(name, 0)
