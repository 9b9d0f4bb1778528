"""Forward passes as CUDA graphs. A pass over few tokens takes a GPU less time than the processor takes to start its
kernels one by one; a graph starts them all at once, with the same results.

A pass is run as it is at first, captured when its shapes come again, and replayed from then on.

Axes: B rows, q columns of a pass, L tokens, d hidden width.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UserError
from harness.models.flops import ModelShape
from harness.models.key_values import KeyValueCache

KEPT = 64
"""How many graphs there are at the most; the one that was used least recently makes room."""

Pass = Callable[[Tensor, Tensor | None], Tensor]
"""Hidden states (B, q, d) of tokens (B, q) and the mask (B, L) of tokens that are no padding, None for no padding."""
Capture = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Of a function: what does again all that it does on the device, and the tensor in which its result then lies."""


class CudaCapture:
    """Capture by CUDA; all graphs share the memory of their intermediate results."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, function: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """As in Capture."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            output = function()
        self._pool = self._pool or graph.pool()
        return graph.replay, output


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """cache: the keys and values that it fills or goes on with, where it has any."""

    replay: Callable[[], None]
    tokens_Bq: Tensor
    mask_BL: Tensor | None
    output_Bqd: Tensor
    cache: KeyValueCache | None


class PassGraphs:
    """The graphs of one model's passes without gradient, by shape. They refer to its weights where these are: weights
    may change in place, and whoever changes what the passes compute calls `forget`. Until `capture` is called every
    pass is run as it is."""

    def __init__(self) -> None:
        self._capture: Capture | None = None
        self._graphs: OrderedDict[Hashable, _Graph | None] = OrderedDict()

    def capture(self, network: nn.Module, shape: ModelShape, by: Capture | None = None) -> None:
        """From now on passes are captured. by: what captures, in the place of CUDA.

        Raises UserError where the passes of `network` cannot be captured, or where no GPU runs them.
        """
        weights = list(network.parameters())
        if by is None and weights[0].device.type != "cuda":
            reason = f"they are for a GPU, and the device is {weights[0].device}"
        elif shape.experts is not None:
            reason = "which experts a mixture uses depends on its input"
        elif shape.block_length:
            reason = "the passes of a model that attends by blocks grow"
        elif not all(weight.is_floating_point() for weight in weights):
            reason = "passes of quantized weights are not captured"
        else:
            self._capture = by or CudaCapture()
            return
        raise UserError(f"CUDA graphs cannot be used: {reason}. Set execution.cuda_graphs=false.")

    def hidden(self, run: Pass, tokens_BL: Tensor, mask_BL: Tensor | None, *, kind: Hashable) -> Tensor:
        """What `run` gives; kind: tells passes apart that compute different things of the same shapes."""
        if not self._captures:
            return run(tokens_BL, mask_BL)
        key = (kind, tokens_BL.shape, mask_BL is None)
        graph = self._graph(key, run, tokens_BL, mask_BL, None)
        return run(tokens_BL, mask_BL) if graph is None else _replayed(graph, tokens_BL, mask_BL)

    def cached_hidden(
        self,
        run: Callable[[Tensor, Tensor | None, KeyValueCache], Tensor],
        tokens_Bq: Tensor,
        mask_BL: Tensor | None,
        cache: KeyValueCache,
        *,
        kind: Hashable,
    ) -> Tensor:
        """The same with keys and values. Only a whole pass that was itself replayed is followed by replays."""
        starts = not len(cache)
        if not self._captures or not (starts or cache.is_static):
            return run(tokens_Bq, mask_BL, cache)
        within = KeyValueCache() if starts else cache.copy()
        key = (kind, tokens_Bq.shape, mask_BL is None, None if starts else (cache.identity, cache.first))
        graph = self._graph(key, lambda tokens, mask: run(tokens, mask, within), tokens_Bq, mask_BL, within)
        if graph is None:
            return run(tokens_Bq, mask_BL, cache)
        if starts:
            assert graph.cache is not None
            cache.share(graph.cache)
        return _replayed(graph, tokens_Bq, mask_BL)

    def forget(self) -> None:
        """Drops all graphs and frees their memory."""
        self._graphs.clear()

    @property
    def _captures(self) -> bool:
        return self._capture is not None and not torch.is_grad_enabled()

    def _graph(
        self, key: Hashable, run: Pass, tokens_Bq: Tensor, mask_BL: Tensor | None, cache: KeyValueCache | None
    ) -> _Graph | None:
        """The graph of that key, captured if it has come before; None where it has not."""
        if key not in self._graphs:
            self._graphs[key] = None
            if len(self._graphs) > KEPT:
                self._graphs.popitem(last=False)
            return None
        assert self._capture is not None
        self._graphs.move_to_end(key)
        graph = self._graphs[key]
        if graph is None:
            own_Bq, own_mask_BL = tokens_Bq.clone(), None if mask_BL is None else mask_BL.clone()
            try:
                replay, output_Bqd = self._capture(functools.partial(run, own_Bq, own_mask_BL))
            except torch.OutOfMemoryError:
                self.forget()
                raise
            graph = _Graph(replay=replay, tokens_Bq=own_Bq, mask_BL=own_mask_BL, output_Bqd=output_Bqd, cache=cache)
            self._graphs[key] = graph
        return graph


def _replayed(graph: _Graph, tokens_Bq: Tensor, mask_BL: Tensor | None) -> Tensor:
    """The result for these inputs, in memory of its own."""
    graph.tokens_Bq.copy_(tokens_Bq)
    if graph.mask_BL is not None:
        assert mask_BL is not None
        graph.mask_BL.copy_(mask_BL)
    graph.replay()
    return graph.output_Bqd.clone()
