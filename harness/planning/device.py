"""What a device has: memory, and the rate at which it multiplies matrices."""

from __future__ import annotations

import os
import time

import torch


def device_memory(device: torch.device) -> int:
    """Bytes of a GPU's memory, or of this machine's for the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def synchronise(device: str) -> None:
    """Waits for everything that was queued on a GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def matmul_rate(device: str) -> float:
    """FLOP/s of a large square matrix product: bfloat16 on a GPU, float32 on a CPU. Best of five."""
    size, dtype = (8192, torch.bfloat16) if device.startswith("cuda") else (1024, torch.float32)
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        synchronise(device)
        start = time.perf_counter()
        a @ a
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
