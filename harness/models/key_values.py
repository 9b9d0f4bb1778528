"""Keys and values that a pass leaves behind for the passes after it, one column per token of the sequence.

Axes: B rows, H key/value heads, q columns of a pass, L tokens, d hidden width, e width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.models.attention import FULL, Attention


class KeyValueCache:
    """What transformers asks of a cache. A pass covers the columns from `first` on, replaces or appends theirs, and
    attends to all. is_static: whether its columns lie where another cache's do, as those of captured passes."""

    def __init__(self) -> None:
        self.first = 0
        self.is_static = False
        self._layers: list[tuple[Tensor, Tensor]] = []

    def __len__(self) -> int:
        """Columns, 0 before the first pass."""
        return self._layers[0][0].shape[2] if self._layers else 0

    @property
    def identity(self) -> int:
        """Of the memory in which the columns lie."""
        return id(self._layers)

    def share(self, other: KeyValueCache) -> None:
        """Goes on with the columns of `other`, in the same memory."""
        self._layers, self.is_static = other._layers, True

    def copy(self) -> KeyValueCache:
        """The same columns in the same memory."""
        copied = KeyValueCache()
        copied.first = self.first
        copied.share(self)
        return copied

    def update(self, key_BHqe: Tensor, value_BHqe: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values (B, H, L, e) of a layer with those of the present pass in their columns."""
        if layer == len(self._layers):
            self._layers.append((key_BHqe, value_BHqe))
            return key_BHqe, value_BHqe
        key_BHLe, value_BHLe = self._layers[layer]
        columns = slice(self.first, self.first + key_BHqe.shape[2])
        if columns.stop > key_BHLe.shape[2]:
            key_BHLe = torch.cat([key_BHLe[:, :, : self.first], key_BHqe], 2)
            value_BHLe = torch.cat([value_BHLe[:, :, : self.first], value_BHqe], 2)
            self._layers[layer] = key_BHLe, value_BHLe
            return key_BHLe, value_BHLe
        key_BHLe[:, :, columns], value_BHLe[:, :, columns] = key_BHqe, value_BHqe
        return key_BHLe, value_BHLe

    def keep(self, rows_b: Tensor) -> None:
        """Those rows alone stay."""
        self._layers = [(key_BHLe[rows_b], value_BHLe[rows_b]) for key_BHLe, value_BHLe in self._layers]


def cached_hidden(
    transformer: PreTrainedModel,
    tokens_Bq: Tensor,
    mask_BL: Tensor | None,
    cache: KeyValueCache,
    attention: Attention = FULL,
) -> Tensor:
    """Final normalised hidden states (B, q, d) of the columns from cache.first on, which replace the cache's own there
    and attend to all columns that `attention` lets them. mask_BL: of all columns, the present ones among them."""
    columns, device = slice(cache.first, cache.first + tokens_Bq.shape[1]), tokens_Bq.device
    hidden_Bqd: Tensor = transformer.model(
        input_ids=tokens_Bq,
        attention_mask=attention.mask(mask_BL, max(len(cache), columns.stop), columns, device),
        position_ids=torch.arange(columns.start, columns.stop, device=device)[None],
        past_key_values=cache,
    ).last_hidden_state
    return hidden_Bqd
