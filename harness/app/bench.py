"""What this machine makes of a shape: rollouts, updates, grading, start-up, how cost grows; each beside its floor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.errors import UserError, require_choice, require_positive

if TYPE_CHECKING:
    from harness.bench.growth import Growth
    from harness.bench.timing import Measurement

ROLLOUT, UPDATE, GRADING, STARTUP, GROWTH = PARTS = ("rollout", "update", "grading", "startup", "growth")
USUAL = PARTS[:4]


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What to measure. shape: one of harness.bench.shapes. batch, blocks: 0 for the shape's own; with fewer blocks the
    others are given as prompt, so a pass takes as long. pack_weights: as in Execution, for our rollouts alone. beside:
    a clone of Fast-dLLM or LLaDA, and the Python that runs it."""

    parts: tuple[str, ...] = USUAL
    shape: str = "c256"
    device: str = "cpu"
    batch: int = 0
    blocks: int = 0
    runs: int = 3
    temperature: float = 0.9
    pack_weights: bool = False
    beside: Path | None = None
    beside_python: str = ""

    def check(self) -> None:
        """Raises UserError for values outside their range or at odds with each other."""
        from harness.bench.beside import check_clone
        from harness.bench.shapes import SHAPES

        for part in self.parts:
            require_choice("--part", part, PARTS)
        require_choice("--shape", self.shape, SHAPES)
        require_positive("bench", runs=self.runs)
        if bool(self.beside) != bool(self.beside_python):
            raise UserError("--beside CLONE and --beside-python PYTHON go together: give both or neither.")
        if self.beside is not None:
            check_clone(self.beside, SHAPES[self.shape])


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """The rows of one part."""

    part: str
    rows: tuple[Measurement | Growth, ...]


def bench(request: BenchRequest) -> Iterator[PartResult]:
    """Measures part after part. Raises UserError for a request that cannot be measured."""
    request.check()
    for part in request.parts:
        yield PartResult(part=part, rows=tuple(_rows(request, part)))


def _rows(request: BenchRequest, part: str) -> Iterator[Measurement | Growth]:
    if part == STARTUP:
        from harness.bench.startup import measure_startup

        yield from measure_startup(runs=request.runs)
    elif part == GRADING:
        from harness.bench.grading import measure_grading

        yield from measure_grading(runs=request.runs)
    else:
        yield from _rows_of_model(request, part)


def _rows_of_model(request: BenchRequest, part: str) -> Iterator[Measurement | Growth]:
    from harness.bench.beside import beside
    from harness.bench.growth import measure_growth
    from harness.bench.rollouts import measure_rollouts
    from harness.bench.shapes import SHAPES, make_model
    from harness.bench.updates import measure_updates
    from harness.config.tree import Execution
    from harness.models.attention import Attention
    from harness.models.checkpoints import resolve_device
    from harness.models.compiled import speed_up

    device = str(resolve_device(request.device))
    shape = SHAPES[request.shape].with_sizes(batch=request.batch, blocks=request.blocks)
    model, prompts = make_model(shape, device)
    if part == GROWTH:
        by_blocks, _ = make_model(shape, device, Attention(block_length=shape.block))
        yield from measure_growth(model, by_blocks, shape, runs=request.runs)
    elif part == UPDATE:
        yield from measure_updates(model, prompts, shape, runs=request.runs)
    else:
        with contextlib.ExitStack() as stack:
            speed_up(model, Execution(pack_weights=request.pack_weights))
            other = None
            if request.beside is not None:
                other = stack.enter_context(beside(request.beside, request.beside_python, shape, prompts, device))
            yield from measure_rollouts(
                model, prompts, shape, temperature=request.temperature, runs=request.runs, beside=other
            )


def describe(request: BenchRequest) -> dict[str, Any]:
    """The machine and the request, for the record."""
    import torch

    from harness.models.checkpoints import resolve_device
    from harness.planning.device import matmul_rate

    device = resolve_device(request.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {
        "harness": __version__,
        "torch": torch.__version__,
        "device": name,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "matmul FLOP/s": matmul_rate(str(device)),
        "request": {**asdict(request), "beside": str(request.beside or "")},
    }
