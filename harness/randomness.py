"""Explicit randomness: named generator streams, and one uniform per (row, step, position) that batching never
changes."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

_SIGN_FREE = [0, *((1 << (64 - shift)) - 1 for shift in range(1, 64))]


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names` of a run with `seed`; independent streams for different names."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> torch.Generator:
    """A fresh CPU generator for that stream. Streams are stateless: resuming needs their names alone."""
    return torch.Generator().manual_seed(stream_seed(seed, *names))


def row_seeds(num_rows: int, generator: torch.Generator) -> Tensor:
    """One int64 seed per row (B,), which travels with the row."""
    return torch.randint(0, 2**63 - 1, (num_rows,), generator=generator)


def uniforms(seed_B: Tensor, step: int | Tensor, position_Bn: Tensor, kind: int) -> Tensor:
    """Float64 uniforms in [0, 1) of shape (B, n), a pure function of row seed, step, position and kind of draw. step:
    of all rows, or int64 (B,).

    Counter-based: each is a 64-bit mix (the splitmix64 finaliser, applied to seed, then step and kind, then
    position), so the values are the same on every device, in any batch and in any order.
    """
    counter_B = _mix(seed_B + _wrap(0x9E3779B97F4A7C15) * (2 * torch.as_tensor(step) + 1 + (kind << 40)))
    bits_Bn = _mix(_mix(counter_B)[:, None] + (position_Bn.to(torch.int64) + 1) * _wrap(0xD1342543DE82EF95))
    return _shift_right(bits_Bn, 11).to(torch.float64) * 2.0**-53


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _wrap(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _wrap(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of int64: the arithmetic shift's copies of the sign bit are cleared."""
    return (x >> bits) & _SIGN_FREE[bits]


def _wrap(value: int) -> int:
    """The value modulo 2**64 as a signed 64-bit integer."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
