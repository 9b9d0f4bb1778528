"""Weights in parts: each process holds one of every tensor, and a layer is whole only while it is used (torch's FSDP2).

All functions are called by all processes together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


def mesh_of(device: torch.device) -> DeviceMesh:
    """All processes in a row; a process that nobody else started makes a group of one."""
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    return init_device_mesh(device.type, (dist.get_world_size(),))


def shard(
    module: nn.Module,
    layers: Iterable[nn.Module],
    mesh: DeviceMesh,
    *,
    forward_methods: Iterable[str],
    compute_dtype: torch.dtype | None,
    reshard: bool,
) -> None:
    """Keeps this process's part of each weight of `module`, on the mesh's devices; it is changed in place.

    layers: submodules that are gathered one at a time. forward_methods: those of `module` that compute with its weights
    beside `forward`. compute_dtype: of gathered weights and activations, where it is not that of the parts; gradients
    are added up in that of the parts. reshard: whether the weights outside of the layers are parted again after each
    pass, rather than after the backward pass alone.
    """
    policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=compute_dtype and torch.float32)
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=reshard)
    for name in forward_methods:
        register_fsdp_forward_method(module, name)


def give_back(module: nn.Module) -> None:
    """Leaves this process with its parts alone of the weights outside of the layers, which may still be whole after a
    pass: a change of the parts then counts in the next one."""
    if isinstance(module, FSDPModule):
        module.reshard()


def whole(values: Tensor) -> Tensor:
    """All of a tensor of which this process may hold a part."""
    return values.full_tensor() if isinstance(values, DTensor) else values


def gathered(state: Any, *, keep: bool) -> Any:
    """Nested state with whole tensors on the CPU in place of parts, or None in their place unless they are to be
    kept."""
    if isinstance(state, DTensor):
        complete = state.full_tensor()
        return complete.cpu() if keep else None
    if isinstance(state, Mapping):
        return {key: gathered(value, keep=keep) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [gathered(value, keep=keep) for value in state]
    return state


def part_like(values: Tensor, weight: Tensor) -> Tensor:
    """This process's part of whole values, cut as `weight` is; all of them where that is whole."""
    if not isinstance(weight, DTensor):
        return values
    return distribute_tensor(values.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Loads a whole state dictionary, as `gathered` gives it, into an optimiser of parts or of whole weights."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    parts = {
        index: {
            name: part_like(value, weights[index]) if value.shape == weights[index].shape else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": parts})
